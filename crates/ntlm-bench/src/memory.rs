//! Memory of clients that wait, each with its own connection to the origin.
//!
//! A group of as many servers as there will be clients, which are all the one origin, lets NGINX's own pool keep a connection
//! for each client too: round robin has the next client ask the next server, for which the pool has none yet. So clients come
//! one by one in all runs, and no run has more requests at a time than another.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};

use crate::exchange::{Client, Login, Size};
use crate::limit;
use crate::origin::Origin;
use crate::results::{Memory, MemoryOf};
use crate::subject::{Proxy, Setup, Subject};

/// The number of clients of the first point. Before, memory is taken that the allocator had left.
const FIRST: usize = 2000;
/// The number of clients of the last point, where open files allow that many.
const LAST: usize = 8000;
/// Clients from one point to the next.
const STEP: usize = 500;

/// The size of the request that each client sends before it waits.
const SIZE: Size = Size { url: 0, lines: 4 };

/// Measures all subjects.
pub async fn measure(login: &Login) -> Result<Memory> {
    let mut subjects = Vec::new();
    for subject in [Subject::KeepAlive, Subject::Bound, Subject::BoundByProxyNtlm, Subject::HaProxy] {
        subjects.push(of(login, subject).await?);
    }
    Ok(Memory { subjects })
}

async fn of(login: &Login, subject: Subject) -> Result<MemoryOf> {
    let origin = Origin::start(login)?;
    let last = LAST.min(limit::most_clients()?);
    let servers = match subject {
        // A proxy that binds does so for any number of clients; what it takes for a server is not counted for a client.
        _ if subject.logs_in() => vec![origin.address()],
        _ => (0..last).map(|number| server(number, origin.port)).collect::<Result<_>>()?,
    };
    let setup =
        Setup { servers, connections: limit::connections()?, pool: last, below: Vec::new(), tls: false };
    let proxy = Proxy::start(subject, &setup).await?;
    let (legs, request) = (login.requests(), SIZE.request());
    let (mut clients, mut points) = (Vec::new(), Vec::new());
    while clients.len() < last {
        let mut client = match subject.logs_in() {
            true => Client::log_in(proxy.address, &legs)?,
            false => Client::connect(proxy.address)?,
        };
        ensure!(client.exchange(&request)? == 200, "a request was refused");
        clients.push(client);
        if clients.len() >= FIRST.min(last / 4) && clients.len().is_multiple_of(STEP) {
            proxy.idle().await?;
            points.push((clients.len(), proxy.resident()?));
        }
    }
    let seen = origin.seen();
    let is_one_each = seen.connections == u64::try_from(clients.len())?;
    ensure!(is_one_each, "{subject}: {} connections to the origin", seen.connections);
    drop(clients);
    proxy.stop().await;
    let (slope, noise) = line(&points);
    eprintln!("  {subject:42} {slope:>6.0} bytes a client, ±{noise:.0}");
    Ok(MemoryOf { subject, bytes_a_client: slope.round(), noise_bytes: noise.round(), points })
}

/// One of the addresses of the loopback, on all of which the origin listens.
fn server(number: usize, port: u16) -> Result<SocketAddr> {
    let [.., high, low] = u32::try_from(number)?.to_be_bytes();
    Ok((Ipv4Addr::new(127, 1, high, low), port).into())
}

/// The slope of the line through the points, by least squares; the largest distance of a point from it, over the length of
/// the line.
fn line(points: &[(usize, u64)]) -> (f64, f64) {
    let points: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x as f64, y as f64)).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|point| point.0), mean(|point| point.1));
    let covariance: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let variance: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    let slope = covariance / variance;
    let off = points.iter().map(|(x, y)| (y - mean_y - slope * (x - mean_x)).abs()).fold(0.0, f64::max);
    let length = points.last().map_or(0.0, |last| last.0) - points.first().map_or(0.0, |first| first.0);
    (slope, off / length)
}

#[cfg(test)]
mod tests {
    use super::{line, server};

    #[test]
    fn slope_is_that_of_the_line() {
        let (slope, noise) = line(&[(1000, 50_000), (2000, 60_100), (3000, 69_900), (4000, 80_000)]);
        assert!((slope - 9.98).abs() < 0.001, "{slope}");
        assert!(noise > 0.01 && noise < 0.06, "{noise}");
    }

    #[test]
    fn each_client_has_a_server() {
        assert_eq!(server(8000, 80).unwrap().to_string(), "127.1.31.64:80");
    }
}
