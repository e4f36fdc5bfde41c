//! Proof of a login: an answer to credentials for the target that was refused before, or a token. Only proof names a user.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Client, Nginx, Origin, Request, Response, password_of, pause, within};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// A group whose names are in a field of each response and in a log of their own, and whose counters are at `/status`.
async fn front(origin: &Origin, variables: &str) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .set("variables", variables)
        .conf(
            "upstream backend { server {{origin}}; ntlm; } log_format names '{{variables}}'; \
             server { listen 127.0.0.1:{{port}}; access_log {{prefix}}/names.log names; \
             add_header X-Login $ntlm_user always; location / { proxy_pass http://backend; } \
             location = /status { access_log off; ntlm_status; } }",
        )
        .start()
        .await
}

/// The lines of the log of names, once there are so many.
async fn named(nginx: &Nginx, count: usize) -> Vec<String> {
    let read = || std::fs::read_to_string(nginx.prefix().join("names.log")).unwrap_or_default();
    let written = async {
        while read().lines().count() < count {
            pause().await;
        }
    };
    within(written, || format!("there are no {count} lines but\n{}", read())).await;
    read().lines().map(str::to_owned).collect()
}

/// How many logins by `mechanism` were accepted.
async fn accepted(nginx: &Nginx, mechanism: &str) -> Option<u64> {
    let status = Client::connect(nginx).await.get("/status").await.text();
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    status.pointer(&format!("/groups/0/handshakes/{mechanism}/accepted")).and_then(Value::as_u64)
}

/// An NTLM login whose legs are these requests; returns the answer to the second.
async fn log_in_by(client: &mut Client, user: &str, legs: [Request; 2]) -> Response {
    let mut login = Login::new("NTLM", user, &password_of(user));
    let [first, last] = legs;
    let challenge = client.request(first.header("Authorization", &login.first())).await;
    assert_eq!(challenge.status, 401);
    let answer = login.next(&challenge).expect("a challenge");
    let response = client.request(last.header("Authorization", &answer)).await;
    assert_eq!(response.connection(), challenge.connection());
    response
}

#[tokio::test]
async fn made_up_name_on_open_page_is_hidden() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$status $ntlm_user $ntlm_domain $ntlm_workstation $ntlm_mechanism").await;
    for (number, target) in
        ["/missing?ignore&status=404", "/public/?ignore", "/moved?ignore&status=302"].iter().enumerate()
    {
        let mut mallory = Client::connect(&nginx).await;
        let legs = [Request::get("/"), Request::get(target)];
        let response = log_in_by(&mut mallory, "administrator", legs).await;
        assert_eq!((response.identity(), response.get("X-Login")), ("anonymous", Some("-")), "{target}");
        assert_eq!(mallory.get("/public/").await.get("X-Login"), Some("-"), "{target}");
        assert_eq!(mallory.get("/").await.status, 401);
        let lines = named(&nginx, 4 * (number + 1)).await;
        assert!(!lines.iter().any(|line| line.contains("administrator")), "{lines:#?}");
        assert!(lines.iter().all(|line| line.contains(" - - - ")), "{lines:#?}");
    }
    assert_eq!(accepted(&nginx, "NTLMv2").await, Some(0));
}

#[tokio::test]
async fn login_for_refused_target_is_shown_and_counted() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$status $ntlm_user $ntlm_domain").await;
    for target in ["/", "/a?b=c", "/?status=404", "/?status=302"] {
        let mut alice = Client::connect(&nginx).await;
        let legs = [Request::get(target), Request::get(target)];
        let response = log_in_by(&mut alice, "alice", legs).await;
        assert_eq!((response.identity(), response.get("X-Login")), ("alice", Some("alice")), "{target}");
        // It stays for whatever the binding carries.
        for later in ["/", "/public/", "/missing?ignore&status=404"] {
            assert_eq!(alice.get(later).await.get("X-Login"), Some("alice"), "{target} {later}");
        }
    }
    assert_eq!(accepted(&nginx, "NTLMv2").await, Some(4));
    assert_eq!(named(&nginx, 20).await[1], "200 alice EXAMPLE");
}

#[tokio::test]
async fn login_for_another_target_is_not_shown() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$ntlm_user").await;
    let at = |host: &str, target: &str| Request::get(target).header("Host", host);
    for (refused, answered) in [
        (at("a.example", "/a"), at("a.example", "/b")),
        (at("a.example", "/a?b"), at("a.example", "/a?c")),
        (at("a.example", "/a"), at("a.example", "/a?b")),
        (at("a.example", "/a"), at("b.example", "/a")),
        (at("a.example", "/a"), Request::new("OPTIONS", "/a").header("Host", "a.example")),
        (Request::new("OPTIONS", "/a").header("Host", "a.example"), at("a.example", "/a")),
    ] {
        let mut alice = Client::connect(&nginx).await;
        let response = log_in_by(&mut alice, "alice", [refused.clone(), answered]).await;
        assert_eq!((response.identity(), response.get("X-Login")), ("alice", Some("-")), "{refused:?}");
        assert_eq!(alice.get("/").await.get("X-Login"), Some("-"));
        // She can still prove it.
        let response = log_in_by(&mut alice, "alice", [refused.clone(), refused]).await;
        assert_eq!(response.get("X-Login"), Some("alice"));
    }
    assert_eq!(accepted(&nginx, "NTLMv2").await, Some(6));
}

