//! One connection to the server, by HTTP/1.1 or HTTP/2, which is never replaced by another behind the caller's back.
//!
//! Logins need HTTP/1.1; HTTP/2 shows what a server does there.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ntlm_client::http1::{self, Wire, is_gone};
use ntlm_client::{Request, Response, http2};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::cause::{Cause, Failure, is_timeout, tls_failure};
use crate::tls;

/// The part of a body that is kept; a body may be longer.
const KEPT: usize = 64 * 1024;

/// How an exchange ended without a response.
#[derive(Clone, Debug)]
pub enum Broken {
    /// The peer closed or reset the connection before a byte of the response.
    Closed,
    /// Anything else.
    Failed(Failure),
}

/// How an idle connection fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It is open.
    Open,
    /// The peer closed it after so long.
    Closed(Duration),
}

/// A connection to the server.
pub struct Connection {
    runtime: Runtime,
    protocol: Protocol,
    secure: bool,
    /// The value of `Host`.
    authority: String,
    timeout: Duration,
    end_point: Option<Vec<u8>>,
    description: String,
}

enum Protocol {
    Http1(Wire<Box<dyn Stream>>),
    /// And whether nothing has shown yet that the server speaks it.
    Http2(h2::client::SendRequest<Bytes>, JoinHandle<()>, bool),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Connection {
    /// Finishes the TLS handshake, and begins HTTP/2 if `http2`: by ALPN for https and with prior knowledge for http.
    pub fn new(
        stream: TcpStream,
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        http2: bool,
        authority: String,
        patience: Duration,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::new(Cause::ConnectFailed, error.to_string());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
        stream.set_nonblocking(true).map_err(failed)?;
        let secure = tls.is_some();
        let connecting = async {
            let tcp = tokio::net::TcpStream::from_std(stream).map_err(failed)?;
            let (stream, end_point, description): (Box<dyn Stream>, _, _) = match tls {
                None => (Box::new(tcp), None, peer),
                Some((config, name)) => {
                    let connector = tokio_rustls::TlsConnector::from(config);
                    let stream =
                        connector.connect(name, tcp).await.map_err(|error| match tls_failure(&error) {
                            // HTTP/2 is all that was asked for.
                            Failure { cause: Cause::Http2Only, detail } if http2 => {
                                Failure::new(Cause::NoHttp2, detail)
                            }
                            failure => failure,
                        })?;
                    let (_, session) = stream.get_ref();
                    if http2 && session.alpn_protocol() != Some(b"h2") {
                        return Err(Failure::new(Cause::NoHttp2, "TLS did not agree on it"));
                    }
                    let certificate = session.peer_certificates().and_then(|chain| chain.first());
                    let end_point = certificate.map(tls::end_point);
                    let version = match session.protocol_version() {
                        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                        _ => "TLS 1.2",
                    };
                    (Box::new(stream), end_point, format!("{peer}, {version}"))
                }
            };
            let protocol = if http2 {
                let begun = http2::begin(stream).await;
                let (send, connection) =
                    begun.map_err(|error| Failure::new(Cause::Unexpected, error.to_string()))?;
                let driver = tokio::spawn(async move {
                    // How it ended shows on the streams.
                    let _ = connection.await;
                });
                Protocol::Http2(send, driver, !secure)
            } else {
                Protocol::Http1(Wire::new(stream).limited(patience, KEPT))
            };
            Ok((protocol, end_point, description))
        };
        let (protocol, end_point, description) = runtime
            .block_on(async { timeout(patience, connecting).await })
            .map_err(|_| Failure::from(Cause::Timeout))??;
        Ok(Self { runtime, protocol, secure, authority, timeout: patience, end_point, description })
    }

    /// Sends a request and awaits its response.
    pub fn exchange(&mut self, request: Request) -> Result<Response, Broken> {
        let request = request
            .header("User-Agent", concat!("ntlm-probe/", env!("CARGO_PKG_VERSION")))
            .header("Accept", "*/*");
        match &mut self.protocol {
            Protocol::Http1(wire) => {
                let exchange = self.runtime.block_on(http1_exchange(wire, &request, &self.authority));
                exchange.map_err(|broken| self.in_words(broken))
            }
            Protocol::Http2(send, _, assumed) => {
                let origin = format!("http{}://{}", if self.secure { "s" } else { "" }, self.authority);
                let send = send.clone();
                let exchange = async { http2::send(send, &origin, request).await?.read(KEPT).await };
                match self.runtime.block_on(async { timeout(self.timeout, exchange).await }) {
                    Err(_) => Err(Broken::Failed(Failure::from(Cause::Timeout))),
                    Ok(Ok(response)) => {
                        *assumed = false;
                        Ok(response)
                    }
                    Ok(Err(error)) if error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED) => {
                        Err(Broken::Failed(Failure::new(Cause::Http2Refused, error.to_string())))
                    }
                    Ok(Err(error)) if *assumed => {
                        Err(Broken::Failed(Failure::new(Cause::NoHttp2, error.to_string())))
                    }
                    Ok(Err(error)) if error.is_go_away() || error.is_io() => Err(Broken::Closed),
                    Ok(Err(error)) => Err(Broken::Failed(Failure::new(Cause::Unexpected, error.to_string()))),
                }
            }
        }
    }

