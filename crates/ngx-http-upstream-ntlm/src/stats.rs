//! The counters of each group, over all workers, in memory that the workers share and that outlives a reload.
//!
//! Everything in it is atomic and starts as zeroes. Must never be waited for.

mod sites;

use core::sync::atomic::{AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};

use ntlm_core::binding::end::EndedBy;
use ntlm_core::binding::table::Counts;
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::mechanism::Mechanism;

use crate::ngx::Process;

pub use sites::{Counted, Name, Number, Sites};

/// The groups that can be counted; more are not.
const SLOTS: usize = 128;
/// The processes whose live numbers are kept: workers, and those of before a reload that still finish their work.
const PROCESSES: usize = 128;
/// Groups without `ntlm` whose warnings are told apart; those beyond share.
const GUARDED: usize = 256;
/// The longest name by which a group is found again after a reload; of longer names it is the beginning.
const LONGEST_NAME: usize = 128;
/// Milliseconds over which logins are compared.
const LATELY: u64 = 5 * 60 * 1000;
/// Fewer refusals are nothing unusual.
const MANY: u64 = 20;

/// All that is shared.
#[repr(C)]
pub struct Shared {
    /// When counting began, in milliseconds of Unix time.
    since: AtomicU64,
    processes: [ProcessPlace; PROCESSES],
    slots: [Slot; SLOTS],
    /// When it was last told that credentials go to a group without `ntlm`, in milliseconds of Unix time.
    guarded: [AtomicU64; GUARDED],
}

/// One process.
#[repr(C)]
struct ProcessPlace {
    /// 0 where the place is free.
    pid: AtomicI32,
    /// When it was started ([`Process::started`]).
    started: AtomicU64,
}

impl ProcessPlace {
    fn process(&self) -> Option<Process> {
        let process = Process { pid: self.pid.load(Relaxed), started: self.started.load(Relaxed) };
        (process.pid != 0).then_some(process)
    }

    fn is_at_work(&self) -> bool {
        self.process().is_some_and(|process| !process.is_gone())
    }
}

/// One group.
#[repr(C)]
pub struct Slot {
    name: [AtomicU8; LONGEST_NAME],
    /// 0 where the slot is free.
    name_length: AtomicU32,
    counters: [AtomicU64; Counter::ALL.len()],
    ended: [AtomicU64; EndedBy::ALL.len()],
    handshakes: [[AtomicU64; 2]; Mechanism::ALL.len()],
    troubles: [Trouble; Diagnosis::ALL.len()],
    lately: Lately,
    live: [Live; PROCESSES],
    sites: Sites,
}

/// How often something went wrong.
#[repr(C)]
struct Trouble {
    count: AtomicU64,
    /// In milliseconds of Unix time.
    last: AtomicU64,
    logged: AtomicU64,
}

/// The logins since a moment.
#[repr(C)]
struct Lately {
    /// In milliseconds of Unix time.
    since: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
}

/// Bindings of one process.
#[repr(C)]
struct Live {
    parked: AtomicU32,
    handshaking: AtomicU32,
    busy: AtomicU32,
}

/// Makes [`Counter`] of its table: a counter without a name, a metric or a slot in the array does not compile. The page has lists of its
/// own (`figure` and `explained` in `status/page.js`).
macro_rules! counters {
    ($($counter:ident, $name:literal, $metric:literal, $help:literal;)+) => {
        /// A counter of requests or bindings, beside their ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $help] $counter),+
        }

        impl Counter {
            /// All of them, in the order they are shown in.
            pub const ALL: [Counter; [$($name),+].len()] = [$(Counter::$counter),+];

            /// The field of the JSON.
            pub fn name(self) -> &'static str {
                match self { $(Counter::$counter => $name),+ }
            }

            /// The metric of Prometheus, and its help.
            pub fn metric(self) -> (&'static str, &'static str) {
                match self { $(Counter::$counter => ($metric, $help)),+ }
            }
        }
    };
}

counters! {
    Bound, "bound", "nginx_ntlm_bindings_made_total", "Bindings made.";
    Reused, "reused", "nginx_ntlm_requests_reused_total", "Requests that their client's binding served.";
    Lost, "lost", "nginx_ntlm_requests_lost_total", "Requests whose client had a binding that was gone.";
    Fallback, "fallback", "nginx_ntlm_requests_fallback_total",
        "Requests over HTTP/2 that were turned back to HTTP/1.1.";
}

