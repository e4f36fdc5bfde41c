//! The way of a request to a server whose name nginx resolves.
//!
//! Must never let nginx resolve a name for which the client has a binding, nor stand before a peer that is not connected.

use core::ptr::NonNull;

use super::{NtlmPeer, Source, is_turned_back, peer_of};
use crate::group::Group;
use crate::ngx::{Request, Status, Upstream};
use crate::original::Original;

impl NtlmPeer {
    /// A request is about to go to a server whose name nginx would resolve first. True where the client's binding serves it,
    /// and where it has been turned back: then [`NtlmPeer::init_expected`] follows. Else nginx makes the peer by itself, and [`NtlmPeer::join`] follows.
    pub fn expect_named(r: Request, u: Upstream, group: *mut Group) -> bool {
        let Some(group) = NonNull::new(group) else { return false };
        Self::prepare(r, u, group).is_ok_and(|peer| peer.is_some_and(Self::is_served_by_binding))
            || is_turned_back(r)
    }

    /// `peer.init` of a request that [`NtlmPeer::expect_named`] has given a binding, or has turned back; `None` for another request.
    pub fn init_expected(r: Request, u: Upstream) -> Option<Status> {
        if is_turned_back(r) {
            return Some(Status::ERROR);
        }
        let peer = peer_of(r).filter(|peer| peer.is_served_by_binding())?;
        peer.stand_before(u.peer());
        Some(Status::OK)
    }

    /// Puts this peer before the one that nginx has made by itself for the name of a server, once that is connected. False
    /// when there is no memory.
    pub fn join(&self) -> bool {
        let is_expected = matches!(self.source.get(), Source::Nowhere) && self.original.get().is_none();
        if is_expected && self.u.has_connection() {
            let Some(original) = self.r.pool().place(Original::of(self.u.peer())) else { return false };
            self.original.set(Some(original));
            self.source.set(Source::Original);
            self.stand_before(self.u.peer());
        }
        true
    }
}
