//! Floods and long runs: many forged logins beside few real ones, many bindings made and ended; and what a worker uses
//! meanwhile. The suite runs short ones, `ntlm-flood` long ones.
//!
//! It must never count what it did not see answered.

#[cfg(feature = "http2")]
pub mod h2load;
#[cfg(feature = "http2")]
pub mod streams;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::task::JoinSet;

use crate::client::Builder;
use crate::client::http1::Client;
use crate::client::{Endpoint, Login, Request, Target, kerberos_token};
use crate::ntlm::{NtlmClient, to_base64};
use crate::{Nginx, Origin, password_of, pause};

/// The memory and descriptors that one worker uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in KiB.
    pub rss: usize,
    /// The highest it ever was.
    pub peak: usize,
    /// Open descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// The present usage of the only worker of `nginx`. Panics unless there is exactly one worker.
    #[must_use]
    pub fn of(nginx: &Nginx) -> Self {
        let workers = nginx.worker_pids();
        let [worker] = workers[..] else { panic!("not one worker but {workers:?}") };
        let status = std::fs::read_to_string(format!("/proc/{worker}/status")).expect("the worker lives");
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix(" kB"));
            line.and_then(|number| number.trim().parse().ok())
                .unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        let descriptors = std::fs::read_dir(format!("/proc/{worker}/fd")).expect("the worker lives").count();
        Self { rss: kib("VmRSS:"), peak: kib("VmHWM:"), descriptors }
    }
}

/// An nginx for floods: one worker that passes everything to `origin` over the group `backend`, with `lines` in it and
/// `worker_connections` to live on; what its client connections are is told at the port `status`.
pub async fn front(origin: &Origin, lines: &str, worker_connections: usize) -> Nginx {
    let nginx = Nginx::builder()
        // Where valgrind runs nginx, only its log at `notice` tells of its workers.
        .log_level("notice")
        .worker_connections(worker_connections)
        .set("origin", &origin.address())
        .set("lines", lines)
        .conf(
            "access_log off; large_client_header_buffers 4 128k; keepalive_requests 1000000; lingering_close off; \
             upstream backend { server {{origin}}; {{lines}} } \
             server { listen 127.0.0.1:{{port}} backlog=4096; location / { proxy_pass http://backend; } } \
             server { listen 127.0.0.1:{{port:status}}; location / { stub_status; } }",
        )
        .start()
        .await;
    // A worker that answers has all that it starts with.
    let mut first = Client::connect(nginx.at("status")).await;
    first.get_with("/", "Connection", "close").await;
    first.closed().await;
    nginx
}

/// `Active connections` of `stub_status` in a [`front`], the one that asks left out.
pub async fn active_clients(nginx: &Nginx) -> usize {
    let text = Client::connect(nginx.at("status")).await.get("/").await.text();
    let count = text.lines().find_map(|line| line.strip_prefix("Active connections:"));
    let count = count.and_then(|count| count.trim().parse::<usize>().ok());
    count.unwrap_or_else(|| panic!("no stub_status: {text}")).saturating_sub(1)
}

/// Waits until so many clients and as many bindings are left of a flood, and the worker has no more than this many
/// descriptors; then says what it uses.
pub async fn settled(origin: &Origin, nginx: &Nginx, left: usize, descriptors: usize) -> Usage {
    let settled = async {
        loop {
            let usage = Usage::of(nginx);
            let bindings = origin.open_connections();
            // The first two cost nothing to ask, and asking the third takes a descriptor for a moment.
            if usage.descriptors <= descriptors && bindings == left && active_clients(nginx).await == left {
                return usage;
            }
            tokio::task::yield_now().await;
        }
    };
    let otherwise = || {
        let usage = Usage::of(nginx);
        format!("{left} clients should be left, {descriptors} descriptors; there are {usage:?}")
    };
    crate::within(settled, otherwise).await
}

/// Users that are logged in, each over a client connection of its own, and the origin's connection each is bound to.
#[derive(Debug)]
pub struct Users(Vec<(String, Client, u64)>);

impl Users {
    /// Logs in so many, by NTLM.
    pub async fn log_in(nginx: &Nginx, count: usize) -> Self {
        Self::log_in_at(nginx, count, "127.0.0.1").await
    }

    /// Logs in so many, by NTLM and from this address.
    pub async fn log_in_at(nginx: &Nginx, count: usize, address: &str) -> Self {
        let mut users = Self(Vec::new());
        for number in 0..count {
            users.add(&Client::builder().source(address), number, nginx, false).await;
        }
        users
    }

    /// Logs in so many, each from an address of its own: every other one by NTLM, the rest in one leg by a ticket, which the
    /// origin answers with a token.
    pub async fn log_in_apart(nginx: &Nginx, count: usize) -> Self {
        let mut users = Self(Vec::new());
        for number in 0..count {
            let builder = Client::builder().source(&format!("127.0.1.{}", number + 1));
            users.add(&builder, number, nginx, number % 2 == 1).await;
        }
        users
    }

