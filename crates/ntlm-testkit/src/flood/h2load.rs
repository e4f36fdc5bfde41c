//! nghttp2's h2load, another's client that opens streams of HTTP/2 by the hundred thousand, a third of them turned back to HTTP/1.1.
//!
//! The check must never accept numbers that are not exact: each stream is answered whole, or turned back where it has to be.

use std::process::Stdio;

use tokio::process::Command;

use super::streams::front;
use crate::{Nginx, Origin};

/// Streams of h2load.
#[derive(Clone, Copy, Debug)]
pub struct H2load {
    /// Client connections.
    pub connections: usize,
    /// Streams of one connection at a time.
    pub at_once: usize,
    /// Streams of one connection, a multiple of three.
    pub each: usize,
}

/// The bytes of the two pages that ask for no login.
const SIZES: [usize; 2] = [1000, 3000];

impl H2load {
    /// An nginx that turns back each 401: h2load cannot log in, so that no stream is beside another one's login.
    pub async fn front(origin: &Origin, worker_connections: usize) -> Nginx {
        front(origin, "ntlm; ntlm_multiplexing off;", worker_connections).await
    }

    /// How many streams there are.
    #[must_use]
    pub fn streams(self) -> usize {
        self.connections * self.each
    }

    /// All the streams.
    ///
    /// # Errors
    ///
    /// The output of h2load, unless it says that two thirds were answered whole and a third was turned back.
    pub async fn send(self, origin: &Origin, nginx: &Nginx) -> Result<(), String> {
        let base = format!("http://{}", nginx.socket_addr("h2"));
        let [small, large] = SIZES.map(|size| format!("{base}/public/?size={size}"));
        let number = |number: usize| number.to_string();
        let mut h2load = Command::new("h2load");
        h2load.args(["-n", &number(self.streams()), "-c", &number(self.connections)]);
        h2load.args(["-m", &number(self.at_once), &small, &format!("{base}/"), &large]);
        h2load.stdin(Stdio::null()).kill_on_drop(true);
        let output = h2load.output().await.map_err(|error| format!("h2load: {error}"))?;
        origin.clear_ledger();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (all, third) = (self.streams(), self.streams() / 3);
        let data = third * SIZES.iter().sum::<usize>();
        let expected = [
            format!("{all} done, {} succeeded, {third} failed, {third} errored, 0 timeout", 2 * third),
            format!("status codes: {} 2xx, 0 3xx, 0 4xx, 0 5xx", 2 * third),
            format!("({data}) data"),
        ];
        match expected.iter().find(|expected| !said.contains(expected.as_str())) {
            None => Ok(()),
            Some(missing) => Err(format!("not \"{missing}\", but\n{said}")),
        }
    }
}
