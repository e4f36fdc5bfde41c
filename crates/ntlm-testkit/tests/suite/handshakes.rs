//! Handshakes of every length, wrapping and outcome, with every kind of body and token, as clients are known to send them.

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::client::{Login, Scheme, kerberos_token};
use ntlm_testkit::ntlm::to_base64;
use ntlm_testkit::origin::{Leg, body_hash};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of};

/// An origin, and an nginx with the shortest configuration there is in front of it.
async fn front() -> (Origin, Nginx) {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").start().await;
    (origin, nginx)
}

/// The same with `lines` in the server.
async fn front_with(lines: &str) -> (Origin, Nginx) {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf("upstream backend { server {{origin}}; ntlm; }")
        .conf(&format!(
            "server {{ listen 127.0.0.1:{{{{port}}}}; {lines} location / {{ proxy_pass http://backend; }} }}"
        ))
        .start()
        .await;
    (origin, nginx)
}

fn login_of(user: &str) -> Login {
    Login::new("NTLM", user, &password_of(user))
}

fn ticket_of(user: &str) -> String {
    format!("Negotiate {}", kerberos_token(user, &password_of(user)))
}

fn statuses(responses: &[Response]) -> Vec<u16> {
    responses.iter().map(|response| response.status).collect()
}

/// All of them came over one connection to the origin, which is returned.
#[track_caller]
fn one_connection<'a>(responses: impl IntoIterator<Item = &'a Response>) -> u64 {
    let mut ids: Vec<u64> = responses.into_iter().map(Response::connection).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1, "several connections: {ids:?}");
    ids[0]
}

#[track_caller]
fn serves(response: &Response, user: &str, connection: u64) {
    let seen = (response.status, response.identity(), response.connection());
    assert_eq!(seen, (200, user, connection), "{response:?}");
}

#[track_caller]
fn refuses(response: &Response) {
    assert_eq!((response.status, response.identity()), (401, "anonymous"), "{response:?}");
}

// Legs.

#[tokio::test]
async fn an_anonymous_request_comes_first_and_the_login_follows_on_the_same_client_connection() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let offered = alice.get("/").await;
    refuses(&offered);
    assert_eq!(offered.all("WWW-Authenticate").collect::<Vec<_>>(), ["Negotiate", "NTLM"]);
    assert!(!offered.says_close());
    let legs = alice.login("alice", "/").await;
    assert_eq!(statuses(&legs), [401, 200]);
    let bound = one_connection(&legs);
    serves(&alice.get("/").await, "alice", bound);
    assert_eq!(origin.ledger().len(), 4);
}

