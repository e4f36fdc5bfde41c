//! Which parked binding ends when a group is full, or when connections run short.
//!
//! `binding/order.rs` says which phase and which client address go first; of the bindings of that address the least recently used ends.

use super::{Binding, Bindings, Ended, Evicted, State, since};
use crate::binding::exchange::Phase;
use crate::binding::fairness::AddressId;
use crate::binding::ids::{BindingId, ClientId, GroupId};
use crate::binding::order::{PHASES, turn};

/// How many addresses are looked at for the one that has waited longest, and how many of its bindings. All of them may have been in
/// use since the last eviction, and an eviction must not take longer for that.
const LOOKS: usize = 32;

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// Ends a parked binding of a group that is full with `connections`, to make room for another one, which is about to be parked in this
    /// phase: of the client connection itself or of the address with most bindings, the least recently used. `None` where nothing has to end:
    /// so that logins can begin in a group that is full of bindings in later phases, as many others are parked beside them.
    pub fn evict(&mut self, newcomer: BindingId, phase: Phase, connections: usize) -> Option<Evicted<C, U>> {
        let Binding { owner, group, ref key, .. } = *self.bindings.get(newcomer)?;
        let source = self.addresses.find(group, key.address)?;
        let (parked, place) = (self.group(group)?, turn(phase)?);
        let from =
            |place: usize| PHASES.into_iter().skip(place).map(|phase| parked.parked_in(phase)).sum::<usize>();
        let later = from(place + 1);
        let first = if later >= connections {
            if parked.parked() < 2 * connections {
                return None;
            }
            0
        } else if from(place) >= connections {
            // Bindings of this phase and of later ones fill the group, so one of those ends. The bindings of earlier phases are parked
            // beside them, and stay.
            place
        } else {
            0
        };
        let (phase, heaviest, oldest) = self.first_to_lose(group, first)?;
        // A client with many keys pays itself, unless another address has many more.
        let weight = self.addresses.in_phase(heaviest, phase);
        let own = self.own_to_lose(newcomer, owner, group, phase);
        let own = own.filter(|&(_, others)| heaviest == source || others * 2 >= weight);
        let id = own.map_or(oldest, |(id, _)| id);
        let all = self.group(group).map_or(0, |group| group.parked() + group.busy);
        let of_one = self.addresses.find(group, self.bindings.get(id)?.key.address)?;
        let of_one = self.addresses.bindings(of_one);
        let of_most = of_one < all && of_one * 2 > all;
        Some(Evicted { ended: self.end(id)?, of_most })
    }

    /// The first phase of a group with a parked binding, from a place in the order on; the address with most bindings in it, of those with a parked one;
    /// and its least recently used one in it. Of addresses with as many the one that has waited longest, as far as [`LOOKS`]
    /// tell.
    fn first_to_lose(&mut self, group: GroupId, first: usize) -> Option<(Phase, AddressId, BindingId)> {
        let phase = PHASES.into_iter().skip(first).find(|&phase| self.top(group, phase).is_some())?;
        for _ in 0..LOOKS {
            let (top, oldest) = self.top(group, phase)?;
            let deadline = self.bindings.get(oldest)?.deadline;
            if !self.addresses.stamp(top, phase, deadline) {
                return Some((phase, top, oldest));
            }
        }
        let (top, oldest) = self.top(group, phase)?;
        Some((phase, top, oldest))
    }

    /// The address on top of the heap of a group and phase, of those with a parked binding, and its least recently used one.
    fn top(&mut self, group: GroupId, phase: Phase) -> Option<(AddressId, BindingId)> {
        loop {
            let top = self.addresses.top(group, phase)?;
            if let Some(oldest) = self.oldest_parked(top, phase) {
                return Some((top, oldest));
            }
            self.addresses.hide(top, phase);
        }
    }

    /// The least recently used parked binding of an address and phase, as far as [`LOOKS`] tell. Busy ones that come before it leave
    /// the list.
    fn oldest_parked(&mut self, address: AddressId, phase: Phase) -> Option<BindingId> {
        let mut found: Option<(u64, BindingId)> = None;
        let mut next = self.addresses.list(address, phase)?.oldest;
        let mut looks = 0;
        while let Some(id) = next.filter(|_| looks < LOOKS) {
            let Binding { state, deadline, deadline_in_list, newer, .. } = *self.bindings.get(id)?;
            next = newer;
            if state != State::Parked {
                self.unlink(id);
                continue;
            }
            looks += 1;
            if found.is_none_or(|(first, _)| deadline < first) {
                found = Some((deadline, id));
            }
            if since(deadline_in_list, deadline) == 0 {
                // All that come behind it joined the list later, and so have been used later.
                break;
            }
            let newest = self.addresses.list(address, phase)?.newest;
            let last = newest.and_then(|newest| self.bindings.get(newest));
            let joined = last.map(|last| since(deadline_in_list, last.deadline_in_list.into()));
            if joined.is_some_and(|joined| joined <= since(deadline_in_list, deadline)) {
                self.move_last(id, phase);
            }
        }
        found.map(|(_, id)| id)
    }

    /// The least recently used parked binding of a client in a group and phase, and how many bindings it has there beside the
    /// newcomer.
    fn own_to_lose(
        &self,
        newcomer: BindingId,
        owner: ClientId,
        group: GroupId,
        phase: Phase,
    ) -> Option<(BindingId, usize)> {
        let owner = self.clients.get(owner)?;
        let others = || {
            let counts = |it: &Binding<U>| it.group == group && it.phase == phase && it.state.is_live();
            self.of_client(owner).filter(move |&(id, binding)| id != newcomer && counts(binding))
        };
        let parked = others().filter(|(_, binding)| matches!(binding.state, State::Parked));
        let (id, _) = parked.min_by_key(|(_, binding)| binding.deadline)?;
        Some((id, others().count()))
    }

    /// Ends the parked binding that goes first when connections run short: of the first phase that has any in any group,
    /// of the address with most bindings of a group in it, the least recently used.
    pub fn spare(&mut self) -> Option<Ended<C, U>> {
        let groups = (0u32..).map(GroupId).take(self.groups.len());
        let (.., id) = groups
            .filter_map(|group| {
                let (phase, heaviest, oldest) = self.first_to_lose(group, 0)?;
                Some((phase, self.addresses.in_phase(heaviest, phase), oldest))
            })
            .min_by_key(|&(phase, weight, _)| (turn(phase), core::cmp::Reverse(weight)))?;
        self.end(id)
    }
}
