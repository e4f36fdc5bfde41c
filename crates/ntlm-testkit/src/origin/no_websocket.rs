//! In place of WebSockets where the test kit is compiled without them: such an origin upgrades and hangs up.

use crate::stream::Stream;

/// Says nothing.
pub(super) async fn serve(_stream: &mut Stream, _read: Vec<u8>, _name: &str) -> std::io::Result<()> {
    Ok(())
}

/// No key is accepted.
pub(super) fn accept(_key: &[u8]) -> String {
    String::new()
}
