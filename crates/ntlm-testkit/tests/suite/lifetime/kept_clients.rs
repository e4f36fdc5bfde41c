//! Client connections that NGINX keeps through a reload (`keepalive_min_timeout`): their bindings last as long.

use ntlm_testkit::{Client, Nginx, Origin, Request};

/// An origin, and an nginx in front of it that keeps client connections for `time` at least; `None` if it cannot.
async fn keeping(time: &str) -> Option<(Origin, Nginx)> {
    if Nginx::binary().version() < (1, 27, 4) {
        return None; // It has no keepalive_min_timeout.
    }
    let origin = Origin::start().await;
    let line = format!("keepalive_min_timeout {time};");
    let nginx = Nginx::builder().conf(&line).in_front_of(&[&origin], "ntlm;").start().await;
    Some((origin, nginx))
}

#[tokio::test]
async fn login_lasts_through_a_reload() {
    let Some((origin, nginx)) = keeping("60s").await else { return };
    let before = nginx.worker_pids();
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    nginx.reload().await;
    let response = alice.get("/").await;
    assert_eq!((response.status, response.identity()), (200, "alice"));
    assert_eq!(response.connection(), bound);
    assert!(response.says_close(), "the worker is to leave");
    alice.closed().await;
    origin.wait_closed(bound).await;
    nginx.wait_gone(&before).await;
}

#[tokio::test]
async fn handshake_finishes_across_a_reload() {
    let Some((_origin, nginx)) = keeping("60s").await else { return };
    let mut alice = Client::connect(&nginx).await;
    let challenge = alice.leg1("alice", "/").await;
    nginx.reload().await;
    let response = alice.leg3(&challenge, "/").await;
    assert_eq!((response.status, response.identity()), (200, "alice"));
    assert_eq!(response.connection(), challenge.connection());
}

#[tokio::test]
async fn login_lasts_where_a_reload_crosses_a_response() {
    let Some((origin, nginx)) = keeping("60s").await else { return };
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    origin.close_gate("crossed");
    alice.send(Request::get("/?gate_body=crossed")).await;
    origin.wait_gate("crossed").await;
    // Once bob has been served, nginx has seen the header of alice's response, and told her to stay.
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    nginx.reload().await;
    origin.open_gate("crossed");
    assert!(!alice.read_response().await.says_close());
    let response = alice.get("/").await;
    assert_eq!((response.status, response.identity()), (200, "alice"));
    assert_eq!(response.connection(), bound);
}

#[tokio::test]
async fn client_that_leaves_lets_the_old_worker_go() {
    let Some((origin, nginx)) = keeping("60s").await else { return };
    let before = nginx.worker_pids();
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    nginx.reload().await;
    assert_eq!(origin.connection_ids_open(), [bound], "it lasts as long as its client");
    alice.close().await;
    origin.wait_closed(bound).await;
    nginx.wait_gone(&before).await;
}

#[tokio::test]
async fn binding_ends_when_its_kept_client_does() {
    let Some((origin, nginx)) = keeping("1s").await else { return };
    let before = nginx.worker_pids();
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    nginx.reload().await;
    alice.closed().await;
    origin.wait_closed(bound).await;
    nginx.wait_gone(&before).await;
}
