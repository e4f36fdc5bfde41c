//! From a URL to a connection.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use url::Url;

use crate::args::Args;
use crate::cause::{Cause, Failure};
use crate::connection::Connection;
use crate::tls;

/// Where to connect to, and how.
#[derive(Clone)]
pub struct Endpoint {
    url: Url,
    connect: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    http2: bool,
    timeout: Duration,
}

impl Endpoint {
    /// Of a URL, by the rules of the command line.
    pub fn new(args: &Args, url: &Url, connect: Option<&str>) -> Result<Self, String> {
        let alpn: &[u8] = if args.http2 { b"h2" } else { b"http/1.1" };
        let tls = match url.scheme() {
            "https" => Some(tls::config(args.cacert.as_deref(), args.insecure, alpn)?),
            _ => None,
        };
        Ok(Self {
            url: url.clone(),
            connect: connect.map(str::to_owned),
            tls,
            http2: args.http2,
            timeout: args.timeout,
        })
    }

    /// Name of the host, without a port.
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// The value of `Host`.
    pub fn authority(&self) -> String {
        match self.url.port() {
            Some(port) => format!("{}:{port}", self.host()),
            None => self.host().to_owned(),
        }
    }

    /// Path and query.
    pub fn target(&self) -> String {
        match self.url.query() {
            Some(query) => format!("{}?{query}", self.url.path()),
            None => self.url.path().to_owned(),
        }
    }

    /// It is a URL of https.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects.
    pub fn connect(&self) -> Result<Connection, Failure> {
        let stream = self.tcp()?;
        let tls = match &self.tls {
            Some(config) => Some((config.clone(), self.server_name()?)),
            None => None,
        };
        Connection::new(stream, tls, self.http2, self.authority(), self.timeout)
    }

    fn server_name(&self) -> Result<ServerName<'static>, Failure> {
        let host = self.host().trim_matches(['[', ']']).to_owned();
        ServerName::try_from(host).map_err(|error| Failure::new(Cause::NameUnknown, error.to_string()))
    }

    fn tcp(&self) -> Result<TcpStream, Failure> {
        let place = match &self.connect {
            Some(place) => place.clone(),
            None => format!("{}:{}", self.host(), self.url.port_or_known_default().unwrap_or(80)),
        };
        let unknown =
            |error: &dyn std::fmt::Display| Failure::new(Cause::NameUnknown, format!("{place}: {error}"));
        let addresses: Vec<SocketAddr> = place.to_socket_addrs().map_err(|error| unknown(&error))?.collect();
        let mut last = unknown(&"no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => {
                    // A login is small; waiting to fill segments would only skew the times shown.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => {
                    let cause = match error.kind() {
                        io::ErrorKind::ConnectionRefused => Cause::ConnectRefused,
                        io::ErrorKind::TimedOut => Cause::Timeout,
                        _ => Cause::ConnectFailed,
                    };
                    last = Failure::new(cause, format!("{address}: {error}"));
                }
            }
        }
        Err(last)
    }
}
