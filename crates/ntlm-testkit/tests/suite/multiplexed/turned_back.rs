//! Streams of HTTP/2 that nginx turns back to HTTP/1.1, and those that it does not: `ntlm_multiplexing`.

pub(crate) mod anew;
mod curl;
mod given_up;

use ntlm_testkit::client::{Login, Scheme, http2};
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::{Leg, body_hash};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, pause, slowness, together, within};

use super::{Any, Over, logged_in};
use crate::common::{login_of, refuses, serves, ticket_of};

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered(Box<Response>),
    TurnedBack,
}

impl End {
    #[track_caller]
    fn answer(self) -> Response {
        match self {
            Self::Answered(response) => *response,
            Self::TurnedBack => panic!("the stream was turned back"),
        }
    }
}

async fn ask(client: &http2::Client, request: Request) -> End {
    match client.try_request(request).await {
        Ok(response) => End::Answered(Box::new(response)),
        Err(error) if error.is_reset() && error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED) => {
            End::TurnedBack
        }
        Err(error) => panic!("neither an answer nor turned back: {error}"),
    }
}

async fn get(client: &http2::Client, target: &str) -> End {
    ask(client, Request::get(target)).await
}

async fn with(client: &http2::Client, target: &str, authorization: &str) -> End {
    ask(client, Request::get(target).header("Authorization", authorization)).await
}

/// An nginx before `origin` with HTTP/1.1, HTTP/2 in the clear and HTTP/2 over TLS, a group with these lines, and these lines
/// in its server.
pub(super) fn front(origin: &Origin, group: &str, lines: &str) -> Builder {
    let new = Nginx::binary().version() >= (1, 25, 1);
    let (listen, on) = if new { ("", "http2 on;") } else { (" http2", "") };
    let quic = if Nginx::binary().has("http_v3") { "listen 127.0.0.1:{{port:quic}} quic;" } else { "" };
    Nginx::builder().set("origin", &origin.address()).conf(&format!(
        "upstream backend {{ server {{{{origin}}}}; {group} }} \
         log_format backs '$status $ntlm_binding $server_protocol $request_uri'; \
         access_log {{{{prefix}}}}/backs.log backs; keepalive_requests 1000000; \
         server {{ {on} listen 127.0.0.1:{{{{port}}}}; listen 127.0.0.1:{{{{port:clear}}}}{listen}; \
         listen 127.0.0.1:{{{{port:tls}}}} ssl{listen}; {quic} \
         ssl_certificate {{{{cert}}}}; ssl_certificate_key {{{{key}}}}; {lines} \
         location = /status {{ ntlm_status; access_log off; }} \
         location = /nginx_status {{ stub_status; access_log off; }} }}"
    ))
}

pub(super) const PASS: &str = "location / { proxy_pass http://backend; }";

/// The log's lines that begin so.
fn logged(nginx: &Nginx, start: &str) -> Vec<String> {
    let log = std::fs::read_to_string(nginx.prefix().join("backs.log")).unwrap_or_default();
    log.lines().filter(|line| line.starts_with(start)).map(str::to_owned).collect()
}

/// Awaits so many streams in the log and in the status that were turned back.
async fn turned_back(nginx: &Nginx, count: usize) {
    let written = async {
        while logged(nginx, "421 ").len() < count {
            pause().await
        }
    };
    within(written, || format!("not {count} streams, but {:?}", logged(nginx, ""))).await;
    let lines = logged(nginx, "421 ");
    assert_eq!(lines.len(), count, "{lines:?}");
    assert!(lines.iter().all(|line| line.starts_with("421 fallback HTTP/2.0 /")), "{lines:?}");
    let status = Client::connect(nginx).await.get("/status").await.text();
    assert!(status.contains(&format!("\"fallback\":{count},")), "{status}");
}

