//! Clients that begin the login of a request anew over another connection each time, as libsoup does with a POST, and those that only look so.

use ntlm_testkit::client::http2;
use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Client, Nginx, Origin, Request};

use super::super::{Any, Over};
use super::{End, PASS, ask, front, get, seen, turned_back};
use crate::common::{login_of, serves, ticket_of};

/// An HTTP/2 connection that begins with the first leg of a login of this request; it is kept open with how its stream ended.
async fn begun(nginx: &Nginx, over: Over, request: Request) -> (http2::Client, End) {
    let Any::Two(client) = Any::connect(over, nginx).await else { unreachable!() };
    let end = ask(&client, request.header("Authorization", &login_of("alice").first())).await;
    (client, end)
}

/// Plays what libsoup does, to the end.
pub(crate) async fn play() {
    for (over, group) in [(Over::Clear, "ntlm;"), (Over::Tls, "ntlm; ntlm_multiplexing off;")] {
        let origin = Origin::start().await;
        let nginx = front(&origin, group, PASS).start().await;
        let post = || Request::post("/", vec![b'x'; 100_000]);
        let mut open = Vec::new();
        for turn in 1..=6 {
            let (client, end) = begun(&nginx, over, post()).await;
            // After two challenges that nothing answered.
            assert_eq!(end == End::TurnedBack, turn % 3 == 0, "{turn}");
            open.push(client);
        }
        assert_eq!(seen(&origin), 4, "what was turned back reached the origin");
        turned_back(&nginx, 2).await;
        let (mut libsoup, mut login) = (Client::connect(&nginx).await, login_of("alice"));
        let challenge = libsoup.request(post().header("Authorization", &login.first())).await;
        let answer = login.next(&challenge).unwrap();
        let last = libsoup.request(post().header("Authorization", &answer)).await;
        serves(&last, "alice", challenge.connection());
        assert_eq!(last.get("X-Body-Hash"), Some(body_hash(&vec![b'x'; 100_000]).as_str()));
        // They are over before their connections are.
        drop(open);
        origin.wait_open_connections(1).await;
    }
}

#[tokio::test]
async fn body_of_login_begun_anew_is_turned_back() {
    play().await;
}

#[tokio::test]
async fn accepted_tickets_are_no_unanswered_challenges() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    let mut open = Vec::new();
    for turn in 0..4 {
        let client = http2::Client::connect(nginx.at("clear")).await;
        let ticket = Request::post("/", "body").header("Authorization", &ticket_of("alice"));
        assert_eq!(ask(&client, ticket).await.answer().status, 200, "{turn}");
        open.push(client);
    }
    let (_client, end) = begun(&nginx, Over::Clear, Request::post("/", "body")).await;
    assert_eq!(end.answer().status, 401);
}

#[tokio::test]
async fn answer_counts_before_its_body_has_come() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    let mut open = Vec::new();
    for (answers, over) in [(1, Over::Clear), (2, Over::One)] {
        let target = format!("/{answers}");
        for _ in 0..2 {
            let (client, end) = begun(&nginx, Over::Clear, Request::post(&target, "body")).await;
            assert_eq!(end.answer().status, 401);
            open.push(client);
        }
        let mut login = login_of("alice");
        let post = |value: &str| Request::post(&target, "0123456789").header("Authorization", value);
        let first = post(&login.first());
        // The body of the answer never comes.
        let half: Box<dyn Send> = match Any::connect(over, &nginx).await {
            Any::Two(client) => {
                let challenge = client.request(first).await;
                Box::new((client.begin_body(post(&login.next(&challenge).unwrap())).await, client))
            }
            Any::One(client) => {
                let mut client = client.into_inner();
                let challenge = client.request(first).await;
                let answer = post(&login.next(&challenge).unwrap());
                client.try_send_raw(&answer.head_bytes("localhost")).await.unwrap();
                Box::new(client)
            }
            Any::Three(_) => unreachable!(),
        };
        // AUTHENTICATE.
        nginx.wait_log(|log| log.matches("TlRMTVNTUAAD").count() == answers).await;
        let (_client, end) = begun(&nginx, Over::Clear, Request::post(&target, "body")).await;
        assert_eq!(end.answer().status, 401, "{over:?}");
        drop(half);
    }
}

