//! HTTP/1.1 over one connection, which is never replaced by another behind the caller's back.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::cause::{Cause, Failure, is_timeout, tls_failure};
use crate::message::{Broken, Connection, Idle, Request, Response};
use crate::tls;

/// The longest head and the part of a body that is kept; a body may be longer.
const KEPT: usize = 64 * 1024;
const MAX_FIELDS: usize = 256;

/// Connects, and finishes the TLS handshake.
pub fn connect(
    stream: TcpStream,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    authority: String,
    timeout: Duration,
) -> Result<Box<dyn Connection>, Failure> {
    let failed = |error: io::Error| Failure::new(Cause::ConnectFailed, error.to_string());
    stream.set_read_timeout(Some(timeout)).map_err(failed)?;
    stream.set_write_timeout(Some(timeout)).map_err(failed)?;
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let (stream, end_point, description) = match tls {
        None => (Stream::Plain(stream), None, peer),
        Some((config, name)) => {
            let mut connection = ClientConnection::new(config, name)
                .map_err(|error| Failure::new(Cause::TlsFailed, error.to_string()))?;
            let mut stream = stream;
            while connection.is_handshaking() {
                connection.complete_io(&mut stream).map_err(|error| tls_failure(&error))?;
            }
            let certificate = connection.peer_certificates().and_then(|chain| chain.first());
            let end_point = certificate.map(tls::end_point);
            let version = match connection.protocol_version() {
                Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
                _ => "TLS 1.2",
            };
            let stream = Stream::Tls(Box::new(StreamOwned::new(connection, stream)));
            (stream, end_point, format!("{peer}, {version}"))
        }
    };
    Ok(Box::new(Http1 { stream, buf: Vec::new(), host: authority, end_point, description }))
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
        }
    }

    /// Reads; 0 also for a peer that reset the connection, or closed it without the farewell of TLS.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self {
            Self::Plain(stream) => stream.read(buf),
            Self::Tls(stream) => stream.read(buf),
        };
        match read {
            Err(error) if is_gone(&error) => Ok(0),
            read => read,
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(bytes),
            Self::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

struct Http1 {
    stream: Stream,
    /// Read, and not yet used.
    buf: Vec<u8>,
    host: String,
    end_point: Option<Vec<u8>>,
    description: String,
}

impl Connection for Http1 {
    fn exchange(&mut self, request: &Request) -> Result<Response, Broken> {
        match self.stream.write_all(&self.bytes_of(request)) {
            Ok(()) => {}
            // The peer may have answered before it closed.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(Broken::Failed(self.failure(&error))),
        }
        loop {
            let response = self.head()?;
            // 100 Continue and 103 Early Hints come before the response.
            if !(100..200).contains(&response.status) {
                return self.body(response);
            }
        }
    }

    fn idle(&mut self, time: Duration) -> Idle {
        let timeout = self.stream.tcp().read_timeout().ok().flatten();
        let start = Instant::now();
        let mut outcome = Idle::Open;
        let mut bytes = [0; 4096];
        while let Some(left) = time.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) {
            if self.stream.tcp().set_read_timeout(Some(left)).is_err() {
                break;
            }
            match self.stream.read(&mut bytes) {
                Ok(0) => {
                    outcome = Idle::Closed(start.elapsed());
                    break;
                }
                Ok(count) => self.buf.extend(bytes.iter().take(count)),
                Err(error) if is_timeout(&error) => {}
                Err(_) => {
                    outcome = Idle::Closed(start.elapsed());
                    break;
                }
            }
        }
        // It was set before, so it can be set.
        let _ = self.stream.tcp().set_read_timeout(timeout);
        outcome
    }

    fn end_point(&self) -> Option<&[u8]> {
        self.end_point.as_deref()
    }

    fn describe(&self) -> String {
        self.description.clone()
    }
}