/// Answers to challenges that came over a connection which had given another challenge: a wrong password to a domain controller.
fn astray(origin: &Origin) -> Vec<String> {
    let ledger = origin.ledger();
    let astray = ledger.iter().enumerate().filter(|(at, entry)| {
        let mut before = ledger[..*at].iter().rev().filter(|before| before.connection == entry.connection);
        entry.leg == Leg::Authenticate
            && entry.status == 401
            && before
                .find(|before| before.leg != Leg::None)
                .is_some_and(|before| before.leg == Leg::Negotiate)
    });
    astray.map(|(_, entry)| entry.to_string()).collect()
}

/// Waits until nginx answers the client's refusals again, after the challenge of its login was turned back.
async fn moment_over(client: &http2::Client) {
    let answered = async {
        while get(client, "/").await == End::TurnedBack {
            pause().await;
        }
    };
    within(answered, || "nginx turns refusals back for ever".to_owned()).await;
}

/// The requests that the origin has seen.
fn seen(origin: &Origin) -> usize {
    origin.ledger().len()
}

#[tokio::test]
async fn stream_beside_busy_binding_is_turned_back() {
    for over in [Over::Clear, Over::Tls] {
        let (origin, nginx, alice, bound) = logged_in(over).await;
        let Any::Two(alice) = alice else { unreachable!() };
        let (slow, ()) = tokio::join!(alice.get("/?gate=slow"), async {
            origin.wait_gate("slow").await;
            // A page that asks for no login is answered.
            assert_eq!(get(&alice, "/public/").await.answer().identity(), "anonymous");
            let before = seen(&origin);
            assert_eq!(with(&alice, "/", &login_of("bob").first()).await, End::TurnedBack);
            assert_eq!(with(&alice, "/public/", "Negotiate oYG2").await, End::TurnedBack);
            assert_eq!(seen(&origin), before, "credentials reached the origin");
            assert_eq!(get(&alice, "/").await, End::TurnedBack);
            assert_eq!(ask(&alice, Request::new("HEAD", "/")).await, End::TurnedBack);
            assert_eq!(ask(&alice, Request::post("/", "")).await, End::TurnedBack);
            origin.open_gate("slow");
        });
        serves(&slow, "alice", bound);
        serves(&alice.get("/").await, "alice", bound);
        nginx
            .wait_log(|log| log.contains("set \"http2 off\", and no \"quic\", on the server with \"ntlm\""))
            .await;
    }
}

#[tokio::test]
async fn turned_back_streams_are_logged_and_counted() {
    let origin = Origin::start().await;
    // The status names the group.
    let nginx = front(&origin, "ntlm;", PASS).as_written().start().await;
    let alice = http2::Client::connect(nginx.at("clear")).await;
    alice.login("alice", "/").await;
    let (_, ()) = tokio::join!(alice.get("/?gate=slow"), async {
        origin.wait_gate("slow").await;
        assert_eq!(get(&alice, "/").await, End::TurnedBack);
        assert_eq!(with(&alice, "/", &login_of("bob").first()).await, End::TurnedBack);
        origin.open_gate("slow");
    });
    turned_back(&nginx, 2).await;
    let metrics = Client::connect(&nginx).await.get("/status?format=prometheus").await.text();
    assert!(metrics.contains("nginx_ntlm_requests_fallback_total{upstream=\"backend\"} 2"), "{metrics}");
}