    async fn add(&mut self, builder: &Builder, number: usize, nginx: &Nginx, by_ticket: bool) {
        let name = format!("user{number}");
        let mut client = builder.connect(nginx).await;
        let response = if by_ticket {
            let ticket = format!("Negotiate {}", kerberos_token(&name, &password_of(&name)));
            client.request(Self::request_of(&name).header("Authorization", &ticket)).await
        } else {
            let login = Login::new("NTLM", &name, &password_of(&name));
            client.login_as(login, Self::request_of(&name)).await.pop().expect("a login has responses")
        };
        assert_eq!(response.identity(), name, "{response:?}");
        self.0.push((name, client, response.connection()));
    }

    /// A request for a protected page, in a session that has the user's name.
    fn request_of(name: &str) -> Request {
        Request::get("/").header("X-Session", name)
    }

    /// How many are served as themselves over the connection they logged in on, asked without credentials.
    pub async fn still_in(&mut self) -> usize {
        let mut count = 0;
        for (name, client, connection) in &mut self.0 {
            if let Ok(response) = client.try_request(Self::request_of(name)).await {
                let same = response.get("X-Connection") == Some(&connection.to_string());
                count += usize::from(same && response.get("X-Identity") == Some(name));
            }
        }
        count
    }
}

/// A flood of first legs.
#[derive(Clone, Debug)]
pub struct Flood {
    /// First legs to have answered with 401.
    pub legs: usize,
    /// Connections that send them at the same time.
    pub connections: usize,
    /// The `Authorization` fields they send in turn.
    pub credentials: Vec<String>,
}

impl Flood {
    /// NTLM NEGOTIATE messages, bare names, tokens that are none, and a base64 of no message.
    #[must_use]
    pub fn of_first_legs(legs: usize, connections: usize) -> Self {
        let negotiate = NtlmClient::new("mallory", "forged").negotiate();
        let credentials = vec![
            format!("NTLM {}", to_base64(&negotiate)),
            format!("Negotiate {}", to_base64(&negotiate)),
            "Negotiate".to_owned(),
            "NTLM Zm9yZ2Vk".to_owned(),
            "Kerberos !!!!".to_owned(),
        ];
        Self { legs, connections, credentials }
    }

    /// Tokens of 64 KiB that mean nothing.
    #[must_use]
    pub fn of_junk(legs: usize, connections: usize) -> Self {
        let junk = "x".repeat(64 * 1024);
        let credentials = ["NTLM", "Negotiate", "Nego2"].map(|scheme| format!("{scheme} {junk}")).to_vec();
        Self { legs, connections, credentials }
    }

    /// Sends it, while `meanwhile` is done again and again.
    pub async fn send(self, nginx: &Nginx, mut meanwhile: impl AsyncFnMut()) {
        let flood = Arc::new(self);
        let (answered, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut forgers = JoinSet::new();
        for number in 0..flood.connections {
            let (flood, answered, endpoint) = (flood.clone(), answered.clone(), nginx.endpoint());
            forgers.spawn(async move { flood.forge(&endpoint, number, &answered).await });
        }
        let done = async {
            while let Some(forger) = forgers.join_next().await {
                forger.expect("a forger ends in order");
            }
            over.store(true, Ordering::SeqCst);
        };
        let watch = async {
            while !over.load(Ordering::SeqCst) {
                meanwhile().await;
            }
        };
        tokio::join!(done, watch);
    }

    /// One forger: connects again whenever nginx, or its own tenth leg, ends its connection.
    async fn forge(&self, endpoint: &Endpoint, number: usize, answered: &AtomicUsize) {
        let mut turn = number;
        while answered.load(Ordering::SeqCst) < self.legs {
            let mut forger = Client::connect(endpoint).await;
            for _ in 0..10 {
                turn += 1;
                let credentials = &self.credentials[turn % self.credentials.len()];
                let leg = Request::get("/").header("Authorization", credentials);
                // Evicted: its connection ended while it wrote.
                let Ok(response) = forger.try_request(leg).await else { break };
                assert_eq!(response.status, 401, "{response:?}");
                answered.fetch_add(1, Ordering::SeqCst);
                if response.says_close() {
                    break;
                }
            }
            if turn.is_multiple_of(2) {
                forger.abort();
            }
        }
    }
}

/// Credentials that mean nothing, each over a client connection of its own, which stays open as long as NGINX leaves it.
#[derive(Clone, Debug)]
pub struct Junk {
    /// The page that is asked for.
    pub target: String,
    /// The `Authorization` field.
    pub credentials: String,
    /// From so many addresses, the first of which is 127.0.2.1.
    pub addresses: usize,
    /// Connections of each address.
    pub connections: usize,
}

impl Junk {
    /// Sends it, and returns the connections: junk goes on for as long as they are held.
    pub async fn send(&self, nginx: &Nginx) -> Vec<Client> {
        let mut clients = Vec::new();
        for address in 0..self.addresses {
            let builder = Client::builder().source(&format!("127.0.2.{}", address + 1));
            for _ in 0..self.connections {
                let mut client = builder.connect(nginx).await;
                client.request(self.request()).await;
                clients.push(client);
            }
        }
        clients
    }

