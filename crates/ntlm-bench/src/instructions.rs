//! Instructions of requests, for each size and number of clients, and of logins.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::callgrind::{self, Counter};
use crate::exchange::{Client, Login, Size};
use crate::origin::Origin;
use crate::results::{Cell, Count, Instructions, Noise, median};
use crate::subject::{Proxy, Setup, Subject};
use crate::visitors::{AT_ONCE, mingle};

/// The sizes of the sweep: the bytes of the path, and the lines of the header.
pub const URLS: [usize; 5] = [0, 150, 300, 600, 1200];
/// Lines of the header.
pub const LINES: [usize; 3] = [4, 12, 24];
/// A size in the middle.
pub const MIDDLE: Size = Size { url: 150, lines: 12 };
/// The fewest clients of the sweep, with which all subjects are measured.
pub const FEW: usize = 10;
/// Numbers of clients; the most that there may be comes behind.
const CLIENTS: [usize; 4] = [FEW, 100, 1000, 5000];

/// Requests of one count. Where there are more clients, each count is of others.
const REQUESTS: usize = 400;
/// Counts of each size by one proxy.
const PASSES: usize = 2;
/// Proxies that are counted for one number, each with another past.
const PASTS: u64 = 3;
/// Longer than nginx's timers may be off (`NGX_TIMER_LAZY_DELAY`).
const RARELY: Duration = Duration::from_millis(400);
/// Logins of a count, and counts.
const LOGINS: usize = 200;
const COUNTS: usize = 3;

/// All sizes of the sweep.
pub fn sizes() -> Vec<Size> {
    URLS.into_iter().flat_map(|url| LINES.map(|lines| Size { url, lines })).collect()
}

/// Counts everything.
pub async fn measure(login: &Login, most_clients: usize) -> Result<Instructions> {
    let whole = sizes();
    let mut cells = Vec::new();
    let numbers = CLIENTS.into_iter().filter(|clients| *clients < most_clients).chain([most_clients]);
    for clients in numbers {
        for subject in [Subject::KeepAlive, Subject::Bound] {
            cells.extend(sweep(login, subject, clients, &whole).await?);
        }
    }
    let others = [Subject::NoCredentials, Subject::OtherGroup, Subject::NoKeepAlive, Subject::HaProxy];
    for subject in others {
        cells.extend(sweep(login, subject, FEW, &whole).await?);
    }
    let variants = [
        Subject::BoundBesideKeepAlive,
        Subject::BoundByProxyNtlm,
        Subject::BoundWithKey,
        Subject::BoundLogged,
        Subject::BoundLoggedNames,
    ];
    for subject in variants {
        let all = sweep(login, subject, FEW, &whole).await?;
        cells.extend(all.into_iter().filter(|cell| cell.size == MIDDLE));
    }
    let mut logins = Vec::new();
    for subject in [Subject::KeepAlive, Subject::Bound, Subject::HaProxy] {
        logins.push(count_logins(login, subject).await?);
    }
    Ok(Instructions { noise: noise(&cells), counted: REQUESTS, requests: cells, logins, checked: Vec::new() })
}

/// By how much the counts of the same request differ between repetitions.
fn noise(cells: &[Cell]) -> Noise {
    let spread = |numbers: &[f64]| {
        let least = numbers.iter().copied().fold(f64::MAX, f64::min);
        100.0 * (numbers.iter().copied().fold(0.0, f64::max) - least) / least
    };
    let runs =
        |counts: &[f64]| counts.chunks(PASSES).map(|run| median(run.iter().copied())).collect::<Vec<_>>();
    let largest = |percent: &dyn Fn(&Cell) -> f64| {
        (cells.iter().map(percent).fold(0.0, f64::max) * 100.0).round() / 100.0
    };
    Noise {
        all_percent: largest(&|cell| spread(&runs(&cell.all))),
        own_percent: largest(&|cell| spread(&runs(&cell.own))),
        order_percent: largest(&|cell| cell.all.chunks(PASSES).map(spread).fold(0.0, f64::max)),
    }
}

/// Counts all `sizes`, by several proxies of the same subject, with another past each.
pub async fn sweep(login: &Login, subject: Subject, clients: usize, sizes: &[Size]) -> Result<Vec<Cell>> {
    let mut cells = sweep_after(login, subject, clients, sizes, 0).await?;
    for past in 1..PASTS {
        for (cell, again) in cells.iter_mut().zip(sweep_after(login, subject, clients, sizes, past).await?) {
            cell.all.extend(again.all);
            cell.own.extend(again.own);
            cell.allocations.extend(again.allocations);
        }
    }
    if let (Some(first), Some(last)) = (cells.first(), cells.last()) {
        eprintln!(
            "  {subject:42} {clients:>5} clients: {:>6.0} to {:>6.0} instructions",
            first.all(),
            last.all()
        );
    }
    Ok(cells)
}

