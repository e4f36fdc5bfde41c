//! How a binding waits: in the list of its client address and phase, and in the ring of its group's deadlines.

use super::{Binding, Bindings, Ended, State, group_in};
use crate::binding::exchange::Phase;
use crate::binding::expiry::Place;
use crate::binding::ids::{BindingId, GroupId};

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// Ends a parked binding that has waited for its timeout. Call it until it returns `None`, all at once or a few at a
    /// time.
    pub fn expire(&mut self, now: u64) -> Option<Ended<C, U>> {
        for group in (0u32..).map(GroupId).take(self.groups.len()) {
            while let Some(id) = group_in(&mut self.groups, group)?.ring.due(now) {
                let Binding { state, deadline, .. } = *self.bindings.get(id)?;
                let parked = matches!(state, State::Parked(_));
                if parked && deadline <= now {
                    return self.end(id);
                }
                self.leave_ring(id);
                let timeout = self.group(group)?.timeout;
                self.join_ring(id, if parked { deadline } else { now + timeout }, now);
            }
        }
        None
    }

    /// The time at which [`Bindings::expire`] has something to look at.
    pub fn expire_by(&self) -> Option<u64> {
        self.groups.iter().filter_map(|group| group.ring.next_time()).min()
    }

    /// Puts a busy binding at the new end of the list of its address and phase. Returns the time by which the ring is to be
    /// looked at, where that is new.
    pub(super) fn link(&mut self, id: BindingId, upstream: U, phase: Phase, now: u64) -> Option<u64> {
        let binding = self.bindings.get_mut(id)?;
        let group = group_in(&mut self.groups, binding.group)?;
        let list = self.addresses.list(binding.source, phase)?;
        group.busy -= 1;
        group.parked += 1;
        if let Some(count) = group.in_phase.get_mut(phase as usize) {
            *count += 1;
        }
        let older = list.newest.replace(id);
        if older.is_none() {
            list.oldest = Some(id);
        }
        binding.state = State::Parked(upstream);
        let before = core::mem::replace(&mut binding.phase, phase);
        binding.older = older;
        binding.newer = None;
        binding.deadline = now + group.timeout;
        let (source, deadline, in_ring) = (binding.source, binding.deadline, binding.place.slot.is_some());
        if let Some(older) = older.and_then(|older| self.bindings.get_mut(older)) {
            older.newer = Some(id);
        }
        if before != phase {
            self.addresses.shift(source, before, phase);
        }
        self.addresses.show(source, phase, deadline);
        if in_ring {
            return None;
        }
        self.join_ring(id, deadline, now);
        Some(deadline)
    }

    /// Takes a parked binding out of the list of its address and phase, into another state.
    pub(super) fn unpark(&mut self, id: BindingId, state: State<U>) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let busy = matches!(state, State::Busy(_));
        binding.state = state;
        let (group, source, phase) = (binding.group, binding.source, binding.phase);
        let (older, newer) = (binding.older.take(), binding.newer.take());
        if let Some(older) = older.and_then(|older| self.bindings.get_mut(older)) {
            older.newer = newer;
        }
        if let Some(newer) = newer.and_then(|newer| self.bindings.get_mut(newer)) {
            newer.older = older;
        }
        if let Some(list) = self.addresses.list(source, phase) {
            if older.is_none() {
                list.oldest = newer;
            }
            if newer.is_none() {
                list.newest = older;
            }
        }
        let Some(group) = group_in(&mut self.groups, group) else { return };
        group.parked -= 1;
        group.busy += usize::from(busy);
        if let Some(count) = group.in_phase.get_mut(phase as usize) {
            *count -= 1;
        }
    }

    /// Puts a binding that is in no slot into the one of `time`.
    fn join_ring(&mut self, id: BindingId, time: u64, now: u64) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let Some(group) = group_in(&mut self.groups, binding.group) else { return };
        let Some((slot, first)) = group.ring.put(id, time, now) else { return };
        binding.place = Place { slot: Some(slot), before: None, after: first };
        if let Some(first) = first.and_then(|first| self.bindings.get_mut(first)) {
            first.place.before = Some(id);
        }
    }

    /// Takes a binding out of its slot, if it is in one.
    pub(super) fn leave_ring(&mut self, id: BindingId) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let (place, group) = (core::mem::take(&mut binding.place), binding.group);
        if place.slot.is_none() {
            return;
        }
        if let Some(group) = group_in(&mut self.groups, group) {
            group.ring.left(place);
        }
        if let Some(before) = place.before.and_then(|before| self.bindings.get_mut(before)) {
            before.place.after = place.after;
        }
        if let Some(after) = place.after.and_then(|after| self.bindings.get_mut(after)) {
            after.place.before = place.before;
        }
    }
}
