//! The locations that `proxy_ntlm` holds for, as requests see them.
//!
//! Must never change while requests are served.
#![expect(unsafe_code, reason = "reads and writes configurations that nginx keeps for the module")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_complex_value_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_local_t,
    ngx_http_upstream_srv_conf_t,
};

use crate::group::{Group, ProxyNtlm};
use crate::ngx::Upstream;

/// The group that `proxy_pass` of a location with `proxy_ntlm` finds in place of its own.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Proxied {
    /// nginx takes this for the group. Marked by [`MARK`].
    pub us: ngx_http_upstream_srv_conf_t,
    /// The line that holds for the location.
    pub place: *mut ProxyNtlm,
    /// The group that `proxy_pass` names; null where its value has variables.
    pub named: *mut ngx_http_upstream_srv_conf_t,
    /// The location's own `proxy_bind`; null without it.
    pub bind: *mut ngx_http_upstream_local_t,
    /// The `proxy_bind` that nginx finds instead, where the value of `proxy_pass` has variables.
    pub local: ngx_http_upstream_local_t,
    /// The value of `local`, which nginx evaluates between `create_request` and its look at `u->resolved`.
    pub value: ngx_http_complex_value_t,
}

/// Stands in `us.peer.data` of each [`Proxied`], where a balancer has its servers.
static MARK: u8 = 0;

impl Proxied {
    /// The value of `us.peer.data` that marks a `Proxied`.
    pub fn mark() -> *mut c_void {
        (&raw const MARK).cast_mut().cast()
    }

    /// That of the location whose `proxy_pass` a request goes through; `None` where `proxy_ntlm` does not hold.
    pub fn of(u: Upstream) -> Option<NonNull<Proxied>> {
        let us = NonNull::new(u.configured_group())?;
        // SAFETY: the configuration of an upstream lives as long as its requests; only `proxy.rs` writes the mark, into a
        // group that begins a Proxied.
        let marked = unsafe { us.as_ref().peer.data } == Self::mark();
        marked.then_some(us.cast())
    }
}

/// The group that a request belongs to: the upstream group if that has `ntlm`, else the place of `proxy_ntlm`, else the upstream
/// group for its guard. `None` for a server in no group, without `proxy_ntlm`.
pub fn group_of(u: Upstream) -> Option<NonNull<Group>> {
    // SAFETY: nginx keeps the group of an upstream, and the configuration outlives its requests.
    let group = unsafe { Group::of(u.group()) };
    if let Some(group) = group
        // SAFETY: as above.
        && !unsafe { group.as_ref() }.is_guarded()
    {
        return Some(group);
    }
    // SAFETY: as above; a place begins with its group.
    Proxied::of(u).and_then(|proxied| NonNull::new(unsafe { proxied.as_ref() }.place.cast())).or(group)
}

/// `peer.init` of a group's balancer, below the guard.
///
/// # Safety
///
/// `us` is a live group's configuration.
pub unsafe fn init_of_balancer(us: *mut ngx_http_upstream_srv_conf_t) -> ngx_http_upstream_init_peer_pt {
    // SAFETY: vouched for by the caller.
    unsafe {
        let guarded = Group::of(us).and_then(|group| group.as_ref().original_init_peer);
        guarded.or((*us).peer.init)
    }
}

const _: () = assert!(core::mem::offset_of!(Proxied, us) == 0);
