//! Measures what a request, a waiting client and a login cost: `cargo xtask bench` runs it.
//!
//! `NTLM_NGINX` and `NTLM_MODULE` say which NGINX and which module, as for the suite.

mod callgrind;
mod check;
mod exchange;
mod instructions;
mod limit;
mod load;
mod logins;
mod memory;
mod operations;
mod origin;
mod priority;
mod report;
mod results;
mod subject;
mod table;
mod visitors;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use ntlm_testkit::Nginx;

use crate::exchange::Login;
use crate::results::Results;

#[derive(Parser)]
#[command(about = "Measures what a request, a waiting client and a login cost")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count the instructions of a few requests, and fail where they have grown
    Check {
        /// The results of the last release
        file: PathBuf,
    },
    /// Make the page and its plots of the results in docs/performance
    Report {
        /// The folder "docs"
        docs: PathBuf,
    },
    /// Print the instructions of results
    Show {
        /// The file
        file: PathBuf,
    },
    /// Measure, and write the results as JSON
    Measure {
        /// The file to write; parts that are not measured stay as they are in it
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Measure only these
        #[arg(long, value_name = "PART")]
        only: Vec<Part>,
        /// Take the times of operations on the table from this folder of criterion's
        #[arg(long, value_name = "FOLDER")]
        criterion: Option<PathBuf>,
    },
}

/// A part of the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Instructions, by callgrind.
    Instructions,
    /// Of the instructions, only what the check compares.
    Check,
    /// Memory of clients that wait.
    Memory,
    /// Times under load.
    Load,
    /// Processor time of logins.
    Logins,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Cli::parse().command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> Result<()> {
    limit::raise()?;
    match command {
        Command::Check { file } => check::run(&Login::record().await?, &nginx_version(), &file).await,
        Command::Measure { out, only, criterion } => measure(&out, &only, criterion.as_deref()).await,
        Command::Report { docs } => report::write(&docs),
        Command::Show { file } => {
            table::print(&Results::read(&file)?);
            Ok(())
        }
    }
}

async fn measure(out: &Path, only: &[Part], criterion: Option<&Path>) -> Result<()> {
    let new = Results::new(nginx_version(), subject::haproxy_version()?);
    let is_added = !only.is_empty() && out.exists();
    let mut results = match is_added.then(|| Results::read(out)).transpose()? {
        // Parts that were measured elsewhere do not fit together.
        Some(old) if old.machine == new.machine && old.nginx == new.nginx => old,
        _ => new,
    };
    let login = Login::record().await?;
    let is_wanted = |part| only.is_empty() || only.contains(&part);
    if is_wanted(Part::Instructions) {
        let mut counted = instructions::measure(&login, limit::most_clients()?).await?;
        counted.checked = check::count(&login).await?;
        results.instructions = Some(counted);
    }
    if only.contains(&Part::Check)
        && let Some(counted) = &mut results.instructions
    {
        counted.checked = check::count(&login).await?;
    }
    if is_wanted(Part::Memory) {
        results.memory = Some(memory::measure(&login).await?);
    }
    if is_wanted(Part::Load) {
        results.load = Some(load::measure(&login).await?);
    }
    if is_wanted(Part::Logins) {
        results.logins = Some(logins::measure(&login).await?);
    }
    if let Some(folder) = criterion {
        results.table = operations::read(folder)?;
    }
    results.write(out)?;
    table::print(&results);
    Ok(())
}

fn nginx_version() -> String {
    let (major, minor, patch) = Nginx::binary().version();
    format!("{major}.{minor}.{patch}")
}
