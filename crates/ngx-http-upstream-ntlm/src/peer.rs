//! The peer of a request to an `ntlm` group: takes the client's own upstream connection where there is one, asks the
//! balancer (and the keepalive pool over it) where there is none, and decides at the end who owns the connection.
//!
//! Must never let a tainted connection reach the chain below, nor call the chain about an attempt that it was not asked
//! for.
#![expect(unsafe_code, reason = "the calls to the chain below")]

mod bystander;
mod callbacks;
mod chain;
mod ending;
mod login;
mod not_parked;

pub use bystander::called_in;
pub use callbacks::ngx_http_upstream_init_ntlm_peer;

use core::cell::Cell;
use core::ptr::NonNull;

use nginx_sys::{ngx_exiting, ngx_http_request_t, ngx_terminate, ngx_uint_t};
use ntlm_core::bindings::{BindingId, Claim, ClientId, Key};
use ntlm_core::scheme::carries_token;

use crate::conf::Group;
use crate::diagnose::{Kind, diagnose};
use crate::log::{debug, info};
use crate::ngx::{Connection, LoggedName, Peer, Request, Slice, Status, Upstream};
use crate::parked::Bound;
use crate::request::Outgoing;
use crate::stats::Counter;
use crate::transport::Transport;
use crate::worker::with_table;
use crate::{client, credentials, module};
use chain::Chain;
use login::BindingUse;

/// One request's peer, in the pool of the request.
pub struct NtlmPeer {
    r: Request,
    u: Upstream,
    group: NonNull<Group>,
    /// Set once the chain is needed: not for a request that its client's binding serves.
    chain: Cell<Chain>,
    /// The request carries connection-bound credentials; of what a location puts into it, this is known when the chain is
    /// set up.
    credentials: Cell<bool>,
    /// What `ntlm_key` is for this request, in its pool, where the group has one: the same at its end as at its beginning.
    /// `None` there when it cannot be evaluated: then the request neither gets a binding nor makes one.
    chosen: Option<NonNull<Option<Slice>>>,
    /// The answer before this request, over the same connection, was a challenge.
    challenged: Cell<bool>,
    /// The client had a binding that is gone.
    lost: Cell<bool>,
    source: Cell<Source>,
    /// The binding that served this request, or that it made.
    binding: Cell<BindingId>,
    /// What became of it.
    binding_use: Cell<BindingUse>,
    /// Requests that its connection has carried, this one included.
    carried: Cell<u64>,
    /// The table knows what the answer made of the login.
    settled: Cell<bool>,
    /// What the table had noted of the binding's logins when this request had it.
    notes: Cell<Option<u32>>,
}

/// Where the connection of the present attempt comes from.
#[derive(Clone, Copy)]
enum Source {
    /// There is no attempt.
    Nowhere,
    /// The chain was asked.
    Chain,
    /// The client's binding; the chain knows nothing of it.
    Binding(Bound),
}

impl NtlmPeer {
    /// Gives a request its peer: the client's binding, if there is one that is free and fits, else the chain.
    /// [`Status::ERROR`] when there is no memory, or the chain refuses.
    #[inline(always)]
    fn install(r: Request, group: NonNull<Group>) -> Status {
        let owner = r.client_connection();
        match client::find(owner) {
            Some(id) => Self::install_for_client(r, group, owner, id),
            None => Self::install_for_stranger(r, group),
        }
    }

    /// The same for a client that never had a binding.
    #[inline(never)]
    fn install_for_stranger(r: Request, group: NonNull<Group>) -> Status {
        // SAFETY: nginx asks for a peer when it has made the request's upstream.
        let u = unsafe { r.upstream() };
        let outgoing = Outgoing::of(u);
        if credentials::carried_by(r) || outgoing.may_carry_credentials() {
            return Self::install_for_login(r, u, group);
        }
        outgoing.lift_defaults_in_force();
        if Chain::set_up(r, u, group).is_none() {
            return Status::ERROR;
        }
        if bystander::watch(u, group) { Status::OK } else { Self::install_before_chain(r, u, group, false) }
    }

