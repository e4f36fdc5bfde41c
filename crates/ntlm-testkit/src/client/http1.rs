//! An HTTP/1.1 client with one connection, which the test holds in its hand.
//!
//! Methods panic with what they waited for; those named `try_…` return the error. It must never open a second connection.

use std::fmt;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::connect::Builder;
use super::login::must_be_in;
use super::{Login, Request, Response, Scheme, Target, kerberos_token};
use crate::stream::Stream;
use crate::{password_of, within};

/// A client with one connection.
pub struct Client {
    stream: Stream,
    buf: Vec<u8>,
    host: String,
    name: Option<String>,
    /// Between [`Client::leg1`] and [`Client::leg3`].
    login: Option<Login>,
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
        let stream = self.open(target.endpoint()).await?;
        let host = self.host.clone().unwrap_or_else(|| "localhost".to_owned());
        Ok(Client { stream, buf: Vec::new(), host, name: self.name.clone(), login: None })
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
            match self.next_response(&request.method).await {
                Ok(response) => Ok(response),
                Err(error) => Err(sent.err().unwrap_or(error)),
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
        let sent = within(self.write_bytes(bytes), || "the bytes are not taken".to_owned()).await;
        sent.unwrap_or_else(|error| panic!("cannot send: {error}"));
    }

