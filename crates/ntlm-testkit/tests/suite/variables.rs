//! The variables of an access log: bindings, and the user who is logged in.

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::client::{Login, Scheme, http2};
use ntlm_testkit::ntlm::to_base64;
use ntlm_testkit::{Client, Nginx, Origin, Request, password_of, pause, spnego, within};
/// nginx in front of an origin, and of one that answers the first leg of NTLM with a challenge and accepts whatever else it is
/// told, with all the variables in its log and the login in a field of each response.
async fn front(origin: &Origin, group: &str) -> Nginx {
    Nginx::builder()
        .set("origin", &origin.address())
        .conf(&format!(
            "upstream backend {{ server {{{{origin}}}}; {group} }}
             upstream careless {{ server 127.0.0.1:{{{{port:careless}}}}; {group} }}
             map $http_authorization $challenge {{ \"~ TlRMTVNTUAAB\" \"Negotiate TlRMTVNTUAACAAAA\"; }}
             server {{ listen 127.0.0.1:{{{{port:careless}}}}; access_log off;
                       add_header WWW-Authenticate $challenge always;
                       if ($challenge) {{ return 401; }} return 200; }}
             log_format ntlm '$status $ntlm_binding $ntlm_requests $ntlm_mechanism '
                             '$ntlm_user $ntlm_domain $ntlm_workstation';
             server {{ listen 127.0.0.1:{{{{port}}}}; access_log {{{{prefix}}}}/ntlm.log ntlm;
                       add_header X-Login \"$ntlm_mechanism $ntlm_user\" always;
                       location / {{ proxy_pass http://backend; }}
                       location /careless/ {{ proxy_pass http://careless; }}
                       location /local {{ return 204; }} }}"
        ))
        .start()
        .await
}

/// The lines of the log, once there are so many.
async fn logged(nginx: &Nginx, count: usize) -> Vec<String> {
    let file = nginx.prefix().join("ntlm.log");
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    let written = async {
        while read().lines().count() < count {
            pause().await;
        }
    };
    within(written, || format!("there are no {count} lines but\n{}", read())).await;
    let lines: Vec<_> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

#[tokio::test]
async fn accepting_answer_puts_the_user_in_log() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    let legs = alice.login("alice", "/").await;
    assert_eq!(legs[0].get("X-Login"), Some("- -"));
    assert_eq!(legs[1].get("X-Login"), Some("NTLMv2 alice"));
    assert_eq!(alice.get("/").await.get("X-Login"), Some("NTLMv2 alice"));
    assert_eq!(alice.get("/local").await.status, 204);
    assert_eq!(Client::connect(&nginx).await.get("/").await.status, 401);
    let lines = logged(&nginx, 5).await;
    assert_eq!(
        lines,
        [
            "401 bound 1 - - - -",
            "200 reused 2 NTLMv2 alice EXAMPLE -",
            "200 reused 3 NTLMv2 alice EXAMPLE -",
            "204 - - - - - -",
            "401 - - - - - -",
        ]
    );
}

#[tokio::test]
async fn a_login_that_is_refused_is_not_named() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let mut mallory = Client::connect(&nginx).await;
    let legs = mallory.login_with("NTLM", "alice", "wrong", "/").await;
    assert_eq!(legs[1].get("X-Login"), Some("- -"));
    // A refused login after a good one on its connection names no user.
    mallory.login("bob", "/").await;
    mallory.login_with("NTLM", "alice", "wrong", "/").await;
    mallory.get("/public/").await;
    let lines = logged(&nginx, 7).await;
    assert!(lines[3].contains("NTLMv2 bob"), "{lines:?}");
    for line in [&lines[0], &lines[1], &lines[2], &lines[4], &lines[5], &lines[6]] {
        assert!(line.ends_with("- - - -"), "{lines:?}");
    }
}

#[tokio::test]
async fn mechanisms_inside_negotiate_are_told_apart() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login_as(Login::new("Negotiate", "alice", &password_of("alice")), Request::get("/")).await;
    let wrapped = Scheme::spnego();
    let mut bob = Client::connect(&nginx).await;
    bob.login_as(Login::new(wrapped, "bob", &password_of("bob")), Request::get("/")).await;
    // The start of an AP-REQ in its frame (RFC 4121 4.1), where whatever one says is accepted.
    let ticket = b"\x60\x0f\x06\x09\x2a\x86\x48\x86\xf7\x12\x01\x02\x02\x01\x00\x6e\x00";
    let mut carol = Client::connect(&nginx).await;
    assert_eq!(carol.leg1("carol", "/careless/").await.status, 401);
    carol.get_with("/careless/", "Authorization", &format!("Negotiate {}", to_base64(ticket))).await;
    carol.get("/careless/").await;
    let lines = logged(&nginx, 7).await;
    assert!(lines[1].contains("NTLMv2 alice EXAMPLE"), "{lines:?}");
    assert!(lines[3].contains("NTLMv2 bob EXAMPLE"), "{lines:?}");
    assert_eq!(&lines[5..], ["200 reused 2 Kerberos - - -", "200 reused 3 Kerberos - - -"]);
}

/// An AUTHENTICATE message (MS-NLMP 2.2.1.3) with a response of this length.
fn authenticate(user: &str, response: usize) -> Vec<u8> {
    let (mut message, mut payload) = (b"NTLMSSP\0\x03\0\0\0".to_vec(), Vec::new());
    for bytes in [&[][..], &vec![7; response], b"", user.as_bytes(), b"PC\x1b[2J", b""] {
        let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
        message.extend([length, length].concat());
        message.extend(u32::try_from(64 + payload.len()).unwrap().to_le_bytes());
        payload.extend_from_slice(bytes);
    }
    message.extend(0x202_u32.to_le_bytes());
    [message, payload].concat()
}

#[tokio::test]
async fn ntlmv1_responses_stand_out_and_names_are_escaped() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let forged = authenticate("eve\n200 - - - root", 24);
    for token in [forged.clone(), spnego::init(&forged)] {
        let mut eve = Client::connect(&nginx).await;
        assert_eq!(eve.leg1("eve", "/careless/").await.status, 401);
        assert_eq!(eve.get_with("/careless/", "Authorization", &negotiate(&token)).await.status, 200);
    }
    let lines = logged(&nginx, 4).await;
    for line in [&lines[1], &lines[3]] {
        assert_eq!(line, "200 reused 2 NTLMv1 eve\\x5Cx0A200 - - - root - PC\\x5Cx1B[2J");
    }
}

fn negotiate(token: &[u8]) -> String {
    format!("Negotiate {}", to_base64(token))
}

#[tokio::test]
async fn unasked_authenticate_names_no_user() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let forged = negotiate(&authenticate("bob", 24));
    let mut alice = Client::connect(&nginx).await;
    alice.leg1("alice", "/careless/").await;
    alice.get_with("/careless/", "Authorization", &negotiate(&authenticate("alice", 24))).await;
    for fields in [Some(&forged), None] {
        let mut request = Request::get("/careless/");
        if let Some(credentials) = fields {
            request = request.header("Authorization", credentials);
        }
        assert_eq!(alice.request(request).await.get("X-Login"), Some("NTLMv1 alice"));
    }
    let mut eve = Client::connect(&nginx).await;
    for _ in 0..2 {
        let response = eve.get_with("/careless/", "Authorization", &forged).await;
        assert_eq!((response.status, response.get("X-Login")), (200, Some("- -")));
    }
    let lines = logged(&nginx, 6).await;
    assert!(!lines.iter().any(|line| line.contains("bob")), "{lines:#?}");
    assert!(lines[1..4].iter().all(|line| line.contains(" NTLMv1 alice ")), "{lines:#?}");
}

#[tokio::test]
async fn later_login_on_another_stream_renames_none() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } log_format ntlm '$uri $ntlm_user';
             server { listen 127.0.0.1:{{port}} http2; access_log {{prefix}}/ntlm.log ntlm;
                      location / { proxy_pass http://backend; }
                      location /public/ { access_log off; proxy_pass http://backend; } }",
        )
        .allow_log("the \"listen ... http2\" directive is deprecated")
        .start()
        .await;
    let both = http2::Client::connect(&nginx).await;
    let bound = both.login("alice", "/").await[1].connection();
    assert_eq!(both.get("/named").await.connection(), bound);
    let slow = both.begin(Request::get("/slow?size=300000")).await;
    // Once nginx has all of it, alice's connection waits again, while her client reads nothing.
    let waits = async {
        while both.get("/public/").await.connection() != bound {
            pause().await;
        }
    };
    within(waits, || "the binding is at work all the time".to_owned()).await;
    both.login("bob", "/").await;
    assert_eq!(slow.finish().await.identity(), "alice");
    let lines = logged(&nginx, 6).await;
    assert!(lines.contains(&"/named alice".to_owned()), "{lines:?}");
    let line = lines.iter().find(|line| line.starts_with("/slow")).expect("her request");
    assert!(!line.contains("bob"), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("bob")).count(), 1, "{lines:?}");
}

#[tokio::test]
async fn last_answer_of_a_connection_names_the_user() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm; ntlm_requests 3;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    assert!(alice.get("/").await.says_close());
    let mut bob = Client::connect(&nginx).await;
    bob.leg1("bob", "/").await;
    let mut carol = Client::connect(&nginx).await;
    let legs = carol.login("carol", "/?close=header").await;
    assert_eq!(legs[1].identity(), "carol");
    let lines = logged(&nginx, 6).await;
    assert!(lines[2].starts_with("200 reused 3 NTLMv2 alice EXAMPLE"), "{lines:?}");
    assert!(lines[5].starts_with("200 reused 2 NTLMv2 carol EXAMPLE"), "{lines:?}");
}

