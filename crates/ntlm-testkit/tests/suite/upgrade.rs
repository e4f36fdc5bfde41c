//! The changes that an upgrade to NGINX 1.29.7 brings to a Windows origin behind an untouched group, and the lines to write.
//!
//! docs/upgrade-nginx.md says to administrators what these tests show.

use ntlm_testkit::client::Login;
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

use crate::common::front;

/// From this version on a group without `keepalive` has `keepalive 32 local`, and requests go out as HTTP/1.1.
fn pools_by_default() -> bool {
    Nginx::binary().version() >= (1, 29, 7)
}

/// NGINX without the module, and a group with these lines.
async fn plain(origin: &Origin, lines: &str) -> Nginx {
    Nginx::builder().without_module().in_front_of(&[origin], lines).start().await
}

/// All of alice's attempt to log in, well or not.
async fn alice_tries(client: &mut Client) -> Vec<Response> {
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let mut responses = vec![client.get("/").await];
    let mut next = Some(login.first());
    while let Some(authorization) = next {
        responses.push(client.request(Request::get("/").header("Authorization", &authorization)).await);
        next = responses.last().and_then(|response| login.next(response));
    }
    responses
}

#[tokio::test]
async fn pool_by_default_hands_connection_to_a_stranger() {
    let origin = Origin::start().await;
    let nginx = plain(&origin, "").await;
    let mut alice = Client::connect(&nginx).await;
    let last = alice_tries(&mut alice).await.pop().unwrap();
    let stranger = Client::connect(&nginx).await.get("/").await;
    if pools_by_default() {
        assert_eq!((last.status, last.identity()), (200, "alice"));
        // No credentials were sent, and these are alice's.
        assert_eq!((stranger.status, stranger.identity()), (200, "alice"));
        assert_eq!(stranger.connection(), last.connection());
    } else {
        assert_eq!((last.status, stranger.status), (401, 401));
    }
}

#[tokio::test]
async fn server_named_by_proxy_pass_is_not_pooled() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .without_module()
        .conf(&format!(
            "server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://{}; }} }}",
            origin.address()
        ))
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    assert_eq!(alice_tries(&mut alice).await.pop().unwrap().status, 401);
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
}

#[tokio::test]
async fn keepalive_0_pools_nothing_and_fails_logins() {
    if !pools_by_default() {
        // It is refused, or means the same as no line at all.
        return;
    }
    let origin = Origin::start().await;
    let nginx = plain(&origin, "keepalive 0;").await;
    let mut alice = Client::connect(&nginx).await;
    let responses = alice_tries(&mut alice).await;
    assert_eq!(responses.last().unwrap().status, 401);
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    let mut connections: Vec<u64> = responses.iter().map(Response::connection).collect();
    connections.dedup();
    assert_eq!(connections.len(), responses.len(), "a connection was used twice: {connections:?}");
}

#[tokio::test]
async fn ntlm_admits_alice_and_refuses_the_stranger() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let last = alice_tries(&mut alice).await.pop().unwrap();
    assert_eq!((last.status, last.identity()), (200, "alice"));
    for _ in 0..3 {
        let stranger = Client::connect(&nginx).await.get("/").await;
        assert_eq!(stranger.status, 401);
        assert_ne!(stranger.connection(), last.connection());
    }
    assert_eq!(alice.get("/").await.connection(), last.connection());
    nginx.stop().await;
}

#[tokio::test]
async fn ntlm_beside_keepalive_0_does_the_same() {
    if !pools_by_default() {
        return;
    }
    let (_origin, nginx) = front("keepalive 0; ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let last = alice_tries(&mut alice).await.pop().unwrap();
    assert_eq!((last.status, last.identity()), (200, "alice"));
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    assert_eq!(alice.get("/").await.connection(), last.connection());
    nginx.stop().await;
}
