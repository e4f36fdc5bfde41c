//! `ntlm_guard`: what it turns off, where it may stand; and what the guard tells the operator.

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

use super::{assert_strangers_are_nobody, front, kept_alive, of_alice};

/// Alice logs in in one leg, and the next client is served as she is: NGINX's own behaviour.
async fn assert_strangers_are_alice(nginx: &Nginx) {
    let response = Client::connect(nginx).await.request(of_alice(Request::get("/?nomutual"))).await;
    let stranger = Client::connect(nginx).await.get("/").await;
    assert_eq!((stranger.identity(), stranger.connection()), ("alice", response.connection()));
}

#[tokio::test]
async fn guard_off_in_a_group_pools_logins() {
    let origin = Origin::start().await;
    for group in ["keepalive 8; ntlm_guard off;", "ntlm_guard OFF; keepalive 8;"] {
        let nginx = front(&origin, group).start().await;
        assert_strangers_are_alice(&nginx).await;
        // NTLM too, and without a warning, since the configuration asks for it.
        let mut alice = Client::connect(&nginx).await;
        alice.login("carol", "/").await;
        assert_eq!(Client::connect(&nginx).await.get("/").await.identity(), "carol");
        assert!(!nginx.error_log().contains("[warn]"), "{}", nginx.error_log());
    }
}

#[tokio::test]
async fn guard_off_in_http_pools_logins() {
    let origin = Origin::start().await;
    let before = Nginx::builder().conf("ntlm_guard off;");
    let line = "proxy_http_version 1.1; proxy_set_header Connection '';";
    let nginx = before.conf(line).in_front_of(&[&origin], "keepalive 8;").start().await;
    assert_strangers_are_alice(&nginx).await;
    // Behind the groups as well.
    let nginx = front(&origin, "keepalive 8;").conf("ntlm_guard off;").start().await;
    assert_strangers_are_alice(&nginx).await;
}

#[tokio::test]
async fn guard_on_in_a_group_outweighs_http() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8; ntlm_guard On;").conf("ntlm_guard off;").start().await;
    let response = Client::connect(&nginx).await.request(of_alice(Request::get("/?nomutual"))).await;
    assert_eq!(response.identity(), "alice");
    assert_strangers_are_nobody(&nginx, &origin, "on").await;
}

#[tokio::test]
async fn guard_off_in_http_leaves_ntlm_groups_alone() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 8; ntlm;").conf("ntlm_guard off;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login("alice", "/").await[1].connection();
    let stranger = Client::connect(&nginx).await.get("/").await;
    assert_eq!((stranger.status, stranger.identity()), (401, "anonymous"));
    assert_eq!(alice.get("/").await.connection(), bound);
}

#[tokio::test]
async fn guard_is_refused_where_it_means_nothing() {
    let group = |lines: &str| format!("upstream group {{ server 127.0.0.1:1; {lines} }}");
    for (text, why) in [
        (group("ntlm; ntlm_guard off;"), "\"ntlm_guard\""),
        (group("ntlm_guard off; ntlm;"), "\"ntlm_guard\""),
        (group("ntlm_guard off; ntlm_guard off;"), "\"ntlm_guard\" directive is duplicate"),
        ("ntlm_guard on; ntlm_guard off;".to_owned(), "\"ntlm_guard\" directive is duplicate"),
        (group("ntlm_guard maybe;"), "\"maybe\""),
        (group("ntlm_guard;"), "invalid number of arguments in \"ntlm_guard\""),
        ("server { ntlm_guard off; }".to_owned(), "\"ntlm_guard\" directive is not allowed here"),
        (
            "server { location / { ntlm_guard off; } }".to_owned(),
            "\"ntlm_guard\" directive is not allowed here",
        ),
    ] {
        let test = Nginx::builder().conf(&text).config_test().await;
        assert_eq!(test.exit, Some(1), "{text}\n{}", test.stderr);
        let line = test.stderr.lines().find(|line| line.contains("[emerg]")).expect("a refusal");
        assert!(line.contains(why), "{text}\n{line}");
    }
    for text in [group("ntlm_guard off;"), group("ntlm_guard on;"), "ntlm_guard off;".to_owned()] {
        let test = Nginx::builder().conf(&text).config_test().await;
        assert_eq!(test.exit, Some(0), "{text}\n{}", test.stderr);
    }
}