/// The outcome of a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handshake {
    /// The origin accepted a login that it had asked for.
    Accepted,
    /// It answered 401, and nothing follows.
    Refused,
}

impl Shared {
    /// Notes when counting began, once.
    pub fn begin(&self, now: u64) {
        let _ = self.since.compare_exchange(0, now, Relaxed, Relaxed);
    }

    /// When counting began, in milliseconds of Unix time.
    pub fn since(&self) -> u64 {
        self.since.load(Relaxed)
    }

    /// The slot that a group of this name has.
    pub fn find(&self, name: &[u8]) -> Option<&Slot> {
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        self.slots.iter().find(|slot| slot.is_of(name))
    }

    /// The slot of a group: the one it had before, else a free one, else one of a group that `is_used` does not know.
    /// Called by the one process that reads the configuration.
    pub fn slot(&self, name: &[u8], is_used: impl Fn(&Slot) -> bool) -> Option<&Slot> {
        if let Some(slot) = self.find(name) {
            return Some(slot);
        }
        let name = name.get(..LONGEST_NAME).unwrap_or(name);
        let free = self.slots.iter().find(|slot| slot.name_length.load(Relaxed) == 0);
        let slot = free.or_else(|| self.slots.iter().find(|slot| !is_used(slot)))?;
        slot.reset(name);
        Some(slot)
    }

    /// Gives a process a place for its live numbers.
    pub fn enter(&self, process: Process) -> Option<usize> {
        let place = self.processes.iter().position(|place| {
            let before = place.pid.load(Relaxed);
            !place.is_at_work() && place.pid.compare_exchange(before, process.pid, Relaxed, Relaxed).is_ok()
        })?;
        if let Some(place) = self.processes.get(place) {
            place.started.store(process.started, Relaxed);
        }
        for slot in &self.slots {
            slot.publish(place, Counts::default());
        }
        Some(place)
    }

    /// Takes the place away from a process that ends.
    pub fn leave(&self, place: usize) {
        for slot in &self.slots {
            slot.publish(place, Counts::default());
        }
        if let Some(place) = self.processes.get(place) {
            place.pid.store(0, Relaxed);
        }
    }

    /// The processes at work.
    pub fn workers(&self) -> usize {
        self.processes.iter().filter(|place| place.is_at_work()).count()
    }

    /// Whether it is to be told that credentials go to the group without `ntlm` of this number: not more often than once in
    /// `interval` milliseconds, whichever the worker.
    pub fn is_told_of_guarded(&self, group: u32, now: u64, interval: u64) -> bool {
        let index = usize::try_from(group).unwrap_or(0) % GUARDED;
        self.guarded.get(index).is_some_and(|told| is_due(told, now, interval))
    }
}

/// Notes that something is told now, unless it was told less than `interval` milliseconds ago.
fn is_due(told: &AtomicU64, now: u64, interval: u64) -> bool {
    let before = told.load(Relaxed);
    // The clock may have been set back.
    (now < before || now - before >= interval) && told.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
}

impl Slot {
    fn is_of(&self, name: &[u8]) -> bool {
        self.name_length.load(Relaxed) as usize == name.len()
            && self.name.iter().zip(name).all(|(mine, &other)| mine.load(Relaxed) == other)
    }

    fn reset(&self, name: &[u8]) {
        for (mine, &other) in self.name.iter().zip(name) {
            mine.store(other, Relaxed);
        }
        self.name_length.store(u32::try_from(name.len()).unwrap_or(0), Relaxed);
        let counters = self.counters.iter().chain(&self.ended).chain(self.handshakes.iter().flatten());
        let troubles =
            self.troubles.iter().flat_map(|trouble| [&trouble.count, &trouble.last, &trouble.logged]);
        let lately = [&self.lately.since, &self.lately.accepted, &self.lately.refused];
        for number in counters.chain(troubles).chain(lately) {
            number.store(0, Relaxed);
        }
        for place in 0..PROCESSES {
            self.publish(place, Counts::default());
        }
        self.sites.reset();
    }

    /// Counts one.
    pub fn count(&self, counter: Counter) {
        if let Some(number) = self.counters.get(counter as usize) {
            number.fetch_add(1, Relaxed);
        }
    }

