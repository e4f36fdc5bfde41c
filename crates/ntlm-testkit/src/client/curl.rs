//! Debian's curl as a process: a foreign client.
//!
//! It must never be given a URL that is not on loopback.

use std::process::Stdio;

use tokio::process::Command;

use super::Response;
use crate::{patience, within};

/// A run of curl to order.
#[derive(Clone, Debug, Default)]
pub struct Curl {
    arguments: Vec<String>,
    urls: Vec<String>,
    /// Credentials for the GSS-API, which knows nothing of `-u`.
    gss: Option<String>,
}

/// The outcome of a run of curl.
#[derive(Debug)]
pub struct Outcome {
    /// curl's exit status.
    pub exit: i32,
    /// Every response of every leg, in order, without bodies.
    pub responses: Vec<Response>,
    /// The last status of each URL.
    pub statuses: Vec<u16>,
    /// How many connections each URL opened.
    pub connects: Vec<u32>,
    /// The body of each URL.
    pub bodies: Vec<Vec<u8>>,
    /// curl's standard error.
    pub stderr: String,
}

impl Curl {
    /// curl without options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `curl --ntlm -u user:password`, the password being the user's own.
    #[must_use]
    pub fn ntlm(user: &str) -> Self {
        Self::new().arg("--ntlm").user(user, &crate::password_of(user))
    }

    /// `curl --negotiate -u :` with the user's own password where gss-ntlmssp looks for it: NTLM in SPNEGO.
    #[must_use]
    pub fn negotiate(user: &str) -> Self {
        Self::negotiate_with(user, &crate::password_of(user))
    }

    /// As [`Self::negotiate`], with another password.
    #[must_use]
    pub fn negotiate_with(user: &str, password: &str) -> Self {
        let mut curl = Self::new().args(["--negotiate", "-u", ":"]);
        curl.gss = Some(format!("{}:{user}:{password}\n", crate::origin::DOMAIN));
        curl
    }

    /// `-u user:password`.
    #[must_use]
    pub fn user(self, user: &str, password: &str) -> Self {
        self.arg("-u").arg(&format!("{user}:{password}"))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Several more.
    #[must_use]
    pub fn args<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// One more URL; they are fetched one after the other.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// Runs it; panics if there is no curl.
    pub async fn run(self) -> Outcome {
        let folder = tempfile::Builder::new().prefix("ntlm-curl-").tempdir().expect("a temporary folder");
        let headers = folder.path().join("headers");
        let body = |index: usize| folder.path().join(format!("body-{index}"));
        let mut command = Command::new("curl");
        if let Some(credentials) = &self.gss {
            let path = folder.path().join("credentials");
            std::fs::write(&path, credentials).expect("a temporary folder to write to");
            command.env("NTLM_USER_FILE", path);
        }
        // -q: without ~/.curlrc.
        let longest = patience().as_secs().to_string();
        command.args(["-q", "-sS", "--noproxy", "*", "--max-time", &longest]).args(&self.arguments);
        command.args(["-w", "%{http_code} %{num_connects}\n"]).arg("-D").arg(&headers);
        for (index, url) in self.urls.iter().enumerate() {
            command.arg("-o").arg(body(index)).arg(url);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = within(command.output(), || "curl does not end".to_owned()).await.expect("curl");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let (statuses, connects) = stdout
            .lines()
            .filter_map(|line| {
                let (status, connects) = line.split_once(' ')?;
                Some((status.parse::<u16>().ok()?, connects.parse::<u32>().ok()?))
            })
            .unzip();
        let headers = std::fs::read(&headers).unwrap_or_default();
        Outcome {
            exit: output.status.code().unwrap_or(-1),
            responses: responses(&String::from_utf8_lossy(&headers)),
            statuses,
            connects,
            bodies: (0..self.urls.len())
                .map(|index| std::fs::read(body(index)).unwrap_or_default())
                .collect(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Outcome {
    /// The last response; panics if there is none.
    #[must_use]
    pub fn last(&self) -> &Response {
        self.responses.last().unwrap_or_else(|| panic!("no response: {self:?}"))
    }

    /// The status of each leg.
    #[must_use]
    pub fn legs(&self) -> Vec<u16> {
        self.responses.iter().map(|response| response.status).collect()
    }
}

fn responses(dump: &str) -> Vec<Response> {
    let mut responses: Vec<ntlm_client::Response> = Vec::new();
    for line in dump.lines() {
        if let Some(rest) = line.strip_prefix("HTTP/") {
            let mut words = rest.split(' ');
            let version = match words.next() {
                Some("1.0") => "HTTP/1.0",
                Some("1.1") => "HTTP/1.1",
                Some("2") => "HTTP/2",
                _ => "HTTP/3",
            };
            let status = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
            responses.push(ntlm_client::Response { status, version, headers: Vec::new(), body: Vec::new() });
        } else if let (Some((name, value)), Some(response)) = (line.split_once(':'), responses.last_mut()) {
            response.headers.push((name.to_owned(), value.trim().to_owned()));
        }
    }
    responses.into_iter().map(Response::from).collect()
}
