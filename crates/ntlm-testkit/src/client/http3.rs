//! An HTTP/3 client with one QUIC connection.
//!
//! It must never open a second connection.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h3::client::SendRequest;
use h3::error::StreamError;
use h3_quinn::OpenStreams;
use ntlm_client::http2::{joined, split};
use quinn::congestion::CubicConfig;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint as Quic, TransportConfig, VarInt};

use super::streams::{self, Streams};
use super::{Endpoint, Request, Response, Target, tls};
use crate::background::run;
use crate::within;

/// H3_NO_ERROR (RFC 9114 section 8.1).
const CLOSED: VarInt = VarInt::from_u32(0x100);
/// The first congestion window in bytes: more than the body in the middle of which a client leaves, and less than overflows the buffer that nginx
/// receives in.
const WINDOW: u64 = 64 << 10;

/// A client with one HTTP/3 connection.
pub type Client = streams::Client<Http3>;

/// An HTTP/3 connection.
pub struct Http3 {
    send: SendRequest<OpenStreams, Bytes>,
    connection: Connection,
    endpoint: Quic,
}

impl std::fmt::Debug for Http3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http3").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl Streams for Http3 {
    type Error = StreamError;

    async fn exchange(&self, request: Request) -> Result<Response, StreamError> {
        let (head, body) = split("https://localhost", request).expect("a request HTTP can carry");
        let mut stream = self.send.clone().send_request(head).await?;
        if let Some(body) = body {
            // As over HTTP/2, the answer may come first (RFC 9114, 4.1).
            let _ = stream.send_data(body).await;
        }
        let _ = stream.finish().await;
        let (parts, ()) = stream.recv_response().await?.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = stream.recv_data().await? {
            bytes.extend_from_slice(data.chunk());
        }
        Ok(joined("HTTP/3", &parts, bytes).into())
    }
}

impl Client {
    /// Connects; panics if that fails.
    pub async fn connect(target: impl Target) -> Self {
        let endpoint = target.endpoint();
        let connected = Self::try_connect(&endpoint).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {endpoint:?}: {error}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// When the connection is refused, or ends before HTTP/3 begins.
    pub async fn try_connect(target: impl Target) -> io::Result<Self> {
        run(Self::over(target.endpoint())).await
    }

    async fn over(endpoint: Endpoint) -> io::Result<Self> {
        let Endpoint::Socket(address) = endpoint else { panic!("there is no QUIC over unix sockets") };
        // Not 127.0.0.1: its ports are reserved for servers (crate::ports).
        let source = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2), 0));
        let mut endpoint = Quic::client(source).expect("a UDP socket");
        let crypto = QuicClientConfig::try_from(tls::config(&["h3"], false)).expect("TLS 1.3");
        // A client that closes while its congestion window is full never says so (quinn issue 2785).
        let mut congestion = CubicConfig::default();
        congestion.initial_window(WINDOW);
        let mut transport = TransportConfig::default();
        transport.congestion_controller_factory(Arc::new(congestion));
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport));
        endpoint.set_default_client_config(config);
        let connecting = endpoint.connect(address, "localhost").expect("an address QUIC can connect to");
        let connection = within(connecting, || format!("no QUIC connection to {address}"))
            .await
            .map_err(io::Error::other)?;
        let quinn = h3_quinn::Connection::new(connection.clone());
        // NGINX 1.28 takes the frame of a reserved type that requests end with otherwise for a body that is cut off.
        let mut builder = h3::client::builder();
        let connect = builder.send_grease(false).build(quinn);
        let (mut driving, send) =
            within(connect, || format!("no HTTP/3 with {address}")).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // How it ended shows in the requests.
            let _ = std::future::poll_fn(|cx| driving.poll_close(cx)).await;
        });
        Ok(Self { streams: Http3 { send, connection, endpoint } })
    }

    /// Awaits the end of the connection from the server's side.
    pub async fn closed(&self) {
        within(self.streams.connection.closed(), || "the server does not close the connection".to_owned())
            .await;
    }

    /// Closes at once (CONNECTION_CLOSE): requests under way fail.
    pub fn leave(&self) {
        self.streams.connection.close(CLOSED, b"");
    }

    /// Closes at once (CONNECTION_CLOSE), and waits until nothing is left to send.
    pub async fn close(self) {
        self.streams.connection.close(CLOSED, b"");
        within(self.streams.endpoint.wait_idle(), || "QUIC does not get idle".to_owned()).await;
    }
}

impl Drop for Http3 {
    fn drop(&mut self) {
        self.connection.close(CLOSED, b"");
    }
}
