//! An HTTP/2 client with one connection: cleartext with prior knowledge, or TLS with ALPN.
//!
//! Its methods take `&self`: `tokio::join!` runs streams side by side. It must never open a second connection.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use h2::client::SendRequest;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use super::login::must_be_in;
use super::{Body, Endpoint, Login, Request, Response, Scheme, Target, tls};
use crate::background::run;
use crate::stream::Stream;
use crate::{password_of, within};

/// A client with one HTTP/2 connection; it is closed when this is dropped.
#[derive(Debug)]
pub struct Client {
    send: SendRequest<Bytes>,
    ended: watch::Receiver<bool>,
    driver: tokio::task::JoinHandle<()>,
    scheme: &'static str,
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
            Ok::<_, io::Error>(Stream::Tls(Box::new(tls.into())))
        };
        let stream = within(connect, || format!("no connection to {address}")).await?;
        // A stream that is not read holds up no other.
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_connection_window_size(1 << 20).handshake(stream);
        let (send, connection) =
            within(handshake, || format!("no HTTP/2 with {address}")).await.map_err(io::Error::other)?;
        let (end, ended) = watch::channel(false);
        let driver = tokio::spawn(async move {
            // How it ended shows in the requests.
            let _ = connection.await;
            end.send_replace(true);
        });
        Ok(Self { send, ended, driver, scheme: if secure { "https" } else { "http" } })
    }

    /// GET.
    pub async fn get(&self, target: &str) -> Response {
        self.request(Request::get(target)).await
    }

    /// GET with one more field.
    pub async fn get_with(&self, target: &str, name: &str, value: &str) -> Response {
        self.request(Request::get(target).header(name, value)).await
    }

    /// Sends `request` on a stream of its own and reads the response; panics if there is none.
    pub async fn request(&self, request: Request) -> Response {
        let what = format!("{} {}", request.method, request.target);
        self.try_request(request).await.unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    /// Sends `request` on a stream of its own and reads the response.
    ///
    /// # Errors
    /// When stream or connection end before the response does.
    pub async fn try_request(&self, request: Request) -> Result<Response, h2::Error> {
        let what = format!("no answer to {} {}", request.method, request.target);
        within(self.exchange(request), || what).await
    }

    /// Sends `request` on a stream of its own and reads no more of the response than its head; panics if there is none.
    pub async fn begin(&self, request: Request) -> Begun {
        let what = format!("no head of an answer to {} {}", request.method, request.target);
        let begun = within(self.head_of(request), || what.clone()).await;
        begun.unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    async fn exchange(&self, request: Request) -> Result<Response, h2::Error> {
        self.head_of(request).await?.read().await
    }

    async fn head_of(&self, request: Request) -> Result<Begun, h2::Error> {
        let mut send = self.send.clone().ready().await?;
        let body = match request.body {
            Body::None => None,
            Body::Sized(body) | Body::Chunked(body, _) => Some(Bytes::from(body)),
        };
        let head = head(self.scheme, &request.method, &request.target, &request.headers, body.as_ref());
        let (response, mut stream) = send.send_request(head, body.is_none())?;
        if let Some(body) = body {
            // h2 keeps what the window does not take yet.
            stream.send_data(body, true)?;
        }
        let (parts, body) = response.await?.into_parts();
        Ok(Begun { parts, body })
    }

    /// Logs in by NTLM and returns all responses; panics unless the last one serves `user`.
    pub async fn login(&self, user: &str, path: &str) -> Vec<Response> {
        let responses = self.login_with("NTLM", user, &password_of(user), path).await;
        must_be_in(user, &responses);
        responses
    }

    /// Tries to log in, and returns all responses, however it ends.
    pub async fn login_with(
        &self,
        scheme: impl Into<Scheme>,
        user: &str,
        password: &str,
        path: &str,
    ) -> Vec<Response> {
        let login = Login::new(scheme, user, password);
        login.drive(async |value| self.get_with(path, "Authorization", value).await).await
    }

    /// Awaits the end of the connection from the server's side.
    pub async fn closed(&self) {
        let mut ended = self.ended.clone();
        let end = ended.wait_for(|ended| *ended);
        let _ = within(end, || "the server does not close the connection".to_owned()).await;
    }

    /// Drops the connection at once, without a GOAWAY.
    pub fn abort(self) {
        self.driver.abort();
    }

    /// Closes in order (GOAWAY).
    pub async fn close(self) {
        let Self { send, driver, .. } = self;
        drop(send);
        let _ = within(driver, || "the connection does not end".to_owned()).await;
    }
}

/// A response whose body waits on its way: what is longer than a stream's window (64 KiB) does not come.
#[derive(Debug)]
pub struct Begun {
    parts: http::response::Parts,
    body: RecvStream,
}

impl Begun {
    /// The rest of it; panics if it does not come.
    pub async fn finish(self) -> Response {
        let finished = within(self.read(), || "the rest of a response does not come".to_owned()).await;
        finished.unwrap_or_else(|error| panic!("no rest of a response: {error}"))
    }

    async fn read(mut self) -> Result<Response, h2::Error> {
        let mut bytes = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data?;
            self.body.flow_control().release_capacity(data.len())?;
            bytes.extend_from_slice(&data);
        }
        Ok(answer("HTTP/2", &self.parts, bytes))
    }
}

/// The head of a request, for `h2` and `h3`.
pub(super) fn head(
    scheme: &str,
    method: &str,
    target: &str,
    headers: &[(String, String)],
    body: Option<&Bytes>,
) -> http::Request<()> {
    let mut head = http::Request::builder().method(method).uri(format!("{scheme}://localhost{target}"));
    for (name, value) in headers {
        head = head.header(name, value);
    }
    if let Some(body) = body {
        head = head.header("content-length", body.len());
    }
    head.body(()).expect("a request HTTP can carry")
}

/// A response out of what `h2` and `h3` give.
pub(super) fn answer(version: &str, parts: &http::response::Parts, body: Vec<u8>) -> Response {
    Response {
        status: parts.status.as_u16(),
        version: version.to_owned(),
        headers: parts
            .headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
    }
}
