//! Many requests of one client connection at a time: the streams of HTTP/2 and HTTP/3, and the subrequests of one request.
//! One of them uses the binding, the others go without it; each is served as its user or as anonymous.

pub(crate) mod njs;
mod subrequests;
pub(crate) mod turned_back;
mod turns;

use ntlm_testkit::client::{http2, http3};
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, within};
use tokio::sync::Mutex;

use crate::common::{login_of, refuses, serves, ticket_of};

/// The protocol of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Over {
    /// HTTP/1.1.
    One,
    /// HTTP/2 with prior knowledge.
    Clear,
    /// HTTP/2 over TLS.
    Tls,
    /// HTTP/3.
    Quic,
}

/// The protocols with streams that this nginx speaks.
fn streams() -> impl Iterator<Item = Over> {
    [Over::Clear, Over::Tls, Over::Quic]
        .into_iter()
        .filter(|over| *over != Over::Quic || Nginx::binary().has("http_v3"))
}

/// A client with one connection, over whatever protocol.
enum Any {
    One(Box<Mutex<Client>>),
    Two(http2::Client),
    Three(http3::Client),
}

impl Any {
    async fn connect(over: Over, nginx: &Nginx) -> Self {
        match over {
            Over::One => Self::One(Box::new(Mutex::new(Client::connect(nginx).await))),
            Over::Clear => Self::Two(http2::Client::connect(nginx.at("clear")).await),
            Over::Tls => Self::Two(http2::Client::connect_tls(nginx.at("tls")).await),
            Over::Quic => Self::Three(http3::Client::connect(nginx.at("quic")).await),
        }
    }

    async fn request(&self, request: Request) -> Response {
        match self {
            Self::One(client) => client.lock().await.request(request).await,
            Self::Two(client) => client.request(request).await,
            Self::Three(client) => client.request(request).await,
        }
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Request::get(path)).await
    }

    async fn authorized(&self, path: &str, value: &str) -> Response {
        self.request(Request::get(path).header("Authorization", value)).await
    }

    /// Logs in in two legs; returns the origin's connection.
    async fn login(&self, user: &str) -> u64 {
        let mut login = login_of(user);
        let challenge = self.authorized("/", &login.first()).await;
        let last = self.authorized("/", &login.next(&challenge).unwrap()).await;
        serves(&last, user, challenge.connection());
        last.connection()
    }

    /// Awaits the end of the connection from nginx's side.
    async fn closed(&self) {
        match self {
            Self::One(client) => client.lock().await.closed().await,
            Self::Two(client) => client.closed().await,
            Self::Three(client) => client.closed().await,
        }
    }

    /// Closes in order.
    async fn close(self) {
        match self {
            Self::One(client) => client.into_inner().close().await,
            Self::Two(client) => client.close().await,
            Self::Three(client) => client.close().await,
        }
    }

    /// Goes at once.
    fn abort(self) {
        match self {
            Self::One(client) => client.into_inner().abort(),
            Self::Two(client) => client.abort(),
            Self::Three(client) => client.leave(),
        }
    }
}

/// An nginx that speaks everything it can in front of `origin`, and counts at `status`.
fn everything(origin: &Origin) -> Builder {
    let new = Nginx::binary().version() >= (1, 25, 1);
    let (listen, on) = if new { ("", "http2 on;") } else { (" http2", "") };
    let quic = if Nginx::binary().has("http_v3") { "listen 127.0.0.1:{{port:quic}} quic;" } else { "" };
    Nginx::builder().set("origin", &origin.address()).conf("upstream backend { server {{origin}}; ntlm; }").conf(&format!(
        "keepalive_requests 1000000; \
         server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; }} \
         location = /nginx_status {{ stub_status; }} }} \
         server {{ {on} listen 127.0.0.1:{{{{port:clear}}}}{listen}; listen 127.0.0.1:{{{{port:tls}}}} ssl{listen}; \
         {quic} ssl_certificate {{{{cert}}}}; ssl_certificate_key {{{{key}}}}; \
         location / {{ proxy_pass http://backend; }} }}"
    ))
}

