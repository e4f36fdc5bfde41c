//! Logins that work, what is tried after them, and sessions that do not last.

use ntlm_testkit::{Nginx, Origin, password_of};

use crate::{KEEP, fails, front, json, probe, probe_as, statuses};

#[tokio::test]
async fn login_through_the_module_passes_every_check() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let url = nginx.url("/owa/");
    let arguments = ["--post", "--idle", "300ms", "--parallel", "4", "--requests", "5"];
    let report = json(probe(&[&[url.as_str()][..], &arguments].concat())).await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(statuses(&report), [401, 401, 200]);
    assert_eq!((&report["scheme"], &report["user"]), (&"NTLM".into(), &"EXAMPLE\\alice".into()));
    assert_eq!(report["offers"], serde_json::json!(["Negotiate", "NTLM"]));
    let names: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, ["requests", "strangers", "post", "idle", "parallel"]);

    let challenge = &report["challenge"];
    for (key, value) in [
        ("target", "EXAMPLE"),
        ("netbios_domain", "EXAMPLE"),
        ("netbios_computer", "ORIGIN"),
        ("dns_domain", "example.test"),
        ("dns_computer", "origin.example.test"),
        ("version", "10.0.22621"),
    ] {
        assert_eq!(challenge[key], value, "{key}");
    }
    assert!(challenge["clock_ahead_seconds"].as_i64().unwrap().abs() < 60);

    // The origin saw what the report says: five connections logged in, and the first carried everything else.
    let ledger = origin.ledger();
    let alice: Vec<_> = ledger.iter().filter(|entry| entry.identity.as_deref() == Some("alice")).collect();
    let first = alice[0].connection;
    let on_first = alice.iter().filter(|entry| entry.connection == first);
    assert_eq!(on_first.clone().count(), 1 + 5 + 1 + 1);
    assert_eq!(on_first.filter(|entry| entry.method == "POST").count(), 1);
    assert_eq!(alice.len(), 8 + 4 * 2);
    nginx.stop().await;
}

#[tokio::test]
async fn negotiate_carries_the_same_login() {
    let origin = Origin::start().await;
    let shown = format!("proxy_set_header X-Client $http_authorization; {KEEP}");
    let nginx = front(&origin, "ntlm;", &shown).start().await;
    let report = json(probe(&[&nginx.url("/"), "--negotiate", "--parallel", "0"])).await;
    assert_eq!((&report["ok"], &report["scheme"]), (&true.into(), &"Negotiate".into()), "{report:#}");
    let schemes: Vec<_> = origin.ledger().into_iter().filter_map(|entry| entry.scheme).collect();
    assert_eq!(schemes, ["Negotiate", "Negotiate"]);
    // In SPNEGO: a NegTokenInit, then a NegTokenResp.
    let tokens: Vec<_> = origin.ledger().into_iter().filter_map(|entry| entry.x_client).collect();
    assert!(tokens[0].starts_with("Negotiate YE") && tokens[1].starts_with("Negotiate oY"), "{tokens:?}");
}

#[tokio::test]
async fn login_over_http2_is_named() {
    let origin = Origin::start().await;
    let listen = if Nginx::binary().version() < (1, 25, 1) {
        "listen 127.0.0.1:{{port:two}} http2;"
    } else {
        "listen 127.0.0.1:{{port:two}}; http2 on;"
    };
    let server = format!("server {{ {listen} {KEEP} location / {{ proxy_pass http://backend; }} }}");
    let nginx = front(&origin, "ntlm;", KEEP).conf(&server).start().await;
    let url = format!("http://{}/", nginx.socket_addr("two"));
    let report = json(probe(&[&url, "--http2", "--post"])).await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert!(report["legs"].as_array().unwrap().iter().all(|leg| leg["version"] == "HTTP/2"));
}

