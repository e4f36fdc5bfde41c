//! Requests and answers that stay open for longer than a binding may wait: a stream of events, and the two channels of RPC over HTTP.
//!
//! Time passes by answers whose delay was ordered.

use ntlm_testkit::client::Login;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// nginx as for RD Gateway, but for a binding that waits no longer than this many seconds.
const WAIT: u32 = 1;

async fn gateway(origin: &Origin) -> Nginx {
    let wait = WAIT * ntlm_testkit::slowness();
    Nginx::builder()
        .conf("proxy_buffering off; proxy_request_buffering off; client_max_body_size 0;")
        .in_front_of(&[origin], &format!("ntlm; ntlm_timeout {wait}s;"))
        .start()
        .await
}

/// Lets a binding's time pass, and half of it again.
async fn wait_longer(nginx: &Nginx) {
    let delay = WAIT * ntlm_testkit::slowness() * 1500;
    assert_eq!(Client::connect(nginx).await.get(&format!("/public/?delay={delay}")).await.status, 200);
}

/// The header of an answer whose body is still to come.
async fn header(client: &mut Client) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(client.read_raw(1).await[0]));
    }
    text
}

#[tokio::test]
async fn stream_of_events_outlasts_ntlm_timeout() {
    let origin = Origin::start().await;
    let nginx = gateway(&origin).await;
    let mut alice = Client::connect(&nginx).await;
    let home = alice.login("alice", "/").await.pop().unwrap();
    alice.send(Request::get("/events?size=20&gate_body=event")).await;
    let begun = header(&mut alice).await;
    assert!(begun.starts_with("HTTP/1.1 200") && begun.contains("X-Identity: alice"), "{begun}");
    wait_longer(&nginx).await;
    origin.open_gate("event");
    assert_eq!(alice.read_raw(20).await.len(), 20);
    let after = alice.get("/").await;
    assert_eq!((after.identity(), after.connection()), ("alice", home.connection()));
}

#[tokio::test]
async fn channels_of_rpc_outlast_ntlm_timeout() {
    let origin = Origin::start().await;
    let nginx = gateway(&origin).await;
    let path = "/rpc/rpcproxy.dll?server:3388";
    // The channel that data come from: its answer never ends while the session lasts.
    let mut out = Client::connect(&nginx).await;
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let first = Request::new("RPC_OUT_DATA", path).body("").header("Authorization", &login.first());
    let challenge = out.request(first).await;
    let last = login.next(&challenge).unwrap();
    let held = format!("{path}&size=20&gate_body=data");
    out.send(Request::new("RPC_OUT_DATA", &held).body("").header("Authorization", &last)).await;
    let begun = header(&mut out).await;
    assert!(begun.starts_with("HTTP/1.1 200") && begun.contains("X-Identity: alice"), "{begun}");

    // The channel that data go into: a request whose body never ends, on another connection with a login of its own.
    let mut into = Client::connect(&nginx).await;
    let mut login = Login::new("NTLM", "alice", &password_of("alice"));
    let first = Request::new("RPC_IN_DATA", path).body("").header("Authorization", &login.first());
    let challenge = into.request(first).await;
    let last = login.next(&challenge).unwrap();
    let request =
        Request::new("RPC_IN_DATA", path).header("Authorization", &last).header("Content-Length", "200000");
    into.send_raw(&request.head_bytes("localhost")).await;
    for _ in 0..2 {
        into.send_raw(&[b'x'; 100_000]).await;
        wait_longer(&nginx).await;
    }
    let answer = into.read_response().await;
    assert_eq!(
        (answer.status, answer.identity(), answer.get("X-Body-Length")),
        (200, "alice", Some("200000"))
    );
    assert_eq!(answer.connection(), challenge.connection());

    origin.open_gate("data");
    assert_eq!(out.read_raw(20).await.len(), 20);
}
