//! The ways by which a login reaches a group without `ntlm`, other than a client's own field and a plain answer.

use ntlm_testkit::client::{Login, http2, http3};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{assert_strangers_are_nobody, front, kept_alive, of_alice, ticket};

/// Locations of one group with a pool.
async fn locations(origin: &Origin, locations: &str) -> Nginx {
    kept_alive()
        .set("origin", &origin.address())
        .conf("upstream backend { server {{origin}}; keepalive 8; } server { listen 127.0.0.1:{{port}};")
        .conf(locations)
        .conf("location / { proxy_pass http://backend; } }")
        .start()
        .await
}

#[tokio::test]
async fn credentials_that_a_location_sends_are_guarded() {
    for (field, target) in [
        ("Authorization", "/?nomutual"),
        ("AUTHORIZATION", "/?nomutual"),
        ("authorization", "/?nomutual"),
        ("Proxy-Authorization", "/?nomutual&proxy"),
        ("PROXY-authorization", "/?nomutual&proxy"),
    ] {
        for method in ["GET", "HEAD"] {
            let origin = Origin::start().await;
            let nginx = front(&origin, "keepalive 8;")
                .conf("")
                .set("field", field)
                .conf(
                    "server { listen 127.0.0.1:{{port:own}}; location / { proxy_pass http://backend; \
                     proxy_set_header Connection ''; proxy_set_header X-Note 'Zz zZ'; \
                     proxy_set_header {{field}} $http_x_auth; } }",
                )
                .start()
                .await;
            let mut alice = Client::connect(nginx.at("own")).await;
            let request = Request::new(method, target).header("X-Auth", &ticket("alice"));
            assert_eq!(alice.request(request).await.identity(), "alice", "{field}");
            assert_strangers_are_nobody(&nginx, &origin, field).await;
        }
    }
}

#[tokio::test]
async fn internally_redirected_answer_closes_the_connection() {
    let origin = Origin::start().await;
    let nginx = locations(&origin, "location = /local { internal; return 200 local; }").await;
    for (method, target) in [
        ("GET", "/?nomutual&size=0&field=X-Accel-Redirect:/local"),
        ("HEAD", "/?nomutual&field=X-Accel-Redirect:/local"),
        ("GET", "/?token_without_auth&size=0&field=X-Accel-Redirect:/local"),
    ] {
        let response = Client::connect(&nginx).await.request(of_alice(Request::new(method, target))).await;
        assert_eq!(response.status, 200);
        assert_strangers_are_nobody(&nginx, &origin, target).await;
        origin.clear_ledger();
    }
}

#[tokio::test]
async fn intercepted_answer_closes_the_connection() {
    let origin = Origin::start().await;
    let nginx = locations(
        &origin,
        "proxy_intercept_errors on; error_page 404 /sorry; location = /sorry { internal; return 200 sorry; }",
    )
    .await;
    let response =
        Client::connect(&nginx).await.request(of_alice(Request::get("/?nomutual&status=404&size=0"))).await;
    assert_eq!(response.text(), "sorry");
    assert_strangers_are_nobody(&nginx, &origin, "error_page").await;
}

#[tokio::test]
async fn subrequests_with_credentials_are_guarded() {
    let mut ways = vec!["mirror /sub;"];
    if Nginx::binary().has("with-http_auth_request_module") {
        ways.push("auth_request /sub;");
    }
    for way in ways {
        let (origin, page) = (Origin::start().await, Origin::start().await);
        let nginx = locations(
            &origin,
            &format!(
                "location = /sub {{ internal; proxy_pass http://backend/public/?nomutual&size=0; }} \
                 location = /main {{ {way} proxy_set_header Authorization ''; \
                 proxy_pass http://{}/public/; }}",
                page.address()
            ),
        )
        .await;
        let response = Client::connect(&nginx).await.request(of_alice(Request::get("/main"))).await;
        assert_eq!((response.status, response.identity()), (200, "anonymous"), "{way}");
        origin.wait_for(|entries| entries.iter().any(|entry| entry.identity.is_some())).await;
        assert_strangers_are_nobody(&nginx, &origin, way).await;
    }
}

#[tokio::test]
async fn http2_client_leaves_no_connection_to_strangers() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8;")
        .conf("server { listen 127.0.0.1:{{port:h2}} http2; location / { proxy_pass http://backend; } }")
        .allow_log("the \"listen ... http2\" directive is deprecated")
        .start()
        .await;
    let alice = http2::Client::connect(nginx.at("h2")).await;
    let response = alice.request(of_alice(Request::get("/?nomutual"))).await;
    assert_eq!(response.identity(), "alice");
    assert_strangers_are_nobody(&nginx, &origin, "HTTP/2").await;
    alice.login_with("NTLM", "alice", &password_of("alice"), "/").await;
    assert_strangers_are_nobody(&nginx, &origin, "HTTP/2").await;
    let log = nginx.error_log();
    assert_eq!(log.matches("in upstream \"backend\"").count(), 1, "{log}");
    assert!(log.contains("\"ntlm;\""), "the protocol is not the trouble\n{log}");
}