#[tokio::test]
async fn principal_name_and_domain_are_sent_unchanged() {
    let origin = Origin::builder().user("carol@example.test", "secret").user("dave", "secret").start().await;
    for (user, shown) in [("carol@example.test", "carol@example.test"), ("EXAMPLE\\dave", "EXAMPLE\\dave")] {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ntlm-probe"));
        command.args([&origin.url("/"), "--user", user]).env("NTLM_PROBE_PASSWORD", "secret");
        let report = json(command).await;
        assert_eq!((&report["ok"], &report["user"]), (&true.into(), &shown.into()), "{report:#}");
    }
}

#[tokio::test]
async fn a_session_that_a_request_ends_is_lost() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let report = fails(probe(&[&nginx.url("/?persist=no")]), "session-lost", 7).await;
    assert_eq!(report["cause"]["detail"], "request 1 of 3: 401");
    assert_eq!(report["checks"][0]["ok"], false);
    // The answer to the last leg ends the connection: nothing was bound to last.
    let report = fails(probe(&[&nginx.url("/?close=header")]), "session-lost", 7).await;
    assert_eq!(report["cause"]["detail"], "request 1 of 3: the answer before it ended the connection");
}

#[tokio::test]
async fn pool_that_shares_the_session_is_named() {
    let origin = Origin::start().await;
    // Logins seem to work here: one client alone gets its own connection back from the pool.
    let nginx = front(&origin, "keepalive 4;", KEEP).without_module().start().await;
    let report = fails(probe(&[&nginx.url("/")]), "session-shared", 7).await;
    assert_eq!(statuses(&report), [401, 401, 200]);
    assert_eq!(report["cause"]["detail"], "200 answered a new connection without credentials");
    assert_eq!(origin.ledger().last().unwrap().identity.as_deref(), Some("alice"));
}

#[tokio::test]
async fn a_session_that_idle_time_ends_is_lost() {
    let origin = Origin::start().await;
    for (group, server) in [("ntlm;", "keepalive_timeout 1s;"), ("ntlm; ntlm_timeout 1s;", "")] {
        let nginx = front(&origin, group, &format!("{server} {KEEP}")).start().await;
        // The probe sees the close when it comes, and does not wait for the rest.
        let report = fails(probe(&[&nginx.url("/"), "--idle", "1h"]), "session-lost-idle", 7).await;
        let detail = report["cause"]["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("the connection was closed after "), "{detail}");
    }
}

#[tokio::test]
async fn a_post_that_fails_is_named() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", &format!("client_max_body_size 512; {KEEP}")).start().await;
    let report = fails(probe(&[&nginx.url("/"), "--post"]), "post-failed", 7).await;
    assert_eq!(report["cause"]["detail"], "413");
    let report =
        fails(probe(&[&origin.url("/?persist=no"), "--requests", "0", "--post"]), "post-failed", 7).await;
    assert_eq!(report["cause"]["detail"], "401");
    nginx.stop().await;
}

#[tokio::test]
async fn logins_that_only_fail_beside_others_are_named() {
    let origin = Origin::start().await;
    // One login on its own has all the room there is.
    let nginx = front(&origin, "ntlm 1;", KEEP).start().await;
    let url = nginx.url("/");
    assert_eq!(json(probe(&[&url, "--parallel", "1"])).await["ok"], true);
    let report = fails(probe(&[&url, "--parallel", "8"]), "parallel-failed", 7).await;
    assert!(report["cause"]["detail"].as_str().unwrap().contains(" of 8 logins failed: "));
}

#[tokio::test]
async fn wrong_clock_is_noted() {
    let origin = Origin::builder().clock_ahead(600).start().await;
    let report = json(probe(&[&origin.url("/")])).await;
    assert_eq!(report["ok"], true, "{report:#}");
    let note = report["notes"][0].as_str().unwrap();
    assert!(note.starts_with("the server's clock is ") && note.contains(" s ahead of here"), "{note}");
}

#[tokio::test]
async fn forbidden_page_counts_as_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let report = json(probe_as("bob", &password_of("bob"), &[&nginx.url("/?status=403")])).await;
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["notes"][0], "logged in, but the answer is 403");
}
