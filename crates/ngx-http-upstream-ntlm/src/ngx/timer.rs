//! One timer of the worker.
#![expect(unsafe_code, reason = "an event of nginx's, and its trampoline")]

use core::cell::UnsafeCell;
use core::mem::zeroed;

use nginx_sys::{
    ngx_add_timer, ngx_connection_t, ngx_current_msec, ngx_cycle, ngx_del_timer, ngx_event_t, ngx_msec_t,
};

/// A timer that goes off at the earliest of the times it was asked for.
pub struct Timer(UnsafeCell<Inner>);

#[repr(C)]
struct Inner {
    event: ngx_event_t,
    /// Debug messages about an event show the descriptor of its connection.
    connection: ngx_connection_t,
    on_due: fn(),
}

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread.
unsafe impl Sync for Timer {}

/// Milliseconds of nginx's clock, which starts anywhere and does not go back.
pub fn now() -> u64 {
    // SAFETY: this thread alone writes it.
    unsafe { ngx_current_msec as u64 }
}

impl Timer {
    /// A timer that is not set.
    pub const fn new(on_due: fn()) -> Self {
        // SAFETY: both are C structs of numbers, pointers and bit-fields; zeroes are what nginx starts from.
        let (event, connection) = unsafe { (zeroed(), zeroed()) };
        Timer(UnsafeCell::new(Inner { event, connection, on_due }))
    }

    /// Sees to it that it goes off at `time` at the latest.
    pub fn go_off_by(&'static self, time: u64) {
        // SAFETY: one thread (see above), and no reference is held across a call.
        unsafe {
            let event = &raw mut (*self.0.get()).event;
            if (*event).timer_set() == 0 || (*event).timer.key as u64 > time {
                set(self.0.get(), time);
            }
        }
    }

    /// Whether it is to go off.
    pub fn is_set(&'static self) -> bool {
        // SAFETY: as above.
        unsafe { (*self.0.get()).event.timer_set() != 0 }
    }

    /// Sees to it that it goes off, `delay` milliseconds from `now` where it was not to go off before.
    pub fn go_off_within(&'static self, now: u64, delay: u64) {
        if !self.is_set() {
            // SAFETY: as above.
            unsafe { set(self.0.get(), now + delay) };
        }
    }
}

/// # Safety
///
/// `inner` is that of a timer that lives for ever.
#[inline(never)]
unsafe fn set(inner: *mut Inner, time: u64) {
    // SAFETY: vouched for by the caller; ngx_cycle lives as long as the worker.
    unsafe {
        let event = &raw mut (*inner).event;
        (*inner).connection.fd = -1;
        (*event).data = (&raw mut (*inner).connection).cast();
        (*event).log = (*ngx_cycle).log;
        (*event).handler = Some(ngx_http_upstream_ntlm_timer_handler);
        // It keeps no worker from exiting.
        (*event).set_cancelable(1);
        // ngx_add_timer would leave a set timer alone where the difference is small.
        if (*event).timer_set() != 0 {
            ngx_del_timer(event);
        }
        ngx_add_timer(event, ngx_msec_t::try_from(time.saturating_sub(now())).unwrap_or(ngx_msec_t::MAX / 2));
    }
}

/// Called by `ngx_event_expire_timers`.
///
/// # Safety
///
/// Called by nginx only, with the event that begins a timer.
unsafe extern "C" fn ngx_http_upstream_ntlm_timer_handler(ev: *mut ngx_event_t) {
    // SAFETY: ngx_event_expire_timers passes the event that was added, which begins a timer.
    unsafe { ((*ev.cast::<Inner>()).on_due)() }
}
