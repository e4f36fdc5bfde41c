//! Reads and notes facts of bindings in the table.

use super::{Binding, Bindings, Counts, State};
use crate::binding::exchange::{Phase, Progress};
use crate::binding::ids::{BindingId, ClientId, GroupId};
use crate::binding::key::Key;
use crate::binding::login::{Login, Logins};
use crate::wire::mechanism::Mechanism;

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// The client connection of a binding.
    pub fn client(&self, id: BindingId) -> Option<C> {
        Some(self.clients.get(self.bindings.get(id)?.owner)?.connection)
    }

    /// The phase that the exchanges over a binding have shown.
    pub fn progress(&self, id: BindingId) -> Progress {
        let of = |binding: &Binding<U>| Progress::of(binding.proven, binding.logins.asked());
        self.bindings.get(id).map(of).unwrap_or_default()
    }

    /// Notes what the exchanges over a binding have shown.
    pub fn set_progress(&mut self, id: BindingId, progress: Progress) {
        if let Some(binding) = self.bindings.get_mut(id) {
            binding.proven = progress.is_proven();
            binding.logins.end_leg(progress.asked());
        }
    }

    /// Notes who is logged in over a binding; `None` while nobody is, with what is known of the mechanism of a login that
    /// goes on, and whether its last answer was a challenge. True when another user was logged in before.
    pub fn set_login(
        &mut self,
        id: BindingId,
        login: Option<Login>,
        mechanism: Option<Mechanism>,
        challenged: bool,
    ) -> bool {
        self.bindings.get_mut(id).is_some_and(|binding| binding.logins.note(login, mechanism, challenged))
    }

    /// Notes that the last answer over a binding was no challenge.
    pub fn end_challenge(&mut self, id: BindingId) {
        if let Some(binding) = self.bindings.get_mut(id) {
            binding.logins.challenged = false;
        }
    }

    /// The logins over a binding, also when it has ended, until its client leaves.
    pub fn logins(&self, id: BindingId) -> Option<&Logins> {
        Some(&self.bindings.get(id)?.logins)
    }

    /// The bindings of a group.
    pub fn counts(&self, group: GroupId) -> Counts {
        let Some(group) = self.group(group) else { return Counts::default() };
        let handshaking = group.parked_in(Phase::Handshaking);
        Counts { parked: group.parked(), handshaking, busy: group.busy }
    }

    /// Whether a client has a binding for this group and chosen key, or the trace of one, under another address.
    pub fn has_another_address(&self, client: ClientId, group: GroupId, key: Key<'_>) -> bool {
        self.clients.get(client).is_some_and(|owner| {
            self.of_client(owner).any(|(_, binding)| {
                binding.group == group
                    && binding.key.is_of(key.site)
                    && binding.key.chosen() == key.chosen
                    && binding.key.address != key.address
            })
        })
    }

    /// Whether a client has a binding, or the trace of one, that a request with this key finds.
    pub fn knows(&self, client: ClientId, group: GroupId, key: Key<'_>) -> bool {
        self.clients.get(client).is_some_and(|owner| self.search(owner, group, key).is_some())
    }

    /// The group and the chosen key of a client's binding whose last answer was a challenge: the one that is parked, if there are
    /// several the youngest.
    pub fn open_challenge(&self, client: ClientId) -> Option<(GroupId, &[u8])> {
        let owner = self.clients.get(client)?;
        let mut open = self.of_client(owner).filter(|(_, binding)| {
            matches!(binding.state, State::Parked)
                && binding.phase == Phase::Handshaking
                && binding.logins.challenged
        });
        open.next().map(|(_, binding)| (binding.group, binding.key.chosen()))
    }

    /// Client connections in the table.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }
}