#[tokio::test]
async fn streams_are_turned_back_where_proxy_ntlm_binds() {
    let origin = Origin::start().await;
    let pass = "location / { proxy_ntlm on; proxy_pass http://{{origin}}; }";
    let nginx = front(&origin, "ntlm;", pass).start().await;
    let client = http2::Client::connect(nginx.at("clear")).await;
    // A login that is disturbed by another one, then one that is not.
    let (mut alice, mut bob) = (login_of("alice"), login_of("bob"));
    let first = alice.first();
    let (challenge, ()) = tokio::join!(with(&client, "/?gate=login", &first), async {
        origin.wait_gate("login").await;
        assert_eq!(with(&client, "/", &bob.first()).await, End::TurnedBack);
        origin.open_gate("login");
    });
    assert_eq!(challenge, End::TurnedBack);
    // nginx does not turn back the refusals of another client connection.
    let client = http2::Client::connect(nginx.at("clear")).await;
    client.login("alice", "/").await;
    let (slow, ()) = tokio::join!(client.get("/?gate=slow"), async {
        origin.wait_gate("slow").await;
        let before = seen(&origin);
        assert_eq!(with(&client, "/", &login_of("bob").first()).await, End::TurnedBack);
        assert_eq!(seen(&origin), before);
        assert_eq!(get(&client, "/").await, End::TurnedBack);
        assert_eq!(get(&client, "/public/").await.answer().status, 200);
        origin.open_gate("slow");
    });
    assert_eq!((slow.status, slow.identity()), (200, "alice"));
    let line = |line: &String| line.starts_with("421 fallback HTTP/2.0 /");
    assert_eq!(logged(&nginx, "421 ").iter().filter(|logged| line(logged)).count(), 4);
}

#[tokio::test]
async fn logins_at_once_never_answer_each_other() {
    for scheme in [Scheme::from("NTLM"), Scheme::spnego()] {
        let origin = Origin::start().await;
        let nginx = front(&origin, "ntlm;", PASS).start().await;
        let client = http2::Client::connect(nginx.at("clear")).await;
        let login = |user: &str| Login::new(scheme.clone(), user, &ntlm_testkit::password_of(user));
        let (mut alice, mut bob) = (login("alice"), login("bob"));
        let first = alice.first();
        let (challenge, ()) = tokio::join!(with(&client, "/?gate=slow", &first), async {
            origin.wait_gate("slow").await;
            // A login begins that has no binding yet.
            let before = seen(&origin);
            assert_eq!(with(&client, "/", &bob.first()).await, End::TurnedBack);
            assert_eq!(seen(&origin), before);
            assert_eq!(get(&client, "/").await, End::TurnedBack);
            assert_eq!(get(&client, "/public/").await.answer().status, 200);
            origin.open_gate("slow");
        });
        // curl has given its connection up by now, and the login with it.
        assert_eq!(challenge, End::TurnedBack);
        let ledger = origin.ledger();
        let begun = ledger.iter().find(|entry| entry.leg == Leg::Negotiate).unwrap();
        origin.wait_closed(begun.connection).await;
        // nginx turns refusals of this client back for a second, because the client gives the login up.
        if slowness() == 1 {
            assert_eq!(get(&client, "/").await, End::TurnedBack);
            assert_eq!(with(&client, "/", &login("alice").first()).await, End::TurnedBack);
            assert_eq!(get(&client, "/public/").await.answer().status, 200);
        }
        moment_over(&client).await;
        let mut alice = login("alice");
        let challenge = with(&client, "/", &alice.first()).await.answer();
        let bound = challenge.connection();
        // The challenge has not been answered yet.
        assert_eq!(with(&client, "/", &login("bob").first()).await, End::TurnedBack);
        assert_eq!(get(&client, "/").await, End::TurnedBack);
        let public = get(&client, "/public/").await.answer();
        assert_eq!(public.identity(), "anonymous");
        assert_ne!(public.connection(), bound);
        refuses(&ask(&client, Request::post("/", "body")).await.answer());
        let last = with(&client, "/", &alice.next(&challenge).unwrap()).await.answer();
        serves(&last, "alice", bound);
        // One after the other they stay where they are.
        let mut bob = login("bob");
        let challenge = with(&client, "/", &bob.first()).await.answer();
        let last = with(&client, "/", &bob.next(&challenge).unwrap()).await.answer();
        serves(&last, "bob", bound);
        assert_eq!(astray(&origin), Vec::<String>::new());
    }
}

