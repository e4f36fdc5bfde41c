//! An upstream connection that is bound: what belongs to it for as long as it lives.
//!
//! The module allocates it in the pool of that connection. nginx frees the pool when it closes the connection, so a [`Bound`]
//! must not be used after that.
#![expect(unsafe_code, reason = "what hangs on the pool of an upstream connection")]

use core::ptr::NonNull;

use ntlm_core::binding::ids::BindingId;

use crate::group::Group;
use crate::ngx::{Connection, Peer, Pool, Server, now};
use crate::transport::Transport;

/// A bound upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound(NonNull<Inner>);

#[derive(Clone, Copy)]
struct Inner {
    connection: Connection,
    binding: BindingId,
    group: NonNull<Group>,
    server: Kept,
    transport: Transport,
    /// `c->requests` before the request that bound it, and when that ended.
    requests_before: u64,
    since: u64,
    /// When it was parked last, on nginx's clock.
    parked: u64,
    /// The client speaks HTTP/1.x.
    http1: bool,
    /// In the row of connections that wait to be closed: the next one, and the client connection that is to end with it.
    next: Option<Bound>,
    client: Option<(Connection, u64)>,
    is_closing: bool,
}

/// The server of a bound connection, and how long its memory lives.
#[derive(Clone, Copy)]
enum Kept {
    /// As long as the worker.
    ForGood(&'static Server),
    /// As long as the connection.
    WithConnection(Server),
}

impl Bound {
    /// Notes where an upstream connection leads, in its own pool: to the server of `pc`, which is `server` where the worker keeps it.
    /// `None` when there is no memory.
    pub fn new(
        connection: Connection,
        pc: Peer,
        server: Option<&'static Server>,
        transport: Transport,
        group: NonNull<Group>,
        http1: bool,
    ) -> Option<Self> {
        let pool = connection.pool()?;
        let inner = Inner {
            connection,
            binding: BindingId::default(),
            group,
            server: match server {
                Some(server) => Kept::ForGood(server),
                None => Kept::WithConnection(Server::of(pc).copied_to(pool)?),
            },
            transport: transport.copied_to(pool)?,
            requests_before: connection.requests().saturating_sub(1),
            since: now(),
            parked: 0,
            http1,
            next: None,
            client: None,
            is_closing: false,
        };
        pool.place(inner).map(Bound)
    }

    /// The bound connection whose handle was stored in `c->data` when `connection` was parked.
    ///
    /// # Safety
    ///
    /// `c->data` of the connection holds what [`Bound::data`] returned.
    pub unsafe fn of(connection: Connection) -> Option<Self> {
        // SAFETY: vouched for by the caller.
        unsafe { connection.data::<Inner>().map(Bound) }
    }

    /// The pointer that the caller stores in `c->data` when it parks the connection.
    pub fn data(self) -> *mut core::ffi::c_void {
        self.0.as_ptr().cast()
    }

    fn inner(&self) -> &Inner {
        // SAFETY: the pool of the connection is alive while the handle is used (see above), and `change` does not run
        // while a method of this file reads.
        unsafe { self.0.as_ref() }
    }

    /// Changes what is there. `change` must not call nginx.
    fn change(self, change: impl FnOnce(&mut Inner)) {
        // SAFETY: as for `inner`; this thread has no other reference to it, since none outlives its method.
        change(unsafe { &mut *self.0.as_ptr() });
    }

    /// The upstream connection.
    pub fn connection(self) -> Connection {
        self.inner().connection
    }

    /// The group it was bound in.
    pub fn group(self) -> &'static Group {
        // SAFETY: the configuration of a group outlives the connections that were made under it.
        unsafe { self.inner().group.as_ref() }
    }

    /// Whether its client speaks HTTP/1.x.
    pub fn is_http1(self) -> bool {
        self.inner().http1
    }

    /// The binding that the table made for it.
    pub fn binding(self) -> BindingId {
        self.inner().binding
    }

    /// Notes the binding that the table made for it.
    pub fn set_binding(self, binding: BindingId) {
        self.change(|inner| inner.binding = binding);
    }

    /// The transport settings that it was made with.
    pub fn transport(&self) -> &Transport {
        &self.inner().transport
    }

    /// Requests that it has carried since it was bound, the present one included.
    pub fn carried(self) -> u64 {
        self.connection().requests().saturating_sub(self.inner().requests_before)
    }

    /// Milliseconds since it was bound.
    pub fn age(self) -> u64 {
        now().saturating_sub(self.inner().since)
    }

    /// When it was parked last, on nginx's clock.
    pub fn parked(self) -> u64 {
        self.inner().parked
    }

    /// Notes that it is parked from `now` on.
    pub fn set_parked(self, now: u64) {
        self.change(|inner| inner.parked = now);
    }

    /// Offers it to the request of `pc` and `pool`, whose client has taken the binding. nginx shows the server's name when it
    /// logs the request, and the connection may be gone by then. False when there is no memory.
    pub fn offer(self, pc: Peer, pool: Pool) -> bool {
        let inner = self.inner();
        let server = match inner.server {
            Kept::ForGood(server) => Some(NonNull::from(server)),
            Kept::WithConnection(server) => server.copied_to(pool).and_then(|server| pool.place(server)),
        };
        let Some(server) = server else { return false };
        inner.connection.wake();
        // SAFETY: the server lives as long as the worker, or is in the pool of the request.
        unsafe { pc.offer(inner.connection, server) };
        true
    }

    /// Takes it into the row of connections that wait to be closed, before `next`. `client` is the client connection that
    /// is to end with it.
    pub fn join_closing(self, next: Option<Bound>, client: Option<Connection>) {
        self.change(|inner| {
            inner.next = next;
            inner.client = client.map(|client| (client, client.number()));
            inner.is_closing = true;
        });
    }

    /// The connection behind it in that row.
    pub fn next_closing(self) -> Option<Bound> {
        self.inner().next
    }

    /// The client connection that is to end with it, if that is still there.
    pub fn closing_client(self) -> Option<Connection> {
        let (client, number) = self.inner().client?;
        (client.is_open() && client.number() == number).then_some(client)
    }

    /// Whether it waits to be closed.
    pub fn is_closing(self) -> bool {
        self.inner().is_closing
    }
}
