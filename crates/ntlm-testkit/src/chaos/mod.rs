//! Chaos: a real nginx, origins that misbehave, and dozens of clients whose every answer is checked.
//!
//! A seed decides everything that is decided: configuration, lives, faults. It does not decide which event comes first;
//! so a seed that found something is run again until it does again. What is checked stands in `checks`. It must never
//! retry what failed, nor excuse it.

mod ask;
mod checks;
mod client;
mod config;
mod crowd;
mod faults;
mod ledger;
mod life;
mod report;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;

pub use self::checks::Finding;
pub use self::report::smallest;

use self::checks::Judge;
use self::client::World;
use self::config::Config;
use self::ledger::taints;
use self::life::Life;
use self::wire::Doors;
use crate::client::Target as _;
use crate::dns::Dns;
use crate::origin::Entry;
use crate::{Nginx, Origin, patience};

/// The line that nginx logs when a worker has no connection left, as some seeds intend.
const SHORTAGE: &str = "worker_connections are not enough";

/// How much one seed is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Clients at a time.
    pub clients: usize,
    /// The most client connections one after the other in the place of each.
    pub lives: usize,
    /// No client connection is begun when so many responses were checked.
    pub responses: u64,
}

impl Default for Size {
    fn default() -> Self {
        Self { clients: 32, lives: usize::MAX, responses: 3_000 }
    }
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// Its size.
    pub size: Size,
    /// Its configuration, in words.
    pub config: String,
    /// Responses checked.
    pub responses: u64,
    /// Client connections.
    pub lives: u64,
    /// Whole logins begun with the right password, and those that succeeded.
    pub logins: (u64, u64),
    /// Requests that nginx answered itself, and requests without an answer.
    pub failed: (u64, u64),
    /// Streams that nginx wanted over HTTP/1.1.
    pub turned_back: u64,
    /// Client connections that were seen to end with their binding.
    pub mirrored: u64,
    /// How often a worker had no connection left.
    pub shortages: usize,
    /// How long it took.
    pub time: Duration,
    /// The violations that the checks found; empty if all is well.
    pub findings: Vec<Finding>,
    /// All that the run knows of the first finding.
    pub details: String,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            responses,
            lives,
            logins,
            failed,
            turned_back,
            mirrored,
            shortages,
            time,
            config,
            ..
        } = self;
        let rate = *responses as f64 / time.as_secs_f64().max(0.001);
        write!(
            f,
            "seed {seed}: {responses} responses ({rate:.0}/s), {lives} clients, {} of {} logins, {} refused, \
             {} unanswered, {turned_back} turned back, {mirrored} ended with their binding, {shortages} shortages; {config}",
            logins.1, logins.0, failed.0, failed.1
        )
    }
}

