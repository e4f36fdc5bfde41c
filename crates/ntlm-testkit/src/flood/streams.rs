//! Streams of HTTP/2 by the hundred thousand, a third of them turned back to HTTP/1.1.
//!
//! It must never take one end of a stream for another: each is answered as its own request, or turned back where it has to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use h2::Reason;
use tokio::task::JoinSet;

use crate::client::http2::Client;
use crate::client::{Login, Request};
use crate::origin::body_hash;
use crate::{Nginx, Origin, password_of, together};

/// Streams beside each of so many logins.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    /// Client connections.
    pub connections: usize,
    /// Streams of one connection at a time, the one that has its binding among them.
    pub at_once: usize,
    /// How often.
    pub rounds: usize,
}

/// An nginx for them, as [`super::front`] is for other floods, which speaks HTTP/2 at the port `h2`; its group has `lines`.
pub async fn front(origin: &Origin, lines: &str, worker_connections: usize) -> Nginx {
    let new = Nginx::binary().version() >= (1, 25, 1);
    let (listen, on) = if new { ("", "http2 on;") } else { (" http2", "") };
    // No connection but a binding waits, so that they can be counted.
    let pool = if Nginx::binary().version() >= (1, 29, 7) { "keepalive 0;" } else { "" };
    Nginx::builder()
        .log_level("notice")
        .worker_connections(worker_connections)
        .set("origin", &origin.address())
        .conf(&format!(
            "access_log off; keepalive_requests 1000000; upstream backend {{ server {{{{origin}}}}; {pool} {lines} }} \
             server {{ {on} listen 127.0.0.1:{{{{port:h2}}}}{listen}; listen 127.0.0.1:{{{{port}}}}; \
             location / {{ proxy_pass http://backend; }} location = /counts {{ ntlm_status; }} }} \
             server {{ listen 127.0.0.1:{{{{port:status}}}}; location / {{ stub_status; }} }}"
        ))
        .start()
        .await
}

/// Clients that are logged in, a connection each.
#[derive(Debug)]
pub struct Clients(Vec<Client>);

impl Streams {
    /// Logs in a client for each connection.
    pub async fn log_in(self, nginx: &Nginx) -> Clients {
        let mut clients = Vec::new();
        for number in 0..self.connections {
            let client = Client::connect(nginx.at("h2")).await;
            client.login(&format!("user{number}"), "/").await;
            clients.push(client);
        }
        Clients(clients)
    }

    /// All the streams; how many were turned back.
    ///
    /// # Errors
    ///
    /// The first stream that did not end as it had to.
    pub async fn send(self, origin: &Arc<Origin>, clients: &mut Clients) -> Result<usize, String> {
        let mut running = JoinSet::new();
        for client in clients.0.drain(..) {
            let origin = origin.clone();
            running.spawn(async move {
                let mut turned_back = 0;
                for _ in 0..self.rounds {
                    turned_back += self.round(&origin, &client).await?;
                }
                Ok::<_, String>((client, turned_back))
            });
        }
        let mut sum = 0;
        while let Some(ended) = running.join_next().await {
            let (client, turned_back) = ended.map_err(|error| error.to_string())??;
            clients.0.push(client);
            sum += turned_back;
        }
        origin.clear_ledger();
        Ok(sum)
    }

    async fn round(self, origin: &Origin, client: &Client) -> Result<usize, String> {
        static GATES: AtomicUsize = AtomicUsize::new(0);
        let gate = format!("streams-{}", GATES.fetch_add(1, Ordering::Relaxed));
        let slow = client.try_request(Request::get(&format!("/?gate={gate}")));
        let beside = async {
            origin.wait_gate(&gate).await;
            let streams = (1..self.at_once).map(|stream| one(client, stream));
            let ends = together(streams.collect::<Vec<_>>()).await;
            origin.open_gate(&gate);
            ends
        };
        let (slow, ends) = tokio::join!(slow, beside);
        let slow = slow.map_err(|error| format!("the stream with the binding: {error}"))?;
        if slow.status != 200 || !slow.identity().starts_with("user") {
            return Err(format!("the stream with the binding: {slow:?}"));
        }
        ends.into_iter().try_fold(0, |sum, end| Ok(sum + usize::from(end?)))
    }
}

/// One stream, and whether it was turned back.
async fn one(client: &Client, stream: usize) -> Result<bool, String> {
    let body = vec![b'x'; 500 + stream];
    let request = match stream % 6 {
        // Refused by the origin, and before the origin sees it.
        0 => Request::get("/"),
        3 => {
            let first = Login::new("NTLM", "eve", &password_of("eve")).first();
            Request::get("/").header("Authorization", &first)
        }
        1 | 4 => Request::get(&format!("/public/?size={}", 1000 * stream)),
        _ => Request::post("/public/", body.clone()),
    };
    match (client.try_request(request).await, stream % 3) {
        (Err(error), 0) if error.is_reset() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED) => Ok(true),
        (Ok(answer), 1) if answer.status == 200 && answer.body.len() == 1000 * stream => Ok(false),
        (Ok(answer), 2) if answer.get("X-Body-Hash") == Some(&body_hash(&body)) => Ok(false),
        (end, _) => Err(format!("stream {stream}: {end:?}")),
    }
}
