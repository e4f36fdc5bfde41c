//! The origin without anything in front: what it is trusted for, it must be seen to do.

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::client::{Login, Scheme};
use ntlm_testkit::origin::{Leg, TlsVersions, body_hash};
use ntlm_testkit::{Client, Origin, Request, password_of};

// Logins.

#[tokio::test]
async fn curl_logs_in_once_for_three_urls() {
    let origin = Origin::start().await;
    let outcome =
        Curl::ntlm("alice").url(origin.url("/a")).url(origin.url("/b")).url(origin.url("/c")).run().await;
    assert_eq!(outcome.legs(), [401, 200, 200, 200], "{outcome:?}");
    assert_eq!(outcome.connects, [1, 0, 0]);
    assert_eq!(outcome.last().identity(), "alice");
    assert_eq!(outcome.last().get("Persistent-Auth"), None);
    let legs: Vec<Leg> = origin.ledger().iter().map(|entry| entry.leg).collect();
    assert_eq!(legs, [Leg::Negotiate, Leg::Authenticate, Leg::None, Leg::None]);
}

#[tokio::test]
async fn curl_logs_in_by_negotiate() {
    let origin = Origin::start().await;
    let outcome = Curl::negotiate("alice").url(origin.url("/a")).url(origin.url("/b?mutual")).run().await;
    assert_eq!(outcome.legs(), [401, 200, 200], "{outcome:?}");
    assert_eq!(outcome.last().identity(), "alice");
    assert_eq!(origin.ledger()[0].scheme.as_deref(), Some("Negotiate"));
}

#[tokio::test]
async fn curl_with_a_wrong_password_is_refused() {
    let origin = Origin::start().await;
    let ntlm = Curl::new().arg("--ntlm").user("alice", "guessed").url(origin.url("/")).run().await;
    assert_eq!(ntlm.legs(), [401, 401], "{ntlm:?}");
    let negotiate = Curl::negotiate_with("alice", "guessed").url(origin.url("/")).run().await;
    assert_eq!(negotiate.legs(), [401, 401], "{negotiate:?}");
    assert!(origin.ledger().iter().all(|entry| entry.identity.is_none()));
}

#[tokio::test]
async fn every_spelling_and_wrapping_logs_in() {
    let origin = Origin::start().await;
    for scheme in ["NTLM".into(), "ntlm".into(), "Negotiate".into(), "NEGOTIATE".into(), Scheme::spnego()] {
        let mut alice = Client::connect(&origin).await;
        let responses = alice.login_with(scheme, "alice", "alice-password", "/").await;
        assert_eq!(responses.len(), 2);
        assert_eq!(responses[1].identity(), "alice", "{responses:?}");
    }
}

#[tokio::test]
async fn other_schemes_log_no_user_in() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    for value in
        ["Basic YWxpY2U6YWxpY2UtcGFzc3dvcmQ=", "NTLMx TlRMTVNTUAAB", "Bearer", "Negotiate", "NTLM !!!"]
    {
        let response = client.get_with("/", "Authorization", value).await;
        assert_eq!(response.status, 401);
        assert_eq!(response.all("WWW-Authenticate").collect::<Vec<_>>(), ["Negotiate", "NTLM"]);
        assert!(!response.says_close());
    }
}

#[tokio::test]
async fn refused_clients_keep_their_connection() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    assert_eq!(client.get("/").await.status, 401);
    assert_eq!(client.login_with("NTLM", "alice", "guessed", "/").await[1].status, 401);
    assert_eq!(client.login_with("NTLM", "nobody", "nobody-password", "/").await[1].status, 401);
    assert_eq!(client.get("/public/").await.identity(), "anonymous");
    assert_eq!(client.login("alice", "/").await[1].request_number(), 8);
}

#[tokio::test]
async fn last_leg_needs_its_own_connections_challenge() {
    let origin = Origin::start().await;
    let mut one = Client::connect(&origin).await;
    let mut other = Client::connect(&origin).await;
    let challenge = one.leg1("alice", "/").await;
    let _ = other.leg1("alice", "/").await;
    assert_eq!(other.leg3(&challenge, "/").await.status, 401);

    let mut third = Client::connect(&origin).await;
    let mut login = Login::new("NTLM", "alice", "alice-password");
    let _ = login.first();
    let last = login.next(&challenge).unwrap();
    assert_eq!(third.get_with("/", "Authorization", &last).await.status, 401);
}

#[tokio::test]
async fn a_new_first_leg_ends_the_old_login() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    client.login("alice", "/").await;
    let challenge = client.leg1("bob", "/public/").await;
    assert_eq!((challenge.status, challenge.identity()), (401, "anonymous"));
    assert_eq!(client.get("/public/").await.identity(), "anonymous");
    client.login("bob", "/").await;
    assert_eq!(client.get("/").await.identity(), "bob");
}

