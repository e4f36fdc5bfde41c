//! Connection settings that must match before a binding may be reused.
//!
//! Must never call two settings equal when the server, or the client certificate shown to it, could be another's.

use crate::ngx::{Pool, Request, Slice, Upstream};

/// The way a request takes to the server it is given, apart from which server that is.
#[derive(Clone, Copy, PartialEq)]
pub struct Transport {
    protocol: usize,
    local_address: Slice,
    #[cfg(nginx_tls)]
    tls: Option<Tls>,
}

#[cfg(nginx_tls)]
#[derive(Clone, Copy)]
struct Tls {
    /// The context, which carries the protocol versions, ciphers, and what certificates are verified against.
    context: usize,
    verify: bool,
    server_name: bool,
    name: Slice,
    certificate: Slice,
    certificate_key: Slice,
}

#[cfg(nginx_tls)]
impl PartialEq for Tls {
    /// Locations that say the same have contexts of their own, so these only count where a server is verified: what it
    /// is verified against cannot be compared in any other way.
    fn eq(&self, other: &Self) -> bool {
        (self.verify == other.verify && (!self.verify || self.context == other.context))
            && self.server_name == other.server_name
            && self.name == other.name
            && self.certificate == other.certificate
            && self.certificate_key == other.certificate_key
    }
}

impl Transport {
    /// The way this request takes. What it refers to lives as long as the request. `None` when it cannot
    /// be told: what cannot be evaluated is not the same as nothing.
    #[inline]
    pub fn of(r: Request, u: Upstream) -> Option<Self> {
        let _ = r;
        Some(Transport {
            protocol: u.protocol(),
            local_address: u.peer().local_address(),
            #[cfg(nginx_tls)]
            tls: if u.is_tls() { Some(Tls::of(r, u)?) } else { None },
        })
    }

    /// A copy of the settings and of all that they refer to, in a pool. `None` when there is no memory.
    pub fn copied_to(self, pool: Pool) -> Option<Self> {
        Some(Transport {
            local_address: pool.copy(self.local_address.as_bytes())?,
            #[cfg(nginx_tls)]
            tls: match self.tls {
                None => None,
                Some(tls) => Some(Tls {
                    name: pool.copy(tls.name.as_bytes())?,
                    certificate: pool.copy(tls.certificate.as_bytes())?,
                    certificate_key: pool.copy(tls.certificate_key.as_bytes())?,
                    ..tls
                }),
            },
            ..self
        })
    }
}

#[cfg(nginx_tls)]
impl Tls {
    #[inline(never)]
    fn of(r: Request, u: Upstream) -> Option<Self> {
        let conf = u.tls_conf();
        let (certificate, certificate_key) = u.tls_certificate(r)?;
        Some(Tls {
            context: conf.context,
            verify: conf.verify,
            server_name: conf.server_name,
            name: r.evaluate(conf.name, u.default_tls_name())?,
            certificate,
            certificate_key,
        })
    }
}
