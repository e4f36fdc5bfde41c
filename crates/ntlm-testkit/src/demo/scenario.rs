//! The requests of every run: Alice logs in and works, Bob comes by without a password, then logs in himself.
//!
//! It must never act on what it expects: the login goes on from what the last answer said.

use std::io;

use super::login;
use super::screen::Screen;
use crate::client::Target;
use crate::{Client, Request, Response, password_of};

/// The statuses of a login and two more requests on one connection, where nothing is in the way.
pub(super) const LOGIN: [u16; 5] = [401, 401, 200, 200, 200];

/// One request, who it should have been served as, and what was observed.
#[derive(Clone, Debug)]
pub(super) struct Step {
    who: &'static str,
    request: &'static str,
    /// The user; `None` if the answer should be a 401.
    expected: Option<&'static str>,
    seen: Result<Seen, String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    /// The server's connection; `None` if nginx answered by itself.
    pub(super) connection: Option<u64>,
    /// Whom the server took the client for.
    user: Option<String>,
}

/// All of them.
#[derive(Clone, Debug)]
pub(super) struct Run(Vec<Step>);

/// One person at one client connection.
struct Person {
    name: &'static str,
    client: io::Result<Client>,
}

impl Person {
    async fn at(target: &impl Target, name: &'static str) -> Self {
        Self { name, client: Client::builder().try_connect(target).await }
    }

    /// Asks for `path`, with `credentials` if there are any.
    async fn ask(&mut self, path: &str, credentials: Option<&str>) -> Result<Response, String> {
        let client = self.client.as_mut().map_err(|error| error.to_string())?;
        let mut request = Request::get(path);
        if let Some(value) = credentials {
            request = request.header("Authorization", value);
        }
        client.try_request(request).await.map_err(|error| error.to_string())
    }

    /// The two requests of a login.
    async fn log_in(&mut self, path: &str) -> [Result<Response, String>; 2] {
        let first = self.ask(path, Some(&login::first())).await;
        let password = password_of(self.name);
        let reply = first.as_ref().ok().and_then(|response| login::answer(response, self.name, &password));
        let second = match reply {
            Some(value) => self.ask(path, Some(&value)).await,
            None => Err("there was no challenge".to_owned()),
        };
        [first, second]
    }

    fn step(
        &self,
        request: &'static str,
        expected: Option<&'static str>,
        answer: Result<Response, String>,
    ) -> Step {
        Step { who: self.name, request, expected, seen: answer.map(|answer| Seen::from(&answer)) }
    }
}

impl From<&Response> for Seen {
    fn from(response: &Response) -> Self {
        Self {
            status: response.status,
            connection: response.get("X-Connection").and_then(|id| id.parse().ok()),
            user: response.get("X-Identity").filter(|&user| user != "anonymous").map(str::to_owned),
        }
    }
}

/// Plays it.
pub(super) async fn play(target: impl Target) -> Run {
    let mut steps = Vec::new();
    let mut alice = Person::at(&target, "alice").await;
    let answer = alice.ask("/mail", None).await;
    steps.push(alice.step("GET /mail    no password", None, answer));
    let [first, second] = alice.log_in("/mail").await;
    steps.push(alice.step("GET /mail    asks for a challenge", None, first));
    steps.push(alice.step("GET /mail    answers the challenge", Some("alice"), second));
    let answer = alice.ask("/mail/1", None).await;
    steps.push(alice.step("GET /mail/1", Some("alice"), answer));
    let answer = alice.ask("/mail/2", None).await;
    steps.push(alice.step("GET /mail/2", Some("alice"), answer));

    let mut bob = Person::at(&target, "bob").await;
    let answer = bob.ask("/mail", None).await;
    steps.push(bob.step("GET /mail    no password", None, answer));
    let [_, last] = bob.log_in("/mail").await;
    steps.push(bob.step("GET /mail    logs in (2 requests)", Some("bob"), last));
    let answer = alice.ask("/mail/3", None).await;
    steps.push(alice.step("GET /mail/3", Some("alice"), answer));
    Run(steps)
}

