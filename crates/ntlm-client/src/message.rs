//! Requests and responses, whatever the protocol.
//!
//! Must never change a field that the caller wrote: the test kit's clients send what no other client would.

use std::fmt;

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No body, no `Content-Length`.
    #[default]
    None,
    /// With `Content-Length`.
    Sized(Vec<u8>),
    /// In chunks of at most so many bytes; over HTTP/2 and HTTP/3 without `Content-Length`.
    Chunked(Vec<u8>, usize),
}

/// A request to send.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Fields besides `Host` and those of the body.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Body,
    /// Say HTTP/1.0.
    pub http10: bool,
}

impl Request {
    /// Any method, no body.
    #[must_use]
    pub fn new(method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { method, target, headers: Vec::new(), body: Body::None, http10: false }
    }

    /// GET.
    #[must_use]
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// POST with `Content-Length`.
    #[must_use]
    pub fn post(target: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).body(body)
    }

    /// Adds a field.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A body with `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Body::Sized(body.into());
        self
    }

    /// A chunked body.
    #[must_use]
    pub fn chunked(mut self, body: impl Into<Vec<u8>>, chunk: usize) -> Self {
        self.body = Body::Chunked(body.into(), chunk);
        self
    }

    /// As HTTP/1.0.
    #[must_use]
    pub fn http10(mut self) -> Self {
        self.http10 = true;
        self
    }

    /// The bytes of the head, empty line included.
    #[must_use]
    pub fn head_bytes(&self, host: &str) -> Vec<u8> {
        let version = u8::from(!self.http10);
        let mut head = format!("{} {} HTTP/1.{version}\r\n", self.method, self.target);
        let mut field = |name: &str, value: &str| head.push_str(&format!("{name}: {value}\r\n"));
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("Host")) {
            field("Host", host);
        }
        for (name, value) in &self.headers {
            field(name, value);
        }
        match &self.body {
            Body::None => {}
            Body::Sized(body) => field("Content-Length", &body.len().to_string()),
            Body::Chunked(..) => field("Transfer-Encoding", "chunked"),
        }
        head.push_str("\r\n");
        head.into()
    }

    /// The bytes of the body as HTTP/1.1 frames them.
    #[must_use]
    pub fn body_bytes(&self) -> Vec<u8> {
        match &self.body {
            Body::None => Vec::new(),
            Body::Sized(body) => body.clone(),
            Body::Chunked(body, size) => {
                let mut bytes = Vec::with_capacity(body.len() + 64);
                for chunk in body.chunks((*size).max(1)) {
                    bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
                    bytes.extend_from_slice(chunk);
                    bytes.extend_from_slice(b"\r\n");
                }
                bytes.extend_from_slice(b"0\r\n\r\n");
                bytes
            }
        }
    }
}

/// A response, complete.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `HTTP/1.1`, `HTTP/2`, …
    pub version: &'static str,
    /// All fields, in order.
    pub headers: Vec<(String, String)>,
    /// Body, without its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The first field of this name, compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Every field of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// `Connection` has this option.
    #[must_use]
    pub fn connection_has(&self, option: &str) -> bool {
        self.all("Connection")
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(option))
    }

    /// The response says, by its version and `Connection`, that the connection ends with it.
    #[must_use]
    pub fn says_close(&self) -> bool {
        self.connection_has("close") || self.version == "HTTP/1.0" && !self.connection_has("keep-alive")
    }

    /// The connection ends with the response: by its words, or because an HTTP/1.x body with neither length nor chunks ends
    /// nowhere else (RFC 9112 §6.3).
    #[must_use]
    pub fn closes(&self) -> bool {
        let endless = self.version.starts_with("HTTP/1")
            && !matches!(self.status, 204 | 304)
            && !self.is_chunked()
            && self.get("Content-Length").is_none();
        self.says_close() || endless
    }

    /// `Transfer-Encoding` has `chunked`.
    #[must_use]
    pub fn is_chunked(&self) -> bool {
        self.all("Transfer-Encoding").any(|value| value.to_ascii_lowercase().contains("chunked"))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.version, self.status)?;
        for (name, value) in &self.headers {
            // Tokens are long and unreadable.
            let shown = if value.len() > 80 { "…" } else { value };
            writeln!(f, "  {name}: {shown}")?;
        }
        let text = self.text();
        write!(f, "  ({} bytes) {}", self.body.len(), text.chars().take(200).collect::<String>().trim_end())
    }
}
