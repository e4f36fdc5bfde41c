//! An answer, composed to the last byte before the first is sent.
//!
//! It must never name an identity but the one this very request was served as.

use super::auth::Verdict;
use super::behaviour::{Behaviour, Close, Framing};
use super::http::{Body, Head};

/// The bytes of an answer, and how the connection goes on after them.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) header: Vec<u8>,
    pub(super) body: Vec<u8>,
    pub(super) close: bool,
    pub(super) upgraded: bool,
}

/// The origin, its connection and the number of the request there: each answer names them.
#[derive(Debug)]
pub(super) struct Source<'a> {
    pub(super) origin: &'a str,
    pub(super) connection: u64,
    pub(super) request: u64,
}

pub(super) fn compose(
    source: &Source<'_>,
    head: &Head,
    behaviour: &Behaviour,
    verdict: &Verdict,
    request_body: &Body,
) -> Answer {
    let path = head.target.split('?').next().unwrap_or_default();
    let public = path.starts_with("/public") || behaviour.token_without_auth || behaviour.ignore;
    let unknown = verdict.identity.is_none() && !public;
    let (asks, challenge) =
        if behaviour.proxy { (407, "Proxy-Authenticate") } else { (401, "WWW-Authenticate") };
    let status = if verdict.challenged || verdict.refused || behaviour.logout || unknown {
        asks
    } else if behaviour.upgrade || behaviour.websocket {
        101
    } else {
        behaviour.status.unwrap_or(200)
    };
    let unauthorized = status == asks;
    let refused_early = behaviour.early && head.expects_continue();
    let ordered = match behaviour.close {
        Some(Close::Challenge | Close::Silent) => verdict.challenged,
        Some(Close::After | Close::Header | Close::Mid) => !unauthorized,
        Some(Close::Read | Close::Reused) | None => false,
    };
    let says_close = (ordered && matches!(behaviour.close, Some(Close::Challenge | Close::Header)))
        || head.wants_close()
        || refused_early;
    let delimited =
        behaviour.framing == Framing::Close || (behaviour.http10 && behaviour.framing == Framing::Chunked);
    let close = ordered || says_close || (delimited && head.method != "HEAD") || behaviour.http10;

    let name = source.origin;
    let (identity, id, request) = match verdict.identity.as_deref() {
        _ if behaviour.alike => ("whoever", 0, 0),
        identity => (identity.unwrap_or("anonymous"), source.connection, source.request),
    };
    let mut header = format!(
        "HTTP/1.{} {status} {}\r\nServer: ntlm-testkit\r\nX-Identity: {identity}\r\nX-Connection: {id}\r\nX-Request: {request}\r\nX-Origin: {name}\r\nX-Body-Length: {}\r\nX-Body-Hash: {}\r\n",
        u8::from(!behaviour.http10),
        reason(status),
        request_body.length,
        request_body.hash(),
    );
    let mut field = |name: &str, value: &str| header.push_str(&format!("{name}: {value}\r\n"));
    if unauthorized && behaviour.bearer {
        field(challenge, "Bearer");
    }
    match &verdict.token {
        Some(token) => field(challenge, token),
        None if unauthorized => {
            field(challenge, "Negotiate");
            field(challenge, "NTLM");
        }
        None => {}
    }
    if verdict.identity.is_some() && behaviour.persist && verdict.leg != super::Leg::None {
        field("Persistent-Auth", "true");
    }
    for (name, value) in &behaviour.fields {
        field(name, value);
    }
    if matches!(status, 301 | 302 | 303 | 307 | 308) {
        field("Location", "/public/moved");
    }

    if status == 101 {
        let protocol = head.get("Upgrade").unwrap_or("websocket");
        field("Connection", "Upgrade");
        field("Upgrade", protocol);
        if let Some(key) = head.get("Sec-WebSocket-Key").filter(|_| behaviour.websocket) {
            field("Sec-WebSocket-Accept", &super::websocket::accept(key.as_bytes()));
        }
        header.push_str("\r\n");
        return Answer { status, header: header.into(), body: Vec::new(), close: false, upgraded: true };
    }

    let mut body = format!("{identity} on connection {id} of {name}, request {request}\n").into_bytes();
    // A gateway of remote desktops: no client takes a packet of this size.
    let gateway = behaviour.gateway && status == 200 && head.method.ends_with("_OUT_DATA");
    if gateway {
        body = vec![0xff; 64];
    }
    if let Some(size) = behaviour.size {
        // Copied piece by piece: byte by byte, 20 MB hold up every origin of the process for half a second.
        body = body.repeat(size.div_ceil(body.len()));
        body.truncate(size);
    }
    let bodiless = status == 304 || status == 204;
    field("Content-Type", "text/plain");
    if !bodiless {
        if delimited {
            // The end of the connection is the end of the body.
        } else if behaviour.framing == Framing::Chunked || gateway {
            field("Transfer-Encoding", "chunked");
            body = chunked(&body);
        } else {
            field("Content-Length", &body.len().to_string());
        }
    }
    if says_close {
        field("Connection", "close");
    } else if !head.http11 && !close {
        field("Connection", "keep-alive");
    }
    header.push_str("\r\n");
    if gateway && head.method == "RDG_OUT_DATA" {
        // MS-TSGU 3.3.5.1 wants bytes at once, before the client opens its other connection. It reads ten.
        header.push_str("a\r\n0123456789\r\n");
    }
    if bodiless || head.method == "HEAD" {
        body.clear();
    }
    if ordered && behaviour.close == Some(Close::Mid) {
        body.truncate(body.len() / 2);
    }
    if behaviour.extra.is_some_and(|after| after.is_zero()) {
        body.extend_from_slice(b"unsolicited");
    }
    Answer { status, header: header.into(), body, close, upgraded: false }
}

/// In chunks of at most 8000 bytes.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + 64);
    for chunk in body.chunks(8000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        204 => "No Content",
        302 => "Found",
        304 => "Not Modified",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        407 => "Proxy Authentication Required",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        _ => "Whatever",
    }
}
