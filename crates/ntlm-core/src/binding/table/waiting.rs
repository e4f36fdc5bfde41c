//! How a binding waits: in the list of its client address and phase, and in the ring of its group's deadlines.

use super::{Binding, Bindings, Ended, State, group_in, lower_half};
use crate::binding::exchange::Phase;
use crate::binding::expiry::RingPlace;
use crate::binding::ids::{BindingId, GroupId};

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// Ends a parked binding that has waited for its timeout. Call it until it returns `None`, all at once or a few at a
    /// time.
    pub fn expire(&mut self, now: u64) -> Option<Ended<C, U>> {
        for group in (0u32..).map(GroupId).take(self.groups.len()) {
            while let Some(id) = group_in(&mut self.groups, group)?.ring.due(now) {
                let Binding { state, deadline, .. } = *self.bindings.get(id)?;
                let parked = matches!(state, State::Parked);
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

    /// Moves a parked binding to the new end of the list of its address and a phase.
    pub(super) fn move_last(&mut self, id: BindingId, phase: Phase) {
        self.unlink(id);
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let source = self.addresses.find(binding.group, binding.key.address);
        let Some(source) = source else { return };
        let Some(list) = self.addresses.list(source, phase) else { return };
        let older = list.newest.replace(id);
        if older.is_none() {
            list.oldest = Some(id);
        }
        let before = core::mem::replace(&mut binding.phase, phase);
        binding.linked = true;
        binding.deadline_in_list = lower_half(binding.deadline);
        binding.older = older;
        let deadline = binding.deadline;
        if let Some(older) = older.and_then(|older| self.bindings.get_mut(older)) {
            older.newer = Some(id);
        }
        if before != phase {
            self.addresses.shift(source, before, phase);
        }
        self.addresses.show(source, phase, deadline);
    }

    /// Takes a binding out of the list of its address and phase, if it is in there.
    pub(super) fn unlink(&mut self, id: BindingId) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        if !core::mem::take(&mut binding.linked) {
            return;
        }
        let (source, phase) = (self.addresses.find(binding.group, binding.key.address), binding.phase);
        let (older, newer) = (binding.older.take(), binding.newer.take());
        if let Some(older) = older.and_then(|older| self.bindings.get_mut(older)) {
            older.newer = newer;
        }
        if let Some(newer) = newer.and_then(|newer| self.bindings.get_mut(newer)) {
            newer.older = older;
        }
        if let Some(list) = source.and_then(|source| self.addresses.list(source, phase)) {
            if older.is_none() {
                list.oldest = newer;
            }
            if newer.is_none() {
                list.newest = older;
            }
        }
    }

    /// Puts a binding that is in no slot into the one of `time`, which is returned.
    pub(super) fn join_ring(&mut self, id: BindingId, time: u64, now: u64) -> Option<u64> {
        let binding = self.bindings.get_mut(id)?;
        let group = group_in(&mut self.groups, binding.group)?;
        let (slot, first) = group.ring.put(id, time, now)?;
        binding.place = RingPlace { slot: Some(slot), before: None, after: first };
        if let Some(first) = first.and_then(|first| self.bindings.get_mut(first)) {
            first.place.before = Some(id);
        }
        Some(time)
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
