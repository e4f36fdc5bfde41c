//! When parked bindings have waited long enough: a ring of slots for each group, each slot a stretch of time.
//!
//! A binding is in one slot from the first time it is parked until it ends. Parking it again only moves its deadline; when
//! its slot comes up, the table moves the binding to the slot of its new deadline. So a request costs the ring nothing.
//! A binding ends at its deadline or at most a 256th of the group's timeout later.

use super::ids::{BindingId, Refusal};

/// Slots that one timeout is divided into.
const STRETCHES: u64 = 256;
/// Slots of a ring: more than one timeout, so that what is put into it now does not meet what is due.
const SLOTS: usize = 512;

/// The slots of one group.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// The first binding of each slot.
    slots: Vec<Option<BindingId>>,
    /// Milliseconds of a slot.
    stretch: u64,
    /// The number of the slot that comes up next. Slot `n` comes up at `n * stretch`.
    next: u64,
    /// Bindings in the ring.
    count: usize,
}

/// A binding's place in the ring of its group.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct RingPlace {
    /// Which slot; `None` before the binding is parked for the first time.
    pub(super) slot: Option<u16>,
    pub(super) before: Option<BindingId>,
    pub(super) after: Option<BindingId>,
}

impl Ring {
    /// Makes room for bindings that wait `timeout` milliseconds at most.
    pub(super) fn set_up(&mut self, timeout: u64) -> Result<(), Refusal> {
        if self.slots.is_empty() {
            self.slots.try_reserve_exact(SLOTS).map_err(|_| Refusal::NoMemory)?;
            self.slots.resize(SLOTS, None);
            self.stretch = timeout.div_ceil(STRETCHES).max(1);
        }
        Ok(())
    }

    /// Puts a binding first in the slot of `time`. Returns its slot, and the binding that was first there before.
    pub(super) fn put(&mut self, id: BindingId, time: u64, now: u64) -> Option<(u16, Option<BindingId>)> {
        if self.count == 0 {
            self.next = now / self.stretch.max(1);
        }
        let number = time.div_ceil(self.stretch.max(1)).max(self.next + 1);
        let due = self.index(self.next);
        // The ring is late, and this is the slot being emptied: the next one does.
        let index = if self.index(number) == due { self.index(number + 1) } else { self.index(number) };
        let first = self.slots.get_mut(usize::from(index))?.replace(id);
        self.count += 1;
        Some((index, first))
    }

    /// Notes that a binding left the ring, and which one is now the first of its slot where the binding was the first.
    pub(super) fn left(&mut self, place: RingPlace) {
        self.count -= 1;
        if place.before.is_none()
            && let Some(slot) = place.slot.and_then(|slot| self.slots.get_mut(usize::from(slot)))
        {
            *slot = place.after;
        }
    }

    /// A binding in a slot that has come up; the caller takes it out.
    pub(super) fn due(&mut self, now: u64) -> Option<BindingId> {
        let last = now / self.stretch.max(1);
        // A lap ago every slot has come up.
        self.next = self.next.max((last + 1).saturating_sub(SLOTS as u64));
        while self.count > 0 && self.next <= last {
            if let Some(id) = self.slots.get(usize::from(self.index(self.next))).copied().flatten() {
                return Some(id);
            }
            self.next += 1;
        }
        None
    }

    /// When the next slot with a binding in it comes up.
    pub(super) fn next_time(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        (self.next..self.next + SLOTS as u64)
            .find(|&number| self.slots.get(usize::from(self.index(number))).is_some_and(Option::is_some))
            .map(|number| number * self.stretch)
    }

    fn index(&self, number: u64) -> u16 {
        u16::try_from(number % SLOTS as u64).unwrap_or(0)
    }
}
