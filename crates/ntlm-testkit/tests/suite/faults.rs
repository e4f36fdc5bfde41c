//! Shortages of memory, descriptors and connections. A request may fail for one; no client
//! gets what is another's, no worker ends, and all is well when the shortage is over.

mod below;
mod goodbyes;
mod renegotiations;

use std::collections::BTreeMap;

use ntlm_testkit::client::{Login, http2, kerberos_token};
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::Leg;
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

use self::below::Below;

/// A client that takes what comes: its requests may fail, and its connection may be closed.
struct Stoic {
    user: &'static str,
    client: Option<Client>,
}

impl Stoic {
    async fn connect(nginx: &Nginx, user: &'static str) -> Self {
        Self { user, client: Some(Client::builder().name(user).connect(nginx).await) }
    }

    /// The answer, if there is one; it is for this user or anonymous.
    async fn request(&mut self, request: Request) -> Option<Response> {
        let Ok(response) = self.client.as_mut()?.try_request(request).await else {
            self.client = None;
            return None;
        };
        match response.status {
            200 => assert_eq!(response.identity(), self.user, "{response:?}"),
            401 => assert_eq!(response.identity(), "anonymous", "{response:?}"),
            500 | 502 => assert_eq!(response.get("X-Identity"), None, "{response:?}"),
            _ => panic!("{response:?}"),
        }
        if response.says_close() {
            self.client = None;
        }
        Some(response)
    }

    async fn get(&mut self, path: &str) -> Option<Response> {
        self.request(Request::get(path)).await
    }

    async fn log_in(&mut self, path: &str) {
        let mut login = Login::new("NTLM", self.user, &password_of(self.user));
        let mut authorization = Some(login.first());
        while let Some(value) = authorization {
            let response = self.request(Request::get(path).header("Authorization", &value)).await;
            authorization = response.and_then(|response| login.next(&response));
        }
    }

    async fn show_ticket(&mut self, path: &str) {
        let ticket = kerberos_token(self.user, &password_of(self.user));
        self.request(Request::get(path).header("Authorization", &format!("Negotiate {ticket}"))).await;
    }
}

/// A request before anything is refused: the worker that answers it has started.
async fn assert_serves(nginx: &Nginx, path: &str) {
    let mut first = Client::builder().name("first").connect(nginx).await;
    assert_eq!(first.get(path).await.status, 401);
}

/// The lives of some clients, with all that makes the module ask for memory, and room for one binding.
async fn live(nginx: &Nginx, path: &str) {
    let mut alice = Stoic::connect(nginx, "alice").await;
    alice.get(path).await;
    alice.log_in(path).await;
    alice.get(path).await;
    let mut carol = Stoic::connect(nginx, "carol").await;
    carol.show_ticket(path).await;
    carol.get(path).await;
    // She was evicted, and is told so, or her connection is closed.
    alice.get(path).await;
    let mut mallory = Stoic::connect(nginx, "mallory").await;
    for _ in 0..2 {
        if let Some(response) = mallory.get(path).await {
            assert_ne!(response.status, 200, "{response:?}");
        }
    }
    carol.show_ticket(path).await;
    // erin is the last client: no other takes her slot, and her state stays.
    let mut erin = Stoic::connect(nginx, "erin").await;
    erin.show_ticket(path).await;
}

/// All is well: strangers are strangers on every connection there is, and a login goes through.
async fn assert_well(nginx: &Nginx, origin: &Origin, path: &str) {
    let mut strangers = Vec::new();
    for _ in 0..6 {
        let mut stranger = Client::builder().name("stranger").connect(nginx).await;
        stranger.send(Request::get(path)).await;
        strangers.push(stranger);
    }
    for stranger in &mut strangers {
        let response = stranger.read_response().await;
        assert_eq!((response.status, response.identity()), (401, "anonymous"), "{response:?}");
    }
    let mut dave = Client::builder().name("dave").connect(nginx).await;
    let connection = dave.login("dave", path).await[1].connection();
    let response = dave.get(path).await;
    assert_eq!((response.identity(), response.connection()), ("dave", connection));
    dave.close().await;
    assert_nothing_is_left(origin).await;
}

/// Every connection of the origin's that carried credentials carried one client's requests from then on, and is closed.
async fn assert_nothing_is_left(origin: &Origin) {
    let mut owners = BTreeMap::new();
    for entry in origin.ledger() {
        let client = entry.x_client.clone().expect("every client says who it is");
        if entry.leg != Leg::None {
            owners.entry(entry.connection).or_insert_with(|| client.clone());
        }
        if let Some(owner) = owners.get(&entry.connection) {
            assert_eq!(*owner, client, "{}", origin.ledger_text());
        }
    }
    for connection in owners.into_keys() {
        origin.wait_closed(connection).await;
    }
}

