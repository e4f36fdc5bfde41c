//! A bound connection that dies while a request is on it: NGINX's own rules decide whether the request is sent again,
//! and no server is charged with it.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::client::Login;
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{elsewhere_too, logged_in};
use crate::common::front;

/// The connections over which `target` was asked for, in order.
fn asked(origin: &Origin, target: &str) -> Vec<u64> {
    origin.ledger().iter().filter(|entry| entry.target == target).map(|entry| entry.connection).collect()
}

/// An nginx in front of `origins` that waits 200 ms for an answer to `/slow`.
fn impatient(origins: &[&Origin]) -> Builder {
    let servers: String = origins.iter().map(|origin| format!("server {}; ", origin.address())).collect();
    Nginx::builder().set("servers", &servers).conf(
        "upstream backend { {{servers}} ntlm; } \
         server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://backend; } \
         location /slow { proxy_read_timeout 200ms; proxy_pass http://backend; } }",
    )
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

#[tokio::test]
async fn lost_binding_retries_by_proxy_next_upstream() {
    for (next_upstream, gets, posts) in [
        ("", 2, 1),
        ("proxy_next_upstream off;", 1, 1),
        ("proxy_next_upstream error timeout;", 2, 1),
        ("proxy_next_upstream error timeout non_idempotent;", 2, 2),
        ("proxy_next_upstream timeout;", 1, 1),
    ] {
        let origin = Origin::start().await;
        let nginx = Nginx::builder().conf(next_upstream).in_front_of(&[&origin], "ntlm;").start().await;
        for target in ["/?close=read", "/?rst=read"] {
            for (request, times) in [(Request::get(target), gets), (Request::post(target, "a body"), posts)] {
                let what = format!("{} {target} with \"{next_upstream}\"", request.method);
                let (mut alice, bound) = logged_in(&nginx).await;
                let response = alice.request(request).await;
                assert_eq!((response.status, response.says_close()), (502, true), "{what}");
                alice.closed().await;
                let connections = asked(&origin, target);
                assert_eq!(connections.len(), times, "{what}: {connections:?}");
                assert_eq!(connections[0], bound, "{what}");
                assert!(!connections[1..].contains(&bound), "{what}: {connections:?}");
                origin.clear_ledger();
            }
        }
    }
}

#[tokio::test]
async fn timeout_on_bound_connection_uses_a_try() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let alone: &[&Origin] = &[&one];
    for (origins, method, attempts) in [
        (alone, "GET", "504"),
        (alone, "POST", "504"),
        (&[&one, &two], "GET", "504, 504"),
        (&[&one, &two], "POST", "504"),
    ] {
        let nginx = impatient(origins).start().await;
        let (mut alice, _) = logged_in(&nginx).await;
        let response = alice.request(Request::new(method, "/slow?gate=shut")).await;
        assert_eq!((response.status, response.says_close()), (504, true), "{method}");
        alice.closed().await;
        nginx.wait_access_log(|log| log.contains("/slow")).await;
        let log = nginx.access_log();
        assert!(log.contains(&format!("upstream_status={attempts} connection")), "{method}: {log}");
        one.wait_open_connections(0).await;
        two.wait_open_connections(0).await;
    }
}

#[tokio::test]
async fn tries_that_the_configuration_forbids_are_not_taken() {
    let (one, two) = (Origin::start().await, Origin::start().await);
    let nginx = impatient(&[&one, &two]).conf("proxy_next_upstream_tries 1;").start().await;
    let (mut alice, _) = logged_in(&nginx).await;
    assert_eq!(alice.get("/slow?gate=shut").await.status, 504);
    nginx.wait_access_log(|log| log.contains("upstream_status=504 connection")).await;
}

#[tokio::test]
async fn lost_bound_connection_charges_no_server() {
    let (one, two) =
        (Origin::builder().name("one").start().await, Origin::builder().name("two").start().await);
    // A server that fails once is left alone for ten seconds: nginx's default.
    let nginx = impatient(&[&one, &two]).start().await;
    let mut bound_to = BTreeSet::new();
    for death in ["/?close=read", "/?rst=read", "/slow?gate=shut"] {
        for _ in 0..2 {
            let mut alice = Client::connect(&nginx).await;
            bound_to.insert(alice.login("alice", "/").await[1].origin_name().to_owned());
            assert!(alice.post(death, "a body").await.status >= 502);
            let mut seen = BTreeSet::new();
            for _ in 0..4 {
                let mut bob = Client::connect(&nginx).await;
                seen.insert(bob.get("/public/").await.origin_name().to_owned());
            }
            assert_eq!(seen.len(), 2, "after {death} only {seen:?} is asked");
        }
    }
    assert!(!bound_to.is_empty());
}

