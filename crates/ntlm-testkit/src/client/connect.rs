//! How an HTTP/1.1 client connects: plainly, over TLS, from another address, behind a PROXY protocol line.
//!
//! It must never send a byte of HTTP.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, UnixStream};

use super::{Endpoint, tls};
use crate::stream::Stream;

/// How to connect.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    tls: bool,
    certified: bool,
    server_name: Option<String>,
    pub(super) host: Option<String>,
    source: Option<String>,
    preamble: Vec<u8>,
    pub(super) name: Option<String>,
}

impl Builder {
    /// Over TLS, for the server name `localhost`.
    #[must_use]
    pub fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// Asks for this server name (SNI) and checks it.
    #[must_use]
    pub fn server_name(mut self, name: &str) -> Self {
        self.server_name = Some(name.to_owned());
        self.tls()
    }

    /// Shows the tests' client certificate.
    #[must_use]
    pub fn client_certificate(mut self) -> Self {
        self.certified = true;
        self.tls()
    }

    /// The value of `Host`; `localhost` if not given.
    #[must_use]
    pub fn host(mut self, host: &str) -> Self {
        self.host = Some(host.to_owned());
        self
    }

    /// Connects from this address, such as `127.0.0.7`.
    #[must_use]
    pub fn source(mut self, ip: &str) -> Self {
        self.source = Some(ip.to_owned());
        self
    }

    /// Sends a PROXY protocol line first, which presents the client as `ip`.
    #[must_use]
    pub fn proxy_protocol(mut self, ip: &str) -> Self {
        self.preamble = format!("PROXY TCP4 {ip} 127.0.0.1 12345 80\r\n").into_bytes();
        self
    }

    /// Sends `X-Client: name` with each request: the ledger shows it.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The connection, ready for the first byte of HTTP.
    pub(super) async fn open(&self, endpoint: Endpoint) -> io::Result<Stream> {
        let mut stream = match endpoint {
            Endpoint::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
            Endpoint::Socket(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
                if let Some(source) = &self.source {
                    let ip = source.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
                    socket.bind(SocketAddr::new(ip, 0))?;
                }
                let stream = socket.connect(address).await?;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        };
        stream.write_all(&self.preamble).await?;
        if self.tls {
            let Stream::Tcp(tcp) = stream else {
                return Err(io::ErrorKind::Unsupported.into());
            };
            let name = self.server_name.as_deref().unwrap_or("localhost");
            stream = tls::over(tcp, name, self.certified).await?;
        }
        Ok(stream)
    }
}
