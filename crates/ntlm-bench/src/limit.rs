//! How many clients there can be: each takes two open files of the proxy, and two of this process.

use anyhow::Result;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that are no connections.
const OTHERS: u64 = 300;

/// Of more connections to one address, Linux runs out of ports.
const MOST: u64 = 40_000;

/// Raises the limit as far as it goes, for this process and for proxies.
pub fn raise() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?)
}

/// The connections that a proxy is set up for, with any number of clients.
pub fn connections() -> Result<usize> {
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(usize::try_from(files.min(MOST).saturating_sub(OTHERS))?)
}

/// The most clients, in whole thousands where there are that many.
pub fn most_clients() -> Result<usize> {
    let clients = connections()? / 2;
    Ok(if clients >= 1000 { clients / 1000 * 1000 } else { clients })
}
