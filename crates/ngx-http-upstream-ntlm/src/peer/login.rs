//! What became of a request's binding, and who is logged in over it.
//!
//! Must never tell of a login before it is proven, nor of one that is another request's.

use ntlm_core::binding::exchange::{Step, Verdict};
use ntlm_core::binding::ids::ClientId;
use ntlm_core::binding::login::Login;
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::mechanism::Mechanism;
use ntlm_core::token::Kind;

use super::{Facts, NtlmPeer, Source};
use crate::credentials::{Carried, Credentials};
use crate::diagnose::diagnose;
use crate::ngx::{is_exiting, unix_time};
use crate::stats::{Counter, Handshake};
use crate::worker::{Table, table, with_table};

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

/// What a request's credentials make of who is logged in.
enum Change {
    /// Whoever was.
    Unchanged,
    /// Nobody, as far as is proven.
    Nobody,
    /// This login, which is proven.
    To(Login),
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
    /// Notes what the origin's answer makes of the login that this request is a leg of.
    pub(super) fn note_login(&self, verdict: &Verdict) {
        if !self.has(Facts::CREDENTIALS) || self.group().is_guarded() {
            return;
        }
        if self.u.status() == 0 || self.u.is_answered_from_cache() {
            return;
        }
        self.login.set(Some(verdict.login));
        let log = self.r.log();
        let (change, mechanism) = self.change(verdict.login);
        let login = match change {
            Change::Unchanged => return,
            Change::Nobody => None,
            Change::To(login) => Some(login),
        };
        match verdict.login {
            Step::Refused => self.count_handshake(mechanism, Handshake::Refused),
            Step::Proven => {
                self.count_handshake(login.as_ref().map(|login| login.mechanism()), Handshake::Accepted)
            }
            Step::GoesOn | Step::Nothing => {}
        }
        let id = self.binding.get();
        let another = with_table(|table| {
            let another = table.set_login(id, login, mechanism, verdict.login == Step::GoesOn);
            self.notes.set(table.logins(id).map(|logins| logins.notes));
            another
        });
        if another == Some(true) {
            diagnose(log, self.group(), Diagnosis::MixedClients);
        }
    }

    /// Who is logged in when this request is answered so, and what its leg tells of the mechanism of a login that goes on, or was
    /// refused.
    fn change(&self, step: Step) -> (Change, Option<Mechanism>) {
        let Some(credentials) = self.read_credentials() else { return (Change::Unchanged, None) };
        let earlier = self.earlier();
        let mechanism = credentials.mechanism(earlier);
        if matches!(step, Step::GoesOn | Step::Refused) {
            return (Change::Nobody, mechanism);
        }
        let change = match credentials.login(earlier, self.has(Facts::CHALLENGED)) {
            // It asks for no login.
            None => Change::Unchanged,
            Some(login) if step == Step::Proven => Change::To(login),
            // The client sends the same kind of nameless credentials with each request.
            Some(login) if login.user().is_empty() && self.current_mechanism() == Some(login.mechanism()) => {
                Change::Unchanged
            }
            Some(_) => Change::Nobody,
        };
        (change, None)
    }

    /// Tells of credentials that no binding of their client serves. If they answer a challenge, it came over another connection, so the origin
    /// refuses them.
    #[cold]
    pub(super) fn diagnose_stray_leg(&self, known: Option<ClientId>) {
        if !self.r.is_http1() || self.has(Facts::LOST) || is_exiting() {
            return;
        }
        if self.read_credentials().is_none_or(|credentials| credentials.kind != Kind::NtlmAuthenticate) {
            return;
        }
        let group = self.group();
        let diagnosis = self.with_key(|key| {
            let table = table()?;
            let Some(id) = known.filter(|&id| !table.knows(id, group.id, key)) else {
                return known.is_none().then_some(Diagnosis::SpreadInFront);
            };
            match table.open_challenge(id) {
                None => Some(Diagnosis::SpreadInFront),
                Some((other, theirs)) if other == group.id && theirs != key.chosen => {
                    Some(Diagnosis::KeyChanges)
                }
                // Several users behind a proxy, or a login that another group began.
                Some(_) => None,
            }
        });
        if let Some(diagnosis) = diagnosis.flatten() {
            diagnose(self.r.log(), group, diagnosis);
        }
    }

    fn current_mechanism(&self) -> Option<Mechanism> {
        with_table(|table| Some(table.logins(self.binding.get())?.current.as_ref()?.mechanism())).flatten()
    }

    fn count_handshake(&self, mechanism: Option<Mechanism>, handshake: Handshake) {
        if let (Some(mechanism), Some(slot)) = (mechanism, self.group().slot) {
            slot.count_handshake(mechanism, handshake);
            if slot.is_mostly_refused(handshake, unix_time()) {
                diagnose(self.r.log(), self.group(), Diagnosis::MostlyRefused);
            }
        }
    }

    fn read_credentials(&self) -> Option<Credentials> {
        Credentials::read(Carried::in_field(self.r, self.u).ok()??.as_bytes())
    }

    /// The client had a binding that is gone.
    pub(super) fn lose(&self) {
        self.note(Facts::LOST);
        self.binding_use.set(BindingUse::Lost);
        if let Some(slot) = self.group().slot {
            slot.count(Counter::Lost);
        }
    }

    /// What the legs before this one told of the mechanism.
    fn earlier(&self) -> Option<Mechanism> {
        with_table(|table| table.logins(self.binding.get())?.mechanism()).flatten()
    }

    /// What became of this request's binding.
    pub fn binding_use(&self) -> BindingUse {
        self.binding_use.get()
    }

    /// Requests that the bound connection has carried, this one included; 0 without a binding.
    pub fn carried(&self) -> u64 {
        self.carried.get()
    }

    /// What the answer makes of the login that this request is a leg of.
    fn step(&self) -> Step {
        self.login.get().unwrap_or_else(|| {
            let bound = match self.source.get() {
                Source::Binding(bound) => Some(bound),
                _ => None,
            };
            self.foreseen(bound).verdict(&self.group().limits).login
        })
    }

    /// Runs `show` on who is logged in over the connection that answers this request, as far as that is proven. `show` must
    /// not call nginx.
    pub fn with_login<R>(&self, show: impl FnOnce(&Login) -> R) -> Option<R> {
        let id = self.binding.get();
        let noted =
            self.login.get().is_some() && with_table(|table| table.logins(id).is_some()) == Some(true);
        if self.has(Facts::CREDENTIALS) && !noted {
            match self.change(self.step()).0 {
                Change::Unchanged => {}
                Change::Nobody => return None,
                Change::To(login) => return Some(show(&login)),
            }
        }
        // Another stream of the client may have logged in over it since.
        let alone = self.r.is_http1();
        with_table(|table: &mut Table| {
            let logins = table.logins(id)?;
            (alone || Some(logins.notes) == self.notes.get()).then_some(())?;
            logins.current.as_ref().map(show)
        })
        .flatten()
    }

    /// Runs `show` on the login that the origin refused with the answer to this request. `show` must not call nginx.
    pub fn with_refused<R>(&self, show: impl FnOnce(&Login) -> R) -> Option<R> {
        if !self.has(Facts::CREDENTIALS) || self.step() != Step::Refused {
            return None;
        }
        let login = self.read_credentials()?.login(self.earlier(), self.has(Facts::CHALLENGED))?;
        Some(show(&login))
    }
}
