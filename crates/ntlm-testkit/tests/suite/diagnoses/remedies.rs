//! Classic mistakes of a configuration: each is named in the log, and its remedy mends it. `docs/diagnoses.md` has the same table.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of};

/// A mistake, and what mends it.
struct Mistake {
    /// Lines of the configuration, as the manual shows them.
    broken: &'static str,
    /// The sentence in the error log.
    said: &'static str,
    /// The lines in their place.
    mended: &'static str,
    attempt: Attempt,
}

/// The attempt of a client.
#[derive(Clone, Copy)]
enum Attempt {
    /// One login, and a request after it.
    Login,
    /// Three users, who all go on.
    ThreeUsers,
    /// A login in one leg that is larger than 8 KB.
    LargeTicket,
    /// A login whose legs carry a body.
    Body,
}

const MISTAKES: [Mistake; 14] = [
    of("upstream iis { server IIS; }", "an upstream without \"ntlm\"", "upstream iis { server IIS; ntlm; }"),
    of("proxy_pass http://IIS;", "in no \"upstream\" block with \"ntlm\"", "proxy_pass http://iis;"),
    of(
        "proxy_set_header Connection \"close, TE\";",
        "with \"Connection: close\"",
        "proxy_set_header Connection \"\";",
    ),
    of("keepalive_timeout 0;", "is closed after the challenge", "keepalive_timeout 60s;"),
    of("keepalive_requests 1;", "is closed after the challenge", "keepalive_requests 1000;"),
    of(
        "proxy_intercept_errors on; error_page 401 /sorry;",
        "\"error_page\" replaces the origin's answer",
        "proxy_intercept_errors off; error_page 401 /sorry;",
    ),
    of(
        "proxy_intercept_errors on; error_page 401 404 /sorry;",
        "\"error_page\" replaces the origin's answer",
        "proxy_intercept_errors on; error_page 404 /sorry;",
    ),
    of("proxy_set_header Authorization \"\";", "takes the credentials out of requests", ""),
    of("proxy_hide_header WWW-Authenticate;", "takes \"WWW-Authenticate\" out of the answer", ""),
    of("ntlm_key $request_id;", "is another in each leg of a login", "ntlm_key $remote_addr;"),
    of("ntlm_key $http_x_session;", "\"ntlm_key\" is empty", "ntlm_key $http_x_session$remote_addr;"),
    Mistake { attempt: Attempt::ThreeUsers, ..of("ntlm 1;", "was closed to make room", "ntlm 500;") },
    Mistake {
        attempt: Attempt::LargeTicket,
        ..of(
            "large_client_header_buffers 4 8k;",
            "with a login is too large",
            "large_client_header_buffers 4 64k;",
        )
    },
    Mistake {
        attempt: Attempt::Body,
        ..of(
            "proxy_request_buffering off;",
            "before it had read the request's body",
            "proxy_request_buffering on;",
        )
    },
];

const fn of(broken: &'static str, said: &'static str, mended: &'static str) -> Mistake {
    Mistake { broken, said, mended, attempt: Attempt::Login }
}

/// A ticket's password of 9 KB.
fn long() -> String {
    "long".repeat(2300)
}

/// nginx with these lines where they belong.
async fn nginx(origin: &Origin, lines: &str) -> Nginx {
    let address = origin.address();
    let (mut group, mut pass, mut server) = ("ntlm;", "proxy_pass http://iis;", "");
    match lines {
        line if line.starts_with("upstream") => group = if line.contains("ntlm;") { "ntlm;" } else { "" },
        line if line.starts_with("proxy_pass") => pass = line,
        line if line.starts_with("ntlm ") => group = line,
        line => server = line,
    }
    let key = if server.starts_with("ntlm_key") { std::mem::take(&mut server) } else { "" };
    let conf = format!(
        "upstream iis {{ server {address}; {group} {key} }}
         server {{ listen 127.0.0.1:{{{{port}}}}; {server}
                   location = /sorry {{ return 200 sorry; }} location / {{ {pass} }} }}"
    );
    Nginx::builder().conf(&conf.replace("IIS", &address)).start().await
}

