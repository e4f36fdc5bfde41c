//! HTTP/1.1 over a stream that the caller has opened.
//!
//! Must never open a stream, nor write anything but the bytes it is given.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use crate::Response;

const MAX_FIELDS: usize = 256;
/// A header, or a line of a chunked body, that is longer than this has no end.
const MAX_HEAD: usize = 1024 * 1024;

/// Why no response came.
#[derive(Debug)]
pub enum Broken {
    /// The peer closed or reset the connection before a byte of the response.
    Closed,
    /// The connection ended inside the response.
    Short(&'static str),
    /// The bytes are no HTTP/1.x response.
    Malformed(String),
    /// The stream failed, or no byte came in time.
    Failed(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed => io::ErrorKind::UnexpectedEof.into(),
            Broken::Short(place) => {
                Self::new(io::ErrorKind::UnexpectedEof, format!("the response breaks off in its {place}"))
            }
            Broken::Malformed(why) => Self::new(io::ErrorKind::InvalidData, why),
            Broken::Failed(error) => error,
        }
    }
}

/// A stream, and the bytes that were read from it and are not used yet.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    buf: Vec<u8>,
    patience: Option<Duration>,
    kept: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits for ever, and keeps whole bodies.
    pub fn new(stream: S) -> Self {
        Self { stream, buf: Vec::new(), patience: None, kept: usize::MAX }
    }

    /// Waits for the next byte at most so long, and keeps so many bytes of a body; a body may be longer.
    #[must_use]
    pub fn limited(mut self, patience: Duration, kept: usize) -> Self {
        self.patience = Some(patience);
        self.kept = kept;
        self
    }

    /// The stream.
    pub fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The bytes that were read and are not used yet.
    #[must_use]
    pub fn unused(&self) -> &[u8] {
        &self.buf
    }

    /// The first of those bytes, for people.
    #[must_use]
    pub fn peek(&self) -> String {
        String::from_utf8_lossy(self.buf.get(..200).unwrap_or(&self.buf)).into_owned()
    }

    /// Writes while it also reads, so that an early response to a large body does not block.
    ///
    /// # Errors
    /// When the peer takes no more; an answer of the peer may be readable all the same.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
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
                read = reader.read_buf(&mut self.buf), if reading => reading = matches!(read, Ok(1..)),
            }
        }
    }

    /// Reads more; the number of bytes, 0 where the peer closed or reset the connection.
    ///
    /// # Errors
    /// When the stream fails otherwise, or no byte comes in time.
    pub async fn fill(&mut self) -> io::Result<usize> {
        match self.patience {
            None => self.listen().await,
            Some(patience) => match tokio::time::timeout(patience, self.listen()).await {
                Ok(read) => read,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        }
    }

    /// As [`Self::fill`], for as long as it takes.
    ///
    /// # Errors
    /// When the stream fails in another way than by its end.
    pub async fn listen(&mut self) -> io::Result<usize> {
        match self.stream.read_buf(&mut self.buf).await {
            // TLS calls an end without farewell UnexpectedEof.
            Err(error) if is_gone(&error) => Ok(0),
            read => read,
        }
    }

    /// Reads exactly `count` bytes.
    ///
    /// # Errors
    /// When the connection ends before.
    pub async fn read_exactly(&mut self, count: usize) -> Result<Vec<u8>, Broken> {
        while self.buf.len() < count {
            self.more("bytes").await?;
        }
        Ok(self.buf.drain(..count).collect())
    }

    /// Reads the response to a request with `method`; interim ones (100, 103) are skipped.
    ///
    /// # Errors
    /// When the connection ends before the response does, or brings something else.
    pub async fn read(&mut self, method: &str) -> Result<Response, Broken> {
        loop {
            let mut response = self.head().await?;
            match response.status {
                101 => return Ok(response),
                100..200 => continue,
                _ => {}
            }
            if method != "HEAD" && !matches!(response.status, 204 | 304) {
                response.body = self.body(&response).await?;
            }
            return Ok(response);
        }
    }

    async fn head(&mut self) -> Result<Response, Broken> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut parsed = httparse::Response::new(&mut fields);
            match parsed.parse(&self.buf) {
                Ok(httparse::Status::Complete(length)) => {
                    let fields = parsed.headers.iter();
                    let response = Response {
                        status: parsed.code.unwrap_or_default(),
                        version: if parsed.version == Some(0) { "HTTP/1.0" } else { "HTTP/1.1" },
                        headers: fields
                            .map(|field| {
                                (field.name.to_owned(), String::from_utf8_lossy(field.value).into_owned())
                            })
                            .collect(),
                        body: Vec::new(),
                    };
                    self.buf.drain(..length);
                    return Ok(response);
                }
                Ok(httparse::Status::Partial) if self.buf.len() < MAX_HEAD => {}
                Ok(httparse::Status::Partial) => {
                    return Err(Broken::Malformed("its header never ends".to_owned()));
                }
                Err(error) => return Err(Broken::Malformed(format!("{error} in \"{}\"", self.peek()))),
            }
            match self.more("header").await {
                Err(Broken::Short(_)) if self.buf.is_empty() => return Err(Broken::Closed),
                more => more?,
            }
        }
    }

    /// Reads the body to its end (RFC 9112 §6.3).
    async fn body(&mut self, response: &Response) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        if response.is_chunked() {
            loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16);
                let size = size.map_err(|_| Broken::Malformed("a chunk has no length".to_owned()))?;
                if size == 0 {
                    break;
                }
                self.take(size, &mut body).await?;
                self.line().await?;
            }
            while !self.line().await?.is_empty() {}
        } else if let Some(length) = response.get("Content-Length") {
            let length = length.trim().parse();
            let length = length.map_err(|_| Broken::Malformed("Content-Length is no number".to_owned()))?;
            self.take(length, &mut body).await?;
        } else {
            loop {
                self.keep(self.buf.len(), &mut body);
                if self.fill().await? == 0 {
                    break;
                }
            }
        }
        Ok(body)
    }

    async fn take(&mut self, mut length: u64, body: &mut Vec<u8>) -> Result<(), Broken> {
        while length > 0 {
            if self.buf.is_empty() {
                self.more("body").await?;
            }
            let count = usize::try_from(length).unwrap_or(usize::MAX).min(self.buf.len());
            self.keep(count, body);
            length = length.saturating_sub(u64::try_from(count).unwrap_or(u64::MAX));
        }
        Ok(())
    }

    /// Moves `count` bytes into `body`, as far as there is room.
    fn keep(&mut self, count: usize, body: &mut Vec<u8>) {
        let room = self.kept.saturating_sub(body.len());
        body.extend(self.buf.drain(..count).take(room));
    }

    async fn line(&mut self) -> Result<String, Broken> {
        loop {
            if let Some(end) = self.buf.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.buf.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buf.len() > MAX_HEAD {
                return Err(Broken::Malformed("a line never ends".to_owned()));
            }
            self.more("body").await?;
        }
    }

    async fn more(&mut self, place: &'static str) -> Result<(), Broken> {
        match self.fill().await? {
            0 => Err(Broken::Short(place)),
            _ => Ok(()),
        }
    }
}

