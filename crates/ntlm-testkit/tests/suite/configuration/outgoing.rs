//! The outgoing request: two defaults are lifted in it for an `ntlm` group, and not a byte more is changed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use ntlm_testkit::{Client, Nginx, Origin, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const CREDENTIALS: &str = "NTLM TlRMTVNTUAABAAAAB4IIAAAAAAAAAAAAAAAAAAAAAAA=";
pub(crate) const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
/// In groups without the module.
const OLD_DEFAULTS: (&str, Option<&str>) = ("1.0", Some("close"));
const LIFTED: (&str, Option<&str>) = ("1.1", None);

/// nginx proxies with HTTP/1.1 by default.
pub(crate) fn has_new_defaults() -> bool {
    Nginx::binary().version() >= (1, 29, 7)
}

/// Tells whether these bytes are a whole request.
pub(crate) type Complete = fn(&[u8]) -> bool;

/// A server that keeps what it receives: one request for each connection, which it answers and closes.
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Recorder {
    pub(crate) async fn start(complete: Complete, answer: &'static [u8]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let requests = received.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !complete(&request) {
                    if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
                        break;
                    }
                }
                requests.lock().unwrap().push(request);
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        Recorder { address, received }
    }

    /// The one request that came since the last call.
    pub(crate) fn take(&self) -> Vec<u8> {
        let mut received = std::mem::take(&mut *self.received.lock().unwrap());
        assert_eq!(received.len(), 1);
        received.pop().unwrap()
    }
}

pub(crate) fn http_is_complete(bytes: &[u8]) -> bool {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match field("content-length:") {
        Some(length) => bytes.len() >= head + 4 + length.parse::<usize>().unwrap(),
        None => field("transfer-encoding:").is_none() || bytes.ends_with(b"0\r\n\r\n"),
    }
}

fn two_bytes(bytes: &[u8]) -> Option<usize> {
    Some(usize::from(*bytes.first()?) << 8 | usize::from(*bytes.get(1)?))
}

/// Ends with an empty record of type FCGI_STDIN.
fn fastcgi_is_complete(bytes: &[u8]) -> bool {
    bytes.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0])
}

/// A modifier, the size of the variables (the low byte first), the variables.
fn uwsgi_is_complete(bytes: &[u8]) -> bool {
    matches!(bytes, [_, low, high, _, ..] if bytes.len() >= 4 + two_bytes(&[*high, *low]).unwrap())
}

/// A netstring of headers.
fn scgi_is_complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes).into_owned();
    text.split_once(':').is_some_and(|(length, rest)| rest.len() > length.parse().unwrap())
}

fn memcached_is_complete(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n")
}

/// The preface, and frames up to HEADERS with END_STREAM.
fn http2_is_complete(bytes: &[u8]) -> bool {
    let mut rest = bytes.get(24..).unwrap_or_default();
    while let [_, high, low, kind, flags, ..] = *rest {
        let Some(next) = rest.get(9 + two_bytes(&[high, low]).unwrap()..) else { return false };
        if kind == 1 && flags & 1 != 0 {
            return true;
        }
        rest = next;
    }
    false
}

/// How the origin got the last request.
fn last(origin: &Origin) -> (&'static str, Option<String>) {
    let entry = origin.ledger().pop().unwrap();
    (entry.version, entry.connection_field)
}

fn is((version, connection): (&str, Option<String>), expected: (&str, Option<&str>)) -> bool {
    (version, connection.as_deref()) == expected
}

#[tokio::test]
async fn bare_ntlm_sends_requests_with_keep_alive() {
    for origin in [Origin::start().await, Origin::builder().tls().start().await] {
        let nginx = Nginx::builder().in_front_of(&[&origin], "ntlm;").start().await;
        let mut client = Client::connect(&nginx).await;
        client.get("/public/").await;
        assert!(is(last(&origin), LIFTED), "{:?}", last(&origin));
        client.get_with("/", "Authorization", CREDENTIALS).await;
        assert!(is(last(&origin), LIFTED), "{:?}", last(&origin));
        client.login("alice", "/").await;
        client.request(Request::post("/bound", "body").http10()).await;
        assert!(is(last(&origin), LIFTED), "{:?}", last(&origin));
        assert!(
            origin.ledger().iter().all(|entry| entry.version == "1.1" && entry.connection_field.is_none())
        );
    }
}

