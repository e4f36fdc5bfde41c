//! The effect of floods and long runs on a worker: one table, and exit status 1 if a user was logged out or something grew.
//! `cargo xtask flood` runs it; it finds nginx and the module where the suite does.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use ntlm_testkit::flood::h2load::H2load;
use ntlm_testkit::flood::streams::{self, Streams};
use ntlm_testkit::flood::{
    Flood, Junk, Usage, Users, active_clients, bind_and_close, expire_together, front, settled,
};
use ntlm_testkit::{Nginx, Origin};

const USERS: usize = 20;
/// A run is looked at after each part. The first ones warm it up: by then the heap has had its widest moments.
const PARTS: usize = 5;
const WARM: usize = 3;
/// Memory that may come after the warm-up, in KiB: the heap's fragments, whatever the count is.
const SLACK: usize = 4096;

/// Floods a worker with forged logins, and makes and ends bindings.
#[derive(Debug, Parser)]
#[command(name = "ntlm-flood", about = "Floods a worker; a number of 0 leaves a part out")]
struct Arguments {
    /// Forged first legs beside 20 users that are logged in; a tenth as many with tokens of 64 KiB.
    #[arg(long, default_value_t = 100_000)]
    legs: usize,
    /// Bindings to make and end.
    #[arg(long, default_value_t = 20_000)]
    cycles: usize,
    /// Bindings to have time out in one moment.
    #[arg(long, default_value_t = 4000)]
    expiring: usize,
    /// Streams of HTTP/2, a third of them turned back.
    #[arg(long, default_value_t = 100_000)]
    streams: usize,
    /// Streams of HTTP/2 that h2load sends without logins, a third of them turned back.
    #[arg(long, default_value_t = 100_000)]
    h2load: usize,
    /// A tool such as AddressSanitizer watches the worker and uses memory itself: do not judge streams by the worker's memory.
    #[arg(long)]
    watched: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (major, minor, patch) = Nginx::binary().version();
    println!("NGINX {major}.{minor}.{patch}; memory of the worker in KiB\n");
    println!(
        "{:24} {:>8} {:>7} {:>9} {:>35} {:>6} {:>12} {:>8}",
        "", "count", "seconds", "users in", "memory after each fifth", "peak", "descriptors", "clients"
    );
    let mut good = true;
    if arguments.legs > 0 {
        good &= flood("forged first legs", Flood::of_first_legs(arguments.legs, 300)).await;
        good &= flood("tokens of 64 KiB", Flood::of_junk(arguments.legs / 10, 100)).await;
    }
    if arguments.cycles > 0 {
        good &= cycles(arguments.cycles).await;
    }
    println!();
    if arguments.legs > 0 {
        good &= junk().await;
    }
    if arguments.expiring > 0 {
        good &= expiry(arguments.expiring).await;
    }
    if arguments.streams > 0 {
        good &= streams(arguments.streams, arguments.watched).await;
    }
    if arguments.h2load > 0 {
        good &= h2load(arguments.h2load, arguments.watched).await;
    }
    println!("\n{}", if good { "nobody was logged out, nothing grew" } else { "FAILED" });
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A flood beside users who are asked all the while.
async fn flood(name: &str, flood: Flood) -> bool {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 4096).await;
    let mut users = Users::log_in(&nginx, USERS).await;
    let before = Usage::of(&nginx).descriptors;
    let mut least = USERS;
    let start = Instant::now();
    let legs = flood.legs;
    let part = Flood { legs: legs / PARTS, ..flood };
    let mut usages = Vec::new();
    for _ in 0..PARTS {
        part.clone().send(&nginx, async || least = least.min(users.still_in().await)).await;
        least = least.min(users.still_in().await);
        usages.push(settled(&origin, &nginx, USERS, before).await);
    }
    let clients = active_clients(&nginx).await;
    let good = row(name, legs, start, Some(least), &usages, clients) && least == USERS && clients == USERS;
    drop(users);
    settled(&origin, &nginx, 0, before - 2 * USERS).await;
    nginx.stop().await;
    good
}

async fn cycles(count: usize) -> bool {
    let origin = Origin::start().await;
    // Few enough that a lost slot would soon be missed.
    let nginx = front(&origin, "ntlm 100;", 128).await;
    let before = Usage::of(&nginx).descriptors;
    let start = Instant::now();
    let mut usages = Vec::new();
    for _ in 0..PARTS {
        if let Err(error) = bind_and_close(&nginx, count / PARTS, 16).await {
            println!("bindings made and ended: {error}");
            return false;
        }
        usages.push(settled(&origin, &nginx, 0, before).await);
    }
    let clients = active_clients(&nginx).await;
    let good = row("bindings made and ended", count, start, None, &usages, clients);
    nginx.stop().await;
    good && clients == 0
}

