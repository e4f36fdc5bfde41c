//! One client living its life: it sends what its plan says, and has each answer checked.
//!
//! A client must never take a decision that the seed has not drawn. It must never open a second connection, except for `Step::Anew`.

mod anew;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::ask::{Ask, Door, KEYLESS, Sending, x_client};
use super::checks::{Answer, Judge, body, refuses};
use super::config::{Config, Front, PLAIN};
use super::life::{End, Goal, How, Life, LogIn, Over, Step};
use super::wire::{Doors, Lost, Wire, bytes_of};
use crate::client::{Login, kerberos_token};
use crate::{Request, Response, password_of, slowness};

/// How long a binding may take to end with its timeout, and a connection with it, times [`slowness`].
const SOON: Duration = Duration::from_secs(8);

/// How long a client waits that leaves somewhere within an exchange, times [`slowness`]; the origin takes longer.
const MOMENT: Duration = Duration::from_millis(4);

/// The configuration, the judge and the doors that a client lives with.
#[derive(Debug)]
pub(super) struct World {
    pub(super) config: Config,
    pub(super) judge: Judge,
    pub(super) doors: Doors,
}

/// The connection cannot be used any more.
struct Gone;

struct Living<'a> {
    world: &'a World,
    life: &'a Life,
    wire: Wire,
    sent: u64,
    /// Whom the connection's users may be served as: those of whom they have sent whole credentials.
    users: HashMap<usize, BTreeSet<String>>,
    /// For each user and group the name and the connection of a login that must still hold.
    holds: HashMap<(usize, usize), (String, u64)>,
    /// Users and groups of whom credentials were sent: what they have may be a binding that is old.
    known: HashSet<(usize, usize)>,
    /// Users and groups with a login that was begun and did not come to its end: nginx may turn other streams back there.
    begun: HashSet<(usize, usize)>,
}