    /// The same for a request of such a client that carries credentials.
    #[inline(never)]
    fn install_for_login(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
        Self::prepare_login(r, u, group);
        match Chain::set_up(r, u, group) {
            Some(()) => Self::install_before_chain(r, u, group, true),
            None => Status::ERROR,
        }
    }

    /// The same for a client that has a binding, or had.
    #[inline(never)]
    fn install_for_client(r: Request, group: NonNull<Group>, owner: Connection, id: ClientId) -> Status {
        // SAFETY: nginx asks for a peer when it has made the request's upstream.
        let u = unsafe { r.upstream() };
        let is_login = credentials::carried_by(r);
        if is_login {
            Self::prepare_login(r, u, group);
        } else {
            Outgoing::of(u).lift_defaults();
        }
        let Some((peer, room)) = Self::place(r, u, group, is_login, || Chain::NONE) else {
            return Status::ERROR;
        };
        // SAFETY: the peer was just placed in the request's pool.
        let this = unsafe { peer.as_ref() };
        if let Some(bound) = this.wake_binding(u.peer(), owner, id, room) {
            debug!(u.peer().log(), "using bound upstream connection {}", bound.connection().fd());
            u.forbid_storing();
            this.source.set(Source::Binding(bound));
            this.stand_before(u.peer());
            return Status::OK;
        }
        this.init_chain(u.peer()).map_or(Status::ERROR, |()| Status::OK)
    }

    /// Makes the outgoing request one that a connection outlives, and says so where it cannot be one. Its answer is nobody
    /// else's.
    #[inline(never)]
    fn prepare_login(r: Request, u: Upstream, group: NonNull<Group>) {
        u.forbid_storing();
        let outgoing = Outgoing::of(u);
        outgoing.lift_defaults();
        if outgoing.says_close() {
            // SAFETY: the configuration outlives the request, and does not change.
            diagnose(r.log(), unsafe { group.as_ref() }, Kind::ConnectionClose);
        }
    }

    /// Stands before the peer that the chain has set up. [`Status::ERROR`] when there is no memory.
    #[inline(never)]
    fn install_before_chain(r: Request, u: Upstream, group: NonNull<Group>, credentials: bool) -> Status {
        let Some((peer, _)) = Self::place(r, u, group, credentials, || Chain::of(u.peer())) else {
            return Status::ERROR;
        };
        // SAFETY: the peer was just placed in the request's pool.
        unsafe { peer.as_ref() }.stand_before(u.peer());
        Status::OK
    }

    /// Puts a request's peer into its pool, with room behind it. `None` when there is no memory.
    #[inline(always)]
    fn place(
        r: Request,
        u: Upstream,
        group: NonNull<Group>,
        credentials: bool,
        chain: impl FnOnce() -> Chain,
    ) -> Option<(NonNull<Self>, NonNull<LoggedName>)> {
        // SAFETY: the configuration outlives the request, and does not change.
        let key = unsafe { group.as_ref() }.key;
        let chosen = if key.is_null() { None } else { Some(r.pool().place(r.evaluate(key, Slice::EMPTY))?) };
        let (peer, room) = r.pool().place_with_room(|| NtlmPeer {
            r,
            u,
            group,
            chain: Cell::new(chain()),
            credentials: Cell::new(credentials),
            chosen,
            challenged: Cell::new(false),
            lost: Cell::new(false),
            source: Cell::new(Source::Nowhere),
            binding: Cell::new(BindingId::default()),
            binding_use: Cell::new(BindingUse::None),
            carried: Cell::new(0),
            settled: Cell::new(false),
            notes: Cell::new(None),
        })?;
        // SAFETY: the context lives in the request's pool.
        unsafe { r.set_context(module::context_index(), peer.as_ptr().cast()) };
        Some((peer, room))
    }

    /// Sets up the chain for an attempt that the client's binding does not serve, and stands before it. `None` when it
    /// refuses.
    fn init_chain(&self, pc: Peer) -> Option<()> {
        if !self.credentials.get() && Outgoing::of(self.u).may_carry_credentials() {
            self.credentials.set(true);
            self.u.forbid_storing();
        }
        let set_up = Chain::set_up(self.r, self.u, self.group);
        // What the chain leaves behind when it refuses is not for this module's callbacks.
        self.chain.set(set_up.map_or(Chain::NONE, |()| Chain::of(pc)));
        self.stand_before(pc);
        set_up
    }

