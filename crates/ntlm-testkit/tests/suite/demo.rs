//! The demonstration as its user sees it: what it prints, its exit status, how it ends.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ntlm_testkit::ports::Reserved;
use ntlm_testkit::{Client, Origin, within};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// The nginx under test.
fn nginx() -> PathBuf {
    std::env::var_os("NTLM_NGINX").expect("run this through \"cargo xtask test\"").into()
}

/// The module under test; nothing if it is built in.
fn module() -> Option<PathBuf> {
    std::env::var_os("NTLM_MODULE").filter(|module| !module.is_empty()).map(PathBuf::from)
}

fn demo(nginx: &Path, module: Option<&Path>, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntlm-demo"));
    command.arg("--nginx").arg(nginx).args(arguments).stdin(Stdio::null());
    if let Some(module) = module {
        command.arg("--module").arg(module);
    }
    command
}

/// Runs it with `--once` on what is under test.
async fn once(arguments: &[&str]) -> Shown {
    finish(demo(&nginx(), module().as_deref(), &[arguments, &["--once"]].concat())).await
}

async fn finish(mut command: Command) -> Shown {
    let output = within(command.output(), || "the demo does not end".to_owned()).await.expect("the demo");
    let Output { status, stdout, stderr } = output;
    Shown {
        exit: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

/// The outcome of a run.
#[derive(Debug)]
struct Shown {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A line of a table: who, status, connection, whom the server took them for.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str);

impl Shown {
    fn last_line(&self) -> &str {
        self.stdout.lines().last().unwrap_or_default()
    }

    /// The table below the line that starts with `heading`.
    fn table(&self, heading: &str) -> Vec<Row<'_>> {
        let below = self.stdout.lines().skip_while(|line| !line.starts_with(heading));
        let table = below.skip_while(|line| !line.starts_with("  who ")).skip(1);
        table.map_while(row).collect()
    }
}

fn row(line: &str) -> Option<Row<'_>> {
    let who = line.split_whitespace().next().filter(|who| ["alice", "bob"].contains(who))?;
    let mut words = line.get(45..)?.split_whitespace();
    Some((who, words.next()?, words.next()?, words.next()?))
}

/// The answers that eight requests must get.
const RIGHT: [&str; 8] = ["401", "401", "200", "200", "200", "401", "200", "200"];

fn statuses<'a>(table: &[Row<'a>]) -> Vec<&'a str> {
    table.iter().map(|row| row.1).collect()
}

#[tokio::test]
async fn login_fails_without_the_module_and_succeeds_with() {
    let shown = once(&[]).await;
    assert_eq!(shown.exit, Some(0), "{shown:#?}");
    assert!(shown.last_line().starts_with("OK: 401 401 200 200 200"), "{shown:#?}");

    nothing_that_is_gone(&shown, &[]);
    let without = shown.table("nginx without the module");
    assert_eq!(statuses(&without), ["401"; 8], "{shown:#?}");

    let with = shown.table("nginx with the module");
    assert_eq!(statuses(&with), RIGHT, "{shown:#?}");
    let of_alice = with.iter().filter(|row| row.0 == "alice").skip(1);
    let connections: Vec<&str> = of_alice.map(|row| row.2).collect();
    assert_eq!(connections, [connections[0]; 5], "{shown:#?}");
    for bobs in with.iter().filter(|row| row.0 == "bob") {
        assert_ne!(bobs.2, connections[0], "{shown:#?}");
    }
}

/// With `--once`, nginx and its files are gone before anybody uses their paths. `others` are addresses that stay.
fn nothing_that_is_gone(shown: &Shown, others: &[&str]) {
    for text in ["  address ", "curl --ntlm", "  browser ", "nginx.conf", "error.log", "ntlm-probe"] {
        assert!(!shown.stdout.contains(text), "{text:?} in {shown:#?}");
    }
    for url in shown.stdout.split("http://127.0.0.1").skip(1) {
        let port = url.split(|c: char| c != ':' && !c.is_ascii_digit()).next().unwrap_or_default();
        assert!(others.contains(&&*format!("127.0.0.1{port}")), "127.0.0.1{port} is gone: {shown:#?}");
    }
}

