//! Sends requests without credentials over several connections, to see whether the proxy answers them in another client's session.
//!
//! It must never send credentials.

use std::sync::Barrier;

use ntlm_client::{Request, Response};

use crate::cause::{Cause, Failure};
use crate::connection::{Broken, Connection};
use crate::endpoint::Endpoint;

/// How many connections are tried.
pub const STRANGERS: usize = 3;

/// Asks without credentials.
pub fn get(connection: &mut Connection, endpoint: &Endpoint) -> Result<Response, Broken> {
    connection.exchange(Request::get(&endpoint.target()))
}

/// The URL wants a login, so a connection that has none must be refused; else a proxy hands out this session.
pub fn refused(endpoint: &Endpoint, progress: &dyn Fn(&str)) -> Result<String, Failure> {
    let mut connections = Vec::new();
    for number in 1..=STRANGERS {
        progress(&format!("stranger {number} of {STRANGERS}"));
        let mut connection = endpoint.connect()?;
        match get(&mut connection, endpoint) {
            Ok(response) if response.status == 401 || response.status >= 500 => {}
            Ok(response) => {
                let detail = format!("{} answered a new connection without credentials", response.status);
                return Err(Failure::new(Cause::SessionShared, detail));
            }
            // A connection that breaks has served no session.
            Err(_) => {}
        }
        connections.push(connection);
    }
    Ok(format!("{STRANGERS} of {STRANGERS} connections without credentials were refused"))
}

/// A request without credentials was answered with 2xx. Either nobody has to log in, or a proxy served it over a
/// connection on which somebody had: then other connections, or the server itself, want a login.
pub fn answered(endpoint: &Endpoint, direct: Option<&Endpoint>, first: Failure) -> Failure {
    if let Some(direct) = direct {
        match direct_status(direct) {
            Some(401) => {
                return Failure::new(
                    Cause::SessionShared,
                    format!("{}, and 401 past the proxy", first.detail),
                );
            }
            Some(status) => {
                return Failure::new(first.cause, format!("{}, and {status} past the proxy", first.detail));
            }
            None => {}
        }
    }
    let statuses = at_once(endpoint);
    let asked = statuses.iter().filter(|&&status| status == 401).count();
    let seen = format!(
        "{}, and {asked} of {} further connections were asked for a login",
        first.detail,
        statuses.len()
    );
    if asked > 0 {
        return Failure::new(Cause::SessionShared, seen);
    }
    Failure::new(
        first.cause,
        format!("{seen}. Whether the server itself wants one, only --direct can tell from here"),
    )
}

/// The status of an answer to a request without credentials past the proxy.
pub fn direct_status(direct: &Endpoint) -> Option<u16> {
    let mut connection = direct.connect().ok()?;
    get(&mut connection, direct).ok().map(|response| response.status)
}

/// Asks over several connections at the same moment, so that a pool has to give out as many. The statuses of the answers.
fn at_once(endpoint: &Endpoint) -> Vec<u16> {
    let start = Barrier::new(STRANGERS);
    let one = || {
        let connection = endpoint.connect();
        start.wait();
        get(&mut connection.ok()?, endpoint).ok().map(|response| response.status)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..STRANGERS).map(|_| scope.spawn(one)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok().flatten()).collect()
    })
}