    /// Waits, and looks whether the peer closes it.
    pub fn idle(&mut self, time: Duration) -> Idle {
        let start = Instant::now();
        let protocol = &mut self.protocol;
        let ended = async {
            match protocol {
                // Bytes that nobody asked for stand before the next response.
                Protocol::Http1(wire) => while matches!(wire.listen().await, Ok(1..)) {},
                Protocol::Http2(_, driver, _) => {
                    // A driver that panicked has ended as well.
                    let _ = driver.await;
                }
            }
        };
        match self.runtime.block_on(async { timeout(time, ended).await }) {
            Err(_) => Idle::Open,
            Ok(()) => Idle::Closed(start.elapsed()),
        }
    }

    /// The channel binding of its TLS.
    pub fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    /// Where it leads to, and by which protocols, for people: `192.0.2.7:443, TLS 1.3`.
    pub fn describe(&self) -> String {
        self.description.clone()
    }

    fn in_words(&self, broken: http1::Broken) -> Broken {
        Broken::Failed(match broken {
            http1::Broken::Closed => return Broken::Closed,
            http1::Broken::Short(place) => {
                Failure::new(Cause::Unexpected, format!("the response breaks off in its {place}"))
            }
            // A SETTINGS frame on stream 0 is what HTTP/2 begins with (RFC 9113 §3.4).
            http1::Broken::Malformed(_)
                if matches!(&self.protocol, Protocol::Http1(wire)
                    if matches!(wire.unused(), [0, _, _, 4, _, 0, 0, 0, 0, ..])) =>
            {
                Failure::from(Cause::Http2Only)
            }
            http1::Broken::Malformed(why) => {
                Failure::new(Cause::Unexpected, format!("the answer is no HTTP/1.1 response: {why}"))
            }
            http1::Broken::Failed(error) if is_timeout(&error) => Failure::from(Cause::Timeout),
            http1::Broken::Failed(error) if self.secure => tls_failure(&error),
            http1::Broken::Failed(error) => Failure::new(Cause::ConnectFailed, error.to_string()),
        })
    }
}

async fn http1_exchange(
    wire: &mut Wire<Box<dyn Stream>>,
    request: &Request,
    host: &str,
) -> Result<Response, http1::Broken> {
    match wire.write(&[request.head_bytes(host), request.body_bytes()].concat()).await {
        // The peer may have answered before it closed.
        Err(error) if !is_gone(&error) => Err(error.into()),
        _ => wire.read(&request.method).await,
    }
}

#[cfg(test)]
mod tests;
