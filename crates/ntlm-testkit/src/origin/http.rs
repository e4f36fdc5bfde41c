//! HTTP/1 requests off a stream: the head by `httparse`, the body counted and hashed as it passes.
//!
//! It must never decide anything, nor keep a body.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::stream::Stream;

/// The largest head that is read.
const MAX_HEAD: usize = 192 * 1024;

/// A request without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) http11: bool,
    pub(super) headers: Vec<(String, String)>,
}

impl Head {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn has(&self, name: &str, token: &str) -> bool {
        self.get(name)
            .is_some_and(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case(token)))
    }

    /// The client will not, or cannot, send another request.
    pub(super) fn wants_close(&self) -> bool {
        self.has("Connection", "close") || (!self.http11 && !self.has("Connection", "keep-alive"))
    }

    pub(super) fn expects_continue(&self) -> bool {
        self.has("Expect", "100-continue")
    }

    pub(super) fn body(&self) -> Body {
        let remaining = if self.has("Transfer-Encoding", "chunked") {
            Remaining::Chunked
        } else {
            let length = self.get("Content-Length").and_then(|value| value.parse().ok());
            Remaining::Length(length.unwrap_or(0))
        };
        Body { remaining, length: 0, hash: Hash::default() }
    }
}

/// Takes a complete head from the front of `buf`; `None` if there is none yet.
pub(super) fn take_head(buf: &mut Vec<u8>) -> io::Result<Option<Head>> {
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut headers = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(buf).map_err(|error| bad(&error.to_string()))?;
    let httparse::Status::Complete(length) = status else {
        return if buf.len() > MAX_HEAD { Err(bad("the head is too large")) } else { Ok(None) };
    };
    let head = Head {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        http11: request.version == Some(1),
        headers: request
            .headers
            .iter()
            .map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned()))
            .collect(),
    };
    buf.drain(..length);
    Ok(Some(head))
}

/// A body on its way in.
#[derive(Debug)]
pub(super) struct Body {
    remaining: Remaining,
    pub(super) length: u64,
    hash: Hash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remaining {
    Length(u64),
    /// Before the size line of a chunk.
    Chunked,
    /// Inside a chunk; the line end after it is counted.
    Chunk(u64),
    /// Before the empty line that ends the trailers.
    Trailers,
    Done,
}

impl Body {
    pub(super) fn is_done(&self) -> bool {
        matches!(self.remaining, Remaining::Done | Remaining::Length(0))
    }

    pub(super) fn hash(&self) -> String {
        self.hash.to_string()
    }

    /// Reads to the end of the body, and no further.
    pub(super) async fn drain(&mut self, stream: &mut Stream, buf: &mut Vec<u8>) -> io::Result<()> {
        loop {
            self.consume(buf)?;
            if self.is_done() {
                return Ok(());
            }
            if stream.read_buf(buf).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes from `buf` what belongs to the body.
    fn consume(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        let mut taken = 0;
        loop {
            let rest = &buf[taken..];
            match self.remaining {
                Remaining::Done | Remaining::Length(0) => break,
                Remaining::Length(_) | Remaining::Chunk(3..) if rest.is_empty() => break,
                Remaining::Length(left) => {
                    let count = left.min(rest.len() as u64);
                    self.count(&rest[..count as usize]);
                    taken += count as usize;
                    self.remaining = Remaining::Length(left - count);
                }
                Remaining::Chunk(left @ 3..) => {
                    let count = (left - 2).min(rest.len() as u64);
                    self.count(&rest[..count as usize]);
                    taken += count as usize;
                    self.remaining = Remaining::Chunk(left - count);
                }
                Remaining::Chunk(_) => {
                    if rest.len() < 2 {
                        break;
                    }
                    taken += 2;
                    self.remaining = Remaining::Chunked;
                }
                Remaining::Chunked | Remaining::Trailers => {
                    let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") else {
                        break;
                    };
                    let line = &rest[..end];
                    taken += end + 2;
                    if self.remaining == Remaining::Trailers {
                        if line.is_empty() {
                            self.remaining = Remaining::Done;
                        }
                        continue;
                    }
                    let digits = String::from_utf8_lossy(line);
                    let digits = digits.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(digits, 16)
                        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "bad chunk size"))?;
                    self.remaining = if size == 0 { Remaining::Trailers } else { Remaining::Chunk(size + 2) };
                }
            }
        }
        buf.drain(..taken);
        Ok(())
    }

    fn count(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.hash.update(bytes);
    }
}

/// The hash of a body as `X-Body-Hash` shows it (FNV-1a, 64 bits): it tells bodies apart, it protects nothing.
#[must_use]
pub fn body_hash(body: &[u8]) -> String {
    let mut hash = Hash::default();
    hash.update(body);
    hash.to_string()
}

#[derive(Clone, Copy, Debug)]
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        self.0 =
            bytes.iter().fold(self.0, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Sends `bytes` at once.
pub(super) async fn send(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
