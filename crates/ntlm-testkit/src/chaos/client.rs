//! One client living its life: it sends what its plan says, and has each answer checked.
//!
//! It must never take a decision of its own, nor open a second connection.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use super::checks::{Answer, Judge, body};
use super::config::Config;
use super::life::{Ask, End, Goal, How, Life, LogIn, Sending, Step};
use crate::client::{Client, Endpoint, Login, Scheme, http2, kerberos_token};
use crate::{Request, Response, password_of, slowness, within};

/// How long a binding may take to end with its timeout, and a connection with it, times [`slowness`].
const SOON: Duration = Duration::from_secs(8);

/// How long a client waits that leaves somewhere within an exchange, times [`slowness`]; the origin takes longer.
const MOMENT: Duration = Duration::from_millis(4);

/// What a client needs to know to live.
#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) judge: Judge,
    pub(super) http1: Endpoint,
    pub(super) http2: Endpoint,
    /// Both protocols, over TLS.
    pub(super) tls: Endpoint,
}

enum Wire {
    Http1(Box<Client>),
    Http2(http2::Client),
}

/// The connection cannot be used any more.
struct Gone;

struct Living<'a> {
    world: &'a World,
    life: &'a Life,
    wire: Wire,
    sent: u64,
    /// Whom the client's connections may be served as: those it has sent whole credentials of.
    users: BTreeSet<String>,
    /// For each group the user and the connection of a login that must still hold.
    holds: HashMap<usize, (String, u64)>,
}

/// Lives a life to its end. Nothing that happens to it is a failure, but what the judge says.
pub(super) async fn live(world: &World, life: &Life) {
    count(&world.judge.counts.lives);
    let builder = Client::builder().name(&life.name);
    let http1 = |client| Wire::Http1(Box::new(client));
    let wire = match (life.http2, life.tls) {
        (false, false) => builder.try_connect(&world.http1).await.map(http1),
        (false, true) => {
            let tls = builder.tls();
            let connected = within(tls.try_connect(&world.tls), || "no TLS with nginx".to_owned()).await;
            connected.map(http1)
        }
        (true, false) => http2::Client::try_connect(&world.http2).await.map(Wire::Http2),
        (true, true) => http2::Client::try_connect_tls(&world.tls).await.map(Wire::Http2),
    };
    let Ok(wire) = wire else {
        count(&world.judge.counts.unanswered);
        if world.config.is_strict() {
            world.judge.find("answers", "no connection to nginx".to_owned(), Some(&life.name), None);
        }
        return;
    };
    let mut living = Living { world, life, wire, sent: 0, users: BTreeSet::new(), holds: HashMap::new() };
    for step in &life.steps {
        if world.judge.is_over() || living.step(step).await.is_err() {
            return;
        }
    }
    living.end().await;
}

