//! Requests at once and one after the other over HTTP/2: each client straight to the site over TLS, then through nginx with
//! HTTP/2. No server speaks HTTP/2 with NTLM, so that straight is HTTP/1.1.
//!
//! Must never call an upload whole by its length alone: the site's hash of what arrived decides.

mod clients;

use std::collections::BTreeMap;
use std::fmt;

use tokio::process::Command;

use self::clients::{CLIENTS, Client};
use super::LIMIT;
use super::clients::Job;
use super::front::{Front, Way};
use super::matrix::Stage;
use super::servers::Site;
use super::until;
use crate::origin::{body_hash, name_of};

/// The most connections that a browser opens to a site over HTTP/1.1.
const BROWSER_CONNECTIONS: usize = 6;

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A GET.
    None,
    /// A POST that tells its length.
    Post(usize),
    /// A PUT of a file.
    File(usize),
    /// A PUT whose body comes out of a pipe, so that its length is unknown beforehand.
    Pipe(usize),
}

/// The requests of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The body that each of them sends.
    pub body: Body,
    /// How many.
    pub count: usize,
    /// They begin together; else each waits for the answer of the one before.
    pub at_once: bool,
}

/// All sessions; a client leaves out what it cannot do.
const LOADS: &[Load] = &[
    at_once(12, Body::None),
    at_once(12, Body::Post(0)),
    at_once(12, Body::Post(100_000)),
    at_once(6, Body::Post(3_000_000)),
    at_once(6, Body::File(3_000_000)),
    at_once(6, Body::Pipe(100_000)),
    in_a_row(12, Body::None),
    in_a_row(3, Body::Post(0)),
    in_a_row(12, Body::Post(100_000)),
    in_a_row(3, Body::Post(3_000_000)),
    in_a_row(3, Body::File(0)),
    in_a_row(3, Body::File(100_000)),
    in_a_row(3, Body::File(3_000_000)),
    in_a_row(3, Body::Pipe(0)),
    in_a_row(3, Body::Pipe(100_000)),
    in_a_row(3, Body::Pipe(3_000_000)),
];

const fn at_once(count: usize, body: Body) -> Load {
    Load { body, count, at_once: true }
}

const fn in_a_row(count: usize, body: Body) -> Load {
    Load { body, count, at_once: false }
}

impl Body {
    /// How many bytes it has.
    #[must_use]
    pub fn bytes(self) -> usize {
        match self {
            Self::None => 0,
            Self::Post(bytes) | Self::File(bytes) | Self::Pipe(bytes) => bytes,
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.body {
            Body::None => "GET",
            Body::Post(_) => "POST",
            Body::File(_) => "file",
            Body::Pipe(_) => "pipe",
        };
        write!(f, "{} {what}", self.count)?;
        if self.body != Body::None {
            write!(f, " of {} KB", self.body.bytes() / 1000)?;
        }
        write!(f, " {}", if self.at_once { "at once" } else { "in a row" })
    }
}

impl Load {
    /// The file that is sent.
    fn file(&self, job: &Job<'_>) -> std::path::PathBuf {
        let path = job.world.path().join(format!("stream-{}", self.body.bytes()));
        if !path.exists() {
            std::fs::write(&path, content(self.body.bytes())).expect("a file of the world");
        }
        path
    }

