//! An upstream connection that is bound: where it leads, and whether that is the way of a request.
//!
//! The module allocates a [`Bound`] in the pool of that connection. nginx frees the pool when it closes the connection, so it
//! must not be used after that. Must never call two transports the same when the server, or the client certificate shown to it, could
//! be another's.
#![expect(unsafe_code, reason = "what hangs on the pool of an upstream connection")]

use core::cell::RefCell;
use core::ptr::NonNull;

use ntlm_core::binding::ids::BindingId;

use crate::group::Group;
use crate::ngx::{Connection, Pool, Request, Server, Slice, Upstream, now};
use crate::stats::Number;

/// A bound upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound(NonNull<Inner>);

// An `Inner` fits into what nginx leaves free in the pool of an upstream connection without TLS (ngx_http_upstream_connect).
#[derive(Clone, Copy)]
struct Inner {
    connection: Connection,
    binding: BindingId,
    group: NonNull<Group>,
    /// In memory that lives as long as the worker, or as the connection.
    route: NonNull<Route>,
    /// When the request that bound it ended.
    since: u64,
    /// `c->requests` before that request.
    requests_before: u32,
    /// The server is in memory that lives as long as the worker, else as long as the connection.
    is_server_kept: bool,
    /// The client speaks HTTP/1.x.
    http1: bool,
    /// A bit for each of the last two requests, if they came too late to use the timer of the one before. One that came soon clears both.
    late: u8,
    /// The server's number among those that are counted.
    number: Number,
}

/// After two late requests in a row, the next one is taken to come late, too. One alone says little: the timer of a client that asks every
/// 200 ms is of use to every other request.
const BOTH: u8 = 0b11;

const _: () = assert!(size_of::<Inner>() <= 128 - size_of::<nginx_sys::ngx_pool_t>());

/// Where a bound connection leads, and how.
#[derive(Clone, Copy)]
struct Route {
    server: NonNull<Server>,
    transport: Transport,
}

impl Route {
    /// A route to a server that the worker keeps.
    fn to(server: &'static Server, transport: Transport) -> Self {
        Route { server: NonNull::from(server), transport }
    }

    /// Whether it leads to a server that the worker keeps, in the same way.
    fn is_to(&self, server: &'static Server, transport: &Transport) -> bool {
        self.server == NonNull::from(server) && self.transport.is(transport)
    }
}

/// The way a request takes to the server it is given, apart from which server that is.
#[derive(Clone, Copy)]
pub struct Transport {
    protocol: usize,
    local_address: Slice,
    #[cfg(nginx_tls)]
    tls: Option<Tls>,
}

#[cfg(nginx_tls)]
#[derive(Clone, Copy)]
struct Tls {
    /// The context, which carries the protocol versions, ciphers, and what certificates are verified against.
    context: usize,
    verify: bool,
    server_name: bool,
    name: Slice,
    certificate: Slice,
    certificate_key: Slice,
}

impl Transport {
    /// The way this request takes. What it refers to lives as long as the request. `None` when it cannot
    /// be told: what cannot be evaluated is not the same as nothing.
    pub fn of(r: Request, u: Upstream) -> Option<Self> {
        let _ = r;
        Some(Transport {
            protocol: u.protocol(),
            local_address: u.peer().local_address(),
            #[cfg(nginx_tls)]
            tls: if u.is_tls() { Some(Tls::of(r, u)?) } else { None },
        })
    }

    /// Whether there is nothing in it that a client could choose.
    fn is_plain(&self) -> bool {
        self.has_no_tls() && self.local_address.as_bytes().is_empty()
    }

    fn has_no_tls(&self) -> bool {
        #[cfg(nginx_tls)]
        return self.tls.is_none();
        #[cfg(not(nginx_tls))]
        true
    }

    /// Whether a request of this protocol takes this way, without TLS and without `proxy_bind`.
    pub fn is_direct(&self, protocol: usize) -> bool {
        self.is_plain() && self.protocol == protocol
    }

