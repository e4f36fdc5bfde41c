//! Many forged logins, or one client that speaks for many, leave the others and the worker unharmed.
//! `cargo xtask flood` runs these with larger numbers.

mod junk;

use std::sync::Arc;

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::flood::streams::{self, Streams};
use ntlm_testkit::flood::{Flood, Usage, Users, bind_and_close, front, settled};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of, pause, within};

const USERS: usize = 20;
/// Memory that may come after the warm-up, in KiB: the heap's fragments, whatever the number of logins.
const SLACK: usize = 2048;
/// Bindings that one client connection may have (`ntlm_core::bindings::SHARE`).
const SHARE: usize = 256;

/// The worker takes no more memory at the end than it took before.
fn assert_no_growth(before: Usage, end: Usage) {
    // A memory checker withholds freed memory for a long time.
    if !Nginx::binary().is_watched() {
        assert!(end.rss <= before.rss + SLACK, "{before:?} became {end:?}");
    }
}

/// Sends a flood twice beside users that are logged in: all of them stay, and the second time takes no more memory.
async fn withstand(flood: Flood) {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 2048).await;
    let mut users = Users::log_in(&nginx, USERS).await;
    let before = Usage::of(&nginx).descriptors;
    flood.clone().send(&nginx, async || assert_eq!(users.still_in().await, USERS)).await;
    let warm = settled(&origin, &nginx, USERS, before).await;
    flood.send(&nginx, async || assert_eq!(users.still_in().await, USERS)).await;
    let end = settled(&origin, &nginx, USERS, before).await;
    assert_eq!(users.still_in().await, USERS);
    assert_no_growth(warm, end);
    nginx.stop().await;
}

/// The descriptors of a worker without clients. One that has just been forked still opens some, so that it is to answer first.
async fn at_rest(nginx: &Nginx) -> usize {
    let mut client = Client::connect(nginx.at("status")).await;
    client.get("/").await;
    Usage::of(nginx).descriptors - 1
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_turned_back_harm_no_other() {
    let each = Streams { connections: 10, at_once: 100, rounds: 1 };
    let origin = Arc::new(Origin::start().await);
    let nginx = streams::front(&origin, "ntlm;", 4096).await;
    let before = at_rest(&nginx).await;
    let mut clients = each.log_in(&nginx).await;
    let mut usages = Vec::new();
    for _ in 0..4 {
        assert_eq!(each.send(&origin, &mut clients).await, Ok(10 * 33));
        usages.push(settled(&origin, &nginx, 10, before + 2 * 10).await);
    }
    assert_no_growth(usages[2], usages[3]);
    // The numbers of bindings are half a second old at most.
    let counted = async {
        loop {
            let counts = Client::connect(&nginx).await.get("/counts").await.text();
            if counts.contains("\"fallback\":1320,")
                && counts.contains("\"parked\":10,\"handshaking\":0,\"busy\":0}")
            {
                return;
            }
            pause().await;
        }
    };
    within(counted, || "the counters do not come back to where they were".to_owned()).await;
    drop(clients);
    settled(&origin, &nginx, 0, before).await;
    nginx.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_first_legs_keep_logins_and_memory() {
    withstand(Flood::of_first_legs(2500, 200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_tokens_keep_logins_and_memory() {
    // The heap keeps what the widest moment took, so that there must be few at a time.
    withstand(Flood::of_junk(200, 8)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bindings_made_and_ended_leak_nothing() {
    let origin = Origin::start().await;
    // Few enough that a lost connection of nginx would soon be missed.
    let nginx = front(&origin, "ntlm 100;", 64).await;
    let before = at_rest(&nginx).await;
    bind_and_close(&nginx, 1000, 8).await.expect("the script");
    let warm = settled(&origin, &nginx, 0, before).await;
    bind_and_close(&nginx, 1000, 8).await.expect("the script");
    let end = settled(&origin, &nginx, 0, before).await;
    assert_no_growth(warm, end);
    assert_eq!(end.descriptors, before);
    // An "open socket left in connection" would be a complaint.
    nginx.stop().await;
}

/// An nginx that believes its client which addresses it speaks for, with two groups of one origin.
async fn front_behind_a_proxy(origin: &Origin) -> Nginx {
    Nginx::builder()
        .log_level("info")
        .worker_connections(2048)
        .set("origin", &origin.address())
        .conf(
            "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; keepalive_requests 1000000; \
             upstream mail { server {{origin}}; ntlm 1000; } upstream wiki { server {{origin}}; ntlm 1000; } \
             server { listen 127.0.0.1:{{port}}; \
             location /mail/ { proxy_pass http://mail; } location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await
}

/// A request in the name of the `number`th of those the client speaks for. Half of them use each group.
fn request_of(number: usize) -> Request {
    let group = ["mail", "wiki"][number % 2];
    Request::get(&format!("/{group}/"))
        .header("X-Forwarded-For", &format!("10.0.{}.{}", number / 250, number % 250))
}

/// The request of user `number` with its credentials.
fn login_of(number: usize) -> Request {
    let user = format!("user{number}");
    let ticket = format!("Negotiate {}", kerberos_token(&user, &password_of(&user)));
    request_of(number).header("Authorization", &ticket)
}

fn assert_served_as(number: usize, response: &Response) {
    assert_eq!(response.get("X-Identity"), Some(&*format!("user{number}")), "{response:?}");
}

#[tokio::test]
async fn client_speaking_for_many_gets_one_share() {
    let origin = Origin::start().await;
    let nginx = front_behind_a_proxy(&origin).await;
    let mut other = Client::connect(&nginx).await;
    let of_other = other.login("other", "/mail/").await[1].connection();

    let mut proxy = Client::connect(&nginx).await;
    let mut connections = Vec::new();
    for number in 0..SHARE {
        let response = proxy.request(login_of(number)).await;
        assert_served_as(number, &response);
        connections.push(response.connection());
    }
    assert_eq!(origin.open_connections(), SHARE + 1);
    let full = Usage::of(&nginx);

    // Further users are served, and their connections closed; the client goes on.
    for number in SHARE..SHARE + 400 {
        let response = proxy.request(login_of(number)).await;
        assert_served_as(number, &response);
        assert!(!response.says_close());
        origin.wait_closed(response.connection()).await;
        let next = proxy.request(request_of(number)).await;
        assert_eq!((next.status, next.identity()), (401, "anonymous"));
    }
    let end = Usage::of(&nginx);
    assert_no_growth(full, end);

    // Every user within the share is still logged in.
    for (number, &connection) in connections.iter().enumerate() {
        let response = proxy.request(request_of(number)).await;
        assert_served_as(number, &response);
        assert_eq!(response.connection(), connection);
    }
    let response = other.get("/mail/").await;
    assert_eq!((response.identity(), response.connection()), ("other", of_other));
}