impl Step {
    fn is_right(&self) -> bool {
        let Ok(seen) = &self.seen else { return false };
        match self.expected {
            Some(user) => seen.status == 200 && seen.user.as_deref() == Some(user),
            None => seen.status == 401 && seen.user.is_none(),
        }
    }

    /// The fault of the step in a few words; empty if it is right.
    fn remark(&self) -> String {
        match (&self.seen, self.expected) {
            _ if self.is_right() => String::new(),
            (Err(error), _) => format!("<- no answer: {error}"),
            (Ok(Seen { user: Some(user), .. }), _) => format!("<- {user}'s mail"),
            (Ok(Seen { connection: None, .. }), _) => "<- nginx answered by itself".to_owned(),
            (Ok(_), Some(_)) => "<- turned away".to_owned(),
            (Ok(_), None) => "<- served without a password".to_owned(),
        }
    }
}

impl Run {
    /// One line for each request.
    pub(super) fn print(&self, screen: Screen) {
        let heading =
            format!("  {:<6} {:<35} {:<7} {:<11} {}", "who", "request", "answer", "connection", "served as");
        println!("{}", screen.dim(&heading));
        for step in &self.0 {
            let (status, connection, user) = match &step.seen {
                Ok(seen) => (
                    seen.status.to_string(),
                    seen.connection.map_or("-".to_owned(), |id| format!("#{id}")),
                    seen.user.clone().unwrap_or_else(|| "nobody".to_owned()),
                ),
                Err(_) => ("-".to_owned(), "-".to_owned(), "-".to_owned()),
            };
            let status = format!("{status:<7}");
            let status = match step.is_right() {
                true if step.expected.is_some() => screen.good(&status),
                true => status,
                false => screen.bad(&status),
            };
            let remark = step.remark();
            let user = if remark.is_empty() { user } else { format!("{user:<9} {}", screen.bad(&remark)) };
            println!("  {:<6} {:<35} {status} {connection:<11} {user}", step.who, step.request);
        }
    }

    /// The statuses of Alice's login and her next two requests; 0 where there was no answer.
    pub(super) fn login(&self) -> Vec<u16> {
        self.0.iter().take(LOGIN.len()).map(|step| step.seen.as_ref().map_or(0, |seen| seen.status)).collect()
    }

    /// Whether each request was served as who sent it.
    pub(super) fn is_right(&self) -> bool {
        self.0.iter().all(Step::is_right)
    }

    /// The one connection of Alice's login and of all she asked for afterwards, if it was one.
    pub(super) fn alices_connection(&self) -> Option<u64> {
        let mut of_alice = self.0.iter().filter(|step| step.who == "alice").skip(1).map(Step::connection);
        let first = of_alice.next()??;
        of_alice.all(|connection| connection == Some(first)).then_some(first)
    }

    /// Whether Bob was ever served over `connection`.
    pub(super) fn bob_was_on(&self, connection: u64) -> bool {
        self.0.iter().any(|step| step.who == "bob" && step.connection() == Some(connection))
    }

    /// Whether Alice got in.
    pub(super) fn alice_got_in(&self) -> bool {
        self.login().get(2) == Some(&200)
    }

    /// Whether the answer to Alice's challenge went over another connection than the challenge came from.
    pub(super) fn challenge_was_elsewhere(&self) -> bool {
        matches!(&self.0[..], [_, asked, answered, ..] if asked.connection() != answered.connection())
    }

    /// Requests that were served as a user who had not sent them.
    pub(super) fn leaks(&self) -> usize {
        let leaked = |step: &&Step| {
            let user = step.seen.as_ref().ok().and_then(|seen| seen.user.as_deref());
            user.is_some() && user != step.expected
        };
        self.0.iter().filter(leaked).count()
    }
}

impl Step {
    fn connection(&self) -> Option<u64> {
        self.seen.as_ref().ok().and_then(|seen| seen.connection)
    }
}

/// "401 401 200"; "-" for 0, which is no answer.
pub(super) fn words(statuses: &[u16]) -> String {
    let word = |&status: &u16| if status == 0 { "-".to_owned() } else { status.to_string() };
    statuses.iter().map(word).collect::<Vec<_>>().join(" ")
}
