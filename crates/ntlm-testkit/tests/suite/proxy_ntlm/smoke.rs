//! Tests for every version: each fails where nginx no longer makes the request before it evaluates `proxy_bind`, or no longer
//! evaluates that before it looks for the server.

use ntlm_testkit::Origin;
use ntlm_testkit::dns::Dns;

use super::{nginx_with, two_clients_stay_apart};

#[tokio::test]
async fn literal_address_binds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; location / { proxy_ntlm on; proxy_pass http://{{origin}}; } }",
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
}

#[tokio::test]
async fn address_in_a_variable_binds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; set $server 127.0.0.1; proxy_ntlm on;
             location / { proxy_pass http://$server:{{origin_port}}; } }",
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
}

#[tokio::test]
async fn name_with_a_resolver_binds() {
    let (origin, dns) = (Origin::start().await, Dns::start().await);
    let nginx = nginx_with(
        &origin,
        &format!(
            "resolver {} ipv6=off; proxy_ntlm on;
             server {{ listen 127.0.0.1:{{{{port}}}}; set $server app.local.test;
                 location / {{ proxy_pass http://$server:{{{{origin_port}}}}; }} }}",
            dns.address()
        ),
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
}
