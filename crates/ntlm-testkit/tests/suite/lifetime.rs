//! How long a binding lives: as long as both its connections, which end together, and no longer than it is allowed to.

mod aborts;
mod elsewhere;
mod kept_clients;
mod masses;
mod next_upstream;
mod reloads;
mod responses;
mod retries;
mod tickets;
mod timeouts;
mod tls_upstream;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::{Client, Nginx, Origin, Request};

use crate::common::front;

/// A client that is logged in as alice, and the origin's connection it is bound to.
async fn logged_in(nginx: &Nginx) -> (Client, u64) {
    let mut alice = Client::connect(nginx).await;
    let legs = alice.login("alice", "/").await;
    let connection = legs.last().unwrap().connection();
    (alice, connection)
}

/// Whether nginx closed an idle client connection along with its binding. It says so in its debug log.
fn closed_a_client(nginx: &Nginx) -> bool {
    nginx.error_log().contains("closing idle client connection")
}

/// An nginx in front of `origin`, and of `elsewhere`, which serves `/public/` without a group.
async fn elsewhere_too(origin: &Origin, elsewhere: &Origin) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .set("elsewhere", &elsewhere.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://backend; } \
             location /public/ { proxy_pass http://{{elsewhere}}; } }",
        )
        .start()
        .await
}

/// Ends bindings from the origin's side, by FIN, RST, `unsolicited` bytes and a close after a response: each time the client
/// connection ends with its binding.
async fn assert_ends_with_the_origins(origin: &Origin, nginx: &Nginx, unsolicited: &[u8]) {
    let (mut alice, bound) = logged_in(nginx).await;
    origin.close_connection(bound).await;
    alice.closed().await;

    let (mut alice, bound) = logged_in(nginx).await;
    origin.reset_connection(bound).await;
    alice.closed().await;

    let (mut alice, bound) = logged_in(nginx).await;
    assert!(origin.send_unsolicited(bound, unsolicited).await);
    alice.closed().await;
    origin.wait_closed(bound).await;

    let (mut alice, _) = logged_in(nginx).await;
    assert_eq!(alice.get("/?close=after").await.identity(), "alice");
    alice.closed().await;
}