#[tokio::test]
async fn other_fields_make_another_request() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    let mut open = Vec::new();
    for turn in 0..3 {
        for request in [
            Request::post("/agent", "body").header("User-Agent", &format!("{turn}")),
            Request::post("/length", "x".repeat(turn + 1)),
        ] {
            let (client, end) = begun(&nginx, Over::Clear, request).await;
            assert_eq!(end.answer().status, 401, "{turn}");
            open.push(client);
        }
    }
}

#[tokio::test]
async fn clients_that_begin_beside_each_other_are_challenged() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm; ntlm_key $http_x_user;", PASS).start().await;
    let post = |target: &str, user: &str| Request::post(target, "body").header("X-User", user);
    // Connections that were open before the first challenge.
    let mut clients = Vec::new();
    for _ in 0..6 {
        clients.push(http2::Client::connect(nginx.at("clear")).await);
    }
    let first = login_of("alice").first();
    for client in &clients {
        let leg = post("/beside", "a").header("Authorization", &first);
        assert_eq!(ask(client, leg).await.answer().status, 401);
    }
    for turn in 0..6 {
        let chunked = Request::new("POST", "/unknown-length").chunked("body", 2).header("X-User", "a");
        let without_body = Request::get("/without-body").header("X-User", "a");
        let others = [post(&format!("/{turn}"), "a"), post("/of-many", &turn.to_string())];
        for request in others.into_iter().chain([chunked, without_body]) {
            let (client, end) = begun(&nginx, Over::Clear, request).await;
            clients.push(client);
            assert_eq!(end.answer().status, 401, "{turn}");
        }
        // The challenge is answered.
        let (client, mut login) = (http2::Client::connect(nginx.at("clear")).await, login_of("alice"));
        let leg = |value: &str| post("/answered", "a").header("Authorization", value);
        let challenge = ask(&client, leg(&login.first())).await.answer();
        let last = ask(&client, leg(&login.next(&challenge).unwrap())).await.answer();
        serves(&last, "alice", challenge.connection());
        clients.push(client);
    }
    // Not all are the first streams of their connections.
    for pattern in ["221", "112", "222"] {
        for stream in pattern.chars() {
            let client = http2::Client::connect(nginx.at("clear")).await;
            if stream == '2' {
                assert_eq!(get(&client, "/public/").await.answer().status, 200);
            }
            let leg = post(&format!("/{pattern}"), "a").header("Authorization", &first);
            assert_eq!(ask(&client, leg).await.answer().status, 401, "{pattern}");
            clients.push(client);
        }
    }
    turned_back(&nginx, 0).await;
}

#[tokio::test]
async fn unfinished_body_of_login_begun_anew_is_challenged() {
    let origin = Origin::start().await;
    let lines =
        "client_max_body_size 0; location / { proxy_request_buffering off; proxy_pass http://backend; }";
    let nginx = front(&origin, "ntlm;", lines).start().await;
    for turn in 0..6 {
        // More than a client may send before nginx asks for it.
        let (_client, end) = begun(&nginx, Over::Clear, Request::post("/", vec![b'x'; 100_000])).await;
        assert_eq!(end.answer().status, 401, "{turn}");
    }
}

#[tokio::test]
async fn login_begun_anew_over_http3_is_challenged() {
    if !Nginx::binary().has("http_v3") {
        return;
    }
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", PASS).start().await;
    for turn in 0..6 {
        let client = Any::connect(Over::Quic, &nginx).await;
        let leg = Request::post("/", "body").header("Authorization", &login_of("alice").first());
        assert_eq!(client.request(leg).await.status, 401, "{turn}");
    }
}