    /// How many were counted.
    pub fn counted(&self, counter: Counter) -> u64 {
        self.counters.get(counter as usize).map_or(0, |number| number.load(Relaxed))
    }

    /// The servers of the group.
    pub fn sites(&self) -> &Sites {
        &self.sites
    }

    /// Counts the end of a binding.
    pub fn count_end(&self, by: EndedBy) {
        if let Some(number) = self.ended.get(by as usize) {
            number.fetch_add(1, Relaxed);
        }
    }

    /// How many bindings ended so.
    pub fn counted_ends(&self, by: EndedBy) -> u64 {
        self.ended.get(by as usize).map_or(0, |number| number.load(Relaxed))
    }

    /// Counts a login.
    pub fn count_handshake(&self, mechanism: Mechanism, handshake: Handshake) {
        if let Some(number) = self.handshakes(mechanism, handshake) {
            number.fetch_add(1, Relaxed);
        }
    }

    /// Counts a login among the latest. True where it was refused, and so were most of them.
    pub fn is_mostly_refused(&self, handshake: Handshake, now: u64) -> bool {
        let Lately { since, accepted, refused } = &self.lately;
        let began = since.load(Relaxed);
        // The clock may have been set back. Of two workers that begin anew at once one does.
        if (now < began || now - began >= LATELY)
            && since.compare_exchange(began, now, Relaxed, Relaxed).is_ok()
        {
            accepted.store(0, Relaxed);
            refused.store(0, Relaxed);
        }
        match handshake {
            Handshake::Accepted => {
                accepted.fetch_add(1, Relaxed);
                false
            }
            Handshake::Refused => {
                let refused = refused.fetch_add(1, Relaxed) + 1;
                refused >= MANY && refused > accepted.load(Relaxed)
            }
        }
    }

    /// How many logins by a mechanism came to this end.
    pub fn counted_handshakes(&self, mechanism: Mechanism, handshake: Handshake) -> u64 {
        self.handshakes(mechanism, handshake).map_or(0, |number| number.load(Relaxed))
    }

    fn handshakes(&self, mechanism: Mechanism, handshake: Handshake) -> Option<&AtomicU64> {
        self.handshakes.get(mechanism as usize)?.get(handshake as usize)
    }

    /// Counts a trouble. True when it is to be logged: not more often than once in `interval` milliseconds, whichever the
    /// worker.
    pub fn count_trouble(&self, kind: Diagnosis, now: u64, interval: u64) -> bool {
        let Some(trouble) = self.troubles.get(kind as usize) else { return false };
        trouble.count.fetch_add(1, Relaxed);
        trouble.last.store(now, Relaxed);
        is_due(&trouble.logged, now, interval)
    }

    /// Whether a trouble that this one follows from was counted less than `interval` milliseconds ago.
    pub fn is_explained(&self, kind: Diagnosis, now: u64, interval: u64) -> bool {
        kind.follows_from().iter().any(|&cause| {
            let (count, last) = self.counted_troubles(cause);
            count > 0 && now.saturating_sub(last) < interval
        })
    }

    /// How often a trouble was counted, and when last.
    pub fn counted_troubles(&self, kind: Diagnosis) -> (u64, u64) {
        self.troubles
            .get(kind as usize)
            .map_or((0, 0), |trouble| (trouble.count.load(Relaxed), trouble.last.load(Relaxed)))
    }

    /// Notes the live numbers of the process at `place`.
    pub fn publish(&self, place: usize, counts: Counts) {
        if let Some(live) = self.live.get(place) {
            for (number, count) in [
                (&live.parked, counts.parked),
                (&live.handshaking, counts.handshaking),
                (&live.busy, counts.busy),
            ] {
                number.store(u32::try_from(count).unwrap_or(u32::MAX), Relaxed);
            }
        }
    }

    /// The live numbers of all processes.
    pub fn live(&self, shared: &Shared) -> Counts {
        let mut sum = Counts::default();
        for (live, place) in self.live.iter().zip(&shared.processes) {
            if place.is_at_work() {
                sum.parked += live.parked.load(Relaxed) as usize;
                sum.handshaking += live.handshaking.load(Relaxed) as usize;
                sum.busy += live.busy.load(Relaxed) as usize;
            }
        }
        sum
    }
}
