//! A binding is for requests that take the same way to the server: protocol, TLS, local address.

use ntlm_testkit::client::Login;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{assert_bound, logged_in};

/// The connection `bound` ended with the request that would have taken another way, which it did not see.
async fn assert_ended_unused(nginx: &Nginx, origin: &Origin, bound: u64) {
    origin.wait_closed(bound).await;
    nginx.wait_log(|log| log.contains("the request goes another way to its server")).await;
    let last = origin.ledger().into_iter().rfind(|entry| entry.connection == bound);
    assert_eq!(last.expect("an entry").target, "/same/");
}

/// Alice logs in by `/` and asks at `path`, which leads another way.
async fn assert_another_way(nginx: &Nginx, origin: &Origin, path: &str) {
    let (mut alice, bound) = logged_in(nginx, "alice", "/").await;
    assert_bound(&mut alice, "/same/", "alice", bound).await;
    let response = alice.get(path).await;
    assert_ne!(response.get("X-Identity"), Some("alice"), "{path}");
    assert!(response.says_close(), "{path}");
    alice.closed().await;
    assert_ended_unused(nginx, origin, bound).await;
}

#[tokio::test]
async fn tls_binding_requires_equal_name_and_certificate() {
    if !Nginx::binary().has("with-http_ssl_module") {
        return; // It has no way over TLS.
    }
    let origin = Origin::builder().tls().client_ca().start().await;
    let builder = Nginx::builder().set("origin", &origin.address()).conf(
        "upstream backend { server {{origin}}; ntlm; keepalive 8; } \
         server { listen 127.0.0.1:{{port}}; proxy_ssl_server_name on; proxy_ssl_name one.example; \
         location / { proxy_pass https://backend; } \
         location /same/ { proxy_pass https://backend; proxy_buffering off; } \
         location /named/ { proxy_pass https://backend; proxy_ssl_name two.example; } \
         location /nameless/ { proxy_pass https://backend; proxy_ssl_server_name off; } \
         location /certified/ { proxy_pass https://backend; \
         proxy_ssl_certificate {{client_cert}}; proxy_ssl_certificate_key {{client_key}}; } \
         location /clear/ { proxy_pass http://backend; } }",
    );
    for path in ["/named/", "/nameless/", "/certified/"] {
        assert_another_way(&builder.clone().start().await, &origin, path).await;
    }
    let nginx = builder.start().await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
    assert_bound(&mut alice, "/same/", "alice", bound).await;
    // A server of TLS answers a request in the clear by something other than HTTP.
    let response = alice.try_request(Request::get("/clear/")).await;
    assert!(response.is_err(), "{response:?}");
    assert_ended_unused(&nginx, &origin, bound).await;
}

#[tokio::test]
async fn verified_binding_is_for_the_same_authority() {
    if !Nginx::binary().has("with-http_ssl_module") {
        return; // It has no way over TLS.
    }
    let origin = Origin::builder().tls().start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; keepalive 8; } \
             server { listen 127.0.0.1:{{port}}; proxy_ssl_verify on; proxy_ssl_name localhost; \
             proxy_ssl_session_reuse off; proxy_ssl_trusted_certificate {{ca}}; \
             location / { proxy_pass https://backend; } \
             location /other/ { proxy_pass https://backend; \
             proxy_ssl_trusted_certificate {{client_cert}}; } }",
        )
        .start()
        .await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
    assert_bound(&mut alice, "/same/", "alice", bound).await;
    // Whom this location trusts has not signed the origin's certificate.
    let response = alice.get("/other/").await;
    assert_eq!((response.status, response.get("X-Identity")), (502, None), "{response:?}");
    assert_ended_unused(&nginx, &origin, bound).await;
}