#[tokio::test]
async fn proxy_http_version_alone_lets_a_login_work() {
    let origin = Origin::start().await;
    let nginx =
        Nginx::builder().conf("proxy_http_version 1.1;").in_front_of(&[&origin], "ntlm;").start().await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    alice.get("/again").await;
    let ledger = origin.ledger();
    assert_eq!(ledger.len(), 3);
    assert!(
        ledger.iter().all(|entry| entry.version == "1.1" && entry.connection_field.is_none()),
        "{ledger:?}"
    );
    assert!(ledger.iter().all(|entry| entry.connection == ledger[0].connection), "{ledger:?}");
}

#[tokio::test]
async fn other_connection_value_is_left_alone() {
    let origin = Origin::start().await;
    for value in ["upgrade", "keep-alive", "close, te", "closed"] {
        for version in ["1.0", "1.1"] {
            let nginx = Nginx::builder()
                .conf(&format!("proxy_http_version {version}; proxy_set_header Connection \"{value}\";"))
                .conf("proxy_set_body \"Connection: close\\r\\n\";")
                .in_front_of(&[&origin], "ntlm;")
                .start()
                .await;
            let mut client = Client::connect(&nginx).await;
            for request in [Request::get("/public/"), Request::get("/").header("Authorization", CREDENTIALS)]
            {
                let response = client.request(request).await;
                assert!(is(last(&origin), ("1.1", Some(value))), "{version} {value}");
                // The body, which is no header field, lies in one buffer with the header.
                assert_eq!(response.get("X-Body-Length"), Some("19"), "{version} {value}");
            }
        }
    }
}

#[tokio::test]
async fn close_of_a_directive_is_lifted() {
    let origin = Origin::start().await;
    for value in ["close", "CLOSE", "$asked", ""] {
        for version in ["1.0", "1.1"] {
            let nginx = Nginx::builder()
                .conf("map $request_method $asked { default close; }")
                .conf(&format!("proxy_http_version {version}; proxy_set_header Connection \"{value}\";"))
                .in_front_of(&[&origin], "ntlm;")
                .start()
                .await;
            Client::connect(&nginx).await.get_with("/", "Authorization", CREDENTIALS).await;
            assert!(is(last(&origin), LIFTED), "{version} {value}: {:?}", last(&origin));
        }
    }
}

#[tokio::test]
async fn close_that_comes_now_and_then_is_lifted_each_time() {
    let origin = Origin::start().await;
    for connection in ["proxy_set_header Connection $asked;", ""] {
        let nginx = Nginx::builder()
            .conf("map $arg_sends $asked { default ''; 1 close; }")
            .conf(&format!("proxy_http_version 1.1; {connection}"))
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let mut client = Client::connect(&nginx).await;
        // Without credentials `Connection: close` may stay.
        client.get("/public/").await;
        for target in ["/", "/?sends=1", "/", "/?sends=1"] {
            client.get_with(target, "Authorization", CREDENTIALS).await;
            assert!(is(last(&origin), LIFTED), "{connection} {target}: {:?}", last(&origin));
        }
    }
}

#[tokio::test]
async fn close_is_lifted_after_a_request_that_hides_it() {
    let recorder = Recorder::start(http_is_complete, OK).await;
    let nginx = Nginx::builder()
        .conf(&format!(
            "upstream bound {{ server {}; ntlm; }}\n\
             server {{ listen 127.0.0.1:{{{{port}}}}; proxy_http_version 1.1; proxy_set_header X-Original $uri; \
               location / {{ proxy_pass http://bound; }} }}",
            recorder.address
        ))
        .start()
        .await;
    // The fields of directives come before the defaults.
    assert_eq!(Client::connect(&nginx).await.get("/%0D%0A%0D%0A").await.status, 200);
    let hidden = recorder.take();
    assert!(hidden.windows(4).filter(|four| four == b"\r\n\r\n").count() > 1);
    Client::connect(&nginx).await.get_with("/", "Authorization", CREDENTIALS).await;
    let text = String::from_utf8(recorder.take()).unwrap();
    assert!(text.contains("HTTP/1.1\r\n") && !text.contains("Connection:"), "{text}");
}

#[tokio::test]
async fn a_group_without_ntlm_keeps_the_defaults() {
    let origin = Origin::start().await;
    let other = "upstream other { server 127.0.0.1:1; ntlm; }";
    let nginx = Nginx::builder().conf(other).in_front_of(&[&origin], "").start().await;
    let mut client = Client::connect(&nginx).await;
    let replaced = std::env::var("NTLM_FORM").is_ok_and(|form| form == "replaced");
    let expected = if replaced || has_new_defaults() { LIFTED } else { OLD_DEFAULTS };
    client.get("/public/").await;
    assert!(is(last(&origin), expected), "{:?}", last(&origin));
    client.get_with("/", "Authorization", CREDENTIALS).await;
    assert!(is(last(&origin), expected), "{:?}", last(&origin));
}