#[tokio::test]
async fn ticket_logs_in_with_one_answered_leg() {
    let origin = Origin::start().await;
    let mut alice = Client::connect(&origin).await;
    let response = alice.login_in_one_leg("alice", "/").await;
    assert_eq!((response.status, response.identity()), (200, "alice"));
    assert!(response.get("WWW-Authenticate").is_some_and(|value| value.starts_with("Negotiate ")));
    let response = alice.login_in_one_leg("alice", "/?nomutual").await;
    assert_eq!(response.get("WWW-Authenticate"), None);
}

#[tokio::test]
async fn six_legs_want_six_legs() {
    let origin = Origin::start().await;
    let mut alice = Client::connect(&origin).await;
    assert_eq!(alice.login_with("Negotiate", "alice", "alice-password", "/?legs=6").await[0].status, 401);
    assert_eq!(alice.get("/?legs=6").await.status, 401);
    let login = Login::new("Negotiate", "alice", "alice-password").in_legs(6);
    let responses = alice.login_as(login, Request::get("/?legs=6")).await;
    let statuses: Vec<u16> = responses.iter().map(|response| response.status).collect();
    assert_eq!(statuses, [401, 401, 401, 401, 200]);
}

#[tokio::test]
async fn login_for_one_request_is_forgotten() {
    let origin = Origin::start().await;
    let mut alice = Client::connect(&origin).await;
    assert_eq!(alice.login_in_one_leg("alice", "/?persist=no").await.identity(), "alice");
    assert_eq!(alice.get("/").await.status, 401);
    alice.login("alice", "/").await;
    assert_eq!(alice.get("/?logout").await.status, 401);
    assert_eq!(alice.get("/").await.status, 401);
}

#[tokio::test]
async fn a_token_can_come_unasked() {
    let origin = Origin::start().await;
    let response = Client::connect(&origin).await.get("/?token_without_auth").await;
    assert_eq!((response.status, response.identity()), (200, "anonymous"));
    assert!(response.get("WWW-Authenticate").is_some_and(|value| value.starts_with("NTLM ")));
}

#[tokio::test]
async fn a_thousand_logins_are_no_matter() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    for number in 0..1000 {
        client.login(&format!("user{number}"), "/").await;
    }
    assert_eq!(origin.ledger().len(), 2000);
    assert_eq!(origin.open_connections(), 1);
}

// Bodies and framing.

#[tokio::test]
async fn bodies_arrive_whole_however_they_are_framed() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    let body: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
    let requests = [
        Request::post("/public/", body.clone()),
        Request::new("POST", "/public/").chunked(body.clone(), 7777),
        Request::post("/public/", body.clone()).header("Expect", "100-continue"),
    ];
    for request in requests {
        let response = client.request(request).await;
        assert_eq!(response.get("X-Body-Length"), Some("1000000"));
        assert_eq!(response.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
    }
    let early = client.request(Request::post("/public/?early", body)).await;
    assert_eq!(early.get("X-Body-Length"), Some("0"));
    assert_eq!(client.get("/public/").await.request_number(), 5);
}

#[tokio::test]
async fn responses_come_in_the_form_that_was_ordered() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    for target in ["/public/?size=100000", "/public/?size=100000&chunked"] {
        assert_eq!(client.get(target).await.body.len(), 100_000);
    }
    assert_eq!(
        client.request(Request::new("HEAD", "/public/?size=9")).await.get("Content-Length"),
        Some("9")
    );
    for status in [204, 304, 302, 403, 404, 503] {
        assert_eq!(client.get(&format!("/public/?status={status}")).await.status, status);
    }
    client
        .send_raw(b"GET /public/1 HTTP/1.1\r\nHost: x\r\n\r\nGET /public/2 HTTP/1.1\r\nHost: x\r\n\r\n")
        .await;
    let first = client.read_response().await;
    assert_eq!(client.read_response().await.request_number(), first.request_number() + 1);
    let large = "x".repeat(128 * 1024);
    assert_eq!(client.get_with("/public/", "X-Large", &large).await.status, 200);

    assert_eq!(client.get("/public/?size=100000&delimit=close").await.body.len(), 100_000);
    client.closed().await;
    let mut client = Client::connect(&origin).await;
    assert_eq!(client.get("/public/?http10").await.version, "HTTP/1.0");
    client.closed().await;
}

#[tokio::test]
async fn an_upgraded_connection_echoes() {
    let origin = Origin::start().await;
    let mut alice = Client::connect(&origin).await;
    alice.login("alice", "/").await;
    let request = Request::get("/?upgrade").header("Connection", "Upgrade").header("Upgrade", "websocket");
    assert_eq!(alice.request(request).await.status, 101);
    alice.send_raw(b"hello").await;
    assert_eq!(alice.read_raw(5).await, b"hello");
}

// Misbehaviour.

