//! Foreign clients and servers through real nginx: every client straight to a server, then the same
//! through nginx with the module, and a difference is a failure.
//!
//! It must never decide what is right: the run straight to the server does.

pub mod clients;
pub mod front;
pub mod libraries;
pub mod matrix;
pub mod mixed;
pub mod scale;
pub mod servers;
pub mod streams;
pub mod world;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::origin::name_of;

/// All users with an account; see [`crate::password_of`].
pub const USERS: [&str; 4] = ["alice", "bob", "carol", "dave"];

/// How long a server may take to start, or a client to end.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs a command to its end; what it said if it failed.
///
/// # Errors
/// When it does not run or its status is not zero.
pub fn finish(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("cannot run {program}: {error}"))?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(said) } else { Err(format!("{program}: {}\n{said}", output.status)) }
}

fn sh(program: &str, arguments: &[&str]) -> Result<(), String> {
    finish(Command::new(program).args(arguments)).map(drop)
}

/// Waits until `attempt` succeeds; its last error when that takes too long.
async fn until(what: &str, mut attempt: impl FnMut() -> Result<(), String>) -> Result<(), String> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(format!("waited {} s in vain for {what}: {error}", LIMIT.as_secs()));
            }
            Err(_) => crate::pause().await,
        }
    }
}
