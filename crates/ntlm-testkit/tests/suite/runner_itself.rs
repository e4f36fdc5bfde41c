//! The runner, and the clients that need an nginx, without the module: plain nginx must behave here as its documentation says.

use ntlm_testkit::client::{http2, http3};
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request};

/// A plain nginx in front of `origin`, by HTTP/1.1 without keep-alive.
fn plain(origin: &Origin) -> Builder {
    Nginx::builder().without_module().in_front_of(&[origin], "")
}

#[tokio::test]
async fn requests_pass_and_are_logged() {
    let origin = Origin::start().await;
    let nginx = plain(&origin).start().await;
    let mut client = Client::builder().name("c").connect(&nginx).await;
    assert_eq!(client.get("/public/").await.identity(), "anonymous");
    origin.wait_for(|ledger| ledger.iter().any(|entry| entry.x_client.as_deref() == Some("c"))).await;
    let address = origin.address();
    nginx.wait_access_log(|log| log.contains(&format!("upstream_addr={address} upstream_status=200"))).await;
    nginx.stop().await;
}

#[tokio::test]
async fn workers_are_new_after_a_reload() {
    let origin = Origin::start().await;
    let nginx = plain(&origin).workers(2).start().await;
    let before = nginx.worker_pids();
    nginx.reload().await;
    nginx.wait_gone(&before).await;
    assert_eq!(nginx.worker_pids().len(), 2);
    assert_eq!(Client::connect(&nginx).await.get("/public/").await.status, 200);
}

#[tokio::test]
async fn one_process_serves_as_well() {
    let origin = Origin::start().await;
    let nginx = plain(&origin).single_process().start().await;
    assert_eq!(Client::connect(&nginx).await.get("/public/").await.status, 200);
}

#[tokio::test]
async fn bad_configuration_is_reported() {
    let test = Nginx::builder().without_module().conf("nonsense;").config_test().await;
    assert_eq!(test.exit, Some(1));
    assert!(test.stderr.contains("unknown directive \"nonsense\""), "{}", test.stderr);
}

#[tokio::test]
#[should_panic(expected = "nginx complained")]
async fn a_complaint_fails_the_test() {
    let origin = Origin::start().await;
    let nginx = plain(&origin).start().await;
    std::fs::write(
        nginx.prefix().join("error.log.1"),
        "2026/01/01 [alert] 1#1: open socket #3 left in connection 4\n",
    )
    .unwrap();
    drop(nginx);
}

#[tokio::test]
async fn http2_streams_share_a_connection() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .without_module()
        .set("origin", &origin.address())
        .conf(
            "server { listen 127.0.0.1:{{port}} http2; listen 127.0.0.1:{{port:tls}} ssl http2; \
             ssl_certificate {{cert}}; ssl_certificate_key {{key}}; \
             location / { proxy_pass http://{{origin}}; } }",
        )
        .start()
        .await;
    for client in [http2::Client::connect(&nginx).await, http2::Client::connect_tls(nginx.at("tls")).await] {
        let body = vec![b'x'; 200_000];
        let (slow, fast) = tokio::join!(client.get("/public/slow?gate=slow"), async {
            origin.wait_gate("slow").await;
            let fast = client.request(Request::post("/public/fast", body.clone())).await;
            origin.open_gate("slow");
            fast
        });
        assert_eq!((slow.status, fast.get("X-Body-Length")), (200, Some("200000")));
        origin.close_gate("slow");
        nginx.wait_access_log(|log| log.contains("HTTP/2.0\" status=200")).await;
        client.close().await;
    }
}

#[tokio::test]
async fn http3_streams_share_a_connection() {
    if !Nginx::binary().has("http_v3") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .without_module()
        .set("origin", &origin.address())
        .conf(
            "server { listen 127.0.0.1:{{port}} quic; ssl_certificate {{cert}}; ssl_certificate_key {{key}}; \
             location / { proxy_pass http://{{origin}}; } }",
        )
        .start()
        .await;
    let client = http3::Client::connect(&nginx).await;
    let (one, two) = tokio::join!(client.get("/public/1?size=100000"), client.get("/public/2"));
    assert_eq!((one.body.len(), two.status), (100_000, 200));
    let posted = client.request(Request::post("/public/", vec![b'x'; 50_000])).await;
    assert_eq!(posted.get("X-Body-Length"), Some("50000"));
    client.close().await;
}

#[tokio::test]
async fn clients_come_from_where_they_say() {
    let nginx = Nginx::builder()
        .without_module()
        .conf(
            "server { listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:proxy}} proxy_protocol; \
             listen [::1]:{{port6}}; \
             location / { return 200 \"$remote_addr $proxy_protocol_addr\"; } }",
        )
        .start()
        .await;
    let mut client = Client::builder().source("127.0.0.7").connect(&nginx).await;
    assert_eq!(client.get("/").await.text(), "127.0.0.7 ");
    let mut client = Client::builder().proxy_protocol("192.0.2.9").connect(nginx.at("proxy")).await;
    assert_eq!(client.get("/").await.text(), "127.0.0.1 192.0.2.9");
    let mut client = Client::connect(nginx.at("v6")).await;
    assert_eq!(client.get("/").await.text(), "::1 ");
}