impl Living<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), Gone> {
        match step {
            Step::Ask(ask) => {
                let target = self.target(ask);
                let response = self.exchange(ask, &target, None).await?;
                let answer = self.look(ask, &target, &response);
                self.must_hold(ask, &target, &answer);
                self.remember(ask, &answer);
                after(&response)
            }
            Step::Burst(asks) => self.burst(asks).await,
            Step::Login(login) => self.log_in(login).await,
            Step::Idle(time) => {
                // Nothing is waited for: the seed has this client do nothing for so long, past a timeout or within it.
                tokio::time::sleep(Duration::from_millis(*time) * slowness()).await;
                Ok(())
            }
            Step::Outlive => self.outlive().await,
        }
    }

    async fn log_in(&mut self, login: &LogIn) -> Result<(), Gone> {
        let LogIn { ask, how, outcome, second, legs } = login;
        let user = self.life.user(*second);
        let password = if *outcome == Goal::WrongPassword { "wrong".to_owned() } else { password_of(&user) };
        let counted = *outcome == Goal::Whole && ask.harmless;
        if counted {
            count(&self.world.judge.counts.logins);
        }
        let mut handshake = match how {
            How::Ntlm(spelling) => Some(Login::new(*spelling, &user, &password).in_legs(*legs)),
            How::Spnego => Some(Login::new(Scheme::spnego(), &user, &password).in_legs(*legs)),
            How::Ticket(_) => None,
        };
        let mut authorization = match (&mut handshake, how) {
            (None, How::Ticket(spelling)) if *outcome == Goal::FirstLeg => format!("{spelling} "),
            (None, How::Ticket(spelling)) => format!("{spelling} {}", kerberos_token(&user, &password)),
            (Some(handshake), _) => handshake.first(),
            (None, _) => return Ok(()),
        };
        self.holds.remove(&ask.group);
        let mut first = handshake.is_some();
        loop {
            if !first && *outcome == Goal::Whole {
                self.users.insert(user.clone());
            }
            first = false;
            let target = self.target(ask);
            let response = self.exchange(ask, &target, Some(&authorization)).await?;
            let answer = self.look(ask, &target, &response);
            if *outcome == Goal::FirstLeg {
                return after(&response);
            }
            if let Some(next) = handshake.as_mut().and_then(|handshake| handshake.next(&response)) {
                authorization = next;
                after(&response)?;
                continue;
            }
            self.logged_in(ask, &target, &answer, &user, counted);
            return after(&response);
        }
    }

    /// A login came to its end, well or not.
    fn logged_in(&mut self, ask: &Ask, target: &str, answer: &Answer, user: &str, counted: bool) {
        let judge = &self.world.judge;
        let is_in = match answer {
            Answer::Origin { status, identity, connection } if *status != 401 && identity == user => {
                if ask.harmless {
                    self.holds.insert(ask.group, (user.to_owned(), *connection));
                }
                true
            }
            _ => false,
        };
        if counted && is_in {
            count(&judge.counts.logged_in);
        } else if counted && self.world.config.is_strict() {
            judge.find("logins", format!("{target}: no login, but {answer:?}"), Some(&self.life.name), None);
        }
    }

    /// Sends a request and waits for its answer.
    async fn exchange(
        &mut self,
        ask: &Ask,
        target: &str,
        credentials: Option<&str>,
    ) -> Result<Response, Gone> {
        let mut request = self.request(ask, target);
        if let Some(value) = credentials {
            request = request.header("Authorization", value);
        }
        let response = match &mut self.wire {
            Wire::Http1(client) => match ask.body {
                Sending::Slowly(_, pause) => slowly(client, &self.life.name, request, pause).await,
                _ => client.try_request(request).await,
            },
            Wire::Http2(client) => client.try_request(request).await.map_err(io::Error::other),
        };
        response.map_err(|error| self.unanswered(target, &error))
    }

    async fn burst(&mut self, asks: &[Ask]) -> Result<(), Gone> {
        let targets: Vec<String> = asks.iter().map(|ask| self.target(ask)).collect();
        let requests: Vec<Request> =
            asks.iter().zip(&targets).map(|(ask, target)| self.request(ask, target)).collect();
        if asks.iter().any(|ask| !ask.harmless) {
            self.holds.clear();
        }
        if let Wire::Http2(client) = &self.wire {
            let streams = requests.into_iter().map(|request| client.try_request(request));
            let responses = together(streams).await;
            for ((ask, target), response) in asks.iter().zip(&targets).zip(responses) {
                let response = response.map_err(|error| self.unanswered(target, &io::Error::other(error)))?;
                self.look(ask, target, &response);
            }
            return Ok(());
        }
        let bytes = requests.into_iter().flat_map(|request| wire_bytes(request, &self.life.name));
        let bytes: Vec<u8> = bytes.collect();
        for (number, (ask, target)) in asks.iter().zip(&targets).enumerate() {
            let Wire::Http1(client) = &mut self.wire else { return Ok(()) };
            if number == 0 {
                // What was answered before the server closed is still to be read.
                let _ = client.try_send_raw(&bytes).await;
            }
            let response = client.try_read_response().await;
            let response = response.map_err(|error| self.unanswered(target, &error))?;
            let answer = self.look(ask, target, &response);
            self.must_hold(ask, target, &answer);
            after(&response)?;
        }
        Ok(())
    }

    /// Waits for the end of the binding, and of the connection with it.
    async fn outlive(&mut self) -> Result<(), Gone> {
        if self.holds.is_empty() {
            return Ok(());
        }
        let client = Some(self.life.name.as_str());
        let judge = &self.world.judge;
        let soon = SOON * slowness();
        let ended = match &mut self.wire {
            Wire::Http1(wire) => {
                tokio::time::timeout(soon, wire.try_read_response()).await.map(|response| response.is_err())
            }
            Wire::Http2(wire) => tokio::time::timeout(soon, wire.closed()).await.map(|()| true),
        };
        match ended {
            Ok(true) => count(&judge.counts.mirrored),
            Ok(false) => judge.find("mirror", "bytes that nobody asked for".to_owned(), client, None),
            // Its binding ended while nginx must not let go of it: its next response would say so.
            Err(_) if self.world.config.min_timeout && matches!(self.wire, Wire::Http1(_)) => {}
            Err(_) => {
                let what = "the binding ended and the client connection did not".to_owned();
                judge.find("mirror", what, client, self.holds.values().next().map(|held| held.1));
            }
        }
        Err(Gone)
    }

    async fn end(self) {
        let (name, end) = (&self.life.name, self.life.end);
        let slow = match end {
            End::MidResponse(_) => format!("size=100000&delay_body={}", 30 * slowness()),
            _ => format!("delay={}", 30 * slowness()),
        };
        let target = format!("/a/{name}.end?{slow}");
        let request = match end {
            End::MidBody(_) => Request::post(&target, body(&target, 20_000)),
            _ => Request::get(&target),
        };
        match self.wire {
            Wire::Http1(mut client) => {
                let mut bytes = wire_bytes(request, name);
                match end {
                    End::Close | End::Reset => bytes.clear(),
                    End::MidHead(_) | End::MidBody(_) => bytes.truncate(bytes.len() / 2),
                    End::Waiting(_) | End::MidResponse(_) => {}
                }
                // The server may be gone.
                let _ = client.try_send_raw(&bytes).await;
                if let End::Waiting(_) | End::MidResponse(_) | End::MidBody(_) = end {
                    // So that it leaves somewhere within the exchange; where exactly is left to chance, and nothing is
                    // asserted about it.
                    tokio::time::sleep(MOMENT * slowness()).await;
                }
                match end {
                    End::Reset
                    | End::MidHead(true)
                    | End::MidBody(true)
                    | End::Waiting(true)
                    | End::MidResponse(true) => client.abort(),
                    _ => client.close().await,
                }
            }
            Wire::Http2(client) => {
                if !matches!(end, End::Close | End::Reset) {
                    let request = request.header("X-Client", name);
                    let _ = tokio::time::timeout(MOMENT * slowness(), client.try_request(request)).await;
                }
                client.abort();
            }
        }
    }

    // What the steps have in common.

    /// A target that no other request has.
    fn target(&mut self, ask: &Ask) -> String {
        self.sent += 1;
        ask.target(&format!("{}.{}", self.life.name, self.sent))
    }

    fn request(&self, ask: &Ask, target: &str) -> Request {
        let request = match ask.body {
            Sending::Nothing => Request::get(target),
            Sending::Chunked(n) => Request::new("POST", target).chunked(body(target, n), 3000),
            Sending::Sized(n) | Sending::Slowly(n, _) => Request::post(target, body(target, n)),
        };
        match self.wire {
            // The client adds its name itself.
            Wire::Http1(_) => request,
            Wire::Http2(_) => request.header("X-Client", &self.life.name),
        }
    }

    fn look(&self, ask: &Ask, target: &str, response: &Response) -> Answer {
        let World { config, judge, .. } = self.world;
        judge.response(config, &self.life.name, &self.users, ask, target, response)
    }

    /// Where nothing can end a login, it is in force.
    fn must_hold(&self, ask: &Ask, target: &str, answer: &Answer) {
        let Some((user, bound)) = self.holds.get(&ask.group).filter(|_| self.world.config.is_strict()) else {
            return;
        };
        let held = matches!(
            answer,
            Answer::Origin { status, identity, connection } if *status != 401 && identity == user && connection == bound
        );
        if !held {
            let what = format!("{target} should have been served as {user} over {bound}, but: {answer:?}");
            self.world.judge.find("holding", what, Some(&self.life.name), Some(*bound));
        }
    }

    /// Forgets a login that may have ended with an answer.
    fn remember(&mut self, ask: &Ask, answer: &Answer) {
        let held = self.holds.get(&ask.group).is_some_and(|(user, bound)| {
            matches!(answer, Answer::Origin { identity, connection, .. } if identity == user && connection == bound)
        });
        if !held || !ask.harmless {
            self.holds.remove(&ask.group);
        }
    }

    fn unanswered(&self, target: &str, error: &io::Error) -> Gone {
        let judge = &self.world.judge;
        count(&judge.counts.unanswered);
        if self.world.config.is_strict() {
            judge.find("answers", format!("no answer to {target}: {error}"), Some(&self.life.name), None);
        }
        Gone
    }
}

