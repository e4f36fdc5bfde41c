//! Groups without `ntlm`: a connection that carried a login is closed after its response, and the operator is told.
//!
//! Where NGINX pools connections (by `keepalive`, or since 1.29.7 by itself), nothing else would keep strangers off it.

mod directive;
mod renewed;
mod ways;

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// From here on every upstream group has a keepalive pool of its own accord.
const POOLED_BY_DEFAULT: (u32, u32, u32) = (1, 29, 7);

/// The lines of groups whose connections NGINX pools.
fn pools() -> Vec<&'static str> {
    let mut pools = vec!["keepalive 8;", "least_conn; keepalive 8;", "hash $uri consistent; keepalive 8;"];
    pools.extend(["ip_hash; keepalive 8;", "random two; keepalive 8;", "zone backend 64k; keepalive 8;"]);
    if Nginx::binary().version() >= POOLED_BY_DEFAULT {
        pools.extend(["", "keepalive 8 local;", "least_conn;"]);
    }
    pools
}

/// One server that passes everything to a group with `pool` in it, in such a way that NGINX keeps the connections.
fn front(origin: &Origin, pool: &str) -> Builder {
    kept_alive().in_front_of(&[origin], pool)
}

/// Lines by which NGINX before 1.29.7 keeps connections to its servers.
fn kept_alive() -> Builder {
    Nginx::builder().conf("proxy_http_version 1.1; proxy_set_header Connection '';")
}

/// A Kerberos ticket of `user`: a login in one leg.
fn ticket(user: &str) -> String {
    format!("Negotiate {}", kerberos_token(user, &password_of(user)))
}

/// `request` with the ticket of alice in its `Authorization`.
fn of_alice(request: Request) -> Request {
    request.header("Authorization", &ticket("alice"))
}

/// Asserts that strangers are anonymous, and that the connections of alice are closed.
async fn assert_strangers_are_nobody(nginx: &Nginx, origin: &Origin, context: &str) {
    let of_alice: Vec<u64> = origin.ledger().iter().map(|entry| entry.connection).collect();
    for _ in 0..2 {
        let response = Client::connect(nginx).await.get("/").await;
        assert_eq!((response.status, response.identity()), (401, "anonymous"), "{context}\n{response:?}");
        assert!(!of_alice.contains(&response.connection()), "{context}\n{response:?}");
    }
    for connection in of_alice {
        origin.wait_closed(connection).await;
    }
}

#[tokio::test]
async fn ntlm_login_leaves_no_connection_to_strangers() {
    for pool in pools() {
        let origin = Origin::start().await;
        let nginx = front(&origin, pool).start().await;
        let mut alice = Client::connect(&nginx).await;
        let legs = alice.login_with("NTLM", "alice", &password_of("alice"), "/").await;
        assert_strangers_are_nobody(&nginx, &origin, pool).await;
        assert_ne!(
            legs[0].connection(),
            legs[1].connection(),
            "{pool}: the challenge's connection is closed"
        );
        assert_eq!(legs[1].identity(), "anonymous");
        assert!(!legs.iter().any(|leg| leg.says_close()), "{pool}: the client connection may go on");
    }
}

#[tokio::test]
async fn one_leg_login_leaves_no_connection_to_strangers() {
    for pool in pools() {
        let origin = Origin::start().await;
        let nginx = front(&origin, pool).start().await;
        for target in ["/", "/?nomutual"] {
            let response = Client::connect(&nginx).await.request(of_alice(Request::get(target))).await;
            assert_eq!((response.status, response.identity()), (200, "alice"));
            assert_strangers_are_nobody(&nginx, &origin, pool).await;
            origin.clear_ledger();
        }
    }
}

#[tokio::test]
async fn every_scheme_that_binds_is_guarded() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8;").start().await;
    for before in ["Negotiate ", "NEGOTIATE\t", "nego2  ", "Kerberos ", "KERBEROS \t "] {
        let credentials = format!("{before}{}", kerberos_token("alice", &password_of("alice")));
        let mut alice = Client::connect(&nginx).await;
        let response = alice.get_with("/?nomutual", "Authorization", &credentials).await;
        assert_eq!(response.identity(), "alice", "{before}");
        assert_strangers_are_nobody(&nginx, &origin, before).await;
        origin.clear_ledger();
    }
    // No login that this origin knows, but one all the same.
    let mut alice = Client::connect(&nginx).await;
    alice.get_with("/public/", "Authorization", "CredSSP TlRMTVNTUAAB").await;
    assert_strangers_are_nobody(&nginx, &origin, "CredSSP").await;
}

