//! The timer of a request, which nginx sets when it has sent it: what a binding keeps of it between two requests ends neither.

use std::time::Duration;

use ntlm_testkit::{Client, Nginx, Origin, slowness};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Longer than the `proxy_read_timeout` of these tests.
const LONG: Duration = Duration::from_millis(1500);

/// Reads the header of a request, a long one after a while, and the bytes of its body that came with it. Returns the length of the body
/// that is still to come.
async fn read_header(connection: &mut TcpStream) -> Option<usize> {
    let mut bytes = Vec::new();
    let mut part = vec![0; 1 << 20];
    let end = loop {
        let from = bytes.len().saturating_sub(3);
        let count = connection.read(&mut part).await.ok().filter(|&count| count != 0)?;
        bytes.extend_from_slice(&part[..count]);
        if let Some(end) = bytes[from..].windows(4).position(|four| four == b"\r\n\r\n") {
            break from + end + 4;
        }
        if from == 0 {
            // Nothing is waited for: this is how late the server reads.
            tokio::time::sleep(LONG).await;
        }
    };
    let header = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let length = header.lines().find_map(|line| line.strip_prefix("Content-Length: "));
    Some(length.map_or(0, |length| length.parse::<usize>().unwrap()) - (bytes.len() - end))
}

/// Answers 200 to each request of one connection, and reads a body only after a while.
async fn serve_late(listener: TcpListener) {
    let (mut connection, _) = listener.accept().await.unwrap();
    while let Some(rest) = read_header(&mut connection).await {
        if rest != 0 {
            // Nothing is waited for: this is how late the server reads the body.
            tokio::time::sleep(LONG).await;
            let mut body = vec![0; rest];
            connection.read_exact(&mut body).await.unwrap();
        }
        connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
    }
}

/// Logs alice in at such a server, and lets her `go_on`.
async fn at_late_server(go_on: impl AsyncFnOnce(&mut Client)) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve_late(listener));
    let nginx = Nginx::builder()
        .set("server", &address.to_string())
        .set("long", &"x".repeat(4000))
        .conf(
            "upstream backend { server {{server}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; proxy_read_timeout 1s; \
               client_max_body_size 100m; large_client_header_buffers 4 100m; \
               location / { proxy_pass http://backend; } \
               location /long { set $b $a$a$a$a$a$a$a$a; set $c $b$b$b$b$b$b$b$b; set $d $c$c$c$c$c$c$c$c; \
                 set $e $d$d$d$d$d$d$d$d; proxy_set_header X-Long $e; proxy_pass http://backend; } \
               set $a {{long}}; }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    assert_eq!(alice.login_in_one_leg("alice", "/").await.status, 200);
    go_on(&mut alice).await;
    drop(alice);
    server.await.unwrap();
}

/// More than the buffers of two sockets.
fn much() -> Vec<u8> {
    vec![b'x'; 4 << 20]
}

#[tokio::test]
async fn upload_to_a_slow_server_may_take_longer_than_the_answer() {
    at_late_server(async |alice| assert_eq!(alice.post("/", much()).await.status, 200)).await;
}

#[tokio::test]
async fn header_to_a_slow_server_may_take_longer_than_is_left_of_the_timer() {
    at_late_server(async |alice| {
        // Nothing is waited for: the client asks for nothing for so long, and nginx would set the timer anew.
        tokio::time::sleep(LONG / 4).await;
        let long = String::from_utf8(much()).unwrap();
        assert_eq!(alice.get_with("/", "X-Long", &long).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn header_to_a_slow_server_may_take_longer_than_the_answer() {
    at_late_server(async |alice| assert_eq!(alice.get("/long").await.status, 200)).await;
}

/// NGINX that waits for its origin's answer for so many milliseconds.
async fn impatient() -> (u32, Origin, Nginx) {
    let origin = Origin::start().await;
    let timeout = 500 * slowness();
    let nginx = Nginx::builder()
        .conf(&format!("proxy_read_timeout {timeout}ms;"))
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    (timeout, origin, nginx)
}

#[tokio::test]
async fn answer_has_its_whole_time_soon_after_another() {
    let (_, _origin, nginx) = impatient().await;
    let mut alice = Client::connect(&nginx).await;
    // The second request comes while the timer of the first one would still do for nginx.
    assert_eq!(alice.login_in_one_leg("alice", "/?delay=280").await.status, 200);
    assert_eq!(alice.get("/?delay=300").await.status, 200);
}

#[tokio::test]
async fn slow_upload_passed_on_unread_may_take_longer_than_the_answer() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .conf("proxy_request_buffering off; proxy_read_timeout 1s;")
        .in_front_of(&[&origin], "ntlm;")
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    alice.send_raw(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello").await;
    // Nothing is waited for: this is how slow the client is.
    tokio::time::sleep(LONG).await;
    alice.send_raw(b"world").await;
    let response = alice.read_response().await;
    assert_eq!((response.status, response.identity(), response.connection()), (200, "alice", bound));
}

#[tokio::test]
async fn answer_may_take_as_long_after_a_request_that_has_just_been_as_after_none() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } \
             server { listen 127.0.0.1:{{port}}; \
               location / { proxy_pass http://backend; proxy_read_timeout 1s; } \
               location /report { proxy_pass http://backend; } }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    // The timer of the request before was set to less.
    let response = alice.get("/report?delay=1500").await;
    assert_eq!((response.status, response.identity(), response.connection()), (200, "alice", bound));
    // And to more.
    assert_eq!(alice.get("/?delay=5000").await.status, 504);
}

#[tokio::test]
async fn client_that_asks_rarely_is_not_kept_waiting_by_a_silent_server() {
    let (timeout, _origin, nginx) = impatient().await;
    let mut alice = Client::connect(&nginx).await;
    let bound = alice.login_in_one_leg("alice", "/").await.connection();
    // The first two requests come too late for the timer of the one before; so no timer is left on after the second, nor after the third.
    for late in [true, true, true, false] {
        if late {
            // Nothing is waited for: this is how rarely the client asks.
            tokio::time::sleep(Duration::from_millis((timeout / 8).into())).await;
        }
        assert_eq!(alice.get("/").await.connection(), bound);
    }
    assert_eq!(alice.get(&format!("/?delay={}", 10 * timeout)).await.status, 504);
}