#[tokio::test]
async fn handshakes_of_three_four_and_six_legs_keep_one_connection() {
    let (_origin, nginx) = front().await;
    for legs in [3, 4, 6] {
        let mut alice = Client::connect(&nginx).await;
        let path = format!("/?legs={legs}");
        refuses(&alice.get(&path).await);
        let login = Login::new("Negotiate", "alice", &password_of("alice")).in_legs(legs);
        let responses = alice.login_as(login, Request::get(&path)).await;
        assert_eq!(responses.len(), legs - 1);
        let bound = one_connection(&responses);
        serves(responses.last().unwrap(), "alice", bound);
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn a_refused_ticket_is_followed_by_ntlm_on_the_same_connection() {
    let (_origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let ticket = format!("Negotiate {}", kerberos_token("alice", "expired"));
    let refused = alice.get_with("/", "Authorization", &ticket).await;
    refuses(&refused);
    let mut responses = alice.login("alice", "/").await;
    responses.push(alice.get("/").await);
    assert_eq!(one_connection(&responses), refused.connection());
}

#[tokio::test]
async fn ntlm_in_spnego_and_every_spelling_of_a_scheme_logs_in() {
    let (_origin, nginx) = front().await;
    let schemes: [Scheme; 6] = [
        Scheme::spnego(),
        "Negotiate".into(),
        "negotiate".into(),
        "NTLM".into(),
        "ntlm".into(),
        "Nego2".into(),
    ];
    for scheme in schemes {
        let mut alice = Client::connect(&nginx).await;
        // A last answer with a token of its own is no new challenge.
        let responses = alice.login_with(scheme, "alice", &password_of("alice"), "/?mutual").await;
        let bound = one_connection(&responses);
        assert_eq!(statuses(&responses), [401, 200]);
        serves(&alice.get("/").await, "alice", bound);
    }
}

#[tokio::test]
async fn a_live_binding_is_authenticated_anew_as_the_same_user_and_as_another() {
    let (_origin, nginx) = front().await;
    let (mut one, mut other) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let bound = one_connection(&one.login("alice", "/").await);
    let others = one_connection(&other.login("carol", "/").await);
    for user in ["alice", "bob", "bob", "alice"] {
        assert_eq!(one_connection(&one.login(user, "/").await), bound);
        serves(&one.get("/").await, user, bound);
        serves(&other.get("/").await, "carol", others);
    }
}

#[tokio::test]
async fn a_wrong_password_is_followed_by_the_right_one_on_the_same_connection() {
    let (_origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let refused = alice.login_with("NTLM", "alice", "guessed", "/").await;
    assert_eq!(statuses(&refused), [401, 401]);
    let bound = one_connection(&refused);
    refuses(&alice.get("/").await);
    assert_eq!(one_connection(&alice.login("alice", "/").await), bound);
    serves(&alice.get("/").await, "alice", bound);
}

#[tokio::test]
async fn credentials_on_each_of_many_requests_need_one_connection() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let mut responses = Vec::new();
    for _ in 0..50 {
        responses.push(alice.login_in_one_leg("alice", "/").await);
        responses.extend(alice.login("alice", "/").await);
    }
    let bound = one_connection(&responses);
    assert_eq!(origin.connection_ids_open(), [bound]);
    assert_eq!(origin.ledger().len(), 150);
}

#[tokio::test]
async fn logins_for_one_request_at_a_time_use_the_same_connection() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let first = alice.login_in_one_leg("alice", "/?persist=no").await;
    let bound = first.connection();
    for _ in 0..10 {
        serves(&alice.login_in_one_leg("alice", "/?persist=no").await, "alice", bound);
        let forgotten = alice.get("/").await;
        refuses(&forgotten);
        assert_eq!(forgotten.connection(), bound);
    }
    assert_eq!(origin.open_connections(), 1);
}

#[tokio::test]
async fn six_connections_of_a_browser_log_in_side_by_side() {
    let (_origin, nginx) = front().await;
    let browser = |user: &'static str| {
        let nginx = nginx.at("");
        async move {
            let mut client = Client::connect(&nginx).await;
            refuses(&client.get("/").await);
            let bound = one_connection(&client.login(user, "/").await);
            for _ in 0..5 {
                serves(&client.get("/").await, user, bound);
            }
            // Returned open, so that no number comes twice.
            (client, bound)
        }
    };
    let connections = tokio::join!(
        browser("alice"),
        browser("alice"),
        browser("alice"),
        browser("bob"),
        browser("bob"),
        browser("bob"),
    );
    let (a, b, c, d, e, f) = connections;
    let mut bound = vec![a.1, b.1, c.1, d.1, e.1, f.1];
    bound.sort_unstable();
    bound.dedup();
    assert_eq!(bound.len(), 6);
}

#[tokio::test]
async fn legs_that_are_split_over_two_client_connections_log_nobody_in() {
    let (origin, nginx) = front().await;
    let (mut one, mut other) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
    let mut login = login_of("alice");
    let challenge = one.get_with("/", "Authorization", &login.first()).await;
    let last = login.next(&challenge).unwrap();
    refuses(&other.get_with("/", "Authorization", &last).await);
    refuses(&other.get("/").await);
    // Nor where the other connection has a challenge of its own.
    let challenge = one.leg1("alice", "/").await;
    assert_ne!(other.leg1("alice", "/").await.connection(), challenge.connection());
    refuses(&other.leg3(&challenge, "/").await);
    // The one that was challenged may still answer.
    serves(&one.leg3(&challenge, "/").await, "alice", challenge.connection());
    refuses(&other.get("/").await);
    assert_eq!(origin.ledger().iter().filter(|entry| entry.identity.is_some()).count(), 1);
}

#[tokio::test]
async fn a_last_leg_that_comes_first_is_refused_and_bound_like_any_other() {
    let (origin, nginx) = front().await;
    let mut login = login_of("alice");
    let mut direct = Client::connect(&origin).await;
    let challenge = direct.get_with("/", "Authorization", &login.first()).await;
    let mut alice = Client::connect(&nginx).await;
    let bare = alice.get_with("/", "Authorization", &login.next(&challenge).unwrap()).await;
    refuses(&bare);
    assert_eq!(one_connection(&alice.login("alice", "/").await), bare.connection());
}

#[tokio::test]
async fn abandoned_handshakes_leave_nothing_behind() {
    let (origin, nginx) = front().await;
    for round in 0..30 {
        let mut alice = Client::connect(&nginx).await;
        let challenge = alice.leg1("alice", "/").await;
        match round % 3 {
            0 => alice.close().await,
            1 => alice.abort(),
            _ => {
                // The client comes to other thoughts, and back.
                refuses(&alice.get("/").await);
                let legs = alice.login("alice", "/").await;
                assert_eq!(one_connection(&legs), challenge.connection());
                alice.close().await;
            }
        }
        origin.wait_closed(challenge.connection()).await;
    }
}

// Bodies.

#[tokio::test]
async fn a_post_with_empty_legs_is_sent_once() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let body = vec![b'x'; 100_000];
    let mut login = login_of("alice");
    let first = login.first();
    let challenge = alice.request(Request::post("/", "").header("Authorization", &first)).await;
    let last = login.next(&challenge).unwrap();
    let sent = alice.request(Request::post("/", body.clone()).header("Authorization", &last)).await;
    serves(&sent, "alice", challenge.connection());
    assert_eq!(sent.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
    assert_eq!(origin.ledger().len(), 2);
}

#[tokio::test]
async fn a_post_with_its_body_on_every_leg_arrives_whole_and_once_a_leg() {
    let small: Vec<u8> = (0..1024u32).map(|number| number as u8).collect();
    let large: Vec<u8> = (0..10_000_000u32).map(|number| (number / 7) as u8).collect();
    for lines in [
        "client_max_body_size 0;",
        "client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;",
    ] {
        let (origin, nginx) = front_with(lines).await;
        for body in [&small, &large] {
            let requests = [
                Request::post("/", body.clone()),
                Request::post("/", body.clone()).header("Expect", "100-continue"),
                Request::new("POST", "/").chunked(body.clone(), 9_999),
            ];
            for request in requests {
                origin.clear_ledger();
                let mut alice = Client::connect(&nginx).await;
                let legs = alice.login_as(login_of("alice"), request).await;
                assert_eq!(statuses(&legs), [401, 200]);
                let bound = one_connection(&legs);
                for leg in &legs {
                    assert_eq!(leg.get("X-Body-Hash"), Some(body_hash(body).as_str()), "{lines}");
                }
                serves(&alice.get("/").await, "alice", bound);
                assert_eq!(origin.ledger().len(), 3);
            }
        }
    }
}

// Tokens.

#[tokio::test]
async fn large_tokens_pass_both_ways() {
    for size in [9_000, 45_000] {
        let password = "p".repeat(size);
        let origin =
            Origin::builder().user("alice", &password).user("bob", &password_of("bob")).start().await;
        let nginx = Nginx::builder()
            .conf(
                "large_client_header_buffers 4 64k; proxy_buffer_size 64k; proxy_buffers 4 64k; \
                 proxy_busy_buffers_size 128k;",
            )
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let mut alice = Client::connect(&nginx).await;
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password));
        assert!(ticket.len() > size * 4 / 3);
        let first = alice.get_with("/", "Authorization", &ticket).await;
        serves(&first, "alice", first.connection());
        serves(&alice.get("/").await, "alice", first.connection());

        // The origin's round has its own token and that of the request.
        let mut bob = Client::connect(&nginx).await;
        let round = format!("Negotiate {}", to_base64(format!("ROUND:{password}").as_bytes()));
        let challenge = bob.get_with("/?legs=4", "Authorization", &round).await;
        refuses(&challenge);
        assert!(challenge.get("WWW-Authenticate").is_some_and(|token| token.len() > round.len()));
        let legs = bob.login("bob", "/?legs=4").await;
        assert_eq!(one_connection(&legs), challenge.connection());
        serves(&alice.get("/").await, "alice", first.connection());
    }
}

