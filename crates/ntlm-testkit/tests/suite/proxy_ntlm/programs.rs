//! Configurations as programs write them, with one line added.

use ntlm_testkit::client::browser::Browser;
use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::origin::Leg;
use ntlm_testkit::{Origin, password_of};

use super::{nginx_with, two_clients_stay_apart};

/// Nginx Proxy Manager, with what the box "Advanced" has and what "Websockets Support" adds.
fn manager(advanced: &str, websockets: &str) -> String {
    format!(
        r#"server {{
  set $forward_scheme http;
  set $server         "127.0.0.1";
  set $port           {{{{origin_port}}}};

  listen 127.0.0.1:{{{{port}}}};
  {advanced}
  location / {{
    {websockets}
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Scheme $scheme;
    proxy_set_header X-Forwarded-Proto  $scheme;
    proxy_set_header X-Forwarded-For    $proxy_add_x_forwarded_for;
    proxy_set_header X-Real-IP          $remote_addr;
    proxy_pass $forward_scheme://$server:$port$request_uri;
  }}
}}"#
    )
}

const WEBSOCKETS: &str = "proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $http_connection;
    proxy_http_version 1.1;";

#[tokio::test]
async fn nginx_proxy_manager_binds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(&origin, &manager("proxy_ntlm on;", "")).await;
    two_clients_stay_apart(&origin, &nginx).await;
}

#[tokio::test]
async fn nginx_proxy_manager_with_websockets_binds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(&origin, &manager("proxy_ntlm on;", WEBSOCKETS)).await;
    two_clients_stay_apart(&origin, &nginx).await;
}

#[tokio::test]
async fn variable_with_a_whole_url_binds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; location / { set $backend \"http://{{origin}}\"; proxy_ntlm on;
             proxy_pass $backend; } }",
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
}

#[tokio::test]
async fn curl_logs_in_through_nginx_proxy_manager() {
    let origin = Origin::start().await;
    let nginx = nginx_with(&origin, &manager("proxy_ntlm on;", WEBSOCKETS)).await;
    for curl in [Curl::ntlm("alice"), Curl::negotiate("alice").arg("--anyauth")] {
        origin.clear_ledger();
        let gets = curl.url(nginx.url("/a")).url(nginx.url("/b")).run().await;
        assert_eq!((gets.exit, &gets.statuses[..]), (0, &[200, 200][..]), "{gets:?}");
        served_over_one_connection(&origin);
    }
}

#[tokio::test]
async fn chromium_logs_in_through_nginx_proxy_manager() {
    let origin = Origin::start().await;
    let nginx = nginx_with(&origin, &manager("proxy_ntlm on;", "")).await;
    let named = nginx.url("/page").replace("://", &format!("://alice:{}@", password_of("alice")));
    let _page = Browser::open(&named).await;
    origin.wait_for(|ledger| ledger.iter().any(|entry| entry.status == 200)).await;
    served_over_one_connection(&origin);
}

/// The ledger has alice's pages, over one connection from the challenge on.
fn served_over_one_connection(origin: &Origin) {
    let ledger = origin.ledger();
    let served: Vec<_> = ledger.iter().filter(|entry| entry.status == 200).collect();
    assert!(
        !served.is_empty() && served.iter().all(|entry| entry.identity.as_deref() == Some("alice")),
        "{ledger:?}"
    );
    let challenged = ledger.iter().rfind(|entry| entry.leg == Leg::Negotiate).expect("a challenge");
    assert!(served.iter().all(|entry| entry.connection == challenged.connection), "{ledger:?}");
}
