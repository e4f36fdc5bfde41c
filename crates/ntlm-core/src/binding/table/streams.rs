//! The state in which a request finds the binding of its client while other requests of that client connection are on their way.

use std::collections::HashSet;

use super::{Binding, Bindings, Key, State};
use crate::binding::anew::FirstLeg;
use crate::binding::challenge::{Challenge, Mark};
use crate::binding::digest::Digest;
use crate::binding::ids::{BindingId, ClientId, GroupId};
use crate::binding::key::Site;
use crate::binding::turn_back::Met;
use crate::wire::ntlmssp::TargetInfo;

/// A login that a request begins whose client has no binding yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BegunLogin {
    /// Of the client connection.
    number: u64,
    group: GroupId,
    key: Digest,
}

/// Those logins: their requests are on their way.
pub(super) type Begun = HashSet<BegunLogin>;

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// The mark of an NTLM message: a CHALLENGE gives it, the AUTHENTICATE that answers repeats it. `None` where the message has no time
    /// stamp.
    pub fn mark(&self, info: TargetInfo<'_>) -> Option<Mark> {
        Mark::of(info, &self.secret)
    }

    /// Notes the challenge that a client was given over a binding.
    pub fn note_challenge(&mut self, id: BindingId, challenge: Challenge) {
        if let Some(binding) = self.bindings.get_mut(id) {
            binding.logins.set_challenge(challenge);
        }
    }

    /// Notes the challenge that the first request of a client connection was given at the time `now`, when the newest connection had the
    /// number `newest`.
    pub fn note_unanswered(&mut self, leg: FirstLeg, newest: u64, now: u64) {
        self.unanswered.challenge(leg, newest, now);
    }

    /// Whether any request that was noted so counts at the time `now`.
    pub fn has_unanswered(&self, now: u64) -> bool {
        self.unanswered.is_used(now)
    }

    /// Whether its client begins the login anew with a request that arrives at the time `now`. If so, what was noted is forgotten.
    pub fn begins_anew(&mut self, leg: FirstLeg, now: u64) -> bool {
        self.unanswered.begins_anew(leg, now)
    }

    /// Notes that a request to such a target arrived with an answer to a challenge.
    pub fn note_answer(&mut self, target: Digest) {
        self.unanswered.answer(target);
    }

    /// Whether the client may still be about to answer the challenge that it was given over a binding, at the time `now`.
    pub fn awaits_answer(&self, id: BindingId, now: u64) -> bool {
        self.bindings.get(id).is_some_and(|binding| {
            let challenge = binding.logins.challenge();
            binding.logins.challenged && challenge.is_some_and(|challenge| challenge.is_fresh(now))
        })
    }

    /// The state of the binding for a request that arrives at the time `now`. `client` is `None` while the client connection has never had a binding.
    pub fn meet(&self, client: Option<ClientId>, number: u64, group: GroupId, key: Key<'_>, now: u64) -> Met {
        let owner = client.and_then(|client| self.clients.get(client)).filter(|owner| owner.number == number);
        match owner.and_then(|owner| self.search(owner, group, key)).map(|(_, binding)| binding) {
            Some(binding) if matches!(binding.state, State::Busy) => Met::Busy,
            Some(binding) if matches!(binding.state, State::Parked) => {
                let challenge = binding.logins.challenge();
                let fresh = challenge.is_some_and(|challenge| challenge.is_fresh(now));
                Met::Waiting { challenge, awaited: fresh && binding.logins.challenged }
            }
            _ if self.has_begun_logins() && self.begun.contains(&self.login(number, group, key)) => {
                Met::Begun
            }
            _ => Met::Nothing,
        }
    }

    /// The state of all bindings of a client in a group to whatever server, at the time `now`: busy if one is, else waiting for the answer to
    /// a challenge if one is, else nothing. Those of other users of the client connection do not count.
    pub fn meet_any(&self, client: ClientId, number: u64, group: GroupId, key: Key<'_>, now: u64) -> Met {
        let Some(owner) = self.clients.get(client).filter(|owner| owner.number == number) else {
            return Met::Nothing;
        };
        let mut met = Met::Nothing;
        let mine = |binding: &Binding<U>| binding.group == group && !binding.key.is_of_another_client(&key);
        for (id, binding) in self.of_client(owner).filter(|(_, binding)| mine(binding)) {
            match binding.state {
                State::Busy => return Met::Busy,
                State::Parked if self.awaits_answer(id, now) => {
                    met = Met::Waiting { challenge: binding.logins.challenge(), awaited: true };
                }
                State::Parked | State::Lost => {}
            }
        }
        met
    }

    /// The digest of what tells a user of a client connection from others, whatever server is asked for.
    pub fn user(&self, key: Key<'_>) -> Digest {
        let Key { address, chosen, forwarded, .. } = key;
        self.secret.digest(&[address.to_bytes().as_flattened(), chosen, &forwarded.to_bytes()])
    }

    /// Notes that a request begins a login. `None` when another one of the client does, or there is no memory. The caller
    /// calls [`Bindings::end_login`] when the request is over.
    pub fn begin_login(&mut self, number: u64, group: GroupId, key: Key<'_>) -> Option<BegunLogin> {
        let login = self.login(number, group, key);
        self.begun.try_reserve(1).ok()?;
        self.begun.insert(login).then_some(login)
    }

    /// Whether any client is in the middle of such a login.
    pub fn has_begun_logins(&self) -> bool {
        !self.begun.is_empty()
    }

    /// Forgets a login that was begun: it has a binding by now, or has failed.
    pub fn end_login(&mut self, login: BegunLogin) {
        self.begun.remove(&login);
    }

    fn login(&self, number: u64, group: GroupId, key: Key<'_>) -> BegunLogin {
        let Key { address, chosen, forwarded, site: Site { tls, host, port } } = key;
        let (forwarded, tls, port) = (forwarded.to_bytes(), [u8::from(tls)], port.to_be_bytes());
        let key =
            self.secret.digest(&[address.to_bytes().as_flattened(), chosen, &forwarded, &tls, host, &port]);
        BegunLogin { number, group, key }
    }
}