/// Lives a life to its end. Nothing that happens to it is a failure, but what the judge says.
pub(super) async fn live(world: &World, life: &Life) {
    count(&world.judge.counts.lives);
    let Ok(wire) = Wire::connect(&world.doors, life).await else {
        count(&world.judge.counts.unanswered);
        if world.config.is_strict() {
            world.judge.find("answers", "no connection to nginx".to_owned(), Some(&life.name), None);
        }
        return;
    };
    let (users, holds) = (HashMap::new(), HashMap::new());
    let (known, begun) = (HashSet::new(), HashSet::new());
    let mut living = Living { world, life, wire, sent: 0, users, holds, known, begun };
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
                let Some(response) = self.exchange(ask, &target, None).await? else { return Ok(()) };
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
            Step::Anew(login, times) => self.begin_anew(login, *times).await,
            Step::Outlive => self.outlive().await,
        }
    }

    async fn log_in(&mut self, login: &LogIn) -> Result<(), Gone> {
        let LogIn { ask, how, outcome, second, legs, space, wanders } = login;
        let user = match outcome {
            Goal::Forged => format!("forged-{}", self.life.name),
            _ => self.life.user(ask.who, *second),
        };
        let wrong = matches!(outcome, Goal::WrongPassword | Goal::Forged);
        let password = if wrong { "wrong".to_owned() } else { password_of(&user) };
        let counted = self.can_succeed(login);
        if counted {
            count(&self.world.judge.counts.logins);
        }
        let mut handshake = match how {
            How::Ticket(_) => None,
            how => Some(Login::new(how.scheme(), &user, &password).in_legs(*legs)),
        };
        let mut authorization = match (&mut handshake, how) {
            (None, How::Ticket(spelling)) if *outcome == Goal::FirstLeg => format!("{spelling} "),
            (None, How::Ticket(spelling)) => format!("{spelling} {}", kerberos_token(&user, &password)),
            (Some(handshake), _) => handshake.first(),
            (None, _) => return Ok(()),
        };
        let (begun, is_new) = (Instant::now(), !self.known.contains(&(ask.who, ask.group)));
        let mut requests = 0;
        self.others_log_in(ask.who);
        self.holds.remove(&(ask.who, ask.group));
        self.begun.insert((ask.who, ask.group));
        self.checked(ask);
        let mut first = handshake.is_some();
        let mut ask = ask.clone();
        let mut target = self.target(&ask);
        loop {
            if !first && *outcome == Goal::Whole {
                self.users.entry(ask.who).or_default().insert(user.clone());
            }
            first = false;
            requests += 1;
            let value = authorization.replacen(' ', space, 1);
            let sent = ask.with_credentials(&target, &value);
            let Some(response) = self.exchange(&ask, &sent, Some(&value)).await? else { return Ok(()) };
            let answer = self.look(&ask, &sent, &response);
            if *outcome == Goal::FirstLeg {
                return after(&response);
            }
            if let Some(next) = handshake.as_mut().and_then(|handshake| handshake.next(&www(&response))) {
                authorization = next;
                if counted && self.world.config.logins_succeed() && response.says_close() {
                    let what = format!("{target}: the connection is to end within a login");
                    self.world.judge.find("logins", what, Some(&self.life.name), None);
                }
                after(&response)?;
                if *outcome == Goal::Forged {
                    ask.public = true;
                    ask.orders.extend(["ignore".to_owned(), "status=404".to_owned()]);
                }
                if *wanders || *outcome == Goal::Forged {
                    target = self.target(&ask);
                }
                continue;
            }
            self.logged_in(&ask, &sent, &answer, &user, counted);
            if counted && is_new && response.says_close() {
                self.must_be_capped(&sent, requests, begun.elapsed());
            }
            return after(&response);
        }
    }

    /// The connection ends with a login: the binding must be as old as its caps, counted from the login's first request.
    fn must_be_capped(&self, target: &str, requests: u64, time: Duration) {
        let Some((most, longest)) = self.world.config.spared else { return };
        let longest = Duration::from_millis(longest.saturating_mul(u64::from(slowness())));
        if requests < most && time < longest {
            let what =
                format!("{target}: the connection ends with a login of {requests} requests and {time:?}");
            self.world.judge.find("logins", what, Some(&self.life.name), None);
        }
    }

    /// Nothing but what happens meanwhile can keep the login from succeeding.
    fn can_succeed(&self, login: &LogIn) -> bool {
        let (LogIn { ask, outcome, .. }, config) = (login, &self.world.config);
        // A second user of a client connection may have to wait where no key tells the two apart, and a stream of HTTP/2 where
        // another login was begun.
        let alone = matches!(config.front, None | Some(Front::Key)) || ask.who == 0;
        let all = !config.multiplexing && ask.body.is_empty();
        // The check takes the last leg to the other group, where it answers no challenge.
        let astray =
            ask.checked_by().is_some_and(|group| self.known.iter().any(|&(_, known)| known == group));
        let turned_back = self.life.over == Over::Http2 && (all || astray || self.has_begun(ask.group));
        // The check may find that the binding of its group has ended, and the client's login there with it.
        let ended = ask.checked_by().is_some() && (config.capped || config.short_timeout);
        *outcome == Goal::Whole
            && ask.harmless
            && ask.group != PLAIN
            && ask.who != KEYLESS
            && alone
            && !turned_back
            && !ended
    }

    /// Whether a login was begun in a group, by any of the users.
    fn has_begun(&self, group: usize) -> bool {
        self.begun.iter().any(|&(_, begun)| begun == group)
    }

    /// Credentials go to another group as well, which ignores them.
    fn checked(&mut self, ask: &Ask) {
        if let Some(group) = ask.checked_by() {
            self.holds.remove(&(ask.who, group));
            self.begun.insert((ask.who, group));
            self.known.insert((ask.who, group));
        }
    }

    /// Where no key tells users apart, one who logs in may take the place of another.
    fn others_log_in(&mut self, who: usize) {
        if matches!(self.world.config.front, Some(Front::RealIp | Front::Field(_))) {
            self.holds.retain(|(user, _), _| *user == who);
        }
    }

    /// A login came to its end, well or not.
    fn logged_in(&mut self, ask: &Ask, target: &str, answer: &Answer, user: &str, counted: bool) {
        let judge = &self.world.judge;
        let is_in = match answer {
            Answer::Origin { status, identity, connection } if !refuses(*status) && identity == user => {
                self.begun.remove(&(ask.who, ask.group));
                if ask.harmless && ask.group != PLAIN && ask.who != KEYLESS {
                    self.holds.insert((ask.who, ask.group), (user.to_owned(), *connection));
                }
                true
            }
            _ => false,
        };
        if counted && is_in {
            count(&judge.counts.logged_in);
        } else if counted && self.world.config.logins_succeed() {
            judge.find("logins", format!("{target}: no login, but {answer:?}"), Some(&self.life.name), None);
        }
    }

    /// Sends a request and waits for its answer; `None` if nginx turned it back.
    async fn exchange(
        &mut self,
        ask: &Ask,
        target: &str,
        credentials: Option<&str>,
    ) -> Result<Option<Response>, Gone> {
        let mut request = self.request(ask, target);
        if let Some(value) = credentials.filter(|_| ask.door != Door::LineEnds) {
            request = request.header(ask.door.field(), value);
        }
        let pause = match ask.body {
            Sending::Slowly(_, pause) => Some(pause),
            _ => None,
        };
        if credentials.or(ask.odd).is_some() {
            self.known.insert((ask.who, ask.group));
        }
        match self.wire.exchange(request, pause).await {
            Ok(response) => Ok(Some(response)),
            Err(lost) => self.lost(ask, target, lost, false).map(|()| None),
        }
    }

    async fn burst(&mut self, asks: &[Ask]) -> Result<(), Gone> {
        let targets: Vec<String> = asks.iter().map(|ask| self.target(ask)).collect();
        let requests: Vec<Request> =
            asks.iter().zip(&targets).map(|(ask, target)| self.request(ask, target)).collect();
        if asks.iter().any(|ask| !ask.harmless) {
            self.holds.clear();
        }
        self.known.extend(asks.iter().filter(|ask| ask.odd.is_some()).map(|ask| (ask.who, ask.group)));
        let odd = asks.iter().filter(|ask| ask.odd.is_some() && !ask.harmless);
        self.begun.extend(odd.map(|ask| (ask.who, ask.group)));
        if let Some(responses) = self.wire.streams(&requests).await {
            for ((ask, target), response) in asks.iter().zip(&targets).zip(responses) {
                match response {
                    Ok(response) => {
                        self.look(ask, target, &response);
                    }
                    Err(lost) => self.lost(ask, target, lost, true)?,
                }
            }
            return Ok(());
        }
        let bytes: Vec<u8> = requests.iter().flat_map(bytes_of).collect();
        for (number, (ask, target)) in asks.iter().zip(&targets).enumerate() {
            let Wire::Http1(client) = &mut self.wire else { return Ok(()) };
            if number == 0 {
                // Answers that the server sent before it closed are still to be read.
                let _ = client.try_send_raw(&bytes).await;
            }
            let response = client.try_read_response().await;
            let response = match response {
                Ok(response) => response,
                Err(error) => return self.lost(ask, target, Lost::Gone(error), false),
            };
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
        match tokio::time::timeout(SOON * slowness(), self.wire.ended()).await {
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
        let request = self.signed(request, 0);
        let stays = !matches!(end, End::Close | End::Reset);
        match self.wire {
            Wire::Http1(mut client) => {
                let mut bytes = bytes_of(&request);
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
                if stays {
                    let _ = tokio::time::timeout(MOMENT * slowness(), client.try_request(request)).await;
                }
                client.abort();
            }
            Wire::Http3(client) => {
                if stays {
                    // It leaves without a word about the stream: NGINX 1.30 takes seconds to quit after a stream that was reset
                    // just before its connection ended.
                    let leave = async {
                        // Where within the exchange it leaves is left to chance, as over HTTP/1.1.
                        tokio::time::sleep(MOMENT * slowness()).await;
                        client.leave();
                    };
                    let _ = tokio::join!(client.try_request(request), leave);
                }
            }
        }
    }

    // Parts that the steps have in common.

    /// A target that no other request has.
    fn target(&mut self, ask: &Ask) -> String {
        self.sent += 1;
        ask.target(&format!("{}.{}", self.life.name, self.sent))
    }

    fn request(&self, ask: &Ask, target: &str) -> Request {
        let mut request = match ask.body {
            Sending::Nothing => Request::get(target),
            Sending::Chunked(n) => Request::new("POST", target).chunked(body(target, n), 3000),
            Sending::Sized(n) | Sending::Slowly(n, _) => Request::post(target, body(target, n)),
        };
        if let Some(odd) = ask.odd {
            request = request.header(ask.door.field(), odd);
        }
        self.signed(request, ask.who)
    }

    /// The request with all that says whose it is.
    fn signed(&self, request: Request, who: usize) -> Request {
        let request = request.header("X-Client", &x_client(&self.life.name, who));
        match self.life.told_apart_by(&self.world.config, who) {
            Some((field, value)) => request.header(field, &value),
            None => request,
        }
    }

    fn look(&self, ask: &Ask, target: &str, response: &Response) -> Answer {
        let World { config, judge, .. } = self.world;
        let users = self.users.get(&ask.who);
        judge.response(config, &x_client(&self.life.name, ask.who), users, ask, target, response)
    }

    /// Where nothing can end a login, it is in force.
    fn must_hold(&self, ask: &Ask, target: &str, answer: &Answer) {
        if !self.world.config.logins_hold() || self.life.stranger || ask.cached || !ask.harmless {
            return;
        }
        let Some((user, bound)) = self.holds.get(&(ask.who, ask.group)) else { return };
        let held = matches!(
            answer,
            Answer::Origin { status, identity, connection } if !refuses(*status) && identity == user && connection == bound
        );
        if !held {
            let what = format!("{target} should have been served as {user} over {bound}, but: {answer:?}");
            self.world.judge.find("holding", what, Some(&self.life.name), Some(*bound));
        }
    }

    /// Forgets a login that may have ended with an answer.
    fn remember(&mut self, ask: &Ask, answer: &Answer) {
        let place = (ask.who, ask.group);
        let held = self.holds.get(&place).is_some_and(|(user, bound)| {
            matches!(answer, Answer::Origin { identity, connection, .. } if identity == user && connection == bound)
        });
        if (!held && !ask.cached) || !ask.harmless {
            self.holds.remove(&place);
        }
        if ask.odd.is_some() && !ask.harmless {
            self.begun.insert((ask.who, ask.group));
            self.checked(ask);
        }
    }

    /// A request without a response; the connection goes on if nginx turned a stream back where it may.
    fn lost(&mut self, ask: &Ask, target: &str, lost: Lost, beside_others: bool) -> Result<(), Gone> {
        let judge = &self.world.judge;
        let client = Some(self.life.name.as_str());
        match lost {
            Lost::TurnedBack => {
                count(&judge.counts.turned_back);
                let all = !self.world.config.multiplexing && ask.group != PLAIN;
                // By `proxy_ntlm` both are one group to nginx.
                let by_check = ask.checked_by().is_some_and(|group| self.has_begun(group));
                let may = all || beside_others || self.has_begun(ask.group) || by_check;
                if !may || !ask.body.is_empty() {
                    judge.find("answers", format!("{target} was turned back"), client, None);
                }
                Ok(())
            }
            Lost::Gone(error) => {
                self.wire.reset();
                count(&judge.counts.unanswered);
                let config = &self.world.config;
                let held =
                    self.holds.values().next().filter(|_| config.crowd.is_some() && !self.life.stranger);
                if config.is_strict() {
                    judge.find("answers", format!("no answer to {target}: {error}"), client, None);
                } else if let Some((user, bound)) = held {
                    let what = format!("{target} was not answered as the login of {user} ended: {error}");
                    judge.find("holding", what, client, Some(*bound));
                }
                Err(Gone)
            }
        }
    }
}

/// The response as a login reads it: with 407 for 401.
fn www(response: &Response) -> Response {
    let mut response = response.clone();
    if response.status == 407 {
        response.status = 401;
        for (name, _) in &mut response.headers {
            if name.eq_ignore_ascii_case("Proxy-Authenticate") {
                *name = "WWW-Authenticate".to_owned();
            }
        }
    }
    response
}

/// Whether the connection goes on after a response.
fn after(response: &Response) -> Result<(), Gone> {
    if response.says_close() { Err(Gone) } else { Ok(()) }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
