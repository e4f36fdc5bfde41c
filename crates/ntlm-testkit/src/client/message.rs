//! Requests and responses as the tests write and read them, whatever the protocol.
//!
//! It must never change a header a test wrote.

use std::fmt;

/// The body of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Body {
    /// No body, no `Content-Length`.
    #[default]
    None,
    /// With `Content-Length`.
    Sized(Vec<u8>),
    /// In chunks of at most so many bytes (HTTP/1.1 only).
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
    pub version: String,
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

    /// Who the origin served: `anonymous` or a user. Panics if no origin did.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.must("X-Identity")
    }

    /// The origin's connection. Panics if no origin answered.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.must("X-Connection").parse().expect("X-Connection is a number")
    }

    /// The how-manieth request on the origin's connection this was. Panics if no origin answered.
    #[must_use]
    pub fn request_number(&self) -> u64 {
        self.must("X-Request").parse().expect("X-Request is a number")
    }

    /// Which origin answered. Panics if none did.
    #[must_use]
    pub fn origin_name(&self) -> &str {
        self.must("X-Origin")
    }

    /// The response says that the connection ends with it.
    #[must_use]
    pub fn says_close(&self) -> bool {
        self.all("Connection")
            .any(|value| value.split(',').any(|part| part.trim().eq_ignore_ascii_case("close")))
            || (self.version == "HTTP/1.0" && self.get("Connection").is_none())
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn must(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
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
