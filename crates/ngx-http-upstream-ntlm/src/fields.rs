//! The header fields that the module looks at as nginx parses them: what answers say of authentication, and the rare ones of
//! requests.
//!
//! So every token is seen before nginx lets go of the connection it came by, whatever becomes of the answer, and answers
//! without one cost nothing.
#![expect(unsafe_code, reason = "header field handlers' trampolines")]

use nginx_sys::{ngx_conf_t, ngx_http_request_t, ngx_int_t, ngx_table_elt_t};
use ntlm_core::scheme::{ConnectionBound, carries_token, offers};

use crate::ngx::{Request, Slice, Status, Wrapped, watch_client_field, watch_upstream_field};
use crate::{credentials, forwarded, peer};

static WWW_AUTHENTICATE: Wrapped = Wrapped::new();
static PROXY_AUTHENTICATE: Wrapped = Wrapped::new();
static PROXY_AUTHORIZATION: Wrapped = Wrapped::new();
static X_FORWARDED_FOR: Wrapped = Wrapped::new();
static FORWARDED_FIELD: Wrapped = Wrapped::new();
static X_REAL_IP: Wrapped = Wrapped::new();

/// Has nginx call the handlers of this file. False when there is no memory.
///
/// # Safety
///
/// Called from `postconfiguration`.
pub unsafe fn watch(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: vouched for by the caller.
    unsafe {
        watch_upstream_field(
            cf,
            "www-authenticate",
            Some(ngx_http_upstream_ntlm_process_www_authenticate),
            &WWW_AUTHENTICATE,
        ) && watch_upstream_field(
            cf,
            "proxy-authenticate",
            Some(ngx_http_upstream_ntlm_process_proxy_authenticate),
            &PROXY_AUTHENTICATE,
        ) && watch_client_field(
            cf,
            "proxy-authorization",
            Some(ngx_http_upstream_ntlm_process_proxy_authorization),
            &PROXY_AUTHORIZATION,
        ) && watch_client_field(
            cf,
            "x-forwarded-for",
            Some(ngx_http_upstream_ntlm_process_x_forwarded_for),
            &X_FORWARDED_FOR,
        ) && watch_client_field(
            cf,
            "forwarded",
            Some(ngx_http_upstream_ntlm_process_forwarded),
            &FORWARDED_FIELD,
        ) && watch_client_field(cf, "x-real-ip", Some(ngx_http_upstream_ntlm_process_x_real_ip), &X_REAL_IP)
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
        }
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
    // SAFETY: see above.
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
    // SAFETY: see above.
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
    // SAFETY: see above.
    unsafe {
        if ConnectionBound::credentials(value(h).as_bytes()).is_some() {
            credentials::expect_proxy_authorization();
        }
        PROXY_AUTHORIZATION.call(r, h, offset)
    }
}

/// `X-Forwarded-For` of a client.
///
/// # Safety
///
/// Called by nginx as it parses the header of a request.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_x_forwarded_for(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    forwarded::expect();
    // SAFETY: see above.
    unsafe { X_FORWARDED_FOR.call(r, h, offset) }
}

/// `Forwarded` of a client.
///
/// # Safety
///
/// Called by nginx as it parses the header of a request.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_forwarded(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    forwarded::expect();
    // SAFETY: see above.
    unsafe { FORWARDED_FIELD.call(r, h, offset) }
}

/// `X-Real-IP` of a client.
///
/// # Safety
///
/// Called by nginx as it parses the header of a request.
unsafe extern "C" fn ngx_http_upstream_ntlm_process_x_real_ip(
    r: *mut ngx_http_request_t,
    h: *mut ngx_table_elt_t,
    offset: usize,
) -> ngx_int_t {
    forwarded::expect();
    // SAFETY: see above.
    unsafe { X_REAL_IP.call(r, h, offset) }
}
