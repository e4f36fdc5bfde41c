//! Logins that fail, each for one of the known causes.

use std::sync::Arc;

use ntlm_testkit::origin::Protection;
use ntlm_testkit::ports::Reserved;
use ntlm_testkit::{Nginx, Origin};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use crate::{KEEP, fails, front, json, probe, probe_as, statuses};

// No connection.

#[tokio::test]
async fn nobody_listens() {
    let reserved = Reserved::v4().unwrap();
    let url = format!("http://{}/", reserved.address());
    let report = fails(probe(&[&url]), "connect-refused", 3).await;
    assert!(statuses(&report).is_empty());
}

#[tokio::test]
async fn the_name_has_no_address() {
    fails(probe(&["http://intranet/", "--connect", "no-port"]), "name-unknown", 3).await;
}

#[tokio::test]
async fn no_answer_comes() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    fails(probe(&[&nginx.url("/?gate=shut"), "--timeout", "300ms"]), "timeout", 3).await;
}

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
async fn the_port_speaks_no_tls() {
    let origin = Origin::start().await;
    fails(probe(&[&format!("https://{}/", origin.address())]), "tls-failed", 3).await;
}

// No NTLM there.

#[tokio::test]
async fn nobody_wants_a_login() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let report = fails(probe(&[&nginx.url("/public/")]), "no-login-wanted", 4).await;
    assert_eq!(statuses(&report), [200]);
    let moved = fails(probe(&[&nginx.url("/public/?status=302")]), "no-login-wanted", 4).await;
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
async fn negotiate_takes_no_ntlm() {
    let origin = Origin::start().await;
    // The origin wants rounds of another mechanism first.
    let report = fails(probe(&[&origin.url("/?legs=5"), "--negotiate"]), "kerberos-only", 4).await;
    assert_eq!(statuses(&report), [401, 401]);
}

/// A TLS server that agrees on nothing but HTTP/2, and resets each stream with HTTP_1_1_REQUIRED.
async fn http2_only(origin: &Origin) -> String {
    let files = origin.files();
    let chain = vec![CertificateDer::from_pem_file(&files.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let Ok(tls) = acceptor.accept(tcp).await else { continue };
            let Ok(mut connection) = h2::server::handshake(tls).await else { continue };
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(h2::Reason::HTTP_1_1_REQUIRED);
            }
        }
    });
    url
}

#[tokio::test]
async fn http2_is_all_there_is_or_not_for_logins() {
    let origin = Origin::builder().tls().start().await;
    let ca = origin.files().ca.display().to_string();
    let url = http2_only(&origin).await;
    fails(probe(&[&url, "--cacert", &ca]), "http2-only", 4).await;
    fails(probe(&[&url, "--cacert", &ca, "--http2"]), "http2-refused", 4).await;
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
async fn the_connection_is_closed_without_a_word() {
    let origin = Origin::start().await;
    let report = fails(probe(&[&origin.url("/?close=silent")]), "connection-closed", 5).await;
    assert_eq!(statuses(&report), [401, 401]);
}

#[tokio::test]
async fn without_the_module_the_connection_changes_between_the_legs() {
    let origin = Origin::start().await;
    // What NGINX does by default before 1.29.7.
    let closing = "proxy_http_version 1.0; proxy_set_header Connection close;";
    let nginx = front(&origin, "", closing).without_module().start().await;
    let direct = origin.url("/");
    let report = fails(probe(&[&nginx.url("/"), "--direct", &direct]), "connection-changed", 5).await;
    assert_eq!(statuses(&report), [401, 401, 401]);
    assert_eq!(report["cause"]["detail"], "the same login works past the proxy");
    // From in front of the proxy alone, a wrong password would look the same; that is what it says then.
    let report = fails(probe(&[&nginx.url("/")]), "refused", 6).await;
    assert!(report["cause"]["remedy"].as_str().unwrap().contains("--direct"));
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
    fails(probe_as("alice", "guessed", &[&url]), "refused", 6).await;
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

/// nginx with TLS of its own in front of an origin with TLS and Extended Protection: with the origin's certificate,
/// or with another.
async fn protected(protection: Protection, same_certificate: bool) -> (Origin, Nginx, String) {
    let origin = Origin::builder().tls().extended_protection(protection).start().await;
    let (cert, key) =
        if same_certificate { ("{{cert}}", "{{key}}") } else { ("{{client_cert}}", "{{client_key}}") };
    let tls = format!(
        "server {{ listen 127.0.0.1:{{{{port:tls}}}} ssl; ssl_certificate {cert}; ssl_certificate_key {key}; {KEEP} \
         location / {{ proxy_pass https://backend; }} }}"
    );
    let nginx = front(&origin, "ntlm;", KEEP).conf(&tls).start().await;
    let url = format!("https://{}/", nginx.socket_addr("tls"));
    (origin, nginx, url)
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

// Anything else.

#[tokio::test]
async fn the_proxy_reaches_nobody() {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    origin.stop().await;
    let report = fails(probe(&[&nginx.url("/")]), "unexpected", 8).await;
    assert_eq!(statuses(&report), [502]);
}