/// An origin, the nginx in front of it, a client that is logged in as alice, and the origin's connection it is bound to.
async fn logged_in(over: Over) -> (Origin, Nginx, Any, u64) {
    let origin = Origin::start().await;
    let nginx = everything(&origin).start().await;
    let alice = Any::connect(over, &nginx).await;
    let bound = alice.login("alice").await;
    (origin, nginx, alice, bound)
}

/// Waits until nginx counts so many connections that have no request: idle clients, and upstream connections that wait.
async fn waiting(nginx: &Nginx, count: usize) {
    let mut observer = Client::connect(nginx).await;
    let status = async { while status(&mut observer).await != count {} };
    within(status, || format!("nginx never has {count} waiting connections")).await;
}

async fn status(observer: &mut Client) -> usize {
    let status = observer.get("/nginx_status").await.text();
    status.rsplit_once("Waiting: ").unwrap().1.trim().parse().unwrap()
}

#[tokio::test]
async fn login_over_streams_binds_their_connection() {
    for over in streams() {
        let (origin, _nginx, alice, bound) = logged_in(over).await;
        for _ in 0..5 {
            serves(&alice.get("/").await, "alice", bound);
        }
        let body = vec![b'x'; 300_000];
        let posted = alice.request(Request::post("/", body.clone())).await;
        serves(&posted, "alice", bound);
        assert_eq!(posted.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
        assert_eq!(origin.connection_ids_open(), [bound]);
        alice.close().await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn streams_beside_busy_binding_go_without_it() {
    // Those of HTTP/2 are turned back.
    for over in streams().filter(|over| *over == Over::Quic) {
        let (origin, _nginx, alice, bound) = logged_in(over).await;
        let (slow, ()) = tokio::join!(alice.get("/?gate=slow"), async {
            origin.wait_gate("slow").await;
            let (protected, public) = tokio::join!(alice.get("/"), alice.get("/public/"));
            refuses(&protected);
            assert_eq!((public.status, public.identity()), (200, "anonymous"));
            // Credentials of such streams taint connections, which nginx closes.
            let mut login = login_of("bob");
            let challenge = alice.authorized("/", &login.first()).await;
            let last = alice.authorized("/", &login.next(&challenge).unwrap()).await;
            let ticket = alice.authorized("/", &ticket_of("bob")).await;
            refuses(&last);
            serves(&ticket, "bob", ticket.connection());
            for tainted in [challenge, last, ticket] {
                assert_ne!(tainted.connection(), bound);
                origin.wait_closed(tainted.connection()).await;
            }
            refuses(&alice.get("/").await);
            origin.open_gate("slow");
        });
        serves(&slow, "alice", bound);
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn two_logins_at_once_leave_one_binding() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = everything(&origin).start().await;
        let client = Any::connect(over, &nginx).await;
        let (alices, bobs) = (ticket_of("alice"), ticket_of("bob"));
        let (one, other, ()) = tokio::join!(
            client.authorized("/?gate=both", &alices),
            client.authorized("/?gate=both", &bobs),
            async {
                origin.wait_gate_count("both", 2).await;
                origin.open_gate("both");
            }
        );
        assert_eq!((one.identity(), other.identity()), ("alice", "bob"));
        origin.wait_open_connections(1).await;
        let kept = origin.connection_ids_open()[0];
        let kept = [one, other].into_iter().find(|response| response.connection() == kept).unwrap();
        serves(&client.get("/").await, kept.identity(), kept.connection());
    }
}

#[tokio::test]
async fn a_connection_that_idled_is_still_its_users() {
    for over in streams() {
        let (_origin, nginx, alice, bound) = logged_in(over).await;
        for _ in 0..5 {
            // The client's connection; its binding is no client.
            waiting(&nginx, 1).await;
            serves(&alice.get("/").await, "alice", bound);
        }
    }
}

#[tokio::test]
async fn idle_or_gone_clients_binding_serves_no_stranger() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = everything(&origin).worker_connections(64).start().await;
        let early = Any::connect(over, &nginx).await;
        assert_eq!(early.get("/public/").await.identity(), "anonymous");
        for round in 0..20 {
            let alice = Any::connect(over, &nginx).await;
            let bound = alice.login("alice").await;
            let late = Any::connect(over, &nginx).await;
            for stranger in [&late, &early] {
                refuses(&stranger.get("/").await);
                assert_eq!(stranger.get("/public/").await.identity(), "anonymous");
            }
            serves(&alice.get("/").await, "alice", bound);
            if round % 2 == 0 {
                alice.close().await
            } else {
                alice.abort()
            }
            origin.wait_closed(bound).await;
            let successor = Any::connect(over, &nginx).await;
            for stranger in [&successor, &late, &early] {
                refuses(&stranger.get("/").await);
            }
        }
    }
}

#[tokio::test]
async fn client_leaving_within_a_stream_ends_its_binding() {
    for over in streams() {
        let (origin, _nginx, alice, bound) = logged_in(over).await;
        tokio::select! {
            response = alice.get("/?gate=slow") => panic!("{response:?}"),
            () = origin.wait_gate("slow") => {}
        }
        alice.abort();
        origin.wait_gate_deserted("slow").await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn binding_end_closes_client_without_streams() {
    for over in streams() {
        let (origin, nginx, alice, bound) = logged_in(over).await;
        waiting(&nginx, 1).await;
        origin.close_connection(bound).await;
        alice.closed().await;
    }
}

#[tokio::test]
async fn binding_end_leaves_open_streams_alone() {
    for over in streams() {
        let origin = Origin::start().await;
        let nginx = everything(&origin).start().await;
        let alice = Any::connect(over, &nginx).await;
        // Before it has been idle once, nginx tells a client to go as soon as its open streams have ended.
        assert_eq!(alice.get("/public/").await.status, 200);
        waiting(&nginx, 1).await;
        let (open, ()) = tokio::join!(alice.get("/public/?gate=open"), async {
            origin.wait_gate("open").await;
            let bound = alice.login("alice").await;
            origin.close_connection(bound).await;
            refuses(&alice.get("/").await);
            origin.open_gate("open");
        });
        assert_eq!((open.status, open.identity()), (200, "anonymous"));
        let again = alice.login("alice").await;
        serves(&alice.get("/").await, "alice", again);
    }
}

#[tokio::test]
async fn interleaved_clients_of_all_protocols_keep_identities() {
    let origin = Origin::start().await;
    let nginx = everything(&origin).start().await;
    let mut clients = Vec::new();
    for over in [Over::One].into_iter().chain(streams()) {
        for name in ["alice", "bob"] {
            let user = format!("{name}{over:?}");
            clients.push((Any::connect(over, &nginx).await, login_of(&user), user));
        }
    }
    let mut challenges = Vec::new();
    for (client, login, _) in &mut clients {
        challenges.push(client.authorized("/", &login.first()).await);
    }
    for ((client, login, user), challenge) in clients.iter_mut().zip(&challenges) {
        let last = client.authorized("/", &login.next(challenge).unwrap()).await;
        serves(&last, user, challenge.connection());
    }
    for _ in 0..10 {
        for ((client, _, user), challenge) in clients.iter().zip(&challenges) {
            serves(&client.get("/").await, user, challenge.connection());
        }
    }
    // Half of them leave, the others stay.
    for ((client, _, user), challenge) in clients.into_iter().zip(&challenges) {
        if user.starts_with("alice") {
            client.close().await;
            origin.wait_closed(challenge.connection()).await;
        } else {
            serves(&client.get("/").await, &user, challenge.connection());
        }
    }
}