/// Tries it; whether all went well.
async fn succeeds(attempt: Attempt, nginx: &Nginx, is_mended: bool) -> bool {
    match attempt {
        Attempt::Login => {
            if Client::connect(nginx).await.get("/").await.get("WWW-Authenticate").is_none() {
                return false;
            }
            let mut alice = Client::connect(nginx).await;
            let mut login = Login::new("NTLM", "alice", &password_of("alice"));
            let challenge = alice.get_with("/", "Authorization", &login.first()).await;
            if challenge.says_close() {
                return false;
            }
            let Some(last) = login.next(&challenge) else { return false };
            alice.get_with("/", "Authorization", &last).await.status == 200
                && alice.get("/").await.status == 200
        }
        Attempt::ThreeUsers => {
            let mut clients = Vec::new();
            for user in ["alice", "bob", "carol"] {
                let mut client = Client::connect(nginx).await;
                client.login_in_one_leg(user, "/").await;
                clients.push(client);
            }
            let mut first = clients.remove(0);
            first.try_request(Request::get("/")).await.is_ok_and(|response| response.status == 200)
        }
        Attempt::LargeTicket => {
            let ticket = format!("Negotiate {}", kerberos_token("erin", &long()));
            Client::connect(nginx).await.get_with("/", "Authorization", &ticket).await.status == 200
        }
        Attempt::Body if is_mended => {
            let mut alice = Client::connect(nginx).await;
            let login = Login::new("NTLM", "alice", &password_of("alice"));
            let legs = alice.login_as(login, Request::post("/?early", vec![b'x'; 50_000])).await;
            legs[1].status == 200
        }
        Attempt::Body => {
            let mut alice = Client::connect(nginx).await;
            let first = Login::new("NTLM", "alice", "").first();
            let head = format!(
                "POST /?early HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\nAuthorization: {first}\r\n\r\nhalf"
            );
            alice.send_raw(head.as_bytes()).await;
            !alice.read_response().await.says_close()
        }
    }
}

#[tokio::test]
async fn each_mistake_is_named_and_mended() {
    let origin = Origin::builder().user("erin", &long());
    let origin =
        ["alice", "bob", "carol"].iter().fold(origin, |origin, user| origin.user(user, &password_of(user)));
    let origin = origin.start().await;
    for Mistake { broken, said, mended, attempt } in MISTAKES {
        println!("{broken}");
        let wrong = nginx(&origin, broken).await;
        assert!(!succeeds(attempt, &wrong, false).await, "{broken}");
        wrong.wait_log(|log| log.contains(said)).await;
        let log = wrong.error_log();
        let told: Vec<_> =
            log.lines().filter(|line| line.contains("[warn]") && line.contains(" ntlm: ")).collect();
        assert!(told.len() == 1 && told[0].contains(said), "{broken}: {told:#?}");
        wrong.stop().await;

        let right = nginx(&origin, mended).await;
        assert!(succeeds(attempt, &right, true).await, "{mended}\n{}", right.error_log());
        let log = right.error_log();
        assert!(
            !log.lines().any(|line| line.contains("[warn]") && line.contains(" ntlm: ")),
            "{mended}\n{log}"
        );
        right.stop().await;
    }
}

#[test]
fn manual_has_each_mistake_with_its_remedy() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/diagnoses.md");
    let manual = std::fs::read_to_string(file).unwrap();
    let (_, below) = manual.split_once("\n## Classic mistakes\n").expect("the heading");
    let rows = below.lines().skip_while(|line| !line.starts_with("| --- ")).skip(1);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with('|')).collect();
    let expected = MISTAKES.map(|Mistake { broken, said, mended, .. }| {
        let mended = if mended.is_empty() { "without it".to_owned() } else { format!("`{mended}`") };
        format!("| `{broken}` | … {said} … | {mended} |")
    });
    assert_eq!(rows, expected, "docs/diagnoses.md, and what is tested");
}
