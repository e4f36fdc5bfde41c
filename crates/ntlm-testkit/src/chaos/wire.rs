//! The connection of one client, over whichever protocol: requests out, responses in.
//!
//! It must never retry, nor open a second connection.

use std::io;
use std::time::Duration;

use super::life::{Life, Over};
use crate::client::{Client, Endpoint, http2, http3};
use crate::{Request, Response, together, within};

/// Where nginx listens.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) http1: Endpoint,
    pub(super) http2: Endpoint,
    /// HTTP/1.1 and HTTP/2, over TLS.
    pub(super) tls: Endpoint,
    pub(super) quic: Option<Endpoint>,
}

#[derive(Debug)]
pub(super) enum Wire {
    Http1(Box<Client>),
    Http2(http2::Client),
    Http3(http3::Client),
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Lost {
    /// nginx wants the request over HTTP/1.1 (`HTTP_1_1_REQUIRED`); the connection goes on.
    TurnedBack,
    /// The connection ended, or cannot be used any more.
    Gone(io::Error),
}

impl Wire {
    pub(super) async fn connect(doors: &Doors, life: &Life) -> io::Result<Self> {
        let mut builder = Client::builder();
        if let Some(source) = &life.source {
            builder = builder.source(source);
        }
        let http1 = |client| Self::Http1(Box::new(client));
        match (life.over, life.tls) {
            (Over::Http1, false) => builder.try_connect(&doors.http1).await.map(http1),
            (Over::Http1, true) => {
                let tls = builder.tls();
                let connected = within(tls.try_connect(&doors.tls), || "no TLS with nginx".to_owned()).await;
                connected.map(http1)
            }
            (Over::Http2, false) => http2::Client::try_connect(&doors.http2).await.map(Self::Http2),
            (Over::Http2, true) => http2::Client::try_connect_tls(&doors.tls).await.map(Self::Http2),
            (Over::Http3, _) => {
                let quic = doors.quic.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                http3::Client::try_connect(quic).await.map(Self::Http3)
            }
        }
    }

    /// Sends a request, the last part of it so many milliseconds later, and waits for its response.
    pub(super) async fn exchange(&mut self, request: Request, pause: Option<u64>) -> Result<Response, Lost> {
        match self {
            Self::Http1(client) => {
                let response = match pause {
                    Some(pause) => slowly(client, request, pause).await,
                    None => client.try_request(request).await,
                };
                response.map_err(Lost::Gone)
            }
            Self::Http2(client) => client.try_request(request).await.map_err(lost),
            Self::Http3(client) => {
                client.try_request(request).await.map_err(|error| Lost::Gone(io::Error::other(error)))
            }
        }
    }

    /// Sends requests side by side, and waits for all; `None` over HTTP/1.1, which cannot.
    pub(super) async fn streams(&self, requests: &[Request]) -> Option<Vec<Result<Response, Lost>>> {
        let requests = requests.iter().cloned();
        match self {
            Self::Http1(_) => None,
            Self::Http2(client) => {
                let streams =
                    requests.map(|request| async { client.try_request(request).await.map_err(lost) });
                Some(together(streams).await)
            }
            Self::Http3(client) => {
                let streams = requests.map(|request| async {
                    let response = client.try_request(request).await;
                    response.map_err(|error| Lost::Gone(io::Error::other(error)))
                });
                Some(together(streams).await)
            }
        }
    }

    /// Has the connection end by RST. Behind bytes that nginx does not read a FIN would never arrive: nginx would not
    /// know that the client left.
    pub(super) fn reset(&mut self) {
        if let Self::Http1(client) = self {
            client.reset_on_drop();
        }
    }

    /// Waits for the end of the connection; `false` if unsolicited bytes come instead.
    pub(super) async fn ended(&mut self) -> bool {
        match self {
            Self::Http1(client) => client.try_read_response().await.is_err(),
            Self::Http2(client) => {
                client.closed().await;
                true
            }
            Self::Http3(client) => {
                client.closed().await;
                true
            }
        }
    }
}

fn lost(error: h2::Error) -> Lost {
    if error.reason() == Some(h2::Reason::HTTP_1_1_REQUIRED) && error.is_reset() {
        return Lost::TurnedBack;
    }
    Lost::Gone(io::Error::other(error))
}

/// The bytes of a request over HTTP/1.1.
pub(super) fn bytes_of(request: &Request) -> Vec<u8> {
    let mut bytes = request.head_bytes("localhost");
    bytes.extend(request.body_bytes());
    bytes
}

/// Sends a request in two parts, with a pause between them that the seed chose.
async fn slowly(client: &mut Client, request: Request, pause: u64) -> io::Result<Response> {
    let bytes = bytes_of(&request);
    let (begin, end) = bytes.split_at(bytes.len() - bytes.len() / 8);
    client.try_send_raw(begin).await?;
    // Nothing is waited for: this is how slow the client is.
    tokio::time::sleep(Duration::from_millis(pause)).await;
    // Where writing fails, an answer of the server may still be readable.
    let sent = client.try_send_raw(end).await;
    client.try_read_response().await.map_err(|error| sent.err().unwrap_or(error))
}
