//! In place of TLS where the test kit is compiled without it.

use std::io;

use tokio::net::TcpStream;

use crate::stream::Stream;

/// Refuses.
pub(super) async fn over(_tcp: TcpStream, _name: &str, _certified: bool) -> io::Result<Stream> {
    Err(io::ErrorKind::Unsupported.into())
}
