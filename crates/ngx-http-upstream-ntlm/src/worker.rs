//! The table of bindings of this worker process.
//!
//! Must never be held across a call into nginx: nginx re-enters the module.
#![expect(unsafe_code, reason = "one thread of a worker runs all of the module")]

use core::cell::RefCell;

use nginx_sys::{ngx_cycle_t, ngx_int_t};
use ntlm_core::bindings::Bindings;

use crate::ngx::{Connection, Status};
use crate::parked::Bound;

/// The table: a client connection each, and what hangs on an upstream connection.
pub type Table = Bindings<Connection, Bound>;

struct Worker(RefCell<Option<Table>>);

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread; its thread pools only read and
// write files.
unsafe impl Sync for Worker {}

static WORKER: Worker = Worker(RefCell::new(None));

/// Runs `decide` on the table of this worker. `decide` must not call nginx; a nested call gets `None`.
#[inline(always)]
pub fn with_table<R>(decide: impl FnOnce(&mut Table) -> R) -> Option<R> {
    let mut table = WORKER.0.try_borrow_mut().ok()?;
    Some(decide(table.get_or_insert_with(Table::new)))
}

/// `init_process`: an empty table already has memory that is not asked for in a way that may be refused, so it is made
/// while there is no client to lose.
///
/// # Safety
///
/// Called by nginx as a worker starts.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_init_process(_cycle: *mut ngx_cycle_t) -> ngx_int_t {
    with_table(|_| Status::OK).unwrap_or(Status::ERROR).0
}