/// Plays [`live`] on a fresh nginx with each call refused in turn that the module makes for memory.
async fn refuse_each(below: &Below, origin: &Origin, builder: Builder, path: &str, forever: bool) -> i64 {
    for call in 1.. {
        origin.clear_ledger();
        let nginx = below.under(builder.clone()).start().await;
        assert_serves(&nginx, path).await;
        let workers = nginx.worker_pids();
        if forever {
            below.refuse_from(call)
        } else {
            below.refuse(call)
        }
        live(&nginx, path).await;
        let refused = below.relent();
        assert_nothing_is_left(origin).await;
        assert_well(&nginx, origin, path).await;
        assert_eq!(nginx.worker_pids(), workers, "a worker ended of call {call}\n{}", nginx.error_log());
        nginx.stop().await;
        if refused == 0 {
            return call;
        }
    }
    unreachable!("the module asks for memory now and then only")
}

fn in_the_clear(origin: &Origin) -> Builder {
    Nginx::builder().in_front_of(&[origin], "keepalive 4; ntlm 1;")
}

#[tokio::test]
async fn memory_refused_once_costs_one_request() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    let tried = refuse_each(&below, &origin, in_the_clear(&origin), "/", false).await;
    assert!(tried > 20, "{tried}");
    for name in ["ngx_palloc", "ngx_pnalloc", "ngx_pool_cleanup_add", "malloc", "ngx_handle_read_event"] {
        assert_ne!(below.calls(name), 0, "the module never calls {name}");
    }
}

#[tokio::test]
async fn memory_refused_for_a_time_leaves_nothing_behind() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    refuse_each(&below, &origin, in_the_clear(&origin), "/", true).await;
}

#[tokio::test]
async fn memory_refused_to_tls_route_costs_one_request() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::builder().tls().start().await;
    let builder = Nginx::builder().set("origin", &origin.address()).conf(
        "upstream backend { server {{origin}}; keepalive 4; ntlm 1; } \
         server { listen 127.0.0.1:{{port}}; location / { proxy_pass https://backend; \
         proxy_ssl_server_name on; proxy_ssl_name $host; \
         proxy_ssl_certificate {{client_cert}}; proxy_ssl_certificate_key {{client_key}}; } }",
    );
    refuse_each(&below, &origin, builder, "/", false).await;
    assert_ne!(below.calls("ngx_http_complex_value"), 0);
}

#[tokio::test]
async fn memory_refused_to_login_leaves_connection_usable() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    let listen = if Nginx::binary().version() >= (1, 25, 1) { "; http2 on" } else { " http2" };
    let nginx = Nginx::builder().set("origin", &origin.address()).set("listen", listen).conf(
        "upstream backend { server {{origin}}; ntlm; } \
         server { listen 127.0.0.1:{{port}}{{listen}}; location / { proxy_pass http://backend; } }",
    );
    let nginx = below.under(nginx).start().await;
    // The worker that answers has started.
    assert_eq!(http2::Client::connect(&nginx).await.get("/").await.status, 401);
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    let ticket = || Request::get("/").header("Authorization", &ticket);
    for call in 1.. {
        let alice = http2::Client::connect(&nginx).await;
        below.refuse(call);
        alice.request(ticket()).await;
        let refused = below.relent();
        let bound = alice.request(ticket()).await.connection();
        let response = alice.request(Request::get("/")).await;
        let served = (response.status, response.identity(), response.connection());
        assert_eq!(served, (200, "alice", bound), "call {call} was refused");
        alice.close().await;
        if refused == 0 {
            assert_ne!(below.calls("ngx_handle_read_event"), 0);
            return;
        }
    }
}

#[tokio::test]
async fn unevaluated_certificate_differs_from_no_certificate() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::builder().tls().start().await;
    let nginx = Nginx::builder().set("origin", &origin.address()).conf(
        "upstream backend { server {{origin}}; ntlm; } server { listen 127.0.0.1:{{port}}; \
         location /with/ { proxy_pass https://backend; \
         proxy_ssl_certificate {{client_cert}}; proxy_ssl_certificate_key {{client_key}}; } \
         location /without/ { proxy_pass https://backend; } }",
    );
    let nginx = below.under(nginx).start().await;
    assert_serves(&nginx, "/with/").await;
    for (first, second) in [("/with/", "/without/"), ("/without/", "/with/")] {
        for during_the_first in [true, false] {
            for call in 1.. {
                let mut alice = Stoic::connect(&nginx, "alice").await;
                let mut refused = 0;
                if during_the_first {
                    below.refuse_from(call);
                    alice.show_ticket(first).await;
                    refused = below.relent();
                } else {
                    alice.show_ticket(first).await;
                    below.refuse_from(call);
                }
                if let Some(response) = alice.get(second).await {
                    assert_ne!(response.status, 200, "call {call} refused between {first} and {second}");
                }
                if refused + below.relent() == 0 {
                    break;
                }
            }
        }
    }
}

