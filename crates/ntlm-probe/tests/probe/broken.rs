//! Broken servers and proxies, each with the cause, the exit status and the remedy that the probe has to name: the table of
//! `docs/probe.md`, row by row.

pub(crate) mod servers;

use std::path::Path;

use ntlm_testkit::origin::Protection;
use ntlm_testkit::ports::Reserved;
use ntlm_testkit::{Client, Nginx, Origin};
use tokio::process::Command;

use self::servers::{
    TOO_LONG, answers, closed_without_answer, http2_only, in_front, offers_only_ntlm, pages, protected, table,
};
use crate::{KEEP, front, json, probe, probe_as};

/// The rows that were seen.
struct Rows(Vec<String>);

impl Rows {
    /// Probes, and notes what it named. `remedy` is a part of the remedy.
    async fn named(&mut self, broken: &str, command: Command, cause: &str, exit: i64, remedy: &str) {
        let report = json(command).await;
        let named = (report["cause"]["id"].as_str(), report["exit"].as_i64());
        assert_eq!(named, (Some(cause), Some(exit)), "{broken}: {report:#}");
        let whole = report["cause"]["remedy"].as_str().unwrap();
        assert!(whole.contains(remedy), "{broken}: no {remedy} in {whole}");
        self.0.push(format!("| {broken} | `{cause}` | {exit} | {remedy} |"));
    }

    /// The manual has these rows, in this order, below `title`.
    fn are_in_the_manual_below(self, title: &str) {
        let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/probe.md");
        let manual = std::fs::read_to_string(manual).unwrap();
        assert_eq!(
            table(&manual, title),
            self.0,
            "the table below \"{title}\" in docs/probe.md, and what was seen"
        );
    }
}

#[tokio::test]
async fn no_connection() {
    let mut rows = Rows(Vec::new());
    let reserved = Reserved::v4().unwrap();
    let url = format!("http://{}/", reserved.address());
    rows.named("nobody listens on the port", probe(&[&url]), "connect-refused", 3, "listens on this address")
        .await;
    let command = probe(&["http://intranet/", "--connect", TOO_LONG]);
    rows.named("the name has no address", command, "name-unknown", 3, "--connect HOST:PORT").await;
    let origin = Origin::builder().tls().start().await;
    let ca = origin.files().ca.display().to_string();
    rows.named(
        "a certificate of an authority that nobody knows",
        probe(&[&origin.url("/")]),
        "tls-certificate",
        3,
        "--cacert FILE",
    )
    .await;
    let address = origin.address();
    let elsewhere = ["https://intranet.test/", "--connect", &address, "--cacert", &ca];
    rows.named(
        "a certificate for another name",
        probe(&elsewhere),
        "tls-certificate",
        3,
        "the name that is in the certificate",
    )
    .await;
    let nginx = pages(&origin).await;
    let https = format!("https://{}/", nginx.socket_addr(""));
    rows.named("https:// to a port without TLS", probe(&[&https]), "tls-failed", 3, "speaks TLS").await;
    let http = format!("http://{}/", nginx.socket_addr("tls"));
    rows.named("http:// to a port with TLS", probe(&[&http]), "tls-wanted", 3, "write https://").await;
    rows.named("a server that closes unasked", probe(&[&nginx.url("/444")]), "no-answer", 3, "status 444")
        .await;
    let url = closed_without_answer().await;
    rows.named("a port of something that is no web server", probe(&[&url]), "no-answer", 3, "error logs")
        .await;
    let silent = nginx.url("/silent?gate=shut");
    let command = probe(&[&silent, "--timeout", "300ms", "--cacert", &ca]);
    rows.named("a server that answers nothing", command, "timeout", 3, "--timeout").await;
    rows.are_in_the_manual_below("### No connection");
}