#[tokio::test]
async fn http3_client_leaves_no_connection_to_strangers() {
    if !Nginx::binary().has("http_v3") {
        return; // It speaks no HTTP/3.
    }
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8;")
        .conf(
            "server { listen 127.0.0.1:{{port:quic}} quic; ssl_certificate {{cert}}; \
             ssl_certificate_key {{key}}; location / { proxy_pass http://backend; } }",
        )
        .start()
        .await;
    let alice = http3::Client::connect(nginx.at("quic")).await;
    let response = alice.request(of_alice(Request::get("/?nomutual"))).await;
    assert_eq!(response.identity(), "alice");
    assert_strangers_are_nobody(&nginx, &origin, "HTTP/3").await;
}

#[tokio::test]
async fn retried_login_closes_both_connections() {
    let (first, second) = (Origin::start().await, Origin::start().await);
    let nginx = kept_alive()
        .conf("proxy_next_upstream http_404;")
        .in_front_of(&[&first, &second], "keepalive 8;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.request(of_alice(Request::get("/?nomutual&status=404&size=0"))).await;
    assert_eq!(response.status, 404);
    let bound = [first.ledger()[0].connection, second.ledger()[0].connection];
    for _ in 0..4 {
        let stranger = Client::connect(&nginx).await.get("/").await;
        assert_eq!((stranger.status, stranger.identity()), (401, "anonymous"));
    }
    first.wait_closed(bound[0]).await;
    second.wait_closed(bound[1]).await;
}

#[tokio::test]
async fn variable_that_names_the_group_is_guarded() {
    let origin = Origin::start().await;
    let nginx = locations(
        &origin,
        "set $group backend; set $shout BACKEND; location = /a { proxy_pass http://$group; } \
         location = /b { proxy_pass HTTP://$shout; } location = /c { proxy_pass http://BackEnd; }",
    )
    .await;
    for path in ["/a", "/b", "/c"] {
        let mut alice = Client::connect(&nginx).await;
        let response = alice.request(of_alice(Request::get(&format!("{path}?nomutual")))).await;
        assert_eq!(response.identity(), "alice", "{path}");
        assert_strangers_are_nobody(&nginx, &origin, path).await;
        origin.clear_ledger();
    }
}

#[tokio::test]
async fn login_over_tls_leaves_no_connection_to_strangers() {
    if !Nginx::binary().has("with-http_ssl_module") {
        return; // It has no way over TLS.
    }
    let origin = Origin::builder().tls().start().await;
    let nginx = front(&origin, "keepalive 8;").start().await;
    let mut alice = Client::connect(&nginx).await;
    assert_eq!(alice.request(of_alice(Request::get("/?nomutual"))).await.identity(), "alice");
    assert_strangers_are_nobody(&nginx, &origin, "TLS").await;
    alice.login_as(Login::new("NTLM", "alice", &password_of("alice")), Request::get("/")).await;
    assert_strangers_are_nobody(&nginx, &origin, "TLS").await;
}

#[tokio::test]
async fn removed_credentials_leave_the_pool_its_connection() {
    for (field, target) in [("Authorization", "/kept/"), ("Proxy-Authorization", "/kept/?proxy")] {
        let origin = Origin::start().await;
        let lines = format!(
            "location /kept/ {{ proxy_pass http://backend; proxy_set_header Connection ''; \
             proxy_set_header {field} ''; }}"
        );
        let nginx = locations(&origin, &lines).await;
        // From here on the module looks for the second field.
        Client::connect(&nginx).await.get_with("/?proxy", "Proxy-Authorization", &ticket("bob")).await;
        let response = Client::connect(&nginx).await.get_with(target, field, &ticket("alice")).await;
        assert_eq!(response.identity(), "anonymous", "{field}");
        let connection = response.connection();
        assert_eq!(Client::connect(&nginx).await.get("/").await.connection(), connection, "{field}");
    }
}

#[tokio::test]
async fn field_that_another_protocol_replaces_is_guarded() {
    if !Nginx::binary().has("with-http_v2_module") {
        return; // It has no grpc_set_header.
    }
    for (field, target) in
        [("Authorization", "/kept/?nomutual"), ("Proxy-Authorization", "/kept/?proxy&nomutual")]
    {
        let origin = Origin::start().await;
        let lines = format!(
            "location /kept/ {{ proxy_pass http://backend; proxy_set_header Connection ''; \
             grpc_set_header {field} ''; }}"
        );
        let nginx = locations(&origin, &lines).await;
        let response = Client::connect(&nginx).await.get_with(target, field, &ticket("alice")).await;
        assert_eq!(response.identity(), "alice", "{field}");
        assert_strangers_are_nobody(&nginx, &origin, field).await;
    }
}
