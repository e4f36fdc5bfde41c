//! Debian's Chromium without a window: a page as a person gets it, over the DevTools protocol through a pipe.
//!
//! It must never be given a URL that is not on loopback, nor leave a process behind: Chromium ends with the pipe.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::{patience, within};

/// Chromium takes its orders at descriptor 3 and answers at 4. As root it runs only without its sandbox; the other
/// options keep it from looking for its maker's servers.
const START: &str = "exec chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage \
    --no-proxy-server --remote-debugging-pipe --user-data-dir=\"$1\" 3<&0 4>&1 0</dev/null 1>/dev/null 2>\"$1/stderr\"";

/// A browser with one page.
#[derive(Debug)]
pub struct Browser {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    last: u64,
    session: Option<String>,
    complaints: Vec<String>,
    _child: Child,
    profile: tempfile::TempDir,
}

impl Browser {
    /// Starts it, and opens `url`; panics if that fails.
    pub async fn open(url: &str) -> Self {
        let profile =
            tempfile::Builder::new().prefix("ntlm-chromium-").tempdir().expect("a temporary folder");
        let mut command = Command::new("sh");
        command.args(["-c", START, "sh"]).arg(profile.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("sh");
        let orders = child.stdin.take().expect("a pipe");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut browser =
            Self { orders, answers, last: 0, session: None, complaints: Vec::new(), _child: child, profile };
        let target = browser.order("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let session = browser.order("Target.attachToTarget", attach).await;
        browser.session = Some(session["sessionId"].as_str().expect("a session").to_owned());
        for domain in ["Page", "Log", "Runtime"] {
            browser.order(&format!("{domain}.enable"), json!({})).await;
        }
        let opened = browser.order("Page.navigate", json!({ "url": url })).await;
        assert_eq!(opened["errorText"], Value::Null, "{url}");
        browser
    }

    /// The text that a person sees.
    pub async fn text(&mut self) -> String {
        let text = self.evaluate("document.body?.innerText ?? ''").await;
        text.as_str().expect("a text").to_owned()
    }

    /// The value of an expression in the page; panics if it throws.
    pub async fn evaluate(&mut self, expression: &str) -> Value {
        let order = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.order("Runtime.evaluate", order).await;
        assert_eq!(answer.get("exceptionDetails"), None, "{expression}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression in the page is true; panics with the page's text when patience runs out.
    pub async fn wait_for(&mut self, condition: &str) {
        let deadline = tokio::time::Instant::now() + patience();
        while self.evaluate(condition).await != Value::Bool(true) {
            let patient = tokio::time::Instant::now() < deadline;
            assert!(patient, "waited in vain for {condition}\n{}", self.text().await);
            crate::pause().await;
        }
    }

    /// Waits until a person sees `text`.
    pub async fn wait_text(&mut self, text: &str) {
        self.wait_for(&format!("document.body?.innerText.includes({})", json!(text))).await;
    }

    /// Makes the page so many pixels wide, as on a phone.
    pub async fn width(&mut self, pixels: u32) {
        let metrics = json!({ "width": pixels, "height": 800, "deviceScaleFactor": 1, "mobile": true });
        self.order("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// The browser's complaints so far: violations of the page's policy, exceptions, failed requests.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    async fn order(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let mut order = json!({ "id": self.last, "method": method, "params": params });
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        let exchange = async {
            self.orders.write_all(format!("{order}\0").as_bytes()).await?;
            let mut message = Vec::new();
            loop {
                message.clear();
                self.answers.read_until(0, &mut message).await?;
                if message.pop() != Some(0) {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                let mut value: Value = serde_json::from_slice(&message)?;
                if value["id"] == self.last {
                    assert_eq!(value.get("error"), None, "{method}");
                    return Ok(value["result"].take());
                }
                match value["method"].as_str() {
                    Some("Log.entryAdded") => self.complaints.push(value["params"]["entry"].to_string()),
                    Some("Runtime.exceptionThrown") => self.complaints.push(value["params"].to_string()),
                    _ => {}
                }
            }
        };
        let answer: std::io::Result<Value> = within(exchange, || format!("no answer to {method}")).await;
        answer.unwrap_or_else(|error| {
            let said = std::fs::read_to_string(self.profile.path().join("stderr")).unwrap_or_default();
            panic!("{method}: {error}; is the package \"chromium\" installed?\n{said}")
        })
    }
}