    /// The addresses that are asked for.
    fn urls(&self, job: &Job<'_>) -> Vec<String> {
        (0..self.count).map(|number| job.url(&format!("stream-{number}"))).collect()
    }
}

/// So many bytes that a part of them, or another order of them, has another hash.
fn content(bytes: usize) -> Vec<u8> {
    let bytes = u32::try_from(bytes).expect("a small file");
    (0..bytes).map(|number| (number / 7 % 251) as u8).collect()
}

/// A session that was played.
#[derive(Debug, Default)]
struct Played {
    /// Status, user, and the hash of the body that arrived.
    answers: Vec<(u16, String, String)>,
    /// How often a user would have been asked for a password.
    prompts: usize,
    /// How often the site executed each request.
    executed: BTreeMap<String, usize>,
    /// The requests that the site saw.
    requests: usize,
    refused: usize,
    /// The connections of each protocol that nginx saw.
    connections: BTreeMap<String, usize>,
    turned_back: usize,
    text: String,
}

impl Stage<'_> {
    async fn play_load(
        &self,
        client: &Client,
        load: &Load,
        site: &Site,
        user: &str,
        way: Option<Way>,
    ) -> Played {
        let base = match way {
            Some(way) => self.fronts.base(site, way),
            None => {
                let port = site.tls[0].rsplit(':').next().unwrap_or_default();
                format!("https://{}:{port}", site.host)
            }
        };
        site.forget();
        let offset = self.fronts.offset();
        let job = Job { world: self.world, tools: self.tools, ca: self.fronts.ca(), base, site, user };
        let mut played = Played::default();
        let mut command = (client.command)(&job, load);
        job.environment(client.proof, &mut command);
        played.text = said(command).await;
        for line in played.text.lines() {
            let mut words = line.split(' ');
            match (words.next(), words.next(), words.next(), words.next()) {
                (Some("ANSWER"), Some(status), user, hash) => played.answers.push((
                    status.parse().unwrap_or_default(),
                    name_of(user.unwrap_or_default()),
                    hash.unwrap_or_default().to_owned(),
                )),
                (Some("PROMPT"), ..) => played.prompts += 1,
                _ => {}
            }
        }
        // nginx and the origin may log a request of this session after the client has its answer.
        let answered = played.answers.iter().filter(|(status, ..)| *status == 200).count();
        let complete = until("the logs", || {
            let passed = self.fronts.logged(offset).iter().filter(|logged| logged.status == 200).count();
            let served = site.wire().iter().filter(|wire| wire.status == 200).count();
            let all = served >= answered && (way.is_none() || passed >= answered);
            if all { Ok(()) } else { Err(format!("{served} served and {passed} passed on, of {answered}")) }
        });
        played.text.extend(complete.await.err());
        let wire = site.wire();
        played.requests = wire.len();
        for request in wire {
            played.refused += usize::from(request.status == 401);
            // A browser asks for more than that.
            let target = request.target.filter(|target| target.contains("/stream-"));
            if let Some(target) = target.filter(|_| request.status != 401) {
                *played.executed.entry(target).or_default() += 1;
            }
        }
        let logged = self.fronts.logged(offset);
        played.turned_back = logged.iter().filter(|logged| logged.status == 421).count();
        let mut seen = std::collections::BTreeSet::new();
        for request in &logged {
            if seen.insert(&request.connection) {
                *played.connections.entry(request.protocol.clone()).or_default() += 1;
            }
        }
        played
    }
}

/// Everything that a command printed.
async fn said(mut command: Command) -> String {
    match tokio::time::timeout(LIMIT, command.output()).await {
        Ok(Ok(output)) => {
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
        }
        Ok(Err(error)) => format!("does not run: {error}"),
        Err(_) => format!("did not end within {} s", LIMIT.as_secs()),
    }
}

impl Played {
    /// How many answers were given to `user`, who sent `hash`.
    fn right(&self) -> usize {
        self.answers.iter().filter(|(status, ..)| *status == 200).count()
    }

    /// Answers to another person, or to another body.
    fn wrong(&self, load: &Load, user: &str) -> Vec<String> {
        let hash = body_hash(&content(load.body.bytes()));
        let answered = self.answers.iter().filter(|(status, ..)| *status == 200);
        answered
            .filter(|(_, name, arrived)| name != user || *arrived != hash)
            .map(|(_, name, arrived)| format!("answered to \"{name}\", with the body {arrived}, not {hash}"))
            .collect()
    }

    /// In what this differs from `straight`, so that a user could notice; `least` answers are to be right.
    fn differences(&self, straight: &Self, load: &Load, user: &str, least: usize) -> Vec<String> {
        let mut differences = Vec::new();
        if self.right() < least {
            differences.push(format!("{} answers, not {least}: {}", self.right(), self.last_words()));
        }
        differences.extend(self.wrong(load, user));
        for (target, times) in &self.executed {
            if *times > straight.executed.get(target).copied().unwrap_or(1).max(1) {
                differences.push(format!("{target} was executed {times} times"));
            }
        }
        let executed: usize = self.executed.values().sum();
        if load.body != Body::None && executed != self.right() {
            differences.push(format!("{executed} requests executed, {} answers", self.right()));
        }
        // Firefox asks once for each of the connections that it opens at once; how many it asks for together is left to chance.
        let usual = match straight.prompts {
            1.. if load.at_once => BROWSER_CONNECTIONS,
            prompts => prompts,
        };
        if self.prompts > usual && least > 0 {
            differences.push(format!("{} prompts, not {usual}", self.prompts));
        }
        differences
    }

