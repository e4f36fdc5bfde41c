//! Origins and clients that close the connection, or speak HTTP/1.0, during a login.

use ntlm_testkit::origin::Leg;
use ntlm_testkit::{Client, Request};

use super::{one_connection, statuses};
use crate::common::{front, login_of, refuses, serves, ticket_of};

#[tokio::test]
async fn challenge_with_close_ends_the_client_connection() {
    let (origin, nginx) = front("ntlm;").await;
    for path in ["/?close=challenge", "/?http10"] {
        let mut alice = Client::connect(&nginx).await;
        let challenge = alice.leg1("alice", path).await;
        refuses(&challenge);
        assert!(challenge.says_close(), "{challenge:?}");
        alice.closed().await;
        origin.wait_closed(challenge.connection()).await;
    }
}

#[tokio::test]
async fn an_origin_of_http10_keeps_no_binding() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.login_in_one_leg("alice", "/?http10").await;
    serves(&response, "alice", response.connection());
    assert!(response.says_close());
    alice.closed().await;
    origin.wait_closed(response.connection()).await;
    refuses(&Client::connect(&nginx).await.get("/").await);
}

#[tokio::test]
async fn http10_client_with_keep_alive_logs_in() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let keeping = Request::get("/").http10().header("Connection", "keep-alive");
    let legs = alice.login_as(login_of("alice"), keeping.clone()).await;
    assert_eq!(statuses(&legs), [401, 200]);
    let bound = one_connection(&legs);
    serves(&alice.request(keeping).await, "alice", bound);
    // The last request says nothing, so the connections end with it.
    serves(&alice.request(Request::get("/").http10()).await, "alice", bound);
    alice.closed().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn client_closing_after_first_leg_leaves_no_binding() {
    let (origin, nginx) = front("ntlm;").await;
    let closing = [Request::get("/").http10(), Request::get("/").header("Connection", "close")];
    for request in closing {
        let mut alice = Client::connect(&nginx).await;
        let challenge =
            alice.request(request.clone().header("Authorization", &login_of("alice").first())).await;
        refuses(&challenge);
        alice.closed().await;
        origin.wait_closed(challenge.connection()).await;

        let mut alice = Client::connect(&nginx).await;
        let response = alice.request(request.header("Authorization", &ticket_of("alice"))).await;
        serves(&response, "alice", response.connection());
        alice.closed().await;
        origin.wait_closed(response.connection()).await;
    }
    assert!(origin.ledger().iter().all(|entry| entry.request == 1));
    assert_eq!(origin.ledger().iter().filter(|entry| entry.leg == Leg::Negotiate).count(), 2);
}
