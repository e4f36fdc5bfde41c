//! What nginx calls: trampolines to the methods of a request's peer.
#![expect(unsafe_code, reason = "peer callbacks' trampolines")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_request_t, ngx_http_upstream_srv_conf_t, ngx_int_t, ngx_peer_connection_t, ngx_uint_t,
};

use super::NtlmPeer;
use crate::conf::Conf;
use crate::ngx::{Peer, Request};

/// `peer.init` of an `ntlm` group.
///
/// # Safety
///
/// Called by `ngx_http_upstream_init_request` with a live request and the group's configuration.
pub unsafe extern "C" fn ngx_http_upstream_init_ntlm_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: see above; `install_peer` of this group's configuration has run, since it put this function there: so the group
    // has the settings.
    unsafe {
        let conf = Conf::of(us).unwrap_unchecked();
        let group = NonNull::new_unchecked(&raw mut (*conf.as_ptr()).group);
        NtlmPeer::install(Request::new(r), group).0
    }
}

/// `pc->get`.
///
/// # Safety
///
/// Called by `ngx_event_connect_peer` with the peer that `install` set up and its data.
pub unsafe extern "C" fn ngx_http_upstream_get_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: see above; the request, and so the data in its pool, lives through the call.
    unsafe { (*data.cast::<NtlmPeer>()).get(Peer::new(pc)).0 }
}

/// `pc->free`.
///
/// # Safety
///
/// As for `pc->get`; called once an attempt, by `ngx_http_upstream_next` or `ngx_http_upstream_finalize_request`.
pub unsafe extern "C" fn ngx_http_upstream_free_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    state: ngx_uint_t,
) {
    // SAFETY: see above.
    unsafe { (*data.cast::<NtlmPeer>()).free(Peer::new(pc), state) }
}

/// `pc->notify`.
///
/// # Safety
///
/// As for `pc->get`.
pub unsafe extern "C" fn ngx_http_upstream_notify_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    event: ngx_uint_t,
) {
    // SAFETY: see above.
    unsafe { (*data.cast::<NtlmPeer>()).notify(Peer::new(pc), event) }
}

/// `pc->set_session`.
///
/// # Safety
///
/// As for `pc->get`; called by `ngx_http_upstream_ssl_init_connection`.
#[cfg(nginx_tls)]
pub unsafe extern "C" fn ngx_http_upstream_set_ntlm_peer_session(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: see above.
    unsafe { (*data.cast::<NtlmPeer>()).set_session(Peer::new(pc)).0 }
}

/// `pc->save_session`.
///
/// # Safety
///
/// As for `pc->get`; called by `ngx_http_upstream_ssl_save_session`, while the connection carries the request.
#[cfg(nginx_tls)]
pub unsafe extern "C" fn ngx_http_upstream_save_ntlm_peer_session(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) {
    // SAFETY: see above.
    unsafe { (*data.cast::<NtlmPeer>()).save_session(Peer::new(pc)) }
}