    /// Whether they are the same.
    pub fn is(&self, other: &Self) -> bool {
        #[cfg(nginx_tls)]
        let is_same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(tls), Some(other)) => tls.is(other),
            _ => false,
        };
        #[cfg(not(nginx_tls))]
        let is_same_tls = true;
        self.protocol == other.protocol && self.local_address == other.local_address && is_same_tls
    }

    /// A copy of the settings; the bytes that they refer to are where `keep` puts them.
    fn kept_by(self, keep: impl Fn(Slice) -> Option<Slice>) -> Option<Self> {
        Some(Transport {
            local_address: keep(self.local_address)?,
            #[cfg(nginx_tls)]
            tls: match self.tls {
                None => None,
                Some(tls) => Some(Tls {
                    name: keep(tls.name)?,
                    certificate: keep(tls.certificate)?,
                    certificate_key: keep(tls.certificate_key)?,
                    ..tls
                }),
            },
            ..self
        })
    }
}

#[cfg(nginx_tls)]
impl Tls {
    /// Locations that say the same have contexts of their own, so these only count where a server is verified: what it
    /// is verified against cannot be compared in any other way.
    #[inline(never)]
    fn is(&self, other: &Self) -> bool {
        (self.verify == other.verify && (!self.verify || self.context == other.context))
            && self.server_name == other.server_name
            && self.name == other.name
            && self.certificate == other.certificate
            && self.certificate_key == other.certificate_key
    }

    #[inline(never)]
    fn of(r: Request, u: Upstream) -> Option<Self> {
        let conf = u.tls_conf();
        let (certificate, certificate_key) = u.tls_certificate(r)?;
        Some(Tls {
            context: conf.context,
            verify: conf.verify,
            server_name: conf.server_name,
            name: r.evaluate(conf.name, u.default_tls_name())?,
            certificate,
            certificate_key,
        })
    }
}

/// The servers and routes of bound connections, in memory that the worker never frees: nginx reads the name of a server when it logs
/// a request, and the connection with its pool may be gone by then.
struct KeptRoutes {
    servers: RefCell<Vec<&'static Server>>,
    routes: RefCell<Vec<&'static Route>>,
}

/// The most servers, and routes, that are kept. There is no end to the names that `proxy_pass` with variables may give.
const MOST: usize = 1024;

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread.
unsafe impl Sync for KeptRoutes {}

static KEPT: KeptRoutes = KeptRoutes { servers: RefCell::new(Vec::new()), routes: RefCell::new(Vec::new()) };

/// A server in memory that is never freed. `None` when there are [`MOST`] others, or no memory.
fn keep_server(server: Server) -> Option<&'static Server> {
    keep(&KEPT.servers, |kept| *kept == server, || server.kept_by(Slice::kept_for_good))
}

/// A route in memory that is never freed.
fn keep_route(server: &'static Server, transport: Transport) -> Option<&'static Route> {
    keep(&KEPT.routes, |kept| kept.is_to(server, &transport), || Some(Route::to(server, transport)))
}

fn keep<T>(
    all: &RefCell<Vec<&'static T>>,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Option<T>,
) -> Option<&'static T> {
    let mut all = all.try_borrow_mut().ok()?;
    if let Some(kept) = all.iter().find(|kept| is_it(kept)) {
        return Some(kept);
    }
    if all.len() == MOST {
        return None;
    }
    all.try_reserve(1).ok()?;
    let mut place = Vec::new();
    place.try_reserve_exact(1).ok()?;
    place.push(make()?);
    let kept: &'static T = place.leak().first()?;
    all.push(kept);
    Some(kept)
}

