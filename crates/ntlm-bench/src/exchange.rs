//! The requests of the clients, of a given size; one login, which is recorded once and which all of them send; and a client, which
//! sends and reads.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ntlm_testkit::client::http1::Client as TestClient;
use ntlm_testkit::{client, password_of};
use serde::{Deserialize, Serialize};

/// No answer takes longer, also where valgrind runs the proxy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The size of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of the path behind its first "/".
    pub url: usize,
    /// Lines of the header, `Host` among them.
    pub lines: usize,
}

impl Size {
    /// The request.
    pub fn request(self) -> Vec<u8> {
        const FIRST: [&str; 4] = [
            "Host: localhost\r\n",
            "User-Agent: ntlm-bench\r\n",
            "Accept: text/html,application/json\r\n",
            "Accept-Encoding: gzip, deflate\r\n",
        ];
        let mut text =
            format!("GET /{} HTTP/1.1\r\n", "abcdefghi/".repeat(self.url / 10 + 1).split_at(self.url).0);
        for line in 0..self.lines {
            match FIRST.get(line) {
                Some(first) => text.push_str(first),
                None => text.push_str(&format!("X-Field-{line:02}: a value of 24 characters\r\n")),
            }
        }
        text.push_str("\r\n");
        text.into_bytes()
    }
}

/// A login as it was recorded between a client and an origin of the test kit: values of fields.
pub struct Login {
    /// The first `Authorization`.
    pub negotiate: String,
    /// The `WWW-Authenticate` that answers it.
    pub challenge: String,
    /// The second `Authorization`.
    pub authenticate: String,
}

impl Login {
    /// Lets a client log in, and writes down what was said.
    pub async fn record() -> Result<Self> {
        let origin = ntlm_testkit::Origin::start().await;
        let mut client = TestClient::connect(&origin).await;
        let mut login = client::Login::new("NTLM", "alice", &password_of("alice"));
        let negotiate = login.first();
        let refused = client.get_with("/", "Authorization", &negotiate).await;
        let challenge = refused.all("WWW-Authenticate").find(|value| value.starts_with("NTLM "));
        let challenge = challenge.context("the origin sent no challenge")?.to_owned();
        let authenticate = login.next(&refused).context("the client has no answer to the challenge")?;
        Ok(Self { negotiate, challenge, authenticate })
    }

    /// The requests of both legs.
    pub fn requests(&self) -> [Vec<u8>; 2] {
        let request = |value: &String| {
            format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ntlm-bench\r\nAuthorization: {value}\r\n\r\n"
            )
        };
        [&self.negotiate, &self.authenticate].map(|value| request(value).into_bytes())
    }
}

/// A client with one connection.
pub struct Client {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Client {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, answer: Vec::new() })
    }

    /// Connects and logs in.
    pub fn log_in(address: SocketAddr, legs: &[Vec<u8>; 2]) -> Result<Self> {
        let mut client = Self::connect(address)?;
        for (leg, expected) in legs.iter().zip([401, 200]) {
            let status = client.exchange(leg)?;
            ensure!(status == expected, "the answer to a leg of a login is {status} in place of {expected}");
        }
        Ok(client)
    }

    /// Sends a request and reads its answer; the status.
    pub fn exchange(&mut self, request: &[u8]) -> Result<u16> {
        self.send(request)?;
        self.answered()
    }

    /// Reads the answer to the request that was sent last; the status.
    pub fn answered(&mut self) -> Result<u16> {
        loop {
            if let Some(status) = self.receive()? {
                return Ok(status);
            }
        }
    }

    /// Sends a request.
    pub fn send(&mut self, request: &[u8]) -> Result<()> {
        self.answer.clear();
        self.stream.write_all(request).context("the proxy takes no request")
    }

    /// Reads what is there; the status, once the answer is whole.
    pub fn receive(&mut self) -> Result<Option<u16>> {
        let mut piece = [0; 4096];
        let count = self.stream.read(&mut piece).context("the proxy does not answer")?;
        ensure!(count > 0, "the proxy closed the connection");
        self.answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        Ok(status_of_whole(&self.answer))
    }

    /// Its connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The answer that was read last.
    pub fn answer(&self) -> &[u8] {
        &self.answer
    }
}

/// The status of an answer, once it is whole.
pub fn status_of_whole(answer: &[u8]) -> Option<u16> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(answer.get(..end)?).ok()?;
    let mut lines = head.lines();
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("Content-Length").then(|| value.parse::<usize>().ok())?
    })?;
    (answer.len() >= end + length).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::{Size, status_of_whole};

    #[test]
    fn request_has_the_size_that_was_asked_for() {
        let text = String::from_utf8(Size { url: 25, lines: 6 }.request()).unwrap();
        assert!(text.starts_with("GET /abcdefghi/abcdefghi/abcde HTTP/1.1\r\nHost: "), "{text}");
        assert_eq!(text.matches(": ").count(), 6);
        assert!(Size { url: 0, lines: 4 }.request().starts_with(b"GET / HTTP/1.1\r\n"));
    }

    #[test]
    fn answer_is_whole_with_its_last_byte() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK";
        assert_eq!(status_of_whole(answer), Some(200));
        for count in 0..answer.len() {
            assert_eq!(status_of_whole(&answer[..count]), None, "{count}");
        }
    }
}
