//! The end of an attempt: who owns its connection from then on.
//!
//! Must never let a tainted connection reach the chain below, nor park one on which bytes of the ended exchange may still
//! come.
#![expect(unsafe_code, reason = "the chain's own pc->free")]

use nginx_sys::{NGX_PEER_FAILED, ngx_uint_t};
use ntlm_core::bindings::{Key, Refusal};
use ntlm_core::keep::{Ending, NotKept, Phase};
use ntlm_core::scheme::carries_token;

use super::chain::Chain;
use super::login::BindingUse;
use super::not_parked::NotParked;
use super::{NtlmPeer, Source, is_exiting};
use crate::client;
use crate::diagnose::{Kind, diagnose};
use crate::log::{debug, info};
use crate::ngx::{Connection, Peer, now};
use crate::parked::{self, Bound};
use crate::stats::Counter;
use crate::transport::Transport;
use crate::worker::with_table;

impl NtlmPeer {
    /// Lets go of the connection of the present attempt. Whatever is left on the peer is closed by nginx.
    #[inline(always)]
    pub(super) fn free(&self, pc: Peer, state: ngx_uint_t) {
        match self.source.get() {
            Source::Binding(bound) => self.free_bound(pc, bound, state),
            Source::Chain => self.free_asked_for(pc, state),
            // The chain was not asked, so it is not told.
            Source::Nowhere => {}
        }
    }

    /// Frees a connection that the chain gave.
    #[inline(never)]
    fn free_asked_for(&self, pc: Peer, state: ngx_uint_t) {
        if self.is_tainted() {
            self.free_tainted(pc, state);
        } else {
            self.source.set(Source::Nowhere);
            self.free_chain(pc, state);
        }
    }

    /// Frees a connection that was bound already.
    #[inline(always)]
    fn free_bound(&self, pc: Peer, bound: Bound, state: ngx_uint_t) {
        let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
        self.source.set(Source::Nowhere);
        if self.credentials.get() && !failed {
            self.settle();
        }
        match self.park(bound, failed) {
            Ok(()) => pc.set_connection(None),
            Err(reason) => self.free_unparked(pc, bound, reason, failed),
        }
    }

    /// The same where it could not be parked, as none is whose attempt `failed`.
    #[inline(never)]
    fn free_unparked(&self, pc: Peer, bound: Bound, reason: NotParked, failed: bool) {
        // The table only forgets it: nginx closes what is left on the peer.
        bound.count(self.ended_by(reason));
        with_table(|table| table.end(bound.binding()));
        if failed {
            self.lose();
        }
        self.lost.set(true);
        self.not_parked(bound.connection(), reason, failed && self.credentials.get());
        // nginx may go on to a server that the chain chooses, after one attempt fewer than the chain allows.
        if failed && self.init_chain(pc).is_some() {
            self.u.limit_tries();
            pc.charge_try();
        }
    }

    /// Frees a connection that the chain gave, and this request tainted.
    fn free_tainted(&self, pc: Peer, state: ngx_uint_t) {
        let failed = state & NGX_PEER_FAILED as ngx_uint_t != 0;
        self.source.set(Source::Nowhere);
        let parked = pc.connection().map(|c| self.bind(pc, c, failed).map_err(|reason| (c, reason)));
        if self.credentials.get() && !failed {
            self.settle();
        }
        // Twice hidden from whatever pools connections below.
        self.u.forbid_keepalive();
        pc.set_connection(None);
        self.free_chain(pc, state);
        if let Some(Err((c, reason))) = parked {
            pc.set_connection(Some(c));
            self.not_parked(c, reason, failed);
        }
    }

    fn free_chain(&self, pc: Peer, state: ngx_uint_t) {
        if let Chain { free: Some(free), data, .. } = self.chain.get() {
            // SAFETY: the chain's own callback with its own data, about an attempt that it was asked for.
            unsafe { free(pc.as_ptr(), data, state) };
        }
    }

    /// Whether the connection of the present attempt carried connection-bound credentials, or a token in an answer. One
    /// whose answer cannot be seen any more counts as tainted.
    pub(super) fn is_tainted(&self) -> bool {
        self.credentials.get()
            || self.u.is_answered_from_cache()
            || self.u.any_www_authenticate(carries_token)
    }

