//! A client that reads nothing more, with nothing left of its request but the goodbye that it has no room for: nginx has
//! freed the request and keeps the connection. A binding that ends in that time has no request to tell of it.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::below::Below;

/// An nginx that speaks `protocol` with its clients and, on another port, none.
async fn start(below: &Below, origin: &Origin, protocol: &str, lines: &str) -> Nginx {
    let nginx =
        Nginx::builder().set("origin", &origin.address()).set("protocol", protocol).set("lines", lines).conf(
            "upstream backend { server {{origin}}; {{lines}} } \
             server { listen 127.0.0.1:{{port}}; listen 127.0.0.1:{{port:tls}} ssl; lingering_close off; \
             ssl_certificate {{cert}}; ssl_certificate_key {{key}}; ssl_protocols {{protocol}}; \
             location / { proxy_pass http://backend; } }",
        );
    below.under(nginx).start().await
}

/// Alice logs in with what is her last request; returns the origin's connection when nginx says goodbye to her in vain.
async fn say_goodbye(below: &Below, alice: &mut Client) -> u64 {
    let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
    let last = Request::get("/").header("Authorization", &ticket).header("Connection", "close");
    below.fill();
    let response = alice.request(last).await;
    assert_eq!((response.identity(), response.says_close()), ("alice", true));
    below.wait_goodbye().await;
    response.connection()
}

/// Everything that happened to the worker before was handled, and it lives.
async fn assert_lives(nginx: &Nginx, workers: &[u32]) {
    assert_eq!(Client::connect(nginx).await.get("/?close=header").await.status, 401);
    assert_eq!(nginx.worker_pids(), workers, "{}", nginx.error_log());
}

#[tokio::test]
async fn binding_closed_during_client_tls_shutdown_ends_cleanly() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let nginx = start(&below, &origin, protocol, "ntlm;").await;
        let workers = nginx.worker_pids();
        let mut alice = Client::builder().tls().connect(nginx.at("tls")).await;
        let bound = say_goodbye(&below, &mut alice).await;
        // Before, nginx does not wait until there is room, and closes the client connection, which ends the binding.
        if Nginx::binary().version() >= (1, 19, 2) {
            assert_eq!(origin.connection_ids_open(), [bound]);
        }
        origin.close_connection(bound).await;
        assert_lives(&nginx, &workers).await;
        below.drain();
        alice.close().await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn binding_expired_during_client_tls_shutdown_ends_cleanly() {
    let Some(below) = Below::new() else { return };
    let origin = Origin::start().await;
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let nginx = start(&below, &origin, protocol, "ntlm; ntlm_timeout 200ms;").await;
        let workers = nginx.worker_pids();
        let mut alice = Client::builder().tls().connect(nginx.at("tls")).await;
        let bound = say_goodbye(&below, &mut alice).await;
        origin.wait_closed(bound).await;
        assert_lives(&nginx, &workers).await;
        below.drain();
        alice.close().await;
        nginx.stop().await;
    }
}
