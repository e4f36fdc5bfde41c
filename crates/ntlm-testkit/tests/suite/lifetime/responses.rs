//! Responses of every shape over a bound connection: which leave it bound, which end it, and that none is mixed up.

use std::net::Ipv4Addr;

use ntlm_testkit::origin::body_hash;
use ntlm_testkit::{Client, Nginx, Origin, Request, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use super::logged_in;
use crate::common::front;

/// The first leg of an NTLM login, as a field.
const FIRST_LEG: &str = "Authorization: NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAKAGFKAAAADw==\r\n";

#[tokio::test]
async fn responses_of_any_shape_leave_the_connection_bound() {
    let origin = Origin::start().await;
    for setting in [
        "",
        "proxy_buffering off;",
        "proxy_request_buffering off;",
        "proxy_max_temp_file_size 0; proxy_buffers 4 8k;",
        "gzip on; gzip_types *; gzip_min_length 1;",
    ] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        let body = vec![b'x'; 100_000];
        let requests = [
            (Request::get("/?size=0"), 200, 0),
            (Request::get("/?size=0&chunked"), 200, 0),
            (Request::get("/?size=300000"), 200, 300_000),
            (Request::get("/?size=300000&chunked"), 200, 300_000),
            (Request::get("/?size=1000&gate_body=open"), 200, 1000),
            (Request::new("HEAD", "/?size=1000"), 200, 0),
            (Request::new("HEAD", "/?size=1000&chunked"), 200, 0),
            (Request::new("HEAD", "/?size=1000&delimit=close"), 200, 0),
            (Request::get("/?status=204"), 204, 0),
            (Request::get("/?status=304"), 304, 0),
            (Request::get("/?status=302&size=10"), 302, 10),
            (Request::get("/?status=403&size=10"), 403, 10),
            (Request::get("/?status=503&size=10"), 503, 10),
            (Request::post("/?size=10", ""), 200, 10),
            (Request::post("/?size=10", body.clone()), 200, 10),
            (Request::new("POST", "/?size=10").chunked(body.clone(), 7777), 200, 10),
            (Request::post("/?size=10", body).header("Expect", "100-continue"), 200, 10),
            (Request::get("/?size=10").header("Accept-Encoding", "br"), 200, 10),
        ];
        origin.open_gate("open");
        for (number, (request, status, size)) in requests.into_iter().enumerate() {
            let what = format!("{} {} with \"{setting}\"", request.method, request.target);
            let response = alice.request(request).await;
            assert_eq!((response.status, response.body.len()), (status, size), "{what}");
            assert_eq!((response.identity(), response.connection()), ("alice", bound), "{what}");
            assert_eq!(response.request_number(), number as u64 + 3, "{what}");
            assert!(!response.says_close(), "{what}");
        }
        drop(alice);
        origin.wait_open_connections(0).await;
    }
}

#[tokio::test]
async fn slow_readers_keep_their_binding() {
    let origin = Origin::start().await;
    for setting in ["limit_rate 100k;", "limit_rate 100k; proxy_buffering off;", "proxy_limit_rate 100k;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        for _ in 0..2 {
            let response = alice.get("/?size=120000").await;
            assert_eq!((response.identity(), response.connection()), ("alice", bound), "{setting}");
            assert_eq!(response.body.len(), 120_000, "{setting}");
        }
        // The end is there long before the response has been sent on.
        let response = alice.get("/?size=60000&close=after").await;
        assert_eq!((response.identity(), response.body.len()), ("alice", 60_000), "{setting}");
        alice.closed().await;
    }
}

#[tokio::test]
async fn body_ended_by_close_ends_the_client() {
    let origin = Origin::start().await;
    for setting in ["", "proxy_buffering off;"] {
        let nginx = Nginx::builder().conf(setting).in_front_of(&[&origin], "ntlm;").start().await;
        let (mut alice, bound) = logged_in(&nginx).await;
        let response = alice.get("/?delimit=close&size=100000").await;
        assert_eq!((response.identity(), response.connection()), ("alice", bound));
        assert_eq!(response.body.len(), 100_000);
        assert!(response.says_close());
        alice.closed().await;
        origin.wait_open_connections(0).await;
    }
}