#[tokio::test]
async fn login_to_a_proxy_is_guarded() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.get_with("/?proxy&nomutual", "Proxy-Authorization", &ticket("alice")).await;
    assert_eq!((response.status, response.identity()), (200, "alice"));
    assert_strangers_are_nobody(&nginx, &origin, "one leg").await;
    origin.clear_ledger();
    let login = Login::new("NTLM", "alice", &password_of("alice")).to_proxy();
    let legs = alice.login_as(login, Request::get("/?proxy")).await;
    assert_strangers_are_nobody(&nginx, &origin, "NTLM").await;
    assert_ne!(legs[0].connection(), legs[1].connection());
}

#[tokio::test]
async fn token_in_an_answer_alone_closes_the_connection() {
    for target in ["/?token_without_auth", "/?token_without_auth&size=0", "/?token_without_auth&proxy"] {
        let origin = Origin::start().await;
        let nginx = front(&origin, "keepalive 8;").start().await;
        let response = Client::connect(&nginx).await.get(target).await;
        assert_eq!(response.status, 200);
        assert_strangers_are_nobody(&nginx, &origin, target).await;
    }
}

#[tokio::test]
async fn answer_without_a_body_closes_the_connection() {
    for (method, target) in [
        ("HEAD", "/?nomutual"),
        ("GET", "/?nomutual&status=204"),
        ("GET", "/?nomutual&status=304"),
        ("GET", "/?nomutual&size=0"),
        ("HEAD", "/?nomutual&size=0"),
    ] {
        let origin = Origin::start().await;
        let nginx = front(&origin, "keepalive 8;").start().await;
        let mut alice = Client::connect(&nginx).await;
        let response = alice.request(of_alice(Request::new(method, target))).await;
        assert_eq!(response.identity(), "alice");
        assert_strangers_are_nobody(&nginx, &origin, &format!("{method} {target}")).await;
    }
}

#[tokio::test]
async fn framed_and_unbuffered_answers_close_the_connection() {
    for lines in ["proxy_buffering off;", "proxy_buffering on;"] {
        for target in ["/?nomutual&chunked", "/?nomutual&size=200000", "/?nomutual&chunked&size=200000"] {
            let origin = Origin::start().await;
            let nginx = kept_alive().conf(lines).in_front_of(&[&origin], "keepalive 8;").start().await;
            let response = Client::connect(&nginx).await.request(of_alice(Request::get(target))).await;
            assert_eq!(response.identity(), "alice");
            assert_strangers_are_nobody(&nginx, &origin, &format!("{lines} {target}")).await;
        }
    }
}

/// A control: this much of NGINX's own behaviour stays.
#[tokio::test]
async fn basic_and_bearer_connections_are_pooled() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8;").start().await;
    let pooled = Client::connect(&nginx).await.get("/public/").await.connection();
    let others =
        ["Basic YWxpY2U6YQ==", "Bearer NTLM", "NTLMx TlRM", "Negotiated YII=", "Kerberos5 YII=", "Bearer"];
    for credentials in others {
        let response = Client::connect(&nginx).await.get_with("/public/", "Authorization", credentials).await;
        assert_eq!(response.connection(), pooled, "{credentials}");
        // A bare challenge is no token.
        assert_eq!(Client::connect(&nginx).await.get("/").await.connection(), pooled, "{credentials}");
    }
    assert!(!nginx.error_log().contains("[warn]"), "{}", nginx.error_log());
}

/// A control: a guard that closed whatever it cannot read would leave gRPC without a pool.
#[tokio::test]
async fn grpc_connections_without_credentials_are_pooled() {
    if !Nginx::binary().has("with-http_v2_module") {
        return; // It speaks no HTTP/2.
    }
    let nginx = Nginx::builder()
        .conf(
            "server { listen 127.0.0.1:{{port:origin}} http2; \
             location / { add_header X-Connection $remote_port; return 200 body; } } \
             upstream backend { server 127.0.0.1:{{port:origin}}; keepalive 8; } \
             server { listen 127.0.0.1:{{port}}; location / { grpc_pass grpc://backend; } }",
        )
        .allow_log("the \"listen ... http2\" directive is deprecated")
        .start()
        .await;
    let first = Client::connect(&nginx).await.get("/").await;
    let second = Client::connect(&nginx).await.get("/").await;
    assert!(first.get("X-Connection").is_some(), "{first:?}");
    assert_eq!(first.get("X-Connection"), second.get("X-Connection"));
}