#[tokio::test]
async fn stream_beside_first_ticket_is_turned_back() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    let alice = http2::Client::connect(nginx.at("clear")).await;
    // curl and libsoup send one ticket for all the streams that they open at once.
    let ticket = ticket_of("alice");
    let (slow, ()) = tokio::join!(with(&alice, "/?gate=slow", &ticket), async {
        origin.wait_gate("slow").await;
        assert_eq!(get(&alice, "/").await, End::TurnedBack);
        assert_eq!(get(&alice, "/public/").await.answer().status, 200);
        // Others send a ticket for each.
        let beside = with(&alice, "/", &ticket).await.answer();
        assert_eq!((beside.status, beside.identity()), (200, "alice"));
        origin.open_gate("slow");
    });
    assert_eq!((slow.answer().identity(), logged(&nginx, "421 ").len()), ("alice", 1));
}

#[tokio::test]
async fn challenge_is_over_when_other_credentials_are_accepted() {
    for target in ["/", "/?nomutual"] {
        let origin = Origin::start().await;
        let nginx = front(&origin, "ntlm;", PASS).start().await;
        let client = http2::Client::connect(nginx.at("clear")).await;
        let bound = with(&client, target, &login_of("alice").first()).await.answer().connection();
        // A token that the module cannot read, and the origin accepts.
        serves(&with(&client, target, &ticket_of("bob")).await.answer(), "bob", bound);
        serves(&get(&client, "/").await.answer(), "bob", bound);
    }
}

/// A challenge of `user` on a connection of its own, and its answer.
async fn elsewhere(nginx: &Nginx, user: &str) -> String {
    let mut login = login_of(user);
    let challenge = Client::connect(nginx).await.get_with("/", "Authorization", &login.first()).await;
    login.next(&challenge).unwrap()
}

#[tokio::test]
async fn answer_to_another_challenge_is_not_sent() {
    for over in [Over::One].into_iter().chain(super::streams()) {
        let origin = Origin::start().await;
        let nginx = front(&origin, "ntlm;", PASS).start().await;
        let client = match over {
            Over::One => Any::One(Box::new(Client::connect(&nginx).await.into())),
            _ => Any::connect(over, &nginx).await,
        };
        let mut alice = login_of("alice");
        let challenge = client.authorized("/", &alice.first()).await;
        let bobs = elsewhere(&nginx, "bob").await;
        // Before the login has come to its end, and after it.
        for _ in 0..2 {
            match &client {
                Any::Two(client) => assert_eq!(with(client, "/", &bobs).await, End::TurnedBack),
                _ => {
                    let refused = client.authorized("/", &bobs).await;
                    assert_eq!(refused.status, 401);
                    assert_ne!(refused.connection(), challenge.connection());
                }
            }
            let Some(last) = alice.next(&challenge) else { continue };
            serves(&client.authorized("/", &last).await, "alice", challenge.connection());
        }
        serves(&client.get("/").await, "alice", challenge.connection());
        let of_binding = |entry: &&ntlm_testkit::origin::Entry| entry.connection == challenge.connection();
        assert_eq!(origin.ledger().iter().filter(of_binding).filter(|entry| entry.status == 401).count(), 1);
    }
}

#[tokio::test]
async fn repeated_answer_is_sent_to_its_connection() {
    for over in [Over::One].into_iter().chain(super::streams()) {
        let origin = Origin::start().await;
        let nginx = super::everything(&origin).start().await;
        let client = Any::connect(over, &nginx).await;
        let mut login = login_of("alice");
        let challenge = client.authorized("/", &login.first()).await;
        let last = login.next(&challenge).unwrap();
        serves(&client.authorized("/", &last).await, "alice", challenge.connection());
        // Some clients send it with each request; this origin refuses the second time, over the same connection.
        let again = client.authorized("/", &last).await;
        assert_eq!((again.status, again.connection()), (401, challenge.connection()));
    }
}