#[tokio::test]
async fn no_login_there() {
    let mut rows = Rows(Vec::new());
    let origin = Origin::start().await;
    let nginx = pages(&origin).await;
    let page = |path: &str| probe(&[&nginx.url(path)]);
    rows.named("anonymous authentication is on", page("/open/public/"), "no-login-wanted", 4, "--direct URL")
        .await;
    let form = "/ews/exchange.asmx";
    rows.named("OWA's form, by a redirection", page("/owa"), "forms-login", 4, form).await;
    rows.named("a form in the page itself", page("/form"), "forms-login", 4, "Windows authentication").await;
    rows.named("another address", page("/moved"), "redirected", 4, "the address that it leads to").await;
    rows.named("a folder that nobody may list", page("/403"), "forbidden", 4, "a page in place of a folder")
        .await;
    rows.named(
        "a wrong `Host`: another site answers",
        page("/404"),
        "not-found",
        4,
        "proxy_set_header Host $host",
    )
    .await;
    rows.named(
        "a wrong `Host`: no site has this name",
        page("/host"),
        "host-unknown",
        4,
        "proxy_set_header Host $host",
    )
    .await;
    rows.named("Basic and Digest only", page("/basic"), "no-ntlm-offered", 4, "providers Negotiate and NTLM")
        .await;
    rows.named("`auth_basic` in the proxy", page("/basic"), "no-ntlm-offered", 4, "NGINX: auth_basic").await;
    let command = page("/hidden");
    rows.named(
        "`proxy_hide_header WWW-Authenticate`",
        command,
        "no-ntlm-offered",
        4,
        "WWW-Authenticate out of answers",
    )
    .await;
    let command = probe(&[&origin.url("/?legs=5"), "--negotiate"]);
    rows.named("Negotiate with Kerberos only", command, "kerberos-only", 4, "the provider NTLM").await;
    let tls = Origin::builder().tls().start().await;
    let ca = tls.files().ca.display().to_string();
    let url = http2_only(&tls).await;
    let command = probe(&[&url, "--cacert", &ca]);
    rows.named("HTTP/2 and nothing else", command, "http2-only", 4, "offer HTTP/1.1 too").await;
    let command = probe(&[&url, "--cacert", &ca, "--http2"]);
    rows.named(
        "`--http2`: a reset with HTTP_1_1_REQUIRED, as of IIS",
        command,
        "http2-refused",
        4,
        "by themselves",
    )
    .await;
    rows.named(
        "`--http2` to a server without",
        probe(&[&origin.url("/"), "--http2"]),
        "no-http2",
        4,
        "leave --http2 out",
    )
    .await;
    let command = probe(&[&tls.url("/"), "--cacert", &ca, "--http2"]);
    rows.named("the same over TLS", command, "no-http2", 4, "leave --http2 out").await;
    rows.are_in_the_manual_below("### No login there");
}

#[tokio::test]
async fn parted_on_the_way() {
    let mut rows = Rows(Vec::new());
    let origin = Origin::start().await;
    let nginx = pages(&origin).await;
    let page = |path: &str| probe(&[&nginx.url(path)]);
    rows.named(
        "`proxy_set_header Authorization \"\"`",
        page("/cleared"),
        "no-challenge",
        5,
        "proxy_set_header Authorization",
    )
    .await;
    rows.named(
        "HTTP/1.0 to the client",
        probe(&[&origin.url("/?http10")]),
        "http10",
        5,
        "keep connections to clients",
    )
    .await;
    rows.named("`keepalive_timeout 0`", page("/unkept"), "connection-close", 5, "keepalive_timeout above 0")
        .await;
    let command = probe(&[&origin.url("/?close=silent")]);
    rows.named(
        "a server that closes after its challenge",
        command,
        "connection-closed",
        5,
        "does not close after its challenge",
    )
    .await;
    let command = page("/closing");
    rows.named(
        "`ntlm` and `proxy_set_header Connection \"close, TE\"`",
        command,
        "connection-close",
        5,
        "proxy_set_header Connection",
    )
    .await;
    for status in [200, 403] {
        let lines = format!("proxy_intercept_errors on; error_page 401 ={status} /sorry;");
        let intercepting = in_front(&origin, "ntlm;", &lines).await;
        let what = format!("`ntlm` and `error_page 401 ={status}`, intercepted");
        let command = probe(&[&intercepting.url("/"), "--direct", &origin.url("/")]);
        rows.named(&what, command, "intercepted", 4, "error_page").await;
    }
    let intercepting = in_front(&origin, "ntlm;", "proxy_intercept_errors on; error_page 401 /sorry;").await;
    let command = probe(&[&intercepting.url("/")]);
    rows.named(
        "`ntlm` and `error_page 401`, intercepted",
        command,
        "connection-close",
        5,
        "proxy_intercept_errors",
    )
    .await;
    // NGINX's defaults before 1.29.7.
    let closing = "proxy_http_version 1.0; proxy_set_header Connection close;";
    let plain = front(&origin, "", closing).without_module().start().await;
    rows.named(
        "no `ntlm`, and a connection for each request",
        probe(&[&plain.url("/")]),
        "connection-changed",
        5,
        "\"ntlm;\"",
    )
    .await;
    let intercepting =
        front(&origin, "", &format!("{KEEP} proxy_intercept_errors on; error_page 401 /sorry;"));
    let intercepting = intercepting.without_module().start().await;
    let command = probe(&[&intercepting.url("/")]);
    rows.named(
        "no `ntlm`, and `error_page 401`, intercepted",
        command,
        "connection-changed",
        5,
        "proxy_intercept_errors",
    )
    .await;
    let one = Origin::builder().computer("ONE").start().await;
    let other = Origin::builder().computer("OTHER").start().await;
    let two = Nginx::builder().in_front_of(&[&one, &other], "").without_module().start().await;
    rows.named(
        "no `ntlm`, and several servers",
        probe(&[&two.url("/")]),
        "connection-changed",
        5,
        "in each of them",
    )
    .await;
    rows.named(
        "a server that answers the last leg with 400",
        page("/badly"),
        "connection-changed",
        5,
        "\"ntlm;\"",
    )
    .await;
    let command = page("/again");
    rows.named(
        "a server that answers the last leg with a challenge",
        command,
        "connection-changed",
        5,
        "\"ntlm;\"",
    )
    .await;
    rows.are_in_the_manual_below("### Parted on the way");
}