/// A control: clients send an empty POST, or a HEAD, ahead of what they mean.
#[tokio::test]
async fn login_across_methods_is_proven() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$ntlm_user").await;
    for first in [Request::post("/a", ""), Request::new("HEAD", "/a"), Request::get("/a")] {
        let mut alice = Client::connect(&nginx).await;
        let response = log_in_by(&mut alice, "alice", [first, Request::post("/a", "body")]).await;
        assert_eq!(response.get("X-Login"), Some("alice"));
    }
}

#[tokio::test]
async fn token_or_earlier_refusal_proves_a_ticket() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$ntlm_user").await;
    let with_ticket = |target: &str| {
        let ticket = format!("Negotiate {}", kerberos_token("alice", &password_of("alice")));
        Request::get(target).header("Authorization", &ticket)
    };
    // Sent without a challenge before, and answered without a token.
    let mut alice = Client::connect(&nginx).await;
    assert_eq!(alice.request(with_ticket("/?nomutual")).await.identity(), "alice");
    assert_eq!(alice.request(with_ticket("/b?nomutual")).await.identity(), "alice");
    assert_eq!(accepted(&nginx, "Negotiate").await, Some(0));
    // Answered with one.
    let mut bob = Client::connect(&nginx).await;
    assert_eq!(bob.request(with_ticket("/")).await.identity(), "alice");
    assert_eq!(accepted(&nginx, "Negotiate").await, Some(1));
    // After a refusal of the same target over the same binding.
    let mut carol = Client::connect(&nginx).await;
    let refused = carol.get_with("/?nomutual", "Authorization", "Negotiate x").await;
    assert_eq!(refused.status, 401);
    let response = carol.request(with_ticket("/?nomutual")).await;
    assert_eq!((response.identity(), response.connection()), ("alice", refused.connection()));
    assert_eq!(accepted(&nginx, "Negotiate").await, Some(2));
}

#[tokio::test]
async fn refused_login_has_names_of_its_own() {
    let origin = Origin::start().await;
    let refused = "$ntlm_refused_user $ntlm_refused_domain $ntlm_refused_workstation $ntlm_refused_mechanism";
    let nginx = front(&origin, &format!("$status $ntlm_user {refused}")).await;
    let mut alice = Client::connect(&nginx).await;
    alice.login_with("NTLM", "alice", "wrong", "/").await;
    alice.login("alice", "/").await;
    alice.get("/").await;
    let lines = named(&nginx, 5).await;
    assert_eq!(
        lines,
        [
            "401 - - - - -",
            "401 - alice EXAMPLE - NTLMv2",
            "401 - - - - -",
            "200 alice - - - -",
            "200 alice - - - -",
        ]
    );
}

/// A server that gives this challenge on its first connection, closes that at the answer, and gives everybody this status over the next
/// ones.
async fn careless(challenge: String, status: u16) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = true;
        while let Ok((stream, _)) = listener.accept().await {
            let challenge = challenge.clone();
            let gives_challenge = std::mem::take(&mut first);
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut lines = BufReader::new(read).lines();
                let mut answered = 0;
                while let Ok(Some(line)) = lines.next_line().await {
                    if !line.is_empty() {
                        continue;
                    }
                    let answer = match (gives_challenge, answered) {
                        (true, 0) => format!("401 No\r\nWWW-Authenticate: {challenge}\r\nContent-Length: 0"),
                        (true, _) => return,
                        (false, _) => format!("{status} Status\r\nContent-Length: 2"),
                    };
                    answered += 1;
                    let body = if gives_challenge { "" } else { "in" };
                    write.write_all(format!("HTTP/1.1 {answer}\r\n\r\n{body}").as_bytes()).await.unwrap();
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn retry_over_another_connection_proves_no_made_up_name() {
    let origin = Origin::start().await;
    let mut login = Login::new("NTLM", "administrator", "made up");
    let first = login.first();
    let challenge = Client::connect(&origin).await.get_with("/", "Authorization", &first).await;
    let answer = login.next(&challenge).expect("a challenge");
    for status in [200, 401] {
        let address = careless(challenge.get("WWW-Authenticate").unwrap().to_owned(), status).await;
        let conf = "add_header X-Login \"$ntlm_user $ntlm_refused_user $ntlm_requests\" always; \
         upstream backend { server {{address}}; ntlm; } \
         server { listen 127.0.0.1:{{port}}; location / { proxy_pass http://backend; } location = /status { ntlm_status; } }";
        let nginx =
            Nginx::builder().set("address", &address.to_string()).conf(conf).as_written().start().await;
        let mut mallory = Client::connect(&nginx).await;
        assert_eq!(mallory.get_with("/", "Authorization", &first).await.status, 401);
        let retried = mallory.get_with("/", "Authorization", &answer).await;
        assert_eq!((retried.status, retried.get("X-Login")), (status, Some("- - -")));
        assert_eq!(accepted(&nginx, "NTLMv2").await, Some(0));
    }
}

#[tokio::test]
async fn request_that_goes_on_over_another_connection_is_nobodys() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "$uri $ntlm_user $ntlm_requests").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    let retried = alice.get("/public/?close=reused").await;
    assert_eq!((retried.identity(), retried.get("X-Login")), ("anonymous", Some("-")));
    assert_eq!(named(&nginx, 3).await.last().map(String::as_str), Some("/public/ - -"));
}
