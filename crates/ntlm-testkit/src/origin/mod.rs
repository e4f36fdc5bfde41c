//! An HTTP/1 origin that authenticates the *connection*, as IIS does, and misbehaves to order.
//!
//! Own lines down to the bytes (no HTTP server crate would misbehave so). It must never confuse two connections:
//! whatever a test finds mixed up was mixed up by what stands in front.

mod answer;
mod auth;
mod behaviour;
mod builder;
mod command;
mod connection;
mod http;
mod judge;
mod ledger;
mod listen;
pub(crate) mod ntlm;
mod shared;
pub(crate) mod spnego;
#[cfg_attr(not(feature = "full"), path = "clear.rs")]
mod tls;
#[cfg_attr(not(feature = "full"), path = "no_websocket.rs")]
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub use self::builder::Builder;
pub use self::http::body_hash;
pub use self::judge::Judge;
pub use self::ledger::{Entry, Leg};
pub use self::ntlm::{DOMAIN, Protection};
#[cfg(feature = "full")]
pub use self::tls::TlsVersions;

pub(crate) use self::auth::{KERBEROS, ROUND};
pub(crate) use self::judge::name_of;

use self::command::Command;
use self::listen::{Life, Listener, Place};
use self::shared::Shared;
use self::tls::Acceptor;
use crate::background::runtime;
use crate::ports::Reserved;

/// A running origin. It listens until it is dropped.
///
/// Everything but `/public/…` is protected. Each response says who it was served as and where: `X-Identity`
/// (`anonymous` or a user), `X-Connection` (unique in the process), `X-Request` (the how-manieth on it), `X-Origin`,
/// and `X-Body-Length`/`X-Body-Hash` ([`body_hash`]) of the request's body.
///
/// Users log in by NTLM (`NTLM` or `Negotiate`, bare or in SPNEGO), or in one leg by a simulated Kerberos ticket
/// (`Negotiate`, `Kerberos` or `Nego2` with the base64 of `KRB-SIM:user:password`); see [`crate::password_of`].
///
/// A request's query orders how it is answered:
///
/// | parameter | effect |
/// | --- | --- |
/// | `status=N` | the status, once authenticated (3xx with `Location`) |
/// | `size=N` | a body of N bytes |
/// | `chunked`, `delimit=close`, `http10` | how the response is framed |
/// | `gate=NAME`, `delay=MS` | hold the answer until [`Origin::open_gate`], or for so long |
/// | `gate_body=NAME`, `delay_body=MS` | the same between header and body |
/// | `close=challenge` | say `Connection: close` with the challenge, and close |
/// | `close=silent` | close after the challenge without a word |
/// | `close=after`, `close=header`, `close=mid` | close after the answer without a word, saying so, or half way through its body (not on a 401) |
/// | `close=read`, `rst=read` | read the request, then close or reset; the ledger shows status 0 |
/// | `close=reused` | the same, but on the first request of a connection |
/// | `early` | answer before the request's body is read |
/// | `extra=MS` | send `unsolicited` bytes so long after the answer (`extra=0`: along with it) |
/// | `legs=N` | before a login of more than 3 legs, N-3 opaque rounds are wanted |
/// | `mutual` | the answer to the last NTLM leg carries a `WWW-Authenticate` token; tickets have one unless `nomutual` |
/// | `token_without_auth` | every client is answered, with a `WWW-Authenticate: NTLM` challenge |
/// | `proxy` | a proxy asks: 407, `Proxy-Authenticate` and `Proxy-Authorization` in place of 401 and the others |
/// | `ignore` | every client is answered, and credentials are ignored: a page without authentication |
/// | `persist=no` | the login holds for this request only |
/// | `logout` | the connection forgets its user: a 401 out of nowhere |
/// | `alike` | the answer names neither user nor connection: its bytes are the same for every client |
/// | `bearer` | `Bearer` is offered before any other scheme of a 401 |
/// | `odd` | the challenge of `token_without_auth` is spelled `nTlM`, with a tab before its token |
/// | `field=NAME:VALUE` | one more field in the answer; may be repeated |
/// | `upgrade` | 101, then whatever arrives is sent back |
/// | `websocket` | a WebSocket: the user's name, then whatever arrives is sent back |
pub struct Origin {
    shared: Arc<Shared>,
    place: Place,
    tls: Option<Acceptor>,
    life: Mutex<Option<(watch::Sender<Life>, JoinHandle<()>)>>,
    folder: tempfile::TempDir,
    _reserved: Option<Reserved>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("name", &self.shared.name).field("address", &self.address()).finish()
    }
}