#[tokio::test]
async fn lost_binding_is_logged() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    alice.get("/?close=read").await;
    let lines = logged(&nginx, 3).await;
    assert!(lines[2].contains(" lost "), "{lines:?}");
}

#[tokio::test]
async fn curl_is_named_as_well() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;").await;
    assert_eq!(Curl::ntlm("alice").url(nginx.url("/")).run().await.last().identity(), "alice");
    let lines = logged(&nginx, 2).await;
    assert_eq!(lines[1], "200 reused 2 NTLMv2 alice - WORKSTATION");
}

#[tokio::test]
async fn bytes_sent_are_those_of_one_request() {
    let origin = Origin::start().await;
    let nginx = Nginx::builder()
        .set("origin", &origin.address())
        .conf(
            "upstream backend { server {{origin}}; ntlm; } log_format ntlm '$upstream_bytes_sent';
             server { listen 127.0.0.1:{{port}}; access_log {{prefix}}/ntlm.log ntlm;
                      location / { proxy_pass http://backend; } }",
        )
        .start()
        .await;
    let mut alice = Client::connect(&nginx).await;
    alice.login("alice", "/").await;
    for _ in 0..2 {
        alice.get("/").await;
    }
    let lines = logged(&nginx, 4).await;
    assert_eq!(lines[2], lines[3], "{lines:?}");
    assert_ne!(lines[2], "0", "{lines:?}");
}
