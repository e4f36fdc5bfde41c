//! What became of a request's binding, and who is logged in over it.
//!
//! Must never tell of a login before the origin accepted it, nor of one that is another request's.

use ntlm_core::login::Login;
use ntlm_core::scheme::carries_token;
use ntlm_core::token::Mechanism;

use super::NtlmPeer;
use crate::credentials::Credentials;
use crate::diagnose::{Kind, diagnose};
use crate::stats::{Counter, Verdict};
use crate::worker::{Table, with_table};

/// What became of a request's binding, as `$ntlm_binding` tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindingUse {
    /// It had none.
    None,
    /// It made one.
    Bound,
    /// It was served by one.
    Reused,
    /// Its client had one that is gone.
    Lost,
}

impl BindingUse {
    /// The value of `$ntlm_binding`; nothing where there was no binding.
    pub fn as_str(self) -> &'static str {
        match self {
            BindingUse::None => "",
            BindingUse::Bound => "bound",
            BindingUse::Reused => "reused",
            BindingUse::Lost => "lost",
        }
    }
}

impl NtlmPeer {
    /// Notes what the origin's answer to this request's credentials makes of the login over its connection.
    pub(super) fn settle(&self) {
        let (id, earlier) = (self.binding.get(), self.earlier());
        let Some(credentials) = Credentials::of(self.r) else { return };
        if self.u.is_answered_from_cache() {
            return;
        }
        let log = self.r.log();
        if !self.r.is_http1() {
            diagnose(log, self.group(), Kind::Multiplexed);
        }
        let challenged = self.u.any_www_authenticate(carries_token);
        let (login, mechanism) = match self.u.status() {
            0 => return,
            401 => {
                let mechanism = credentials.mechanism(earlier);
                if !challenged && let Some(mechanism) = mechanism {
                    self.count_handshake(mechanism, Verdict::Refused);
                }
                (None, mechanism)
            }
            _ => match credentials.accepted(earlier, self.challenged.get()) {
                Some(login) => {
                    self.count_handshake(login.mechanism, Verdict::Accepted);
                    (Some(login), None)
                }
                // It is not a login yet that was answered.
                None => return,
            },
        };
        let challenged = challenged && login.is_none();
        let another = with_table(|table| table.set_login(id, login, mechanism, challenged));
        if another == Some(true) {
            diagnose(log, self.group(), Kind::MixedClients);
        }
        self.settled.set(true);
        self.notes.set(with_table(|table| table.notes(id)).flatten());
    }

    fn count_handshake(&self, mechanism: Mechanism, verdict: Verdict) {
        if let Some(slot) = self.group().slot {
            slot.count_handshake(mechanism, verdict);
        }
    }

    /// The client had a binding that is gone.
    pub(super) fn lose(&self) {
        self.lost.set(true);
        self.binding_use.set(BindingUse::Lost);
        if let Some(slot) = self.group().slot {
            slot.count(Counter::Lost);
        }
    }

    /// What the legs before this one told of the mechanism.
    fn earlier(&self) -> Option<Mechanism> {
        with_table(|table| table.mechanism(self.binding.get())).flatten()
    }

    /// What became of this request's binding.
    pub fn binding_use(&self) -> BindingUse {
        self.binding_use.get()
    }

    /// Requests that the bound connection has carried, this one included; 0 without a binding.
    pub fn carried(&self) -> u64 {
        self.carried.get()
    }

    /// Runs `show` on who is logged in over the connection that answers this request, as far as the origin has accepted
    /// it. `show` must not call nginx.
    pub fn with_login<R>(&self, show: impl FnOnce(&Login) -> R) -> Option<R> {
        let id = self.binding.get();
        // Until the request is over, and when its connection is not kept, the table does not know what it brought.
        let settled = self.settled.get() && with_table(|table| table.login(id).is_some()) == Some(true);
        if self.credentials.get() && !settled {
            if matches!(self.u.status(), 0 | 401) || self.u.is_answered_from_cache() {
                return None;
            }
            if let Some(login) = Credentials::of(self.r)?.accepted(self.earlier(), self.challenged.get()) {
                return Some(show(&login));
            }
        }
        // Another stream of the client may have logged in over it since.
        let alone = self.r.is_http1();
        let unchanged = |table: &Table| alone || table.notes(id) == self.notes.get();
        with_table(|table| table.login(id).filter(|_| unchanged(table)).map(show)).flatten()
    }
}