/// The bytes of a request, under the client's name.
fn wire_bytes(request: Request, name: &str) -> Vec<u8> {
    let request = request.header("X-Client", name);
    let mut bytes = request.head_bytes("localhost");
    bytes.extend(request.body_bytes());
    bytes
}

/// Sends a request in two parts, with a pause between them that the seed chose.
async fn slowly(client: &mut Client, name: &str, request: Request, pause: u64) -> io::Result<Response> {
    let bytes = wire_bytes(request, name);
    let (begin, end) = bytes.split_at(bytes.len() - bytes.len() / 8);
    client.try_send_raw(begin).await?;
    // Nothing is waited for: this is how slow the client is.
    tokio::time::sleep(Duration::from_millis(pause)).await;
    // What the server had to say may still be readable where writing fails.
    let sent = client.try_send_raw(end).await;
    client.try_read_response().await.map_err(|error| sent.err().unwrap_or(error))
}

/// Awaits all of these side by side.
async fn together<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|cx| {
        let mut waiting = false;
        for (future, output) in &mut futures {
            if output.is_none() {
                match future.as_mut().poll(cx) {
                    Poll::Ready(value) => *output = Some(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    futures.into_iter().filter_map(|(_, output)| output).collect()
}

/// Whether the connection goes on after a response.
fn after(response: &Response) -> Result<(), Gone> {
    if response.says_close() { Err(Gone) } else { Ok(()) }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
