//! Checks of each answer as it comes, whatever happened before. `ledger` has the checks at the end of a run.
//!
//! It must never excuse an answer because of what the client did before.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::ask::{Ask, Sending};
use super::config::Config;
use crate::Response;
use crate::origin::body_hash;

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which check found it.
    pub check: &'static str,
    /// The finding, in words.
    pub what: String,
    /// The client concerned.
    pub client: Option<String>,
    /// The origin's connection concerned.
    pub connection: Option<u64>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check, self.what)?;
        if let Some(client) = &self.client {
            write!(f, " (client {client})")?;
        }
        if let Some(connection) = self.connection {
            write!(f, " (connection {connection})")?;
        }
        Ok(())
    }
}

/// How often what happened.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Responses that were checked.
    pub(super) responses: AtomicU64,
    /// Client connections.
    pub(super) lives: AtomicU64,
    /// Whole logins with the right password that were begun, and those that came to their end.
    pub(super) logins: AtomicU64,
    pub(super) logged_in: AtomicU64,
    /// Requests that nginx answered itself, and requests without an answer.
    pub(super) refused: AtomicU64,
    pub(super) unanswered: AtomicU64,
    /// Streams that nginx wanted over HTTP/1.1.
    pub(super) turned_back: AtomicU64,
    /// Connections that were seen to end with their binding.
    pub(super) mirrored: AtomicU64,
}

/// A response that came from an origin: to be looked up in the ledger.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) client: String,
    pub(super) target: String,
    pub(super) connection: u64,
    pub(super) request: u64,
    pub(super) status: u16,
    pub(super) identity: String,
    /// nginx had it in its cache.
    pub(super) cached: bool,
}

/// The knowledge of a run: counts, findings, and the responses seen.
#[derive(Debug, Default)]
pub(super) struct Judge {
    pub(super) counts: Counts,
    /// The run is over: every client may stop.
    pub(super) over: AtomicBool,
    findings: Mutex<Vec<Finding>>,
    pub(super) seen: Mutex<Vec<Seen>>,
}

/// The source of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// An origin's.
    Origin { status: u16, identity: String, connection: u64 },
    /// nginx's own.
    Nginx,
}

impl Judge {
    pub(super) fn find(
        &self,
        check: &'static str,
        what: String,
        client: Option<&str>,
        connection: Option<u64>,
    ) {
        let client = client.map(str::to_owned);
        self.findings.lock().unwrap().push(Finding { check, what, client, connection });
        self.over.store(true, Ordering::Relaxed);
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        self.findings.lock().unwrap().clone()
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn seen_by(&self, client: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let of_client = seen.iter().filter(|seen| seen.client == client);
        of_client
            .map(|seen| {
                let Seen { target, connection, request, status, identity, .. } = seen;
                format!("{target} -> {status} as {identity} over connection {connection}, request {request}")
            })
            .collect()
    }

    /// Looks at a response to `client`, which may be served as `users`.
    pub(super) fn response(
        &self,
        config: &Config,
        client: &str,
        users: Option<&BTreeSet<String>>,
        ask: &Ask,
        target: &str,
        response: &Response,
    ) -> Answer {
        self.counts.responses.fetch_add(1, Ordering::Relaxed);
        let found = |check, what: String, connection| self.find(check, what, Some(client), connection);
        let (Some(identity), Some(connection), Some(request)) = (
            response.get("X-Identity"),
            response.get("X-Connection").and_then(|id| id.parse().ok()),
            response.get("X-Request").and_then(|number| number.parse().ok()),
        ) else {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            // An origin sent unsolicited bytes just as it was given a request: nginx takes them for HTTP/0.9.
            let garbled = response.body.starts_with(b"unsolicited");
            match response.status {
                500 | 502 | 503 | 504 | 408 if config.faults => {}
                200 if config.faults && garbled => {}
                status => {
                    found("origin", format!("{status} that no origin sent to {target}: {response:?}"), None)
                }
            }
            return Answer::Nginx;
        };
        let at = Some(connection);
        if identity != "anonymous" && !users.is_some_and(|users| users.contains(identity)) {
            found("identity", format!("{target} was served as {identity}"), at);
        }
        if !refuses(response.status)
            && identity == "anonymous"
            && !ask.public
            && ask.ordered("token_without_auth").is_none()
        {
            found("identity", format!("{target} was served to anonymous with {}", response.status), at);
        }
        if ask.ordered("early").is_none() {
            let sent = match ask.body {
                Sending::Nothing => body_hash(b""),
                Sending::Sized(n) | Sending::Chunked(n) | Sending::Slowly(n, _) => {
                    body_hash(&body(target, n))
                }
            };
            if response.get("X-Body-Hash") != Some(&sent) {
                found("body", format!("the origin got another body with {target}"), at);
            }
        }
        let origin = response.get("X-Origin").unwrap_or_default();
        let line = format!("{identity} on connection {connection} of {origin}, request {request}\n");
        let mut expected = line.into_bytes();
        if let Some(size) = ask.ordered("size").and_then(|size| size.parse().ok()) {
            expected = expected.iter().copied().cycle().take(size).collect();
        }
        let bodiless = matches!(response.status, 204 | 304) && response.body.is_empty();
        let cut = config.faults && expected.starts_with(&response.body);
        if response.body != expected && !bodiless && !cut {
            found("body", format!("{target} has another answer's body: {response:?}"), at);
        }
        let identity = identity.to_owned();
        self.seen.lock().unwrap().push(Seen {
            client: client.to_owned(),
            target: target.to_owned(),
            connection,
            request,
            status: response.status,
            identity: identity.clone(),
            cached: response.get("X-Cache") == Some("HIT"),
        });
        Answer::Origin { status: response.status, identity, connection }
    }

    /// Fails a run in which too few logins succeeded to tell anything.
    pub(super) fn logins(&self, config: &Config) {
        let begun = self.counts.logins.load(Ordering::Relaxed);
        let done = self.counts.logged_in.load(Ordering::Relaxed);
        if begun >= 100 && done * 100 < begun * config.fewest_logins() {
            self.find("logins", format!("of {begun} logins {done} succeeded"), None, None);
        }
    }
}

/// The origin asks for credentials.
pub(super) fn refuses(status: u16) -> bool {
    matches!(status, 401 | 407)
}

/// The body sent with a request: no two requests have the same.
pub(super) fn body(target: &str, length: usize) -> Vec<u8> {
    target.bytes().cycle().take(length).collect()
}
