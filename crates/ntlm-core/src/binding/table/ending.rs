//! How a binding ends, and how a client leaves.

use super::{Binding, Bindings, Ended, Key, Left, Missed, State, TRACED, group_in};
use crate::binding::exchange::Phase;
use crate::binding::ids::{BindingId, ClientId, GroupId};

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// Takes one of a leaving client's connections out of the table, until there is none; then forgets the client. Call it
    /// until it returns `None`, and close what it returns: a parked one at once. The request that has a busy one finds a
    /// stale id and closes it; the caller closes one that its request never took.
    pub fn leave(&mut self, id: ClientId) -> Option<Left<U>> {
        while let Some(binding) = self.clients.get(id).and_then(|client| client.first) {
            let left = self.forget(binding);
            if left.is_some() {
                return left;
            }
        }
        self.clients.remove(id);
        None
    }

    /// Ends a binding, parked or busy, while its client connection lives on, and remembers that it was lost.
    pub fn end(&mut self, id: BindingId) -> Option<Ended<C, U>> {
        let binding = self.bindings.get(id)?;
        let Binding { owner, group, state, phase, upstream, .. } = *binding;
        let has_login = binding.has_login();
        let phase = match state {
            State::Parked => Some(phase),
            State::Busy => None,
            State::Lost => return None,
        };
        self.lose(id);
        let key = self.bindings.get(id).map(|binding| binding.key.key());
        let shared = self.is_shared(owner, group, id, key);
        let login_elsewhere = !has_login && self.has_login(owner);
        if self.bindings.get(id).is_some_and(|binding| binding.key.chosen().len() > TRACED) {
            self.forget(id);
        }
        let client = self.clients.get(owner)?.connection;
        Some(Ended { client, upstream, phase, shared, login_elsewhere })
    }

    /// Whether a client connection has bindings beside `own` that another client uses: to the same server of the group, or made for another
    /// address, user of a proxy in front, or `ntlm_key`. `key` is that of `own`, or of the request that has none; without it all are another's.
    pub fn is_shared(&self, client: ClientId, group: GroupId, own: BindingId, key: Option<Key<'_>>) -> bool {
        let Some(owner) = self.clients.get(client) else { return false };
        let mut others = self.of_client(owner).filter(|&(id, other)| id != own && other.state.is_live());
        others.any(|(_, other)| {
            key.is_none_or(|key| {
                other.key.is_of_another_client(&key) || (other.group == group && other.key.is_of(key.site))
            })
        })
    }

    /// Why [`Bindings::claim`] found nothing. A client that is logged in over another binding, and never was over the lost one, does not miss that.
    pub fn missed(&self, client: ClientId, number: u64, group: GroupId, key: Key<'_>) -> Missed<U> {
        let owner = self.clients.get(client).filter(|owner| owner.number == number);
        match owner.and_then(|owner| self.search(owner, group, key)) {
            None => Missed::Nothing,
            Some((_, lost)) if lost.state == State::Lost => {
                if lost.has_login() || !self.has_login(client) {
                    Missed::Lost
                } else {
                    Missed::Nothing
                }
            }
            Some((_, busy)) if busy.state == State::Busy => Missed::Busy,
            Some((id, parked)) => Missed::Unfit(id, parked.upstream),
        }
    }

    /// Whether a client connection has a binding whose login is proven.
    fn has_login(&self, client: ClientId) -> bool {
        let Some(client) = self.clients.get(client) else { return false };
        self.of_client(client).any(|(_, binding)| binding.state.is_live() && binding.has_login())
    }

    /// Removes a binding, or the trace of one, altogether. Returns the connection of a binding.
    pub(super) fn forget(&mut self, id: BindingId) -> Option<Left<U>> {
        let Binding { state, upstream, .. } = *self.bindings.get(id)?;
        let left = state.is_live().then_some(Left { upstream, busy: state == State::Busy });
        self.lose(id);
        let binding = self.bindings.remove(id)?;
        let owner = self.clients.get_mut(binding.owner)?;
        if owner.first == Some(id) {
            owner.first = binding.next_of_client;
        } else {
            let mut next = owner.first;
            while let Some(before) = next.and_then(|id| self.bindings.get_mut(id)) {
                if before.next_of_client == Some(id) {
                    before.next_of_client = binding.next_of_client;
                    break;
                }
                next = before.next_of_client;
            }
        }
        left
    }

    /// Makes a live binding a trace. Nothing happens to one that is a trace already.
    fn lose(&mut self, id: BindingId) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let (source, phase) = (self.addresses.find(binding.group, binding.key.address), binding.phase);
        let state = core::mem::replace(&mut binding.state, State::Lost);
        let Some(group) = group_in(&mut self.groups, binding.group) else { return };
        match state {
            State::Parked => group.remove_parked(phase),
            State::Busy => group.busy -= 1,
            State::Lost => return,
        }
        self.unlink(id);
        self.leave_ring(id);
        if let Some(source) = source {
            self.addresses.remove(source, phase);
        }
    }
}

impl<U> Binding<U> {
    /// Whether its login is proven, or was when it was parked last.
    fn has_login(&self) -> bool {
        self.proven || self.phase == Phase::Proven
    }
}