#[tokio::test]
async fn pool_without_the_module_leaks_an_identity() {
    let shown = once(&[]).await;
    let pool = shown.table("nginx without the module, connections pooled");
    let bob = pool.iter().find(|row| row.0 == "bob").unwrap();
    assert_eq!((bob.1, bob.3), ("200", "alice"), "{shown:#?}");
}

#[tokio::test]
async fn output_into_a_pipe_has_no_colours() {
    let shown = once(&[]).await;
    assert!(!shown.stdout.contains('\x1b') && !shown.stderr.contains('\x1b'), "{shown:?}");
}

#[tokio::test]
async fn a_module_that_binds_nothing_fails_the_demo() {
    let folder = tempfile::tempdir().unwrap();
    let deaf = folder.path().join("nginx");
    // The configuration is the argument after -c; an nginx that never sees "ntlm" acts like a module that does nothing.
    let script = format!(
        "#!/bin/sh\nfor word; do [ \"$before\" = -c ] && sed -i '/^ *ntlm;/d' \"$word\"; before=$word; done\nexec '{}' \"$@\"\n",
        nginx().display()
    );
    std::fs::write(&deaf, script).unwrap();
    std::fs::set_permissions(&deaf, std::fs::Permissions::from_mode(0o755)).unwrap();
    let shown = finish(demo(&deaf, module().as_deref(), &["--once"])).await;
    assert_eq!(shown.exit, Some(1), "{shown:#?}");
    assert!(shown.last_line().starts_with("FAILED: "), "{shown:#?}");
    // Alice is turned away, or Bob is not.
    assert_ne!(statuses(&shown.table("nginx with the module")), RIGHT, "{shown:#?}");
}

#[tokio::test]
async fn missing_module_is_reported() {
    if module().is_none() {
        return; // Built in: nothing is missing.
    }
    let shown = finish(demo(&nginx(), None, &["--once"])).await;
    assert_eq!(shown.exit, Some(1), "{shown:#?}");
    assert!(shown.last_line().starts_with("FAILED: "), "{shown:#?}");
    assert!(shown.stdout.contains("unknown directive \"ntlm\""), "{shown:#?}");
    assert!(shown.stdout.contains("name its file with --module"), "{shown:#?}");
}

#[tokio::test]
async fn logins_offered_by_given_server_are_listed() {
    let origin = Origin::start().await;
    let shown = once(&["--upstream", &origin.url("/owa?x=1")]).await;
    assert_eq!(shown.exit, Some(0), "{shown:#?}");
    for text in
        ["GET /owa?x=1 was answered 401", "\n    Negotiate ", "\n    NTLM ", "belongs to a connection"]
    {
        assert!(shown.stdout.contains(text), "no {text:?} in {shown:#?}");
    }
    nothing_that_is_gone(&shown, &[&origin.address()]);
    assert!(shown.last_line().starts_with("OK: "), "{shown:#?}");
    assert_eq!(origin.ledger()[0].target, "/owa?x=1");
}

/// An `ntlm-probe` that says how it was called, and ends as it was told.
fn stand_in(folder: &Path, exit: i32) -> PathBuf {
    let probe = folder.join(format!("probe-{exit}"));
    std::fs::write(&probe, format!("#!/bin/sh\nprintf 'called: %s\\n' \"$*\"\nexit {exit}\n")).unwrap();
    std::fs::set_permissions(&probe, std::fs::Permissions::from_mode(0o755)).unwrap();
    probe
}

