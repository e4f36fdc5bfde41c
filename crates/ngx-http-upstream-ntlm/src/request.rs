//! The two defaults of `proxy_pass` that no handshake survives, lifted in the outgoing request: HTTP/1.0, and
//! `Connection: close`. NGINX has both up to 1.29.6.
//!
//! Must never touch anything else in the request, nor a request that is not HTTP/1.x.

use crate::ngx::Upstream;

const OLD_VERSION: &[u8] = b" HTTP/1.0\r\n";
const MINOR_VERSION: usize = b" HTTP/1.".len();
const CLOSE: &[u8] = b"Connection: close\r\n";

/// Lifts the defaults of the request that `u` is about to send.
///
/// A request without credentials whose client has no binding works with `Connection: close` as well as without the
/// module, so that header is looked for in such a one only where the version shows that the defaults are in force.
pub fn lift_defaults(u: Upstream, may_be_bound: bool) {
    if !u.speaks_http() {
        return;
    }
    let Some(buffer) = u.request_buffer() else { return };
    let Some(line) = buffer.find(0, b'\n').map(|end| end + 1) else { return };
    let version = line.saturating_sub(OLD_VERSION.len());
    let old = buffer.bytes(version, line) == OLD_VERSION;
    if old {
        buffer.set(version + MINOR_VERSION, b'1');
    }
    if !old && !may_be_bound {
        return;
    }
    let mut start = line;
    while let Some(end) = buffer.find(start, b'\n').map(|end| end + 1) {
        let field = buffer.bytes(start, end);
        if field.eq_ignore_ascii_case(CLOSE) {
            buffer.remove(start, end);
            return;
        }
        if field == b"\r\n" {
            return;
        }
        start = end;
    }
}
