//! Beside the modules that Debian has for its nginx, all of them loaded and many at work on every request
//! (`cargo xtask crowd`): those that choose servers, and those that change requests behind nginx's parser.

use ntlm_testkit::{Client, Nginx, Origin, Request};

use crate::common::{refuses, serves, ticket_of};

/// Alice logs in and keeps her connection, whatever comes between; Bob, who asks without credentials, is nobody.
async fn assert_logins_stay(nginx: &Nginx, lines: &str) {
    let mut alice = Client::connect(nginx).await;
    let bound = alice.login("alice", "/").await.last().expect("an answer").connection();
    for _ in 0..3 {
        let mut bob = Client::connect(nginx).await;
        refuses(&bob.get("/").await);
        assert_eq!(bob.get("/public/").await.identity(), "anonymous", "{lines}");
        serves(&alice.get("/again").await, "alice", bound);
    }
}

#[tokio::test]
async fn servers_chosen_by_lua_keep_logins_apart() {
    if Nginx::binary().beside().is_none() {
        return;
    }
    let origin = Origin::start().await;
    let address = origin.address();
    let (host, port) = address.split_once(':').expect("a port");
    let lua = format!(
        "balancer_by_lua_block {{ assert(require(\"ngx.balancer\").set_current_peer(\"{host}\", {port})) }}"
    );
    for lines in [
        format!("{lua} ntlm;"),
        format!("ntlm; {lua}"),
        format!("{lua} keepalive 8; ntlm;"),
        format!("{lua} ntlm; keepalive 8;"),
        format!("ntlm; {lua} keepalive 8;"),
    ] {
        let nginx = Nginx::builder()
            .conf(&format!(
                "upstream backend {{ server 0.0.0.1; {lines} }} \
                 server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; }} }}"
            ))
            .start()
            .await;
        assert_logins_stay(&nginx, &lines).await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn fair_balancer_keeps_logins_apart() {
    if Nginx::binary().beside().is_none() {
        return;
    }
    let (one, other) = (Origin::start().await, Origin::start().await);
    for lines in ["fair; ntlm;", "ntlm; fair;", "fair; keepalive 8; ntlm;", "ntlm; fair; keepalive 8;"] {
        let nginx = Nginx::builder().in_front_of(&[&one, &other], lines).start().await;
        assert_logins_stay(&nginx, lines).await;
        nginx.stop().await;
    }
}

#[tokio::test]
async fn credentials_put_in_behind_the_parser_taint() {
    if Nginx::binary().beside().is_none() {
        return;
    }
    for put_in in [
        "access_by_lua_block { local value = ngx.var.http_x_put_in; \
         if value then ngx.req.set_header(\"Authorization\", value) end }",
        "more_set_input_headers \"Authorization: $http_x_put_in\";",
    ] {
        for lines in ["ntlm; keepalive 8;", "keepalive 8;"] {
            let origin = Origin::start().await;
            let nginx = Nginx::builder()
                .set("origin", &origin.address())
                .conf(&format!(
                    "upstream backend {{ server {{{{origin}}}}; {lines} }} \
                     server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; {put_in} \
                     proxy_http_version 1.1; proxy_set_header Connection ''; }} }}"
                ))
                .start()
                .await;
            ticket_put_in_taints(&nginx, &format!("{put_in} {lines}")).await;
        }
    }
}

#[tokio::test]
async fn credentials_put_in_as_a_server_is_chosen_taint() {
    if Nginx::binary().beside().is_none() {
        return;
    }
    let origin = Origin::start().await;
    let address = origin.address();
    let (host, port) = address.split_once(':').expect("a port");
    for lines in ["ntlm; keepalive 8;", "keepalive 8;"] {
        let nginx = Nginx::builder()
            .conf(&format!(
                "upstream backend {{ server 0.0.0.1; balancer_by_lua_block {{ \
                 local balancer, value = require(\"ngx.balancer\"), ngx.var.http_x_put_in; \
                 assert(balancer.set_current_peer(\"{host}\", {port})); \
                 if value then ngx.req.set_header(\"Authorization\", value); \
                 assert(balancer.recreate_request()) end }} {lines} }} \
                 server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ proxy_pass http://backend; \
                 proxy_http_version 1.1; proxy_set_header Connection ''; }} }}"
            ))
            .start()
            .await;
        ticket_put_in_taints(&nginx, lines).await;
    }
}

/// Alice's connection carries no request of Bob's. The origin accepts her ticket without a token of its own, so that only her request
/// tells of it.
async fn ticket_put_in_taints(nginx: &Nginx, lines: &str) {
    let mut alice = Client::connect(nginx).await;
    let ticket = Request::get("/?nomutual").header("X-Put-In", &ticket_of("alice"));
    let first = alice.request(ticket).await;
    assert_eq!((first.identity(), first.get("WWW-Authenticate")), ("alice", None), "{first:?}");
    let mut bob = Client::connect(nginx).await;
    for _ in 0..3 {
        assert_ne!(bob.get("/public/").await.connection(), first.connection(), "{lines}");
    }
}
