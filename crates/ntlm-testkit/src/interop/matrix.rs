//! The matrix: each client at each site, straight and by every way through nginx, and what differs.
//!
//! It must never call a run right that differs from the one straight to the server.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use super::clients::{Client, Job, Said};
use super::front::{Fronts, Way, protocols};
use super::servers::{Site, Wire};
use super::until;
use super::world::World;

/// A session that was played.
#[derive(Debug)]
pub struct Run {
    said: Said,
    /// The requests as the servers saw them.
    wire: Vec<Wire>,
    /// How many connections the client opened.
    connections: usize,
    /// The most answers 401 on one of them.
    refused_on_one: usize,
    /// The protocols that the client spoke.
    protocols: BTreeSet<String>,
}

/// Where a session is played.
#[derive(Debug)]
pub struct Stage<'a> {
    /// The world.
    pub world: &'a World,
    /// Python and Node packages.
    pub tools: &'a Path,
    /// nginx.
    pub fronts: &'a Fronts,
}

impl Stage<'_> {
    /// Plays `client`'s session as `user`, straight to the site or by a way through nginx.
    pub async fn play(&self, client: &Client, site: &Site, user: &str, way: Result<Way, bool>) -> Run {
        let base = match way {
            Ok(way) => self.fronts.base(site, way),
            Err(tls) => {
                let (scheme, address) = if tls { ("https", &site.tls[0]) } else { ("http", &site.plain[0]) };
                let port = address.rsplit(':').next().unwrap_or_default();
                format!("{scheme}://{}:{port}", site.host)
            }
        };
        site.forget();
        let offset = self.fronts.offset();
        let job = Job { world: self.world, tools: self.tools, ca: self.fronts.ca(), base, site, user };
        let said = client.play(&job).await;
        let fine = said.answers.iter().filter(|(status, _)| *status != 401).count();
        // Logs are written when the answer has been sent, and before the connection takes another request.
        let complete = until("the logs", || {
            let served = site.wire().iter().filter(|wire| wire.status != 401).count();
            let passed = self.fronts.logged(offset).iter().filter(|logged| logged.status != 401).count();
            if served >= fine && (way.is_err() || passed >= fine) {
                return Ok(());
            }
            Err(format!("{served} served and {passed} passed on, of {fine}"))
        });
        let late = complete.await.err();
        let wire = site.wire();
        let logged = self.fronts.logged(offset);
        // The client's own connections, each with how many answers 401 it had.
        let mut own = BTreeMap::<&str, usize>::new();
        match way {
            Ok(_) => {
                for request in &logged {
                    *own.entry(&request.connection).or_default() += usize::from(request.status == 401);
                }
            }
            Err(_) => {
                for request in &wire {
                    *own.entry(&request.connection).or_default() += usize::from(request.status == 401);
                }
            }
        }
        let (connections, refused_on_one) = (own.len(), own.values().copied().max().unwrap_or_default());
        let mut said = said;
        said.text.extend(late);
        let protocols = protocols(&logged);
        Run { said, wire, connections, refused_on_one, protocols }
    }
}

impl Run {
    /// Every answer is as `client` has to get it.
    fn is_right(&self, client: &Client, user: &str) -> bool {
        self.said.answers.len() == client.answers
            && self.said.answers.iter().all(|(status, name)| matches!(status, 200 | 101) && name == user)
    }

    /// How many of the requests were answered 401.
    fn refused(&self) -> usize {
        self.wire.iter().filter(|wire| wire.status == 401).count()
    }

    /// The client began with HTTP/2 and went on with HTTP/1.1.
    fn fell_back(&self) -> bool {
        self.protocols.len() > 1
    }

    fn server_connections(&self) -> usize {
        self.wire.iter().map(|wire| &wire.connection).collect::<BTreeSet<_>>().len()
    }

