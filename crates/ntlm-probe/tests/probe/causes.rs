//! Logins that fail, each for one of the known causes.

use ntlm_testkit::origin::Protection;
use ntlm_testkit::{Client, Nginx, Origin};

use crate::broken::servers::protected;
use crate::{KEEP, fails, front, json, probe, probe_as, statuses};

// No connection.

#[tokio::test]
async fn the_certificate_is_not_trusted() {
    let origin = Origin::builder().tls().start().await;
    fails(probe(&[&origin.url("/")]), "tls-certificate", 3).await;
    let ca = origin.files().ca.display().to_string();
    let with_ca = probe(&[&origin.url("/"), "--cacert", &ca]);
    assert_eq!(json(with_ca).await["ok"], true);
    assert_eq!(json(probe(&[&origin.url("/"), "--insecure"])).await["ok"], true);
}

#[tokio::test]
async fn self_signed_certificate_is_taken_where_named() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let own = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    // As openssl makes it.
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(&cert, params.self_signed(&own).unwrap().pem()).unwrap();
    std::fs::write(&key, own.serialize_pem()).unwrap();
    let origin = Origin::start().await;
    let tls = format!(
        "server {{ listen 127.0.0.1:{{{{port:tls}}}} ssl; ssl_certificate {}; ssl_certificate_key {}; {KEEP} \
         location / {{ proxy_pass http://backend; }} }}",
        cert.display(),
        key.display()
    );
    let nginx = front(&origin, "ntlm;", KEEP).conf(&tls).start().await;
    let (url, named) = (format!("https://{}/", nginx.socket_addr("tls")), cert.display().to_string());
    let report = json(probe(&[&url, "--cacert", &named])).await;
    assert_eq!(report["ok"], true, "{report:#}");
    fails(probe(&[&url]), "tls-certificate", 3).await;
    // It is good for its name only.
    let place = nginx.socket_addr("tls").to_string();
    let arguments = ["https://intranet.test/", "--connect", &place, "--cacert", &named];
    fails(probe(&arguments), "tls-certificate", 3).await;
}

// No NTLM there.

#[tokio::test]
async fn nobody_wants_a_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let report = fails(probe(&[&nginx.url("/public/")]), "no-login-wanted", 4).await;
    assert_eq!(statuses(&report), [200]);
    let detail = report["cause"]["detail"].as_str().unwrap();
    assert!(detail.contains("only --direct can tell"), "{detail}");
    let direct = origin.url("/public/");
    let report = fails(probe(&[&nginx.url("/public/"), "--direct", &direct]), "no-login-wanted", 4).await;
    assert!(report["cause"]["detail"].as_str().unwrap().ends_with("200 past the proxy"), "{report:#}");
    let moved = fails(probe(&[&nginx.url("/public/?status=302")]), "redirected", 4).await;
    assert!(moved["cause"]["detail"].as_str().unwrap().ends_with("it leads to /public/moved"));
}

#[tokio::test]
async fn another_scheme_is_offered_or_none() {
    let origin = Origin::start().await;
    let basic = format!(
        "auth_basic 'a, NTLM, b'; auth_basic_user_file /dev/null; \
         add_header WWW-Authenticate 'Digest realm=\"c\", qop=\"auth\"' always; {KEEP}"
    );
    let nginx = front(&origin, "ntlm;", &basic).allow_log("/dev/null").start().await;
    let report = fails(probe(&[&nginx.url("/")]), "no-ntlm-offered", 4).await;
    assert_eq!(report["offers"], serde_json::json!(["Basic", "Digest"]));
    let nginx = front(&origin, "ntlm;", &format!("proxy_hide_header WWW-Authenticate; {KEEP}")).start().await;
    let report = fails(probe(&[&nginx.url("/")]), "no-ntlm-offered", 4).await;
    assert_eq!(report["cause"]["detail"], "offered: nothing");
}

#[tokio::test]
async fn pooled_session_is_no_public_page() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "keepalive 4;", KEEP).without_module().start().await;
    Client::connect(&nginx).await.login("bob", "/").await;
    // All requests are held for a while, so that they need as many connections; the pool has one of bob's.
    let report = fails(probe(&[&nginx.url("/?delay=300")]), "session-shared", 7).await;
    assert_eq!(statuses(&report), [200]);
    let detail = report["cause"]["detail"].as_str().unwrap();
    assert!(detail.contains("further connections were asked for a login"), "{detail}");
}

// Broken on the way.

#[tokio::test]
async fn a_proxy_takes_the_credentials_away() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", &format!("proxy_set_header Authorization ''; {KEEP}")).start().await;
    let report = fails(probe(&[&nginx.url("/")]), "no-challenge", 5).await;
    assert_eq!(statuses(&report), [401, 401]);
}

#[tokio::test]
async fn the_challenge_comes_by_http10() {
    let origin = Origin::start().await;
    let report = fails(probe(&[&origin.url("/?http10")]), "http10", 5).await;
    assert_eq!(report["legs"][1]["version"], "HTTP/1.0");
    // The first answer ended its connection, too, which clients take.
    assert_eq!(report["notes"].as_array().unwrap().len(), 1);
    // A challenge is only answered on the connection that it came on.
    assert_eq!(statuses(&report), [401, 401]);
}

