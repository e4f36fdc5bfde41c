//! In place of TLS where the test kit is compiled without it: such an origin speaks in the clear.

use std::path::Path;

use tokio::net::TcpStream;

use super::connection::Secured;
use super::ntlm::Protection;

/// Nothing can be told.
#[derive(Debug, Default)]
pub(super) struct Security;

/// There is none.
#[derive(Clone)]
pub(super) enum Acceptor {}

impl Security {
    /// Writes nothing: there are no certificates.
    pub(super) fn write_to(&self, _folder: &Path) {}

    pub(super) fn acceptor(&self) -> Option<Acceptor> {
        None
    }

    pub(super) fn protection(&self) -> Option<(Protection, [u8; 16])> {
        None
    }
}

impl Acceptor {
    pub(super) async fn secure(&self, _tcp: TcpStream) -> Option<Secured> {
        match *self {}
    }
}
