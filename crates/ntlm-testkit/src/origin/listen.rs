//! Where an origin listens, and the loop that accepts.
//!
//! It must never read a byte of HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::sys::socket::Backlog;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

use super::auth::Auth;
use super::command::{Command, Handle};
use super::connection::{Connection, Secured};
use super::judge::Judged;
use super::shared::Shared;
use super::tls::Acceptor;
use crate::stream::Stream;

/// An address to listen at.
#[derive(Clone, Debug)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn open(place: &Place) -> std::io::Result<Self> {
        match place {
            Place::Tcp(address) => {
                let socket = std::net::TcpListener::bind(address)?;
                // Floods open thousands of connections at once; the library lets 128 wait.
                nix::sys::socket::listen(&socket, Backlog::MAXCONN)?;
                socket.set_nonblocking(true)?;
                Ok(Self::Tcp(TcpListener::from_std(socket)?))
            }
            Place::Unix(path) => {
                // Left behind by an earlier life of the same origin.
                let _ = std::fs::remove_file(path);
                Ok(Self::Unix(UnixListener::bind(path)?))
            }
        }
    }

    async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

/// How the connections of a listener end: not at all, or all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    Running,
    Stopped,
}

/// Accepts until told to stop, then resets every connection it accepted.
pub(super) async fn accept(
    listener: Listener,
    tls: Option<Acceptor>,
    shared: Arc<Shared>,
    mut life: watch::Receiver<Life>,
) {
    loop {
        let stream = tokio::select! {
            _ = life.wait_for(|life| *life == Life::Stopped) => return,
            stream = listener.accept() => stream,
        };
        // Out of descriptors, or the peer gave up: neither ends an origin.
        let Ok(stream) = stream else {
            tokio::task::yield_now().await;
            continue;
        };
        let id = Shared::next_id();
        let (sender, commands) = mpsc::unbounded_channel();
        let idle = Arc::new(AtomicBool::new(false));
        shared.open.lock().unwrap().insert(id, Handle { idle: idle.clone(), commands: sender });
        shared.ledger.ring();
        tokio::spawn(serve(id, stream, tls.clone(), shared.clone(), commands, idle, life.clone()));
    }
}

async fn serve(
    id: u64,
    stream: Stream,
    tls: Option<Acceptor>,
    shared: Arc<Shared>,
    commands: mpsc::UnboundedReceiver<Command>,
    idle: Arc<AtomicBool>,
    mut life: watch::Receiver<Life>,
) {
    let handshake = async {
        match (stream, tls) {
            (Stream::Tcp(tcp), Some(acceptor)) => acceptor.secure(tcp).await,
            (stream, _) => Some(Secured { stream, sni: None, client_certificate: false, resumed: false }),
        }
    };
    let secured = tokio::select! {
        _ = life.wait_for(|life| *life == Life::Stopped) => None,
        secured = handshake => secured,
    };
    let Some(Secured { stream, sni, client_certificate, resumed }) = secured else {
        shared.forget(id);
        return;
    };
    let (auth, judged, buf) = (Auth::default(), Judged::default(), Vec::new());
    let mut connection = Connection {
        id,
        shared,
        stream,
        commands,
        idle,
        sni,
        client_certificate,
        resumed,
        buf,
        auth,
        judged,
        requests: 0,
        key_updates: 0,
    };
    tokio::select! {
        _ = life.wait_for(|life| *life == Life::Stopped) => connection.stream.reset_on_drop(),
        () = connection.run() => {}
    }
}