    fn last_words(&self) -> String {
        let other = self.text.lines().filter(|line| !line.starts_with("ANSWER 200 "));
        let other: Vec<char> = other.collect::<Vec<_>>().join(" | ").chars().collect();
        other[other.len().saturating_sub(300)..].iter().collect()
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:3} answers {:3} requests {:3} × 401 {:3} turned back",
            self.right(),
            self.requests,
            self.refused,
            self.turned_back
        )?;
        for (protocol, count) in &self.connections {
            write!(f, ", {count} × {protocol}")?;
        }
        if self.prompts > 0 {
            write!(f, ", {} prompts", self.prompts)?;
        }
        Ok(())
    }
}

/// Two of the ways have everything that the others have.
fn is_played(way: &Way) -> bool {
    way.front == Front::Http2 && way.tls == (way.servers == 1)
}

/// Plays and prints it all, each session `rounds` times through nginx; how many sessions were played, and every difference.
pub async fn run(
    stage: &Stage<'_>,
    site: &Site,
    ways: &[Way],
    wanted: impl Fn(&str) -> bool,
    rounds: usize,
) -> (usize, Vec<String>) {
    let (mut played, mut findings) = (0, Vec::new());
    let mut users = super::USERS.iter().cycle();
    for client in CLIENTS {
        let Some(user) = users.next() else { break };
        for load in LOADS.iter().filter(|load| (client.takes)(load)) {
            let name = format!("{}, {load}", client.name);
            if !wanted(&name) {
                continue;
            }
            println!("\n{name}");
            let mut least = load.count;
            let mut straight = Played::default();
            if client.straight {
                straight = stage.play_load(client, load, site, user, None).await;
                println!("  straight     {straight}");
                played += 1;
                least = straight.right();
                let wrong = straight.wrong(load, user).into_iter();
                findings.extend(wrong.map(|wrong| format!("{name}, straight: {wrong}")));
            }
            if least < load.count {
                println!("    straight, too, not all are answered: {}", straight.last_words());
            }
            let known = (client.known)(load);
            if least == 0 && !known {
                findings.push(format!("{name}, straight: no answer: {}", straight.last_words()));
            }
            let least = if known { 0 } else { least };
            for way in ways.iter().filter(|way| is_played(way)) {
                for _ in 0..rounds {
                    let through = stage.play_load(client, load, site, user, Some(*way)).await;
                    played += 1;
                    println!("  {:12} {through}", way.to_string());
                    if client.own_fault.is_some_and(|words| through.text.contains(words)) {
                        println!("    not compared: the client failed by a fault of its own");
                        continue;
                    }
                    for difference in through.differences(&straight, load, user, least) {
                        println!("    DIFFERS {difference}");
                        findings.push(format!("{name}, {way}: {difference}"));
                    }
                }
            }
        }
    }
    (played, findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOAD: Load = at_once(3, Body::Post(100_000));

    /// A session of three POSTs, all of them executed once for `alice`.
    fn played() -> Played {
        let hash = body_hash(&content(100_000));
        Played {
            answers: vec![(200, "alice".to_owned(), hash); 3],
            executed: (0..3).map(|number| (format!("/session/stream-{number}"), 1)).collect(),
            ..Played::default()
        }
    }

    #[test]
    fn each_difference_is_one() {
        let with = |least: usize, change: fn(&mut Played)| {
            let mut through = played();
            change(&mut through);
            through.differences(&played(), &LOAD, "alice", least).len()
        };
        assert_eq!(with(3, |_| ()), 0);
        assert_eq!(with(3, |through| through.answers[0].1 = "bob".to_owned()), 1);
        assert_eq!(with(3, |through| through.answers[0].2 = body_hash(&content(99_999))), 1);
        assert_eq!(with(3, |through| through.prompts = 1), 1);
        // An answer that did not come, of a request that was not executed.
        let less = |through: &mut Played| {
            through.answers[0].0 = 401;
            through.executed.pop_last();
        };
        assert_eq!((with(3, less), with(2, less)), (1, 0));
        // Executed, and not answered; executed twice, and answered once.
        assert_eq!(with(2, |through| through.answers[0].0 = 0), 1);
        let twice = |through: &mut Played| through.executed = [("/session/stream-0".to_owned(), 3)].into();
        assert_eq!(with(3, twice), 1);
        // A load that is known to fail must still do no harm.
        assert_eq!(with(0, |through| *through = Played { prompts: 5, ..Played::default() }), 0);
        assert_eq!(with(0, |through| through.answers[0].1 = "bob".to_owned()), 1);
    }
}
