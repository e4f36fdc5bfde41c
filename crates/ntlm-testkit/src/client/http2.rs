//! An HTTP/2 client with one connection: cleartext with prior knowledge, or TLS with ALPN.
//!
//! It must never open a second connection.

use std::io;

use bytes::Bytes;
use h2::client::SendRequest;
use ntlm_client::http2;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::{TlsConnector, TlsStream};

use super::streams::{self, Streams};
use super::{Endpoint, Request, Response, Target, tls};
use crate::background::run;
use crate::stream::Stream;
use crate::within;

/// A client with one HTTP/2 connection; it is closed when this is dropped.
pub type Client = streams::Client<Http2>;

/// An HTTP/2 connection.
#[derive(Debug)]
pub struct Http2 {
    send: SendRequest<Bytes>,
    ended: watch::Receiver<bool>,
    driver: tokio::task::JoinHandle<()>,
    origin: &'static str,
}

impl Streams for Http2 {
    type Error = h2::Error;

    async fn exchange(&self, request: Request) -> Result<Response, h2::Error> {
        let begun = http2::send(self.send.clone(), self.origin, request).await?;
        Ok(begun.read(usize::MAX).await?.into())
    }
}

impl Client {
    /// Connects in the clear with prior knowledge; panics if that fails.
    pub async fn connect(target: impl Target) -> Self {
        let endpoint = target.endpoint();
        let connected = run(Self::over(endpoint.clone(), false)).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {endpoint:?}: {error}"))
    }

    /// Connects over TLS with ALPN `h2`; panics if that fails.
    pub async fn connect_tls(target: impl Target) -> Self {
        let endpoint = target.endpoint();
        let connected = run(Self::over(endpoint.clone(), true)).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {endpoint:?}: {error}"))
    }

    /// Connects in the clear with prior knowledge.
    ///
    /// # Errors
    /// When the connection is refused, or ends before HTTP/2 begins.
    pub async fn try_connect(target: impl Target) -> io::Result<Self> {
        run(Self::over(target.endpoint(), false)).await
    }

    /// Connects over TLS with ALPN `h2`.
    ///
    /// # Errors
    /// When the connection is refused, or ends before HTTP/2 begins.
    pub async fn try_connect_tls(target: impl Target) -> io::Result<Self> {
        run(Self::over(target.endpoint(), true)).await
    }

    async fn over(endpoint: Endpoint, secure: bool) -> io::Result<Self> {
        let Endpoint::Socket(address) = endpoint else {
            panic!("HTTP/2 over unix sockets is not for these tests")
        };
        let connect = async {
            let tcp = TcpStream::connect(address).await?;
            tcp.set_nodelay(true)?;
            if !secure {
                return Ok(Stream::Tcp(tcp));
            }
            let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
            let tls = TlsConnector::from(tls::config(&["h2"], false)).connect(name, tcp).await?;
            assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server does not offer h2");
            Ok::<_, io::Error>(Stream::Tls(Box::new(TlsStream::from(tls))))
        };
        let stream = within(connect, || format!("no connection to {address}")).await?;
        let (send, connection) = within(http2::begin(stream), || format!("no HTTP/2 with {address}"))
            .await
            .map_err(io::Error::other)?;
        let (end, ended) = watch::channel(false);
        let driver = tokio::spawn(async move {
            // How it ended shows in the requests.
            let _ = connection.await;
            end.send_replace(true);
        });
        let origin = if secure { "https://localhost" } else { "http://localhost" };
        Ok(Self { streams: Http2 { send, ended, driver, origin } })
    }

    /// Sends `request` on a stream of its own and reads no more of the response than its head; panics if there is none.
    pub async fn begin(&self, request: Request) -> Begun {
        let what = format!("no head of an answer to {} {}", request.method, request.target);
        let begun = http2::send(self.streams.send.clone(), self.streams.origin, request);
        Begun(within(begun, || what.clone()).await.unwrap_or_else(|error| panic!("{what}: {error}")))
    }

    /// Sends the head of `request` on a stream of its own, and nothing of its body: the stream is open until what is returned is dropped.
    pub async fn begin_body(&self, request: Request) -> impl Send + use<> {
        let (head, _) = http2::split(self.streams.origin, request).expect("a request HTTP can carry");
        let mut send = self.streams.send.clone().ready().await.expect("a connection");
        send.send_request(head, false).expect("a stream")
    }

    /// Awaits the end of the connection from the server's side.
    pub async fn closed(&self) {
        let mut ended = self.streams.ended.clone();
        let end = ended.wait_for(|ended| *ended);
        let _ = within(end, || "the server does not close the connection".to_owned()).await;
    }

    /// Drops the connection at once, without a GOAWAY.
    pub fn abort(self) {
        self.streams.driver.abort();
    }

    /// Closes in order (GOAWAY).
    pub async fn close(self) {
        let Http2 { send, driver, .. } = self.streams;
        drop(send);
        let _ = within(driver, || "the connection does not end".to_owned()).await;
    }
}

/// A response whose body waits on its way: of a body that is longer than a stream's window (64 KiB), the rest does not come.
#[derive(Debug)]
pub struct Begun(ntlm_client::http2::Begun);

impl Begun {
    /// The rest of it; panics if it does not come.
    pub async fn finish(self) -> Response {
        let rest = self.0.read(usize::MAX);
        let finished = within(rest, || "the rest of a response does not come".to_owned()).await;
        finished.unwrap_or_else(|error| panic!("no rest of a response: {error}")).into()
    }
}