#[tokio::test]
async fn a_body_that_is_sent_again_arrives_whole() {
    let (one, two) =
        (Origin::builder().name("one").start().await, Origin::builder().name("two").start().await);
    let nginx = Nginx::builder()
        .conf("proxy_next_upstream error non_idempotent; client_body_buffer_size 16k;")
        .in_front_of(&[&one, &two], "ntlm;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound_to = alice.login("alice", "/").await[1].origin_name().to_owned();
    let (dies, lives) = if bound_to == "one" { (&one, &two) } else { (&two, &one) };
    lives.open_gate("answer");
    let body: Vec<u8> = (0..300_000u32).map(|number| number as u8).collect();
    alice.send(Request::post("/public/?gate=answer", body.clone())).await;
    dies.wait_gate("answer").await;
    dies.stop().await;
    let response = alice.read_response().await;
    assert_eq!((response.status, response.origin_name()), (200, lives.name()));
    assert_eq!(response.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
    assert_eq!(response.identity(), "anonymous");
    assert!(response.says_close());
    alice.closed().await;
}

#[tokio::test]
async fn a_request_with_credentials_survives_its_bound_connection() {
    let (one, two) =
        (Origin::builder().name("one").start().await, Origin::builder().name("two").start().await);
    let nginx = Nginx::builder().in_front_of(&[&one, &two], "ntlm;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let bound_to = alice.login("alice", "/").await[1].origin_name().to_owned();
    let (dies, lives) = if bound_to == "one" { (&one, &two) } else { (&two, &one) };
    lives.open_gate("answer");
    let ((), first) = tokio::join!(
        async {
            dies.wait_gate("answer").await;
            dies.stop().await;
        },
        alice.login_in_one_leg("alice", "/?gate=answer"),
    );
    assert_eq!((first.status, first.identity(), first.origin_name()), (200, "alice", lives.name()));
    assert!(!first.says_close());
    let next = alice.get("/").await;
    assert_eq!((next.identity(), next.connection()), ("alice", first.connection()));
}

#[tokio::test]
async fn unanswered_credentials_release_the_client_connection() {
    let origin = Origin::start().await;
    for next_upstream in ["off", "error"] {
        let nginx = Nginx::builder()
            .conf(&format!("proxy_next_upstream {next_upstream};"))
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let (mut alice, _) = logged_in(&nginx).await;
        let response = alice.login_in_one_leg("alice", "/?close=read").await;
        assert_eq!((response.status, response.says_close()), (502, true), "{next_upstream}");
        alice.closed().await;
        origin.wait_open_connections(0).await;
    }
}

#[tokio::test]
async fn truncated_response_is_not_retried() {
    let origin = Origin::start().await;
    for setting in ["", "proxy_buffering off;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        for target in ["/?close=mid&size=100000", "/?close=mid&size=100000&chunked"] {
            for request in [Request::get(target), Request::post(target, "a body")] {
                let (mut alice, bound) = logged_in(&nginx).await;
                let cut = alice.try_request(request).await;
                assert!(cut.is_err(), "{target} is whole: {cut:?}");
                assert_eq!(asked(&origin, target), [bound]);
                origin.wait_open_connections(0).await;
                origin.clear_ledger();
            }
        }
    }
}

#[tokio::test]
async fn request_crossing_binding_end_gets_connection_close() {
    let (origin, nginx) = front("ntlm;").await;
    let worker = nginx.worker_pids()[0];
    for reset in [false, true] {
        let (mut alice, bound) = logged_in(&nginx).await;
        signal(worker, Signal::SIGSTOP);
        if reset {
            origin.reset_connection(bound).await;
        } else {
            origin.close_connection(bound).await;
        }
        alice.send(Request::get("/")).await;
        signal(worker, Signal::SIGCONT);
        let response = alice.read_response().await;
        assert_eq!((response.status, response.identity()), (401, "anonymous"));
        assert!(response.says_close());
        alice.closed().await;
    }
}

#[tokio::test]
async fn login_crossing_binding_end_keeps_client_connection() {
    let (origin, nginx) = front("ntlm;").await;
    let worker = nginx.worker_pids()[0];
    let (mut alice, bound) = logged_in(&nginx).await;
    signal(worker, Signal::SIGSTOP);
    origin.close_connection(bound).await;
    let mut login = Login::new("NTLM", "carol", &password_of("carol"));
    alice.send(Request::get("/").header("Authorization", &login.first())).await;
    signal(worker, Signal::SIGCONT);
    let challenge = alice.read_response().await;
    assert_eq!((challenge.status, challenge.says_close()), (401, false));
    let last = alice.get_with("/", "Authorization", &login.next(&challenge).unwrap()).await;
    assert_eq!((last.status, last.identity(), last.says_close()), (200, "carol", false));
    let next = alice.get("/").await;
    assert_eq!((next.identity(), next.connection()), ("carol", last.connection()));
}

#[tokio::test]
async fn binding_lost_during_other_request_sends_connection_close() {
    let (origin, elsewhere) = (Origin::start().await, Origin::start().await);
    let nginx = elsewhere_too(&origin, &elsewhere).await;
    for (target, can_be_told) in [("/public/?gate=long", true), ("/public/?gate_body=long", false)] {
        let (mut alice, bound) = logged_in(&nginx).await;
        elsewhere.close_gate("long");
        alice.send(Request::get(target)).await;
        elsewhere.wait_gate("long").await;
        origin.close_connection(bound).await;
        // Once bob has been served, nginx has seen what happened before.
        assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
        elsewhere.open_gate("long");
        let response = alice.read_response().await;
        assert_eq!((response.status, response.says_close()), (200, can_be_told));
        alice.closed().await;
    }
}
