//! Session tickets that come late: while a bound connection waits, and belong to no request.

use std::path::Path;
use std::process::{Command, Stdio};

use ntlm_testkit::{Client, Nginx, Origin, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};

use super::tls_upstream::seen_by;

/// TLS 1.3 in front of an origin, by OpenSSL (`tickets.c`): it sends tickets when told to.
struct Tickets {
    port: u16,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Tickets {
    async fn in_front_of(origin: &Origin) -> Self {
        let folder = tempfile::Builder::new().prefix("ntlm-tickets-").tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/lifetime/tickets.c");
        let program = folder.path().join("tickets");
        let mut cc = Command::new("cc");
        let compiled = cc.arg("-o").args([&program, &source]).args(["-lssl", "-lcrypto"]).status();
        assert!(compiled.is_ok_and(|status| status.success()), "cc does not compile {}", source.display());

        let files = origin.files();
        let mut process = tokio::process::Command::new(program)
            .args([&files.cert, &files.key])
            .arg(origin.socket_addr().port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("what was just compiled");
        let orders = process.stdin.take().expect("a pipe");
        let answers = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let mut tickets = Self { port: 0, orders, answers, _process: process, _folder: folder };
        tickets.port = tickets.number().await;
        tickets
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Sends a ticket over each connection there is; says how many those are.
    async fn send(&mut self) -> u16 {
        self.orders.write_all(b"\n").await.expect("it takes orders");
        self.number().await
    }

    async fn number(&mut self) -> u16 {
        let line = within(self.answers.next_line(), || "no word from tickets.c".to_owned()).await;
        line.ok().flatten().and_then(|line| line.parse().ok()).expect("a number")
    }
}

#[tokio::test]
async fn late_session_tickets_end_no_waiting_connection() {
    for reuse in ["on", "off"] {
        let origin = Origin::start().await;
        let mut tickets = Tickets::in_front_of(&origin).await;
        let nginx = Nginx::builder()
            .set("tickets", &tickets.address())
            .set("reuse", reuse)
            .conf(
                "upstream backend { server {{tickets}}; ntlm; } \
                 server { listen 127.0.0.1:{{port}}; location / { proxy_pass https://backend; \
                 proxy_ssl_protocols TLSv1.3; proxy_ssl_session_reuse {{reuse}}; } }",
            )
            .start()
            .await;
        let mut alice = Client::connect(&nginx).await;
        let challenge = alice.leg1("alice", "/").await;
        let bound = challenge.connection();
        assert_ne!(tickets.send().await, 0);
        seen_by(&nginx).await;
        assert_eq!(alice.leg3(&challenge, "/").await.identity(), "alice");
        for _ in 0..3 {
            for _ in 0..3 {
                assert_ne!(tickets.send().await, 0);
                seen_by(&nginx).await;
            }
            let response = alice.get("/").await;
            assert_eq!((response.identity(), response.connection()), ("alice", bound), "{reuse}");
        }
        let again = alice.login_in_one_leg("alice", "/").await;
        assert_eq!((again.identity(), again.connection()), ("alice", bound), "{reuse}");
        // It still sees what does end it.
        assert_ne!(tickets.send().await, 0);
        origin.close_connection(bound).await;
        alice.closed().await;
        nginx.stop().await;
    }
}
