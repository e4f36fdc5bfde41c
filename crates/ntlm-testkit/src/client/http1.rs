//! An HTTP/1.1 client with one connection, which the test holds in its hand.
//!
//! Methods panic with what they waited for; those named `try_…` return the error. It must never open a second connection.

use std::fmt;
use std::io;

use ntlm_client::http1::Wire;
use tokio::io::AsyncWriteExt as _;

use super::connect::Builder;
use super::{Request, Response, Target};
use crate::stream::Stream;
use crate::within;

/// A client with one connection.
pub struct Client {
    wire: Wire<Stream>,
    host: String,
    name: Option<String>,
    /// Between [`Client::leg1`] and [`Client::leg3`].
    #[cfg(feature = "full")]
    pub(super) login: Option<super::Login>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Builder {
    /// Connects; panics if that fails.
    pub async fn connect(&self, target: impl Target) -> Client {
        let endpoint = target.endpoint();
        let connected =
            within(self.try_connect(&endpoint), || format!("no connection to {endpoint:?}")).await;
        connected.unwrap_or_else(|error| panic!("cannot connect to {endpoint:?}: {error}"))
    }

    /// Connects.
    ///
    /// # Errors
    /// When the connection or the TLS handshake is refused.
    pub async fn try_connect(&self, target: impl Target) -> io::Result<Client> {
        let wire = Wire::new(self.open(target.endpoint()).await?);
        let host = self.host.clone().unwrap_or_else(|| "localhost".to_owned());
        Ok(Client {
            wire,
            host,
            name: self.name.clone(),
            #[cfg(feature = "full")]
            login: None,
        })
    }
}

impl Client {
    /// Connects in the clear; panics if that fails.
    pub async fn connect(target: impl Target) -> Self {
        Self::builder().connect(target).await
    }

    /// For TLS, source addresses, PROXY protocol, names.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// GET.
    pub async fn get(&mut self, target: &str) -> Response {
        self.request(Request::get(target)).await
    }

    /// GET with one more field.
    pub async fn get_with(&mut self, target: &str, name: &str, value: &str) -> Response {
        self.request(Request::get(target).header(name, value)).await
    }

    /// POST.
    pub async fn post(&mut self, target: &str, body: impl Into<Vec<u8>>) -> Response {
        self.request(Request::post(target, body)).await
    }

    /// Sends `request` and reads its response; panics if there is none.
    pub async fn request(&mut self, request: Request) -> Response {
        let what = format!("{} {}", request.method, request.target);
        self.try_request(request).await.unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    /// Sends `request` and reads its response.
    ///
    /// # Errors
    /// When the connection ends before the response does.
    pub async fn try_request(&mut self, request: Request) -> io::Result<Response> {
        let what = || format!("no answer to {} {}", request.method, request.target);
        let exchange = async {
            // Where writing fails, an answer of the server may still be readable.
            let sent = self.write(&request).await;
            match self.wire.read(&request.method).await {
                Ok(response) => Ok(response.into()),
                Err(broken) => Err(sent.err().unwrap_or(broken.into())),
            }
        };
        within(exchange, what).await
    }

    /// Sends `request` and reads nothing: for pipelining, and to leave in the middle.
    pub async fn send(&mut self, request: Request) {
        let sent = within(self.write(&request), || "the request is not taken".to_owned()).await;
        sent.unwrap_or_else(|error| panic!("cannot send {} {}: {error}", request.method, request.target));
    }

    /// Sends bytes.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        let sent = within(self.wire.write(bytes), || "the bytes are not taken".to_owned()).await;
        sent.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the server takes no more.
    pub async fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.wire.write(bytes), || "the bytes are not taken".to_owned()).await
    }

    /// Reads the response to a request other than HEAD; panics if there is none.
    pub async fn read_response(&mut self) -> Response {
        self.try_read_response().await.unwrap_or_else(|error| panic!("no response: {error}"))
    }

    /// Reads the response to a request other than HEAD.
    ///
    /// # Errors
    /// When the connection ends before the response does.
    pub async fn try_read_response(&mut self) -> io::Result<Response> {
        let response = within(self.wire.read("GET"), || "no response".to_owned()).await?;
        Ok(response.into())
    }

    /// Reads exactly `count` raw bytes, as after an upgrade.
    pub async fn read_raw(&mut self, count: usize) -> Vec<u8> {
        within(self.wire.read_exactly(count), || format!("{count} bytes did not come"))
            .await
            .unwrap_or_else(|broken| panic!("no bytes: {broken:?}"))
    }

    // Ends.

    /// Awaits the end of the connection from the server's side; panics if bytes come instead.
    pub async fn closed(&mut self) {
        let end = async {
            let count = self.wire.fill().await.unwrap_or(0);
            assert!(count == 0 && self.wire.unused().is_empty(), "bytes at the end: {}", self.wire.peek());
        };
        within(end, || "the server does not close the connection".to_owned()).await;
    }

    /// Closes by RST.
    pub fn abort(mut self) {
        self.reset_on_drop();
    }

    /// From now on the end is an RST.
    pub fn reset_on_drop(&mut self) {
        self.wire.stream().reset_on_drop();
    }

    /// Closes in order.
    pub async fn close(mut self) {
        // The server may have closed already.
        let _ = self.wire.stream().shutdown().await;
    }

    /// Says that nothing more will be sent (FIN, or `close_notify` and FIN), and goes on reading.
    pub async fn finish_writing(&mut self) {
        let finished = within(self.wire.stream().shutdown(), || "the end is not taken".to_owned()).await;
        finished.unwrap_or_else(|error| panic!("cannot finish: {error}"));
    }

    /// Sends a TLS 1.3 KeyUpdate; `false` if there is none to send.
    pub async fn send_key_update(&mut self) -> bool {
        self.wire.stream().queue_key_update() && self.wire.stream().flush().await.is_ok()
    }

    async fn write(&mut self, request: &Request) -> io::Result<()> {
        let mut request = request.clone();
        if let Some(name) = &self.name {
            request = request.header("X-Client", name);
        }
        let bytes = [request.head_bytes(&self.host), request.body_bytes()].concat();
        self.wire.write(&bytes).await
    }
}
