//! Which client address has most bindings of a group in a phase, so that it is the one to lose some when the group is full.
//!
//! An address has a list of its parked bindings for each phase, in the order in which they joined it, and a place in one heap for each
//! phase: on top the address with the greatest [`Weight`]. A request that
//! takes a binding leaves it in its list; one in use moves to the end now and then. When one is to be evicted, those at the
//! beginning that have been used since they joined move, too. The heaps are put in order when a binding is made, ends, or when one is to be evicted.

use core::cmp::Reverse;
use std::collections::HashMap;

use slotmap::{SlotMap, new_key_type};

use super::exchange::Phase;
use super::ids::{BindingId, GroupId, Refusal};
use super::key;
use super::order::Weight;

new_key_type! {
    /// Names a client address of a group for as long as it has bindings.
    pub(super) struct AddressId;
}

/// The ends of a list of bindings, linked through the bindings.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Lru {
    pub(super) oldest: Option<BindingId>,
    pub(super) newest: Option<BindingId>,
}

#[derive(Debug)]
struct Address {
    group: GroupId,
    source: key::Address,
    /// Bindings, parked and busy.
    bindings: usize,
    /// How many of them are in each phase, or were when they were parked last.
    in_phase: [usize; Phase::COUNT],
    lists: [Lru; Phase::COUNT],
    /// The places in the group's heaps. A place may be missing while the list is empty, and only then.
    places: [Option<usize>; Phase::COUNT],
    /// The deadline of the oldest in each list when it was looked at last: it is not earlier now.
    stamps: [u64; Phase::COUNT],
}

type Heaps = [Vec<AddressId>; Phase::COUNT];

/// The client addresses of all groups.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    addresses: SlotMap<AddressId, Address>,
    index: HashMap<(GroupId, key::Address), AddressId>,
    /// For each group.
    heaps: Vec<Heaps>,
}

impl Addresses {
    /// Makes room for group number `index` and all before it.
    pub(super) fn make_group(&mut self, index: usize) -> Result<(), Refusal> {
        if let Some(missing) = (index + 1).checked_sub(self.heaps.len()) {
            self.heaps.try_reserve(missing).map_err(|_| Refusal::NoMemory)?;
            self.heaps.resize_with(self.heaps.len() + missing, Heaps::default);
        }
        Ok(())
    }

    /// Counts one more binding of an address, handshaking, and enters the address if it has none yet.
    pub(super) fn add(&mut self, group: GroupId, source: key::Address) -> Result<AddressId, Refusal> {
        let id = match self.index.get(&(group, source)) {
            Some(&id) => id,
            None => self.enter(group, source)?,
        };
        if let Some(address) = self.addresses.get_mut(id) {
            address.bindings += 1;
            let [handshaking, ..] = &mut address.in_phase;
            *handshaking += 1;
        }
        for phase in Phase::ALL {
            self.lift(id, phase);
        }
        Ok(id)
    }

    /// Counts a binding of an address in another phase than before.
    pub(super) fn shift(&mut self, id: AddressId, from: Phase, to: Phase) {
        let Some(address) = self.addresses.get_mut(id) else { return };
        for (phase, count) in Phase::ALL.into_iter().zip(&mut address.in_phase) {
            *count -= usize::from(phase == from);
            *count += usize::from(phase == to);
        }
        self.lower(id, from);
        self.lift(id, to);
    }

    fn enter(&mut self, group: GroupId, source: key::Address) -> Result<AddressId, Refusal> {
        self.addresses.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        self.index.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        // Each address of the group can have its place without another allocation.
        let room = self.addresses.len() + 1;
        for heap in heaps_of(&mut self.heaps, group).ok_or(Refusal::NoMemory)? {
            heap.try_reserve(room.saturating_sub(heap.len())).map_err(|_| Refusal::NoMemory)?;
        }
        let id = self.addresses.insert(Address {
            group,
            source,
            bindings: 0,
            in_phase: [0; Phase::COUNT],
            lists: Default::default(),
            places: Default::default(),
            stamps: Default::default(),
        });
        self.index.insert((group, source), id);
        Ok(id)
    }

