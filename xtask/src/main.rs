//! `cargo xtask`: everything a developer or CI runs. This file owns the command line and nothing else.

mod bench;
mod build;
mod chaos;
mod debian;
mod demo;
mod deny;
mod nginx;
mod packages;
mod paths;
mod source;
mod test;
mod ui;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
#[command(about = "Gets NGINX versions, builds the module, tests it, shows it at work")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Get NGINX versions into target/nginx (or $NTLM_CACHE_DIR)
    Nginx {
        /// The versions to get, as `--list` names them
        #[arg(value_name = "NAME", default_value = nginx::DEFAULT)]
        names: Vec<String>,
        /// Show the names, where they come from and what is here already
        #[arg(long)]
        list: bool,
    },
    /// Build the module for one NGINX and print where it is
    Build {
        /// The NGINX to build against
        #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
        nginx: String,
    },
    /// Run what a change has to pass
    Test(TestArgs),
    /// Check the dependencies' licences, sources and bans, installing cargo-deny if it is missing
    Deny,
    /// Measure, and print a table
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Throw clients, origins and NGINX into disorder, and check every answer
    Chaos(ChaosArgs),
    /// Start NGINX with the module in front of an origin and watch NTLM pass through
    Demo(DemoArgs),
}

#[derive(Subcommand)]
enum Bench {
    /// Instructions of a bound request, beside those of NGINX's own keep-alive (a few minutes under callgrind)
    Bound {
        /// The NGINX to measure with
        #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
        nginx: String,
    },
}

/// What `cargo xtask test` can be told.
#[derive(Args)]
struct TestArgs {
    /// Run the whole suite on these, and on no other
    #[arg(long, value_name = "NAME", num_args = 1..)]
    nginx: Vec<String>,
    /// Only the core's tests and the whole suite on one NGINX: no lints, no documentation, no other versions
    #[arg(long)]
    quick: bool,
    /// Tests of the suite run at the same time; each owns an NGINX
    #[arg(long, value_name = "N", default_value_t = 4)]
    test_threads: usize,
    /// Passed to the suite's test runner as it is; with a filter, only the suite is run
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// What `cargo xtask chaos` can be told.
#[derive(Args)]
struct ChaosArgs {
    /// The first seed
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Go on with the next seed until so many minutes have passed
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// How many seeds, one after the other
    #[arg(long, value_name = "K", conflicts_with = "minutes")]
    count: Option<u64>,
    /// Responses checked for each seed
    #[arg(long, value_name = "N")]
    responses: Option<u64>,
    /// Clients at a time
    #[arg(long, value_name = "N")]
    clients: Option<u64>,
    /// The most clients one after the other in the place of each
    #[arg(long, value_name = "N")]
    lives: Option<u64>,
    /// Run the one seed as it is: do not look for a smaller run that fails as well
    #[arg(long)]
    replay: bool,
    /// The NGINX to run it on
    #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
    nginx: String,
}

/// What `cargo xtask demo` can be told.
#[derive(Args)]
struct DemoArgs {
    /// Show one handshake and end
    #[arg(long)]
    once: bool,
    /// An origin of your own, instead of the one that comes with the demo
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// The NGINX to show it on
    #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
    nginx: String,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Nginx { list: true, .. } => nginx::list(),
        Command::Nginx { names, .. } => nginx::get_all(&names),
        Command::Build { nginx } => build::command(&nginx),
        Command::Test(args) => test::command(&args),
        Command::Deny => deny::command(),
        Command::Bench { what: Bench::Bound { nginx } } => bench::bound(&nginx),
        Command::Chaos(args) => chaos::command(&args),
        Command::Demo(args) => demo::command(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