    /// Makes the peer's callbacks this module's.
    #[inline(always)]
    fn stand_before(&self, pc: Peer) {
        let pc = pc.as_ptr();
        // SAFETY: the peer is part of the request's upstream, and what its data points to is in the request's pool.
        unsafe {
            (*pc).data = core::ptr::from_ref(self).cast_mut().cast();
            (*pc).get = Some(callbacks::ngx_http_upstream_get_ntlm_peer);
            (*pc).free = Some(callbacks::ngx_http_upstream_free_ntlm_peer);
            if self.chain.get().notify.is_some() {
                (*pc).notify = Some(callbacks::ngx_http_upstream_notify_ntlm_peer);
            }
            #[cfg(nginx_tls)]
            {
                (*pc).set_session = Some(callbacks::ngx_http_upstream_set_ntlm_peer_session);
                (*pc).save_session = Some(callbacks::ngx_http_upstream_save_ntlm_peer_session);
            }
        }
    }

    fn group(&self) -> &Group {
        // SAFETY: the configuration outlives the requests that were made under it, and does not change.
        unsafe { self.group.as_ref() }
    }

    /// What `ntlm_key` is for this request, nothing where the group has none. `None` when it cannot be evaluated.
    fn chosen(&self) -> Option<Slice> {
        // SAFETY: `place` has put it into the request's pool.
        self.chosen.map_or(Some(Slice::EMPTY), |chosen| unsafe { chosen.read() })
    }

    /// The chain's callbacks, where the present attempt is one that the chain was asked for.
    fn chain(&self) -> Option<Chain> {
        if let Source::Chain = self.source.get() { Some(self.chain.get()) } else { None }
    }

    fn get(&self, pc: Peer) -> Status {
        if let Source::Binding(_) = self.source.get() {
            return Status::DONE;
        }
        self.source.set(Source::Chain);
        match self.chain.get() {
            // SAFETY: the chain's own callback with its own data, as nginx would have called it.
            Chain { get: Some(get), data, .. } => Status(unsafe { get(pc.as_ptr(), data) }),
            _ => Status::ERROR,
        }
    }

    /// The client's binding, awake, if it has one that is free and fits this request.
    #[inline(always)]
    fn wake_binding(
        &self,
        pc: Peer,
        owner: Connection,
        id: ClientId,
        room: NonNull<LoggedName>,
    ) -> Option<Bound> {
        if self.r.is_background() {
            return None;
        }
        let (address, chosen) = (self.r.connection().address(), self.chosen()?);
        let key = Key { address: address.as_bytes(), chosen: chosen.as_bytes() };
        let transport = Transport::of(self.r, self.u)?;
        let claim = with_table(|table| {
            table.claim(id, owner.number(), self.group().id, key, |bound| *bound.transport() == transport)
        })?;
        match claim {
            Claim::Taken(bound) => {
                // SAFETY: `install_for_client` has just placed the peer before this room, which nobody else knows.
                unsafe { bound.wake(pc, room) };
                self.binding.set(bound.binding());
                self.binding_use.set(BindingUse::Reused);
                self.carried.set(bound.connection().requests() + 1);
                if self.credentials.get() {
                    let challenged = with_table(|table| table.is_challenged(bound.binding()));
                    self.challenged.set(challenged == Some(true));
                }
                if !self.r.is_http1() {
                    self.notes.set(with_table(|table| table.notes(bound.binding())).flatten());
                }
                bound.count(Counter::Reused);
                return Some(bound);
            }
            Claim::Unfit(binding, bound) => {
                info!(
                    pc.log(),
                    "bound upstream connection {} is closed, the request goes another way to its server",
                    bound.connection().fd()
                );
                self.lose();
                bound.count(Counter::EndedOtherwise);
                // This request may bring credentials for another: it decides what becomes of its client connection.
                if with_table(|table| table.end(binding)).flatten().is_some() {
                    bound.connection().close();
                }
            }
            Claim::Lost => self.lose(),
            Claim::Busy => {
                debug!(pc.log(), "bound upstream connection of client connection {} is busy", owner.number())
            }
            Claim::None => {}
        }
        None
    }