    /// Counts one binding in a phase less of an address, and forgets the address with its last one.
    pub(super) fn remove(&mut self, id: AddressId, last: Phase) {
        let Some(address) = self.addresses.get_mut(id) else { return };
        address.bindings -= 1;
        for (phase, count) in Phase::ALL.into_iter().zip(&mut address.in_phase) {
            *count -= usize::from(phase == last);
        }
        let gone = address.bindings == 0;
        for phase in Phase::ALL {
            if gone { self.hide(id, phase) } else { self.lower(id, phase) }
        }
        if gone && let Some(address) = self.addresses.remove(id) {
            self.index.remove(&(address.group, address.source));
        }
    }

    /// The client address of a group that has bindings.
    pub(super) fn find(&self, group: GroupId, address: key::Address) -> Option<AddressId> {
        self.index.get(&(group, address.source())).copied()
    }

    /// The bindings of an address, parked and busy.
    pub(super) fn bindings(&self, id: AddressId) -> usize {
        self.addresses.get(id).map_or(0, |address| address.bindings)
    }

    /// The bindings of an address in a phase, parked, or busy and parked in it last.
    pub(super) fn in_phase(&self, id: AddressId, phase: Phase) -> usize {
        self.addresses.get(id).and_then(|address| address.in_phase.get(phase as usize)).copied().unwrap_or(0)
    }

    /// The parked bindings of an address in a phase. The caller links a binding in after [`Addresses::show`].
    pub(super) fn list(&mut self, id: AddressId, phase: Phase) -> Option<&mut Lru> {
        self.addresses.get_mut(id)?.lists.get_mut(phase as usize)
    }

    /// Sees to it that an address has its place in the heap of a phase, now that one of its bindings is parked in it until
    /// `deadline`.
    pub(super) fn show(&mut self, id: AddressId, phase: Phase, deadline: u64) {
        if self.place(id, phase).is_none() {
            self.enter_heap(id, phase, deadline);
        }
    }

    #[cold]
    fn enter_heap(&mut self, id: AddressId, phase: Phase, deadline: u64) {
        let Some(address) = self.addresses.get(id) else { return };
        if let Some(heap) = heap_of(&mut self.heaps, address.group, phase) {
            // `enter` has made room.
            heap.push(id);
            let last = heap.len() - 1;
            self.set_place(id, phase, Some(last));
            self.set_stamp(id, phase, deadline);
            self.lift(id, phase);
        }
    }

    /// The address on top of the heap of a group and phase. The caller hides one whose list is empty.
    pub(super) fn top(&mut self, group: GroupId, phase: Phase) -> Option<AddressId> {
        heap_of(&mut self.heaps, group, phase)?.first().copied()
    }

    /// Notes the deadline of the oldest binding of an address in a phase. False where it was noted already; else another
    /// address may be on top now.
    pub(super) fn stamp(&mut self, id: AddressId, phase: Phase, deadline: u64) -> bool {
        let other = self.set_stamp(id, phase, deadline);
        if other {
            self.lower(id, phase);
        }
        other
    }

    fn weight(&self, id: AddressId, phase: Phase) -> Option<Weight> {
        let Address { bindings, in_phase, stamps, .. } = self.addresses.get(id)?;
        let phase = phase as usize;
        let oldest = Reverse(*stamps.get(phase)?);
        Some(Weight { in_phase: *in_phase.get(phase)?, bindings: *bindings, oldest })
    }

    /// True when another deadline was noted before.
    fn set_stamp(&mut self, id: AddressId, phase: Phase, deadline: u64) -> bool {
        let stamp = self.addresses.get_mut(id).and_then(|it| it.stamps.get_mut(phase as usize));
        stamp.is_some_and(|stamp| core::mem::replace(stamp, deadline) != deadline)
    }

    fn place(&self, id: AddressId, phase: Phase) -> Option<usize> {
        *self.addresses.get(id)?.places.get(phase as usize)?
    }

    fn set_place(&mut self, id: AddressId, phase: Phase, place: Option<usize>) {
        if let Some(address) = self.addresses.get_mut(id)
            && let Some(mine) = address.places.get_mut(phase as usize)
        {
            *mine = place;
        }
    }

