//! nginx stores no response of a bound connection, and an answer out of a cache gives no connection away.

use ntlm_testkit::client::http2;
use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Nginx, Origin, Request};

use super::{assert_bound, assert_nobody_is_mistaken, assert_stranger, client, logged_in};

/// An nginx may be built without.
fn has_a_cache() -> bool {
    !Nginx::binary().has("without-http-cache")
}

/// A cache over the whole server, for which only the path counts.
fn cached(origin: &Origin) -> Builder {
    cached_before(origin, "ntlm; keepalive 8;")
}

/// An nginx with a cache before a group with these lines.
fn cached_before(origin: &Origin, group: &str) -> Builder {
    Nginx::builder()
        .conf(
            "proxy_cache_path {{prefix}}/cache keys_zone=all:1m; proxy_cache all; proxy_cache_key $uri; \
             proxy_cache_valid 200 1h; proxy_cache_revalidate on; proxy_cache_use_stale error http_500; \
             add_header X-Cache $upstream_cache_status always;",
        )
        .in_front_of(&[origin], group)
}

/// Lines that have a cache remember a refusal that a page takes the place of.
const REPLACED: &str =
    "proxy_cache_valid 403 1h; proxy_intercept_errors on; error_page 403 http://localhost/refused;";

#[tokio::test]
async fn cache_stores_no_response_from_bound_connection() {
    if !has_a_cache() {
        return;
    }
    let origin = Origin::start().await;
    let nginx = cached(&origin).start().await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/with-credentials").await;
    for path in ["/with-credentials", "/without", "/without", "/public/bound"] {
        assert_eq!(assert_bound(&mut alice, path, "alice", bound).await.get("X-Cache"), Some("MISS"));
    }
    let mut ticket = client(&nginx, "carol").await;
    assert_eq!(ticket.login_in_one_leg("carol", "/ticket?nomutual").await.status, 200);
    assert_eq!(ticket.get("/?token_without_auth").await.status, 200);
    assert_eq!(client(&nginx, "dave").await.get("/public/token?token_without_auth").await.status, 200);
    let mut bob = client(&nginx, "bob").await;
    for path in ["/with-credentials", "/without", "/ticket", "/"] {
        assert_stranger(&mut bob, path, bound).await;
    }
    assert_eq!(bob.get("/public/token").await.get("X-Cache"), Some("MISS"));
    assert_eq!(bob.get("/public/bound").await.identity(), "anonymous");
    // The control: there is a cache.
    assert_eq!(bob.get("/public/bound").await.get("X-Cache"), Some("HIT"));
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn unread_body_of_converted_head_closes_the_client() {
    if !has_a_cache() {
        return;
    }
    let origin = Origin::start().await;
    for (converted, lines) in [(true, ""), (false, "proxy_cache_convert_head off;")] {
        let nginx = cached(&origin).conf(lines).start().await;
        for order in ["", "?chunked", "?size=0", "?status=204"] {
            let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
            let response = alice.request(Request::new("HEAD", &format!("/{order}"))).await;
            assert_eq!((response.identity(), response.connection()), ("alice", bound));
            let unread = converted && matches!(order, "" | "?chunked");
            assert_eq!(response.says_close(), unread, "{order} {lines}");
            if unread {
                alice.closed().await;
                origin.wait_closed(bound).await;
            } else {
                assert_bound(&mut alice, "/", "alice", bound).await;
            }
        }
        nginx.stop().await;
    }
}

#[tokio::test]
async fn intercepted_refusal_is_not_cached() {
    if !has_a_cache() {
        return;
    }
    let origin = Origin::start().await;
    let nginx = cached(&origin).conf(REPLACED).start().await;
    let (mut alice, _) = logged_in(&nginx, "alice", "/").await;
    let mut bob = client(&nginx, "bob").await;
    assert_eq!(alice.get("/public/bound?status=403").await.status, 302);
    let mut carol = client(&nginx, "carol").await;
    assert_eq!(carol.login_in_one_leg("carol", "/public/leg?status=403").await.status, 302);
    for path in ["/public/bound", "/public/leg"] {
        assert_eq!(bob.get(path).await.status, 200);
    }
    // The control: there is something that remembers.
    assert_eq!(bob.get("/public/anonymous?status=403").await.status, 302);
    assert_eq!(bob.get("/public/anonymous").await.status, 302);
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn refusal_of_a_login_is_not_cached() {
    if !has_a_cache() {
        return;
    }
    let origin = Origin::start().await;
    for group in ["ntlm; keepalive 8;", "keepalive 8;"] {
        let nginx = cached_before(&origin, group).conf(REPLACED).start().await;
        let mut carol = client(&nginx, "carol").await;
        let response = carol.login_in_one_leg("carol", "/public/leg?status=403&nomutual").await;
        assert_eq!(response.status, 302, "{group}");
        let mut dave = client(&nginx, "dave").await;
        assert_eq!(dave.get("/public/token?status=403&token_without_auth").await.status, 302, "{group}");
        let mut bob = client(&nginx, "bob").await;
        for path in ["/public/leg", "/public/token"] {
            assert_eq!(bob.get(path).await.status, 200, "{path} {group}");
        }
        // The control: there is something that remembers.
        assert_eq!(bob.get("/public/anonymous?status=403").await.status, 302, "{group}");
        assert_eq!(bob.get("/public/anonymous").await.status, 302, "{group}");
    }
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn answer_from_a_cache_gives_no_connection_away() {
    if !has_a_cache() {
        return;
    }
    let origin = Origin::start().await;
    let nginx = cached(&origin).start().await;
    let mut bob = client(&nginx, "bob").await;
    let expired = bob.get("/public/page?field=X-Accel-Expires:@1").await;
    assert_eq!(expired.get("X-Cache"), Some("MISS"));
    let replaced = [("status=304", "REVALIDATED"), ("status=500", "STALE")];
    let last = || origin.ledger().pop().expect("an entry").connection;

    // Who has not logged in keeps the connection to nginx.
    for (query, outcome) in replaced {
        assert_eq!(bob.get(&format!("/public/page?{query}")).await.get("X-Cache"), Some(outcome));
    }
    assert_eq!(bob.get("/").await.status, 401);

    let (mut alice, bound) = logged_in(&nginx, "alice", "/").await;
    for (query, outcome) in replaced {
        let response = alice.get(&format!("/public/page?{query}")).await;
        assert_eq!((response.get("X-Cache"), response.identity()), (Some(outcome), "anonymous"));
        assert_eq!(last(), bound);
        assert_stranger(&mut bob, "/", bound).await;
        // The body of the 500 was not read, so its connection cannot go on.
        assert_eq!(response.says_close(), outcome == "STALE");
        if outcome == "REVALIDATED" {
            assert_bound(&mut alice, "/", "alice", bound).await;
        }
    }
    alice.closed().await;
    origin.wait_closed(bound).await;
    // The cache hides the origin's answers to these requests, so their connections are closed.
    for (query, outcome) in replaced {
        let path = format!("/public/page?{query}");
        let mut carol = client(&nginx, "carol").await;
        let response = carol.login_in_one_leg("carol", &format!("{path}&nomutual")).await;
        assert_eq!(response.get("X-Cache"), Some(outcome));
        origin.wait_closed(last()).await;
        client(&nginx, "dave").await.get(&format!("{path}&token_without_auth")).await;
        origin.wait_closed(last()).await;
        assert_eq!(client(&nginx, "bob").await.get("/").await.status, 401);
    }
    assert_nobody_is_mistaken(&origin);
}

#[tokio::test]
async fn bodiless_stale_answer_vouches_for_no_login() {
    if !has_a_cache() || !Nginx::binary().has("with-http_v2_module") {
        return;
    }
    let origin = Origin::start().await;
    // An HTTP/2 client, since it is not told to leave and so would be the one to see what is left over.
    let nginx = cached(&origin)
        .conf("server { listen 127.0.0.1:{{port:h2}} http2; location / { proxy_pass http://backend; } }")
        .start()
        .await;
    client(&nginx, "bob").await.get("/public/empty?size=0&field=X-Accel-Expires:@1").await;
    let alice = http2::Client::connect(nginx.at("h2")).await;
    let bound = alice.login("alice", "/").await[1].connection();
    let response = alice.get("/public/empty?status=500&gate_body=rest").await;
    assert_eq!((response.get("X-Cache"), response.body.len()), (Some("STALE"), 0));
    // The rest of the 500 is still to come, and would be the beginning of the next answer.
    origin.wait_closed(bound).await;
    assert_eq!(alice.get("/").await.status, 401);
}

#[tokio::test]
async fn proxy_store_writes_no_bound_response() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; root {{prefix}}/store; \
             location / { try_files $uri @backend; } \
             location @backend { proxy_pass http://backend; proxy_store on; } }",
        )
        .start()
        .await;
    let (mut alice, bound) = logged_in(&nginx, "alice", "/with-credentials").await;
    for path in ["/with-credentials", "/without", "/without"] {
        assert_bound(&mut alice, path, "alice", bound).await;
    }
    let mut bob = client(&nginx, "bob").await;
    assert_stranger(&mut bob, "/with-credentials", bound).await;
    assert_stranger(&mut bob, "/without", bound).await;
    // The control: there is a store.
    assert_eq!(bob.get("/public/page").await.identity(), "anonymous");
    assert_eq!(bob.get("/public/page").await.get("X-Identity"), None);
}
