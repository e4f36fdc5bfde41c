//! A login at one server, and what other servers do for the same client that ask it for none.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request};

use crate::common::serves;

/// The server `backend`, which asks for logins, and `gate`, which is asked to ignore them.
struct Servers {
    backend: Origin,
    gate: Origin,
    nginx: Nginx,
}

/// How nginx treats connections to the gate: guards them, binds them by `ntlm`, or by `proxy_ntlm`.
const GATES: [(&str, &str); 3] =
    [("keepalive 4;", ""), ("ntlm 4;", ""), ("", "proxy_ntlm on connections=4;")];

/// nginx with these lines in its server, and a group `gate` with those.
async fn servers((gate, server): (&str, &str), lines: &str) -> Servers {
    let (backend, asked) = (Origin::start().await, Origin::builder().name("gate").start().await);
    let nginx = Nginx::builder()
        .as_written()
        .set("backend", &backend.address())
        .set("gate", &asked.address())
        .conf(&format!(
            "upstream backend {{ server {{{{backend}}}}; ntlm; }} upstream gate {{ server {{{{gate}}}}; {gate} }} \
             server {{ listen 127.0.0.1:{{{{port}}}}; {server} {lines} \
             location /gate/ {{ proxy_pass http://gate/?ignore; }} }}"
        ))
        .start()
        .await;
    Servers { backend, gate: asked, nginx }
}

/// Asks the gate first, whose answer has no body.
const CHECK: &str = "location / { auth_request /check; proxy_pass http://backend; } \
     location = /check { internal; proxy_method HEAD; proxy_pass http://gate/?ignore; }";

#[tokio::test]
async fn challenge_arrives_that_another_server_answers_beside() {
    for gate in GATES {
        let fallback = |status: u16| {
            format!(
                "location / {{ proxy_pass http://gate/?ignore&status={status}; proxy_intercept_errors on; \
                 error_page {status} = @backend; }} location @backend {{ proxy_pass http://backend; }}"
            )
        };
        for lines in [
            CHECK.to_owned(),
            // nginx does not read the body of the answer, so that it cannot keep the connection.
            CHECK.replace("proxy_method HEAD;", ""),
            CHECK.replace("?ignore", "?ignore&close=header"),
            fallback(404),
            fallback(503),
            "location / { proxy_pass http://gate/?ignore&field=X-Accel-Redirect:/redirected; } \
             location /redirected { internal; proxy_pass http://backend/; }"
                .to_owned(),
        ] {
            let servers = servers(gate, &lines).await;
            let mut alice = Client::connect(&servers.nginx).await;
            let challenge = alice.leg1("alice", "/").await;
            assert_eq!((challenge.status, challenge.says_close()), (401, false), "{gate:?} {lines}");
            let response = alice.leg3(&challenge, "/").await;
            serves(&response, "alice", challenge.connection());
            serves(&alice.get("/").await, "alice", challenge.connection());
        }
    }
}

/// Alice is logged in at the backend, and has sent the gate credentials.
async fn alice_at_both(servers: &Servers) -> (Client, u64) {
    let mut alice = Client::connect(&servers.nginx).await;
    let bound = alice.login("alice", "/").await.last().unwrap().connection();
    serves(&alice.get("/").await, "alice", bound);
    (alice, bound)
}

/// Alice is logged in, and her connection stays.
async fn still_in(alice: &mut Client, bound: u64) {
    for _ in 0..3 {
        let response = alice.try_request(Request::get("/")).await.expect("alice is logged out");
        serves(&response, "alice", bound);
        assert!(!response.says_close(), "alice is to log in again");
    }
}

#[tokio::test]
async fn forged_credentials_at_another_server_end_no_login() {
    for gate in &GATES[1..] {
        let servers = servers(*gate, CHECK).await;
        let (mut alice, bound) = alice_at_both(&servers).await;
        let mut strangers = Vec::new();
        for host in 2..8 {
            let from = Client::builder();
            let mut stranger = from.source(&format!("127.0.0.{host}")).connect(&servers.nginx).await;
            let forged = format!("Negotiate {}", kerberos_token("mallory", "wrong"));
            stranger.get_with("/gate/", "Authorization", &forged).await;
            strangers.push(stranger);
        }
        servers.gate.wait_open_connections(4).await;
        still_in(&mut alice, bound).await;
    }
}

#[tokio::test]
async fn login_outlives_what_waits_at_another_server() {
    for (gate, server) in &GATES[1..] {
        for by_server in [true, false] {
            let wait = 100 * ntlm_testkit::slowness();
            let gate = if by_server { (*gate).to_owned() } else { format!("{gate} ntlm_timeout {wait}ms;") };
            if !by_server && !server.is_empty() {
                continue;
            }
            let servers = servers((&gate, server), CHECK).await;
            let (mut alice, bound) = alice_at_both(&servers).await;
            if by_server {
                let waits = servers.gate.ledger().last().unwrap().connection;
                servers.gate.close_connection(waits).await;
            }
            servers.gate.wait_open_connections(0).await;
            still_in(&mut alice, bound).await;
            // The client connection still ends with the binding over which alice is logged in.
            servers.backend.close_connection(bound).await;
            alice.closed().await;
        }
    }
}

/// The gate asks for a login in this location.
const OTHER: &str = "location / { proxy_pass http://backend; } location /other/ { proxy_pass http://gate/; }";

#[tokio::test]
async fn unfinished_logins_of_others_end_no_login() {
    let servers = servers(GATES[1], OTHER).await;
    let (mut alice, bound) = alice_at_both(&servers).await;
    alice.leg1("alice", "/other/").await;
    let mut strangers = Vec::new();
    for host in 2..12 {
        let from = Client::builder();
        let mut stranger = from.source(&format!("127.0.0.{host}")).connect(&servers.nginx).await;
        stranger.leg1("mallory", "/other/").await;
        strangers.push(stranger);
    }
    servers.gate.wait_open_connections(4).await;
    still_in(&mut alice, bound).await;
}

#[tokio::test]
async fn unfinished_login_ends_its_client_beside_a_login() {
    let servers = servers(GATES[1], OTHER).await;
    let mut alice = Client::connect(&servers.nginx).await;
    alice.login("alice", "/").await;
    let challenge = alice.leg1("alice", "/other/").await;
    servers.gate.close_connection(challenge.connection()).await;
    alice.closed().await;
}
