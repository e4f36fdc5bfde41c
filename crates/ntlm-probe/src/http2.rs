//! HTTP/2 over one connection: to see what a server does there, which is seldom a login.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::cause::{Cause, Failure, tls_failure};
use crate::message::{Broken, Connection, Idle, Request, Response};
use crate::tls;

/// Connects, by ALPN for https and with prior knowledge for http.
pub fn connect(
    stream: TcpStream,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authority: String,
    timeout: Duration,
) -> Result<Box<dyn Connection>, Failure> {
    let failed = |error: std::io::Error| Failure::new(Cause::ConnectFailed, error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    stream.set_nonblocking(true).map_err(failed)?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let base = format!("{scheme}://{authority}");
    let connecting = async {
        let stream = tokio::net::TcpStream::from_std(stream).map_err(failed)?;
        let Some((config, name)) = tls else {
            let (send, driver) = handshake(stream).await?;
            return Ok((send, driver, None, peer));
        };
        let connector = tokio_rustls::TlsConnector::from(config);
        let stream = connector.connect(name, stream).await.map_err(|error| tls_failure(&error))?;
        let (_, session) = stream.get_ref();
        if session.alpn_protocol() != Some(b"h2") {
            return Err(Failure::new(Cause::Unexpected, "the server does not offer HTTP/2"));
        }
        let certificate = session.peer_certificates().and_then(|chain| chain.first());
        let end_point = certificate.map(tls::end_point);
        let (send, driver) = handshake(stream).await?;
        Ok((send, driver, end_point, format!("{peer}, TLS")))
    };
    let (send, driver, end_point, description) = runtime
        .block_on(async { tokio::time::timeout(timeout, connecting).await })
        .map_err(|_| Failure::from(Cause::Timeout))??;
    Ok(Box::new(Http2 { runtime, send, driver, base, timeout, end_point, description }))
}

type Sender = h2::client::SendRequest<Bytes>;

async fn handshake<T>(stream: T) -> Result<(Sender, JoinHandle<()>), Failure>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = h2::client::handshake(stream).await;
    let (send, connection) = handshake.map_err(|error| Failure::new(Cause::Unexpected, error.to_string()))?;
    let driver = tokio::spawn(async move {
        // How it ended shows on the streams.
        let _ = connection.await;
    });
    Ok((send, driver))
}

struct Http2 {
    runtime: Runtime,
    send: Sender,
    driver: JoinHandle<()>,
    base: String,
    timeout: Duration,
    end_point: Option<Vec<u8>>,
    description: String,
}

impl Connection for Http2 {
    fn exchange(&mut self, request: &Request) -> Result<Response, Broken> {
        let (send, base) = (self.send.clone(), &self.base);
        let exchange = self
            .runtime
            .block_on(async { tokio::time::timeout(self.timeout, stream(send, base, request)).await });
        match exchange {
            Err(_) => Err(Broken::Failed(Failure::from(Cause::Timeout))),
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED) => {
                Err(Broken::Failed(Failure::new(Cause::Http2Refused, error.to_string())))
            }
            Ok(Err(error)) if error.is_go_away() || error.is_io() => Err(Broken::Closed),
            Ok(Err(error)) => Err(Broken::Failed(Failure::new(Cause::Unexpected, error.to_string()))),
        }
    }

    fn idle(&mut self, time: Duration) -> Idle {
        let start = Instant::now();
        let driver = &mut self.driver;
        match self.runtime.block_on(async { tokio::time::timeout(time, driver).await }) {
            Err(_) => Idle::Open,
            Ok(_) => Idle::Closed(start.elapsed()),
        }
    }

    fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

async fn stream(send: Sender, base: &str, request: &Request) -> Result<Response, h2::Error> {
    let mut send = send.ready().await?;
    let mut head = http::Request::builder()
        .method(request.method)
        .uri(format!("{base}{}", request.target))
        .header("user-agent", concat!("ntlm-probe/", env!("CARGO_PKG_VERSION")))
        .header("accept", "*/*");
    if let Some(authorization) = &request.authorization {
        head = head.header("authorization", authorization);
    }
    // Method, URL and base64 are valid in a head.
    let head = head.body(()).map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
    let (response, mut body) = send.send_request(head, request.body.is_none())?;
    if let Some(bytes) = &request.body {
        body.send_data(Bytes::copy_from_slice(bytes), true)?;
    }
    let (parts, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        // Its sender waits for room otherwise.
        let _ = incoming.flow_control().release_capacity(data.len());
        body.extend(data.iter().take((64 * 1024_usize).saturating_sub(body.len())));
    }
    let fields = parts.headers.iter();
    let fields = fields.map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    Ok(Response { status: parts.status.as_u16(), version: "HTTP/2", fields: fields.collect(), body })
}