#[tokio::test]
async fn off_turns_back_every_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm; ntlm_multiplexing off;", PASS).start().await;
    for client in
        [http2::Client::connect(nginx.at("clear")).await, http2::Client::connect_tls(nginx.at("tls")).await]
    {
        let before = seen(&origin);
        assert_eq!(with(&client, "/public/", &login_of("alice").first()).await, End::TurnedBack);
        assert_eq!(with(&client, "/", "Kerberos YII=").await, End::TurnedBack);
        assert_eq!(with(&client, "/", &elsewhere(&nginx, "alice").await).await, End::TurnedBack);
        assert_eq!(seen(&origin), before + 1);
        assert_eq!(get(&client, "/").await, End::TurnedBack);
        assert_eq!(get(&client, "/public/").await.answer().status, 200);
        // A client that can authenticate its requests need not log in.
        let basic = "/?field=WWW-Authenticate:Basic";
        assert_eq!(get(&client, basic).await.answer().status, 401);
        assert_eq!(get(&client, "/?bearer").await.answer().status, 401);
        assert_eq!(with(&client, "/", "Basic YTpi").await.answer().status, 401);
        assert_eq!(with(&client, "/", "Bearer abc").await.answer().status, 401);
        assert_eq!(with(&client, "/", "Digest abc").await, End::TurnedBack);
        assert_eq!(get(&client, "/?status=407&ignore").await.answer().status, 407);
        // Requests with bodies log in where they are.
        let mut login = login_of("alice");
        let post = |value: &str| Request::post("/", "body").header("Authorization", value);
        let challenge = ask(&client, post(&login.first())).await.answer();
        let last = ask(&client, post(&login.next(&challenge).unwrap())).await.answer();
        serves(&last, "alice", challenge.connection());
        serves(&get(&client, "/").await.answer(), "alice", challenge.connection());
    }
    assert!(!nginx.error_log().contains("http2 off"), "the operator has said so already");
    // Over HTTP/1.1 and HTTP/3 nothing changes.
    Client::connect(&nginx).await.login("alice", "/").await;
    if Nginx::binary().has("http_v3") {
        Any::connect(Over::Quic, &nginx).await.login("alice").await;
    }
}

#[tokio::test]
async fn off_leaves_other_groups_alone() {
    let origin = Origin::start().await;
    let lines = "location / { proxy_pass http://backend; } location /plain/ { proxy_pass http://plain; } \
                 location /other/ { proxy_pass http://other; } \
                 location /hidden/ { proxy_pass http://backend; proxy_hide_header WWW-Authenticate; } \
                 location /mirrored/ { mirror /mirror; proxy_pass http://plain; } \
                 location = /mirror { internal; proxy_pass http://backend; }";
    let nginx = front(&origin, "ntlm; ntlm_multiplexing off;", lines)
        .conf("upstream plain { server {{origin}}; } upstream other { server {{origin}}; ntlm; ntlm_multiplexing on; }")
        .start()
        .await;
    let client = http2::Client::connect(nginx.at("clear")).await;
    for path in ["/plain/", "/other/", "/hidden/", "/mirrored/"] {
        assert_eq!(get(&client, path).await.answer().status, 401, "{path}");
    }
    assert_eq!(with(&client, "/mirrored/", &login_of("alice").first()).await.answer().status, 401);
    client.login("alice", "/other/").await;
    assert_eq!(get(&client, "/").await, End::TurnedBack);
}

