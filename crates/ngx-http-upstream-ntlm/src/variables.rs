//! The variables: what became of a request's binding, and who is logged in over it.
//!
//! Must never show a name before the origin accepted it, nor anything of a token.
#![expect(unsafe_code, reason = "variables' trampolines, and the table nginx keeps them in")]

use core::fmt::{self, Write as _};

use nginx_sys::{
    NGX_HTTP_VAR_NOCACHEABLE, ngx_conf_t, ngx_http_add_variable, ngx_http_request_t,
    ngx_http_variable_value_t, ngx_int_t, ngx_str_t,
};
use ntlm_core::binding::login::{LONGEST, Login};

use crate::ngx::{Request, Status, show};
use crate::peer::{NtlmPeer, is_turned_back, peer_of};

/// The variables' names, with what each shows.
const VARIABLES: [(&str, Show); 10] = [
    ("ntlm_binding", |peer, out| out.write_str(peer.binding_use().as_str())),
    ("ntlm_requests", |peer, out| match peer.carried() {
        0 => Ok(()),
        carried => write!(out, "{carried}"),
    }),
    ("ntlm_mechanism", |peer, out| login(peer, out, |login| login.mechanism().name())),
    ("ntlm_user", |peer, out| login(peer, out, Login::user)),
    ("ntlm_domain", |peer, out| login(peer, out, Login::domain)),
    ("ntlm_workstation", |peer, out| login(peer, out, Login::workstation)),
    ("ntlm_refused_mechanism", |peer, out| refused(peer, out, |login| login.mechanism().name())),
    ("ntlm_refused_user", |peer, out| refused(peer, out, Login::user)),
    ("ntlm_refused_domain", |peer, out| refused(peer, out, Login::domain)),
    ("ntlm_refused_workstation", |peer, out| refused(peer, out, Login::workstation)),
];

/// The place of `$ntlm_binding` among them, whose value a request has that was turned back, too.
const BINDING: usize = 0;

/// Writes a value; nothing where it is not known.
type Show = fn(&NtlmPeer, &mut Value) -> fmt::Result;

/// Where it is not known.
const UNKNOWN: &[u8] = b"-";

/// A value being written.
struct Value {
    bytes: [u8; LONGEST],
    length: usize,
}

impl fmt::Write for Value {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let room = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

fn login(peer: &NtlmPeer, out: &mut Value, part: fn(&Login) -> &str) -> fmt::Result {
    peer.with_login(|login| out.write_str(part(login))).unwrap_or(Ok(()))
}

fn refused(peer: &NtlmPeer, out: &mut Value, part: fn(&Login) -> &str) -> fmt::Result {
    peer.with_refused(|login| out.write_str(part(login))).unwrap_or(Ok(()))
}

/// `preconfiguration`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_add_variables(cf: *mut ngx_conf_t) -> ngx_int_t {
    for (index, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: ngx_http_block passes its own `cf`; ngx_http_add_variable copies the name.
        unsafe {
            let variable = ngx_http_add_variable(cf, &raw mut name, NGX_HTTP_VAR_NOCACHEABLE as usize);
            if variable.is_null() {
                return Status::ERROR.0;
            }
            (*variable).get_handler = Some(ngx_http_upstream_ntlm_variable);
            (*variable).data = index;
        }
    }
    Status::OK.0
}

/// A variable's `get_handler`.
///
/// # Safety
///
/// Called by nginx with a live request, and the data that [`ngx_http_upstream_ntlm_add_variables`] set.
unsafe extern "C" fn ngx_http_upstream_ntlm_variable(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    let mut value = Value { bytes: [0; LONGEST], length: 0 };
    // SAFETY: ngx_http_get_flushed_variable and its like pass a live request.
    let request = unsafe { Request::new(r) };
    if data == BINDING && is_turned_back(request) {
        // SAFETY: ngx_http_get_variable and its like pass a live request.
        return unsafe { show(request, v, b"fallback") }.0;
    }
    if let (Some(peer), Some((_, write))) = (peer_of(request), VARIABLES.get(data)) {
        // A value that does not fit would be cut; no value is that long.
        let _ = write(peer, &mut value);
    }
    let text = value.bytes.get(..value.length).filter(|text| !text.is_empty()).unwrap_or(UNKNOWN);
    // SAFETY: the caller of this handler passes a live request, and a value to be set.
    unsafe { show(request, v, text) }.0
}