    /// In what this run through nginx differs from `direct`.
    fn differences(&self, direct: &Self, client: &Client, site: &Site, user: &str) -> Vec<String> {
        let mut differences = Vec::new();
        // A client that finds HTTP/2 unfit for its scheme asks again, on a new connection.
        let fallback = usize::from(self.fell_back());
        let direct_user = direct.is_right(client, user);
        if !self.is_right(client, user) && direct_user {
            differences.push(format!("it does not get its answers: {}", self.said));
        } else if self.said.answers != direct.said.answers {
            differences.push(format!("answers {:?}, not {:?}", self.said.answers, direct.said.answers));
        }
        if self.wire.iter().any(|wire| wire.user.as_deref().is_some_and(|name| name != user)) {
            differences.push(format!("somebody else was served: {:?}", self.wire));
        }
        if client.steady && self.wire.len() > direct.wire.len() + fallback {
            differences.push(format!("{} requests, not {}", self.wire.len(), direct.wire.len()));
        }
        // A request without credentials that is not refused is served as somebody who logged in before.
        let expected = direct.refused()..=direct.refused() + fallback;
        if client.steady && !expected.contains(&self.refused()) {
            differences.push(format!("{} answers 401, not {}", self.refused(), direct.refused()));
        }
        // Where each request has to log in, more requests mean more answers 401.
        if site.bound && client.reuses && self.refused_on_one > direct.refused_on_one {
            let (more, usual) = (self.refused_on_one, direct.refused_on_one);
            differences.push(format!("{more} answers 401 on one connection, not {usual}"));
        }
        if client.steady && client.reuses && self.connections > direct.connections + fallback {
            differences.push(format!("{} connections, not {}", self.connections, direct.connections));
        }
        differences
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: BTreeSet<&str> = self.said.answers.iter().map(|(_, user)| user.as_str()).collect();
        let users: Vec<&str> = users.into_iter().collect();
        write!(
            f,
            "{:10} {:3} answers {:3} requests {:2} × 401, {} → {} connections",
            users.join("+"),
            self.said.answers.len(),
            self.wire.len(),
            self.refused(),
            self.connections,
            self.server_connections(),
        )?;
        for protocol in &self.protocols {
            write!(f, " {protocol}")?;
        }
        Ok(())
    }
}

/// Plays and prints it all; how many sessions were played, and every difference.
pub async fn run(
    stage: &Stage<'_>,
    sites: &[&Site],
    clients: &[Client],
    ways: &[Way],
) -> (usize, Vec<String>) {
    let mut findings = Vec::new();
    let mut played = 0;
    let mut users = super::USERS.iter().cycle();
    for site in sites {
        for client in clients.iter().filter(|client| client.suits(site)) {
            let Some(user) = users.next() else { break };
            println!("\n{} at {}", client.name, site.name);
            let mut direct = BTreeMap::new();
            for tls in [false, true].into_iter().filter(|tls| *tls || !client.only_tls) {
                let run = stage.play(client, site, user, Err(tls)).await;
                played += 1;
                let name = if tls { "https, straight" } else { "http, straight" };
                println!("  {name:16} {run}");
                if !run.is_right(client, user) {
                    let finding = format!("{} at {}, {name}: {}", client.name, site.name, run.said);
                    println!("    FAILS {finding}");
                    findings.push(finding);
                }
                direct.insert(tls, run);
            }
            for way in ways.iter().filter(|way| way.is_https() || !client.only_tls) {
                let run = stage.play(client, site, user, Ok(*way)).await;
                played += 1;
                let name = way.to_string();
                println!("  {name:16} {run}");
                for difference in run.differences(&direct[&way.is_https()], client, site, user) {
                    println!("    DIFFERS {difference}");
                    findings.push(format!("{} at {}, {name}: {difference}", client.name, site.name));
                }
            }
        }
    }
    (played, findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::clients;

    /// A run of curl: a leg that is refused, then its four answers, as `user`.
    fn run(user: &str) -> Run {
        let statuses = [401, 200, 200, 200, 200];
        let wire = statuses.map(|status| Wire {
            connection: "1".to_owned(),
            status,
            user: (status == 200).then(|| user.to_owned()),
            target: None,
        });
        let answers = vec![(200, user.to_owned()); 4];
        Run {
            said: Said { answers, text: String::new() },
            wire: wire.to_vec(),
            connections: 1,
            refused_on_one: 1,
            protocols: BTreeSet::from(["HTTP/1.1".to_owned()]),
        }
    }

    #[tokio::test]
    async fn each_difference_is_one() {
        let client = clients::all()[0];
        let site = Site::domain().await;
        let differences =
            |run: Run| run.differences(&super::tests::run("alice"), &client, &site, "alice").len();
        assert_eq!(differences(run("alice")), 0);
        assert!(differences(run("bob")) > 0);
        let with = |change: fn(&mut Run)| {
            let mut run = run("alice");
            change(&mut run);
            differences(run)
        };
        assert_eq!(with(|run| run.said.answers[2].0 = 500), 1);
        assert_eq!(with(|run| drop(run.said.answers.pop())), 1);
        assert_eq!(with(|run| run.wire[3].user = Some("bob".to_owned())), 1);
        assert_eq!(with(|run| run.wire.push(run.wire[4].clone())), 1);
        assert_eq!(with(|run| run.wire[1].status = 401), 1);
        assert_eq!(with(|run| run.wire[0].status = 200), 1);
        assert_eq!(with(|run| run.connections = 2), 1);
        assert_eq!(with(|run| run.refused_on_one = 2), 1);
        // A client that goes back to HTTP/1.1 asks once more.
        let fallback = |run: &mut Run| {
            run.protocols.insert("HTTP/2.0".to_owned());
            run.wire.push(run.wire[0].clone());
            run.connections = 2;
        };
        assert_eq!(with(fallback), 0);
    }
}