    /// Whether there is anything to do before the header of the response is sent to the client.
    #[inline(always)]
    pub fn minds_response_header(&self) -> bool {
        matches!(self.source.get(), Source::Binding(_))
            || self.credentials.get()
            || self.lost.get()
            || self.u.has_www_authenticate()
    }

    /// The header of the response is about to be sent to the client.
    pub fn on_response_header(&self) {
        // A response that no attempt gave leaves the client without what its credentials were for.
        if self.lost.get() && (!self.credentials.get() || matches!(self.source.get(), Source::Nowhere)) {
            self.r.close_client_after_response();
        }
        let source = self.source.get();
        if self.u.is_answered_from_cache() {
            if matches!(source, Source::Binding(_)) && self.u.is_answered_stale() {
                self.r.close_client_after_response();
            }
            return;
        }
        match source {
            Source::Nowhere => {}
            Source::Binding(bound) => self.on_tainted_response_header(bound.connection()),
            Source::Chain => self.on_chain_response_header(),
        }
    }

    #[inline(never)]
    fn on_chain_response_header(&self) {
        if !self.is_tainted() {
            return;
        }
        self.u.forbid_storing();
        if !self.r.is_background()
            && let Some(c) = self.u.peer().connection()
        {
            self.on_tainted_response_header(c);
        }
    }

    #[inline(always)]
    fn on_tainted_response_header(&self, c: Connection) {
        if self.credentials.get() && self.u.status() == 401 {
            self.on_unauthorized_response_header();
        }
        let capped = self.group().limits.reached(c.requests(), c.age()).is_some();
        if capped || is_exiting() || self.u.will_not_be_kept_alive(self.r) {
            self.r.close_client_after_response();
        }
    }

    /// A challenge is no use to a client whose connection nginx is about to close.
    #[inline(never)]
    fn on_unauthorized_response_header(&self) {
        if self.r.is_http1() && !self.r.is_client_kept_alive() && self.u.any_www_authenticate(carries_token) {
            diagnose(self.r.log(), self.group(), Kind::ClientKeepaliveOff);
        }
    }

    #[cfg(nginx_tls)]
    fn set_session(&self, pc: Peer) -> Status {
        let Some(Chain { set_session: Some(set_session), data, .. }) = self.chain() else {
            return Status::OK;
        };
        // SAFETY: the chain's own callback with its own data, about an attempt that it was asked for.
        Status(unsafe { set_session(pc.as_ptr(), data) })
    }

    #[cfg(nginx_tls)]
    fn save_session(&self, pc: Peer) {
        if let Some(Chain { save_session: Some(save_session), data, .. }) = self.chain() {
            // SAFETY: the chain's own callback with its own data, about an attempt that it was asked for.
            unsafe { save_session(pc.as_ptr(), data) };
        }
    }

    fn notify(&self, pc: Peer, event: ngx_uint_t) {
        if let Some(Chain { notify: Some(notify), data, .. }) = self.chain() {
            // SAFETY: the chain's own callback with its own data, about an attempt that it was asked for.
            unsafe { notify(pc.as_ptr(), data, event) };
        }
    }
}

/// Whether the worker is about to leave, so that nothing is worth keeping.
fn is_exiting() -> bool {
    // SAFETY: signal handlers set these flags; a stale read is as good as a signal that comes a moment later.
    unsafe { ngx_terminate != 0 || ngx_exiting != 0 }
}

/// The peer of a request to an `ntlm` group, in the request's pool; `None` for another request, and for one that has gone on to
/// another upstream.
///
/// # Safety
///
/// `r` is a request that nginx is at work on.
#[inline(always)]
pub unsafe fn peer_of(r: *mut ngx_http_request_t) -> Option<NonNull<NtlmPeer>> {
    // SAFETY: only `place` sets this module's context, to a peer in the request's pool.
    unsafe {
        let peer = Request::new(r).context::<NtlmPeer>(module::context_index())?;
        (peer.as_ref().u.as_ptr() == (*r).upstream).then_some(peer)
    }
}