#[tokio::test]
async fn garbage_is_refused_and_stays_on_a_connection_of_its_own() {
    let (origin, nginx) = front_with("large_client_header_buffers 4 128k;").await;
    let truncated = |message: &[u8]| format!("NTLM {}", to_base64(message));
    let last_of_nothing = [b"NTLMSSP\0\x03\0\0\0".as_slice(), &[0xff; 52]].concat();
    let garbage = [
        "NTLM".to_owned(),
        "NTLM ".to_owned(),
        "Negotiate \t ".to_owned(),
        "NTLM !!!not base64!!!".to_owned(),
        "NTLM TlRMTVNTUAAB=".to_owned(),
        "NTLM TlRM, NTLM TlRM".to_owned(),
        format!("NTLM {}", "=".repeat(1000)),
        truncated(b"N"),
        truncated(b"NTLMSSP"),
        truncated(b"NTLMSSP\0"),
        truncated(b"NTLMSSP\0\x01"),
        truncated(b"NTLMSSP\0\x03\0\0\0"),
        truncated(b"NTLMSSP\0\xff\xff\xff\xff"),
        truncated(&last_of_nothing),
        format!("Negotiate {}", to_base64(&[0x60, 0x84, 0xff, 0xff, 0xff, 0xff, 0x06])),
        format!("Negotiate {}", to_base64(&[0xa1; 300])),
        format!("Kerberos {}", "A".repeat(65_536)),
        format!("Nego2 {}", "\u{fffd}".repeat(20_000)),
    ];
    for value in garbage {
        let (mut mallory, mut bob) = (Client::connect(&nginx).await, Client::connect(&nginx).await);
        let refused = mallory.get_with("/", "Authorization", &value).await;
        refuses(&refused);
        let tainted = refused.connection();
        for path in ["/", "/public/"] {
            assert_ne!(bob.get(path).await.connection(), tainted, "{value:.40}");
        }
        assert_eq!(mallory.get("/public/").await.connection(), tainted, "{value:.40}");
        assert_eq!(one_connection(&mallory.login("mallory", "/").await), tainted);
        mallory.close().await;
        origin.wait_closed(tainted).await;
    }
}

