//! Requests with bodies whose credentials log in on the way.

use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Client, Request};

use super::{front_with, one_connection, statuses};
use crate::common::{front, login_of, serves};

#[tokio::test]
async fn a_post_with_empty_legs_is_sent_once() {
    let (origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let body = vec![b'x'; 100_000];
    let mut login = login_of("alice");
    let first = login.first();
    let challenge = alice.request(Request::post("/", "").header("Authorization", &first)).await;
    let last = login.next(&challenge).unwrap();
    let sent = alice.request(Request::post("/", body.clone()).header("Authorization", &last)).await;
    serves(&sent, "alice", challenge.connection());
    assert_eq!(sent.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
    assert_eq!(origin.ledger().len(), 2);
}

#[tokio::test]
async fn body_on_every_leg_arrives_whole_and_once() {
    let small: Vec<u8> = (0..1024u32).map(|number| number as u8).collect();
    let large: Vec<u8> = (0..10_000_000u32).map(|number| (number / 7) as u8).collect();
    for lines in [
        "client_max_body_size 0;",
        "client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;",
    ] {
        let (origin, nginx) = front_with(lines).await;
        for body in [&small, &large] {
            let requests = [
                Request::post("/", body.clone()),
                Request::post("/", body.clone()).header("Expect", "100-continue"),
                Request::new("POST", "/").chunked(body.clone(), 9_999),
            ];
            for request in requests {
                origin.clear_ledger();
                let mut alice = Client::connect(&nginx).await;
                let legs = alice.login_as(login_of("alice"), request).await;
                assert_eq!(statuses(&legs), [401, 200]);
                let bound = one_connection(&legs);
                for leg in &legs {
                    assert_eq!(leg.get("X-Body-Hash"), Some(body_hash(body).as_str()), "{lines}");
                }
                serves(&alice.get("/").await, "alice", bound);
                assert_eq!(origin.ledger().len(), 3);
            }
        }
    }
}
