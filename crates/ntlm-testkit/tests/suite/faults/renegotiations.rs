//! A server that renegotiates TLS and reads nothing: nginx has to write before it can read on, and keeps the handler of an
//! event aside meanwhile, which it puts back on the connection even if that has another owner by then.

use ntlm_testkit::{Client, Nginx, Origin};

use super::below::Below;

async fn start(below: &Below, origin: &Origin) -> Nginx {
    let nginx = Nginx::builder().set("origin", &origin.address()).conf(
        "upstream backend { server {{origin}}; ntlm; } \
         server { listen 127.0.0.1:{{port}}; location / { proxy_pass https://backend; proxy_ssl_protocols TLSv1.3; } }",
    );
    below.under(nginx).start().await
}

#[tokio::test]
async fn tls_want_write_connection_is_not_parked() {
    if !Nginx::binary().has("with-http_ssl_module") {
        return; // It has no TLS.
    }
    let Some(below) = Below::new() else { return };
    let origin = Origin::builder().tls().start().await;
    let nginx = start(&below, &origin).await;
    let workers = nginx.worker_pids();

    // With the end of an answer: of the first after the login, and of a later one.
    for before in 0..2 {
        let mut alice = Client::connect(&nginx).await;
        let bound = alice.login("alice", "/").await[1].connection();
        for _ in 0..before {
            alice.get("/").await;
        }
        below.hold_up();
        let response = alice.get("/").await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
        origin.wait_closed(bound).await;
        alice.closed().await;
        below.let_go();
    }

    // While it waits for the next request.
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    below.hold_up();
    assert!(origin.send_key_update(bound).await);
    origin.wait_closed(bound).await;
    alice.closed().await;
    assert_eq!(nginx.worker_pids(), workers, "{}", nginx.error_log());
}
