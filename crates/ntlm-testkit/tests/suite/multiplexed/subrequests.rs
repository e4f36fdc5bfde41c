//! Requests that nginx makes of one: subrequests, internal redirects, and background requests.

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::origin::{Entry, Leg};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, within};

use crate::common::{login_of, refuses, serves};

/// An nginx before `origin`, whose one server (HTTP/1.1) has these lines; the group is `backend`.
async fn server(origin: &Origin, lines: &str) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .conf("upstream backend { server {{origin}}; ntlm; }")
        .conf(&format!("server {{ listen 127.0.0.1:{{{{port}}}}; {lines} }}"))
        .start()
        .await
}

/// Two groups in a row: `front` leads to a server that changes the responses of `backend`'s.
fn in_a_row(origin: &Origin, front: &str, middle: &str) -> Builder {
    Nginx::builder().set("origin", &origin.address()).conf(&format!(
        "upstream backend {{ server {{{{origin}}}}; ntlm; }} \
         upstream front {{ server 127.0.0.1:{{{{port:middle}}}}; ntlm; }} \
         map $http_range $part {{ ~bytes=(.*) $1; }} \
         server {{ listen 127.0.0.1:{{{{port}}}}; {front} }} \
         server {{ listen 127.0.0.1:{{{{port:middle}}}}; {middle} }}"
    ))
}

/// The requests of a location that marks them with `X-Client`.
fn marked(ledger: &[Entry]) -> impl Iterator<Item = &Entry> {
    ledger.iter().filter(|entry| entry.x_client.is_some())
}

/// The origin's connection of the login.
fn bound(legs: &[Response]) -> u64 {
    legs.last().unwrap().connection()
}