/// Runs one seed.
pub async fn run(seed: u64, size: Size) -> Outcome {
    let begun = Instant::now();
    let config = Config::draw(seed, Nginx::binary().has("http_v3"));
    // Many bindings are to end at the same moment.
    let slots = if config.mass { 4 * size.clients } else { size.clients };
    let mut origins = Vec::new();
    for number in 0..config.origins {
        let origin = Origin::builder().name(&format!("origin{number}"));
        let origin = if config.origin_tls.is_some() { origin.tls() } else { origin };
        origins.push(origin.start().await);
    }
    let addresses: Vec<String> = origins.iter().map(Origin::address).collect();
    let dns = Dns::start().await;
    let nginx = Nginx::builder()
        .conf(&config.http(&addresses, &dns.address(), Nginx::binary().version()))
        .workers(config.workers)
        .worker_connections(config.worker_connections(slots))
        .log_level("notice")
        .allow_log(SHORTAGE)
        .start()
        .await;
    let (http1, http2, tls) = (nginx.endpoint(), nginx.at("h2"), nginx.at("tls"));
    let doors = Doors { http1, http2, tls, quic: config.http3.then(|| nginx.at("quic")) };
    let world = Arc::new(World { config, judge: Judge::default(), doors });
    let (nginx, origins) = (Arc::new(nginx), Arc::new(origins));

    let (end, over) = watch::channel(false);
    let faults = tokio::spawn(faults::bring(world.clone(), nginx.clone(), origins.clone(), over));
    let slots: Vec<_> = (0..slots).map(|slot| tokio::spawn(occupy(world.clone(), slot, size))).collect();
    for slot in slots {
        if let Err(error) = slot.await {
            world.judge.find("patience", said(error), None, None);
        }
    }
    end.send_replace(true);
    let workers = faults.await.map_err(|error| world.judge.find("patience", said(error), None, None));
    if let Ok(workers) = workers {
        let mut now = nginx.worker_pids();
        now.sort_unstable();
        if now != workers {
            let what = format!("the workers were {workers:?} and are {now:?}, without a reload");
            world.judge.find("workers", what, None, None);
        }
    }

    let ledger: Vec<Entry> = origins.iter().flat_map(Origin::ledger).collect();
    world.judge.ledger(&ledger);
    world.judge.logins(&world.config);
    if !world.judge.is_over() {
        all_ended(&world.judge, &ledger, &origins).await;
    }
    // nginx logs a request after its answer: the ledgers read next have every logged request.
    let access_log = nginx.access_log();
    let answered: Vec<Entry> = origins.iter().flat_map(Origin::ledger).collect();
    world.judge.names(&answered, &access_log);
    let log = nginx.error_log();
    if let Some(nginx) = Arc::into_inner(nginx)
        && let Err(error) = tokio::spawn(nginx.stop()).await
    {
        world.judge.find("error log", said(error), None, None);
    }
    for origin in origins.iter() {
        let begun = Instant::now();
        while origin.open_connections() > 0 {
            if begun.elapsed() > patience() {
                let what =
                    format!("{} connections of {} outlive nginx", origin.open_connections(), origin.name());
                world.judge.find("leaks", what, None, None);
                break;
            }
            crate::pause().await;
        }
    }

    let counts = &world.judge.counts;
    let findings = world.judge.findings();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    Outcome {
        seed,
        size,
        config: world.config.to_string(),
        responses: read(&counts.responses),
        lives: read(&counts.lives),
        logins: (read(&counts.logins), read(&counts.logged_in)),
        failed: (read(&counts.refused), read(&counts.unanswered)),
        turned_back: read(&counts.turned_back),
        mirrored: read(&counts.mirrored),
        shortages: log.matches(SHORTAGE).count(),
        time: begun.elapsed(),
        details: report::details(&world, &findings, &ledger, &log),
        findings,
    }
}

/// One client after the other in one place: each connects at the instant its predecessor has left.
async fn occupy(world: Arc<World>, slot: usize, size: Size) {
    for number in 0..size.lives {
        if world.judge.is_over() || world.judge.counts.responses.load(Ordering::Relaxed) >= size.responses {
            return;
        }
        let life = draw(&world.config, slot, number);
        client::live(&world, &life).await;
    }
}

/// The life number `number` of slot `slot`.
fn draw(config: &Config, slot: usize, number: usize) -> Life {
    let stream = config.seed ^ (slot as u64) << 40 ^ (number as u64) << 16;
    let mut rng = Rng::with_seed(stream.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let name = format!("s{slot}-{number}");
    match config.crowd {
        Some(kind) => crowd::draw(config, kind, slot, name, &mut rng),
        None => Life::draw(config, slot, name, &mut rng),
    }
}

/// All clients have left: so must every connection that one of them tainted.
async fn all_ended(judge: &Judge, ledger: &[Entry], origins: &[Origin]) {
    let tainted: std::collections::HashSet<u64> =
        ledger.iter().filter(|entry| taints(entry)).map(|entry| entry.connection).collect();
    let begun = Instant::now();
    loop {
        let left: Vec<u64> = origins
            .iter()
            .flat_map(Origin::connection_ids_open)
            .filter(|connection| tainted.contains(connection))
            .collect();
        let Some(&one) = left.first() else { return };
        if begun.elapsed() > patience() / 2 {
            let what = format!("{} authenticated connections outlive their clients", left.len());
            judge.find("leaks", what, None, Some(one));
            return;
        }
        crate::pause().await;
    }
}

/// The message of a task that panicked.
fn said(error: tokio::task::JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "a task was cancelled".to_owned() };
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("a panic without words");
    text.chars().take(6000).collect()
}