#[tokio::test]
async fn the_proxy_closes_after_each_answer() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", &format!("keepalive_timeout 0; {KEEP}")).start().await;
    let report = fails(probe(&[&nginx.url("/")]), "connection-close", 5).await;
    assert_eq!(report["legs"][1]["connection"], "close");
}

#[tokio::test]
async fn without_the_module_the_connection_changes_between_the_legs() {
    let origin = Origin::start().await;
    // NGINX's defaults before 1.29.7.
    let closing = "proxy_http_version 1.0; proxy_set_header Connection close;";
    let nginx = front(&origin, "", closing).without_module().start().await;
    let direct = origin.url("/");
    let report = fails(probe(&[&nginx.url("/"), "--direct", &direct]), "connection-changed", 5).await;
    assert_eq!(statuses(&report), [401, 401, 401]);
    assert_eq!(report["cause"]["detail"], "a negotiation without a password was forgotten between its legs");
    let sent =
        origin.ledger().into_iter().filter(|entry| entry.leg == ntlm_testkit::origin::Leg::Authenticate);
    assert_eq!(sent.count(), 1, "the password goes out once");
}

#[tokio::test]
async fn challenges_of_several_servers_on_one_connection_give_the_change_away() {
    let one = Origin::builder().computer("ONE").start().await;
    let other = Origin::builder().computer("OTHER").start().await;
    let nginx = Nginx::builder().in_front_of(&[&one, &other], "").without_module().start().await;
    let report = fails(probe(&[&nginx.url("/")]), "connection-changed", 5).await;
    assert!(report["cause"]["detail"].as_str().unwrap().ends_with(": ONE, OTHER"), "{report:#}");
    // The password went out once.
    let sent = |origin: &Origin| {
        origin.ledger().iter().filter(|entry| entry.leg == ntlm_testkit::origin::Leg::Authenticate).count()
    };
    assert_eq!(sent(&one) + sent(&other), 1);
}

// Refused by the server.

#[tokio::test]
async fn the_password_is_wrong() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let (url, direct) = (nginx.url("/"), origin.url("/"));
    fails(probe_as("alice", "guessed", &[&url, "--direct", &direct]), "wrong-credentials", 6).await;
    origin.clear_ledger();
    fails(probe_as("alice", "guessed", &[&url]), "wrong-credentials", 6).await;
    let sent =
        origin.ledger().into_iter().filter(|entry| entry.leg == ntlm_testkit::origin::Leg::Authenticate);
    assert_eq!(sent.count(), 1);
}

#[tokio::test]
async fn the_answer_of_iis_tells_a_wrong_password_from_a_changed_connection() {
    let origin = Origin::start().await;
    for (code, cause, exit) in
        [("0x8009030C", "wrong-credentials", 6), ("0x80090308", "connection-changed", 5)]
    {
        let page = format!(
            "proxy_intercept_errors off; sub_filter_types text/plain; sub_filter_once off; sub_filter 'request' '{code}'; {KEEP}"
        );
        if !Nginx::binary().has("--with-http_sub_module") {
            continue;
        }
        let nginx = front(&origin, "ntlm;", &page).start().await;
        fails(probe_as("alice", "guessed", &[&nginx.url("/")]), cause, exit).await;
    }
}

#[tokio::test]
async fn the_clock_is_off() {
    for (ahead, shown) in [(7200, "s ahead of here"), (-7200, "s behind here")] {
        let origin = Origin::builder().clock_ahead(ahead).start().await;
        let nginx = front(&origin, "ntlm;", KEEP).start().await;
        let report = fails(probe(&[&nginx.url("/")]), "clock-skew", 6).await;
        assert!(report["cause"]["detail"].as_str().unwrap().ends_with(shown), "{report:#}");
    }
}

#[tokio::test]
async fn extended_protection_holds_with_another_certificate_and_not_with_the_same() {
    for protection in [Protection::Allow, Protection::Require] {
        let (_origin, _nginx, url) = protected(protection, true).await;
        let report = json(probe(&[&url, "--insecure"])).await;
        assert_eq!(report["ok"], true, "{report:#}");
    }
    let (origin, _nginx, url) = protected(Protection::Allow, false).await;
    fails(probe(&[&url, "--insecure"]), "extended-protection", 6).await;
    // Refused once, accepted once.
    let sent =
        origin.ledger().into_iter().filter(|entry| entry.leg == ntlm_testkit::origin::Leg::Authenticate);
    assert_eq!(sent.map(|entry| entry.status).collect::<Vec<_>>(), [401, 200]);
    fails(probe(&[&url, "--insecure", "--one-attempt"]), "refused", 6).await;
}

#[tokio::test]
async fn required_extended_protection_is_told_from_past_the_proxy() {
    let (origin, _nginx, url) = protected(Protection::Require, false).await;
    let direct = origin.url("/");
    fails(probe(&[&url, "--insecure"]), "refused", 6).await;
    fails(probe(&[&url, "--insecure", "--direct", &direct]), "extended-protection", 6).await;
}
