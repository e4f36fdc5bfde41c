//! The peer of a request, in the order of nginx's keepalive module: it takes the client's own upstream connection where
//! there is one, asks the balancer where there is none, and decides at the end who owns the connection.
//!
//! A request without credentials whose client has no binding keeps the balancer's peer, untouched. If its answer turns out
//! to carry a token, [`on_token`] puts this peer before the balancer's then.
//!
//! Must never let a tainted connection reach the balancer below, nor call the balancer about an attempt that it was not
//! asked for.
#![expect(unsafe_code, reason = "peer callbacks' trampolines, and the peer that they find")]

mod anew;
mod answer;
mod balanced;
mod free;
mod init;
mod key;
mod leg;
mod login;
mod seen;
mod site;
mod turn_back;
mod turns;

use core::cell::Cell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};
use ntlm_core::binding::exchange::Step;
use ntlm_core::binding::ids::{BindingId, ClientId};
use ntlm_core::binding::table::{Standing, Taken};
use ntlm_core::binding::turn_back::Way;
use ntlm_core::diagnosis::Diagnosis;

use crate::bound::Bound;
use crate::client::{self, Client, Room};
use crate::credentials::{Carried, may_change};
use crate::diagnose::diagnose;
use crate::group::{Defaults, Group, Location};
use crate::log::debug;
use crate::ngx::{Connection, Peer, Request, Status, Upstream, context_index};
use crate::original::{self, Original};
use crate::outgoing::Outgoing;
use crate::stats::Counter;
use crate::worker::{count, table};

pub use answer::Announce;
pub use init::stand_before_group;
use key::Parts;
pub use key::expect_forwarded;
pub use login::BindingUse;
pub use seen::{on_offer, on_token};
use turn_back::is_beside_first_login;
pub use turn_back::{is_answer_turned_back, is_turned_back, on_offer as on_offer_of_login};
pub use turns::stand_before_content;

/// One request's peer, in the pool of the request or in the room of its client ([`Client::room`]).
pub struct NtlmPeer {
    r: Request,
    u: Upstream,
    group: NonNull<Group>,
    /// The balancer's callbacks and their data, in the pool of the request; `None` until the module has called the balancer's `peer.init`.
    original: Cell<Option<NonNull<Original>>>,
    facts: Cell<Facts>,
    /// The parts of the binding's key beside the client's address; `None` where the key is the address alone.
    parts: Option<NonNull<Parts>>,
    source: Cell<Source>,
    /// The binding that served this request, or that it made.
    binding: Cell<BindingId>,
    binding_use: Cell<BindingUse>,
    /// Requests that the bound connection has carried, this one included.
    carried: Cell<u64>,
    /// What the answer made of the login, once the connection is let go of.
    login: Cell<Option<Step>>,
    /// What the table had noted of the binding's logins when this request had it.
    notes: Cell<Option<u32>>,
}

/// Facts about a request and its answer, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts(u8);

impl Facts {
    const NONE: Self = Facts(0);
    /// The request carries connection-bound credentials.
    const CREDENTIALS: Self = Facts(1);
    /// An answer to it offered a connection-bound scheme, or carried a token of one.
    const OFFER: Self = Facts(1 << 1);
    /// An answer to it carried a token.
    const TOKEN: Self = Facts(1 << 2);
    /// The client had a binding that is gone.
    const LOST: Self = Facts(1 << 3);
    /// The answer before this request, over the same connection, was a challenge.
    const CHALLENGED: Self = Facts(1 << 4);
    /// The login of the binding was proven before this request.
    const PROVEN: Self = Facts(1 << 5);

    /// The facts that the table tells a request about the binding that it takes.
    fn of(standing: Standing) -> Self {
        Facts::CHALLENGED.when(standing.challenged).or(Facts::PROVEN.when(standing.proven))
    }

    const fn or(self, others: Self) -> Self {
        Facts(self.0 | others.0)
    }

    const fn without(self, others: Self) -> Self {
        Facts(self.0 & !others.0)
    }

    const fn when(self, is_so: bool) -> Self {
        if is_so { self } else { Facts::NONE }
    }
}

/// There is no memory.
struct NoMemory;

/// Where the connection of the present attempt comes from.
#[derive(Clone, Copy)]
enum Source {
    /// There is no attempt.
    Nowhere,
    /// The balancer was asked.
    Original,
    /// The client's binding; the balancer knows nothing of it.
    Binding(Bound),
}

