//! `ntlm-probe`: logs in by NTLM through a proxy the way a client does, says leg by leg what came back, and when it fails
//! which of the known causes it was.
//!
//! It must never write a token or a password anywhere, nor send the password more often than its help says.

mod args;
mod cause;
mod connection;
mod endpoint;
mod kept;
mod login;
#[cfg(test)]
mod man;
mod probe;
mod report;
mod stranger;
mod tls;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use indicatif::{ProgressBar, ProgressStyle};
use ntlm_client::ntlm::{Context, Credentials};

use crate::args::Args;
use crate::endpoint::Endpoint;
use crate::probe::Probe;

const USAGE: u8 = 2;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(exit) => ExitCode::from(exit),
        Err(error) => {
            eprintln!("ntlm-probe: {error}");
            ExitCode::from(USAGE)
        }
    }
}

fn run(args: &Args) -> Result<u8, String> {
    args.check()?;
    let endpoint = Endpoint::new(args, &args.url, args.connect.as_deref())?;
    let direct = args.direct.as_ref().map(|url| Endpoint::new(args, url, None)).transpose()?;
    let (user, domain) = args.account();
    let mut credentials = Credentials { user, domain, password: String::new() };
    // Before anybody is asked for a password in vain.
    Context::new(&credentials, None)?;
    credentials.password = args.password()?;

    // Nothing is drawn where standard error is no terminal.
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    let progress = |step: &str| bar.set_message(step.to_owned());
    let report = Probe { args, credentials, endpoint, direct, progress: &progress }.run();
    bar.finish_and_clear();

    let text = if args.json { report.json() } else { report.text() };
    // A reader that went away has no use for an error either.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(report.exit)
}
