//! The main job on every nginx, however it was built: a login goes through, and stays with who logged in.

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::{Client, Nginx, Origin};

use crate::common::front;
use crate::multiplexed::turned_back::anew;

#[tokio::test]
async fn login_succeeds_and_keeps_its_connection() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let legs = alice.login("alice", "/").await;
    let connection = legs.last().unwrap().connection();
    for _ in 0..3 {
        let response = alice.get("/again").await;
        assert_eq!((response.status, response.identity()), (200, "alice"));
        assert_eq!(response.connection(), connection);
    }
    nginx.stop().await;
}

#[tokio::test]
async fn curl_needs_as_many_requests_as_directly() {
    let (origin, nginx) = front("ntlm;").await;
    for curl in [Curl::ntlm("alice"), Curl::negotiate("alice")] {
        let mut direct = curl.clone();
        let mut proxied = curl;
        for target in ["/a", "/b", "/c"] {
            direct = direct.url(origin.url(target));
            proxied = proxied.url(nginx.url(target));
        }
        let (direct, proxied) = (direct.run().await, proxied.run().await);
        assert_eq!(proxied.statuses, direct.statuses, "{proxied:?}");
        assert_eq!(proxied.connects, direct.connects);
        assert_eq!(proxied.last().identity(), "alice");
    }
}

#[tokio::test]
async fn an_anonymous_neighbour_stays_anonymous() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    let mut bob = Client::connect(&nginx).await;
    assert_eq!(bob.get("/").await.status, 401);
    assert_eq!(bob.get("/public/").await.identity(), "anonymous");
    assert_eq!(alice.get("/").await.identity(), "alice");
}

#[tokio::test]
async fn body_that_is_turned_back_is_over() {
    if Nginx::binary().has("http_v2") {
        anew::play().await;
    }
}

#[tokio::test]
async fn poll_and_select_report_binding_ends() {
    for method in ["poll", "select"] {
        // Debian's binaries have epoll only.
        if !Nginx::binary().has(&format!("--with-{method}_module")) {
            continue;
        }
        let origin = Origin::start().await;
        let nginx =
            Nginx::builder().events(&format!("use {method};")).in_front_of(&[&origin], "ntlm;").start().await;
        let mut alice = Client::connect(&nginx).await;
        let legs = alice.login("alice", "/").await;
        assert_eq!(alice.get("/").await.connection(), legs.last().unwrap().connection());
        origin.close_connection(legs.last().unwrap().connection()).await;
        alice.closed().await;
    }
}
