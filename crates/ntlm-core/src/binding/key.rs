//! The key of a binding: beside its client connection and group, a request must match the key to be given the binding.
//!
//! Must never take one server for another.

use super::digest::Digest;
use super::ids::Refusal;

/// The key that a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The client's address in text, as the request has it.
    pub address: &'a [u8],
    /// The value of `ntlm_key` for the request; empty without the directive.
    pub chosen: &'a [u8],
    /// Of the fields by which a proxy in front names its client; [`Digest::NONE`] where the request has none of them.
    pub forwarded: Digest,
    /// The server that the request asks for; [`Site::NONE`] where the group says which servers there are.
    pub site: Site<'a>,
}

/// A server as a URL names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site<'a> {
    /// The scheme is `https`.
    pub tls: bool,
    /// A name or an address; of a unix socket its path, which is absolute.
    pub host: &'a [u8],
    /// 0 for a unix socket.
    pub port: u16,
}

impl Site<'_> {
    /// None.
    pub const NONE: Self = Site { tls: false, host: b"", port: 0 };
}

/// The key that a binding was made with.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) address: Vec<u8>,
    pub(super) chosen: Vec<u8>,
    forwarded: Digest,
    tls: bool,
    host: Vec<u8>,
    port: u16,
}

impl Kept {
    pub(super) fn copy(key: Key<'_>) -> Result<Self, Refusal> {
        let Site { tls, host, port } = key.site;
        Ok(Kept {
            address: copied(key.address)?,
            chosen: copied(key.chosen)?,
            forwarded: key.forwarded,
            tls,
            host: copied(host)?,
            port,
        })
    }

    /// Whether a request with this key may have the binding.
    pub(super) fn is(&self, key: Key<'_>) -> bool {
        self.forwarded == key.forwarded
            && are_equal(&self.address, key.address)
            && are_equal(&self.chosen, key.chosen)
            && self.is_of(key.site)
    }

    /// Names are compared without case, as nginx does; paths with it.
    pub(super) fn is_of(&self, site: Site<'_>) -> bool {
        (self.port, self.tls, self.host.len()) == (site.port, site.tls, site.host.len())
            && (self.host == site.host
                || (self.host.first() != Some(&b'/') && self.host.eq_ignore_ascii_case(site.host)))
    }

    /// The server that the binding leads to.
    pub(super) fn site(&self) -> Site<'_> {
        Site { tls: self.tls, host: &self.host, port: self.port }
    }
}

/// `==`, without a call for what is as long as addresses are.
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            0 => true,
            8..=16 => {
                one.first_chunk::<8>() == other.first_chunk() && one.last_chunk::<8>() == other.last_chunk()
            }
            _ => one == other,
        }
}

fn copied(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Refusal::NoMemory)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key<'static> =
        Key { address: b"192.0.2.1", chosen: b"", forwarded: Digest::NONE, site: Site::NONE };

    fn finds(one: Site<'_>, other: Site<'_>) -> bool {
        Kept::copy(Key { site: one, ..KEY }).unwrap().is(Key { site: other, ..KEY })
    }

    #[test]
    fn server_is_its_scheme_host_and_port() {
        let app = Site { tls: false, host: b"app", port: 80 };
        assert!(finds(app, app));
        for other in [
            Site { tls: true, ..app },
            Site { host: b"apq", ..app },
            Site { host: b"app2", ..app },
            Site { host: b"", ..app },
            Site { port: 81, ..app },
            Site::NONE,
        ] {
            assert!(!finds(app, other) && !finds(other, app), "{other:?}");
        }
    }

    #[test]
    fn names_have_no_case_but_paths_have() {
        let name = |host| Site { tls: false, host, port: 80 };
        assert!(finds(name(b"App"), name(b"aPP")));
        let path = |host| Site { tls: false, host, port: 0 };
        assert!(finds(path(b"/tmp/s"), path(b"/tmp/s")));
        assert!(!finds(path(b"/tmp/s"), path(b"/tmp/S")));
    }
}
