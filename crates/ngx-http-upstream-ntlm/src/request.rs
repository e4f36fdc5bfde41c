//! The outgoing request: whether a location put credentials into it, and the two defaults of `proxy_pass` that no handshake
//! survives, which are lifted: HTTP/1.0, and `Connection: close`. NGINX has both up to 1.29.6.
//!
//! Must never touch anything else in the request, nor a request that is not HTTP/1.x.

use ntlm_core::scheme::ConnectionBound;

use crate::ngx::{RequestHeader, Upstream};

const OLD_VERSION: &[u8] = b" HTTP/1.0\r\n";
const NEW_VERSION: &[u8] = b" HTTP/1.1\r\n";
const CLOSE: &[u8] = b"Connection: close\r\n";
const NAME: &[u8] = b"Connection:";
const AUTHORIZATION: &[u8] = b"\nAuthorization:";

/// Whether the request that `u` is about to send carries connection-bound credentials, which a location may have taken from
/// anywhere (`proxy_set_header Authorization`).
///
/// The letter of the name that is rare in headers is looked for, since every request pays for it.
#[inline]
pub fn carries_credentials(u: Upstream) -> bool {
    u.request_header().is_some_and(|header| {
        [b'z', b'Z']
            .into_iter()
            .any(|letter| header.find(letter, 0).is_some_and(|at| is_in_credentials(u, header, letter, at)))
    })
}

/// Whether this letter, found at `at`, or a later one is that of such a field's name.
#[inline(never)]
fn is_in_credentials(u: Upstream, mut header: RequestHeader, letter: u8, at: usize) -> bool {
    const BEFORE: usize = b"\nAuthori".len();
    let mut next = Some(at);
    while let Some(at) = next {
        let field = at.checked_sub(BEFORE).and_then(|start| header.bytes().get(start..)).unwrap_or_default();
        if let Some((name, value)) = field.split_at_checked(AUTHORIZATION.len())
            && name.eq_ignore_ascii_case(AUTHORIZATION)
            && ConnectionBound::credentials(value.split(|&byte| byte == b'\r').next().unwrap_or_default())
                .is_some()
        {
            return u.speaks_http();
        }
        next = header.find(letter, at + 1);
    }
    false
}

/// Lifts the defaults of the request that `u` is about to send.
///
/// A request without credentials whose client has no binding works with `Connection: close` as well as without the
/// module, so that field is looked for in such a one only where the version shows that the defaults are in force.
#[inline]
pub fn lift_defaults(u: Upstream, may_be_bound: bool) {
    if let Some(mut header) = u.request_header()
        && (may_be_bound || header.bytes().starts_with(OLD_VERSION))
        && u.speaks_http()
    {
        lift(header);
    }
}

#[inline(never)]
fn lift(mut header: RequestHeader) {
    let Some(version) = header.bytes().first_chunk_mut::<{ NEW_VERSION.len() }>() else { return };
    if version == OLD_VERSION {
        version.copy_from_slice(NEW_VERSION);
    } else if version != NEW_VERSION {
        return;
    }
    let mut start = NEW_VERSION.len();
    while let Some(length) = header.line(start) {
        // An empty line ends the header.
        if length <= b"\r\n".len() {
            return;
        }
        let end = start + length;
        if length == CLOSE.len()
            && header.bytes().get(start..end).is_some_and(|field| field.eq_ignore_ascii_case(CLOSE))
        {
            header.remove(start..end);
            return;
        }
        start = end;
    }
}

/// Whether the request that `u` is about to send says all the same that its connection is to be closed: in a field that is
/// not the default, beside other options (RFC 9110 section 7.6.1).
pub fn says_close(u: Upstream) -> bool {
    let Some(mut header) = u.request_header().filter(|_| u.speaks_http()) else { return false };
    let mut start = 0;
    while let Some(length) = header.line(start).filter(|&length| length > b"\r\n".len()) {
        let line = header.bytes().get(start..start + length).unwrap_or_default();
        let options = line.split_at_checked(NAME.len()).filter(|(name, _)| name.eq_ignore_ascii_case(NAME));
        if let Some((_, options)) = options
            && options
                .split(|&byte| byte == b',')
                .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
        {
            return true;
        }
        start += length;
    }
    false
}
