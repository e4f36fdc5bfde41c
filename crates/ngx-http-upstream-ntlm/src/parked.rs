//! An upstream connection that is bound, and how it waits: parking, waking, and the events that end the wait.
//!
//! Must never close a connection that is still in the table, nor leave one in the table that is closed.
#![expect(unsafe_code, reason = "event handlers' trampolines, and what they find on c->data")]

use core::ptr::NonNull;

use nginx_sys::{ngx_event_t, ngx_msec_t};
use ntlm_core::bindings::{BindingId, Ended};

use crate::log::{alert, debug};
use crate::ngx::{Connection, Peer, Readable, ServerName, Slice};
use crate::transport::Transport;
use crate::worker::with_table;

/// What belongs to a bound upstream connection for as long as it lives. It is in the pool of that connection: the handle
/// is good until [`Connection::close`], or until nginx closes the connection after `pc->free`.
#[derive(Debug, Clone, Copy)]
pub struct Bound(NonNull<Inner>);

#[derive(Clone, Copy)]
struct Inner {
    connection: Connection,
    binding: BindingId,
    /// The server's address and name.
    address: Slice,
    name: Slice,
    transport: Transport,
    /// The client speaks HTTP/1.x.
    http1: bool,
}

impl Bound {
    /// Notes where an upstream connection leads, in its own pool. `None` when there is no memory.
    pub fn new(connection: Connection, pc: Peer, transport: Transport, http1: bool) -> Option<Self> {
        let pool = connection.pool()?;
        let inner = Inner {
            connection,
            binding: BindingId::default(),
            address: pool.copy(pc.address().as_bytes())?,
            name: pool.copy(pc.name().as_bytes())?,
            transport: transport.copied_to(pool)?,
            http1,
        };
        pool.place(inner).map(Bound)
    }

    /// The upstream connection.
    pub fn connection(self) -> Connection {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        unsafe { (*self.0.as_ptr()).connection }
    }

    /// Whether its client speaks HTTP/1.x.
    fn is_http1(self) -> bool {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        unsafe { (*self.0.as_ptr()).http1 }
    }

    /// The binding that the table made for it.
    pub fn binding(self) -> BindingId {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        unsafe { (*self.0.as_ptr()).binding }
    }

    /// Notes the binding that the table made for it.
    pub fn set_binding(self, binding: BindingId) {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type); no reference to it is held anywhere.
        unsafe { (*self.0.as_ptr()).binding = binding };
    }

    /// The way it took.
    pub fn transport(&self) -> &Transport {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        unsafe { &self.0.as_ref().transport }
    }

    /// Lets the connection wait for the next request of its client, for `timeout` milliseconds. The table has it parked
    /// already. It may be closed when this returns.
    pub fn park(self, timeout: ngx_msec_t) {
        let c = self.connection();
        // SAFETY: the read handler expects this struct on c->data; it lives as long as the connection.
        unsafe {
            c.idle(
                self.0.as_ptr().cast(),
                Some(ngx_http_upstream_ntlm_read_handler),
                Some(ngx_http_upstream_ntlm_dummy_handler),
                timeout,
            );
        }
        if c.is_read_ready() {
            self.on_readable();
        }
    }

    /// Hands the connection to a request, whose client has just taken the binding. `$upstream_addr` will show the
    /// server's name, which is copied to `server` since the connection may be gone by then.
    pub fn wake(self, pc: Peer, server: &ServerName) {
        let inner = self.0.as_ptr();
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        let (c, address, name) = unsafe { ((*inner).connection, (*inner).address, (*inner).name) };
        c.wake();
        pc.offer(c, address, server.set(name));
    }

    /// The connection waits and something happened to it.
    fn on_readable(self) {
        let c = self.connection();
        let why = if c.is_closing() {
            "nginx needs or leaves it"
        } else if c.is_timed_out() {
            "\"ntlm_timeout\" passed"
        } else {
            match c.peek() {
                Readable::Nothing if c.watch_for_reading() => return,
                Readable::Nothing => "it cannot be watched",
                Readable::Data => "the server sent data that nobody asked for",
                Readable::Closed => "the server closed it",
            }
        };
        debug!(c.log(), "parked upstream connection {} ends: {why}", c.fd());
        match with_table(|table| table.end(self.binding())).flatten() {
            Some(ended) => close(ended),
            None => {
                alert!(c.log(), "ntlm: parked upstream connection {} is in no table", c.fd());
                c.close();
            }
        }
    }
}

/// Closes an upstream connection that the table has let go of, and its client connection too, at once or after the
/// request it has: the client takes it for authenticated.
pub fn close(ended: Ended<Connection, Bound>) {
    let upstream = ended.upstream.connection();
    if ended.client.close_if_unused() {
        debug!(upstream.log(), "closing idle client connection {} with it", ended.client.fd());
    } else if ended.upstream.is_http1() {
        // SAFETY: it speaks HTTP/1.x, and has had the request that was bound.
        unsafe { ended.client.close_after_request() };
    }
    upstream.close();
}

/// Called by nginx when a parked connection is readable, its timer ran out, or nginx wants it closed.
///
/// # Safety
///
/// Called by nginx only, with the read event of a connection that [`Bound::park`] gave this handler.
unsafe extern "C" fn ngx_http_upstream_ntlm_read_handler(ev: *mut ngx_event_t) {
    // SAFETY: an event's data is its connection; c->data is what `park` hung there, and both live until `close`.
    let bound = unsafe { Connection::from_raw((*ev).data.cast()).and_then(|c| c.data::<Inner>()) };
    if let Some(bound) = bound {
        Bound(bound).on_readable();
    }
}

/// Called by nginx when a parked connection is writable, which says nothing.
///
/// # Safety
///
/// Called by nginx only.
unsafe extern "C" fn ngx_http_upstream_ntlm_dummy_handler(_ev: *mut ngx_event_t) {}