    /// Sends it so often over one connection, each time in another session; over the next one where NGINX ends it.
    pub async fn send_in_sessions(&self, nginx: &Nginx, sessions: usize) {
        let mut client = Client::connect(nginx).await;
        for session in 0..sessions {
            let request = self.request().header("X-Session", &format!("junk{session}"));
            if client.try_request(request).await.is_ok_and(|response| !response.says_close()) {
                continue;
            }
            client = Client::connect(nginx).await;
        }
    }

    fn request(&self) -> Request {
        Request::get(&self.target).header("Authorization", &self.credentials)
    }
}

/// How long the slowest of many requests waits that have nothing to do with bindings, asked one after the other of a [`front`]
/// for as long as `goes_on` says so.
pub async fn longest_wait(nginx: &Nginx, mut goes_on: impl FnMut() -> bool) -> Duration {
    let mut client = Client::connect(nginx.at("status")).await;
    let mut longest = Duration::ZERO;
    while goes_on() {
        let start = Instant::now();
        client.get("/").await;
        longest = longest.max(start.elapsed());
    }
    longest
}

/// Makes so many bindings, each with a client of its own, in a [`front`] whose `ntlm_timeout` is `timeout`, and has all of them
/// time out in one moment. Returns the [`longest_wait`] before and meanwhile. Panics if one of them ended before.
pub async fn expire_together(
    origin: &Origin,
    nginx: &Nginx,
    count: usize,
    timeout: Duration,
) -> [Duration; 2] {
    let mut clients = Vec::new();
    for _ in 0..count {
        let mut client = Client::connect(nginx).await;
        client.login_in_one_leg("alice", "/").await;
        clients.push(client);
    }
    let workers = nginx.worker_pids();
    let [worker] = workers[..] else { panic!("not one worker but {workers:?}") };
    let worker = Pid::from_raw(i32::try_from(worker).expect("the number of a process"));
    let mut requests = 0..1000;
    let before = longest_wait(nginx, || requests.next().is_some()).await;
    assert_eq!(origin.open_connections(), count, "all of them wait");
    kill(worker, Signal::SIGSTOP).expect("a worker to stop");
    let due = Instant::now() + timeout;
    while Instant::now() < due {
        pause().await;
    }
    kill(worker, Signal::SIGCONT).expect("a worker to go on with");
    let meanwhile = longest_wait(nginx, || origin.open_connections() > 0).await;
    [before, meanwhile]
}

/// Makes bindings and ends them, `count` in all, `at_once` at the same time: by the client's close, its reset, its reset
/// within a request, the origin's close after an answer, and by leaving after the first of NTLM's legs.
///
/// # Errors
/// When a client meets anything but its script.
pub async fn bind_and_close(nginx: &Nginx, count: usize, at_once: usize) -> io::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients: JoinSet<io::Result<()>> = JoinSet::new();
    for _ in 0..at_once {
        let (next, endpoint) = (next.clone(), nginx.endpoint());
        clients.spawn(async move {
            loop {
                let cycle = next.fetch_add(1, Ordering::SeqCst);
                if cycle >= count {
                    return Ok(());
                }
                one_cycle(&endpoint, cycle).await?;
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.map_err(io::Error::other)??;
    }
    Ok(())
}

async fn one_cycle(endpoint: &Endpoint, cycle: usize) -> io::Result<()> {
    let user = format!("user{}", cycle % 50);
    let mut client = Client::connect(endpoint).await;
    if cycle.is_multiple_of(6) {
        client.leg1(&user, "/").await;
        return Ok(());
    }
    let ticket = format!("Negotiate {}", kerberos_token(&user, &password_of(&user)));
    let login = client.try_request(Request::get("/").header("Authorization", &ticket)).await?;
    let again = client.try_request(Request::get("/")).await?;
    if login.get("X-Identity") != Some(&user) || again.get("X-Identity") != Some(&user) {
        return Err(io::Error::other(format!("{user} is served as another: {login:?} {again:?}")));
    }
    match cycle % 6 {
        1 => client.close().await,
        2 => client.abort(),
        3 => {
            client.try_request(Request::get("/?close=after")).await?;
        }
        4 => {
            client.send(Request::get("/?delay=5")).await;
            client.abort();
        }
        _ => {
            client.try_request(Request::get("/?close=mid&size=2000")).await.ok();
        }
    }
    Ok(())
}