#[tokio::test]
async fn bytes_after_a_response_reach_no_client() {
    if Nginx::binary().version() < (1, 19, 1) {
        return; // They are a part of the answer there, and go to who asked.
    }
    let origin = Origin::start().await;
    for setting in ["", "proxy_buffering off;"] {
        let nginx = Nginx::builder()
            .conf(setting)
            .allow_log("upstream sent more data than specified")
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let (mut alice, bound) = logged_in(&nginx).await;
        let response = alice.get("/?extra=0&size=10").await;
        assert_eq!((response.identity(), response.body.len()), ("alice", 10));
        alice.closed().await;
        origin.wait_closed(bound).await;
    }
}

#[tokio::test]
async fn answer_before_sent_body_ends_both_connections() {
    let origin = Origin::start().await;
    let nginx =
        Nginx::builder().conf("proxy_request_buffering off;").in_front_of(&[&origin], "ntlm;").start().await;
    for (authorization, status, identity) in [("", 200, "alice"), (FIRST_LEG, 401, "anonymous")] {
        let (mut alice, bound) = logged_in(&nginx).await;
        let head = format!(
            "POST /?early HTTP/1.1\r\nHost: localhost\r\n{authorization}Content-Length: 2000\r\n\r\n"
        );
        alice.send_raw(head.as_bytes()).await;
        alice.send_raw(&[b'x'; 1000]).await;
        let response = alice.read_response().await;
        assert_eq!((response.status, response.identity()), (status, identity));
        assert_eq!((response.connection(), response.says_close()), (bound, true));
        origin.wait_closed(bound).await;
    }
    // A first leg over a new connection.
    let mut bob = Client::connect(&nginx).await;
    let head = format!("POST /?early HTTP/1.1\r\nHost: localhost\r\n{FIRST_LEG}Content-Length: 2000\r\n\r\n");
    bob.send_raw(head.as_bytes()).await;
    bob.send_raw(&[b'x'; 1000]).await;
    let response = bob.read_response().await;
    assert_eq!((response.status, response.says_close()), (401, true));
    origin.wait_open_connections(0).await;
}

#[tokio::test]
async fn answer_before_read_body_ends_both_connections() {
    // An origin whose buffers are small, and which reads nothing of the body it was sent.
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(65536).unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let listener = socket.listen(16).unwrap();
    let nginx = Nginx::builder()
        .set("server", &listener.local_addr().unwrap().to_string())
        .conf(
            "client_max_body_size 0; upstream backend { server {{server}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://backend; } }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let served = async {
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut head = Vec::new();
        for answer in ["200 OK", "401 Unauthorized\r\nWWW-Authenticate: NTLM"] {
            head.clear();
            while !head.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
                assert_ne!(upstream.read_buf(&mut head).await.unwrap(), 0);
            }
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\n\r\nok");
            upstream.write_all(answer.as_bytes()).await.unwrap();
        }
        upstream
    };
    let asked = async {
        let first = alice.login_in_one_leg("alice", "/").await;
        assert_eq!((first.status, first.says_close()), (200, false));
        alice.post("/", vec![b'x'; 20_000_000]).await
    };
    let (mut upstream, response) = tokio::join!(served, asked);
    assert_eq!((response.status, response.says_close()), (401, true));
    // Whether it ends by FIN or RST is the kernel's business.
    let rest = async { while matches!(upstream.read(&mut [0; 65536]).await, Ok(1..)) {} };
    within(rest, || "nginx does not close the upstream connection".to_owned()).await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let (_origin, nginx) = front("ntlm;").await;
    let (mut alice, alices) = logged_in(&nginx).await;
    let (mut carol, carols) = {
        let mut carol = Client::connect(&nginx).await;
        let connection = carol.login("carol", "/").await[1].connection();
        (carol, connection)
    };
    for _ in 0..5 {
        for client in [&mut alice, &mut carol] {
            for length in 1..=5usize {
                client.send(Request::post("/?size=3000", vec![b'x'; length * 1000])).await;
            }
        }
    }
    for (client, name, connection) in [(&mut alice, "alice", alices), (&mut carol, "carol", carols)] {
        for number in 0..25u64 {
            let response = client.read_response().await;
            let body = vec![b'x'; (number as usize % 5 + 1) * 1000];
            assert_eq!((response.identity(), response.connection()), (name, connection));
            assert_eq!(response.request_number(), number + 3);
            assert_eq!(response.get("X-Body-Hash"), Some(body_hash(&body).as_str()));
        }
    }
}