#[tokio::test]
async fn other_schemes_bind_nothing_and_a_login_may_follow() {
    let origin = Origin::start().await;
    // Explicit, since not every version of nginx has a pool of its own.
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm; keepalive 4;").start().await;
    let others =
        ["Basic YWxpY2U6cGFzc3dvcmQ=", "Bearer \"\"", "Bearer", "NTLMx TlRMTVNTUAAB", "Negotiated YQ==", ""];
    for value in others {
        let mut alice = Client::connect(&nginx).await;
        let refused = alice.get_with("/", "Authorization", value).await;
        refuses(&refused);
        // What carried them is everybody's.
        let shared = Client::connect(&nginx).await.get("/public/").await;
        assert_eq!(shared.connection(), refused.connection(), "{value:?}");
        let bound = one_connection(&alice.login("alice", "/").await);
        // Other credentials beside a binding go over it, and the origin says what they are worth.
        serves(&alice.get_with("/", "Authorization", value).await, "alice", bound);
        alice.close().await;
        origin.wait_closed(bound).await;
    }
}

// curl.

#[tokio::test]
async fn curl_logs_in_in_all_its_ways_to_plain_and_tls_origins() {
    let folder = tempfile::tempdir().unwrap();
    let body: Vec<u8> = (0..1_000_000u32).map(|number| (number / 3) as u8).collect();
    let file = folder.path().join("upload");
    std::fs::write(&file, &body).unwrap();
    // An anonymous request first, then what the origin offers.
    let anyauth = || Curl::negotiate("alice").arg("--anyauth");
    for origin in [Origin::start().await, Origin::builder().tls().start().await] {
        let nginx =
            Nginx::builder().conf("client_max_body_size 0;").in_front_of(&[&origin], "ntlm;").start().await;
        for curl in [Curl::ntlm("alice"), Curl::negotiate("alice"), anyauth()] {
            let gets =
                curl.clone().url(nginx.url("/a")).url(nginx.url("/b")).url(nginx.url("/c")).run().await;
            assert_eq!((gets.exit, &gets.statuses[..]), (0, &[200, 200, 200][..]), "{gets:?}");
            assert_eq!(gets.connects, [1, 0, 0], "{gets:?}");
            let served: Vec<_> = gets.responses.iter().filter(|response| response.status == 200).collect();
            assert!(served.iter().all(|response| response.identity() == "alice"), "{gets:?}");
            one_connection(served);

            origin.clear_ledger();
            let put = curl.arg("-T").arg(file.to_str().unwrap()).url(nginx.url("/upload")).run().await;
            assert_eq!((put.exit, &put.statuses[..]), (0, &[200][..]), "{put:?}");
            assert_eq!(put.last().identity(), "alice");
            assert_eq!(put.last().get("X-Body-Hash"), Some(body_hash(&body).as_str()));
            assert_eq!(origin.ledger().iter().filter(|entry| entry.status == 200).count(), 1);
        }
    }
}

