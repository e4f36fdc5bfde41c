//! The origin of all measurements: it answers every request with the same bytes, and every NTLM login with the same
//! challenge, on a thread of its own.
//!
//! The origin must never answer two proxies differently. It checks no password: any AUTHENTICATE message logs a connection in. It
//! counts the requests over connections that are logged in, and over others, which tells whether a proxy binds.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::exchange::Login;

/// The answer to all requests but the first leg of a login.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nServer: Microsoft-IIS/10.0\r\n\
     X-Powered-By: ASP.NET\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 64\r\n\r\n\
     <!doctype html><title>The answer to each request</title><p>OK.\r\n";

/// A running origin. Its thread ends with the process.
pub struct Origin {
    /// The port that it listens on, at every address of the loopback.
    pub port: u16,
    counts: Arc<Counts>,
}

/// The numbers of requests and connections that an origin has seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// Requests without credentials over connections that are logged in.
    pub bound: u64,
    /// Requests without credentials over other connections.
    pub others: u64,
    /// Connections.
    pub connections: u64,
}

#[derive(Default)]
struct Counts {
    bound: AtomicU64,
    others: AtomicU64,
    connections: AtomicU64,
}

impl Origin {
    /// Starts it.
    pub fn start(login: &Login) -> Result<Self> {
        let listener =
            std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).context("no port to listen on")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let counts = Arc::new(Counts::default());
        let refusal: Arc<str> = format!(
            "HTTP/1.1 401 Unauthorized\r\nServer: Microsoft-IIS/10.0\r\nWWW-Authenticate: {}\r\n\
             Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n",
            login.challenge
        )
        .into();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let counting = Arc::clone(&counts);
        thread::Builder::new().name("origin".to_owned()).spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                while let Ok((stream, _)) = listener.accept().await {
                    counting.connections.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, Arc::clone(&refusal), Arc::clone(&counting)));
                }
            });
        })?;
        Ok(Self { port, counts })
    }

    /// Its address on 127.0.0.1.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The numbers until now.
    pub fn seen(&self) -> Seen {
        let Counts { bound, others, connections } = &*self.counts;
        let [bound, others, connections] =
            [bound, others, connections].map(|count| count.load(Ordering::Relaxed));
        Seen { bound, others, connections }
    }
}

async fn serve(mut stream: TcpStream, refusal: Arc<str>, counts: Arc<Counts>) {
    let _ = stream.set_nodelay(true);
    let mut bytes = Vec::with_capacity(4096);
    let mut logged_in = false;
    loop {
        bytes.clear();
        while !bytes.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let head = Head::of(&bytes);
        let answer = match head.leg {
            Leg::First => &*refusal,
            Leg::Last => {
                logged_in = true;
                ANSWER
            }
            Leg::None => {
                let count = if logged_in { &counts.bound } else { &counts.others };
                count.fetch_add(1, Ordering::Relaxed);
                ANSWER
            }
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || head.closes {
            return;
        }
    }
}

/// A part of a login.
#[derive(Debug, PartialEq, Eq)]
enum Leg {
    None,
    /// NEGOTIATE.
    First,
    /// AUTHENTICATE.
    Last,
}

/// The parts of a request's head that the origin needs.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    leg: Leg,
    closes: bool,
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let mut head = Self { leg: Leg::None, closes: false };
        for line in bytes.split(|byte| *byte == b'\n') {
            // "NTLMSSP\0" and the type of the message, in base64.
            if let Some(token) = after(line, b"Authorization: NTLM ") {
                head.leg = if token.starts_with(b"TlRMTVNTUAAB") { Leg::First } else { Leg::Last };
            } else if let Some(value) = after(line, b"Connection: ") {
                head.closes |= value.starts_with(b"close");
            } else if line.ends_with(b" HTTP/1.0\r") {
                head.closes = true;
            }
        }
        head
    }
}

fn after<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let (name, value) = line.split_at_checked(start.len())?;
    name.eq_ignore_ascii_case(start).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::{ANSWER, Head, Leg};

    #[test]
    fn legs_and_ends_are_told_apart() {
        let head = |text: &str| Head::of(text.as_bytes());
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(head(plain), Head { leg: Leg::None, closes: false });
        let leg =
            |token: &str| head(&plain.replace("Host", &format!("authorization: NTLM {token}\r\nHost"))).leg;
        assert_eq!(leg("TlRMTVNTUAABAAAA"), Leg::First);
        assert_eq!(leg("TlRMTVNTUAADAAAA"), Leg::Last);
        assert!(head(&plain.replace("1.1", "1.0")).closes);
        assert!(head(&plain.replace("Host: a", "Host: a\r\nConnection: close")).closes);
    }

    #[test]
    fn length_is_that_of_the_body() {
        let (_, body) = ANSWER.split_once("\r\n\r\n").unwrap();
        assert!(ANSWER.contains(&format!("Content-Length: {}\r\n", body.len())));
    }
}
