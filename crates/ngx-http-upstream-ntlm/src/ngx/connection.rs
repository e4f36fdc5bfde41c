//! `ngx_connection_t` and its events, on the client's and on the upstream's side.
#![expect(unsafe_code, reason = "reads and writes nginx's connections and events")]

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::AtomicUsize;
use core::sync::atomic::Ordering::Relaxed;

use nginx_sys::{
    AF_INET, AF_INET6, NGX_OK, NGX_TIMER_LAZY_DELAY, ngx_close_connection, ngx_connection_counter,
    ngx_connection_t, ngx_current_msec, ngx_cycle, ngx_del_timer, ngx_destroy_pool, ngx_errno,
    ngx_event_handler_pt, ngx_event_timer_rbtree, ngx_handle_read_event, ngx_int_t, ngx_log_t,
    ngx_post_event, ngx_posted_events, ngx_rbtree_delete, sockaddr_in, sockaddr_in6,
};
use ntlm_core::binding::key::Address;

use super::Pool;

/// A connection that nginx keeps for as long as the handle is used. nginx never frees the memory of its connections
/// while a worker lives; it hands them to other peers. So a handle that is kept needs a reason why it is still the same
/// peer: an upstream connection because its owner removes it from the table before closing it, a client connection
/// because the cleanup of its pool removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection(NonNull<ngx_connection_t>);

/// The news that a parked connection has for its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readable {
    /// Nothing that an HTTP reader would see.
    Nothing,
    /// Data that nobody asked for.
    Data,
    /// The end of the stream, an error, or TLS that would have to write first.
    Closed,
}

impl Connection {
    /// # Safety
    ///
    /// nginx keeps the connection for as long as the handle is used (see the type).
    pub unsafe fn from_raw(c: *mut ngx_connection_t) -> Option<Self> {
        NonNull::new(c).map(Connection)
    }

    /// # Safety
    ///
    /// As for `from_raw`, and it is not null.
    pub unsafe fn new(c: *mut ngx_connection_t) -> Self {
        // SAFETY: vouched for by the caller.
        Connection(unsafe { NonNull::new_unchecked(c) })
    }

    /// The connection itself, for a call into nginx.
    pub fn as_ptr(self) -> *mut ngx_connection_t {
        self.0.as_ptr()
    }

