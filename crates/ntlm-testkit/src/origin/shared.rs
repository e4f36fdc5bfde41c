//! State that the connections of one origin share: its name, users, ledger, gates and the list of open connections.
//!
//! It must never hold an identity: that is the connection's own.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::command::Handle;
use super::judge::Judge;
use super::ledger::Ledger;
use super::ntlm::Policy;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) name: String,
    pub(super) policy: Policy,
    pub(super) ledger: Ledger,
    pub(super) open: Mutex<HashMap<u64, Handle>>,
    /// Empty: every user exists, by the rule of [`crate::password_of`].
    users: HashMap<String, String>,
    /// Decides in place of this origin.
    pub(super) judge: Option<Judge>,
    /// It is a gateway of remote desktops, too.
    pub(super) gateway: bool,
    gates: Mutex<HashMap<String, Gate>>,
}

#[derive(Debug, Default)]
struct Gate {
    open: bool,
    waiting: usize,
}

impl Shared {
    pub(super) fn new(
        name: String,
        policy: Policy,
        users: HashMap<String, String>,
        echo: bool,
        judge: Option<Judge>,
        gateway: bool,
    ) -> Self {
        let ledger = Ledger::new(echo);
        Self { name, policy, ledger, open: Mutex::default(), users, judge, gateway, gates: Mutex::default() }
    }

    /// A connection number no other origin of this process has had.
    pub(super) fn next_id() -> u64 {
        static LAST: AtomicU64 = AtomicU64::new(0);
        LAST.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn password_of(&self, user: &str) -> Option<String> {
        if !self.users.is_empty() {
            return self.users.get(user).cloned();
        }
        (!user.to_lowercase().starts_with("nobody")).then(|| crate::password_of(user))
    }

    pub(super) fn forget(&self, id: u64) {
        self.open.lock().unwrap().remove(&id);
        self.ledger.ring();
    }

    /// Waits until the gate is open.
    pub(super) async fn pass(&self, name: &str) {
        self.gates.lock().unwrap().entry(name.to_owned()).or_default().waiting += 1;
        // Counted down also when the peer leaves and this future is dropped.
        let _waiting = Waiting { shared: self, name };
        self.ledger.ring();
        self.ledger
            .until(|_| self.gates.lock().unwrap().get(name).is_some_and(|gate| gate.open).then_some(()))
            .await;
    }

    pub(super) fn set_gate(&self, name: &str, open: bool) {
        self.gates.lock().unwrap().entry(name.to_owned()).or_default().open = open;
        self.ledger.ring();
    }

    pub(super) fn waiting_at(&self, name: &str) -> usize {
        self.gates.lock().unwrap().get(name).map_or(0, |gate| gate.waiting)
    }
}

struct Waiting<'a> {
    shared: &'a Shared,
    name: &'a str,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.shared.gates.lock().unwrap().get_mut(self.name) {
            gate.waiting -= 1;
        }
        self.shared.ledger.ring();
    }
}
