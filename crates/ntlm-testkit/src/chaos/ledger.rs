//! Checks at the end of a run, when the ledgers of all origins and the log of nginx are complete.
//!
//! It must never take the module's word for what taints a connection.

use std::collections::{HashMap, HashSet};

use super::ask::is_keyless;
use super::checks::Judge;
use super::config::{GROUPS, PLAIN};
use crate::origin::{Entry, Leg};

/// The schemes whose credentials belong to a connection, in small letters.
const SCHEMES: [&str; 5] = ["ntlm", "negotiate", "nego2", "kerberos", "credssp"];

impl Judge {
    /// Compares what clients got with all that the origins did.
    pub(super) fn ledger(&self, ledger: &[Entry]) {
        let tainted = self.owners(ledger);
        let entries: HashMap<(u64, u64), &Entry> =
            ledger.iter().map(|entry| ((entry.connection, entry.request), entry)).collect();
        for seen in self.seen.lock().unwrap().iter() {
            let Some(entry) = entries.get(&(seen.connection, seen.request)) else {
                let what = format!("{} was answered by a request that no ledger has", seen.target);
                self.find("ledger", what, Some(&seen.client), Some(seen.connection));
                continue;
            };
            let same = entry.target == seen.target
                && entry.status == seen.status
                && entry.identity.as_deref().unwrap_or("anonymous") == seen.identity
                && (seen.cached || entry.x_client.as_deref() == Some(&seen.client));
            if !same {
                let what = format!("{} got the answer to {entry}", seen.target);
                self.find("ledger", what, Some(&seen.client), Some(seen.connection));
            }
            let first = tainted.get(&seen.connection);
            if seen.cached && first.is_some_and(|first| *first <= seen.request) {
                let what = format!("{} came from a cache that kept the answer to {entry}", seen.target);
                self.find("cache", what, Some(&seen.client), Some(seen.connection));
            }
        }
    }

    /// Looks at who used each connection once it was tainted. Returns the first tainting request of each.
    fn owners(&self, ledger: &[Entry]) -> HashMap<u64, u64> {
        let mut first: HashMap<u64, &Entry> = HashMap::new();
        for entry in ledger {
            let client = entry.x_client.as_deref().unwrap_or_default();
            let Some(owner) = first.get(&entry.connection) else {
                if taints(entry) {
                    first.insert(entry.connection, entry);
                }
                continue;
            };
            let of = owner.x_client.as_deref().unwrap_or_default();
            let (check, who) = match () {
                () if group(owner) == Some(PLAIN) => ("guard", format!("{of} in a group without ntlm")),
                () if of != client => ("ownership", of.to_owned()),
                () if is_keyless(of) => ("ownership", format!("{of} without a key")),
                () => continue,
            };
            let what = format!("{} was sent over a connection that {who} had tainted", entry.target);
            self.find(check, what, Some(client), Some(entry.connection));
        }
        first.into_iter().map(|(connection, entry)| (connection, entry.request)).collect()
    }

    /// Compares what nginx logged of each request with who logged in, and who sent credentials at all.
    pub(super) fn names(&self, ledger: &[Entry], log: &str) {
        let mut real: HashSet<(&str, &str)> = HashSet::new();
        let mut bound: HashSet<&str> = HashSet::new();
        for entry in ledger {
            let client = entry.x_client.as_deref().unwrap_or_default();
            if let (Leg::Authenticate, Some(user)) = (entry.leg, entry.identity.as_deref()) {
                real.insert((client, user));
            }
            // The ledger does not tell the credentials of an unanswered request.
            if taints(entry) || entry.status == 0 {
                bound.insert(client);
            }
        }
        for line in log.lines() {
            let mut fields = line.split(' ');
            let (Some(client), Some(user), Some(binding)) = (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            if user != "-" && !real.contains(&(client, user)) {
                self.find(
                    "names",
                    format!("{user}, who never logged in, is logged: {line}"),
                    Some(client),
                    None,
                );
            }
            if matches!(binding, "bound" | "reused") && !bound.contains(client) {
                let what = format!("a binding of a client that sent no credentials is logged: {line}");
                self.find("names", what, Some(client), None);
            }
        }
    }
}

/// The request, or the answer to it, ties its connection to the sender of the request.
pub(super) fn taints(entry: &Entry) -> bool {
    let scheme = entry.scheme.as_deref().unwrap_or_default().to_ascii_lowercase();
    SCHEMES.contains(&scheme.as_str()) || entry.target.contains("token_without_auth")
}

/// The group that a request was sent to.
fn group(entry: &Entry) -> Option<usize> {
    let path = entry.target.split('?').next().unwrap_or_default();
    path.split('/').find_map(|part| GROUPS.iter().position(|group| *group == part))
}
