//! A relay that writes down the `Authorization` and `WWW-Authenticate` fields which pass it, for each connection.
//!
//! It must never stand where a person logs in: what it writes can be guessed a password from.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// The lines that passed each connection, in both directions, in order.
type Tapes = Arc<Mutex<Vec<String>>>;

/// A relay to one server.
#[derive(Debug)]
pub struct Recorder {
    address: SocketAddr,
    tapes: Tapes,
}

impl Recorder {
    /// Starts one in front of `server`, on a free port of 127.0.0.1.
    pub async fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let tapes = Tapes::default();
        tokio::spawn(accept(listener, server, tapes.clone()));
        Self { address, tapes }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first connection with credentials, and forgets all; `> ` before what the client sent, `< ` before the answers.
    #[must_use]
    pub fn take(&self) -> Option<String> {
        let tapes = std::mem::take(&mut *self.tapes.lock().expect("the tapes"));
        tapes.into_iter().find(|tape| tape.contains("> Authorization: "))
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, tapes: Tapes) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(server).await.expect("the server");
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        let number = {
            let mut tapes = tapes.lock().expect("the tapes");
            tapes.push(String::new());
            tapes.len() - 1
        };
        tokio::spawn(relay(from_client, to_server, "> Authorization: ", (tapes.clone(), number)));
        tokio::spawn(relay(from_server, to_client, "< WWW-Authenticate: ", (tapes.clone(), number)));
    }
}

/// Passes bytes on, and first writes down the fields that `mark` names.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mark: &str, (tapes, number): (Tapes, usize)) {
    let (direction, field) = mark.split_once(' ').expect("a direction and a name");
    let mut line = Vec::new();
    let mut buf = Vec::new();
    while let Ok(1..) = from.read_buf(&mut buf).await {
        for &byte in &buf {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            // Clients may spell a field's name as they like.
            if let Some(value) = text.get(..field.len()).filter(|name| name.eq_ignore_ascii_case(field)) {
                let value = &text[value.len()..];
                let mut tapes = tapes.lock().expect("the tapes");
                // Forgotten meanwhile, if it is not there.
                if let Some(tape) = tapes.get_mut(number) {
                    tape.push_str(&format!("{direction} {field}{value}\n"));
                }
            }
        }
        if to.write_all(&buf).await.is_err() {
            return;
        }
        buf.clear();
    }
}
