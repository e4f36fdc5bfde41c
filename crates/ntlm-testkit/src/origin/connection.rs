//! One connection of a client: requests in, answers out, misbehaviour where ordered.
//!
//! It must never share its authentication with another connection.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, mpsc};

use super::answer::{self, Source};
use super::auth::Auth;
use super::behaviour::{Behaviour, Close};
use super::command::Command;
use super::http::{Head, send, take_head};
use super::judge::Judged;
use super::ledger::Entry;
use super::shared::Shared;
use crate::stream::Stream;

/// The sending half of a remote desktop's session is logged in. The halves are two connections, perhaps to two origins of a site, and a client
/// leaves when it has read from the receiving half.
static DESKTOP_STREAMS: Notify = Notify::const_new();

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) shared: Arc<Shared>,
    pub(super) stream: Stream,
    pub(super) commands: mpsc::UnboundedReceiver<Command>,
    pub(super) idle: Arc<AtomicBool>,
    pub(super) sni: Option<String>,
    pub(super) client_certificate: bool,
    pub(super) resumed: bool,
    pub(super) buf: Vec<u8>,
    pub(super) auth: Auth,
    pub(super) judged: Judged,
    pub(super) requests: u64,
    /// TLS KeyUpdates that were sent since the last request.
    pub(super) key_updates: u32,
}

/// The most of them. A TLS library ends a connection over which more than 32 come without data between them (rustls and OpenSSL), and the peer
/// answers each with one.
const MOST_KEY_UPDATES: u32 = 30;

/// A connection, and what its TLS handshake told.
pub(super) struct Secured {
    pub(super) stream: Stream,
    pub(super) sni: Option<String>,
    pub(super) client_certificate: bool,
    pub(super) resumed: bool,
}

/// The connection's next act after a request.
enum Next {
    Request,
    /// Send these bytes when so much time has passed, and go on.
    Extra(Duration),
    Close,
    Reset,
    Echo,
    WebSocket(String),
}