impl Origin {
    /// An origin named `origin` on a free port of 127.0.0.1, in the clear.
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// An origin to order.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it listens, as a `server` line of nginx wants it: `127.0.0.1:1234`, `[::1]:1234` or `unix:/path`.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.place {
            Place::Tcp(address) => address.to_string(),
            Place::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// The socket address; panics for a unix socket.
    #[must_use]
    pub fn socket_addr(&self) -> SocketAddr {
        match &self.place {
            Place::Tcp(address) => *address,
            Place::Unix(path) => panic!("{} is no socket address", path.display()),
        }
    }

    /// The path of the unix socket, if that is where it listens.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp(_) => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// `http://…` or `https://…` of `target`.
    #[must_use]
    pub fn url(&self, target: &str) -> String {
        let scheme = if self.is_tls() { "https" } else { "http" };
        format!("{scheme}://{}{target}", self.address())
    }

    /// It speaks TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Its name, as in `X-Origin`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The PEM files of authority, server and client; they live as long as the origin.
    #[cfg(feature = "full")]
    #[must_use]
    pub fn files(&self) -> crate::pki::Files {
        crate::pki::Files::of(self.folder.path())
    }

    // The ledger.

    /// Everything answered so far.
    #[must_use]
    pub fn ledger(&self) -> Vec<Entry> {
        self.shared.ledger.entries()
    }

    /// The ledger for people, as failed waits print it.
    #[must_use]
    pub fn ledger_text(&self) -> String {
        self.shared.ledger.to_string()
    }

    /// Empties the ledger.
    pub fn clear_ledger(&self) {
        self.shared.ledger.clear();
    }

    /// Waits until the ledger satisfies `condition`; panics with the ledger if it does not within [`crate::patience`].
    pub async fn wait_for(&self, condition: impl Fn(&[Entry]) -> bool) {
        self.shared.ledger.wait("the ledger", |entries| condition(entries).then_some(())).await;
    }

    /// Waits, however long it takes, until the ledger has more than `seen` entries; returns those.
    pub async fn entries_after(&self, seen: usize) -> Vec<Entry> {
        let more = |entries: &[Entry]| entries.get(seen..).filter(|new| !new.is_empty()).map(<[_]>::to_vec);
        self.shared.ledger.until(more).await
    }

