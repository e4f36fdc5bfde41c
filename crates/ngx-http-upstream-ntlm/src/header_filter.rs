//! The header filter: the last moment to tell a client that its connection will not go on, and to keep the response
//! out of caches.
#![expect(unsafe_code, reason = "a header filter's trampoline, and the one chain of filters that nginx has")]

use core::sync::atomic::{AtomicPtr, Ordering};

use nginx_sys::{
    ngx_http_output_header_filter_pt, ngx_http_request_t, ngx_http_top_header_filter, ngx_int_t,
};
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::scheme::ConnectionBound;

use crate::credentials::Carried;
use crate::diagnose::{diagnose, diagnose_no_group, diagnose_too_long};
use crate::group::Location;
use crate::ngx::{Request, Status, without_exiting};
use crate::peer::{Announce, NtlmPeer, is_answer_turned_back, peer_of};
use crate::place::group_of;

const AUTHORIZATION: &[u8] = b"authorization:";

/// The next filter, as nginx's own filters keep it.
static NEXT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Puts the filter on top of nginx's. Called once for each configuration, from `postconfiguration`.
pub fn install() {
    // SAFETY: nginx builds its filters anew with each configuration, on one thread. An Option of a function is a pointer
    // that may be null.
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
    // SAFETY: ngx_http_send_header passes a live request.
    let request = unsafe { Request::new(r) };
    let peer = peer_of(request);
    let nothing_to_do = match peer {
        Some(peer) => peer.needs_no_header_work(),
        None => Carried::is_plain(request) && !matches!(request.response_status(), 400 | 401),
    };
    if nothing_to_do {
        // SAFETY: the request is live, and `install` has put this filter in.
        return unsafe { next(r) };
    }
    // SAFETY: as above.
    unsafe { filter(r, request, peer) }
}

/// Does what is to be done before the header of a response is sent.
///
/// # Safety
///
/// `r` is a live request, and `install` has run.
#[inline(never)]
unsafe fn filter(r: *mut ngx_http_request_t, request: Request, peer: Option<&NtlmPeer>) -> ngx_int_t {
    if peer.is_some_and(|peer| !peer.join()) || (request.is_http2() && is_answer_turned_back(request)) {
        return Status::ERROR.0;
    }
    match peer {
        Some(peer) if peer.is_indifferent() => diagnose_if_cleared(request),
        Some(peer) => match peer.on_response_header() {
            Announce::Everything => {}
            // SAFETY: the request is live, and `install` has put this filter in.
            Announce::Nothing => return without_exiting(|| unsafe { next(r) }),
        },
        None => {
            close_if_unwatched(request);
            if request.authorization().is_some() {
                diagnose_if_no_group(request);
                diagnose_if_cleared(request);
            } else if request.is_bad() {
                diagnose_if_too_long(request);
            }
        }
    }
    // SAFETY: the request is live, and `install` has put this filter in.
    unsafe { next(r) }
}

/// # Safety
///
/// `r` is a live request, and `install` has run.
unsafe fn next(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: vouched for by the caller; NEXT holds what `install` stored there.
    unsafe {
        let next =
            core::mem::transmute::<*mut (), ngx_http_output_header_filter_pt>(NEXT.load(Ordering::Relaxed));
        next.map_or(Status::ERROR.0, |next| next(r))
    }
}

/// Has nginx close a connection that carried credentials past the module: of a group that another module made while requests are served.
#[cold]
fn close_if_unwatched(r: Request) {
    let Some(u) = r.upstream() else { return };
    // SAFETY: the configuration of a group outlives its requests.
    let guards = group_of(u).is_some_and(|group| !unsafe { group.as_ref() }.guard_off);
    if guards && Carried::may_be_by(r, u) && Carried::by(r, u).any() {
        u.forbid_keepalive();
        u.close_after_answer();
        u.forbid_storing();
    }
}

/// Tells of credentials that went to a server without an `upstream` block, whose connections nginx never keeps.
#[cold]
fn diagnose_if_no_group(r: Request) {
    let Some(u) = r.upstream() else { return };
    if group_of(u).is_none() && u.speaks_http() && matches!(Carried::in_field(r, u), Ok(Some(_))) {
        diagnose_no_group(r.log(), u.peer().name().as_bytes());
    }
}

/// Tells of a location of a group with `ntlm` that took the client's credentials away, so that the origin asks for them.
fn diagnose_if_cleared(r: Request) {
    if r.authorization().is_some_and(|value| ConnectionBound::credentials(value.as_bytes()).is_some())
        && Location::of(r).replaces_authorization
    {
        diagnose_cleared(r);
    }
}

#[cold]
fn diagnose_cleared(r: Request) {
    let Some(u) = r.upstream().filter(|u| u.speaks_http() && matches!(u.status(), 401 | 407)) else { return };
    // SAFETY: the configuration of a group outlives its requests.
    let group = unsafe { group_of(u).map(|group| group.as_ref()) };
    if let Some(group) = group.filter(|group| !group.is_guarded())
        && Carried::in_field(r, u) == Ok(None)
    {
        diagnose(r.log(), group, Diagnosis::AuthorizationCleared);
    }
}

/// Tells of credentials that are too large for nginx, which answers 400 and says why at `info` only.
#[cold]
fn diagnose_if_too_long(r: Request) {
    if let Some(field) = r.too_long_field()
        && let Some((name, value)) = field.as_bytes().split_at_checked(AUTHORIZATION.len())
        && name.eq_ignore_ascii_case(AUTHORIZATION)
        && ConnectionBound::credentials(value.trim_ascii_start()).is_some()
    {
        diagnose_too_long(r.log());
    }
}
