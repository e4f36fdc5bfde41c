//! Kinds of servers, of places for the line, and what else the location says.

use ntlm_testkit::dns::Dns;
use ntlm_testkit::{Client, Nginx, Origin};

use super::{nginx_with, two_clients_stay_apart};
use crate::common::{refuses, serves};

/// No login can finish there. The connection that the challenge came over.
async fn no_login(nginx: &Nginx, path: &str) -> u64 {
    let mut carol = Client::connect(nginx).await;
    let challenge = carol.leg1("carol", path).await;
    refuses(&carol.leg3(&challenge, path).await);
    challenge.connection()
}

/// The server as `proxy_pass` has it, in variables and without.
async fn both_ways(origin: &Origin, url: &str) {
    for server in [url.to_owned(), format!("$url;  set $url {url}")] {
        let nginx = nginx_with(
            origin,
            &format!(
                "server {{ listen 127.0.0.1:{{{{port}}}}; proxy_ntlm on; location / {{ proxy_pass {server}; }} }}"
            ),
        )
        .await;
        two_clients_stay_apart(origin, &nginx).await;
    }
}

#[tokio::test]
async fn ipv6_server_binds() {
    let origin = Origin::builder().ipv6().start().await;
    both_ways(&origin, "http://{{origin}}").await;
}

#[tokio::test]
async fn unix_socket_binds() {
    let origin = Origin::builder().unix().start().await;
    both_ways(&origin, "http://{{origin}}:").await;
}

#[tokio::test]
async fn https_server_binds() {
    let origin = Origin::builder().tls().start().await;
    both_ways(&origin, "https://{{origin}}").await;
}