#[tokio::test]
async fn auth_request_and_its_request_share_a_binding() {
    let origin = Origin::start().await;
    let nginx = server(
        &origin,
        "location / { auth_request /auth; auth_request_set $who $upstream_http_x_identity; \
         proxy_pass http://backend; proxy_set_header Authorization ''; add_header X-Who $who always; } \
         location = /auth { internal; proxy_pass http://backend; proxy_method HEAD; proxy_set_header X-Client auth; } \
         location = /terse { internal; proxy_pass http://backend/?delimit=close; proxy_method HEAD; } \
         location /told { auth_request /terse; proxy_pass http://backend; } \
         location = /unread { internal; proxy_pass http://backend; } \
         location /careless { auth_request /unread; proxy_pass http://backend; }",
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    let mut login = login_of("alice");
    let challenge = alice.get_with("/", "Authorization", &login.first()).await;
    assert_eq!(challenge.status, 401);
    let response = alice.get_with("/", "Authorization", &login.next(&challenge).unwrap()).await;
    let bound = response.connection();
    serves(&response, "alice", bound);
    for _ in 0..3 {
        let response = alice.get("/").await;
        serves(&response, "alice", bound);
        assert_eq!(response.get("X-Who"), Some("alice"));
    }
    assert!(marked(&origin.ledger()).all(|entry| entry.connection == bound));
    assert_eq!(marked(&origin.ledger()).count(), 5);
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    // Nor does it need a length where there is no body.
    serves(&alice.get("/told").await, "alice", bound);
    // nginx reads no body of a check's answer, so a connection with one cannot be kept, and the client is told.
    assert!(alice.get("/careless").await.says_close());
    alice.closed().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn auth_request_to_another_group_authenticates_only_itself() {
    let origin = Origin::start().await;
    let gate = Origin::builder().name("gate").start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .set("gate", &gate.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } upstream gate { server {{gate}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; \
             location / { auth_request /auth; auth_request_set $who $upstream_http_x_identity; \
             proxy_pass http://backend; proxy_set_header Authorization ''; add_header X-Who $who always; } \
             location /direct { proxy_pass http://backend; } \
             location = /auth { internal; proxy_pass http://gate; proxy_method HEAD; } }",
        )
        .start()
        .await;
    let mut client = Client::connect(&nginx).await;
    let mut login = login_of("alice");
    let challenge = client.get_with("/", "Authorization", &login.first()).await;
    let last = login.next(&challenge).unwrap();
    // The check lets alice in; the other origin does not know her, and its own login is its own.
    let passed = client.get_with("/", "Authorization", &last).await;
    refuses(&passed);
    assert_eq!(passed.get("X-Who"), Some("alice"));
    let bound = bound(&client.login("bob", "/direct").await);
    for _ in 0..3 {
        let response = client.get("/").await;
        serves(&response, "bob", bound);
        assert_eq!(response.get("X-Who"), Some("alice"));
    }
    assert_eq!(gate.open_connections(), 1);
}

#[tokio::test]
async fn mirrored_requests_neither_use_nor_break_the_binding() {
    let origin = Origin::start().await;
    let nginx = server(
        &origin,
        "location / { mirror /mirror; proxy_pass http://backend; } \
         location = /mirror { internal; proxy_pass http://backend$request_uri; proxy_set_header X-Client mirror; }",
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    let body = vec![b'x'; 50_000];
    let legs = alice.login_as(login_of("alice"), Request::post("/", body)).await;
    let bound = bound(&legs);
    assert_eq!(legs[0].connection(), bound);
    for _ in 0..3 {
        serves(&alice.get("/").await, "alice", bound);
        serves(&alice.login_in_one_leg("alice", "/").await, "alice", bound);
    }
    origin.wait_for(|ledger| marked(ledger).count() == 8).await;
    for entry in marked(&origin.ledger()) {
        assert_ne!(entry.connection, bound, "{entry}");
        // A ticket is worth as much in a copy; nothing else is.
        assert_eq!(entry.identity.is_some(), entry.leg == Leg::Other, "{entry}");
        if entry.leg != Leg::None {
            origin.wait_closed(entry.connection).await;
        }
    }
    serves(&alice.get("/").await, "alice", bound);
}

#[tokio::test]
async fn parallel_include_goes_without_the_busy_binding() {
    let origin = Origin::start().await;
    let nginx = server(
        &origin,
        "location / { proxy_pass http://backend; } \
         location /pages/ { root {{prefix}}; ssi on; ssi_types *; }",
    )
    .await;
    let pages = nginx.prefix().join("pages");
    std::fs::create_dir(&pages).unwrap();
    std::fs::write(
        pages.join("in_turn"),
        "<!--# include virtual=\"/one\" wait=\"yes\" --><!--# include virtual=\"/two\" wait=\"yes\" -->",
    )
    .unwrap();
    std::fs::write(
        pages.join("side_by_side"),
        "<!--# include virtual=\"/one?gate=g\" --><!--# include virtual=\"/public/two\" -->",
    )
    .unwrap();
    let mut alice = Client::connect(&nginx).await;
    let bound = bound(&alice.login("alice", "/").await);
    let by_alice = format!("alice on connection {bound} of origin");
    assert_eq!(alice.get("/pages/in_turn").await.text().matches(&by_alice).count(), 2);
    for _ in 0..3 {
        origin.close_gate("g");
        origin.clear_ledger();
        alice.send(Request::get("/pages/side_by_side")).await;
        // The second include is served while the first is held.
        origin.wait_for(|ledger| ledger.len() == 1).await;
        origin.open_gate("g");
        let page = alice.read_response().await.text();
        assert!(page.starts_with(&by_alice) && page.contains("anonymous on connection"), "{page}");
        serves(&alice.get("/").await, "alice", bound);
    }
    let stranger = Client::connect(&nginx).await.get("/pages/in_turn").await.text();
    assert_eq!(stranger.matches("anonymous on connection").count(), 2);
}

#[tokio::test]
async fn bodies_around_a_response_keep_its_binding() {
    if !Nginx::binary().has("http_addition_module") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = server(
        &origin,
        "location / { proxy_pass http://backend; } \
         location /framed { proxy_pass http://backend; addition_types *; \
         add_before_body /public/before; add_after_body /public/after; }",
    )
    .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = bound(&alice.login("alice", "/").await);
    for _ in 0..3 {
        let page = alice.get("/framed").await.text();
        // Each of the three uses the binding, or finds it busy.
        let by_alice = format!("alice on connection {bound} of");
        let known = |line: &str| line.starts_with("anonymous on") || line.starts_with(&by_alice);
        assert!(page.lines().count() == 3 && page.lines().all(known), "{page}");
        assert!(page.contains(&by_alice), "{page}");
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn slices_come_in_turn_over_the_binding() {
    if !Nginx::binary().has("http_slice_module") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = in_a_row(
        &origin,
        "location / { proxy_pass http://front; } \
         location /sliced { slice 20; proxy_set_header Range $slice_range; proxy_pass http://front; }",
        "location / { proxy_pass http://backend; } \
         location /sliced { proxy_pass http://backend/?status=206&size=20; \
         add_header Content-Range 'bytes $part/60'; }",
    )
    .start()
    .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = bound(&alice.login("alice", "/").await);
    for _ in 0..3 {
        let whole = alice.get("/sliced").await.text();
        let slice: String = format!("alice on connection {bound} of origin").chars().take(20).collect();
        assert_eq!(whole, slice.repeat(3));
    }
    assert_eq!(origin.connection_ids_open(), [bound]);
    serves(&alice.get("/").await, "alice", bound);
}

// Internal redirects.

#[tokio::test]
async fn internal_redirects_find_their_groups_binding() {
    let origin = Origin::start().await;
    let mail = Origin::builder().name("mail").start().await;
    let nobody = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .set("mail", &mail.address())
        .set("nobody", &nobody.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } upstream mail { server {{mail}}; ntlm; } \
             upstream nobody { server {{nobody}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; root {{prefix}}; \
             location / { proxy_pass http://backend; } location /mail { proxy_pass http://mail; } \
             location @backend { proxy_pass http://backend; } location @mail { proxy_pass http://mail; } \
             location /try { try_files $uri @backend; } location /try/mail { try_files $uri @mail; } \
             location /denied { deny all; error_page 403 = @backend; } \
             location /down { proxy_pass http://nobody; error_page 502 = @backend; } \
             location /rewritten { rewrite ^ /elsewhere last; } \
             location /replaced { proxy_pass http://backend; proxy_intercept_errors on; error_page 404 = @mail; } }",
        )
        .start()
        .await;
    nobody.stop().await;
    let mut client = Client::connect(&nginx).await;
    let alices = bound(&client.login("alice", "/").await);
    let bobs = bound(&client.login("bob", "/mail").await);
    for _ in 0..3 {
        for path in ["/try", "/denied", "/down", "/rewritten"] {
            serves(&client.get(path).await, "alice", alices);
        }
        serves(&client.get("/try/mail").await, "bob", bobs);
    }
    // An answer that is thrown away unread takes its connection with it, and so the client is told.
    let replaced = client.get("/replaced?status=404").await;
    assert_eq!((replaced.identity(), replaced.connection()), ("bob", bobs));
    assert!(replaced.says_close(), "{replaced:?}");
    client.closed().await;
    origin.wait_closed(alices).await;
    mail.wait_closed(bobs).await;
}

#[tokio::test]
async fn x_accel_redirect_stays_with_the_client() {
    let origin = Origin::start().await;
    let nginx = in_a_row(
        &origin,
        "location / { proxy_pass http://front; } location /direct { proxy_pass http://backend; }",
        "location / { proxy_pass http://backend; } \
         location /ordered { proxy_pass http://backend; add_header X-Accel-Redirect /direct; }",
    )
    .start()
    .await;
    let mut alice = Client::connect(&nginx).await;
    let ends = bound(&alice.login("alice", "/").await);
    let bobs = bound(&alice.login("bob", "/direct").await);
    let ordered = alice.get("/ordered").await;
    serves(&ordered, "bob", bobs);
    assert!(ordered.says_close(), "{ordered:?}");
    alice.closed().await;
    origin.wait_closed(ends).await;
    origin.wait_closed(bobs).await;
}

// Background requests.

#[tokio::test]
async fn a_post_action_leaves_the_binding_alone() {
    let delayed = "auth_basic x; auth_basic_user_file none; auth_delay 10ms; error_page 401 = @after;";
    let kept = "proxy_http_version 1.1; proxy_set_header Connection '';";
    for (name, lines, location) in [("after", "", ""), ("after", "", kept), ("delayed", delayed, kept)] {
        let origin = Origin::start().await;
        let nginx = server(
            &origin,
            &format!(
                "location / {{ proxy_pass http://backend; post_action @{name}; }} location @delayed {{ {lines} }} \
                 location @after {{ proxy_pass http://backend; proxy_set_header X-Client after; {location} }}"
            ),
        )
        .await;
        let mut alice = Client::connect(&nginx).await;
        let bound = bound(&alice.login("alice", "/").await);
        for _ in 0..3 {
            serves(&alice.get("/").await, "alice", bound);
        }
        origin.wait_for(|ledger| marked(ledger).count() >= 3).await;
        let alone =
            marked(&origin.ledger()).all(|entry| entry.connection != bound && entry.identity.is_none());
        assert!(alone, "{name}, {location}");
    }
}

#[tokio::test]
async fn background_cache_update_is_anonymous() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .log_level("info")
        .conf("proxy_cache_path {{prefix}}/cache keys_zone=cache:1m;")
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; keepalive_requests 1000000; location / { proxy_pass http://backend; } \
             location /public/ { proxy_pass http://backend; proxy_cache cache; proxy_cache_valid 200 1s; \
             proxy_cache_use_stale updating; proxy_cache_background_update on; \
             add_header X-Cache $upstream_cache_status; } }",
        )
        .start()
        .await;
    assert_eq!(Client::connect(&nginx).await.get("/public/").await.get("X-Cache"), Some("MISS"));
    let mut alice = Client::connect(&nginx).await;
    let bound = bound(&alice.login("alice", "/").await);
    let stale = async {
        loop {
            let response = alice.get("/public/").await;
            assert_eq!(response.identity(), "anonymous");
            if response.get("X-Cache") == Some("STALE") {
                return;
            }
        }
    };
    within(stale, || "nothing gets stale".to_owned()).await;
    origin.wait_for(|ledger| ledger.iter().filter(|entry| entry.target == "/public/").count() == 2).await;
    assert!(origin.ledger().iter().all(|entry| entry.target != "/public/" || entry.identity.is_none()));
    serves(&alice.get("/").await, "alice", bound);
}