    /// Sends bytes.
    ///
    /// # Errors
    /// When the server takes no more.
    pub async fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        within(self.write_bytes(bytes), || "the bytes are not taken".to_owned()).await
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
        within(self.next_response("GET"), || "no response".to_owned()).await
    }

    /// Reads exactly `count` raw bytes, as after an upgrade.
    pub async fn read_raw(&mut self, count: usize) -> Vec<u8> {
        let read = async {
            while self.buf.len() < count {
                if self.stream.read_buf(&mut self.buf).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok::<_, io::Error>(self.buf.drain(..count).collect())
        };
        within(read, || format!("{count} bytes did not come"))
            .await
            .unwrap_or_else(|error| panic!("no bytes: {error}"))
    }

    // Logins.

    /// Logs in by NTLM with the user's own password and returns all responses; panics unless the last one serves `user`.
    pub async fn login(&mut self, user: &str, path: &str) -> Vec<Response> {
        let responses = self.login_with("NTLM", user, &password_of(user), path).await;
        must_be_in(user, &responses);
        responses
    }

    /// Tries to log in, and returns all responses, however it ends.
    pub async fn login_with(
        &mut self,
        scheme: impl Into<Scheme>,
        user: &str,
        password: &str,
        path: &str,
    ) -> Vec<Response> {
        self.login_as(Login::new(scheme, user, password), Request::get(path)).await
    }

    /// Drives `login`, with `request` on each leg, and returns all responses, however it ends.
    pub async fn login_as(&mut self, login: Login, request: Request) -> Vec<Response> {
        let field = login.field();
        login.drive(async |value| self.request(request.clone().header(field, value)).await).await
    }

    /// Logs in by a simulated Kerberos ticket: one leg.
    pub async fn login_in_one_leg(&mut self, user: &str, path: &str) -> Response {
        let value = format!("Negotiate {}", kerberos_token(user, &password_of(user)));
        self.get_with(path, "Authorization", &value).await
    }

    /// The first leg of an NTLM login of `user`, alone.
    pub async fn leg1(&mut self, user: &str, path: &str) -> Response {
        let mut login = Login::new("NTLM", user, &password_of(user));
        let value = login.first();
        self.login = Some(login);
        self.get_with(path, "Authorization", &value).await
    }

    /// The last leg of the login [`Self::leg1`] began; `challenge` is the response to that, or another one's.
    pub async fn leg3(&mut self, challenge: &Response, path: &str) -> Response {
        let mut login = self.login.take().expect("leg1 comes before leg3");
        let value = login.next(challenge).unwrap_or_else(|| panic!("no challenge in {challenge:?}"));
        self.get_with(path, "Authorization", &value).await
    }

    // Ends.

    /// Awaits the end of the connection from the server's side; panics if bytes come instead.
    pub async fn closed(&mut self) {
        let end = async {
            match self.stream.read_buf(&mut self.buf).await {
                Ok(0) | Err(_) => assert!(self.buf.is_empty(), "bytes at the end: {}", self.peek()),
                Ok(_) => panic!("bytes instead of the end: {}", self.peek()),
            }
        };
        within(end, || "the server does not close the connection".to_owned()).await;
    }

    /// Closes by RST.
    pub fn abort(self) {
        self.stream.reset_on_drop();
    }

    /// Closes in order.
    pub async fn close(mut self) {
        // The server may have closed already.
        let _ = self.stream.shutdown().await;
    }

    /// Says that nothing more will be sent (FIN, or `close_notify` and FIN), and goes on reading.
    pub async fn finish_writing(&mut self) {
        let finished = within(self.stream.shutdown(), || "the end is not taken".to_owned()).await;
        finished.unwrap_or_else(|error| panic!("cannot finish: {error}"));
    }

    /// Sends a TLS 1.3 KeyUpdate; `false` if there is none to send.
    pub async fn send_key_update(&mut self) -> bool {
        self.stream.queue_key_update() && self.stream.flush().await.is_ok()
    }

    fn peek(&self) -> String {
        String::from_utf8_lossy(&self.buf[..self.buf.len().min(200)]).into_owned()
    }

    // The wire.

    async fn write(&mut self, request: &Request) -> io::Result<()> {
        let mut request = request.clone();
        if let Some(name) = &self.name {
            request = request.header("X-Client", name);
        }
        let mut bytes = request.head_bytes(&self.host);
        bytes.extend(request.body_bytes());
        self.write_bytes(&bytes).await
    }

    /// Writes while it also reads, so that an early response to a large body does not block.
    async fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Self { stream, buf, .. } = self;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            writer.write_all(bytes).await?;
            writer.flush().await
        };
        tokio::pin!(write);
        let mut reading = true;
        loop {
            tokio::select! {
                biased;
                written = &mut write => return written,
                read = reader.read_buf(buf), if reading => reading = matches!(read, Ok(1..)),
            }
        }
    }

    async fn next_response(&mut self, method: &str) -> io::Result<Response> {
        loop {
            let mut response = self.read_head().await?;
            match response.status {
                101 => return Ok(response),
                100..200 => continue,
                _ => {}
            }
            response.body = if method == "HEAD" || matches!(response.status, 204 | 304) {
                Vec::new()
            } else if response
                .get("Transfer-Encoding")
                .is_some_and(|value| value.eq_ignore_ascii_case("chunked"))
            {
                self.read_chunks().await?
            } else if let Some(length) = response.get("Content-Length") {
                let length = length.parse().map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                self.read_exactly(length).await?
            } else {
                while self.stream.read_buf(&mut self.buf).await? != 0 {}
                std::mem::take(&mut self.buf)
            };
            return Ok(response);
        }
    }

    async fn read_head(&mut self) -> io::Result<Response> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 256];
            let mut parsed = httparse::Response::new(&mut headers);
            let status = parsed.parse(&self.buf).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{error} in \"{}\"", self.peek()))
            })?;
            if let httparse::Status::Complete(length) = status {
                let response = Response {
                    status: parsed.code.unwrap_or_default(),
                    version: format!("HTTP/1.{}", parsed.version.unwrap_or_default()),
                    headers: parsed
                        .headers
                        .iter()
                        .map(|header| {
                            (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())
                        })
                        .collect(),
                    body: Vec::new(),
                };
                self.buf.drain(..length);
                return Ok(response);
            }
            self.fill().await?;
        }
    }

    async fn read_exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buf.len() < length {
            self.fill().await?;
        }
        Ok(self.buf.drain(..length).collect())
    }

    async fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.read_line().await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size =
                usize::from_str_radix(size, 16).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            if size == 0 {
                while !self.read_line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.read_exactly(size).await?);
            self.read_exactly(2).await?;
        }
    }

    async fn read_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buf.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buf[..end]).into_owned();
                self.buf.drain(..end + 2);
                return Ok(line);
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buf).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}
