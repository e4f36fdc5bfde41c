//! Configurations as programs write them, with one line added.

use ntlm_testkit::Origin;

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
