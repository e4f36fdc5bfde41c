//! Clients whose connection belongs to the test: HTTP/1.1, HTTP/2, HTTP/3, and Debian's curl; and a browser.
//!
//! None of them retries, reconnects or follows anything by itself.

#[cfg(feature = "browser")]
pub mod browser;
mod connect;
pub mod curl;
pub mod http1;
#[cfg(feature = "http2")]
pub mod http2;
#[cfg(feature = "http3")]
pub mod http3;
#[cfg(feature = "full")]
mod login;
#[cfg(feature = "full")]
mod logins;
mod message;
#[cfg(feature = "http2")]
pub mod streams;
#[cfg_attr(not(feature = "full"), path = "clear.rs")]
mod tls;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::connect::Builder;
pub use self::http1::Client;
#[cfg(feature = "full")]
pub use self::login::{Login, Scheme, kerberos_token};
pub use self::message::Response;
pub use ntlm_client::{Body, Request};

use crate::Origin;

/// Where a client connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP, or UDP for HTTP/3.
    Socket(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

/// A server that a client can connect to.
pub trait Target {
    /// Where that is.
    fn endpoint(&self) -> Endpoint;
}

impl<T: Target + ?Sized> Target for &T {
    fn endpoint(&self) -> Endpoint {
        (**self).endpoint()
    }
}

impl Target for Endpoint {
    fn endpoint(&self) -> Endpoint {
        self.clone()
    }
}

impl Target for SocketAddr {
    fn endpoint(&self) -> Endpoint {
        Endpoint::Socket(*self)
    }
}

impl Target for Origin {
    fn endpoint(&self) -> Endpoint {
        match self.unix_path() {
            Some(path) => Endpoint::Unix(path.to_owned()),
            None => Endpoint::Socket(self.socket_addr()),
        }
    }
}