impl Http1 {
    fn bytes_of(&self, request: &Request) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ntlm-probe/{}\r\nAccept: */*\r\n",
            request.method,
            request.target,
            self.host,
            env!("CARGO_PKG_VERSION")
        );
        if let Some(authorization) = &request.authorization {
            head.push_str(&format!("Authorization: {authorization}\r\n"));
        }
        if let Some(body) = &request.body {
            head.push_str(&format!(
                "Content-Type: application/octet-stream\r\nContent-Length: {}\r\n",
                body.len()
            ));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(request.body.iter().flatten());
        bytes
    }

    /// Reads more; the number of bytes, 0 at the end.
    fn more(&mut self) -> Result<usize, Broken> {
        let mut bytes = [0; 16 * 1024];
        match self.stream.read(&mut bytes) {
            Ok(count) => {
                self.buf.extend(bytes.iter().take(count));
                Ok(count)
            }
            Err(error) => Err(Broken::Failed(self.failure(&error))),
        }
    }

    fn failure(&self, error: &io::Error) -> Failure {
        match &self.stream {
            _ if is_timeout(error) => Failure::from(Cause::Timeout),
            Stream::Tls(_) => tls_failure(error),
            Stream::Plain(_) => Failure::new(Cause::ConnectFailed, error.to_string()),
        }
    }

    /// Reads up to the empty line.
    fn head(&mut self) -> Result<Response, Broken> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut parsed = httparse::Response::new(&mut fields);
            match parsed.parse(&self.buf) {
                Ok(httparse::Status::Complete(length)) => {
                    let response = Response {
                        status: parsed.code.unwrap_or_default(),
                        version: if parsed.version == Some(0) { "HTTP/1.0" } else { "HTTP/1.1" },
                        fields: parsed
                            .headers
                            .iter()
                            .map(|field| {
                                (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())
                            })
                            .collect(),
                        body: Vec::new(),
                    };
                    self.buf.drain(..length);
                    return Ok(response);
                }
                Ok(httparse::Status::Partial) if self.buf.len() < KEPT => {}
                Ok(httparse::Status::Partial) => return Err(self.no_http("its header never ends")),
                Err(error) => return Err(self.no_http(&error.to_string())),
            }
            if self.more()? == 0 {
                return Err(if self.buf.is_empty() {
                    Broken::Closed
                } else {
                    self.no_http("it breaks off in its header")
                });
            }
        }
    }

    fn no_http(&self, why: &str) -> Broken {
        // A SETTINGS frame on stream 0 is what HTTP/2 begins with (RFC 9113 §3.4).
        let http2 = matches!(self.buf.as_slice(), [0, _, _, 4, _, 0, 0, 0, 0, ..]);
        Broken::Failed(if http2 {
            Failure::from(Cause::Http2Only)
        } else {
            Failure::new(Cause::Unexpected, format!("the answer is no HTTP/1.1 response: {why}"))
        })
    }

    /// Reads the body to its end (RFC 9112 §6.3).
    fn body(&mut self, mut response: Response) -> Result<Response, Broken> {
        if matches!(response.status, 204 | 304) {
            return Ok(response);
        }
        let chunked =
            response.all("Transfer-Encoding").any(|value| value.to_ascii_lowercase().contains("chunked"));
        if chunked {
            while let Some(length) = self.chunk_size()? {
                self.take(length, &mut response.body)?;
                self.line()?;
            }
            while !self.line()?.is_empty() {}
        } else if let Some(length) =
            response.get("Content-Length").and_then(|value| value.trim().parse().ok())
        {
            self.take(length, &mut response.body)?;
        } else {
            loop {
                let room = KEPT.saturating_sub(response.body.len());
                response.body.extend(self.buf.drain(..).take(room));
                if self.more()? == 0 {
                    break;
                }
            }
            // Whatever it said: a body without a length ends the connection.
            response.fields.push(("Connection".to_owned(), "close".to_owned()));
        }
        Ok(response)
    }

    fn take(&mut self, mut length: u64, body: &mut Vec<u8>) -> Result<(), Broken> {
        while length > 0 {
            if self.buf.is_empty() && self.more()? == 0 {
                return Err(self.broken_off());
            }
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(self.buf.len());
            let room = KEPT.saturating_sub(body.len());
            body.extend(self.buf.drain(..count).take(room));
            length = length.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    fn chunk_size(&mut self) -> Result<Option<u64>, Broken> {
        let line = self.line()?;
        let digits: String = line.chars().take_while(char::is_ascii_hexdigit).collect();
        match u64::from_str_radix(&digits, 16) {
            Ok(0) => Ok(None),
            Ok(length) => Ok(Some(length)),
            Err(_) => Err(self.no_http("a chunk has no length")),
        }
    }

    fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.buf.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buf.len() > KEPT || self.more()? == 0 {
                return Err(self.broken_off());
            }
        }
    }

    fn broken_off(&self) -> Broken {
        Broken::Failed(Failure::new(Cause::Unexpected, "the response breaks off in its body"))
    }
}

#[cfg(test)]
mod tests;
