//! Whether the client gets to see that it is to log in: a location, or another module, may take the challenge out of the answer.
//!
//! Must never change an answer.
#![expect(unsafe_code, reason = "a cleanup's trampoline, and configurations that nginx keeps")]

use core::ffi::c_void;

use nginx_sys::{ngx_http_request_t, ngx_table_elt_t};
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::scheme::{carries_token, offers};

use crate::diagnose::diagnose;
use crate::group::Group;
use crate::ngx::Request;
use crate::place;

/// Sees to it that the operator is told if the client does not get `h`, which asks for a login by a connection-bound scheme.
///
/// # Safety
///
/// `h` is a field of the response to `r` that nginx has just parsed.
#[cold]
pub unsafe fn watch(r: Request, h: *mut ngx_table_elt_t) {
    let Some((group, u)) = group_of(r).zip(r.upstream()).filter(|(_, u)| u.status() == 401) else { return };
    // SAFETY: vouched for by the caller.
    if unsafe { u.hides(h) } {
        diagnose(r.log(), group, Diagnosis::ChallengeHidden);
    } else if r.is_main() {
        // SAFETY: the handler takes a request. Where nginx has no memory for the handler, the error log has no diagnosis.
        unsafe { r.at_end(ngx_http_upstream_ntlm_challenge_cleanup) };
    }
}

/// The group with `ntlm`, or the place of `proxy_ntlm`, that a request went to.
fn group_of(r: Request) -> Option<&'static Group> {
    // SAFETY: the configuration of a group outlives its requests.
    let group = unsafe { place::group_of(r.upstream()?)?.as_ref() };
    (!group.is_guarded()).then_some(group)
}

/// Called by `ngx_http_free_request`, when the header of the response has been sent.
///
/// # Safety
///
/// Called by nginx only, with the request that `watch` gave this handler.
unsafe extern "C" fn ngx_http_upstream_ntlm_challenge_cleanup(data: *mut c_void) {
    // SAFETY: ngx_http_free_request passes the request, which `at_end` gave as data.
    let r = unsafe { Request::new(data.cast::<ngx_http_request_t>()) };
    let Some(group) = group_of(r).filter(|_| r.has_answered(401)) else { return };
    let mut is_there = false;
    r.each_field_sent(b"www-authenticate", |value| {
        is_there |= carries_token(value.as_bytes()) || offers(value.as_bytes());
    });
    if !is_there {
        diagnose(r.log(), group, Diagnosis::ChallengeHidden);
    }
}
