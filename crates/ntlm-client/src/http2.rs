//! HTTP/2 over a stream that the caller has opened, and the heads that HTTP/2 and HTTP/3 share.

use bytes::Bytes;
use h2::RecvStream;
use h2::client::{Connection, SendRequest};
use http::response::Parts;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Body, Request, Response};

/// Begins HTTP/2 on `stream`; the connection is the caller's to poll.
///
/// # Errors
/// When the stream ends, or its peer speaks another protocol.
pub async fn begin<S>(stream: S) -> Result<(SendRequest<Bytes>, Connection<S>), h2::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A stream that is not read holds up no other.
    h2::client::Builder::new().initial_connection_window_size(1 << 20).handshake(stream).await
}

/// Sends `request` on a stream of its own to `origin` (`https://host:port`), and reads the head of the response.
///
/// # Errors
/// When stream or connection end before.
pub async fn send(send: SendRequest<Bytes>, origin: &str, request: Request) -> Result<Begun, h2::Error> {
    let mut send = send.ready().await?;
    let (head, body) = split(origin, request).map_err(|_| h2::Error::from(h2::Reason::INTERNAL_ERROR))?;
    let (response, mut stream) = send.send_request(head, body.is_none())?;
    if let Some(body) = body {
        // h2 keeps what the window does not take yet. A server may answer before it has the body (RFC 9113, 8.1), which
        // ends the stream; the response says how it went.
        let _ = stream.send_data(body, true);
    }
    let (parts, body) = response.await?.into_parts();
    Ok(Begun { parts, body })
}

/// A response whose body waits on its way: of a body that is longer than a stream's window (64 KiB), the rest does not come.
#[derive(Debug)]
pub struct Begun {
    parts: Parts,
    body: RecvStream,
}

impl Begun {
    /// Reads the body, and keeps `kept` bytes of it.
    ///
    /// # Errors
    /// When stream or connection end before the body does.
    pub async fn read(mut self, kept: usize) -> Result<Response, h2::Error> {
        let mut bytes = Vec::new();
        while let Some(data) = self.body.data().await {
            let data = data?;
            // Its sender waits for room otherwise.
            self.body.flow_control().release_capacity(data.len())?;
            bytes.extend(data.iter().take(kept.saturating_sub(bytes.len())));
        }
        Ok(joined("HTTP/2", &self.parts, bytes))
    }
}

/// Head and body of a request to `origin`, for `h2` and `h3`.
///
/// # Errors
/// When method, target or a field cannot be sent.
pub fn split(origin: &str, request: Request) -> Result<(http::Request<()>, Option<Bytes>), http::Error> {
    let mut head =
        http::Request::builder().method(request.method.as_str()).uri(format!("{origin}{}", request.target));
    for (name, value) in &request.headers {
        head = head.header(name, value);
    }
    let sized = matches!(request.body, Body::Sized(_));
    let body = match request.body {
        Body::None => None,
        Body::Sized(body) | Body::Chunked(body, _) => Some(Bytes::from(body)),
    };
    if let Some(body) = body.as_ref().filter(|_| sized) {
        head = head.header("content-length", body.len());
    }
    Ok((head.body(())?, body))
}

/// A response out of what `h2` and `h3` give.
#[must_use]
pub fn joined(version: &'static str, parts: &Parts, body: Vec<u8>) -> Response {
    let fields = parts.headers.iter();
    let fields = fields
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Response { status: parts.status.as_u16(), version, headers: fields.collect(), body }
}
