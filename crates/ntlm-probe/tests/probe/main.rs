//! The command as its user meets it: run against the test kit's origin, through real nginx with and without the module.
//! Each cause that it knows is provoked here, and must be named.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test may panic"
)]

mod broken;
mod causes;
mod command;
mod session;

use std::process::{Output, Stdio};

use ntlm_testkit::nginx::Builder;
use ntlm_testkit::{Nginx, Origin, password_of, within};
use serde_json::Value;
use tokio::process::Command;

/// The probe with alice's password in its environment.
fn probe(arguments: &[&str]) -> Command {
    probe_as("alice", &password_of("alice"), arguments)
}

fn probe_as(user: &str, password: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ntlm-probe"));
    command.args(arguments).args(["--user", user, "--domain", "EXAMPLE"]).stdin(Stdio::null());
    command.env("NTLM_PROBE_PASSWORD", password).kill_on_drop(true);
    command
}

/// The outcome of a run.
#[derive(Debug)]
struct Shown {
    exit: Option<i32>,
    stdout: String,
    stderr: String,
}

async fn run(mut command: Command) -> Shown {
    let output = within(command.output(), || "the probe does not end".to_owned()).await.expect("the probe");
    let Output { status, stdout, stderr } = output;
    Shown {
        exit: status.code(),
        stdout: String::from_utf8(stdout).expect("text"),
        stderr: String::from_utf8(stderr).expect("text"),
    }
}

/// Runs it with `--json`; its object.
async fn json(mut command: Command) -> Value {
    command.arg("--json");
    let shown = run(command).await;
    let report: Value =
        serde_json::from_str(&shown.stdout).unwrap_or_else(|error| panic!("{error}: {shown:?}"));
    assert_eq!(report["exit"].as_i64().map(|exit| exit as i32), shown.exit, "{report:#}");
    assert_eq!(report["ok"], shown.exit == Some(0));
    report
}

/// The probe must fail with this cause and exit status, in JSON; its object is returned.
async fn fails(command: Command, cause: &str, exit: i64) -> Value {
    let report = json(command).await;
    assert_eq!(
        (report["cause"]["id"].as_str(), report["exit"].as_i64()),
        (Some(cause), Some(exit)),
        "{report:#}"
    );
    assert!(report["cause"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()));
    report
}

/// Statuses of the legs.
fn statuses(report: &Value) -> Vec<u64> {
    report["legs"]
        .as_array()
        .expect("legs")
        .iter()
        .map(|leg| leg["status"].as_u64().expect("a status"))
        .collect()
}

/// nginx with `group` in the upstream block of this origin, and `server` in the server.
fn front(origin: &Origin, group: &str, server: &str) -> Builder {
    let scheme = if origin.is_tls() { "https" } else { "http" };
    Nginx::builder().conf(&format!(
        "upstream backend {{ server {}; {group} }}\n\
         server {{ listen 127.0.0.1:{{{{port}}}}; {server} location / {{ proxy_pass {scheme}://backend; }} }}",
        origin.address()
    ))
}

/// What every login through NGINX needs: before 1.29.7 it speaks HTTP/1.0 to servers otherwise.
const KEEP: &str = "proxy_http_version 1.1; proxy_set_header Connection '';";
