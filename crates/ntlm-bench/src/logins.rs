//! Processor time of logins: a client connects, sends its two legs, and leaves.

use anyhow::{Result, ensure};
use ntlm_testkit::Endpoint;
use ntlm_testkit::client::http1::Client;

use crate::exchange::Login;
use crate::limit;
use crate::origin::Origin;
use crate::priority::First;
use crate::results::{Logins, LoginsOf, median};
use crate::subject::{Proxy, Setup, Subject};

const SUBJECTS: [Subject; 4] = [Subject::KeepAlive, Subject::Bound, Subject::NoKeepAlive, Subject::HaProxy];
/// Logins of a round.
const LOGINS: usize = 200;
const ROUNDS: usize = 11;

/// Measures all subjects, with TLS and without.
pub async fn measure(login: &Login) -> Result<Logins> {
    let mut sides = Vec::new();
    for tls in [false, true] {
        for subject in SUBJECTS {
            let origin = Origin::start(login)?;
            let servers = vec![origin.address()];
            let connections = limit::connections()?;
            let setup = Setup { servers, connections, pool: 32, below: Vec::new(), tls };
            sides.push((Proxy::start(subject, &setup).await?, subject, tls, Vec::new()));
        }
    }
    let first = First::of(sides.iter().map(|(proxy, ..)| proxy.pid()));
    // The first one warms up.
    for number in 0..=ROUNDS {
        for (proxy, _, tls, rounds) in &mut sides {
            let before = proxy.cpu_nanoseconds()?;
            for _ in 0..LOGINS {
                log_in(proxy, login, *tls).await?;
            }
            proxy.idle().await?;
            let spent = (proxy.cpu_nanoseconds()? - before) as f64 / 1000.0 / LOGINS as f64;
            if number > 0 {
                rounds.push((spent * 10.0).round() / 10.0);
            }
        }
    }
    drop(first);
    let mut subjects = Vec::new();
    for (proxy, subject, tls, rounds) in sides {
        proxy.stop().await;
        let cpu_microseconds = median(rounds.iter().copied());
        let over = if tls { "TLS" } else { "plain" };
        eprintln!("  {subject:42} {over:5} {cpu_microseconds:>6.0} µs of processor time a login");
        subjects.push(LoginsOf { subject, tls, cpu_microseconds, rounds });
    }
    Ok(Logins { logins: LOGINS, subjects })
}

async fn log_in(proxy: &Proxy, login: &Login, tls: bool) -> Result<()> {
    let builder = if tls { Client::builder().tls() } else { Client::builder() };
    let mut client = builder.connect(Endpoint::Socket(proxy.address)).await;
    for (value, expected) in [(&login.negotiate, 401), (&login.authenticate, 200)] {
        let status = client.get_with("/", "Authorization", value).await.status;
        ensure!(status == expected, "the answer to a leg of a login is {status} in place of {expected}");
    }
    client.close().await;
    Ok(())
}
