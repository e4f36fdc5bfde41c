//! The header filter: the last moment to tell a client that its connection will not go on, and to keep the response
//! out of caches.
#![expect(unsafe_code, reason = "a header filter's trampoline, and the one chain of filters that nginx has")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
};

use crate::ngx::Status;
use crate::peer::{NtlmPeer, called_in, peer_of};

/// The next filter, as nginx's own filters keep it.
static NEXT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Puts the filter on top of the chain. Called once for each configuration, from `postconfiguration`.
pub fn install() {
    // SAFETY: nginx builds the chain of filters anew with each configuration, on one thread. An Option of a function is
    // a pointer that may be null.
    unsafe {
        let next =
            core::mem::transmute::<ngx_http_output_header_filter_pt, *mut ()>(ngx_http_top_header_filter);
        NEXT.store(next, Ordering::Relaxed);
        ngx_http_top_header_filter = Some(ngx_http_upstream_ntlm_header_filter);
    }
}

/// Called by `ngx_http_send_header`.
///
/// # Safety
///
/// Called by nginx only, with a live request.
unsafe extern "C" fn ngx_http_upstream_ntlm_header_filter(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: see above.
    unsafe {
        let peer = match peer_of(r) {
            Some(peer) => Some(peer).filter(|peer| peer.as_ref().minds_response_header()),
            None => called_in(r),
        };
        match peer {
            Some(peer) => mind(r, peer),
            None => next(r),
        }
    }
}

/// The rest of the filter for the few responses that need it, apart so that the others do not pay for it.
///
/// # Safety
///
/// `peer` is that of `r`, a live request.
#[inline(never)]
unsafe fn mind(r: *mut ngx_http_request_t, peer: NonNull<NtlmPeer>) -> ngx_int_t {
    // SAFETY: vouched for by the caller.
    unsafe {
        peer.as_ref().on_response_header();
        next(r)
    }
}

/// # Safety
///
/// `r` is a live request, and `install` has run.
#[inline(always)]
unsafe fn next(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: vouched for by the caller; NEXT holds what `install` stored there.
    unsafe {
        let next =
            core::mem::transmute::<*mut (), ngx_http_output_header_filter_pt>(NEXT.load(Ordering::Relaxed));
        next.map_or(Status::ERROR.0, |next| next(r))
    }
}
