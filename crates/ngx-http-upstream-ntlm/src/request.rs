//! The two defaults of `proxy_pass` that no handshake survives, lifted in the outgoing request: HTTP/1.0, and
//! `Connection: close`. NGINX has both up to 1.29.6.
//!
//! Must never touch anything else in the request, nor a request that is not HTTP/1.x.

use crate::ngx::{RequestHeader, Upstream};

const OLD_VERSION: &[u8] = b" HTTP/1.0\r\n";
const NEW_VERSION: &[u8] = b" HTTP/1.1\r\n";
const CLOSE: &[u8] = b"Connection: close\r\n";
const NAME: &[u8] = b"Connection:";

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