fn descriptors(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

// The origin ends a binding.

#[tokio::test]
async fn origin_ending_a_binding_ends_its_idle_client() {
    let (origin, nginx) = front("ntlm;").await;
    let unsolicited = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert_ends_with_the_origins(&origin, &nginx, unsolicited).await;

    let (mut alice, bound) = logged_in(&nginx).await;
    assert_eq!(alice.get("/?extra=1").await.identity(), "alice");
    alice.closed().await;
    origin.wait_closed(bound).await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn end_arriving_with_the_response_is_seen() {
    let (origin, nginx) = front("ntlm;").await;
    let worker = Pid::from_raw(i32::try_from(nginx.worker_pids()[0]).unwrap());
    // nginx reads on after a body, and not where there is none.
    for (body, first) in
        ["", "&size=0", "&status=204"].into_iter().flat_map(|body| [true, false].map(|first| (body, first)))
    {
        let (mut alice, bound) = logged_in(&nginx).await;
        // At the end of the first request after a login the table forgets what it had noted of the login. Later requests end in a quicker way.
        if !first {
            alice.get("/").await;
        }
        origin.close_gate("answer");
        alice.send(Request::get(&format!("/?gate=answer&close=after{body}"))).await;
        origin.wait_gate("answer").await;
        kill(worker, Signal::SIGSTOP).unwrap();
        origin.open_gate("answer");
        origin.wait_closed(bound).await;
        kill(worker, Signal::SIGCONT).unwrap();
        assert_eq!(alice.read_response().await.identity(), "alice");
        alice.closed().await;
    }
}

#[tokio::test]
async fn request_that_came_before_the_end_is_answered() {
    let (origin, nginx) = front("ntlm;").await;
    let worker = Pid::from_raw(i32::try_from(nginx.worker_pids()[0]).unwrap());
    for _ in 0..5 {
        let (mut alice, bound) = logged_in(&nginx).await;
        // The worker learns of both at once, and of the end first.
        kill(worker, Signal::SIGSTOP).unwrap();
        origin.close_connection(bound).await;
        alice.send(Request::get("/public/")).await;
        kill(worker, Signal::SIGCONT).unwrap();
        let response = alice.read_response().await;
        assert_eq!((response.status, response.identity()), (200, "anonymous"));
    }
}

#[tokio::test]
async fn keepalive_min_timeout_delays_end_to_next_response() {
    if Nginx::binary().version() < (1, 27, 4) {
        return; // It has no keepalive_min_timeout.
    }
    let origin = Origin::start().await;
    let builder = Nginx::builder()
        .conf("keepalive_min_timeout 60s;")
        .in_front_of(&[&origin], "ntlm 1; ntlm_timeout 2s;");
    for end in ["by the origin", "by its time", "by another's login"] {
        let nginx = builder.clone().start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        match end {
            "by the origin" => origin.close_connection(bound).await,
            "by another's login" => _ = logged_in(&nginx).await,
            _ => {}
        }
        let ended = |log: &str| log.contains("parked upstream connection") || log.contains("is reached");
        nginx.wait_log(ended).await;
        let response = alice.get("/").await;
        assert_eq!((response.status, response.says_close()), (401, true), "{end}");
        alice.closed().await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn end_between_legs_ends_the_client_connection() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let challenge = alice.leg1("alice", "/").await;
    origin.close_connection(challenge.connection()).await;
    alice.closed().await;

    let mut alice = Client::connect(&nginx).await;
    let challenge = alice.leg1("alice", "/?close=challenge").await;
    assert!(challenge.says_close());
    alice.closed().await;

    // Nothing was bound yet, so this client may try again where it is.
    let mut alice = Client::connect(&nginx).await;
    let response = alice.leg1("alice", "/?close=read").await;
    assert_eq!((response.status, response.says_close()), (502, false));
    assert_eq!(alice.login("alice", "/").await[1].identity(), "alice");
}

#[tokio::test]
async fn origins_connection_close_reaches_the_client() {
    let (origin, nginx) = front("ntlm;").await;
    for target in ["/?close=header", "/?http10"] {
        let (mut alice, bound) = logged_in(&nginx).await;
        let response = alice.get(target).await;
        assert_eq!((response.identity(), response.says_close()), ("alice", true), "{target}");
        alice.closed().await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn other_event_methods_see_the_end_as_well() {
    for method in ["epoll", "poll", "select"] {
        // An nginx for Linux has epoll, and the others only if it was configured so.
        if method != "epoll" && !Nginx::binary().has(&format!("--with-{method}_module")) {
            continue;
        }
        let origin = Origin::start().await;
        let nginx =
            Nginx::builder().events(&format!("use {method};")).in_front_of(&[&origin], "ntlm;").start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        assert_eq!(alice.get("/").await.connection(), bound);
        origin.close_connection(bound).await;
        alice.closed().await;
        let (alice, bound) = logged_in(&nginx).await;
        alice.close().await;
        origin.wait_closed(bound).await;
    }
}

// Time and numbers end a binding.

#[tokio::test]
async fn expired_binding_ends_with_its_client_connection() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("keepalive_timeout 1h;")
        .in_front_of(&[&origin], "ntlm; ntlm_timeout 200ms;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    assert!(!alice.login_in_one_leg("alice", "/").await.says_close());
    alice.closed().await;
    origin.wait_open_connections(0).await;

    let mut bob = Client::connect(&nginx).await;
    bob.leg1("bob", "/").await;
    bob.closed().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn each_response_restarts_the_binding_timeout() {
    let (origin, nginx) = front("ntlm; ntlm_timeout 1s;").await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    for _ in 0..2 {
        let response = alice.get("/?delay=700").await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
    }
    alice.closed().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn proxy_timeouts_spare_a_waiting_binding() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; ntlm; } upstream wiki { server {{origin}}; ntlm; ntlm_timeout 2s; } \
             server { listen 127.0.0.1:{{port}}; proxy_read_timeout 1s; proxy_send_timeout 1s; \
               location / { proxy_pass http://mail; } location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    let (mut alice, bound) = logged_in(&nginx).await;
    let mut bob = Client::connect(&nginx).await;
    bob.login("bob", "/wiki/").await;
    bob.closed().await;
    let response = alice.get("/").await;
    assert_eq!((response.identity(), response.connection()), ("alice", bound));
}

#[tokio::test]
async fn each_binding_ends_at_its_own_time() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; ntlm; } \
             upstream wiki { server {{origin}}; ntlm; ntlm_timeout 400ms; } \
             server { listen 127.0.0.1:{{port}}; \
               location /mail/ { proxy_pass http://mail; } location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    let mut readers = Vec::new();
    for (user, path) in [("alice", "/mail/"), ("bob", "/wiki/"), ("carol", "/wiki/")] {
        let mut client = Client::connect(&nginx).await;
        let bound = client.login(user, path).await[1].connection();
        readers.push((client, bound));
    }
    let [(mut alice, of_alice), (mut bob, of_bob), (mut carol, of_carol)] =
        readers.try_into().expect("there are three");
    bob.closed().await;
    origin.wait_closed(of_bob).await;
    carol.closed().await;
    origin.wait_closed(of_carol).await;
    let response = alice.get("/mail/").await;
    assert_eq!((response.identity(), response.connection()), ("alice", of_alice));
}

#[tokio::test]
async fn slow_request_uses_no_binding_timeout() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_request_buffering off;")
        .in_front_of(&[&origin], "ntlm; ntlm_timeout 1s;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    alice.send_raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello").await;
    // When bob's time is over, so is what was left of alice's.
    let mut bob = Client::connect(&nginx).await;
    bob.login_in_one_leg("bob", "/").await;
    bob.closed().await;
    alice.send_raw(b"world").await;
    let response = alice.read_response().await;
    assert_eq!((response.identity(), response.connection()), ("alice", bound));
    assert_eq!(response.get("X-Body-Length"), Some("10"));
}

#[tokio::test]
async fn expired_client_connection_ends_its_binding() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("keepalive_timeout 200ms;")
        .in_front_of(&[&origin], "ntlm; ntlm_timeout 1h;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    assert!(!alice.login_in_one_leg("alice", "/").await.says_close());
    alice.closed().await;
    origin.wait_open_connections(0).await;
    assert!(!closed_a_client(&nginx));
}

#[tokio::test]
async fn client_connection_at_keepalive_requests_ends_its_binding() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().conf("keepalive_requests 3;").in_front_of(&[&origin], "ntlm;").start().await;
    let (mut alice, _) = logged_in(&nginx).await;
    let last = alice.get("/").await;
    assert_eq!((last.identity(), last.says_close()), ("alice", true));
    alice.closed().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn client_without_keep_alive_ends_its_binding() {
    let (origin, nginx) = front("ntlm;").await;
    let (mut alice, bound) = logged_in(&nginx).await;
    let last = alice.get_with("/", "Connection", "close").await;
    assert_eq!((last.identity(), last.connection(), last.says_close()), ("alice", bound, true));
    alice.closed().await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn binding_at_ntlm_requests_sends_connection_close() {
    let (origin, nginx) = front("ntlm; ntlm_requests 4;").await;
    let (mut alice, bound) = logged_in(&nginx).await;
    let third = alice.get("/").await;
    assert_eq!((third.connection(), third.says_close()), (bound, false));
    let fourth = alice.get("/?size=100000").await;
    assert_eq!((fourth.connection(), fourth.identity(), fourth.says_close()), (bound, "alice", true));
    assert_eq!(fourth.body.len(), 100_000);
    alice.closed().await;
    origin.wait_closed(bound).await;
    logged_in(&nginx).await;
}

#[tokio::test]
async fn binding_past_ntlm_time_sends_connection_close() {
    let (origin, nginx) = front("ntlm; ntlm_time 100ms;").await;
    let mut alice = Client::connect(&nginx).await;
    assert!(!alice.login_in_one_leg("alice", "/?delay=200").await.says_close());
    let response = alice.get("/?delay=200").await;
    assert_eq!((response.identity(), response.says_close()), ("alice", true));
    alice.closed().await;
    origin.wait_open_connections(0).await;

    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm; ntlm_time 1h;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.login_in_one_leg("alice", "/?delay=200").await;
    assert!(!response.says_close());
    assert_eq!(alice.get("/").await.connection(), response.connection());
}

// Others end a binding.

#[tokio::test]
async fn evicted_binding_ends_only_its_idle_client() {
    let (origin, nginx) = front("ntlm 1;").await;
    let (mut alice, bound) = logged_in(&nginx).await;
    let mut bob = Client::connect(&nginx).await;
    let legs = bob.login("bob", "/").await;
    alice.closed().await;
    origin.wait_closed(bound).await;
    let next = bob.get("/").await;
    assert_eq!((next.identity(), next.connection()), ("bob", legs[1].connection()));
}

#[tokio::test]
async fn binding_ended_by_client_closes_no_other() {
    let (origin, nginx) = front("ntlm;").await;
    let mut bob = Client::connect(&nginx).await;
    let bobs = bob.login("bob", "/").await[1].connection();
    for abort in [false, true] {
        let (alice, bound) = logged_in(&nginx).await;
        if abort {
            alice.abort();
        } else {
            alice.close().await;
        }
        origin.wait_closed(bound).await;
    }
    assert_eq!(bob.get("/").await.connection(), bobs);
    assert!(!closed_a_client(&nginx));
}

#[tokio::test]
async fn successor_on_same_slot_keeps_its_binding() {
    let (origin, nginx) = front("ntlm;").await;
    for _ in 0..10 {
        let (mut alice, bound) = logged_in(&nginx).await;
        origin.close_connection(bound).await;
        let mut carol = Client::connect(&nginx).await;
        let carols = carol.login("carol", "/").await[1].connection();
        alice.closed().await;
        alice.close().await;
        let next = carol.get("/").await;
        assert_eq!((next.identity(), next.connection()), ("carol", carols));
    }
}

// Nothing is left.

#[tokio::test]
async fn five_hundred_bindings_leave_nothing_behind() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().log_level("info").in_front_of(&[&origin], "ntlm;").start().await;
    let worker = nginx.worker_pids()[0];
    let mut before = None;
    for cycle in 0..500 {
        let (mut alice, bound) = logged_in(&nginx).await;
        match cycle % 4 {
            0 => alice.close().await,
            1 => alice.abort(),
            2 => {
                origin.close_connection(bound).await;
                alice.closed().await;
            }
            _ => {
                assert!(alice.get("/?close=header").await.says_close());
                alice.closed().await;
            }
        }
        if cycle % 20 == 19 {
            origin.wait_open_connections(0).await;
            let now = descriptors(worker);
            assert_eq!(*before.get_or_insert(now), now, "after {cycle} bindings");
        }
    }
    assert_eq!(nginx.worker_pids(), [worker]);
    nginx.stop().await;
}