impl Bound {
    /// Notes where an upstream connection leads, in its own pool as far as the worker does not keep it. `None` when there is no memory.
    pub fn new(
        connection: Connection,
        server: Server,
        transport: Transport,
        group: NonNull<Group>,
        http1: bool,
    ) -> Option<Self> {
        let pool = connection.pool()?;
        let kept = keep_server(server);
        let route = match kept.filter(|_| transport.is_plain()).and_then(|kept| keep_route(kept, transport)) {
            Some(route) => NonNull::from(route),
            None => {
                let keep = |bytes: Slice| pool.copy(bytes.as_bytes());
                let server = match kept {
                    Some(kept) => NonNull::from(kept),
                    None => pool.place(server.kept_by(keep)?)?,
                };
                pool.place(Route { server, transport: transport.kept_by(keep)? })?
            }
        };
        let inner = Inner {
            connection,
            binding: BindingId::default(),
            group,
            route,
            since: now(),
            requests_before: u32::try_from(connection.requests()).ok()?.saturating_sub(1),
            is_server_kept: kept.is_some(),
            http1,
            late: 0,
            number: Number::OTHER,
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

    /// Whether its next request is likely to come too late to use the timer of the last one.
    pub fn is_rarely_used(self) -> bool {
        self.inner().late == BOTH
    }

    /// The binding that the table made for it.
    pub fn binding(self) -> BindingId {
        self.inner().binding
    }

    /// Notes the binding that the table made for it.
    pub fn set_binding(self, binding: BindingId) {
        self.change(|inner| inner.binding = binding);
    }

    /// The number of its server among those that are counted.
    pub fn number(self) -> Number {
        self.inner().number
    }

    /// Notes the number of its server.
    pub fn set_number(self, number: Number) {
        self.change(|inner| inner.number = number);
    }

    /// The transport settings that it was made with.
    pub fn transport(&self) -> &Transport {
        // SAFETY: it lives as long as the worker, or as the connection.
        unsafe { &self.inner().route.as_ref().transport }
    }

    /// Requests that it has carried since it was bound, the present one included.
    pub fn carried(self) -> u64 {
        self.connection().requests().wrapping_sub(self.inner().requests_before.into())
    }

    /// Milliseconds since it was bound.
    pub fn age(self) -> u64 {
        now().wrapping_sub(self.inner().since)
    }

    /// Offers it as [`Bound::offer`] does, unless the server has to be copied or the timer removed for that: then it does nothing and returns false.
    pub fn offer_at_once(self, u: Upstream) -> bool {
        let inner = self.inner();
        let comes_soon = inner.connection.comes_soon(u.read_timeout());
        if !inner.is_server_kept || (inner.connection.has_timer() && !(comes_soon && u.is_sent_at_once())) {
            return false;
        }
        // SAFETY: the server lives as long as the worker.
        unsafe { self.give(u, self.server(), comes_soon) };
        true
    }

    /// Offers it to the request of `u` and `pool`, whose client has taken the binding. nginx shows the server's name when it
    /// logs the request, and the connection may be gone by then. False when there is no memory.
    pub fn offer(self, u: Upstream, pool: Pool) -> bool {
        let inner = self.inner();
        let server = if inner.is_server_kept { Some(self.server()) } else { self.server_copied_to(pool) };
        let Some(server) = server else { return false };
        let comes_soon = inner.connection.comes_soon(u.read_timeout());
        if !(comes_soon && u.is_sent_at_once()) {
            inner.connection.stop_timer();
        }
        // SAFETY: the server lives as long as the worker, or is in the pool of the request.
        unsafe { self.give(u, server, comes_soon) };
        true
    }

    /// Ends the wait, and gives the connection to the request of `u`.
    ///
    /// # Safety
    ///
    /// The server lives until the request is logged.
    unsafe fn give(self, u: Upstream, server: NonNull<Server>, comes_soon: bool) {
        self.change(|inner| inner.late = if comes_soon { 0 } else { (inner.late << 1 | 1) & BOTH });
        let connection = self.connection();
        connection.wake();
        // SAFETY: vouched for by the caller.
        unsafe { u.peer().offer(connection, server) };
    }

    fn server(&self) -> NonNull<Server> {
        // SAFETY: the route lives as long as the worker, or as the connection.
        unsafe { self.inner().route.as_ref().server }
    }

    #[cold]
    fn server_copied_to(self, pool: Pool) -> Option<NonNull<Server>> {
        // SAFETY: as for `server`; the connection is open.
        let server = unsafe { self.server().read() };
        pool.place(server.kept_by(|bytes| pool.copy(bytes.as_bytes()))?)
    }
}
