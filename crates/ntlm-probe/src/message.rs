//! Requests and responses, whatever the protocol, and what carries them.

use std::time::Duration;

use crate::cause::Failure;

/// A request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Method.
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    /// `Authorization`.
    pub authorization: Option<String>,
    /// Body.
    pub body: Option<Vec<u8>>,
}

/// A response, its body read.
#[derive(Clone, Debug)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub version: &'static str,
    /// All fields.
    pub fields: Vec<(String, String)>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
}

impl Response {
    /// All values of a field.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = self.fields.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Its first value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// `Connection` has this option.
    pub fn connection_has(&self, option: &str) -> bool {
        self.all("Connection")
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(option))
    }

    /// The connection ends with it, by its version and `Connection`.
    pub fn closes(&self) -> bool {
        self.connection_has("close") || self.version == "HTTP/1.0" && !self.connection_has("keep-alive")
    }
}

/// How an exchange ended without a response.
#[derive(Clone, Debug)]
pub enum Broken {
    /// The peer closed or reset the connection before a byte of the response.
    Closed,
    /// Anything else.
    Failed(Failure),
}

/// How an idle connection fared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// It is open.
    Open,
    /// The peer closed it after so long.
    Closed(Duration),
}

/// A connection to the server.
pub trait Connection {
    /// Sends a request and awaits its response.
    fn exchange(&mut self, request: &Request) -> Result<Response, Broken>;
    /// Waits, and looks whether the peer closes it.
    fn idle(&mut self, time: Duration) -> Idle;
    /// The channel binding of its TLS.
    fn end_point(&self) -> Option<&[u8]>;
    /// Where it leads to, and by which protocols, for people: `192.0.2.7:443, TLS 1.3`.
    fn describe(&self) -> String;
}