/// The peer of a request to one of the module's groups; `None` for another request, for one that keeps the balancer's
/// peer, and for one that has gone on to another upstream.
pub fn peer_of<'a>(r: Request) -> Option<&'a NtlmPeer> {
    // SAFETY: only `found_at` sets this module's context, to a peer that lives as long as the request, and so as the uses of
    // its handle. nginx clears the context before a request goes on to another location, and so before another peer is written there.
    let peer = unsafe { r.context::<NtlmPeer>(context_index())?.as_ref() };
    r.goes_through(peer.u).then_some(peer)
}

impl NtlmPeer {
    /// Gives a request its peer: the client's binding, if there is one that is free and fits, else the balancer's.
    ///
    /// A main request over HTTP/1.x without credentials takes the quick way, if the key of its client's binding is the client's address alone.
    pub fn init(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
        if !r.is_http1() || Carried::may_be_by(r, u) || !Location::of(r).has_no_defaults() {
            return Self::init_slowly(r, u, group);
        }
        let owner = r.connection();
        let Some(client) = Client::find(owner) else { return original::init(r, u, group) };
        let is_direct = !u.is_tls() && !u.peer().has_local_address();
        // SAFETY: the configuration of a group outlives its requests.
        if !r.is_watched() || !is_direct || !Parts::is_address_alone(unsafe { group.as_ref() }) {
            return Self::init_with_client(r, u, group);
        }
        match client.room {
            Some(room) => Self::init_at(room, r, u, group, client.id),
            None => Self::init_in_pool(r, u, group, client.id),
        }
    }

    /// Goes the quick way on where the pool of the client connection had no room for a peer.
    #[inline(never)]
    fn init_in_pool(r: Request, u: Upstream, group: NonNull<Group>, id: ClientId) -> Status {
        // If the client has no binding that is free and fits, nothing uses this memory until the request ends.
        match r.pool().take_free() {
            Some(room) => Self::init_at(room, r, u, group, id),
            None => Self::init_with_client(r, u, group),
        }
    }

    /// Writes the request's peer to `room` if the client has a binding that is free and fits; else the request leaves the quick way.
    #[inline(always)]
    fn init_at(
        room: NonNull<MaybeUninit<Room>>,
        r: Request,
        u: Upstream,
        group: NonNull<Group>,
        id: ClientId,
    ) -> Status {
        const { assert!(size_of::<Self>() <= size_of::<Room>() && align_of::<Self>() <= align_of::<Room>()) };
        let Some(mut bindings) = table() else { return Self::init_with_client(r, u, group) };
        // SAFETY: the configuration of a group outlives its requests.
        let (owner, conf) = (r.connection(), unsafe { group.as_ref() });
        let fits = |bound: Bound| bound.transport().is_direct(u.protocol());
        let taken = bindings.claim_by_address(id, owner.number(), conf.id, owner.address(), fits);
        drop(bindings);
        let Some(taken) = taken else { return Self::init_with_client(r, u, group) };
        let (place, peer) = (room.cast::<Self>(), NtlmPeer::new(r, u, group, Facts::NONE, None, None));
        peer.take(taken);
        // SAFETY: the room is as large as a peer, and lies in the pool of the request or of its connection; a peer that was there before is not used any
        // more (`Client::room`).
        let peer = unsafe {
            place.write(peer);
            Self::found_at(place)
        };
        begin(u, taken.upstream);
        peer.stand_alone(u.peer());
        Status::OK
    }

    /// [`NtlmPeer::init`] of a request without credentials whose client has had a binding.
    #[inline(never)]
    fn init_with_client(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
        let owner = r.connection();
        let Some(id) = client::find(owner) else { return original::init(r, u, group) };
        let Some(peer) = Self::place(r, u, group, Facts::NONE, None) else { return Status::ERROR };
        if !peer.serve(owner, id) {
            return peer.init_original();
        }
        peer.stand_before(u.peer());
        Status::OK
    }

    /// [`NtlmPeer::init`] of a request that may have credentials, comes over HTTP/2 or HTTP/3, or has to be changed.
    #[inline(never)]
    fn init_slowly(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
        match Self::prepare(r, u, group) {
            Ok(Some(peer)) if peer.is_served_by_binding() => {
                peer.stand_before(u.peer());
                Status::OK
            }
            Ok(Some(_)) if is_turned_back(r) => Status::ERROR,
            Ok(Some(peer)) => peer.init_original(),
            Ok(None) => original::init(r, u, group),
            Err(NoMemory) => Status::ERROR,
        }
    }