    /// How many connections are open, handshaking ones included.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.lock().unwrap().len()
    }

    /// Which connections are open, in the order they came.
    #[must_use]
    pub fn connection_ids_open(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.shared.open.lock().unwrap().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Waits until exactly `count` connections are open.
    pub async fn wait_open_connections(&self, count: usize) {
        let what = format!("{count} open connections");
        self.shared.ledger.wait(&what, |_| (self.open_connections() == count).then_some(())).await;
    }

    /// Waits until exactly `count` connections are idle: a response is read by its client before its connection is idle again.
    pub async fn wait_idle_connections(&self, count: usize) {
        let what = format!("{count} idle connections");
        let idle = || {
            let open = self.shared.open.lock().unwrap();
            open.values().filter(|handle| handle.idle.load(Ordering::SeqCst)).count()
        };
        self.shared.ledger.wait(&what, |_| (idle() == count).then_some(())).await;
    }

    /// Waits until connection `id` is closed.
    pub async fn wait_closed(&self, id: u64) {
        let what = format!("the end of connection {id}");
        self.shared
            .ledger
            .wait(&what, |_| (!self.shared.open.lock().unwrap().contains_key(&id)).then_some(()))
            .await;
    }

    // Orders.

    /// Waits until a request is held at the gate `name`.
    pub async fn wait_gate(&self, name: &str) {
        self.wait_gate_count(name, 1).await;
    }

    /// Waits until at least `count` requests are held at the gate `name`.
    pub async fn wait_gate_count(&self, name: &str, count: usize) {
        let what = format!("{count} requests at gate \"{name}\"");
        self.shared.ledger.wait(&what, |_| (self.shared.waiting_at(name) >= count).then_some(())).await;
    }

    /// Waits until no request is held at the gate `name` any more: the peers left.
    pub async fn wait_gate_deserted(&self, name: &str) {
        let what = format!("nobody at gate \"{name}\"");
        self.shared.ledger.wait(&what, |_| (self.shared.waiting_at(name) == 0).then_some(())).await;
    }

    /// Lets pass all requests that are held at the gate `name`, or will come there.
    pub fn open_gate(&self, name: &str) {
        self.shared.set_gate(name, true);
    }

    /// Shuts the gate `name` again.
    pub fn close_gate(&self, name: &str) {
        self.shared.set_gate(name, false);
    }

    /// Closes the connections that are idle now, in order; says how many.
    pub async fn close_idle_connections(&self) -> usize {
        let idle: Vec<u64> = {
            let open = self.shared.open.lock().unwrap();
            open.iter().filter(|(_, handle)| handle.idle.load(Ordering::SeqCst)).map(|(&id, _)| id).collect()
        };
        for &id in &idle {
            self.close_connection(id).await;
        }
        idle.len()
    }

    /// Closes connection `id` (FIN, or `close_notify` and FIN) as soon as it is idle.
    pub async fn close_connection(&self, id: u64) {
        self.order(id, Command::Close).await;
        self.wait_closed(id).await;
    }

    /// Resets connection `id` as soon as it is idle.
    pub async fn reset_connection(&self, id: u64) {
        self.order(id, Command::Reset).await;
        self.wait_closed(id).await;
    }

    /// Sends unsolicited bytes over connection `id` as soon as it is idle; `false` if that failed.
    pub async fn send_unsolicited(&self, id: u64, bytes: &[u8]) -> bool {
        self.order(id, |done| Command::Send(bytes.to_vec(), done)).await
    }

    /// Sends a TLS 1.3 KeyUpdate over connection `id` as soon as it is idle; `false` if the connection has none to send, or has sent as many
    /// since its last request as a TLS library bears.
    pub async fn send_key_update(&self, id: u64) -> bool {
        self.order(id, Command::KeyUpdate).await
    }

    async fn order(&self, id: u64, command: impl FnOnce(oneshot::Sender<bool>) -> Command) -> bool {
        let (done, is_done) = oneshot::channel();
        if let Some(handle) = self.shared.open.lock().unwrap().get(&id) {
            // A connection that ends meanwhile drops `done`.
            let _ = handle.commands.send(command(done));
        } else {
            return false;
        }
        let ledger = || format!("connection {id} did not get idle\n{}", self.ledger_text());
        crate::within(is_done, ledger).await.unwrap_or(false)
    }

    /// Stops listening, and resets every connection.
    pub async fn stop(&self) {
        let taken = self.life.lock().unwrap().take();
        if let Some((life, accepting)) = taken {
            life.send_replace(Life::Stopped);
            // Awaited so that the port refuses connections from here on.
            let _ = accepting.await;
            self.wait_open_connections(0).await;
        }
    }

    /// Listens again, at the same place.
    pub async fn start_again(&self) {
        self.stop().await;
        let (place, tls, shared) = (self.place.clone(), self.tls.clone(), self.shared.clone());
        let (life, is_alive) = watch::channel(Life::Running);
        let (ready, is_ready) = oneshot::channel();
        let accepting = runtime().spawn(async move {
            let listener = Listener::open(&place);
            let failed = listener.as_ref().err().map(ToString::to_string);
            let _ = ready.send(failed);
            if let Ok(listener) = listener {
                listen::accept(listener, tls, shared, is_alive).await;
            }
        });
        if let Some(error) = is_ready.await.expect("the task of an origin") {
            panic!("origin cannot listen on {}: {error}", self.address());
        }
        *self.life.lock().unwrap() = Some((life, accepting));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some((life, _)) = self.life.lock().unwrap().take() {
            life.send_replace(Life::Stopped);
        }
        if std::thread::panicking() {
            eprintln!("{}", self.ledger_text());
        }
    }
}