#[tokio::test]
async fn connections_close_when_and_how_ordered() {
    let origin = Origin::start().await;

    let mut client = Client::connect(&origin).await;
    let challenge = client.leg1("alice", "/?close=challenge").await;
    assert!(challenge.says_close());
    client.closed().await;

    for (target, says) in [("/public/?close=after", false), ("/public/?close=header", true)] {
        let mut client = Client::connect(&origin).await;
        assert_eq!(client.get(target).await.says_close(), says);
        client.closed().await;
    }
    for target in ["/public/?close=mid&size=1000", "/?close=read", "/?rst=read"] {
        let mut client = Client::connect(&origin).await;
        let result = client.try_request(Request::get(target)).await;
        assert!(result.is_err(), "{target}: {result:?}");
    }
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn unsolicited_bytes_come_when_ordered() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    client.get("/public/?extra=1").await;
    assert_eq!(client.read_raw(11).await, b"unsolicited");
    let id = client.get("/public/").await.connection();
    assert!(origin.send_unsolicited(id, b"more").await);
    assert_eq!(client.read_raw(4).await, b"more");
}

#[tokio::test]
async fn gates_hold_requests_and_bodies() {
    let origin = Origin::start().await;
    let mut client = Client::connect(&origin).await;
    client.send(Request::get("/public/?gate=a&gate_body=b")).await;
    origin.wait_gate("a").await;
    assert_eq!(origin.ledger(), []);
    origin.open_gate("a");
    origin.wait_gate("b").await;
    assert_eq!(origin.ledger().len(), 1);
    origin.open_gate("b");
    assert_eq!(client.read_response().await.status, 200);

    client.send(Request::get("/public/?gate=c")).await;
    origin.wait_gate("c").await;
    client.abort();
    origin.wait_gate_deserted("c").await;
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn an_origin_closes_stops_and_comes_back() {
    let origin = Origin::start().await;
    let mut idle = Client::connect(&origin).await;
    let mut busy = Client::connect(&origin).await;
    let id = idle.get("/public/").await.connection();
    assert_eq!(origin.connection_ids_open().first(), Some(&id));
    busy.send(Request::get("/public/?gate=busy")).await;
    origin.wait_gate("busy").await;
    origin.wait_idle_connections(1).await;
    assert_eq!(origin.close_idle_connections().await, 1);
    idle.closed().await;

    origin.stop().await;
    assert!(busy.try_read_response().await.is_err());
    assert!(Client::builder().try_connect(&origin).await.is_err());
    origin.start_again().await;
    let mut again = Client::connect(&origin).await;
    let id = again.get("/public/").await.connection();
    origin.reset_connection(id).await;
    again.closed().await;
}

// Other places.

#[tokio::test]
async fn tls_sees_names_and_certificates_and_updates_keys() {
    let origin = Origin::builder().tls().client_ca().start().await;
    let mut alice =
        Client::builder().server_name("origin.example").client_certificate().connect(&origin).await;
    let id = alice.login("alice", "/").await[1].connection();
    assert!(origin.send_key_update(id).await);
    assert_eq!(alice.get("/").await.identity(), "alice");
    let entry = origin.ledger().pop().unwrap();
    assert_eq!(entry.sni.as_deref(), Some("origin.example"));
    assert!(entry.client_certificate);

    let mut bob = Client::builder().tls().connect(&origin).await;
    bob.get("/public/").await;
    assert!(!origin.ledger().pop().unwrap().client_certificate);

    let old = Origin::builder().tls_versions(TlsVersions::V12).start().await;
    let mut carol = Client::builder().tls().connect(&old).await;
    let id = carol.login("carol", "/").await[1].connection();
    assert!(!old.send_key_update(id).await);
}

#[tokio::test]
async fn unix_and_ipv6_are_places_too() {
    for origin in [Origin::builder().unix().start().await, Origin::builder().ipv6().name("six").start().await]
    {
        let mut alice = Client::connect(&origin).await;
        assert_eq!(alice.login("alice", "/").await[1].origin_name(), origin.name());
    }
}

#[tokio::test]
async fn proxy_asks_by_407_and_logs_in() {
    let origin = Origin::start().await;
    let mut alice = Client::connect(&origin).await;
    assert_eq!(alice.get("/?proxy").await.status, 407);
    let login = Login::new("NTLM", "alice", &password_of("alice")).to_proxy();
    let legs = alice.login_as(login, Request::get("/?proxy")).await;
    assert_eq!((legs[0].status, legs[1].status, legs[1].identity()), (407, 200, "alice"));
    assert!(legs[0].get("Proxy-Authenticate").is_some_and(|value| value.starts_with("NTLM TlRM")));
    assert_eq!(alice.get("/").await.identity(), "alice");
}

#[tokio::test]
async fn open_page_ignores_credentials() {
    let origin = Origin::start().await;
    let mut mallory = Client::connect(&origin).await;
    let response = mallory.get_with("/?ignore&status=404", "Authorization", "NTLM x").await;
    assert_eq!((response.status, response.identity()), (404, "anonymous"));
}