/// Counts for one proxy, with all `sizes` one after the other.
async fn sweep_after(
    login: &Login,
    subject: Subject,
    clients: usize,
    sizes: &[Size],
    past: u64,
) -> Result<Vec<Cell>> {
    let origin = Origin::start(login)?;
    let mut counter = Counter::new()?;
    let setup = Setup {
        servers: vec![origin.address()],
        connections: crate::limit::connections()?,
        pool: 32,
        below: counter.command(),
        tls: false,
    };
    let proxy = Proxy::start(subject, &setup).await?;
    let legs = login.requests();
    let mut connected = Vec::new();
    for _ in 0..clients {
        connected.push(match subject.logs_in() {
            true => Client::log_in(proxy.address, &legs)?,
            false => Client::connect(proxy.address)?,
        });
    }
    let legs = subject.logs_in().then_some(&legs);
    let visits = mingle(proxy.address, legs, &self::sizes(), past, &mut connected)?;
    let mut crowd = Crowd { clients: connected, next: 0 };
    // Each of many clients asks rarely, and the module treats it so after two late requests.
    for _ in 0..2 {
        crowd.ask(&MIDDLE.request(), REQUESTS.max(clients))?;
        // The bench waits for no event here: clients ask so rarely.
        tokio::time::sleep(RARELY).await;
    }
    counter.count(&proxy).await?;
    // There and back: what the allocator takes depends on the requests before.
    let mut counts = vec![Vec::new(); sizes.len()];
    let mut answer_bytes = vec![0; sizes.len()];
    for position in (0..sizes.len()).chain((0..sizes.len()).rev()) {
        crowd.ask(&sizes[position].request(), REQUESTS)?;
        counts[position].push(counter.count(&proxy).await? / REQUESTS as f64);
        answer_bytes[position] = crowd.answer_bytes();
    }
    let cell = |position: usize| Cell {
        subject,
        clients,
        size: sizes[position],
        request_bytes: sizes[position].request().len(),
        answer_bytes: answer_bytes[position],
        all: counts[position].iter().map(|count| rounded(count.all)).collect(),
        own: counts[position].iter().map(|count| rounded(count.own)).collect(),
        allocations: counts[position].iter().map(|count| hundredths(count.allocations)).collect(),
    };
    let seen = origin.seen();
    let wrong = if subject.logs_in() { seen.others } else { seen.bound };
    ensure!(wrong == 0, "{subject}: {wrong} requests came over connections of the other kind");
    let is_kept = match subject {
        Subject::NoKeepAlive => true,
        _ if subject.logs_in() => seen.connections == u64::try_from(clients + visits.count)?,
        _ => seen.connections <= u64::try_from(AT_ONCE)?,
    };
    ensure!(is_kept, "{subject}: {} connections to the origin", seen.connections);
    drop((crowd, visits));
    proxy.stop().await;
    Ok((0..sizes.len()).map(cell).collect())
}

/// Clients that take turns.
struct Crowd {
    clients: Vec<Client>,
    next: usize,
}

impl Crowd {
    /// Sends `count` requests, [`AT_ONCE`] at the same time.
    fn ask(&mut self, request: &[u8], count: usize) -> Result<()> {
        let mut asking = VecDeque::new();
        for _ in 0..count {
            if asking.len() == AT_ONCE
                && let Some(first) = asking.pop_front()
            {
                self.hear(first)?;
            }
            if let Some(client) = self.clients.get_mut(self.next) {
                client.send(request)?;
            }
            asking.push_back(self.next);
            self.next = (self.next + 1) % self.clients.len();
        }
        asking.into_iter().try_for_each(|client| self.hear(client))
    }

    fn hear(&mut self, client: usize) -> Result<()> {
        let status = self.clients.get_mut(client).context("no such client")?.answered()?;
        ensure!(status == 200, "a request was answered {status}");
        Ok(())
    }

    fn answer_bytes(&self) -> usize {
        self.clients.first().map_or(0, |client| client.answer().len())
    }
}

async fn count_logins(login: &Login, subject: Subject) -> Result<Count> {
    let origin = Origin::start(login)?;
    let mut counter = Counter::new()?;
    let setup = Setup {
        servers: vec![origin.address()],
        connections: 1000,
        pool: 32,
        below: counter.command(),
        tls: false,
    };
    let proxy = Proxy::start(subject, &setup).await?;
    let legs = login.requests();
    let mut counts = Vec::new();
    for _ in 0..=COUNTS {
        for _ in 0..LOGINS {
            drop(Client::log_in(proxy.address, &legs)?);
        }
        counts.push(counter.count(&proxy).await? / LOGINS as f64);
    }
    // The first count has the start in it.
    let counts: Vec<callgrind::Instructions> = counts.split_off(1);
    proxy.stop().await;
    let of = |get: fn(&callgrind::Instructions) -> f64| rounded(median(counts.iter().map(get)));
    Ok(Count { subject, all: of(|count| count.all), own: of(|count| count.own) })
}

/// To a hundredth of an allocation.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

/// To a tenth of an instruction.
fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::{Cell, MIDDLE, Subject, noise, sizes};

    #[test]
    fn noise_is_the_largest_difference() {
        let cell = |all: [f64; 4], own: [f64; 4]| Cell {
            subject: Subject::Bound,
            clients: 10,
            size: MIDDLE,
            request_bytes: 1,
            answer_bytes: 1,
            all: all.into(),
            own: own.into(),
            allocations: vec![5.0; 4],
        };
        let noise = noise(&[
            cell([102.0, 100.0, 103.0, 103.0], [50.0; 4]),
            cell([200.0, 198.0, 199.0, 199.0], [100.0, 100.0, 101.0, 101.0]),
        ]);
        assert_eq!((noise.all_percent, noise.own_percent, noise.order_percent), (1.98, 1.0, 2.0));
        assert!(sizes().contains(&MIDDLE));
    }
}