#[tokio::test]
async fn parallel_curls_of_several_users_are_each_served_as_themselves() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().workers(2).in_front_of(&[&origin], "ntlm;").start().await;
    let curl = |user: &'static str| {
        let urls = (0..25).map(|number| nginx.url(&format!("/{user}/{number}")));
        let curl = urls.fold(Curl::ntlm(user), Curl::url);
        async move {
            let outcome = curl.run().await;
            assert_eq!(outcome.statuses, [200; 25], "{outcome:?}");
            assert_eq!(outcome.legs()[0], 401);
            for response in &outcome.responses[1..] {
                assert_eq!((response.status, response.identity()), (200, user), "{response:?}");
            }
        }
    };
    tokio::join!(curl("alice"), curl("bob"), curl("carol"), curl("dave"));
    for entry in origin.ledger().iter().filter(|entry| entry.status == 200) {
        let user = entry.identity.as_deref().unwrap();
        assert!(entry.target.starts_with(&format!("/{user}/")), "{entry}");
    }
}

// Origins and clients of other habits.

#[tokio::test]
async fn a_challenge_that_comes_with_a_close_ends_the_clients_connection_too() {
    let (origin, nginx) = front().await;
    for path in ["/?close=challenge", "/?http10"] {
        let mut alice = Client::connect(&nginx).await;
        let challenge = alice.leg1("alice", path).await;
        refuses(&challenge);
        assert!(challenge.says_close(), "{challenge:?}");
        alice.closed().await;
        origin.wait_closed(challenge.connection()).await;
    }
}

#[tokio::test]
async fn an_origin_of_http10_keeps_no_binding() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.login_in_one_leg("alice", "/?http10").await;
    serves(&response, "alice", response.connection());
    assert!(response.says_close());
    alice.closed().await;
    origin.wait_closed(response.connection()).await;
    refuses(&Client::connect(&nginx).await.get("/").await);
}

#[tokio::test]
async fn two_groups_keep_the_users_of_one_client_connection_apart() {
    let intranet = Origin::builder().name("intranet").start().await;
    let mail = Origin::builder().name("mail").start().await;
    let nginx = Nginx::builder()
        .set("intranet", &intranet.address())
        .set("mail", &mail.address())
        .conf(
            "upstream intranet { server {{intranet}}; ntlm; } upstream mail { server {{mail}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; \
             location /intranet/ { proxy_pass http://intranet; } location /mail/ { proxy_pass http://mail; } }",
        )
        .start()
        .await;
    let mut client = Client::connect(&nginx).await;
    // The legs of both logins come alternately.
    let (mut alice, mut bob) = (login_of("alice"), login_of("bob"));
    let alices = client.get_with("/intranet/", "Authorization", &alice.first()).await;
    let bobs = client.get_with("/mail/", "Authorization", &bob.first()).await;
    client.get_with("/intranet/", "Authorization", &alice.next(&alices).unwrap()).await;
    client.get_with("/mail/", "Authorization", &bob.next(&bobs).unwrap()).await;
    for _ in 0..5 {
        serves(&client.get("/intranet/").await, "alice", alices.connection());
        serves(&client.get("/mail/").await, "bob", bobs.connection());
    }
    client.close().await;
    intranet.wait_open_connections(0).await;
    mail.wait_open_connections(0).await;
}

#[tokio::test]
async fn a_client_of_http10_logs_in_if_it_keeps_its_connection() {
    let (origin, nginx) = front().await;
    let mut alice = Client::connect(&nginx).await;
    let keeping = Request::get("/").http10().header("Connection", "keep-alive");
    let legs = alice.login_as(login_of("alice"), keeping.clone()).await;
    assert_eq!(statuses(&legs), [401, 200]);
    let bound = one_connection(&legs);
    serves(&alice.request(keeping).await, "alice", bound);
    // The last request says nothing, so the connections end with it.
    serves(&alice.request(Request::get("/").http10()).await, "alice", bound);
    alice.closed().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn a_client_that_closes_after_its_first_leg_leaves_no_binding() {
    let (origin, nginx) = front().await;
    let closing = [Request::get("/").http10(), Request::get("/").header("Connection", "close")];
    for request in closing {
        let mut alice = Client::connect(&nginx).await;
        let challenge =
            alice.request(request.clone().header("Authorization", &login_of("alice").first())).await;
        refuses(&challenge);
        alice.closed().await;
        origin.wait_closed(challenge.connection()).await;

        let mut alice = Client::connect(&nginx).await;
        let response = alice.request(request.header("Authorization", &ticket_of("alice"))).await;
        serves(&response, "alice", response.connection());
        alice.closed().await;
        origin.wait_closed(response.connection()).await;
    }
    assert!(origin.ledger().iter().all(|entry| entry.request == 1));
    assert_eq!(origin.ledger().iter().filter(|entry| entry.leg == Leg::Negotiate).count(), 2);
}
