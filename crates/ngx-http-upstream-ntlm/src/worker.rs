//! The state of this worker process: the table of bindings, and the worker's place in the shared memory.
//!
//! Must never be held across a call into nginx: nginx re-enters the module.
#![expect(unsafe_code, reason = "one thread of a worker runs all of the module; hooks' trampolines")]

use core::cell::{Cell, RefCell, RefMut};

use nginx_sys::{NGX_PROCESS_HELPER, ngx_cycle_t, ngx_int_t, ngx_process, ngx_uint_t};
use ntlm_core::binding::end::{End, EndedBy};
use ntlm_core::binding::table::Bindings;

use crate::bound::Bound;
use crate::credentials;
use crate::group::{Group, Main};
use crate::ngx::{Connection, Process, Status, Timer, context_index, main_conf, now};
use crate::stats::{Counter, Shared};

/// The table: a client connection each, and what hangs on an upstream connection.
pub type Table = Bindings<Connection, Bound>;

/// Milliseconds between two publications of the live numbers.
const LIVE_INTERVAL: u64 = 500;

struct Worker {
    table: Cell<Option<&'static RefCell<Table>>>,
    conf: Cell<Option<&'static Main>>,
    /// Its place in the shared memory.
    place: Cell<Option<usize>>,
}

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread; its thread pools only read and
// write files.
unsafe impl Sync for Worker {}

static WORKER: Worker = Worker { table: Cell::new(None), conf: Cell::new(None), place: Cell::new(None) };

/// The table of this worker, for a statement that calls nothing of nginx; `None` while another one has it.
pub fn table() -> Option<RefMut<'static, Table>> {
    WORKER.table.get()?.try_borrow_mut().ok()
}

/// Runs `decide` on the table of this worker. `decide` must not call nginx; a nested call gets `None`.
pub fn with_table<R>(decide: impl FnOnce(&mut Table) -> R) -> Option<R> {
    table().map(|mut table| decide(&mut table))
}

/// The counters and diagnoses that all workers share; `None` before nginx has set up the shared memory.
pub fn shared() -> Option<&'static Shared> {
    WORKER.conf.get()?.shared()
}

/// The groups with `ntlm`.
pub fn groups() -> impl Iterator<Item = &'static Group> {
    WORKER.conf.get().into_iter().flat_map(Main::groups)
}

/// Tells the other workers how many bindings there are.
static PUBLISH: Timer = Timer::new(publish);

fn publish() {
    let Some(place) = WORKER.place.get() else { return };
    for group in groups() {
        if let (Some(slot), Some(counts)) = (group.slot, with_table(|table| table.counts(group.id))) {
            slot.publish(place, counts);
        }
    }
}

/// Counts what a binding does.
#[inline(always)]
pub fn count(bound: Bound, counter: Counter) {
    if let Some(slot) = bound.group().slot {
        slot.count(counter);
    }
    publish_soon();
}

/// Counts the end of a binding.
pub fn count_end(bound: Bound, end: End) {
    if let Some(slot) = bound.group().slot {
        slot.count_end(end.by());
        if end.by() == EndedBy::Server {
            slot.sites().count_end(bound.number(), end == End::Broken);
        }
    }
    publish_soon();
}

/// Publishes the live numbers within [`LIVE_INTERVAL`]. Called when the number of bindings may have changed.
pub fn publish_soon() {
    PUBLISH.go_off_within(now(), LIVE_INTERVAL);
}

/// Whether they are published within that time anyhow.
pub fn will_publish() -> bool {
    PUBLISH.is_set()
}

/// `init_process`: an empty table already has memory that is not asked for in a way that may be refused, so it is made
/// while there is no client to lose.
///
/// # Safety
///
/// Called by nginx as a worker starts.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_init_process(cycle: *mut ngx_cycle_t) -> ngx_int_t {
    // SAFETY: ngx_worker_process_init passes the cycle; its configuration lives as long as the worker.
    let conf = unsafe { main_conf::<Main>(cycle, context_index()) };
    WORKER.conf.set(conf);
    credentials::expect_changes(conf.is_some_and(|conf| conf.has_changing_module));
    // nginx calls this in the processes that look after its caches, too.
    // SAFETY: nginx sets it as it starts a process.
    if unsafe { ngx_process } != NGX_PROCESS_HELPER as ngx_uint_t {
        WORKER.place.set(shared().and_then(|shared| shared.enter(Process::this())));
    }
    if WORKER.table.get().is_none() {
        WORKER.table.set(Some(Box::leak(Box::new(RefCell::new(Table::new())))));
    }
    Status::OK.0
}

/// Gives the worker's place in the shared memory back.
pub fn leave() {
    if let (Some(shared), Some(place)) = (shared(), WORKER.place.take()) {
        shared.leave(place);
    }
}
