//! The callbacks of a peer, beside `get` and `free`, by which nginx tells the balancer something: the module stands before them and passes them on.
//!
//! Must never call the balancer about an attempt that it was not asked for.
#![expect(unsafe_code, reason = "peer callbacks' trampolines, and where nginx finds them")]

use core::ffi::c_void;

#[cfg(nginx_tls)]
use nginx_sys::ngx_int_t;
use nginx_sys::{ngx_peer_connection_t, ngx_uint_t};

use super::NtlmPeer;
use crate::ngx::Peer;
#[cfg(nginx_tls)]
use crate::ngx::Status;
use crate::original::Original;

impl NtlmPeer {
    /// Sets all callbacks of a peer before which the module stands.
    pub(super) fn stand_before(&self, pc: Peer) {
        self.stand_alone(pc);
        let pc = pc.as_ptr();
        // SAFETY: the peer is part of the request's upstream.
        unsafe {
            if self.original().is_some_and(Original::has_notify) {
                (*pc).notify = Some(ngx_http_upstream_notify_ntlm_peer);
            }
            #[cfg(nginx_tls)]
            {
                (*pc).set_session = Some(ngx_http_upstream_set_ntlm_peer_session);
                (*pc).save_session = Some(ngx_http_upstream_save_ntlm_peer_session);
            }
        }
    }
}

/// `pc->notify`.
///
/// # Safety
///
/// As for `pc->get`.
unsafe extern "C" fn ngx_http_upstream_notify_ntlm_peer(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
    event: ngx_uint_t,
) {
    // SAFETY: nginx passes the peer and the data that `stand_before` set.
    if let Some(original) = unsafe { (*data.cast::<NtlmPeer>()).asked() } {
        // SAFETY: the peer is live, as above.
        original.notify(unsafe { Peer::new(pc) }, event);
    }
}

/// `pc->set_session`.
///
/// # Safety
///
/// As for `pc->get`; called by `ngx_http_upstream_ssl_init_connection`.
#[cfg(nginx_tls)]
unsafe extern "C" fn ngx_http_upstream_set_ntlm_peer_session(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) -> ngx_int_t {
    // SAFETY: nginx passes the peer and the data that `stand_before` set.
    match unsafe { (*data.cast::<NtlmPeer>()).asked() } {
        // SAFETY: the peer is live, as above.
        Some(original) => original.set_session(unsafe { Peer::new(pc) }).0,
        None => Status::OK.0,
    }
}

/// `pc->save_session`.
///
/// # Safety
///
/// As for `pc->get`; called by `ngx_http_upstream_ssl_save_session`, while the connection carries the request.
#[cfg(nginx_tls)]
unsafe extern "C" fn ngx_http_upstream_save_ntlm_peer_session(
    pc: *mut ngx_peer_connection_t,
    data: *mut c_void,
) {
    // SAFETY: nginx passes the peer and the data that `stand_before` set.
    if let Some(original) = unsafe { (*data.cast::<NtlmPeer>()).asked() } {
        // SAFETY: the peer is live, as above.
        original.save_session(unsafe { Peer::new(pc) });
    }
}