#[tokio::test]
async fn refusals_that_nginx_passes_on_itself_are_turned_back() {
    let origin = Origin::start().await;
    let lines = "location / { proxy_pass http://backend; } \
         location /checked { auth_request /auth; proxy_pass http://backend; } \
         location = /auth { internal; proxy_pass http://backend; proxy_method HEAD; } \
         location /page { proxy_pass http://backend; proxy_intercept_errors on; error_page 401 /401.html; } \
         location /named { proxy_pass http://backend; proxy_intercept_errors on; error_page 401 @named; } \
         location @named { return 401 named; } \
         location = /401.html { internal; root {{prefix}}; } \
         location /other { proxy_pass http://backend; proxy_intercept_errors on; error_page 401 =200 /200.html; } \
         location = /200.html { internal; return 200 in; }";
    for group in ["ntlm; ntlm_multiplexing off;", "ntlm;"] {
        let nginx = front(&origin, group, lines).start().await;
        std::fs::write(nginx.prefix().join("401.html"), "a page").unwrap();
        let client = http2::Client::connect(nginx.at("clear")).await;
        let check = async || {
            for path in ["/checked", "/page", "/named"] {
                assert_eq!(get(&client, path).await, End::TurnedBack, "{path} {group}");
            }
            assert_eq!(with(&client, "/checked", &login_of("bob").first()).await, End::TurnedBack);
            assert_eq!(get(&client, "/other").await.answer().status, 200);
        };
        if group == "ntlm;" {
            client.login("alice", "/").await;
            tokio::join!(client.get("/?gate=slow"), async {
                origin.wait_gate("slow").await;
                check().await;
                origin.open_gate("slow");
            });
        } else {
            check().await;
        }
        turned_back(&nginx, 4).await;
    }
}

#[tokio::test]
async fn other_streams_go_on_beside_turned_back_ones() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm; ntlm_multiplexing off;", PASS).workers(1).start().await;
    let client = http2::Client::connect_tls(nginx.at("tls")).await;
    for _ in 0..10 {
        let streams: Vec<_> = (0..90)
            .map(|number| match number % 3 {
                0 => Request::get("/"),
                1 => Request::get("/public/?size=20000"),
                _ => Request::post("/public/", vec![b'x'; 2000]),
            })
            .map(|request| async { ask(&client, request).await })
            .collect();
        let ends = together(streams).await;
        for (number, end) in ends.into_iter().enumerate() {
            match number % 3 {
                0 => assert_eq!(end, End::TurnedBack),
                1 => assert_eq!(end.answer().body.len(), 20_000),
                _ => assert_eq!(end.answer().get("X-Body-Hash"), Some(body_hash(&[b'x'; 2000]).as_str())),
            }
        }
    }
    turned_back(&nginx, 300).await;
    drop(client);
    // Of connections and requests none is left but the observer's own.
    let mut observer = Client::connect(&nginx).await;
    let idle = async {
        while !observer.get("/nginx_status").await.text().contains("Reading: 0 Writing: 1 Waiting: 0") {}
    };
    within(idle, || "nginx keeps counting streams".to_owned()).await;
    nginx.stop().await;
}

#[tokio::test]
async fn refusal_of_another_group_than_the_busy_one_is_answered() {
    let origin = Origin::start().await;
    let lines = format!(
        "{PASS} location /other/ {{ auth_request /check; proxy_pass http://other; }} \
         location /unchecked/ {{ proxy_pass http://other; }} \
         location = /check {{ internal; proxy_method HEAD; proxy_pass http://backend/?ignore; }}"
    );
    let group = "ntlm; } upstream other { server {{origin}}; ntlm;";
    let nginx = front(&origin, group, &lines).start().await;
    let alice = http2::Client::connect(nginx.at("clear")).await;
    alice.login("alice", "/").await;
    let (slow, ()) = tokio::join!(alice.get("/?gate=slow"), async {
        origin.wait_gate("slow").await;
        assert_eq!(get(&alice, "/other/").await.answer().status, 401);
        // The check itself is refused.
        assert_eq!(get(&alice, "/").await, End::TurnedBack);
        origin.open_gate("slow");
    });
    assert_eq!(slow.identity(), "alice");
    alice.login("alice", "/unchecked/").await;
    tokio::join!(alice.get("/?gate=again"), alice.get("/unchecked/?gate=other"), async {
        origin.wait_gate("again").await;
        origin.wait_gate("other").await;
        assert_eq!(get(&alice, "/other/").await, End::TurnedBack);
        origin.open_gate("again");
        origin.open_gate("other");
    });
}