#[tokio::test]
async fn probe_logs_in_at_given_server() {
    let (origin, folder) = (Origin::start().await, tempfile::tempdir().unwrap());
    let upstream = ["--upstream", &origin.url("/owa?x=1"), "--user", "EXAMPLE\\alice"];
    for (exit, last) in
        [(0, "OK: EXAMPLE\\alice logged in at"), (6, "FAILED: EXAMPLE\\alice was not logged in at")]
    {
        let probe = stand_in(folder.path(), exit);
        let shown = once(&[&upstream[..], &["--probe", probe.to_str().unwrap()]].concat()).await;
        assert_eq!(shown.exit, Some(i32::from(exit != 0)), "{shown:#?}");
        assert!(shown.last_line().starts_with(last), "{shown:#?}");
        let called = shown.stdout.lines().find_map(|line| line.strip_prefix("called: http://127.0.0.1:"));
        assert!(
            called.is_some_and(|called| called.ends_with("/owa?x=1 --user EXAMPLE\\alice")),
            "{shown:#?}"
        );
    }
    // `--user` is refused without a server of the user's own, and without the probe.
    let probe = stand_in(folder.path(), 0);
    for arguments in [&upstream[..], &["--user", "alice", "--probe", probe.to_str().unwrap()]] {
        assert_eq!(once(arguments).await.exit, Some(2), "{arguments:?}");
    }
}

#[tokio::test]
async fn tls_server_is_asked_for_by_name() {
    let origin = Origin::builder().tls().start().await;
    let url = format!("https://localhost:{}/", origin.socket_addr().port());
    let shown = once(&["--upstream", &url]).await;
    assert_eq!(shown.exit, Some(0), "{shown:#?}");
    assert_eq!(origin.ledger()[0].sni.as_deref(), Some("localhost"));
}

#[tokio::test]
async fn server_without_an_answer_fails_the_demo() {
    let origin = Origin::start().await;
    let silent = once(&["--upstream", &origin.url("/public/?close=read")]).await;
    assert_eq!(silent.exit, Some(1), "{silent:#?}");
    assert!(silent.last_line().contains("did not answer: upstream prematurely closed"), "{silent:#?}");

    origin.stop().await;
    let gone = once(&["--upstream", &origin.url("/")]).await;
    assert_eq!(gone.exit, Some(1), "{gone:#?}");
    assert!(gone.last_line().contains("Connection refused"), "{gone:#?}");
}

#[tokio::test]
async fn an_answer_of_5xx_is_an_answer() {
    let origin = Origin::start().await;
    let shown = once(&["--upstream", &origin.url("/public/?status=503")]).await;
    assert_eq!(shown.exit, Some(0), "{shown:#?}");
    assert!(shown.last_line().ends_with("answered 503 through nginx"), "{shown:#?}");
}

#[tokio::test]
async fn malformed_url_is_refused_with_a_reason() {
    for (url, reason) in [
        ("mail.example.com", "https://mail.example.com"),
        ("ftp://mail.example.com", "neither http nor https"),
        ("https://alice:secret@mail.example.com/", "leave name and password out"),
        ("http://a;b/", "no name of a host"),
        ("http://a:99999/", "99999 is no port"),
        ("http://a/b c", "such as %20"),
    ] {
        let shown = once(&["--upstream", url]).await;
        assert_eq!(shown.exit, Some(2), "{shown:#?}");
        assert!(shown.stderr.contains(reason), "{shown:#?}");
    }
}

/// A demo that stays up; ended with the test, its nginx with it.
struct Up {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Up {
    fn start(arguments: &[&str]) -> Self {
        let mut command = demo(&nginx(), module().as_deref(), arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the demo");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { child, lines }
    }

    /// Reads on to the first line that contains `text`.
    async fn line(&mut self, text: &str) -> String {
        let read = async {
            loop {
                let line = self.lines.next_line().await.expect("text");
                let line = line.unwrap_or_else(|| panic!("the demo ended without a line with {text:?}"));
                if line.contains(text) {
                    return line;
                }
            }
        };
        within(read, || format!("no line with {text:?}")).await
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(pid.try_into().expect("a process")), signal).expect("the demo is running");
        }
    }