#[tokio::test]
async fn group_without_ntlm_binds_where_the_line_holds() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "upstream backend { server {{origin}}; keepalive 8; } log_format binding binding=$ntlm_binding;
         server { listen 127.0.0.1:{{port}}; set $group BackEnd; access_log {{prefix}}/access.log binding;
             location / { proxy_ntlm on; proxy_pass http://backend; }
             location /by-variable { proxy_ntlm on; proxy_pass http://$group; }
             location /guarded { proxy_pass http://backend; } }",
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
    let mut bob = Client::connect(&nginx).await;
    let bound = bob.login("bob", "/by-variable").await[1].connection();
    serves(&bob.get("/by-variable").await, "bob", bound);
    // The first leg belongs to the line, and not to the guard of the group below it.
    nginx.wait_access_log(|log| log.contains("binding=bound")).await;
    // Elsewhere the guard closes the connection after a login.
    origin.wait_closed(no_login(&nginx, "/guarded").await).await;
}

#[tokio::test]
async fn group_with_ntlm_keeps_its_settings() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "proxy_ntlm on connections=50;
         upstream backend { server {{origin}}; ntlm 1; }
         server { listen 127.0.0.1:{{port}}; set $group backend;
             location / { proxy_pass http://backend; } location /by-variable { proxy_pass http://$group; } }",
    )
    .await;
    let (mut alice, mut bob) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let bound = alice.login("alice", "/").await[1].connection();
    serves(&alice.get("/by-variable").await, "alice", bound);
    bob.login("bob", "/by-variable").await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn line_is_inherited_and_switched_off() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "proxy_ntlm on;
         server { listen 127.0.0.1:{{port}}; set $server {{origin}};
             location / { proxy_pass http://{{origin}}; }
             location /variable { proxy_pass http://$server; location /variable/within { proxy_pass http://$server; } }
             location /off { proxy_ntlm off; proxy_pass http://{{origin}}; }
             location /off/variable { proxy_ntlm off; proxy_pass http://$server; }
             location /if { proxy_pass http://$server; if ($arg_then) { add_header X-Then yes; } }
             location /only { limit_except GET { deny all; } proxy_pass http://$server; } }",
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    for path in ["/variable", "/variable/within", "/if", "/if?then=1", "/only"] {
        serves(&alice.get(path).await, "alice", bound);
    }
    for path in ["/off", "/off/variable"] {
        refuses(&alice.get(path).await);
        no_login(&nginx, path).await;
    }
}

#[tokio::test]
async fn line_in_an_if_holds_there() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; set $server {{origin}};
             location / { proxy_pass http://$server; if ($arg_ntlm) { proxy_ntlm on; } } }",
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/?ntlm=1").await[1].connection();
    serves(&alice.get("/?ntlm=1").await, "alice", bound);
    no_login(&nginx, "/").await;
}

#[tokio::test]
async fn parameters_are_a_cap_and_a_time() {
    let origin = Origin::start().await;
    let nginx = nginx_with(
        &origin,
        "server { listen 127.0.0.1:{{port}}; set $server {{origin}};
             location / { proxy_ntlm on connections=1; proxy_pass http://$server; }
             location /short { proxy_ntlm on timeout=200ms; proxy_pass http://$server; } }",
    )
    .await;
    let (mut alice, mut bob) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let bound = alice.login("alice", "/").await[1].connection();
    let other = bob.login("bob", "/").await[1].connection();
    origin.wait_closed(bound).await;
    serves(&bob.get("/").await, "bob", other);
    let mut carol = Client::connect(&nginx).await;
    origin.wait_closed(carol.login("carol", "/short").await[1].connection()).await;
    carol.closed().await;
}

#[tokio::test]
async fn proxy_bind_means_what_it_did() {
    let dns = Dns::start().await;
    for bind in
        ["", "proxy_bind 127.0.0.7;", "proxy_bind $bind;", "proxy_bind $nothing;", "proxy_bind $wrong;"]
    {
        let nginx = Nginx::builder()
            .conf(&format!(
                "resolver {} ipv6=off; map '' $nothing {{ default ''; }}
                 server {{ listen 127.0.0.1:{{{{port:origin}}}}; return 200 $remote_addr; }}
                 server {{ listen 127.0.0.1:{{{{port}}}}; set $bind 127.0.0.7; set $wrong here; set $name app.local.test; {bind}
                     location /alone {{ proxy_pass http://$name:{{{{port:origin}}}}; }}
                     location /name {{ proxy_ntlm on; proxy_pass http://$name:{{{{port:origin}}}}; }}
                     location /address {{ proxy_ntlm on; set $address 127.0.0.1; proxy_pass http://$address:{{{{port:origin}}}}; }}
                     location /literal {{ proxy_ntlm on; proxy_pass http://127.0.0.1:{{{{port:origin}}}}; }} }}",
                dns.address()
            ))
            .start()
            .await;
        let alone = Client::connect(&nginx).await.get("/alone").await.text();
        for path in ["/name", "/address", "/literal"] {
            assert_eq!(Client::connect(&nginx).await.get(path).await.text(), alone, "{bind} {path}");
        }
        assert_eq!(
            alone.contains("127.0.0.7"),
            bind.ends_with("127.0.0.7;") || bind.contains("$bind"),
            "{bind}"
        );
        let complaints = nginx.error_log().matches("invalid local address \"here\"").count();
        assert_eq!(complaints, if bind.contains("$wrong") { 4 } else { 0 });
    }
}

#[tokio::test]
async fn group_in_a_variable_is_verified_by_its_name() {
    let origin = Origin::builder().tls().start().await;
    let nginx = nginx_with(
        &origin,
        "upstream localhost { server {{origin}}; }
         server { listen 127.0.0.1:{{port}}; set $group localhost; proxy_ntlm on;
             proxy_ssl_verify on; proxy_ssl_trusted_certificate {{ca}}; proxy_ssl_server_name on;
             location / { proxy_pass https://$group; } }",
    )
    .await;
    two_clients_stay_apart(&origin, &nginx).await;
    assert!(origin.ledger().iter().all(|entry| entry.sni.as_deref() == Some("localhost")));
}