    /// Takes an address out of the heap of a phase, in which its list is empty.
    pub(super) fn hide(&mut self, id: AddressId, phase: Phase) {
        let (Some(place), Some(address)) = (self.place(id, phase), self.addresses.get(id)) else { return };
        let Some(heap) = heap_of(&mut self.heaps, address.group, phase) else { return };
        heap.swap_remove(place);
        let moved = heap.get(place).copied();
        self.set_place(id, phase, None);
        if let Some(moved) = moved {
            self.set_place(moved, phase, Some(place));
            self.lift(moved, phase);
            self.lower(moved, phase);
        }
    }

    /// Moves an address up the heap of a phase for as long as it comes before the one above.
    fn lift(&mut self, id: AddressId, phase: Phase) {
        while let Some(place) = self.place(id, phase).filter(|&place| place > 0) {
            if !self.swap_if_first(id, place, (place - 1) / 2, phase) {
                return;
            }
        }
    }

    /// Moves an address down the heap of a phase for as long as one below comes before it.
    fn lower(&mut self, id: AddressId, phase: Phase) {
        let Some(group) = self.addresses.get(id).map(|address| address.group) else { return };
        while let Some(place) = self.place(id, phase) {
            let Some(heap) = heap_of(&mut self.heaps, group, phase) else { return };
            let below = [2 * place + 1, 2 * place + 2].map(|child| heap.get(child).copied());
            let first = below.into_iter().flatten().max_by_key(|&child| self.weight(child, phase));
            let Some(child) = first else { return };
            let Some(at) = self.place(child, phase) else { return };
            if !self.swap_if_first(child, at, place, phase) {
                return;
            }
        }
    }

    /// Swaps an address with the one above it in a heap, if it comes before it. `above` is the place of that one.
    fn swap_if_first(&mut self, id: AddressId, place: usize, above: usize, phase: Phase) -> bool {
        let Some(group) = self.addresses.get(id).map(|address| address.group) else { return false };
        let Some(heap) = heap_of(&mut self.heaps, group, phase) else { return false };
        let Some(other) = heap.get(above).copied() else { return false };
        if self.weight(id, phase) <= self.weight(other, phase) {
            return false;
        }
        if let Some(heap) = heap_of(&mut self.heaps, group, phase) {
            heap.swap(place, above);
        }
        self.set_place(id, phase, Some(above));
        self.set_place(other, phase, Some(place));
        true
    }
}

fn heaps_of(heaps: &mut [Heaps], group: GroupId) -> Option<&mut Heaps> {
    heaps.get_mut(usize::try_from(group.0).ok()?)
}

fn heap_of(heaps: &mut [Heaps], group: GroupId, phase: Phase) -> Option<&mut Vec<AddressId>> {
    heaps_of(heaps, group)?.get_mut(phase as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_is_the_one_with_most_bindings() {
        const GROUP: GroupId = GroupId(0);
        let mut addresses = Addresses::default();
        addresses.make_group(0).unwrap();
        // Sizes in an order that is neither rising nor falling.
        let sizes: Vec<usize> = (0..64).map(|n| (n * 37) % 64 + 1).collect();
        let source = |n: usize| key::Address::v4([10, 0, 0, u8::try_from(n).unwrap()]);
        let ids: Vec<AddressId> = sizes
            .iter()
            .enumerate()
            .map(|(n, &size)| (0..size).map(|_| addresses.add(GROUP, source(n)).unwrap()).last().unwrap())
            .collect();
        for (n, &id) in ids.iter().enumerate() {
            let phase = Phase::ALL[n % 2];
            for _ in 0..sizes[n] {
                addresses.shift(id, Phase::Handshaking, phase);
            }
            addresses.show(id, phase, 0);
            addresses.list(id, phase).unwrap().oldest = Some(BindingId::default());
        }
        for phase in [Phase::ALL[0], Phase::ALL[1]] {
            let mut expected: Vec<usize> =
                (0..ids.len()).filter(|n| Phase::ALL[n % 2] == phase).map(|n| sizes[n]).collect();
            expected.sort_unstable_by(|a, b| b.cmp(a));
            for size in expected {
                let id = addresses.top(GROUP, phase).unwrap();
                assert_eq!(addresses.bindings(id), size);
                for _ in 0..size {
                    addresses.remove(id, phase);
                }
            }
            assert_eq!(addresses.top(GROUP, phase), None);
        }
        assert_eq!(addresses.top(GROUP, Phase::Proven), None);
        assert!(addresses.addresses.is_empty() && addresses.index.is_empty());
    }
}
