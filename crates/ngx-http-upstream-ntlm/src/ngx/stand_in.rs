//! The one entry in nginx's queue of reusable connections that stands for all parked upstream connections.
//!
//! nginx closes the connections of one queue, oldest first, when `worker_connections` run short. One entry of that queue
//! is this module's: asked to close, it has a parked connection closed in its place, whichever can be spared best, and
//! queues up again. So no request pays for the queue.
#![expect(unsafe_code, reason = "an entry of nginx's queue, and its event's trampoline")]

use core::cell::UnsafeCell;
use core::mem::{offset_of, zeroed};

use nginx_sys::{
    ngx_connection_t, ngx_cycle, ngx_event_t, ngx_queue_empty, ngx_queue_insert_after, ngx_queue_remove,
    ngx_queue_t,
};

/// The entry.
pub struct StandIn(UnsafeCell<Inner>);

#[repr(C)]
struct Inner {
    connection: ngx_connection_t,
    read: ngx_event_t,
    spare: fn() -> bool,
}

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread.
unsafe impl Sync for StandIn {}

impl StandIn {
    /// An entry that is not in the queue yet. `spare` closes a parked connection, and is false when there is none.
    pub const fn new(spare: fn() -> bool) -> Self {
        // SAFETY: both are C structs of numbers, pointers and bit-fields; zeroes are what nginx starts from.
        let (connection, read) = unsafe { (zeroed(), zeroed()) };
        StandIn(UnsafeCell::new(Inner { connection, read, spare }))
    }

    /// Sees to it that the entry is in the queue. Called when a connection has been parked.
    pub fn stand(&'static self) {
        if !self.stands() {
            // SAFETY: one thread (see above), and no reference is held across a call.
            unsafe { join(self.0.get()) };
        }
    }

    /// Whether the entry is in the queue.
    pub fn stands(&'static self) -> bool {
        // SAFETY: as for `stand`.
        unsafe { (*self.0.get()).connection.reusable() != 0 }
    }
}

/// Puts an entry at the new end of the queue. `ngx_reusable_connection` would also count it as a waiting client.
///
/// # Safety
///
/// `inner` is that of an entry that lives for ever and is in no queue.
#[cold]
unsafe fn join(inner: *mut Inner) {
    // SAFETY: vouched for by the caller; ngx_cycle lives as long as the worker.
    unsafe {
        let (c, read, log) = (&raw mut (*inner).connection, &raw mut (*inner).read, (*ngx_cycle).log);
        (*read).data = c.cast();
        (*read).log = log;
        (*read).handler = Some(ngx_http_upstream_ntlm_spare_handler);
        (*c).fd = -1;
        (*c).read = read;
        (*c).log = log;
        (*c).set_close(0);
        (*c).set_reusable(1);
        ngx_queue_insert_after(queue(), &raw mut (*c).queue);
        (*ngx_cycle).reusable_connections_n += 1;
    }
}

/// The head of the queue.
fn queue() -> *mut ngx_queue_t {
    // SAFETY: ngx_cycle lives as long as the worker.
    unsafe { &raw mut (*ngx_cycle).reusable_connections_queue }
}

/// Called by `ngx_drain_connections`, which wants a connection closed.
///
/// # Safety
///
/// Called by nginx only, with the read event of an entry in the queue.
unsafe extern "C" fn ngx_http_upstream_ntlm_spare_handler(ev: *mut ngx_event_t) {
    // SAFETY: ngx_drain_connections passes the read event of an entry in the queue; the event's data is the connection that
    // begins an entry.
    unsafe {
        let inner = (*ev).data.cast::<Inner>();
        ngx_queue_remove(&raw mut (*inner).connection.queue);
        (*ngx_cycle).reusable_connections_n -= 1;
        (*inner).connection.set_reusable(0);
        if ((*inner).spare)() {
            join(inner);
        } else if !ngx_queue_empty(queue()) {
            // Nothing is parked any more, so the next in the queue answers in its place, as if this one were not there.
            let next =
                (*queue()).prev.byte_sub(offset_of!(ngx_connection_t, queue)).cast::<ngx_connection_t>();
            (*next).set_close(1);
            if let Some(handler) = (*(*next).read).handler {
                handler((*next).read);
            }
        }
    }
}
