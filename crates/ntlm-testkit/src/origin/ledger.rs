//! The requests at an origin, in order, and the ways a test waits for one.
//!
//! It must never hold a token, a password or a challenge.

use std::fmt;
use std::sync::Mutex;

use tokio::sync::watch;

use crate::patience;

/// The place of a request's `Authorization` in its login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leg {
    /// No credentials of a connection-bound scheme.
    None,
    /// An NTLM NEGOTIATE message, bare or wrapped: the first leg.
    Negotiate,
    /// An NTLM AUTHENTICATE message, bare or wrapped: the last leg.
    Authenticate,
    /// Anything else: a simulated Kerberos ticket, an opaque round, an empty token, garbage.
    Other,
}

/// One answered request; it is entered just before the first byte of the answer is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which connection, unique over all origins of the process.
    pub connection: u64,
    /// The how-manieth request on that connection, from 1.
    pub request: u64,
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// `1.0` or `1.1`, as the request said.
    pub version: &'static str,
    /// The request's `Connection` field.
    pub connection_field: Option<String>,
    /// The scheme of `Authorization`, as it was spelled.
    pub scheme: Option<String>,
    /// The place of its token in the login.
    pub leg: Leg,
    /// The status sent; 0 if the request was left unanswered.
    pub status: u16,
    /// Who the request was served as, after its credentials were looked at.
    pub identity: Option<String>,
    /// The origin's name.
    pub origin: String,
    /// The request's `X-Client` field.
    pub x_client: Option<String>,
    /// The name the TLS client asked for.
    pub sni: Option<String>,
    /// The TLS client showed a certificate (that the authority of the tests signed).
    pub client_certificate: bool,
    /// The TLS client resumed a session.
    pub resumed: bool,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, connection, request, method, target, status, leg, .. } = self;
        let identity = self.identity.as_deref().unwrap_or("anonymous");
        write!(f, "{origin} connection {connection} request {request}: {method} {target}")?;
        if let Some(scheme) = &self.scheme {
            write!(f, " [{scheme} {leg:?}]")?;
        }
        write!(f, " -> {status} as {identity}")?;
        if let Some(x_client) = &self.x_client {
            write!(f, " (client {x_client})")?;
        }
        Ok(())
    }
}

/// The entries, and a bell that rings whenever anything changed at the origin.
#[derive(Debug)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    bell: watch::Sender<()>,
    echo: bool,
}

impl Ledger {
    /// With `echo` each entry is also printed.
    pub(crate) fn new(echo: bool) -> Self {
        Self { entries: Mutex::default(), bell: watch::Sender::new(()), echo }
    }

    pub(crate) fn enter(&self, entry: Entry) {
        if self.echo {
            println!("{entry}");
        }
        self.entries.lock().unwrap().push(entry);
        self.ring();
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().unwrap().clear();
    }

    pub(crate) fn ring(&self) {
        self.bell.send_replace(());
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.entries.lock().unwrap().clone()
    }

    /// Returns as soon as `condition` gives something; without a bound.
    pub(crate) async fn until<T>(&self, mut condition: impl FnMut(&[Entry]) -> Option<T>) -> T {
        let mut bell = self.bell.subscribe();
        loop {
            bell.mark_unchanged();
            if let Some(value) = condition(&self.entries.lock().unwrap()) {
                return value;
            }
            // The sender is ours: it cannot be gone.
            let _ = bell.changed().await;
        }
    }

    /// As [`Self::until`], bounded: panics with the ledger when patience runs out.
    pub(crate) async fn wait<T>(&self, what: &str, condition: impl FnMut(&[Entry]) -> Option<T>) -> T {
        match tokio::time::timeout(patience(), self.until(condition)).await {
            Ok(value) => value,
            Err(_) => panic!("waited {} s in vain for {what}\n{self}", patience().as_secs()),
        }
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        writeln!(f, "ledger ({} entries):", entries.len())?;
        for entry in &entries {
            writeln!(f, "  {entry}")?;
        }
        Ok(())
    }
}
