//! Times under load: requests that come at a steady rate over many connections, to one proxy after the other, in rounds.
//!
//! A machine that others use slows rounds down, of all subjects alike; the median of many rounds is kept. One
//! thread asks and another answers, and what both take is written down, so that a reader sees that they are not the bottleneck.

use std::collections::VecDeque;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

use crate::exchange::{Client, Login};
use crate::instructions::MIDDLE;
use crate::limit;
use crate::origin::Origin;
use crate::priority::First;
use crate::results::{Load, LoadOf, Round, median};
use crate::subject::{Proxy, Setup, Subject};

const SUBJECTS: [Subject; 4] = [Subject::KeepAlive, Subject::Bound, Subject::NoKeepAlive, Subject::HaProxy];
const CLIENTS: usize = 100;
/// Requests a second.
const RATE: u32 = 4000;
/// Requests of a round.
const REQUESTS: u32 = 2000;
const ROUNDS: usize = 41;

/// A proxy with its clients.
struct Side {
    subject: Subject,
    proxy: Proxy,
    clients: Vec<Client>,
    rounds: Vec<Round>,
}

/// Measures all subjects.
pub async fn measure(login: &Login) -> Result<Load> {
    let (legs, request) = (login.requests(), MIDDLE.request());
    let mut sides = Vec::new();
    for subject in SUBJECTS {
        let origin = Origin::start(login)?;
        let setup = Setup {
            servers: vec![origin.address()],
            connections: limit::connections()?,
            pool: CLIENTS,
            below: Vec::new(),
            tls: false,
        };
        let proxy = Proxy::start(subject, &setup).await?;
        let mut clients = Vec::new();
        for _ in 0..CLIENTS {
            let client = match subject.logs_in() {
                true => Client::log_in(proxy.address, &legs)?,
                false => Client::connect(proxy.address)?,
            };
            client.stream().set_nonblocking(true)?;
            clients.push(client);
        }
        sides.push(Side { subject, proxy, clients, rounds: Vec::new() });
    }
    let first = First::of(sides.iter().map(|side| side.proxy.pid()));
    // The first one warms up.
    for number in 0..=ROUNDS {
        let turn = number % sides.len();
        sides.rotate_left(turn);
        for side in &mut sides {
            side.proxy.idle().await?;
            let round = side.round(&request)?;
            if number > 0 {
                side.rounds.push(round);
            }
        }
        sides.rotate_right(turn);
    }
    let goes_first = first.is_some();
    drop(first);
    let mut subjects = Vec::new();
    for Side { subject, proxy, clients, rounds } in sides {
        drop(clients);
        proxy.stop().await;
        let of = |get: fn(&Round) -> f64| rounded(median(rounds.iter().map(get)));
        let median = Round {
            p50_microseconds: of(|round| round.p50_microseconds),
            p99_microseconds: of(|round| round.p99_microseconds),
            cpu_microseconds: of(|round| round.cpu_microseconds),
            measuring_percent: of(|round| round.measuring_percent),
        };
        let Round { p50_microseconds, p99_microseconds, cpu_microseconds, measuring_percent } = median;
        eprintln!(
            "  {subject:42} p50 {p50_microseconds:>6.0} µs, p99 {p99_microseconds:>6.0} µs, processor {cpu_microseconds:>6.1} µs \
             a request; measuring {measuring_percent:.0} %"
        );
        subjects.push(LoadOf { subject, median, rounds });
    }
    let (rate, seconds) = (usize::try_from(RATE)?, f64::from(REQUESTS) / f64::from(RATE));
    Ok(Load { clients: CLIENTS, rate, seconds, size: MIDDLE, goes_first, subjects })
}

impl Side {
    fn round(&mut self, request: &[u8]) -> Result<Round> {
        let count = REQUESTS;
        let gap = Duration::from_secs(1) / RATE;
        let mut free: VecDeque<usize> = (0..self.clients.len()).collect();
        // Clients that wait for an answer, and since when.
        let mut asking: Vec<(usize, Instant)> = Vec::new();
        let mut times = Vec::new();
        let (mut sent, mut crowded) = (0, false);
        let proxy_before = self.proxy.cpu_nanoseconds()?;
        let own_before = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        let start = Instant::now();
        while times.len() < usize::try_from(count)? {
            while sent < count && start + gap * sent <= Instant::now() {
                let Some(client) = free.pop_front() else {
                    crowded = true;
                    break;
                };
                // This thread's own delay is not the proxy's; a request that finds no client free waits for the proxy.
                let since = if crowded { start + gap * sent } else { Instant::now() };
                crowded = false;
                self.clients.get_mut(client).context("no such client")?.send(request)?;
                asking.push((client, since));
                sent += 1;
            }
            let wait = if sent < count && !crowded {
                (start + gap * sent).saturating_duration_since(Instant::now())
            } else {
                Duration::from_secs(1)
            };
            self.receive(&mut asking, &mut free, &mut times, wait)?;
        }
        let wall = start.elapsed();
        let own = Duration::from(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?) - own_before;
        let proxy = self.proxy.cpu_nanoseconds()? - proxy_before;
        times.sort();
        let share = |percent: usize| times.get(times.len() * percent / 100).map_or(f64::NAN, microseconds);
        Ok(Round {
            p50_microseconds: rounded(share(50)),
            p99_microseconds: rounded(share(99)),
            cpu_microseconds: rounded(proxy as f64 / 1000.0 / f64::from(count)),
            measuring_percent: rounded(100.0 * own.as_secs_f64() / wall.as_secs_f64()),
        })
    }

    /// Waits at most so long, and reads what came.
    fn receive(
        &mut self,
        asking: &mut Vec<(usize, Instant)>,
        free: &mut VecDeque<usize>,
        times: &mut Vec<Duration>,
        wait: Duration,
    ) -> Result<()> {
        let streams = asking.iter().filter_map(|(client, _)| self.clients.get(*client)).map(Client::stream);
        let mut files: Vec<PollFd> =
            streams.map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
        ppoll(&mut files, Some(TimeSpec::from_duration(wait)), None)?;
        let ready: Vec<bool> = files.iter().map(|file| file.any() == Some(true)).collect();
        for (position, _) in
            ready.into_iter().enumerate().filter(|(_, ready)| *ready).rev().collect::<Vec<_>>()
        {
            let Some(&(number, since)) = asking.get(position) else { continue };
            let client = self.clients.get_mut(number).context("no such client")?;
            if let Some(status) = client.receive()? {
                ensure!(status == 200, "a request was answered {status}");
                times.push(since.elapsed());
                asking.swap_remove(position);
                free.push_back(number);
            }
        }
        Ok(())
    }
}

fn microseconds(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// To a tenth.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}
