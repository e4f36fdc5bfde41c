//! curl and wget.

use tokio::process::Command;

use super::{Client, Job, Proof};
use crate::origin::DOMAIN;

const CURL: Client = Client {
    name: "curl --ntlm",
    proof: Proof::Ntlm,
    short_first_leg: true,
    steady: true,
    quick: true,
    answers: 4,
    command: |job| curl(job, &["--ntlm"]),
};

pub(super) const CLIENTS: &[Client] = &[
    CURL,
    // It prefers Negotiate where a server offers both.
    Client {
        name: "curl --anyauth",
        proof: Proof::NtlmInside,
        short_first_leg: false,
        command: |job| curl(job, &["--anyauth"]),
        ..CURL
    },
    Client {
        name: "curl --negotiate (NTLM)",
        proof: Proof::NtlmInside,
        short_first_leg: false,
        command: |job| curl(job, &["--negotiate"]),
        ..CURL
    },
    Client {
        name: "curl --negotiate (Kerberos)",
        proof: Proof::Kerberos,
        command: |job| curl(job, &["--negotiate"]),
        ..CURL
    },
    Client { name: "curl --ntlm, 10 MB", answers: 2, command: |job| upload(job, &["--ntlm"]), ..CURL },
    Client {
        name: "curl --negotiate (Kerberos), 10 MB",
        proof: Proof::Kerberos,
        answers: 2,
        command: |job| upload(job, &["--negotiate"]),
        ..CURL
    },
    Client { name: "wget", answers: 3, command: wget, ..CURL },
];

/// One request of a session: its path, and what else curl is told.
type Part<'a> = (&'a str, Vec<String>);

fn run_curl(job: &Job<'_>, scheme: &[&str], parts: &[Part<'_>]) -> Command {
    // Kerberos and gss-ntlmssp know their user by themselves.
    let who = if scheme != ["--ntlm"] { ":".to_owned() } else { format!("{}:{}", job.user, job.password()) };
    let mut curl = Command::new("curl");
    curl.arg("-q");
    for (index, (path, more)) in parts.iter().enumerate() {
        if index > 0 {
            curl.arg("--next");
        }
        curl.args(["-sS", "--noproxy", "*", "--max-time", "50", "-o", "/dev/null"]).args(scheme);
        curl.args(["-u", &who, "-w", "ANSWER %{http_code} %header{x-identity}\\n"]);
        curl.arg("--cacert").arg(job.ca).args(more).arg(job.url(path));
    }
    curl
}

fn curl(job: &Job<'_>, scheme: &[&str]) -> Command {
    let body = format!("@{}", job.body(100_000).display());
    let post = vec!["--data-binary".to_owned(), body];
    let parts = [("one", vec![]), ("two", vec![]), ("three", post), ("four", vec![])];
    run_curl(job, scheme, &parts)
}

fn upload(job: &Job<'_>, scheme: &[&str]) -> Command {
    let body = format!("@{}", job.body(10_000_000).display());
    let post = vec!["--data-binary".to_owned(), body];
    run_curl(job, scheme, &[("upload", post), ("after", vec![])])
}

fn wget(job: &Job<'_>) -> Command {
    let mut wget = Command::new("sh");
    // What it shows of each answer are the header's lines, indented.
    let awk = r#"/^  HTTP\//{s=$2} /^  X-Identity:/{if (s != 401) print "ANSWER", s, $2}"#;
    wget.args(["-c", &format!("wget \"$@\" 2>&1 | awk '{awk}'"), "wget"]);
    wget.args(["-q", "-S", "--no-config", "--no-proxy", "--tries=1", "--timeout=50", "-O", "/dev/null"]);
    wget.arg(format!("--user={DOMAIN}\\{}", job.user)).arg(format!("--password={}", job.password()));
    wget.arg(format!("--ca-certificate={}", job.ca.display()));
    wget.args(["one", "two", "three"].map(|path| job.url(path)));
    wget
}