/// The warnings of the module that name `upstream`.
async fn warnings(nginx: &Nginx, upstream: &str) -> Vec<String> {
    nginx.wait_log(|log| log.lines().any(|line| line.contains("[warn]") && line.contains(upstream))).await;
    let log = nginx.error_log();
    log.lines().filter(|line| line.contains("[warn]") && line.contains(upstream)).map(str::to_owned).collect()
}

#[tokio::test]
async fn forgotten_ntlm_is_told_once_for_each_group() {
    let origin = Origin::start().await;
    let nginx = kept_alive()
        .set("origin", &origin.address())
        .conf(
            "upstream mail { server {{origin}}; keepalive 8; } upstream wiki { server {{origin}}; } \
             server { listen 127.0.0.1:{{port}}; location /mail/ { proxy_pass http://mail; } \
             location /wiki/ { proxy_pass http://wiki; } }",
        )
        .start()
        .await;
    for group in ["mail", "wiki"] {
        for _ in 0..3 {
            let mut alice = Client::connect(&nginx).await;
            alice.login_with("NTLM", "alice", &password_of("alice"), &format!("/{group}/")).await;
        }
    }
    for group in ["\"mail\"", "\"wiki\""] {
        let lines = warnings(&nginx, group).await;
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(" ntlm: ") && lines[0].contains("\"ntlm;\""), "{}", lines[0]);
        assert!(lines[0].contains("client: 127.0.0.1"), "{}", lines[0]);
    }
}

/// An address in the place of a group: NGINX makes a group of it, or none at all.
fn addressed(origin: &Origin) -> Builder {
    kept_alive().set("origin", &origin.address()).conf(
        "server { listen 127.0.0.1:{{port}}; set $origin {{origin}}; \
         location / { proxy_pass http://{{origin}}; } location /variable/ { proxy_pass http://$origin; } }",
    )
}

#[tokio::test]
async fn forgotten_group_is_told_and_guarded() {
    for path in ["/", "/variable/"] {
        let origin = Origin::start().await;
        let nginx = addressed(&origin).start().await;
        let mut alice = Client::connect(&nginx).await;
        assert_eq!(alice.request(of_alice(Request::get(path))).await.identity(), "alice");
        alice.login_with("NTLM", "alice", &password_of("alice"), path).await;
        assert_strangers_are_nobody(&nginx, &origin, path).await;
        let lines = warnings(&nginx, &origin.address()).await;
        let [line] = &lines[..] else { panic!("not one warning but {lines:#?}") };
        assert!(line.contains(" ntlm: ") && line.contains("\"proxy_ntlm on;\""), "{line}");
    }
}

#[tokio::test]
async fn forgotten_ntlm_is_the_one_trouble_told() {
    let origin = Origin::start().await;
    let nginx =
        kept_alive().conf("keepalive_timeout 0;").in_front_of(&[&origin], "keepalive 8;").start().await;
    assert!(Client::connect(&nginx).await.leg1("alice", "/").await.says_close());
    let lines = warnings(&nginx, "\"backend\"").await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains("\"ntlm;\""), "{}", lines[0]);
}

#[tokio::test]
async fn other_protocol_to_an_address_is_no_trouble() {
    let origin = Origin::start().await;
    for protocol in ["fastcgi", "scgi", "uwsgi", "memcached"] {
        if Nginx::binary().has(&format!("without-http_{protocol}_module")) {
            continue; // Not a protocol of this nginx.
        }
        let nginx = Nginx::builder()
            .set("origin", &origin.address())
            .set("protocol", protocol)
            .conf(
                "server { listen 127.0.0.1:{{port}}; set $memcached_key key; \
                 location / { {{protocol}}_pass {{origin}}; {{protocol}}_read_timeout 200ms; } }",
            )
            .start()
            .await;
        let response = Client::connect(&nginx).await.request(of_alice(Request::get("/"))).await;
        assert!(response.status >= 400, "{protocol}");
        assert!(!nginx.error_log().contains(" ntlm: "), "{protocol}\n{}", nginx.error_log());
    }
}
