//! Junk in the place of credentials, sent to pages that refuse it, ignore it or are not there: every login survives it.

use ntlm_testkit::Origin;
use ntlm_testkit::flood::{Junk, Users, front};

use super::USERS;

/// A page that answers 401, a public one, and one that is not there.
const TARGETS: [&str; 3] = ["/", "/public/?ignore", "/missing?ignore&status=404"];
/// Credentials that look like a user's until the origin answers.
const CREDENTIALS: [&str; 2] = ["NTLM x", "Negotiate x"];

/// Every kind of junk, from so many addresses over so many connections each.
fn all_junk(addresses: usize, connections: usize) -> impl Iterator<Item = Junk> {
    let kinds =
        TARGETS.iter().flat_map(|target| CREDENTIALS.iter().map(move |credentials| (target, credentials)));
    kinds.map(move |(&target, &credentials)| Junk {
        target: target.to_owned(),
        credentials: credentials.to_owned(),
        addresses,
        connections,
    })
}

/// Sends every kind of junk beside `users`: after each, all of them are still logged in.
async fn withstand(nginx: &ntlm_testkit::Nginx, users: &mut Users, addresses: usize, connections: usize) {
    for junk in all_junk(addresses, connections) {
        let held = junk.send(nginx).await;
        assert_eq!(users.still_in().await, USERS, "{junk:?}");
        drop(held);
    }
}

#[tokio::test]
async fn junk_from_one_address_evicts_no_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 4096).await;
    let mut users = Users::log_in_apart(&nginx, USERS).await;
    withstand(&nginx, &mut users, 1, 1000).await;
}

#[tokio::test]
async fn junk_from_200_addresses_evicts_no_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 4096).await;
    let mut users = Users::log_in_apart(&nginx, USERS).await;
    withstand(&nginx, &mut users, 200, 5).await;
}

#[tokio::test]
async fn junk_from_a_users_address_evicts_no_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 4096).await;
    // A proxy in front: all requests come from 127.0.2.1.
    let mut users = Users::log_in_at(&nginx, USERS, "127.0.2.1").await;
    withstand(&nginx, &mut users, 1, 1000).await;
}

#[tokio::test]
async fn junk_under_many_keys_evicts_no_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100; ntlm_key $http_x_session;", 4096).await;
    let mut users = Users::log_in_apart(&nginx, USERS).await;
    for junk in all_junk(1, 1) {
        junk.send_in_sessions(&nginx, 1000).await;
        assert_eq!(users.still_in().await, USERS, "{junk:?}");
    }
}
