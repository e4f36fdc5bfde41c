//! The server's side of a WebSocket (RFC 6455), as far as a browser needs it: it says who the client is, then echoes.
//!
//! It must never take part in a handshake of its own: the connection was authenticated, or not, before.

use std::io;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use tokio::io::AsyncReadExt as _;

use super::http::send;
use crate::stream::Stream;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const FINAL: u8 = 0x80;

/// The value of `Sec-WebSocket-Accept` for a key.
pub(super) fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::digest(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11")))
}

/// Says `name`, then sends back what is said, until the client closes.
pub(super) async fn serve(stream: &mut Stream, buf: &mut Vec<u8>, name: &str) -> io::Result<()> {
    send(stream, &frame(TEXT, name.as_bytes())).await?;
    loop {
        while let Some((kind, payload, length)) = take(buf) {
            buf.drain(..length);
            send(stream, &frame(kind, &payload)).await?;
            if kind == CLOSE {
                return Ok(());
            }
        }
        if stream.read_buf(buf).await? == 0 {
            return Ok(());
        }
    }
}

/// A whole message without a mask, which only clients have.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![FINAL | kind];
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length => {
            bytes.push(126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// The first frame of a client, of less than 64 KiB: its kind, its payload, and how long it is in `buf`.
fn take(buf: &[u8]) -> Option<(u8, Vec<u8>, usize)> {
    let (&first, &second) = (buf.first()?, buf.get(1)?);
    let (length, start) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(buf.get(2..4)?.try_into().ok()?)), 4),
        length => (usize::from(length), 2),
    };
    let mask = buf.get(start..start + 4)?;
    let masked = buf.get(start + 4..start + 4 + length)?;
    let payload = masked.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    Some((first & 0x0f, payload, start + 4 + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_rfc_is_accepted_as_the_rfc_says() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_masked_frame_is_read_when_it_is_whole() {
        // RFC 6455 section 5.7: a masked "Hello".
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
        assert_eq!(take(&hello), Some((TEXT, b"Hello".to_vec(), hello.len())));
        assert_eq!(take(&hello[..10]), None);
        assert_eq!(frame(TEXT, b"Hello"), [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f]);
    }
}
