//! Instructions of requests, for each size and number of clients, and of logins.

use anyhow::{Result, ensure};

use crate::callgrind::{self, Counter};
use crate::exchange::{Client, Login, Size};
use crate::origin::Origin;
use crate::results::{Cell, Count, Instructions, Noise, median};
use crate::subject::{Proxy, Setup, Subject};

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
        cells.extend(sweep(login, subject, FEW, &[MIDDLE]).await?);
    }
    // Again, by proxies that are started anew.
    for subject in [Subject::KeepAlive, Subject::Bound, Subject::NoCredentials, Subject::OtherGroup] {
        for again in sweep(login, subject, FEW, &whole).await? {
            let is_same = |cell: &&mut Cell| {
                (cell.subject, cell.clients, cell.size) == (again.subject, again.clients, again.size)
            };
            if let Some(cell) = cells.iter_mut().find(is_same) {
                cell.all.extend(again.all);
                cell.own.extend(again.own);
            }
        }
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

/// Counts for one proxy, with all `sizes` one after the other.
pub async fn sweep(login: &Login, subject: Subject, clients: usize, sizes: &[Size]) -> Result<Vec<Cell>> {
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
    let mut crowd = Crowd { clients: connected, next: 0 };
    crowd.ask(&MIDDLE.request(), REQUESTS)?;
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
        allocations: hundredths(median(counts[position].iter().map(|count| count.allocations))),
    };
    let cells: Vec<Cell> = (0..sizes.len()).map(cell).collect();
    let seen = origin.seen();
    let (wrong, connections) = if subject.logs_in() { (seen.others, clients) } else { (seen.bound, 1) };
    ensure!(wrong == 0, "{subject}: {wrong} requests came over connections of the other kind");
    let is_kept = subject == Subject::NoKeepAlive || seen.connections == u64::try_from(connections)?;
    ensure!(is_kept, "{subject}: {} connections to the origin in place of {connections}", seen.connections);
    drop(crowd);
    proxy.stop().await;
    if let (Some(cell), Some(last)) = (cells.first(), cells.last()) {
        eprintln!(
            "  {subject:42} {clients:>5} clients: {:>6.0} to {:>6.0} instructions",
            cell.all(),
            last.all()
        );
    }
    Ok(cells)
}

/// Clients that take turns.
struct Crowd {
    clients: Vec<Client>,
    next: usize,
}

impl Crowd {
    fn ask(&mut self, request: &[u8], count: usize) -> Result<()> {
        for _ in 0..count {
            let turn = self.next;
            self.next = (turn + 1) % self.clients.len();
            if let Some(client) = self.clients.get_mut(turn) {
                let status = client.exchange(request)?;
                ensure!(status == 200, "a request was answered {status}");
            }
        }
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
            allocations: 5.0,
        };
        let noise = noise(&[
            cell([102.0, 100.0, 103.0, 103.0], [50.0; 4]),
            cell([200.0, 198.0, 199.0, 199.0], [100.0, 100.0, 101.0, 101.0]),
        ]);
        assert_eq!((noise.all_percent, noise.own_percent, noise.order_percent), (1.98, 1.0, 2.0));
        assert!(sizes().contains(&MIDDLE));
    }
}