    /// Binds the connection that this request tainted to the request's client, and parks it.
    fn bind(&self, pc: Peer, c: Connection, failed: bool) -> Result<(), NotParked> {
        // First: whatever becomes of its connection, the client's session does not end with it.
        if self.r.is_background() {
            return Err(NotParked::Background);
        }
        let unjudged = self.u.is_answered_from_cache();
        if unjudged && !self.credentials.get() {
            return Err(NotParked::Unjudged);
        }
        self.may_park(c, failed)?;
        if unjudged {
            return Err(NotParked::Unjudged);
        }
        let no_memory = NotParked::Refused(Refusal::NoMemory);
        let owner = self.r.client_connection();
        let id = client::find_or_enter(owner).map_err(NotParked::Refused)?;
        let bound = Transport::of(self.r, self.u)
            .and_then(|transport| Bound::new(c, pc, transport, self.group(), self.r.is_http1()))
            .ok_or(no_memory)?;
        let address = self.r.connection().address();
        let chosen = self.chosen().ok_or(NotParked::Unkeyed)?;
        let key = Key { address: address.as_bytes(), chosen: chosen.as_bytes() };
        let binding = with_table(|table| table.bind(id, self.group().id, key, bound))
            .unwrap_or(Err(Refusal::NoMemory))
            .map_err(NotParked::Refused)?;
        bound.set_binding(binding);
        self.binding.set(binding);
        self.binding_use.set(BindingUse::Bound);
        self.carried.set(c.requests());
        bound.count(Counter::Bound);
        if with_table(|table| table.has_another_address(id, self.group().id, key)) == Some(true) {
            diagnose(pc.log(), self.group(), Kind::MixedClients);
        }
        debug!(pc.log(), "binding upstream connection {} to client connection {}", c.fd(), owner.number());
        self.park(bound, failed).inspect_err(|&reason| {
            bound.count(self.ended_by(reason));
            with_table(|table| table.end(binding));
        })
    }

    /// Lets a busy binding wait for the next request, and closes another one if the group is full.
    #[inline(never)]
    fn park(&self, bound: Bound, failed: bool) -> Result<(), NotParked> {
        let c = bound.connection();
        self.may_park(c, failed)?;
        if !c.watch_for_reading() {
            return Err(NotParked::Unwatched);
        }
        let phase = Phase::after(self.u.status());
        let deadline = now() + self.group().timeout;
        let evicted =
            with_table(|table| table.park(bound.binding(), phase, self.group().connections, deadline))
                .unwrap_or(Err(Refusal::NoMemory))
                .map_err(NotParked::Refused)?;
        let log = self.r.log();
        debug!(log, "parking upstream connection {}, {phase:?}", c.fd());
        if let Some(evicted) = evicted {
            info!(
                log,
                "bound upstream connection {} is closed, \"ntlm {}\" is reached",
                evicted.upstream.connection().fd(),
                self.group().connections
            );
            evicted.upstream.count(Counter::EndedByEviction);
            if evicted.phase == Some(Phase::Established) {
                diagnose(log, self.group(), Kind::TooSmall);
            }
            parked::close(evicted);
        }
        bound.park(deadline);
        Ok(())
    }

    /// What the end of this request's binding counts as.
    fn ended_by(&self, reason: NotParked) -> Counter {
        match reason.counter() {
            Counter::EndedByServer if self.r.connection().is_given_up() => Counter::EndedByClient,
            counter => counter,
        }
    }

    fn may_park(&self, c: Connection, failed: bool) -> Result<(), NotParked> {
        Ending {
            failed,
            broken: c.is_broken(),
            keepalive: self.u.is_kept_alive(),
            request_sent: self.u.is_request_sent(),
            exiting: is_exiting(),
            requests: c.requests(),
            age: c.age(),
        }
        .may_park(&self.group().limits)
        .map_err(NotParked::Ending)
    }

    /// A tainted connection is about to be closed. The client, which takes its own for authenticated, is told so, unless
    /// `may_go_on`: it is about to authenticate anew over the next attempt.
    fn not_parked(&self, c: Connection, reason: NotParked, may_go_on: bool) {
        let log = self.r.log();
        if let NotParked::Ending(NotKept::RequestCap | NotKept::TimeCap) = reason {
            info!(log, "bound upstream connection {} is closed, {}", c.fd(), reason.as_str());
        } else {
            debug!(log, "upstream connection {} is not parked, {}", c.fd(), reason.as_str());
        }
        if self.u.status() == 401 && self.credentials.get() && !self.r.connection().is_given_up() {
            match reason {
                NotParked::Ending(NotKept::RequestUnsent) => {
                    diagnose(log, self.group(), Kind::EarlyUnauthorized)
                }
                NotParked::Ending(NotKept::NotKeptAlive) if self.r.replaces(self.u, 401) => {
                    diagnose(log, self.group(), Kind::Intercepted);
                }
                NotParked::Ending(NotKept::NotKeptAlive | NotKept::Broken)
                    if self.u.any_www_authenticate(carries_token) =>
                {
                    diagnose(log, self.group(), Kind::OriginCloses);
                }
                _ => {}
            }
        }
        if reason.ends_the_clients_session() && !may_go_on {
            self.r.close_client_after_response();
        }
    }
}
