//! Names that NGINX compares without case, or keeps as written: the scheme in `proxy_pass`, groups, fields.

use ntlm_testkit::client::kerberos_token;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{assert_bound, client};

/// Ways to write `proxy_pass http://backend`, with what must stand before it.
const WAYS: [&str; 7] = [
    "proxy_pass HTTP://backend;",
    "proxy_pass hTTp://backend;",
    "proxy_pass http://BACKEND;",
    "proxy_pass HTTP://BackEnd;",
    "set $scheme_of HTTP; proxy_pass $scheme_of://backend;",
    "set $group BACKEND; proxy_pass http://$group;",
    "set $url HTTP://BackEnd; proxy_pass $url;",
];

/// `way` over TLS.
fn over_tls(way: &str) -> String {
    way.replace("HTTP", "HTTPS").replace("hTTp", "hTTps").replace("http", "https")
}

/// Each way, over clear text and where possible over TLS, with an origin for it.
async fn ways() -> Vec<(Origin, String)> {
    let mut ways = Vec::new();
    for way in WAYS {
        ways.push((Origin::start().await, way.to_owned()));
        if Nginx::binary().has("with-http_ssl_module") {
            ways.push((Origin::builder().tls().start().await, over_tls(way)));
        }
    }
    ways
}

/// A group of that name and one location, with `lines` and the `way` in it.
async fn front(origin: &Origin, name: &str, group: &str, lines: &str, way: &str) -> Nginx {
    Nginx::builder()
        .conf(&format!("upstream {name} {{ server {}; {group} }}", origin.address()))
        .conf(&format!("server {{ listen 127.0.0.1:{{{{port}}}}; location / {{ {lines} {way} }} }}"))
        .start()
        .await
}

#[tokio::test]
async fn login_finishes_however_proxy_pass_is_spelled() {
    for name in ["backend", "Backend"] {
        for (origin, way) in ways().await {
            let nginx = front(&origin, name, "ntlm;", "", &way).await;
            let mut alice = client(&nginx, "alice").await;
            let legs = alice.login_with("NTLM", "alice", &password_of("alice"), "/").await;
            assert_eq!((legs[1].status, legs[1].identity()), (200, "alice"), "{way}");
            assert_bound(&mut alice, "/", "alice", legs[0].connection()).await;
        }
    }
}

/// Asserts that clients after alice, who is logged in over `bound`, are anonymous.
async fn assert_strangers_are_nobody(nginx: &Nginx, bound: u64, context: &str) {
    for _ in 0..2 {
        let stranger = Client::connect(nginx).await.get("/").await;
        assert_eq!((stranger.status, stranger.identity()), (401, "anonymous"), "{context}");
        assert_ne!(stranger.connection(), bound, "{context}");
    }
}

#[tokio::test]
async fn location_credentials_taint_however_proxy_pass_is_spelled() {
    let kept_alive = "proxy_http_version 1.1; proxy_set_header Connection '';";
    for (origin, way) in ways().await {
        for version in [kept_alive, ""] {
            let lines = format!("{version} proxy_set_header Authorization $http_x_auth;");
            let nginx = front(&origin, "backend", "ntlm; keepalive 8;", &lines, &way).await;
            let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
            let mut alice = client(&nginx, "alice").await;
            // One leg, answered without a token: nothing but what was sent shows that the connection is hers.
            let response = alice.get_with("/?nomutual", "X-Auth", &ticket).await;
            assert_eq!(response.identity(), "alice", "{way}");
            assert_strangers_are_nobody(&nginx, response.connection(), &way).await;
            assert_bound(&mut alice, "/", "alice", response.connection()).await;
        }
    }
}

#[tokio::test]
async fn location_credentials_taint_however_the_field_is_spelled() {
    let origin = Origin::start().await;
    for (field, target) in [
        ("Authorization", "/?nomutual"),
        ("AUTHORIZATION", "/?nomutual"),
        ("aUTHORIZATION", "/?nomutual"),
        ("Proxy-Authorization", "/?nomutual&proxy"),
        ("PROXY-AUTHORIZATION", "/?nomutual&proxy"),
        ("proxy-authorization", "/?nomutual&proxy"),
    ] {
        let line = format!("proxy_set_header {field} $http_x_auth;");
        let nginx =
            front(&origin, "backend", "ntlm; keepalive 8;", &line, "proxy_pass http://backend;").await;
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
        let mut alice = client(&nginx, "alice").await;
        let response = alice.get_with(target, "X-Auth", &ticket).await;
        assert_eq!(response.identity(), "alice", "{field}");
        assert_strangers_are_nobody(&nginx, response.connection(), field).await;
        assert_bound(&mut alice, "/", "alice", response.connection()).await;
    }
}

#[tokio::test]
async fn trouble_is_told_however_proxy_pass_is_spelled() {
    for (origin, way) in ways().await {
        let nginx =
            front(&origin, "backend", "ntlm;", "proxy_set_header CONNECTION \"TE, Close\";", &way).await;
        Client::connect(&nginx).await.leg1("alice", "/").await;
        nginx.wait_log(|log| log.contains("[warn]")).await;
        let log = nginx.error_log();
        let line = log.lines().find(|line| line.contains("[warn]")).expect("a warning");
        assert!(line.contains("with \"Connection: close\""), "{way}\n{line}");
    }
}

#[tokio::test]
async fn scheme_spellings_share_one_binding() {
    let origin = Origin::start().await;
    let mut locations = String::from("location / { proxy_pass http://backend; }");
    for (number, way) in WAYS.iter().enumerate() {
        locations.push_str(&format!("location /{number}/ {{ {way} }}"));
    }
    let nginx = Nginx::builder()
        .conf(&format!("upstream backend {{ server {}; ntlm; keepalive 8; }}", origin.address()))
        .conf(&format!("server {{ listen 127.0.0.1:{{{{port}}}}; {locations} }}"))
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    for number in 0..WAYS.len() {
        assert_bound(&mut alice, &format!("/{number}/"), "alice", bound).await;
    }
    // The client spells the field and the scheme its own way.
    let request = Request::get("/").header("AUTHORIZATION", "nTLM x");
    assert_eq!(alice.request(request).await.connection(), bound);
}