/// Junk to pages that refuse it, ignore it or are not there, from one address and from many, beside users at addresses of their own.
async fn junk() -> bool {
    let origin = Origin::start().await;
    let nginx = front(&origin, "ntlm 100;", 8192).await;
    let mut good = true;
    for (addresses, connections) in [(1, 1000), (200, 5)] {
        for target in ["/", "/public/?ignore", "/missing?ignore&status=404"] {
            for credentials in ["NTLM x", "Negotiate x"] {
                let (target, credentials) = (target.to_owned(), credentials.to_owned());
                let mut users = Users::log_in_apart(&nginx, USERS).await;
                let junk = Junk { target, credentials, addresses, connections };
                let held = junk.send(&nginx).await;
                let users = users.still_in().await;
                println!(
                    "\"{}\" to {} from {addresses} addresses, {connections} connections each: {users} of {USERS} users in",
                    junk.credentials, junk.target
                );
                good &= users == USERS;
                drop(held);
            }
        }
    }
    nginx.stop().await;
    good
}

/// Bindings that time out in one moment, beside requests that have nothing to do with them.
async fn expiry(count: usize) -> bool {
    const TIMEOUT: Duration = Duration::from_secs(20);
    /// The most that a request may be delayed.
    const LONGER: Duration = Duration::from_millis(5);
    let origin = Origin::start().await;
    let lines = format!("ntlm {count}; ntlm_timeout {}s;", TIMEOUT.as_secs());
    let nginx = front(&origin, &lines, 4 * count).await;
    let [before, meanwhile] = expire_together(&origin, &nginx, count, TIMEOUT).await;
    println!(
        "{count} bindings that time out together: a request waits {before:.1?} at most before, {meanwhile:.1?} meanwhile"
    );
    nginx.stop().await;
    meanwhile <= before + LONGER
}

/// Streams at once, over connections that are logged in.
async fn streams(count: usize, watched: bool) -> bool {
    let each = Streams { connections: 50, at_once: 100, rounds: (count / 5000 / PARTS).max(1) };
    let origin = Arc::new(Origin::start().await);
    let nginx = streams::front(&origin, "ntlm;", 16_384).await;
    let mut clients = each.log_in(&nginx).await;
    let (start, before) = (Instant::now(), Usage::of(&nginx).descriptors);
    let (mut usages, mut turned_back) = (Vec::new(), 0);
    for _ in 0..PARTS {
        match each.send(&origin, &mut clients).await {
            Ok(more) => turned_back += more,
            Err(error) => {
                println!("streams of HTTP/2: {error}");
                return false;
            }
        }
        usages.push(settled(&origin, &nginx, each.connections, before).await);
    }
    let clients_left = active_clients(&nginx).await;
    let sent = PARTS * each.rounds * each.connections * each.at_once;
    let good = row("streams of HTTP/2", sent, start, None, &usages, clients_left) || watched;
    println!("{turned_back} of them turned back");
    drop(clients);
    settled(&origin, &nginx, 0, before).await;
    nginx.stop().await;
    good && 3 * turned_back > sent - sent / 20
}

/// Streams of h2load at once, over connections without a login.
async fn h2load(count: usize, watched: bool) -> bool {
    let each = H2load { connections: 50, at_once: 100, each: (count / 50 / PARTS / 3).max(1) * 3 };
    let origin = Origin::start().await;
    let nginx = H2load::front(&origin, 16_384).await;
    if watched {
        // A worker that is slow to begin opens the last of its own descriptors before it answers.
        active_clients(&nginx).await;
    }
    let (start, before) = (Instant::now(), Usage::of(&nginx).descriptors);
    let mut usages = Vec::new();
    for _ in 0..PARTS {
        if let Err(error) = each.send(&origin, &nginx).await {
            println!("streams of h2load: {error}");
            return false;
        }
        usages.push(settled(&origin, &nginx, 0, before).await);
    }
    let clients = active_clients(&nginx).await;
    let good = row("streams of h2load", PARTS * each.streams(), start, None, &usages, clients) || watched;
    nginx.stop().await;
    good && clients == 0
}

fn row(
    name: &str,
    count: usize,
    start: Instant,
    users: Option<usize>,
    usages: &[Usage],
    clients: usize,
) -> bool {
    let (Some(warm), Some(end)) = (usages.get(WARM - 1), usages.last()) else { return false };
    let memory: Vec<String> = usages.iter().map(|usage| usage.rss.to_string()).collect();
    println!(
        "{name:24} {count:>8} {:>7.1} {:>9} {:>35} {:>6} {:>12} {clients:>8}",
        start.elapsed().as_secs_f64(),
        users.map_or("-".to_owned(), |users| format!("{users} of {USERS}")),
        memory.join(" "),
        end.peak,
        format!("{} -> {}", warm.descriptors, end.descriptors),
    );
    end.rss <= warm.rss + SLACK && end.descriptors == warm.descriptors
}