    async fn exit(&mut self) -> Option<i32> {
        let status = within(self.child.wait(), || "the demo does not end".to_owned()).await;
        status.expect("the demo").code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
    }
}

/// The socket address in `http://address/…` of a line.
fn address(line: &str) -> SocketAddr {
    let url = line.split_once("http://").expect("a URL in the line").1;
    url.split('/').next().and_then(|address| address.parse().ok()).expect("an address in the URL")
}

#[tokio::test]
async fn demo_reports_each_request_until_interrupted() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut up = Up::start(&[]);
        let nginx = address(&up.line("  browser ").await);
        up.line("Up until Ctrl-C").await;
        let mut alice = Client::connect(nginx).await;
        alice.login("alice", "/inbox").await;
        assert!(up.line("/inbox").await.contains("nobody"));
        let served = up.line("/inbox").await;
        assert!(served.contains("200") && served.contains("alice"), "{served}");
        up.signal(signal);
        assert_eq!(up.exit().await, Some(0), "{signal}");
        assert!(Client::builder().try_connect(nginx).await.is_err(), "nginx is still there after {signal}");
    }
}

#[tokio::test]
async fn requests_to_given_server_are_reported() {
    let origin = Origin::start().await;
    let mut up = Up::start(&["--upstream", &origin.url("/")]);
    let nginx = address(&up.line("  browser ").await);
    up.line("curl --ntlm").await;
    up.line("Up until Ctrl-C").await;
    let mut alice = Client::connect(nginx).await;
    alice.login("alice", "/inbox").await;
    assert!(up.line("/inbox").await.contains("401"));
    assert!(up.line("/inbox").await.contains("200"));
    up.signal(Signal::SIGINT);
    assert_eq!(up.exit().await, Some(0));
}

#[tokio::test]
async fn demo_listens_where_told_with_status_and_probe() {
    let reserved = Reserved::v4().unwrap();
    // The port is reserved on another address of this machine.
    let listen = SocketAddr::from(([127, 0, 0, 2], reserved.address().port()));
    let origin = Origin::start().await;
    let mut own = Up::start(&["--listen", &listen.to_string()]);
    assert_eq!(address(&own.line("  browser ").await), listen);
    let status = own.line("  status ").await;
    assert_eq!((address(&status), status.ends_with("/ntlm-status")), (listen, true), "{status}");
    assert!(own.line("  probe ").await.contains(&format!("-- http://{listen}/mail --user alice")));
    own.line("Up until Ctrl-C").await;
    let mut alice = Client::connect(listen).await;
    assert_eq!(alice.login("alice", "/inbox").await[1].status, 200);
    assert_eq!(alice.get("/ntlm-status").await.status, 200);
    own.signal(Signal::SIGINT);
    assert_eq!(own.exit().await, Some(0));

    let mut upstream = Up::start(&["--upstream", &origin.url("/"), "--listen", &listen.to_string()]);
    assert_eq!(address(&upstream.line("  browser ").await), listen);
    assert_eq!(address(&upstream.line("  status ").await), listen);
    assert!(upstream.line("  probe ").await.contains(&format!("-- 'http://{listen}/' --user")));
    upstream.line("Up until Ctrl-C").await;
    let mut alice = Client::connect(listen).await;
    alice.login("alice", "/").await;
    assert!(alice.get("/ntlm-status").await.text().contains("<html"));
    upstream.signal(Signal::SIGINT);
    assert_eq!(upstream.exit().await, Some(0));

    let taken = origin.address();
    let shown = once(&["--listen", &taken]).await;
    assert_eq!(shown.exit, Some(1), "{shown:#?}");
    assert!(shown.last_line().starts_with(&format!("FAILED: cannot listen at {taken}: ")), "{shown:#?}");

    let shown = once(&["--listen", "8080"]).await;
    assert_eq!((shown.exit, shown.stderr.contains("--listen <ADDRESS:PORT>")), (Some(2), true), "{shown:#?}");
}
