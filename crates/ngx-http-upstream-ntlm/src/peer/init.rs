//! The place of the module before a group's balancer, and the start of each request to a group without `ntlm`.
//!
//! The module must stand before a group again after another module has initialised that group again.
#![expect(unsafe_code, reason = "reads and writes nginx's configuration of groups, and trampolines")]

use core::ptr::NonNull;

use nginx_sys::{
    ngx_conf_t, ngx_http_request_t, ngx_http_upstream_init_round_robin, ngx_http_upstream_srv_conf_t,
    ngx_int_t,
};

use super::{Facts, NtlmPeer, ngx_http_upstream_init_ntlm_peer};
use crate::credentials::{Carried, may_change};
use crate::group::Group;
use crate::ngx::{Request, Status, Upstream};
use crate::original::{self, Original};

/// Puts the module before the balancer of a group.
///
/// # Safety
///
/// `us` is the group's live configuration, and no reference to `group` exists that is used later.
pub unsafe fn stand_before_group(us: *mut ngx_http_upstream_srv_conf_t, group: NonNull<Group>) {
    // SAFETY: vouched for by the caller.
    unsafe {
        let init = if group.as_ref().is_guarded() {
            ngx_http_upstream_init_guarded_peer
        } else {
            ngx_http_upstream_init_ntlm_peer
        };
        (*us).peer.init = Some(init);
        (*us).peer.init_upstream = Some(ngx_http_upstream_init_ntlm);
    }
}

/// `peer.init_upstream`. nginx has called the balancer's when the module puts this one before it; a module that changes servers while requests are
/// served calls it again, and the balancer writes `peer.init` anew.
///
/// # Safety
///
/// Called with a live group's configuration, and not by this module.
unsafe extern "C" fn ngx_http_upstream_init_ntlm(
    cf: *mut ngx_conf_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: vouched for by the caller. This module reads these fields of a group anew for each request, and keeps no reference to them across
    // calls that lead here. The balancer's function gets the arguments of this one.
    unsafe {
        let Some(group) = Group::of(us) else { return Status::ERROR.0 };
        let Group { original_init_peer, original_init_upstream, .. } = *group.as_ref();
        (*us).peer.init = original_init_peer;
        (*us).peer.init_upstream = original_init_upstream;
        let status = original_init_upstream.unwrap_or(ngx_http_upstream_init_round_robin)(cf, us);
        (*group.as_ptr()).original_init_peer = (*us).peer.init;
        (*group.as_ptr()).original_init_upstream = (*us).peer.init_upstream;
        stand_before_group(us, group);
        status
    }
}

/// `peer.init` of a group without it: the guard sees to it that tainted connections are not kept.
///
/// # Safety
///
/// Called by `ngx_http_upstream_init_request` with a live request and the group's configuration.
unsafe extern "C" fn ngx_http_upstream_init_guarded_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: ngx_http_upstream_init_request passes a live request and its group.
    let (request, group) = unsafe { (Request::new(r), Group::of(us)) };
    let (Some(u), Some(group)) = (request.upstream(), group) else { return Status::ERROR.0 };
    if !Carried::may_be_by(request, u) {
        // SAFETY: as above; the balancer's own `peer.init` gets the arguments that nginx gave this one.
        return unsafe { group.as_ref().original_init_peer.map_or(Status::ERROR.0, |init| init(r, us)) };
    }
    init_guarded(request, u, group).0
}

/// Gives a request that may have credentials its peer, in a group without `ntlm`.
#[cold]
fn init_guarded(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
    let credentials = Carried::by(r, u).any();
    let status = original::init(r, u, group);
    if status != Status::OK || !(credentials || may_change()) {
        return status;
    }
    if credentials {
        u.forbid_storing();
    }
    let Some(peer) =
        NtlmPeer::place(r, u, group, Facts::CREDENTIALS.when(credentials), Some(Original::of(u.peer())))
    else {
        return Status::ERROR;
    };
    peer.stand_before(u.peer());
    Status::OK
}
