//! The key of a binding: beside its client connection and group, a request must match the key to be given the binding.
//!
//! Must never take one server for another.

use super::digest::Digest;
use super::ids::{Boxed, Refusal, boxed};

/// The address of a client: the two halves of an IPv6 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address(u64, u64);

impl Address {
    /// Of a client without one of its own (a unix socket). No client has the IPv6 address that these bits are.
    pub const LOCAL: Self = Address(u64::MAX, u64::MAX);
    /// The third quarter of an IPv6 address that maps an IPv4 address (RFC 4291 section 2.5.5.2).
    const MAPPED: u64 = 0xffff;

    /// An IPv4 address, which is the same as the IPv6 address that maps it.
    pub const fn v4(bytes: [u8; 4]) -> Self {
        Address(0, Self::MAPPED << 32 | u32::from_be_bytes(bytes) as u64)
    }

    /// An IPv6 address.
    pub const fn v6([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> Self {
        Address(u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
    }

    /// The address that stands for its site when addresses share the room of a group: an IPv4 address stands for itself, an IPv6
    /// address for its /64, since one site is given a /64.
    pub(super) fn source(self) -> Self {
        if self.0 == 0 && self.1 >> 32 == Self::MAPPED { self } else { Address(self.0, 0) }
    }

    pub(super) fn to_bytes(self) -> [[u8; 8]; 2] {
        [self.0.to_be_bytes(), self.1.to_be_bytes()]
    }
}

/// The key that a request brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The client's address, as the request has it.
    pub address: Address,
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
pub(super) struct BindingKey {
    pub(super) address: Address,
    /// `None` where there is nothing but the address.
    rest: Option<Boxed<Rest>>,
}

#[derive(Debug)]
struct Rest {
    chosen: Vec<u8>,
    forwarded: Digest,
    tls: bool,
    host: Vec<u8>,
    port: u16,
}

impl Key<'_> {
    /// The key of a request that brings nothing but its client's address.
    pub const fn of(address: Address) -> Self {
        Key { address, chosen: b"", forwarded: Digest::NONE, site: Site::NONE }
    }

    fn is_address_only(&self) -> bool {
        self.chosen.is_empty() && self.forwarded == Digest::NONE && self.site == Site::NONE
    }
}

impl BindingKey {
    pub(super) fn copy(key: Key<'_>) -> Result<Self, Refusal> {
        let Key { address, chosen, forwarded, site: Site { tls, host, port } } = key;
        let rest = if key.is_address_only() {
            None
        } else {
            Some(boxed(Rest { chosen: copied(chosen)?, forwarded, tls, host: copied(host)?, port })?)
        };
        Ok(BindingKey { address, rest })
    }

    /// Whether a request that brings nothing but this address may have the binding.
    pub(super) fn is_address(&self, address: Address) -> bool {
        self.address == address && self.rest.is_none()
    }

    /// Whether a request with this key may have the binding.
    pub(super) fn is(&self, key: &Key<'_>) -> bool {
        self.address == key.address
            && match &self.rest {
                None => key.is_address_only(),
                Some(_) => {
                    self.rest().is_some_and(|rest| rest.forwarded == key.forwarded)
                        && self.chosen() == key.chosen
                        && self.is_of(key.site)
                }
            }
    }

    /// Whether a request with this key comes from another client, whatever server it asks for.
    pub(super) fn is_of_another_client(&self, key: &Key<'_>) -> bool {
        let own = self.key();
        (own.address, own.chosen, own.forwarded) != (key.address, key.chosen, key.forwarded)
    }

    /// The key of a request that may have the binding.
    pub(super) fn key(&self) -> Key<'_> {
        let forwarded = self.rest().map_or(Digest::NONE, |rest| rest.forwarded);
        Key { address: self.address, chosen: self.chosen(), forwarded, site: self.site() }
    }

    fn rest(&self) -> Option<&Rest> {
        let [rest] = self.rest.as_deref()?;
        Some(rest)
    }

    /// The value of `ntlm_key`.
    pub(super) fn chosen(&self) -> &[u8] {
        self.rest().map_or(b"", |rest| &rest.chosen)
    }

    /// Names are compared without case, as nginx does; paths with it.
    pub(super) fn is_of(&self, site: Site<'_>) -> bool {
        let own = self.site();
        (own.port, own.tls, own.host.len()) == (site.port, site.tls, site.host.len())
            && (own.host == site.host
                || (own.host.first() != Some(&b'/') && own.host.eq_ignore_ascii_case(site.host)))
    }

    /// The server that the binding leads to.
    pub(super) fn site(&self) -> Site<'_> {
        self.rest().map_or(Site::NONE, |rest| Site { tls: rest.tls, host: &rest.host, port: rest.port })
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
    use crate::binding::digest::Secret;

    const KEY: Key<'static> =
        Key { address: Address::v4([192, 0, 2, 1]), chosen: b"", forwarded: Digest::NONE, site: Site::NONE };

    fn finds(one: Site<'_>, other: Site<'_>) -> bool {
        BindingKey::copy(Key { site: one, ..KEY }).unwrap().is(&Key { site: other, ..KEY })
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
    fn each_part_of_a_key_counts() {
        let away = Key { address: Address::v4([192, 0, 2, 2]), ..KEY };
        let chosen = Key { chosen: b"k", ..KEY };
        let forwarded = Key { forwarded: Secret::default().digest(&[b"x"]), ..KEY };
        let all = [KEY, away, chosen, forwarded, Key { chosen: b"k", ..away }, Key { chosen: b"l", ..KEY }];
        for (number, &one) in all.iter().enumerate() {
            let kept = BindingKey::copy(one).unwrap();
            for (other, key) in all.iter().enumerate() {
                assert_eq!(kept.is(key), number == other, "{one:?} {key:?}");
                let by_address = kept.is_address(key.address);
                assert_eq!(by_address, kept.is(&Key::of(key.address)), "{one:?} {key:?}");
            }
        }
    }

    #[test]
    fn a_v6_site_is_one_source() {
        let of = |text: &str| match text.parse().unwrap() {
            core::net::IpAddr::V4(address) => Address::v4(address.octets()).source(),
            core::net::IpAddr::V6(address) => Address::v6(address.octets()).source(),
        };
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_ne!(of("192.0.2.1"), Address::LOCAL);
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