#[tokio::test]
async fn a_pipelined_login_works_request_by_request() {
    let (_origin, nginx) = front("ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let ticket = "Negotiate S1JCLVNJTTphbGljZTphbGljZS1wYXNzd29yZA==";
    alice.send(Request::get("/").header("Authorization", ticket)).await;
    alice.send(Request::get("/")).await;
    alice.send(Request::get("/?close=header")).await;
    alice.send(Request::get("/")).await;
    let first = alice.read_response().await;
    let second = alice.read_response().await;
    let third = alice.read_response().await;
    for response in [&first, &second, &third] {
        assert_eq!((response.identity(), response.connection()), ("alice", first.connection()));
    }
    assert!(third.says_close());
    // nginx closes before it answers the request behind it.
    assert!(alice.try_read_response().await.is_err());
}

#[tokio::test]
async fn an_intercepted_challenge_is_not_parked() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_intercept_errors on; error_page 401 /login; error_page 403 = @elsewhere;")
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://backend; } \
             location = /login { internal; return 200 \"please log in\"; } \
             location @elsewhere { proxy_pass http://backend; } }",
        )
        .start()
        .await;
    for target in ["/", "/?size=100000", "/?chunked"] {
        let mut alice = Client::connect(&nginx).await;
        let response = alice.leg1("alice", target).await;
        assert_eq!((response.status, response.text().as_str()), (401, "please log in"));
        assert!(response.says_close());
        alice.closed().await;
        origin.wait_open_connections(0).await;
    }
    // A ticket needs no challenge.
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    assert_eq!(alice.get("/").await.connection(), bound);
    // The binding goes with the response that is thrown away, and what takes its place goes without one.
    let response = alice.get("/?status=403").await;
    assert_eq!((response.status, response.says_close()), (401, true));
    alice.closed().await;
    origin.wait_closed(bound).await;
}

#[tokio::test]
async fn upgraded_connection_closes_after_the_conversation() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection;")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    let upgrade = || Request::get("/?upgrade").header("Connection", "Upgrade").header("Upgrade", "websocket");
    for abort in [false, true] {
        let mut alice = Client::connect(&nginx).await;
        let bound = alice.login("alice", "/").await[1].connection();
        let switched = alice.request(upgrade()).await;
        assert_eq!((switched.status, switched.identity()), (101, "alice"));
        assert_eq!(switched.connection(), bound);
        for _ in 0..3 {
            alice.send_raw(b"hello").await;
            assert_eq!(alice.read_raw(5).await, b"hello");
        }
        if abort {
            alice.abort();
        } else {
            alice.close().await;
        }
        origin.wait_closed(bound).await;
    }

    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    assert_eq!(alice.request(upgrade()).await.status, 101);
    origin.stop().await;
    alice.closed().await;
}

#[tokio::test]
async fn token_on_a_closing_connection_tells_client() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").start().await;
    let mut alice = Client::connect(&nginx).await;
    let response = alice.get("/public/?token_without_auth&close=header").await;
    assert_eq!((response.status, response.says_close()), (200, true));
    alice.closed().await;
}