#[tokio::test]
async fn answer_token_without_memory_keeps_connection_private() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    let nginx = below.under(Nginx::builder().in_front_of(&[&origin], "keepalive 4; ntlm;")).start().await;
    assert_serves(&nginx, "/").await;
    for call in 1.. {
        let mut alice = Client::builder().name("alice").connect(&nginx).await;
        below.refuse(call);
        let response = alice.get("/public/?token_without_auth").await;
        // Where there is no memory to see to the connection, the request fails with it.
        let tainted = match response.get("X-Connection") {
            Some(_) => response.connection(),
            None => origin.ledger().last().expect("a request").connection,
        };
        let refused = below.relent();
        let mut bob = Client::builder().name("bob").connect(&nginx).await;
        let response = bob.get("/").await;
        assert_ne!(response.connection(), tainted, "call {call} refused: {response:?}");
        if refused == 0 {
            assert_eq!(alice.get("/").await.connection(), tainted);
        }
        drop(alice);
        origin.wait_closed(tainted).await;
        if refused == 0 {
            assert!(call > 2, "{call}");
            return;
        }
    }
}

#[tokio::test]
async fn memory_refused_to_directives_fails_the_configuration() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    for call in 1.. {
        below.refuse(call);
        let test = below.under(in_the_clear(&origin)).config_test().await;
        if below.relent() == 0 {
            assert_eq!(test.exit, Some(0), "{}", test.stderr);
            assert!(call > 1);
            return;
        }
        assert_eq!(test.exit, Some(1), "call {call}: {}", test.stderr);
    }
}

/// Whether a worker has all descriptors open that it may have.
fn is_out_of_descriptors(nginx: &Nginx, limit: usize) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", nginx.worker_pids()[0])).expect("a worker");
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // Who started the tests may have left one above open.
    numbers.filter(|number: &usize| *number < limit).count() == limit
}

#[tokio::test]
async fn descriptor_shortage_keeps_logins_and_delays_others() {
    const LIMIT: usize = 48;
    // valgrind lets a process open more than it may.
    if Nginx::binary().is_wrapped() {
        return;
    }
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } server { listen 127.0.0.1:{{port}}; \
             location / { proxy_pass http://backend; } location /here { return 204; } }",
        )
        .events("accept_mutex_delay 10ms;")
        .main(&format!("worker_rlimit_nofile {LIMIT};"))
        .allow_log("(24: Too many open files)")
        .start()
        .await;
    let workers = nginx.worker_pids();
    let mut users = Vec::new();
    for user in ["alice", "bob", "carol", "dave"] {
        let mut client = Client::builder().name(user).connect(&nginx).await;
        let connection = client.login(user, "/").await[1].connection();
        users.push((user, client, connection));
    }
    let mut idle = Vec::new();
    while !is_out_of_descriptors(&nginx, LIMIT) {
        let mut client = Client::connect(&nginx).await;
        assert_eq!(client.get("/here").await.status, 204);
        idle.push(client);
    }
    // The last descriptor is a client's; none is left for a connection to the origin.
    let mut erin = idle.pop().expect("there was room for a client");
    assert_eq!(erin.leg1("erin", "/").await.status, 500);
    erin.closed().await;
    let mut frank = Client::connect(&nginx).await;
    assert_eq!(frank.get("/here").await.status, 204);
    let mut grace = Client::builder().name("grace").connect(&nginx).await;
    grace.send(Request::get("/")).await;
    nginx.wait_log(|log| log.contains("accept4() failed (24: Too many open files)")).await;
    for (user, client, connection) in &mut users {
        let response = client.get("/").await;
        assert_eq!((response.identity(), response.connection()), (*user, *connection));
    }
    let (_, alice, of_alice) = users.remove(0);
    alice.close().await;
    origin.wait_closed(of_alice).await;
    assert_eq!(grace.read_response().await.status, 401);
    let of_grace = grace.login("grace", "/").await[1].connection();
    assert_eq!(grace.get("/").await.connection(), of_grace);
    drop((users, idle, frank, grace));
    assert_nothing_is_left(&origin).await;
    assert_eq!(nginx.worker_pids(), workers);
    let mut heidi = Client::builder().name("heidi").connect(&nginx).await;
    heidi.login("heidi", "/").await;
}

#[tokio::test]
async fn connection_shortage_mixes_up_no_users() {
    const CROWD: [&str; 5] = ["alice", "bob", "carol", "erin", "frank"];
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .in_front_of(&[&origin], "keepalive 4; ntlm;")
        .worker_connections(24)
        .allow_log("24 worker_connections are not enough")
        .start()
        .await;
    let workers = nginx.worker_pids();
    let mut crowd = Vec::new();
    for number in 0..60 {
        let mut client = Stoic::connect(&nginx, CROWD[number % CROWD.len()]).await;
        crowd.push(async move {
            client.log_in("/").await;
            for _ in 0..3 {
                client.get("/").await;
            }
            client
        });
    }
    let mut lives = tokio::task::JoinSet::new();
    for life in crowd {
        lives.spawn(life);
    }
    let clients = lives.join_all().await;
    // Before, nginx does not tell of connections that it closes to have them anew.
    if Nginx::binary().version() >= (1, 19, 2) {
        assert!(nginx.error_log().contains("24 worker_connections are not enough"));
    }
    drop(clients);
    assert_nothing_is_left(&origin).await;
    origin.clear_ledger();
    assert_well(&nginx, &origin, "/").await;
    assert_eq!(nginx.worker_pids(), workers);
}