#[tokio::test]
async fn lifted_request_equals_one_from_explicit_lines() {
    let recorder = Recorder::start(http_is_complete, OK).await;
    let settings = [
        "",
        "proxy_set_header X-First 1; proxy_set_header X-Connection close; proxy_set_header Xonnection close;",
        "proxy_set_header Host \"Connection: close\"; proxy_set_header X-Version \"GET / HTTP/1.0\";",
        "proxy_set_body \"GET / HTTP/1.0\\r\\nConnection: close\\r\\n\\r\\nConnection: close\\r\\n\";",
        "proxy_pass_request_headers off;",
        "proxy_pass_request_body off; proxy_set_header Content-Length \"\";",
        "proxy_request_buffering off;",
        "proxy_method PUT;",
    ];
    let mut conf = format!(
        "upstream bound {{ server {0}; ntlm; }} upstream plain {{ server {0}; }}\n\
         server {{ listen 127.0.0.1:{{{{port}}}}; client_max_body_size 0;\n",
        recorder.address
    );
    let right = "proxy_http_version 1.1; proxy_set_header Connection \"\";";
    for (number, settings) in settings.iter().enumerate() {
        for (kind, group, lines) in [
            ("default", "bound", ""),
            ("old", "bound", "proxy_http_version 1.0;"),
            ("half", "bound", "proxy_http_version 1.1;"),
            ("right", "plain", right),
        ] {
            conf += &format!(
                "location = /{kind}/{number} {{ proxy_pass http://{group}/same?HTTP/1.0; {lines} {settings} }}\n"
            );
        }
    }
    let nginx = Nginx::builder().conf(&format!("{conf} }}")).start().await;

    let confusing = "Connection: close\r\n HTTP/1.0\r\n".repeat(2 * 1024);
    let long = "x".repeat(7000);
    let requests = [
        Request::get("/"),
        Request::get("/").header("X-A", &long).header("X-B", &long).header("Cookie", &long),
        Request::get("/").header("X-Note", "Connection: close").header("X-Connection", "close"),
        Request::new("HEAD", "/"),
        Request::post("/", ""),
        Request::post("/", confusing.clone()),
        Request::post("/", "Connection: close\r\n"),
        Request::post("/", "").chunked(confusing, 8000),
    ];
    let seen = async |kind: &str, number: usize, mut request: Request| {
        request.target = format!("/{kind}/{number}");
        let mut client = Client::connect(&nginx).await;
        assert_eq!(client.request(request).await.status, 200);
        let bytes = recorder.take();
        let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let text = String::from_utf8_lossy(&bytes[..head]).replace("Host: bound", "Host: plain");
        (text, bytes[head..].to_vec())
    };
    for (number, settings) in settings.into_iter().enumerate() {
        for request in &requests {
            for credentials in [false, true] {
                let mut request = request.clone().header("X-Last", "1");
                if credentials {
                    request = request.header("Authorization", CREDENTIALS);
                }
                // An unbuffered chunked body goes out with its length where the request was made as HTTP/1.0.
                let chunked = matches!(request.body, ntlm_testkit::client::Body::Chunked(..));
                if chunked && settings.contains("request_buffering off") {
                    continue;
                }
                let right = seen("right", number, request.clone()).await;
                for kind in ["default", "old", "half"] {
                    if kind == "half" && !credentials {
                        continue;
                    }
                    let lifted = seen(kind, number, request.clone()).await;
                    let what = format!("{kind} {settings} {request:.200?}");
                    assert_eq!(lifted.0, right.0, "{what}");
                    assert!(lifted.1 == right.1, "the bodies differ: {what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn bodies_on_legs_of_a_login_arrive_whole() {
    let origin = Origin::start().await;
    let nginx =
        Nginx::builder().conf("client_max_body_size 0;").in_front_of(&[&origin], "ntlm;").start().await;
    let body = "Connection: close\r\n".repeat(60_000).into_bytes();
    let hash = ntlm_testkit::origin::body_hash(&body).to_string();
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    for request in [
        Request::post("/", body.clone()),
        Request::post("/", body.clone()).header("Authorization", CREDENTIALS),
        Request::post("/", "").chunked(body.clone(), 4000),
        Request::post("/", "").chunked(body.clone(), 4000).header("Authorization", CREDENTIALS),
    ] {
        let response = alice.request(request).await;
        assert_eq!(response.get("X-Body-Length"), Some("1140000"));
        assert_eq!(response.get("X-Body-Hash"), Some(hash.as_str()));
    }
}

#[tokio::test]
async fn retry_sends_lifted_request_unchanged_to_second_server() {
    let first = Recorder::start(http_is_complete, b"").await;
    let second = Recorder::start(http_is_complete, OK).await;
    let nginx = Nginx::builder()
        .conf(&format!(
            "upstream bound {{ server {} max_fails=0; server {} backup; ntlm; }}\n\
             server {{ listen 127.0.0.1:{{{{port}}}}; proxy_http_version 1.0; location / {{ proxy_pass http://bound; }} }}",
            first.address, second.address
        ))
        .start()
        .await;
    for request in [
        Request::get("/again").header("X-Last", "1"),
        Request::get("/again").header("X-Last", "1").header("Authorization", CREDENTIALS),
        Request::new("PUT", "/again").body("Connection: close\r\n").header("Authorization", CREDENTIALS),
    ] {
        assert_eq!(Client::connect(&nginx).await.request(request.clone()).await.status, 200);
        let (first, second) = (first.take(), second.take());
        assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second));
        let text = String::from_utf8_lossy(&second);
        let start = format!("{} /again HTTP/1.1\r\nHost: bound\r\n", request.method);
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(
            text.matches("Connection: close\r\n").count(),
            usize::from(request.method == "PUT"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn requests_of_other_protocols_are_untouched() {
    // Values that look like what is lifted from HTTP/1.x.
    let bait = "\"GET / HTTP/1.0\\r\\nConnection: close\\r\\n\"";
    let mut protocols: Vec<(&str, Complete, String)> = vec![
        ("fastcgi", fastcgi_is_complete, format!("fastcgi_pass GROUP; fastcgi_param A {bait};")),
        ("uwsgi", uwsgi_is_complete, format!("uwsgi_pass GROUP; uwsgi_param A {bait};")),
        ("scgi", scgi_is_complete, format!("scgi_pass GROUP; scgi_param A {bait};")),
        ("memcached", memcached_is_complete, format!("memcached_pass GROUP; set $memcached_key {bait};")),
    ];
    if Nginx::binary().has("http_v2") {
        let grpc = "grpc_pass GROUP; grpc_set_header Host same;".to_owned();
        protocols.push(("grpc", http2_is_complete, grpc));
    }
    if Nginx::binary().has("http_v2") && Nginx::binary().version() >= (1, 29, 4) {
        let http2 = "proxy_pass http://GROUP; proxy_http_version 2; proxy_set_header Host same;".to_owned();
        protocols.push(("http2", http2_is_complete, http2));
    }
    for (name, complete, lines) in protocols {
        let recorder = Recorder::start(complete, b"").await;
        let nginx = Nginx::builder()
            .conf(&format!(
                "upstream bound {{ server {0}; ntlm; }} upstream plain {{ server {0}; }}\n\
                 server {{ listen 127.0.0.1:{{{{port}}}}; \
                   location /same {{ {1} }} server_name bound; }}\n\
                 server {{ listen 127.0.0.1:{{{{port}}}}; \
                   location /same {{ {2} }} server_name plain; }}",
                recorder.address,
                lines.replace("GROUP", "bound"),
                lines.replace("GROUP", "plain"),
            ))
            .start()
            .await;
        for credentials in [None, Some(CREDENTIALS)] {
            let mut seen = Vec::new();
            for host in ["bound", "plain"] {
                let mut request = Request::get("/same").header("X-Note", "Connection: close");
                if let Some(credentials) = credentials {
                    request = request.header("Authorization", credentials);
                }
                let mut client = Client::builder().host(host).connect(&nginx).await;
                assert_eq!(client.request(request).await.status, 502, "{name}");
                let bytes = recorder.take();
                assert!(complete(&bytes), "{name}: {:?}", String::from_utf8_lossy(&bytes));
                // The value of `Host`, where the protocol passes the client's fields.
                seen.push(String::from_utf8_lossy(&bytes).replace("bound", "plain"));
            }
            assert_eq!(seen[0], seen[1], "{name}");
        }
    }
}

#[tokio::test]
async fn close_is_lifted_however_it_is_spelled() {
    let origin = Origin::start().await;
    for line in ["CONNECTION close", "connection Close"] {
        let nginx = Nginx::builder()
            .conf(&format!("proxy_set_header {line};"))
            .in_front_of(&[&origin], "ntlm;")
            .start()
            .await;
        let legs = Client::connect(&nginx).await.login("alice", "/").await;
        assert_eq!((legs[1].status, legs[1].identity()), (200, "alice"), "{line}");
    }
}
