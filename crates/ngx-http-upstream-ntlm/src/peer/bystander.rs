//! The peer of a request without credentials, whose client has no binding: the chain's own. Only its end is watched, since
//! an answer with a token taints the connection all the same. So a request that has nothing to do with logins costs next
//! to nothing.
//!
//! Must never give the chain a connection back whose answer carried a token.
#![expect(unsafe_code, reason = "a peer callback's trampoline, and nginx's request found from it")]

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_event_free_peer_pt, ngx_http_request_t, ngx_http_upstream_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::chain::Chain;
use super::{NtlmPeer, Source};
use crate::conf::{Conf, Group};
use crate::ngx::{Request, Upstream};

/// Puts the watch on the peer that the chain has set up. False where that cannot be done: the group has an `ntlm_key`, which
/// is to be evaluated as the request begins, or its chain has more than one way to free a peer.
#[inline(always)]
pub(super) fn watch(u: Upstream, group: NonNull<Group>) -> bool {
    let (pc, group) = (u.peer().as_ptr(), group.as_ptr());
    // SAFETY: the peer is part of the request's upstream. The configuration outlives the request; nobody has a reference to
    // it at this moment, and no other thread of this process has one ever.
    unsafe {
        if !(*group).key.is_null() {
            return false;
        }
        let free = (*pc).free;
        if !same((*group).original_free_peer, free) {
            if (*group).original_free_peer.is_some() || free.is_none() {
                return false;
            }
            (*group).original_free_peer = free;
        }
        (*pc).free = Some(ngx_http_upstream_free_bystander_ntlm_peer);
    }
    true
}

fn same(one: ngx_event_free_peer_pt, other: ngx_event_free_peer_pt) -> bool {
    one.map(|function| function as usize) == other.map(|function| function as usize)
}

/// `pc->free`: the chain's, unless the answer may have tainted the connection.
///
/// # Safety
///
/// Called by `ngx_http_upstream_next` or `ngx_http_upstream_finalize_request`, with the peer of an upstream that [`watch`]
/// has seen, and the chain's data.
unsafe extern "C" fn ngx_http_upstream_free_bystander_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: see above; the peer is a part of its upstream, and `watch` has noted the chain's callback in the group.
    unsafe {
        let u = Upstream::new(pc.byte_sub(offset_of!(ngx_http_upstream_t, peer)).cast());
        if u.may_be_answered_from_cache() || u.has_www_authenticate() {
            free_maybe_tainted(u, data, state);
        } else if let Some(free) = (*group_of(u).as_ptr()).original_free_peer {
            free(pc, data, state);
        }
    }
}

/// # Safety
///
/// As for [`ngx_http_upstream_free_bystander_ntlm_peer`], with the upstream that the peer is a part of.
#[inline(never)]
unsafe fn free_maybe_tainted(u: Upstream, data: *mut c_void, state: ngx_uint_t) {
    let pc = u.peer();
    // SAFETY: vouched for by the caller. `ngx_http_upstream_connect` has hung the request on the connection; without one there
    // is nothing that could be tainted.
    let peer =
        unsafe { pc.connection().and_then(|c| c.data()).and_then(|r| call_in(Request::new(r.as_ptr()), u)) };
    if let Some(peer) = peer {
        // SAFETY: it was just placed in the request's pool.
        unsafe { peer.as_ref() }.free(pc, state);
        return;
    }
    // There is no memory, or no connection: from the chain it is hidden twice, and nginx closes it.
    let connection = pc.connection();
    u.forbid_keepalive();
    pc.set_connection(None);
    // SAFETY: vouched for by the caller: the chain's own callback with its own data.
    unsafe {
        if let Some(free) = group_of(u).as_ref().original_free_peer {
            free(pc.as_ptr(), data, state);
        }
    }
    pc.set_connection(connection);
}

/// The peer of a request that turns out to have to do with logins, because its answer has a `WWW-Authenticate` field; `None`
/// for another request.
///
/// # Safety
///
/// `r` is a request that nginx is at work on.
#[inline(always)]
pub unsafe fn called_in(r: *mut ngx_http_request_t) -> Option<NonNull<NtlmPeer>> {
    // SAFETY: vouched for by the caller; a request's upstream lives as long as the request.
    unsafe {
        let u = Upstream::new(NonNull::new((*r).upstream)?.as_ptr());
        if !u.has_www_authenticate() || (*u.peer().as_ptr()).sockaddr.is_null() {
            return None;
        }
        call_in(Request::new(r), u)
    }
}

/// Makes the peer one of this module's, in the middle of an attempt that the chain was asked for. `None` when there is no
/// memory, and for a peer that [`watch`] has not seen, or somebody else has changed since; then it is as it was.
///
/// # Safety
///
/// `u` is the upstream of `r`, a request that nginx is at work on.
#[inline(never)]
unsafe fn call_in(r: Request, u: Upstream) -> Option<NonNull<NtlmPeer>> {
    // SAFETY: vouched for by the caller.
    let free = unsafe { (*u.peer().as_ptr()).free };
    if !same(free, Some(ngx_http_upstream_free_bystander_ntlm_peer)) {
        return None;
    }
    let group = group_of(u);
    // SAFETY: the configuration outlives the request, and does not change.
    let free = unsafe { group.as_ref() }.original_free_peer;
    let Some((peer, _)) = NtlmPeer::place(r, u, group, false, || Chain { free, ..Chain::of(u.peer()) })
    else {
        u.forbid_storing();
        return None;
    };
    // SAFETY: it was just placed in the request's pool.
    let this = unsafe { peer.as_ref() };
    this.source.set(Source::Chain);
    this.stand_before(u.peer());
    Some(peer)
}

/// The group that a request was given its peer by.
#[inline(always)]
fn group_of(u: Upstream) -> NonNull<Group> {
    // SAFETY: this module's `peer.init` has run, which is only in groups with settings of this module's.
    unsafe {
        let conf = Conf::of(u.group()).unwrap_unchecked();
        NonNull::new_unchecked(&raw mut (*conf.as_ptr()).group)
    }
}