#[tokio::test]
async fn refused_by_the_server() {
    let mut rows = Rows(Vec::new());
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let (url, direct) = (nginx.url("/"), origin.url("/"));
    let wrong = |arguments: &[&str]| probe_as("alice", "guessed", arguments);
    rows.named("a wrong password", wrong(&[&url]), "wrong-credentials", 6, "the password").await;
    let command = wrong(&[&url, "--direct", &direct]);
    rows.named("a wrong password, with `--direct`", command, "wrong-credentials", 6, "is locked").await;
    let only = offers_only_ntlm(&origin).await;
    rows.named(
        "a wrong password where only NTLM is offered",
        wrong(&[&only.url("/")]),
        "refused",
        6,
        "--direct URL",
    )
    .await;
    let ahead = Origin::builder().clock_ahead(7200).start().await;
    rows.named(
        "a clock that is off by hours",
        probe(&[&ahead.url("/")]),
        "clock-skew",
        6,
        "the same time source",
    )
    .await;
    let (_origin, _nginx, url) = protected(Protection::Allow, false).await;
    let command = probe(&[&url, "--insecure"]);
    rows.named(
        "Extended Protection \"Accept\", another certificate",
        command,
        "extended-protection",
        6,
        "the same certificate and key",
    )
    .await;
    let (origin, _nginx, url) = protected(Protection::Require, false).await;
    let command = probe(&[&url, "--insecure"]);
    rows.named("Extended Protection \"Required\"", command, "refused", 6, "Extended Protection").await;
    let direct = origin.url("/");
    let command = probe(&[&url, "--insecure", "--direct", &direct]);
    rows.named(
        "the same, with `--direct`",
        command,
        "extended-protection",
        6,
        "the same certificate and key",
    )
    .await;
    rows.are_in_the_manual_below("### Refused by the server");
}

#[tokio::test]
async fn sessions_that_do_not_hold() {
    let mut rows = Rows(Vec::new());
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", &format!("client_max_body_size 512; {KEEP}")).start().await;
    let command = probe(&[&nginx.url("/?persist=no")]);
    rows.named("`authPersistSingleRequest` in IIS", command, "session-lost", 7, "authPersistSingleRequest")
        .await;
    let pool = front(&origin, "keepalive 4;", KEEP).without_module().start().await;
    rows.named(
        "`keepalive` in place of `ntlm`",
        probe(&[&pool.url("/")]),
        "session-shared",
        7,
        "take the proxy out of service",
    )
    .await;
    let leaking = front(&origin, "keepalive 4;", KEEP).without_module().start().await;
    Client::connect(&leaking).await.login("bob", "/").await;
    let command = probe(&[&leaking.url("/"), "--direct", &origin.url("/")]);
    rows.named(
        "the same, after somebody's login, with `--direct`",
        command,
        "session-shared",
        7,
        "take the proxy out of service",
    )
    .await;
    let short = front(&origin, "ntlm; ntlm_timeout 1s;", KEEP).start().await;
    let command = probe(&[&short.url("/"), "--idle", "1h"]);
    rows.named("a short `ntlm_timeout`, with `--idle`", command, "session-lost-idle", 7, "ntlm_timeout")
        .await;
    let command = probe(&[&nginx.url("/"), "--post"]);
    rows.named(
        "a small `client_max_body_size`, with `--post`",
        command,
        "post-failed",
        7,
        "client_max_body_size",
    )
    .await;
    let small = front(&origin, "ntlm 1;", KEEP).start().await;
    let command = probe(&[&small.url("/"), "--parallel", "8"]);
    rows.named("a small `ntlm N`, with `--parallel`", command, "parallel-failed", 7, "raise \"ntlm N\"")
        .await;
    rows.are_in_the_manual_below("### Sessions that do not hold");
}

#[tokio::test]
async fn anything_else() {
    let mut rows = Rows(Vec::new());
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm;", KEEP).start().await;
    let command = probe(&[&nginx.url("/?status=500")]);
    rows.named("a server that fails once somebody is logged in", command, "unexpected", 8, "error logs")
        .await;
    origin.stop().await;
    rows.named(
        "a proxy that reaches no server",
        probe(&[&nginx.url("/")]),
        "bad-gateway",
        8,
        "error log of the proxy",
    )
    .await;
    let url = answers("SSH-2.0-OpenSSH_9.2\r\n").await;
    rows.named("a port that speaks SSH", probe(&[&url]), "unexpected", 8, "error logs").await;
    rows.are_in_the_manual_below("### Anything else");
}