    /// The peer of a request that may have to do with a binding, with the binding that serves it if there is one; or that has been
    /// turned back to HTTP/1.1. `None` for another request.
    fn prepare<'a>(r: Request, u: Upstream, group: NonNull<Group>) -> Result<Option<&'a Self>, NoMemory> {
        let owner = r.client_connection();
        let known = client::find(owner);
        let credentials = Carried::may_be_by(r, u) && Carried::by(r, u).any();
        let location = Location::of(r);
        if location.defaults.get() == Defaults::Unknown && !may_change() {
            let absent = Outgoing::of(u).lacks_defaults();
            location.defaults.set(if absent { Defaults::Absent } else { Defaults::Possible });
        }
        let replaced = location.has_no_defaults() && !may_change();
        if known.is_none() && !credentials && !may_change() && !is_beside_first_login(r, owner) {
            if !replaced {
                Outgoing::of(u).lift_defaults_in_force();
            }
            return Ok(None);
        }
        if !replaced {
            Outgoing::of(u).lift_defaults();
        }
        if credentials {
            u.forbid_storing();
            if Outgoing::of(u).says_close() {
                // SAFETY: the configuration of a group outlives its requests.
                diagnose(r.log(), unsafe { group.as_ref() }, Diagnosis::ConnectionClose);
            }
        }
        let facts = Facts::CREDENTIALS.when(credentials);
        let peer = Self::place(r, u, group, facts, None).ok_or(NoMemory)?;
        let way = peer.way(owner, known);
        if way == Way::Back && peer.turn_back() {
            return Ok(Some(peer));
        }
        if way == Way::Binding
            && let Some(id) = known
        {
            peer.serve(owner, id);
        }
        if credentials && !peer.is_served_by_binding() {
            peer.diagnose_stray_leg(known);
        }
        Ok(Some(peer))
    }

