//! An upstream connection that is bound, and how it waits: parking, waking, and the events that end the wait.
//!
//! Must never close a connection that is still in the table, nor leave one in the table that is closed.
#![expect(unsafe_code, reason = "event handlers' trampolines, and what they find on c->data")]

use core::ptr::NonNull;

use nginx_sys::ngx_event_t;
use ntlm_core::bindings::{BindingId, Ended, GroupId};
use ntlm_core::keep::Phase;

use crate::conf::Group;
use crate::diagnose::{Kind, diagnose};
use crate::log::{alert, debug, info};
use crate::ngx::{Connection, LoggedName, Peer, Readable, ServerName, Slice, StandIn, Timer, now};
use crate::stats::{Counter, Slot};
use crate::transport::Transport;
use crate::worker::{Table, groups, touch, with_table};

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
    name: ServerName,
    transport: Transport,
    group: GroupId,
    /// Where what becomes of it is counted.
    slot: Option<&'static Slot>,
    /// When it was parked last, on nginx's clock.
    parked: u64,
    /// The client speaks HTTP/1.x.
    http1: bool,
}

impl Bound {
    /// Notes where an upstream connection leads, in its own pool. `None` when there is no memory.
    pub fn new(
        connection: Connection,
        pc: Peer,
        transport: Transport,
        group: &Group,
        http1: bool,
    ) -> Option<Self> {
        let pool = connection.pool()?;
        let inner = Inner {
            connection,
            binding: BindingId::default(),
            address: pool.copy(pc.address().as_bytes())?,
            name: ServerName::of(pc.name()),
            transport: transport.copied_to(pool)?,
            group: group.id,
            slot: group.slot,
            parked: 0,
            http1,
        };
        pool.place(inner).map(Bound)
    }

    /// The upstream connection.
    pub fn connection(self) -> Connection {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        unsafe { (*self.0.as_ptr()).connection }
    }

    /// Counts what becomes of it.
    #[inline]
    pub fn count(self, counter: Counter) {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        if let Some(slot) = unsafe { (*self.0.as_ptr()).slot } {
            slot.count(counter);
        }
        touch();
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

    /// Lets the connection wait for the next request of its client, until `deadline` on nginx's clock. The table has it
    /// parked already. It may be closed when this returns.
    #[inline(always)]
    pub fn park(self, deadline: u64) {
        let c = self.connection();
        STAND_IN.stand();
        touch();
        // SAFETY: as below; no reference to it is held anywhere.
        unsafe { (*self.0.as_ptr()).parked = now() };
        TIMER.go_off_by(deadline);
        // SAFETY: the read handler expects this struct on c->data; it lives as long as the connection.
        unsafe {
            c.idle(
                self.0.as_ptr().cast(),
                Some(ngx_http_upstream_ntlm_read_handler),
                Some(ngx_http_upstream_ntlm_dummy_handler),
            );
        }
        if c.is_read_ready() {
            self.on_readable();
        }
    }

    /// Hands the connection to a request, whose client has just taken the binding. `$upstream_addr` will show the
    /// server's name, which is copied to `room` since the connection may be gone by then.
    ///
    /// # Safety
    ///
    /// `room` is room for it in the request's pool, to which no reference exists.
    #[inline(always)]
    pub unsafe fn wake(self, pc: Peer, room: NonNull<LoggedName>) {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        let inner = unsafe { self.0.as_ref() };
        inner.connection.wake();
        // SAFETY: vouched for by the caller.
        unsafe { pc.offer(inner.connection, inner.address, &inner.name, room) };
    }

    /// The server closed it while the client was logging in. After a refusal, or when the client has given up, that is its
    /// right.
    fn on_handshake_cut(self, client: Connection) {
        // SAFETY: the pool of the connection is alive while the handle is used (see the type).
        let (group, parked) = unsafe { ((*self.0.as_ptr()).group, (*self.0.as_ptr()).parked) };
        if now() - parked < LEG
            && with_table(|table| table.is_challenged(self.binding())).unwrap_or(false)
            && let Some(group) = groups().find(|other| other.id == group)
        {
            diagnose(client.log(), group, Kind::OriginCloses);
        }
    }

    /// The connection waits and something happened to it.
    fn on_readable(self) {
        let c = self.connection();
        let (why, counter) = if c.is_closing() {
            ("the worker is exiting", Counter::EndedOtherwise)
        } else {
            match c.peek() {
                Readable::Nothing if c.watch_for_reading() => return,
                Readable::Nothing => ("it cannot be watched", Counter::EndedOtherwise),
                Readable::Data => ("the server sent data that nobody asked for", Counter::EndedByServer),
                Readable::Closed => ("the server closed it", Counter::EndedByServer),
            }
        };
        self.count(counter);
        debug!(c.log(), "parked upstream connection {} ends: {why}", c.fd());
        match with_table(|table| table.end(self.binding())).flatten() {
            Some(ended) => {
                if counter == Counter::EndedByServer && ended.phase == Some(Phase::Handshaking) {
                    self.on_handshake_cut(ended.client);
                }
                close(ended);
            }
            None => {
                alert!(c.log(), "ntlm: parked upstream connection {} is in no table", c.fd());
                c.close();
            }
        }
    }
}

/// Milliseconds within which a client that goes on with its login does so.
const LEG: u64 = 5_000;

/// Goes off when the first parked connection has waited long enough.
static TIMER: Timer = Timer::new(expire);

/// Closes the parked connections that have waited long enough.
fn expire() {
    while let Some(ended) = with_table(|table| table.expire(now())).flatten() {
        let c = ended.upstream.connection();
        debug!(c.log(), "parked upstream connection {} ends: \"ntlm_timeout\" passed", c.fd());
        ended.upstream.count(Counter::EndedByTimeout);
        close(ended);
    }
    if let Some(deadline) = with_table(|table| table.next_deadline()).flatten() {
        TIMER.go_off_by(deadline);
    }
}

/// Answers for all parked connections when nginx runs short of connections.
static STAND_IN: StandIn = StandIn::new(spare);

/// Closes the parked connection that can be spared best. False when there is none.
fn spare() -> bool {
    let Some(ended) = with_table(Table::spare).flatten() else { return false };
    let c = ended.upstream.connection();
    info!(c.log(), "bound upstream connection {} is closed, connections run short", c.fd());
    ended.upstream.count(Counter::EndedByShortage);
    close(ended);
    true
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

/// Called by nginx when a parked connection is readable, or the worker exits.
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
