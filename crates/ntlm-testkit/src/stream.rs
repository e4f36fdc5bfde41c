//! One type for the byte streams of origin and clients: TCP, TLS over TCP, unix.
//!
//! It must never interpret what passes through it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<dyn Secured>),
    Unix(UnixStream),
}

/// TLS over TCP.
pub(crate) trait Secured: AsyncRead + AsyncWrite + fmt::Debug + Send + Sync + Unpin {
    /// The TCP connection below.
    fn tcp(&self) -> &TcpStream;

    /// Queues a TLS 1.3 KeyUpdate; `false` where there is none to send.
    fn queue_key_update(&mut self) -> bool;
}

impl Stream {
    /// Makes the coming drop send RST instead of FIN; a unix stream knows no such thing.
    pub(crate) fn reset_on_drop(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
            Self::Unix(_) => return,
        };
        // Fails only on a socket that is gone already.
        let _ = tcp.set_zero_linger();
    }

    /// Queues a TLS 1.3 KeyUpdate; `false` where there is none to send.
    pub(crate) fn queue_key_update(&mut self) -> bool {
        match self {
            Self::Tls(tls) => tls.queue_key_update(),
            _ => false,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
