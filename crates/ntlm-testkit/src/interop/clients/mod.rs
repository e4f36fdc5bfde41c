//! The clients: programs of other people, each with a session to play, and what it says of the answers it got.
//!
//! It must never help a client along: it gets an address, a name and a password, or a ticket.

mod command_line;
mod languages;
mod scripts;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::process::Command;

use super::servers::Site;
use super::world::{AD_REALM, World};
use super::{LIMIT, name_of};
use crate::origin::DOMAIN;
use crate::password_of;

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The scheme `NTLM`.
    Ntlm,
    /// NTLM inside `Negotiate`, by gss-ntlmssp.
    NtlmInside,
    /// A Kerberos ticket inside `Negotiate`.
    Kerberos,
}

/// A client of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// How the matrix calls it.
    pub name: &'static str,
    /// How it proves who it is.
    pub proof: Proof,
    /// It begins NTLM with the 32 bytes that name neither domain nor workstation nor version.
    pub short_first_leg: bool,
    /// A session repeats its requests in their order every time.
    pub steady: bool,
    /// Whether the client always uses a connection again that the server keeps open.
    pub reuses: bool,
    /// Whether the client logs in over TLS only.
    pub only_tls: bool,
    /// Quick and steady enough for every change.
    pub quick: bool,
    /// Whether the client needs a server that keeps files: repositories, or a folder of WebDAV.
    pub files: bool,
    /// How many answers its session has, all of them to be 200 (101 for a WebSocket).
    pub answers: usize,
    /// The command that plays it.
    command: fn(&Job<'_>) -> Command,
}

/// Who plays a session, and where.
#[derive(Debug)]
pub struct Job<'a> {
    /// The world.
    pub world: &'a World,
    /// Python and Node packages.
    pub tools: &'a Path,
    /// The authority of all certificates.
    pub ca: &'a Path,
    /// `http://host:port`
    pub base: String,
    /// The site, or the one behind nginx.
    pub site: &'a Site,
    /// The user.
    pub user: &'a str,
}

/// A client's own report of its session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Status, and who it was served as, of each answer.
    pub answers: Vec<(u16, String)>,
    /// Everything it printed.
    pub text: String,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.text.lines().filter(|line| !line.starts_with("ANSWER "));
        let other: Vec<char> = lines.collect::<Vec<_>>().join(" | ").chars().collect();
        let (count, last) = (self.answers.len(), &other[other.len().saturating_sub(300)..]);
        let wrong = self.answers.iter().find(|(status, _)| !matches!(status, 200 | 101));
        write!(f, "{count} answers, the first wrong one {wrong:?}; {}", last.iter().collect::<String>())
    }
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Client> {
    [command_line::CLIENTS, scripts::CLIENTS, languages::CLIENTS].concat()
}

impl Client {
    /// The site takes what this client has.
    #[must_use]
    pub fn suits(&self, site: &Site) -> bool {
        if self.files && !site.files {
            return false;
        }
        match self.proof {
            Proof::Kerberos => site.realm.is_some(),
            Proof::Ntlm | Proof::NtlmInside => site.ntlm && (site.short_first_leg || !self.short_first_leg),
        }
    }

    /// Plays the session to its end.
    pub async fn play(&self, job: &Job<'_>) -> Said {
        let mut command = (self.command)(job);
        job.environment(self.proof, &mut command);
        let output = tokio::time::timeout(LIMIT, command.output()).await;
        let text = match output {
            Ok(Ok(Output { stdout, stderr, .. })) => {
                format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
            }
            Ok(Err(error)) => format!("does not run: {error}"),
            Err(_) => format!("did not end within {} s", LIMIT.as_secs()),
        };
        let answers = text.lines().filter_map(|line| {
            let mut words = line.strip_prefix("ANSWER ")?.split(' ');
            Some((words.next()?.parse().ok()?, name_of(words.next().unwrap_or_default())))
        });
        Said { answers: answers.collect(), text }
    }
}

impl Job<'_> {
    /// `path` of the site's protected part.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}/session/{path}", self.base)
    }

    /// The user's password.
    #[must_use]
    pub fn password(&self) -> String {
        password_of(self.user)
    }

    /// A file of so many bytes, to be sent.
    #[must_use]
    pub fn body(&self, bytes: usize) -> PathBuf {
        let path = self.world.path().join(format!("body-{bytes}"));
        if !path.exists() {
            std::fs::write(&path, vec![b'x'; bytes]).expect("a file of the world");
        }
        path
    }

    /// A file of ours in the world's folder.
    #[must_use]
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        self.world.write(name, text).expect("a file of the world")
    }

    /// Sets the environment of a client that logs in by this scheme.
    pub fn environment(&self, proof: Proof, command: &mut Command) {
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        let realm = self.site.realm.unwrap_or(AD_REALM);
        let nobody = self.world.path().join("no-tickets");
        let tickets = if proof == Proof::Kerberos { self.world.tickets(self.user, realm) } else { nobody };
        // git-lfs wants the type of the cache, too.
        let tickets = format!("FILE:{}", tickets.display());
        command.env("KRB5_CONFIG", self.world.krb5_config()).env("KRB5CCNAME", tickets);
        if proof == Proof::NtlmInside {
            let line = format!("{DOMAIN}:{}:{}\n", self.user, self.password());
            command.env("NTLM_USER_FILE", self.script(&format!("ntlm-{}", self.user), &line));
        } else {
            command.env_remove("NTLM_USER_FILE");
        }
        for name in ["CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
            command.env(name, self.ca);
        }
        // Files that a client leaves behind end with the world.
        command.env("HOME", self.world.path()).env("TMPDIR", self.world.path());
        command.current_dir(self.world.path());
        command.stdin(Stdio::null()).kill_on_drop(true);
    }
}