    /// `c->number`: never repeats within a worker.
    pub fn number(self) -> u64 {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).number }
    }

    /// The number of the newest connection of all workers.
    pub fn newest() -> u64 {
        // SAFETY: it points to nginx's own counter, or from ngx_event_module_init on to one that all workers share; each new connection takes
        // its value and adds one.
        let next = unsafe { AtomicUsize::from_ptr(ngx_connection_counter.cast()) }.load(Relaxed);
        next.saturating_sub(1) as u64
    }

    /// The log of the connection.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).log }
    }

    /// The pool that lives as long as the connection; an upstream connection has one once it carried a request.
    pub fn pool(self) -> Option<Pool> {
        // SAFETY: alive (from_raw), and its pool with it.
        unsafe { Pool::from_raw((*self.as_ptr()).pool) }
    }

    /// The client's address, as `ngx_http_realip_module` may have changed it for the request at hand.
    pub fn address(self) -> Address {
        // SAFETY: alive (from_raw); nginx keeps the address as long, in a structure as large as its family says.
        unsafe {
            let address = (*self.as_ptr()).sockaddr;
            match u32::from((*address).sa_family) {
                AF_INET => {
                    let bytes = &raw const (*address.cast::<sockaddr_in>()).sin_addr;
                    Address::v4(bytes.cast::<[u8; 4]>().read())
                }
                AF_INET6 => {
                    let bytes = &raw const (*address.cast::<sockaddr_in6>()).sin6_addr;
                    Address::v6(bytes.cast::<[u8; 16]>().read())
                }
                _ => Address::LOCAL,
            }
        }
    }

    /// Requests carried, the present one included.
    pub fn requests(self) -> u64 {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).requests as u64 }
    }

    /// The descriptor.
    pub fn fd(self) -> i32 {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).fd }
    }

    /// Whether either direction saw an end of stream, an error or a time-out, or cannot go on without the other.
    pub fn is_broken(self) -> bool {
        // SAFETY: alive (from_raw), and its two events with it.
        unsafe {
            let (read, write) = (&*(*self.as_ptr()).read, &*(*self.as_ptr()).write);
            read.eof() != 0
                || read.error() != 0
                || read.timedout() != 0
                || write.error() != 0
                || write.timedout() != 0
                || self.is_held_up()
        }
    }

    /// Whether TLS has to write before it can read on, or the other way round. nginx keeps the handler of an event aside
    /// meanwhile, and puts it back whoever has the connection by then.
    fn is_held_up(self) -> bool {
        #[cfg(nginx_tls)]
        // SAFETY: alive (from_raw), and its TLS with it.
        unsafe {
            let tls = (*self.as_ptr()).ssl;
            !tls.is_null() && ((*tls).saved_read_handler.is_some() || (*tls).saved_write_handler.is_some())
        }
        #[cfg(not(nginx_tls))]
        false
    }

    /// `ngx_handle_read_event`: false when the event cannot be registered.
    pub fn watch_for_reading(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { ngx_handle_read_event((*self.as_ptr()).read, 0) == NGX_OK as ngx_int_t }
    }

    /// Whether a read event has been seen and not yet handled.
    pub fn is_read_ready(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*(*self.as_ptr()).read).ready() != 0 }
    }

    /// Whether nginx asked the connection to close: at shutdown, or for want of connections.
    pub fn is_closing(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).close() != 0 }
    }

    /// Whether nginx asked the connection to close because `worker_shutdown_timeout` passed.
    pub fn is_closing_by_force(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).close() != 0 && (*self.as_ptr()).error() != 0 }
    }

    /// Takes back that nginx asked an idle connection to close.
    pub fn stay(self) {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).set_close(0) };
    }

    /// Whether nginx closes the connection when the worker exits: a client connection that has no request, and whose
    /// `keepalive_min_timeout` has passed; an upstream connection that waits ([`Connection::idle`]).
    pub fn is_idle(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).idle() != 0 }
    }

    /// Whether it is open. nginx does not free the memory of a closed one.
    pub fn is_open(self) -> bool {
        // SAFETY: nginx keeps the memory of its connections while the worker lives.
        unsafe { (*self.as_ptr()).fd != -1 }
    }

    /// The value that the owner of the connection stored in `c->data`.
    ///
    /// # Safety
    ///
    /// The caller knows that it is a `T`.
    pub unsafe fn data<T>(self) -> Option<NonNull<T>> {
        // SAFETY: alive (from_raw); the type is vouched for by the caller.
        unsafe { NonNull::new((*self.as_ptr()).data.cast()) }
    }

    /// Whether the connection can wait without a request as it is: nginx watches it for reading, it has nothing to read, no write timer, and is not
    /// broken.
    pub fn is_quiet(self) -> bool {
        // SAFETY: alive (from_raw), and its two events with it.
        unsafe {
            let (read, write) = (&*(*self.as_ptr()).read, &*(*self.as_ptr()).write);
            read.active() != 0
                && read.ready() == 0
                && read.delayed() == 0
                && write.timer_set() == 0
                && !self.is_broken()
        }
    }

    /// Makes a connection quiet, but for what it has to read. False when its read event cannot be registered.
    pub fn quieten(self) -> bool {
        // SAFETY: alive (from_raw), and its two events with it. The timer call only touches the timer tree.
        unsafe {
            let (reading, writing) = ((*self.as_ptr()).read, (*self.as_ptr()).write);
            (*reading).set_delayed(0);
            if (*writing).timer_set() != 0 {
                ngx_del_timer(writing);
            }
        }
        self.watch_for_reading()
    }

    /// Removes the read timer, as ngx_event_del_timer does, but keeps its key: [`Connection::comes_soon`] tells by it how long ago the timer was set.
    #[inline(never)]
    pub fn stop_timer(self) {
        // SAFETY: alive (from_raw), and its event with it. The call only touches the timer tree, and clears the key.
        unsafe {
            let reading = (*self.as_ptr()).read;
            if (*reading).timer_set() != 0 {
                let key = (*reading).timer.key;
                ngx_rbtree_delete(&raw mut ngx_event_timer_rbtree, &raw mut (*reading).timer);
                (*reading).timer.key = key;
                (*reading).set_timer_set(0);
            }
        }
    }

    /// Lets an upstream connection wait without a request, as `ngx_http_upstream_free_keepalive_peer` does: no request's
    /// log, these handlers. The caller ends the wait. Where the timer of the last request is on, it may go off; then nginx
    /// calls `read`, which asks [`Connection::take_timeout`]. nginx gives no balancer a TLS session that arrives meanwhile.
    ///
    /// # Safety
    ///
    /// `data` is what `read` expects, and lives as long as the connection waits.
    pub unsafe fn idle(self, data: *mut c_void, read: ngx_event_handler_pt, write: ngx_event_handler_pt) {
        let c = self.as_ptr();
        // SAFETY: alive (from_raw), with its events and its pool; ngx_cycle lives as long as the worker.
        unsafe {
            let (log, reading, writing) = ((*ngx_cycle).log, (*c).read, (*c).write);
            (*reading).handler = read;
            (*reading).log = log;
            (*writing).handler = write;
            (*writing).log = log;
            (*(*c).pool).log = log;
            (*c).log = log;
            (*c).data = data;
            (*c).set_idle(1);
        }
    }

    /// Has nginx call `handler` when a waiting upstream connection is readable, in place of the handler before.
    pub fn set_read_handler(self, handler: ngx_event_handler_pt) {
        // SAFETY: alive (from_raw), and its event with it.
        unsafe { (*(*self.as_ptr()).read).handler = handler };
    }

    /// Whether a request that waits `timeout` milliseconds for its answer comes so soon after the last one that the read timer of that, set or
    /// removed since, does for both.
    ///
    /// When nginx has sent a request, it sets the read timer; it does not touch a timer that is set already and goes off less than 300 ms before
    /// or after that (ngx_event_add_timer). So the timer of the last request does where this one loses less than 300 ms, and less than a sixteenth
    /// of `timeout`, by it.
    pub fn comes_soon(self, timeout: usize) -> bool {
        // SAFETY: alive (from_raw), and its event with it. This thread alone writes the time.
        let sooner = unsafe {
            ngx_current_msec.wrapping_add(timeout).wrapping_sub((*(*self.as_ptr()).read).timer.key)
        };
        sooner < (timeout / 16).min(NGX_TIMER_LAZY_DELAY as usize)
    }

    /// Whether the read timer is set.
    pub fn has_timer(self) -> bool {
        // SAFETY: alive (from_raw), and its event with it.
        unsafe { (*(*self.as_ptr()).read).timer_set() != 0 }
    }

    /// The reverse of [`Connection::idle`]: the connection is about to carry a request, whose log and data
    /// `ngx_http_upstream_connect` sets.
    pub fn wake(self) {
        let c = self.as_ptr();
        // SAFETY: alive (from_raw).
        unsafe {
            (*c).set_idle(0);
            (*c).sent = 0;
            (*c).data = core::ptr::null_mut();
        }
    }

    /// Whether a waiting connection's read handler was called because the timer of its last request has gone off; true once.
    pub fn take_timeout(self) -> bool {
        // SAFETY: alive (from_raw), and its event with it.
        unsafe {
            let reading = (*self.as_ptr()).read;
            let gone_off = (*reading).timedout() != 0;
            (*reading).set_timedout(0);
            gone_off
        }
    }

    /// Looks at what a waiting connection has to read. TLS records are taken in, since a session ticket or a key update is
    /// readable but no data; of a plain connection nothing is consumed.
    pub fn peek(self) -> Readable {
        let mut byte = 0u8;
        let c = self.as_ptr();
        #[cfg(nginx_tls)]
        // SAFETY: alive (from_raw); recv reads at most the one byte it is given.
        unsafe {
            if !(*c).ssl.is_null()
                && let Some(recv) = (*c).recv
            {
                return match recv(c, &raw mut byte, 1) {
                    n if n == nginx_sys::NGX_AGAIN as isize && !self.is_held_up() => Readable::Nothing,
                    n if n > 0 => Readable::Data,
                    _ => Readable::Closed,
                };
            }
        }
        // SAFETY: the descriptor is open while the connection is; one byte is asked for and there is room for it.
        let n = unsafe { nginx_sys::recv((*c).fd, (&raw mut byte).cast(), 1, nginx_sys::MSG_PEEK as i32) };
        match n {
            -1 if ngx_errno() == nginx_sys::EAGAIN as i32 => {
                // SAFETY: alive (from_raw).
                unsafe { (*(*c).read).set_ready(0) };
                Readable::Nothing
            }
            n if n > 0 => Readable::Data,
            _ => Readable::Closed,
        }
    }

    /// Closes a waiting upstream connection and frees its pool. The handle, and whatever is in that pool, is not to be
    /// used again.
    pub fn close(self) {
        let c = self.as_ptr();
        // SAFETY: alive (from_raw) until here; the caller has taken it out of the table, so nobody finds it any more.
        unsafe {
            #[cfg(nginx_tls)]
            if let Some(tls) = NonNull::new((*c).ssl) {
                (*tls.as_ptr()).set_no_wait_shutdown(1);
                (*tls.as_ptr()).set_no_send_shutdown(1);
                if nginx_sys::ngx_ssl_shutdown(c) == nginx_sys::NGX_AGAIN as ngx_int_t {
                    (*tls.as_ptr()).handler = Some(ngx_http_upstream_ntlm_close);
                    return;
                }
            }
            if !(*c).pool.is_null() {
                ngx_destroy_pool((*c).pool);
            }
            ngx_close_connection(c);
        }
    }

    /// Asks nginx to close a client connection that has no request, the way it asks for it itself when connections run
    /// short. Nothing happens to one that has a request, or bytes of one: false then.
    pub fn close_if_unused(self) -> bool {
        let c = self.as_ptr();
        // SAFETY: alive (from_raw). The handler runs later, from the event loop; nginx takes a posted event back when the
        // connection closes before.
        unsafe {
            if (*c).idle() == 0 || (*c).reusable() == 0 || (*c).close() != 0 {
                return false;
            }
            // Several QUIC connections share the socket; what waits there says nothing about this one.
            if (*c).udp.is_null() && self.has_unread_bytes() {
                return false;
            }
            (*c).set_close(1);
            ngx_post_event((*c).read, &raw mut ngx_posted_events);
        }
        true
    }

    /// Whether `ngx_http_close_connection` waits for a TLS shutdown to go out: the request that c->data points to is freed.
    pub(super) fn is_saying_goodbye(self) -> bool {
        #[cfg(nginx_tls)]
        // SAFETY: alive (from_raw), and its TLS with it.
        unsafe {
            let close = nginx_sys::ngx_http_close_connection as *const () as usize;
            (*self.as_ptr())
                .ssl
                .as_ref()
                .and_then(|tls| tls.handler)
                .is_some_and(|handler| handler as usize == close)
        }
        #[cfg(not(nginx_tls))]
        false
    }

    /// Whether nginx has given a client connection, or stream, up: the client left, or took too long.
    pub fn is_given_up(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).error() != 0 || (*self.as_ptr()).timedout() != 0 }
    }

    fn has_unread_bytes(self) -> bool {
        let mut byte = 0u8;
        // SAFETY: as in peek.
        let n = unsafe { nginx_sys::recv(self.fd(), (&raw mut byte).cast(), 1, nginx_sys::MSG_PEEK as i32) };
        n > 0
    }
}

/// Called by ngx_ssl_shutdown's event handlers when a shutdown that had to wait is over.
///
/// # Safety
///
/// Called by nginx only, with the connection that [`Connection::close`] left to it.
#[cfg(nginx_tls)]
unsafe extern "C" fn ngx_http_upstream_ntlm_close(c: *mut ngx_connection_t) {
    // SAFETY: nginx calls with a live connection.
    if let Some(c) = unsafe { Connection::from_raw(c) } {
        c.close();
    }
}
