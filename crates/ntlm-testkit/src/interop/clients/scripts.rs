//! Clients that are libraries: the same session in Python, Node and Chromium.

use tokio::process::Command;

use super::{Client, Job, Proof};

const PYTHON: Client = Client {
    name: "requests-ntlm",
    proof: Proof::Ntlm,
    short_first_leg: false,
    steady: true,
    reuses: true,
    only_tls: false,
    quick: true,
    files: false,
    answers: 4,
    command: |job| python(job, "requests-ntlm"),
};
const NODE: Client = Client {
    name: "httpntlm",
    quick: false,
    command: |job| node(job, "session.cjs", NODE_SESSION, "httpntlm"),
    ..PYTHON
};
const CHROMIUM: Client = Client {
    name: "Chromium (NTLM)",
    short_first_leg: true,
    steady: false,
    quick: true,
    answers: 39,
    command: |job| node(job, "browser.cjs", BROWSER, "ntlm"),
    ..PYTHON
};

pub(super) const CLIENTS: &[Client] = &[
    PYTHON,
    Client { name: "httpx-ntlm", command: |job| python(job, "httpx-ntlm"), ..PYTHON },
    Client {
        name: "requests-gssapi",
        proof: Proof::Kerberos,
        command: |job| python(job, "requests-gssapi"),
        ..PYTHON
    },
    Client {
        name: "requests-kerberos",
        // It wants a package that takes minutes to compile.
        quick: false,
        proof: Proof::Kerberos,
        command: |job| python(job, "requests-kerberos"),
        ..PYTHON
    },
    Client {
        name: "httpx-gssapi",
        proof: Proof::Kerberos,
        command: |job| python(job, "httpx-gssapi"),
        ..PYTHON
    },
    Client {
        name: "httpx-gssapi, HTTP/2",
        proof: Proof::Kerberos,
        command: |job| python(job, "httpx-gssapi-h2"),
        ..PYTHON
    },
    NODE,
    Client {
        name: "axios-ntlm",
        short_first_leg: true,
        command: |job| node(job, "session.cjs", NODE_SESSION, "axios-ntlm"),
        ..NODE
    },
    CHROMIUM,
    Client {
        name: "Chromium (Kerberos)",
        proof: Proof::Kerberos,
        command: |job| node(job, "browser.cjs", BROWSER, "kerberos"),
        ..CHROMIUM
    },
];

const SESSION: &str = include_str!("../../../interop/session.py");
const NODE_SESSION: &str = include_str!("../../../interop/session.cjs");
const BROWSER: &str = include_str!("../../../interop/browser.cjs");

fn python(job: &Job<'_>, library: &str) -> Command {
    let mut python = Command::new(job.tools.join("python/bin/python"));
    python.arg(job.script("session.py", SESSION)).args([library, &job.base, job.user, &job.password()]);
    python
}

fn node(job: &Job<'_>, name: &str, text: &str, library: &str) -> Command {
    let mut node = Command::new("node");
    node.arg(job.script(name, text)).args([library, &job.base, job.user, &job.password()]);
    node.env("NODE_PATH", job.tools.join("node/node_modules"));
    node
}