#[tokio::test]
async fn binding_requires_the_same_local_address() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; keepalive 8; } \
             server { listen 127.0.0.1:{{port}}; \
             location / { proxy_pass http://backend; proxy_bind 127.0.0.11; } \
             location /same/ { proxy_pass http://backend; proxy_bind 127.0.0.11; } \
             location /other/ { proxy_pass http://backend; proxy_bind 127.0.0.12; } }",
        )
        .start()
        .await;
    assert_another_way(&nginx, &origin, "/other/").await;
}

/// The address is the client's word for it, and lies in the memory of the request that brought it.
#[tokio::test]
async fn binding_remembers_an_address_that_a_request_brought() {
    for (group, own, other) in [
        ("ntlm;", "127.0.0.11", "127.0.0.12"),
        ("ntlm;", "127.0.0.12", "127.0.0.11"),
        // No value, no address.
        ("ntlm;", "", "127.0.0.11"),
        ("ntlm;", "127.0.0.11", ""),
        ("ntlm; ntlm_key $remote_addr;", "127.0.0.11", "127.0.0.12"),
    ] {
        let origin = Origin::start().await;
        let nginx = Nginx::builder()
            .set("origin", &origin.address())
            .set("group", group)
            .conf(
                "upstream backend { server {{origin}}; {{group}} keepalive 8; } \
                 server { listen 127.0.0.1:{{port}}; \
                 location / { proxy_pass http://backend; proxy_bind $http_x_from; } }",
            )
            // What is freed is overwritten, so that nothing stays there by chance.
            .env("GLIBC_TUNABLES", "glibc.malloc.perturb=85")
            .start()
            .await;
        let from = |address: &str| Request::get("/").header("X-From", address);
        let mut alice = Client::connect(&nginx).await;
        let login = Login::new("NTLM", "alice", &password_of("alice"));
        let bound = alice.login_as(login, from(own)).await[1].connection();
        for _ in 0..3 {
            let mut stranger = Client::connect(&nginx).await;
            assert_eq!(stranger.request(from(other)).await.status, 401);
            let again = alice.request(from(own)).await;
            assert_eq!((again.identity(), again.connection()), ("alice", bound));
        }
        assert_eq!(alice.request(from(other)).await.status, 401);
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn http_binding_serves_no_other_protocol() {
    let origin = Origin::start().await;
    for protocol in ["fastcgi", "scgi", "uwsgi", "memcached", "grpc"] {
        if Nginx::binary().has(&format!("without-http_{protocol}_module"))
            || (protocol == "grpc" && !Nginx::binary().has("with-http_v2_module"))
        {
            continue; // Not a protocol of this nginx.
        }
        let nginx = Nginx::builder()
            .set("origin", &origin.address())
            .set("protocol", protocol)
            .conf(
                "upstream backend { server {{origin}}; ntlm; keepalive 8; } \
                 server { listen 127.0.0.1:{{port}}; set $memcached_key key; \
                 location / { proxy_pass http://backend; } location /same/ { proxy_pass http://backend; } \
                 location /other/ { {{protocol}}_pass backend; {{protocol}}_read_timeout 200ms; } }",
            )
            .start()
            .await;
        assert_another_way(&nginx, &origin, "/other/").await;
        // Credentials by that protocol are nothing that the module binds by, and nothing that it falls over.
        let mut bob = Client::connect(&nginx).await;
        assert!(bob.login_in_one_leg("bob", "/other/").await.status >= 400);
        assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
        nginx.stop().await;
    }
}

#[tokio::test]
async fn credentials_by_another_protocol_taint_the_connection() {
    let mut ways = Vec::new();
    if Nginx::binary().has("with-http_v2_module") {
        for (lines, field) in [
            ("", "Authorization"),
            ("", "Proxy-Authorization"),
            ("proxy_set_header Authorization '';", "Authorization"),
            ("proxy_set_header Proxy-Authorization '';", "Proxy-Authorization"),
            ("grpc_set_header Authorization $http_x_authorization;", "X-Authorization"),
        ] {
            ways.push((format!("grpc_pass grpc://backend; {lines}"), field, &["", "ntlm;"][..]));
        }
        if Nginx::binary().version() >= (1, 29, 4) {
            let lines = "proxy_pass http://backend; proxy_http_version 2; \
                         proxy_set_header Authorization $http_x_authorization;";
            ways.push((lines.to_owned(), "X-Authorization", &["ntlm;"][..]));
        }
    }
    for (way, field, guarded) in ways {
        // The origin is an nginx that says which connection a request came by.
        let nginx = Nginx::builder()
            .set("way", &way)
            .conf(
                "server { listen 127.0.0.1:{{port:origin}} http2; \
                 location / { add_header X-Connection $remote_port; return 200 body; } } \
                 upstream backend { server 127.0.0.1:{{port:origin}}; keepalive 8; {{ntlm}} } \
                 server { listen 127.0.0.1:{{port}}; location / { {{way}} } }",
            )
            .allow_log("the \"listen ... http2\" directive is deprecated");
        for group in guarded.iter().chain(&["ntlm_guard off;"]) {
            let nginx = nginx.clone().set("ntlm", group).start().await;
            let mut connections = Vec::new();
            for user in ["alice", "bob"] {
                let mut client = Client::connect(&nginx).await;
                let request = Request::get("/").header(field, &format!("Negotiate {user}"));
                let response = client.request(request).await;
                assert_eq!(response.status, 200, "{way}");
                connections.push(response.get("X-Connection").expect("the origin says it").to_owned());
            }
            assert_eq!(connections[0] == connections[1], !guarded.contains(group), "{way} {group}");
            nginx.stop().await;
        }
    }
}

#[tokio::test]
async fn unverified_binding_is_for_no_location_that_verifies() {
    if !Nginx::binary().has("with-http_ssl_module") {
        return; // It has no way over TLS.
    }
    let origin = Origin::builder().tls().start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; keepalive 8; } \
             server { listen 127.0.0.1:{{port}}; proxy_ssl_name localhost; \
             proxy_ssl_trusted_certificate {{ca}}; \
             location / { proxy_pass https://backend; } \
             location /verified/ { proxy_pass https://backend; proxy_ssl_verify on; } }",
        )
        .start()
        .await;
    assert_another_way(&nginx, &origin, "/verified/").await;
}