    /// Puts a request's peer into its pool; it is to stand before the one that `original` is, where the balancer has been
    /// asked. `None` when there is no memory.
    fn place<'a>(
        r: Request,
        u: Upstream,
        group: NonNull<Group>,
        facts: Facts,
        original: Option<Original>,
    ) -> Option<&'a Self> {
        // SAFETY: the configuration of a group outlives its requests.
        let parts = Parts::of(r, unsafe { group.as_ref() })?;
        Self::place_with_parts(r, u, group, facts, original, parts)
    }

    /// [`NtlmPeer::place`], of a request whose key has these parts.
    fn place_with_parts<'a>(
        r: Request,
        u: Upstream,
        group: NonNull<Group>,
        facts: Facts,
        original: Option<Original>,
        parts: Option<NonNull<Parts>>,
    ) -> Option<&'a Self> {
        let original = match original {
            Some(original) => Some(r.pool().place(original)?),
            None => None,
        };
        let place = r.pool().place(NtlmPeer::new(r, u, group, facts, original, parts))?;
        // SAFETY: it lies in the pool of the request.
        Some(unsafe { Self::found_at(place) })
    }

    fn new(
        r: Request,
        u: Upstream,
        group: NonNull<Group>,
        facts: Facts,
        original: Option<NonNull<Original>>,
        parts: Option<NonNull<Parts>>,
    ) -> Self {
        NtlmPeer {
            r,
            u,
            group,
            original: Cell::new(original),
            facts: Cell::new(facts),
            parts,
            source: Cell::new(Source::Nowhere),
            binding: Cell::new(BindingId::default()),
            binding_use: Cell::new(BindingUse::None),
            carried: Cell::new(0),
            login: Cell::new(None),
            notes: Cell::new(None),
        }
    }

    /// Lets the module find a request's peer.
    ///
    /// # Safety
    ///
    /// The peer lives as long as the request, or until the module writes the peer of the request's next upstream to the same place.
    unsafe fn found_at<'a>(place: NonNull<Self>) -> &'a Self {
        // SAFETY: vouched for by the caller.
        unsafe {
            let peer = place.as_ref();
            peer.r.set_context(context_index(), place.as_ptr().cast());
            peer
        }
    }

    /// Sets up the balancer for an attempt that the client's binding does not serve.
    fn init_original(&self) -> Status {
        let status = original::init(self.r, self.u, self.group);
        // Of a balancer that failed nothing is called: it may have left its callbacks half initialised.
        let pc = self.u.peer();
        let left = Some(Original::of(pc)).filter(|_| status == Status::OK);
        self.original.set(left.and_then(|original| self.r.pool().place(original)));
        self.stand_before(pc);
        if self.original().is_some() { Status::OK } else { Status::ERROR }
    }

    /// Sets the two callbacks that nginx calls of every peer, and their data.
    fn stand_alone(&self, pc: Peer) {
        let pc = pc.as_ptr();
        // SAFETY: the peer is part of the request's upstream, and what its data points to lives as long as the request.
        unsafe {
            (*pc).data = core::ptr::from_ref(self).cast_mut().cast();
            (*pc).get = Some(ngx_http_upstream_get_ntlm_peer);
            (*pc).free = Some(ngx_http_upstream_free_ntlm_peer);
        }
    }

    /// Whether any of these facts is known.
    fn has(&self, any: Facts) -> bool {
        self.facts.get().0 & any.0 != 0
    }

    fn note(&self, facts: Facts) {
        self.facts.set(self.facts.get().or(facts));
    }

    fn group(&self) -> &Group {
        // SAFETY: the configuration of a group outlives its requests.
        unsafe { self.group.as_ref() }
    }

    /// Lets the client's binding serve this request, if it has one that is free and fits. False where it has none.
    fn serve(&self, owner: Connection, id: ClientId) -> bool {
        let taken = if self.r.is_background() { None } else { self.claim(owner, id) };
        if let Some(taken) = taken {
            self.take(taken);
            begin(self.u, taken.upstream);
        }
        taken.is_some()
    }

    /// Notes the binding that serves this request.
    fn take(&self, taken: Taken<Bound>) {
        let Taken { upstream: bound, standing } = taken;
        self.note(Facts::of(standing));
        self.binding.set(bound.binding());
        self.binding_use.set(BindingUse::Reused);
        // nginx counts this request when it has the connection (ngx_http_upstream_connect).
        self.carried.set(bound.carried() + 1);
        self.notes.set(Some(standing.notes));
        self.source.set(Source::Binding(bound));
    }

    fn is_served_by_binding(&self) -> bool {
        matches!(self.source.get(), Source::Binding(_))
    }

    fn get(&self, pc: Peer) -> Status {
        match self.source.get() {
            Source::Binding(bound) if bound.offer_at_once(self.u) => Status::DONE,
            _ => self.get_slowly(pc),
        }
    }

    #[inline(never)]
    fn get_slowly(&self, pc: Peer) -> Status {
        if let Source::Binding(bound) = self.source.get() {
            return if bound.offer(self.u, self.r.pool()) { Status::DONE } else { Status::ERROR };
        }
        self.source.set(Source::Original);
        self.original().map_or(Status::ERROR, |original| original.get(pc))
    }

    /// The balancer's callbacks and their data; `None` until the module has called the balancer's `peer.init`.
    fn original(&self) -> Option<&Original> {
        // SAFETY: it is in the pool of the request, and nothing changes it.
        self.original.get().map(|original| unsafe { original.as_ref() })
    }

    /// The original callbacks, where the present attempt is one that the balancer was asked for.
    fn asked(&self) -> Option<&Original> {
        self.original().filter(|_| matches!(self.source.get(), Source::Original))
    }
}

/// A binding is about to carry a request.
#[inline(always)]
fn begin(u: Upstream, bound: Bound) {
    u.forbid_storing();
    count(bound, Counter::Reused);
    debug!(u.peer().log(), "using bound upstream connection {}", bound.connection().fd());
}

/// `peer.init` of a group with `ntlm`.
///
/// # Safety
///
/// Called by `ngx_http_upstream_init_request` with a live request and the group's configuration.
unsafe extern "C" fn ngx_http_upstream_init_ntlm_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: ngx_http_upstream_init_request passes a live request, whose upstream it sets up, and its group.
    let (r, u, group) = unsafe { (Request::new(r), Upstream::new((*r).upstream), Group::of(us)) };
    group.map_or(Status::ERROR, |group| NtlmPeer::init(r, u, group)).0
}

/// `pc->get`.
///
/// # Safety
///
/// Called by `ngx_event_connect_peer` with the peer that `stand_alone` set up and its data.
unsafe extern "C" fn ngx_http_upstream_get_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: ngx_event_connect_peer passes the peer and the data that `stand_alone` set, which lives until nginx has freed the peer.
    unsafe { (*data.cast::<NtlmPeer>()).get(Peer::new(pc)).0 }
}

/// `pc->free`.
///
/// # Safety
///
/// As for `pc->get`; called once an attempt, by `ngx_http_upstream_next` or `ngx_http_upstream_finalize_request`.
unsafe extern "C" fn ngx_http_upstream_free_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: nginx passes the peer and the data that `stand_before` set.
    unsafe { (*data.cast::<NtlmPeer>()).free(Peer::new(pc), state) }
}
