//! The header fields that the module looks at as nginx parses them: what answers say of authentication, and the rare ones of
//! requests.
//!
//! So every token is seen before nginx lets go of the connection it came by, whatever becomes of the answer, and answers
//! without one cost nothing.
#![expect(unsafe_code, reason = "header field handlers' trampolines")]

use nginx_sys::{ngx_conf_t, ngx_http_header_handler_pt, ngx_http_request_t, ngx_int_t, ngx_table_elt_t};
use ntlm_core::scheme::{ConnectionBound, carries_token, offers};

use crate::ngx::{Request, Slice, Status, Wrapped, watch_client_field, watch_upstream_field};
use crate::{challenge, credentials, peer};

static WWW_AUTHENTICATE: Wrapped = Wrapped::new();
static PROXY_AUTHENTICATE: Wrapped = Wrapped::new();
static PROXY_AUTHORIZATION: Wrapped = Wrapped::new();
/// The fields of a proxy in front.
static FORWARDED: [Wrapped; 3] = [const { Wrapped::new() }; 3];

/// Has nginx call the handlers of this file. False when there is no memory.
///
/// # Safety
///
/// Called from `postconfiguration`.
pub unsafe fn watch(cf: *mut ngx_conf_t) -> bool {
    let [x_forwarded_for, forwarded, x_real_ip] = &FORWARDED;
    let answers: [(_, ngx_http_header_handler_pt, _); 2] = [
        ("www-authenticate", Some(ngx_http_upstream_ntlm_process_www_authenticate), &WWW_AUTHENTICATE),
        ("proxy-authenticate", Some(ngx_http_upstream_ntlm_process_proxy_authenticate), &PROXY_AUTHENTICATE),
    ];
    let requests: [(_, ngx_http_header_handler_pt, _); 4] = [
        (
            "proxy-authorization",
            Some(ngx_http_upstream_ntlm_process_proxy_authorization),
            &PROXY_AUTHORIZATION,
        ),
        ("x-forwarded-for", Some(ngx_http_upstream_ntlm_process_forwarded::<0>), x_forwarded_for),
        ("forwarded", Some(ngx_http_upstream_ntlm_process_forwarded::<1>), forwarded),
        ("x-real-ip", Some(ngx_http_upstream_ntlm_process_forwarded::<2>), x_real_ip),
    ];
    // SAFETY: vouched for by the caller.
    unsafe {
        answers.into_iter().all(|(name, handler, wrapped)| watch_upstream_field(cf, name, handler, wrapped))
            && requests
                .into_iter()
                .all(|(name, handler, wrapped)| watch_client_field(cf, name, handler, wrapped))
    }
}

/// A field's value.
///
/// # Safety
///
/// `h` is a field that nginx has parsed.
unsafe fn value(h: *mut ngx_table_elt_t) -> Slice {
    // SAFETY: vouched for by the caller; the bytes live as long as the request.
    unsafe { Slice::from_raw((*h).value) }
}

/// A field of an answer that may carry a token.
///
/// # Safety
///
/// Called with what nginx called a handler of this file with.
unsafe fn on_answer(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
    wrapped: &Wrapped,
) -> ngx_int_t {
    // SAFETY: vouched for by the caller.
    unsafe {
        let (request, value) = (Request::new(r), value(h));
        if carries_token(value.as_bytes()) {
            if peer::on_token(request) != Status::OK {
                return Status::ERROR.0;
            }
        } else if offers(value.as_bytes()) {
            peer::on_offer(request);
        } else {
            return wrapped.call(r, h, offset);
        }
        peer::on_offer_of_login(request);
        challenge::watch(request, h);
        wrapped.call(r, h, offset)
    }
}

/// `WWW-Authenticate` of an answer.
///
/// # Safety
///
/// Called by nginx as it parses the header of an upstream's response.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_www_authenticate(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    // SAFETY: ngx_http_proxy_process_header and its like pass a live request and the field that was parsed.
    unsafe { on_answer(r, h, offset, &WWW_AUTHENTICATE) }
}

/// `Proxy-Authenticate` of an answer.
///
/// # Safety
///
/// Called by nginx as it parses the header of an upstream's response.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_proxy_authenticate(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    // SAFETY: ngx_http_proxy_process_header and its like pass a live request and the field that was parsed.
    unsafe { on_answer(r, h, offset, &PROXY_AUTHENTICATE) }
}

/// `Proxy-Authorization` of a client.
///
/// # Safety
///
/// Called by nginx as it parses the header of a request.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_proxy_authorization(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    // SAFETY: ngx_http_process_request_headers and its like pass a live request and the field that was parsed.
    unsafe {
        if ConnectionBound::credentials(value(h).as_bytes()).is_some() {
            credentials::expect_proxy_authorization();
        }
        PROXY_AUTHORIZATION.call(r, h, offset)
    }
}

/// A field of [`FORWARDED`].
///
/// # Safety
///
/// Called by nginx as it parses the header of a request.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_forwarded<const FIELD: usize>(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    peer::expect_forwarded();
    // SAFETY: ngx_http_process_request_headers and its like pass a live request and the field that was parsed.
    FORWARDED.get(FIELD).map_or(Status::ERROR.0, |wrapped| unsafe { wrapped.call(r, h, offset) })
}