impl Connection {
    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self) {
        let mut extra = None;
        loop {
            let head = match self.next_head(extra.take()).await {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    let _ = send(
                        &mut self.stream,
                        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
                    )
                    .await;
                    break;
                }
                Err(_) => break,
            };
            self.requests += 1;
            self.key_updates = 0;
            match self.exchange(&head).await {
                Ok(Next::Request) => {}
                Ok(Next::Extra(after)) => extra = Some(after),
                Ok(Next::Close) => break,
                Ok(Next::Reset) => {
                    self.stream.reset_on_drop();
                    return;
                }
                Ok(Next::Echo) => {
                    let _ = self.echo().await;
                    break;
                }
                Ok(Next::WebSocket(name)) => {
                    let read = std::mem::take(&mut self.buf);
                    let _ = super::websocket::serve(&mut self.stream, read, &name).await;
                    break;
                }
                Err(_) => return,
            }
        }
        // The peer may be gone.
        let _ = self.stream.shutdown().await;
    }

    /// The next request; `None` when the connection ended, or was ordered to.
    async fn next_head(&mut self, extra: Option<Duration>) -> io::Result<Option<Head>> {
        let mut extra = std::pin::pin!(async move {
            match extra {
                // The request ordered these bytes so long after its answer (`extra=`).
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        });
        let mut extra_sent = false;
        loop {
            if let Some(head) = take_head(&mut self.buf)? {
                self.idle.store(false, Ordering::SeqCst);
                return Ok(Some(head));
            }
            if self.buf.is_empty() && !self.idle.swap(true, Ordering::SeqCst) {
                self.shared.ledger.ring();
            }
            tokio::select! {
                command = self.commands.recv() => match command {
                    None => return Ok(None),
                    Some(command) => if !self.obey(command).await { return Ok(None) },
                },
                () = &mut extra, if !extra_sent => {
                    extra_sent = true;
                    send(&mut self.stream, b"unsolicited").await?;
                }
                read = self.stream.read_buf(&mut self.buf) => if read? == 0 { return Ok(None) },
            }
        }
    }

    /// Does what was ordered; `false` if that ended the connection.
    async fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Send(bytes, done) => {
                let _ = done.send(send(&mut self.stream, &bytes).await.is_ok());
            }
            Command::KeyUpdate(done) => {
                let sent = self.key_updates < MOST_KEY_UPDATES
                    && self.stream.queue_key_update()
                    && self.stream.flush().await.is_ok();
                self.key_updates += u32::from(sent);
                let _ = done.send(sent);
            }
            Command::Close(done) => {
                let _ = done.send(self.stream.shutdown().await.is_ok());
                return false;
            }
            Command::Reset(done) => {
                self.stream.reset_on_drop();
                let _ = done.send(true);
                return false;
            }
        }
        true
    }

    async fn exchange(&mut self, head: &Head) -> io::Result<Next> {
        let behaviour = Behaviour { gateway: self.shared.gateway, ..Behaviour::of(&head.target) };
        let mut body = head.body();
        let streams = behaviour.gateway && head.method.ends_with("_IN_DATA") && !body.is_done();
        if !behaviour.early && !streams && !body.is_done() {
            if head.expects_continue() {
                send(&mut self.stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            body.drain(&mut self.stream, &mut self.buf).await?;
        }
        let unanswered = match behaviour.close {
            Some(Close::Read) => true,
            Some(Close::Reused) => self.requests > 1,
            _ => behaviour.reset.is_some(),
        };
        if unanswered {
            self.shared.ledger.enter(self.entry(head, None, 0));
            return Ok(if behaviour.reset.is_some() { Next::Reset } else { Next::Close });
        }

        let shared = self.shared.clone();
        let field = if behaviour.proxy { "Proxy-Authorization" } else { "Authorization" };
        let authorization = head.get(field);
        let verdict = match &shared.judge {
            _ if behaviour.ignore => self.auth.overlook(authorization),
            Some(judge) => self.judged.consider(judge, authorization).await?,
            None => {
                self.auth.consider(authorization, &behaviour, &shared.policy, |user| shared.password_of(user))
            }
        };
        let source = Source { origin: &shared.name, connection: self.id, request: self.requests };
        let answer = answer::compose(&source, head, &behaviour, &verdict, &body);
        if let Some(gate) = &behaviour.gate {
            self.hold(shared.pass(gate)).await?;
        }
        // The request ordered an answer so late (`delay=`).
        if let Some(delay) = behaviour.delay {
            self.hold(tokio::time::sleep(delay)).await?;
        }
        self.shared.ledger.enter(self.entry(head, Some(&verdict), answer.status));

        let logged_in = behaviour.gateway && answer.status == 200;
        if streams && logged_in {
            DESKTOP_STREAMS.notify_one();
            // A gateway answers when the session ends, and here the client ends it.
            self.hold(std::future::pending()).await?;
        }
        // RPC over HTTP opens both halves at once, and takes an answer to one of them only when it has both.
        if logged_in && head.method == "RPC_OUT_DATA" {
            self.hold(DESKTOP_STREAMS.notified()).await?;
        }
        let seeded = logged_in && head.method == "RDG_OUT_DATA";
        if behaviour.gate_body.is_none() && behaviour.delay_body.is_none() && !seeded {
            // Header and body in one write, as servers do where the body is small.
            send(&mut self.stream, &[&answer.header[..], &answer.body].concat()).await?;
        } else {
            send(&mut self.stream, &answer.header).await?;
            if seeded {
                self.hold(DESKTOP_STREAMS.notified()).await?;
            }
            if let Some(gate) = &behaviour.gate_body {
                self.hold(shared.pass(gate)).await?;
            }
            // The request ordered a body so long after its header (`delay_body=`).
            if let Some(delay) = behaviour.delay_body {
                self.hold(tokio::time::sleep(delay)).await?;
            }
            send(&mut self.stream, &answer.body).await?;
        }
        if answer.upgraded && behaviour.websocket {
            return Ok(Next::WebSocket(verdict.identity.unwrap_or_default()));
        }
        if answer.upgraded {
            return Ok(Next::Echo);
        }
        if answer.close {
            return Ok(Next::Close);
        }
        body.drain(&mut self.stream, &mut self.buf).await?;
        Ok(behaviour.extra.map_or(Next::Request, Next::Extra))
    }

    fn entry(&self, head: &Head, verdict: Option<&super::auth::Verdict>, status: u16) -> Entry {
        Entry {
            connection: self.id,
            request: self.requests,
            method: head.method.clone(),
            target: head.target.clone(),
            version: if head.http11 { "1.1" } else { "1.0" },
            connection_field: head.get("Connection").map(str::to_owned),
            scheme: verdict.and_then(|verdict| verdict.scheme.clone()),
            leg: verdict.map_or(super::Leg::None, |verdict| verdict.leg),
            status,
            identity: verdict.and_then(|verdict| verdict.identity.clone()),
            origin: self.shared.name.clone(),
            x_client: head.get("X-Client").map(str::to_owned),
            sni: self.sni.clone(),
            client_certificate: self.client_certificate,
            resumed: self.resumed,
        }
    }

    /// Awaits `what`, but not longer than the peer stays.
    async fn hold(&mut self, what: impl Future<Output = ()>) -> io::Result<()> {
        let mut what = std::pin::pin!(what);
        loop {
            tokio::select! {
                biased;
                () = &mut what => return Ok(()),
                read = self.stream.read_buf(&mut self.buf) => if read? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                },
            }
        }
    }

    async fn echo(&mut self) -> io::Result<()> {
        loop {
            if self.buf.is_empty() && self.stream.read_buf(&mut self.buf).await? == 0 {
                return Ok(());
            }
            let bytes = std::mem::take(&mut self.buf);
            send(&mut self.stream, &bytes).await?;
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.shared.forget(self.id);
    }
}
