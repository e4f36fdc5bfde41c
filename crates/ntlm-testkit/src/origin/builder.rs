//! An origin to order: where it listens, how it is secured, who may log in.
//!
//! It must never choose a fixed port.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::Origin;
use super::judge::Judge;
use super::listen::Place;
use super::ntlm::Policy;
use super::shared::Shared;
use super::tls::Security;
use crate::ports::Reserved;

#[derive(Debug, Default)]
enum Listen {
    #[default]
    V4,
    V6,
    Unix,
    At(SocketAddr),
}

/// Builds an [`Origin`].
#[derive(Debug, Default)]
pub struct Builder {
    name: Option<String>,
    listen: Listen,
    security: Security,
    users: HashMap<String, String>,
    judge: Option<Judge>,
    gateway: bool,
    echo: bool,
    policy: Policy,
}

impl Builder {
    /// The name in `X-Origin`; `origin` if not given.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Listens on a free port of ::1.
    #[must_use]
    pub fn ipv6(mut self) -> Self {
        self.listen = Listen::V6;
        self
    }

    /// Listens on a unix socket in a folder of its own.
    #[must_use]
    pub fn unix(mut self) -> Self {
        self.listen = Listen::Unix;
        self
    }

    /// Listens at this address (port 0: a free one).
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Listen::At(address);
        self
    }

    /// Knows this user (and, from the first call on, only the users so named).
    #[must_use]
    pub fn user(mut self, name: &str, password: &str) -> Self {
        self.users.insert(name.to_owned(), password.to_owned());
        self
    }

    /// Its NetBIOS name in challenges; `ORIGIN` if not given.
    #[must_use]
    pub fn computer(mut self, name: &str) -> Self {
        self.policy.computer = name.to_owned();
        self
    }

    /// Its clock is so many seconds ahead. By more than half an hour, every login fails.
    #[must_use]
    pub fn clock_ahead(mut self, seconds: i64) -> Self {
        self.policy.clock_ahead = seconds;
        self
    }

    /// Has credentials of `NTLM` and `Negotiate` judged by another program; no user is known here then.
    #[must_use]
    pub fn judged_by(mut self, judge: Judge) -> Self {
        self.judge = Some(judge);
        self
    }

    /// Answers `RDG_*` and `RPC_*` as a gateway of remote desktops does, and ends a session as soon as both of its halves are logged in.
    #[must_use]
    pub fn gateway(mut self) -> Self {
        self.gateway = true;
        self
    }

    /// Prints each entry of the ledger as it is made.
    #[must_use]
    pub fn echo(mut self) -> Self {
        self.echo = true;
        self
    }

    /// Starts it; panics if it cannot listen.
    pub async fn start(self) -> Origin {
        let folder = tempfile::Builder::new().prefix("ntlm-origin-").tempdir().expect("a temporary folder");
        let reserved = match self.listen {
            Listen::V4 => Some(Reserved::v4().expect("a free port of 127.0.0.1")),
            Listen::V6 => Some(Reserved::v6().expect("a free port of ::1")),
            Listen::Unix | Listen::At(_) => None,
        };
        let place = match (&self.listen, &reserved) {
            (Listen::At(address), _) if address.port() == 0 => {
                // Taken and given back at once: where a test needs more certainty it does not name an address.
                let socket = std::net::TcpListener::bind(address).expect("an address to listen at");
                Place::Tcp(socket.local_addr().expect("the address of a listening socket"))
            }
            (Listen::At(address), _) => Place::Tcp(*address),
            (_, Some(reserved)) => Place::Tcp(reserved.address()),
            (_, None) => Place::Unix(folder.path().join("origin.sock")),
        };
        self.security.write_to(folder.path());
        let origin = Origin {
            tls: self.security.acceptor(),
            shared: Arc::new(Shared::new(
                self.name.unwrap_or_else(|| "origin".to_owned()),
                Policy { protection: self.security.protection(), ..self.policy },
                self.users,
                self.echo,
                self.judge,
                self.gateway,
            )),
            place,
            life: Mutex::default(),
            folder,
            _reserved: reserved,
        };
        origin.start_again().await;
        origin
    }
}

#[cfg(feature = "full")]
impl Builder {
    /// Speaks TLS 1.2 and 1.3, with the server certificate of [`crate::pki::pki`].
    #[must_use]
    pub fn tls(self) -> Self {
        self.tls_versions(super::TlsVersions::Both)
    }

    /// Speaks these versions of TLS.
    #[must_use]
    pub fn tls_versions(mut self, versions: super::TlsVersions) -> Self {
        self.security.versions = Some(versions);
        self
    }

    /// Asks TLS clients for a certificate of the tests' authority; none is fine too, and the ledger shows which.
    #[must_use]
    pub fn client_ca(mut self) -> Self {
        self.security.client_ca = true;
        self
    }

    /// Sends no session tickets and resumes nothing.
    #[must_use]
    pub fn no_resumption(mut self) -> Self {
        self.security.no_resumption = true;
        self
    }

    /// Extended Protection: checks the channel bindings of logins against its own certificate.
    #[must_use]
    pub fn extended_protection(mut self, protection: super::Protection) -> Self {
        self.security.protection = Some(protection);
        self
    }
}