/// The peer is gone, in whichever words the system or TLS says so.
#[must_use]
pub fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe | UnexpectedEof)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8], method: &str) -> Result<(Response, usize), Broken> {
        let (client, mut server) = tokio::io::duplex(1 << 16);
        server.write_all(bytes).await.unwrap();
        drop(server);
        let mut wire = Wire::new(client).limited(Duration::from_secs(10), 8);
        let response = wire.read(method).await?;
        while wire.fill().await? != 0 {}
        Ok((response, wire.unused().len()))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_body_ends_where_its_framing_says() {
        for (bytes, body, closes, rest) in [
            (&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcd"[..], "abc", false, 1),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789x", "01234567", false, 1),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\nT: u\r\n\r\nx", "abc", false, 1),
            (b"HTTP/1.1 200 OK\r\n\r\nabc", "abc", true, 0),
            (b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc", true, 0),
            (b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n", "", false, 0),
            (b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 0\r\n\r\n", "", true, 0),
            (b"HTTP/1.1 204 No Content\r\n\r\nabc", "", false, 3),
            (b"HTTP/1.1 101 Switching Protocols\r\n\r\nabc", "", true, 3),
            (b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy", "x", false, 1),
        ] {
            let (response, left) = read(bytes, "GET").await.unwrap();
            let seen = (response.text(), response.closes(), left);
            assert_eq!(seen, (body.to_owned(), closes, rest), "{}", String::from_utf8_lossy(bytes));
        }
        let (response, left) = read(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nHT", "HEAD").await.unwrap();
        assert_eq!((response.body.len(), left), (0, 2));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_broken_response_is_named() {
        assert!(matches!(read(b"", "GET").await, Err(Broken::Closed)));
        assert!(matches!(read(b"HTTP/1.1 200", "GET").await, Err(Broken::Short("header"))));
        assert!(matches!(read(b"SSH-2.0-x\r\n", "GET").await, Err(Broken::Malformed(_))));
        let short = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab";
        assert!(matches!(read(short, "GET").await, Err(Broken::Short("body"))));
        let chunk = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n";
        assert!(matches!(read(chunk, "GET").await, Err(Broken::Malformed(_))));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_early_answer_does_not_block_a_body() {
        let (client, mut server) = tokio::io::duplex(64);
        let answer = async move {
            server.write_all(&[b'x'; 1000]).await.unwrap();
            let mut request = Vec::new();
            server.read_to_end(&mut request).await.unwrap();
            request.len()
        };
        let request = async move {
            let mut wire = Wire::new(client);
            wire.write(&[b'y'; 1000]).await.unwrap();
        };
        let both = async { tokio::join!(answer, request) };
        let (length, ()) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("no deadlock");
        assert_eq!(length, 1000);
    }
}
