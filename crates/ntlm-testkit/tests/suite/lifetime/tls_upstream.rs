//! Bound connections that speak TLS: records that carry no data end nothing, the end and data do, sessions are resumed.

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::TlsVersions;
use ntlm_testkit::{Client, Nginx, Origin};

use super::{assert_ends_with_the_origins, logged_in};

const VERSIONS: [TlsVersions; 2] = [TlsVersions::V12, TlsVersions::V13];

/// An nginx in front of `origin` that speaks every version of TLS (NGINX up to 1.22 left out 1.3), with `lines` in the group.
fn in_front_of(origin: &Origin, lines: &str) -> Builder {
    Nginx::builder().conf("proxy_ssl_protocols TLSv1.2 TLSv1.3;").in_front_of(&[origin], lines)
}

/// Returns when nginx has handled whatever reached it before.
pub(super) async fn seen_by(nginx: &Nginx) {
    assert_eq!(Client::connect(nginx).await.get("/?close=header").await.status, 401);
}

/// Whether each connection of the origin, in order, resumed a session.
fn resumed(origin: &Origin) -> Vec<bool> {
    let ledger = origin.ledger();
    ledger.iter().filter(|entry| entry.request == 1).map(|entry| entry.resumed).collect()
}

#[tokio::test]
async fn login_stays_on_its_idle_tls_connection() {
    for version in VERSIONS {
        let origin = Origin::builder().tls_versions(version).start().await;
        let nginx = in_front_of(&origin, "ntlm;").start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        for _ in 0..5 {
            seen_by(&nginx).await;
            let response = alice.get("/?size=50000").await;
            assert_eq!((response.identity(), response.connection()), ("alice", bound), "{version:?}");
        }
        alice.close().await;
        origin.wait_closed(bound).await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn key_updates_end_no_waiting_connection() {
    let origin = Origin::builder().tls_versions(TlsVersions::V13).start().await;
    let nginx = in_front_of(&origin, "ntlm;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let challenge = alice.leg1("alice", "/").await;
    let bound = challenge.connection();
    assert!(origin.send_key_update(bound).await);
    seen_by(&nginx).await;
    assert_eq!(alice.leg3(&challenge, "/").await.identity(), "alice");
    for _ in 0..3 {
        for _ in 0..3 {
            assert!(origin.send_key_update(bound).await);
            seen_by(&nginx).await;
        }
        let response = alice.get("/").await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
    }
    // It still sees what does end it.
    assert!(origin.send_key_update(bound).await);
    origin.close_connection(bound).await;
    alice.closed().await;
}

#[tokio::test]
async fn tls_connection_end_ends_the_client_connection() {
    for version in VERSIONS {
        let origin = Origin::builder().tls_versions(version).start().await;
        let nginx = in_front_of(&origin, "ntlm;").start().await;
        assert_ends_with_the_origins(&origin, &nginx, b"unsolicited").await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn tls_connection_ends_with_timeout_and_client() {
    for version in VERSIONS {
        let origin = Origin::builder().tls_versions(version).start().await;
        let nginx = in_front_of(&origin, "ntlm; ntlm_timeout 200ms;").start().await;
        let mut alice = Client::connect(&nginx).await;
        alice.login_in_one_leg("alice", "/").await;
        alice.closed().await;
        origin.wait_open_connections(0).await;
        let mut alice = Client::connect(&nginx).await;
        alice.login_in_one_leg("alice", "/").await;
        alice.abort();
        origin.wait_open_connections(0).await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn tls_connection_lost_in_use_is_retried() {
    for version in VERSIONS {
        let origin = Origin::builder().tls_versions(version).start().await;
        let nginx = in_front_of(&origin, "ntlm;").start().await;
        for target in ["/?close=read", "/?rst=read"] {
            let (mut alice, bound) = logged_in(&nginx).await;
            origin.clear_ledger();
            let response = alice.get(target).await;
            assert_eq!((response.status, response.says_close()), (502, true));
            let connections: Vec<u64> = origin.ledger().iter().map(|entry| entry.connection).collect();
            assert_eq!((connections.len(), connections[0]), (2, bound), "{version:?} {target}");
            alice.closed().await;
            origin.wait_open_connections(0).await;
        }
        nginx.stop().await;
    }
}

#[tokio::test]
async fn changed_tls_route_requires_another_login() {
    let origin = Origin::builder().tls().start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; proxy_ssl_server_name on; \
             location / { proxy_ssl_name one.example; proxy_pass https://backend; } \
             location /other { proxy_ssl_name other.example; proxy_pass https://backend; } }",
        )
        .start()
        .await;
    let (mut alice, bound) = logged_in(&nginx).await;
    let legs = alice.login("alice", "/other").await;
    assert!(!legs.iter().any(|leg| leg.says_close()));
    origin.wait_closed(bound).await;
    let next = alice.get("/other").await;
    assert_eq!((next.identity(), next.connection()), ("alice", legs[1].connection()));

    let (mut alice, bound) = logged_in(&nginx).await;
    let response = alice.get("/other").await;
    assert_eq!((response.status, response.says_close()), (401, true));
    alice.closed().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn new_connections_resume_the_sessions_of_old_ones() {
    for version in VERSIONS {
        for balancer in ["", "least_conn;", "hash $request_uri;", "zone backend 256k;"] {
            let origin = Origin::builder().tls_versions(version).start().await;
            let nginx = Nginx::builder()
                .conf("proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_session_reuse on;")
                .set("origin", &origin.address())
                .set("balancer", balancer)
                .conf(
                    "upstream backend { {{balancer}} server {{origin}}; ntlm; } \
                     server { listen 127.0.0.1:{{port}}; location / { proxy_pass https://backend; } }",
                )
                // Of a server in a variable nginx keeps no sessions.
                .as_written()
                .start()
                .await;
            for _ in 0..4 {
                let (mut alice, bound) = logged_in(&nginx).await;
                assert_eq!(alice.get("/").await.connection(), bound);
                alice.close().await;
                origin.wait_closed(bound).await;
            }
            assert_eq!(resumed(&origin), [false, true, true, true], "{version:?} \"{balancer}\"");
            nginx.stop().await;
        }
    }
}

#[tokio::test]
async fn a_reload_closes_tls_connections_that_wait() {
    let origin = Origin::builder().tls().start().await;
    let nginx = in_front_of(&origin, "ntlm;").start().await;
    let before = nginx.worker_pids();
    let (mut alice, _) = logged_in(&nginx).await;
    let mut handshaking = Client::connect(&nginx).await;
    handshaking.leg1("bob", "/").await;
    nginx.reload().await;
    alice.closed().await;
    handshaking.closed().await;
    nginx.wait_gone(&before).await;
    origin.wait_open_connections(0).await;
    logged_in(&nginx).await;
    nginx.stop().await;
}
