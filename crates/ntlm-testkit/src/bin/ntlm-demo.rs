//! `ntlm-demo`: shows a Windows login through nginx without and with the module; `cargo xtask demo` builds and runs it.
//!
//! It owns the command line, the signals and the exit status, and nothing else.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use ntlm_testkit::demo::{Demo, Login, Options, ServerUrl};
use tokio::signal::unix::{SignalKind, signal};

/// Shows a Windows login (NTLM) through nginx, without and with the module.
#[derive(Debug, Parser)]
#[command(name = "ntlm-demo")]
struct Arguments {
    /// The nginx to run.
    #[arg(long, value_name = "FILE")]
    nginx: PathBuf,
    /// The module to load, unless it is built into that nginx.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Show it, say whether all was as it has to be, and end: with status 0 if it was.
    #[arg(long)]
    once: bool,
    /// Put nginx with the module in front of this server, instead of one that comes with the demonstration.
    #[arg(long, value_name = "URL")]
    upstream: Option<ServerUrl>,
    /// Log in at that server as this user; the password is asked for, or in NTLM_PROBE_PASSWORD.
    #[arg(long, value_name = "NAME", requires_all = ["upstream", "probe"])]
    user: Option<String>,
    /// The ntlm-probe that logs in.
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// Listen here as well, for browsers on other machines.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { nginx, module, once, upstream, user, probe, listen } = Arguments::parse();
    let login = user.zip(probe).map(|(user, probe)| Login { user, probe });
    let (mut terminated, mut interrupted) =
        match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
            (Ok(terminated), Ok(interrupted)) => (terminated, interrupted),
            (Err(error), _) | (_, Err(error)) => return failed(&format!("no handler for signals: {error}")),
        };
    let stop = async {
        tokio::select! {
            _ = terminated.recv() => {}
            _ = interrupted.recv() => {}
        }
    };
    tokio::pin!(stop);

    // A task, so that a panic in it is a sentence here.
    let mut show = tokio::spawn(Demo::show(Options { nginx, module, upstream, login, listen, once }));
    let shown = tokio::select! {
        shown = &mut show => shown,
        () = &mut stop => {
            show.abort();
            // Whatever it had started has ended when this returns.
            let _ = show.await;
            return if once { failed("interrupted") } else { ExitCode::SUCCESS };
        }
    };
    let mut demo = match shown {
        Ok(Ok(demo)) => demo,
        Ok(Err(error)) => return failed(&error),
        Err(_) => return failed("it broke off; see above"),
    };
    if !once {
        tokio::select! {
            () = demo.stay() => {}
            () = &mut stop => println!("\nstopped"),
        }
    }
    if demo.is_fine() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says why; the first line of it last.
fn failed(why: &str) -> ExitCode {
    let (first, details) = why.split_once('\n').unwrap_or((why, ""));
    if !details.is_empty() {
        println!("{details}");
    }
    println!("FAILED: {first}");
    ExitCode::FAILURE
}
