//! The outgoing request: whether a location put credentials into it, and the two defaults of `proxy_pass` that no handshake
//! survives, which are lifted: HTTP/1.0, and `Connection: close`. NGINX has both up to 1.29.6.
//!
//! Must never touch anything else in the request, nor a request that is not HTTP/1.x.

use core::ops::Range;

use ntlm_core::scheme::{RARE_LETTER, credentials_at};

use crate::ngx::{RequestHeader, Slice, Upstream, find_byte};

const OLD_VERSION: &[u8; 11] = b" HTTP/1.0\r\n";
const NEW_VERSION: &[u8; 11] = b" HTTP/1.1\r\n";
/// Where these two differ.
const MINOR_VERSION: usize = b" HTTP/1.".len();
const CLOSE: &[u8] = b"Connection: close\r\n";
const NAME: &[u8] = b"Connection:";

/// The request is in a protocol that the module does not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreadable;

/// The outgoing request.
#[derive(Clone, Copy)]
pub struct Outgoing {
    u: Upstream,
    /// `None` for a request that is not HTTP/1.x.
    header: Option<RequestHeader>,
}

impl Outgoing {
    /// That which `u` is about to send.
    pub fn of(u: Upstream) -> Self {
        Outgoing { u, header: u.request_header() }
    }

    /// The value of the first field with connection-bound credentials.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: it is not HTTP/1.x.
    pub fn credentials(self) -> Result<Option<Slice>, Unreadable> {
        let sent = self.header.ok_or(Unreadable)?.sent();
        let header = sent.as_bytes();
        for letter in RARE_LETTER {
            let mut at = 0;
            while let Some(next) = header.get(at..).and_then(|rest| find_byte(rest, letter)) {
                if let Some(value) = credentials_at(header, at + next) {
                    return Ok(sent.part(value));
                }
                at += next + 1;
            }
        }
        Ok(None)
    }

    /// Whether the request has neither of the two defaults.
    #[inline(never)]
    pub fn lacks_defaults(self) -> bool {
        self.header.is_some_and(|mut header| {
            let bytes = header.bytes();
            bytes.starts_with(NEW_VERSION) && find_close(bytes).is_none()
        })
    }

    /// Lifts the defaults of a request that has a binding, or may make one.
    #[inline(never)]
    pub fn lift_defaults(self) {
        let Some(mut header) = self.header else { return };
        let bytes = header.bytes();
        match bytes.get(MINOR_VERSION) {
            Some(b'1') => {
                if let Some(close) = find_close(bytes) {
                    lift_close(self.u, header, close);
                }
            }
            Some(b'0') => lift_both(self.u, header),
            _ => {}
        }
    }

    /// The same of one that has to do with neither. It works with `Connection: close` as well as without the module, so that
    /// field is looked for only where the version shows that the defaults are in force.
    pub fn lift_defaults_in_force(self) {
        if let Some(mut header) = self.header
            && header.bytes().get(MINOR_VERSION) == Some(&b'0')
        {
            lift_both(self.u, header);
        }
    }

    /// Whether it says all the same that its connection is to be closed: in a field that is not the default, beside other
    /// options (RFC 9110 section 7.6.1).
    pub fn says_close(self) -> bool {
        let Some(mut header) = self.header.filter(|_| self.u.speaks_http()) else { return false };
        lines(header.bytes(), 0).any(|(_, line)| {
            line.split_at_checked(NAME.len()).is_some_and(|(name, options)| {
                name.eq_ignore_ascii_case(NAME)
                    && options
                        .split(|&byte| byte == b',')
                        .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
            })
        })
    }
}

/// The lines of a header with their ends, from the one that starts at `start` up to the empty one, and where each starts.
fn lines(header: &[u8], mut start: usize) -> impl Iterator<Item = (usize, &[u8])> {
    core::iter::from_fn(move || {
        let rest = header.get(start..).filter(|rest| rest.first() != Some(&b'\r'))?;
        let line = rest.get(..=find_byte(rest, b'\n')?)?;
        start += line.len();
        Some((start - line.len(), line))
    })
}

/// Where the default `Connection: close` of a header is.
fn find_close(header: &[u8]) -> Option<Range<usize>> {
    lines(header, NEW_VERSION.len())
        .find(|(_, line)| line.len() == CLOSE.len() && line.eq_ignore_ascii_case(CLOSE))
        .map(|(start, line)| start..start + line.len())
}

#[inline(never)]
fn lift_close(u: Upstream, mut header: RequestHeader, close: Range<usize>) {
    if header.bytes().starts_with(NEW_VERSION) && u.speaks_http() {
        header.remove(close);
    }
}

#[inline(never)]
fn lift_both(u: Upstream, mut header: RequestHeader) {
    if header.bytes().starts_with(OLD_VERSION) && u.speaks_http() {
        if let Some(version) = header.bytes().first_chunk_mut() {
            *version = *NEW_VERSION;
        }
        if let Some(close) = find_close(header.bytes()) {
            header.remove(close);
        }
    }
}
