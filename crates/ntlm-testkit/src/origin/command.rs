//! Orders that a test gives to an open connection, and the handle that carries them.
//!
//! An order waits until the connection is idle; it must never interrupt a request.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{mpsc, oneshot};

/// An order; the connection answers whether it could obey.
#[derive(Debug)]
pub(super) enum Command {
    /// Send unsolicited bytes.
    Send(Vec<u8>, oneshot::Sender<bool>),
    /// Send a TLS KeyUpdate.
    KeyUpdate(oneshot::Sender<bool>),
    /// Close in order.
    Close(oneshot::Sender<bool>),
    /// Close by RST.
    Reset(oneshot::Sender<bool>),
}

/// The origin's end of an open connection: where orders go.
#[derive(Debug)]
pub(super) struct Handle {
    pub(super) idle: Arc<AtomicBool>,
    pub(super) commands: mpsc::UnboundedSender<Command>,
}
