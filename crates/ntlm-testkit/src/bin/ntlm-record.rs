//! Records the `Authorization` and `WWW-Authenticate` fields of real logins: `ntlm-record FOLDER` writes a file for each
//! client and scheme. They are seeds of the fuzz targets and test data of the core.
//!
//! It must never be given the password of a person: what it writes can be guessed from.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ntlm_testkit::client::curl::Curl;
use ntlm_testkit::{Client, Origin, client::Scheme, password_of};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What passed a relay, in both directions, in order.
type Tape = Arc<Mutex<String>>;

const USER: &str = "alice";

#[tokio::main]
async fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).expect("usage: ntlm-record FOLDER"));
    std::fs::create_dir_all(&folder).expect("the folder");
    let origin = Origin::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let relay = listener.local_addr().expect("an address");
    let tape = Tape::default();
    tokio::spawn(accept(listener, origin.socket_addr(), tape.clone()));

    let written = |name: &str| {
        let record = std::mem::take(&mut *tape.lock().expect("the tape"));
        assert!(record.lines().filter(|line| line.starts_with("> Authorization:")).count() >= 2, "{record}");
        std::fs::write(folder.join(name), record).expect("a file in the folder");
    };

    for (name, curl) in [("curl-ntlm.txt", Curl::ntlm(USER)), ("curl-negotiate.txt", Curl::negotiate(USER))] {
        let outcome = curl.url(format!("http://{relay}/")).run().await;
        assert_eq!(outcome.last().status, 200, "{outcome:?}");
        written(name);
    }
    for (name, scheme) in [
        ("sspi-ntlm.txt", Scheme::from("NTLM")),
        ("sspi-negotiate-bare.txt", Scheme::from("Negotiate")),
        ("sspi-negotiate-spnego.txt", Scheme::spnego()),
    ] {
        let mut client = Client::connect(relay).await;
        client.get("/").await;
        let responses = client.login_with(scheme, USER, &password_of(USER), "/?mutual").await;
        assert_eq!(responses.last().map(|last| last.status), Some(200), "{responses:?}");
        written(name);
    }
}

async fn accept(listener: TcpListener, origin: std::net::SocketAddr, tape: Tape) {
    while let Ok((client, _)) = listener.accept().await {
        let server = TcpStream::connect(origin).await.expect("the origin");
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        tokio::spawn(relay(from_client, to_server, "> Authorization: ", tape.clone()));
        tokio::spawn(relay(from_server, to_client, "< WWW-Authenticate: ", tape.clone()));
    }
}

/// Passes bytes on, and first writes down the fields that `mark` names.
async fn relay(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mark: &str, tape: Tape) {
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
            if text.starts_with(field) {
                tape.lock().expect("the tape").push_str(&format!("{direction} {text}\n"));
            }
        }
        if to.write_all(&buf).await.is_err() {
            return;
        }
        buf.clear();
    }
}
