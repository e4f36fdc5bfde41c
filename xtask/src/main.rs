//! `cargo xtask`: everything a developer or CI runs. This file owns the command line and nothing else.

mod apt;
mod arch;
mod asan;
mod bench;
mod build;
mod changelog;
mod chaos;
mod crowd;
mod debian;
mod demo;
mod deny;
mod docs;
mod env;
mod flood;
mod fuzz;
mod interop;
mod mutants;
mod nginx;
mod oldest;
mod package;
mod packages;
mod paths;
mod promtool;
mod release;
mod source;
mod suite;
mod sysroot;
mod test;
mod tidy;
mod tools;
mod ui;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

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
    /// Print, for a shell's `eval`, the environment in which a bare cargo compiles the module
    Env {
        /// The NGINX to compile for
        #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
        nginx: String,
    },
    /// Run what a change has to pass
    Test(TestArgs),
    /// Check what holds for all sources: imports, sizes, the reference, links, versions
    Tidy,
    /// Check the Prometheus alert rules, and run their tests
    Alerts,
    /// Compile each crate with the oldest Rust that its manifest names, which rustup downloads
    OldestRust,
    /// Run the suite and chaos with AddressSanitizer, then with valgrind's memcheck, watching every access to memory
    Asan(AsanArgs),
    /// Check the dependencies' licences, sources and bans, installing cargo-deny if it is missing
    Deny,
    /// Make a searchable site of the pages in docs, installing mdbook if it is missing
    Docs,
    /// Measure, and print a table
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Throw clients, origins and NGINX into disorder, and check every answer
    Chaos(ChaosArgs),
    /// Run the suite's smoke tests and chaos among all the modules that Debian 12 has for its nginx, which are installed
    Crowd(CrowdArgs),
    /// Flood a worker with forged logins, make and end bindings, and watch its users and its memory
    Flood(FloodArgs),
    /// Fuzz everything that reads bytes from outside
    Fuzz(FuzzArgs),
    /// Let other people's clients log in at other people's servers, straight and through NGINX
    Interop(InteropArgs),
    /// Change one line at a time, and show which changes the fast tests do not notice
    Mutants(MutantsArgs),
    /// Start NGINX with the module in front of an origin and watch NTLM pass through
    Demo(DemoArgs),
    /// Make what users install, into dist: Debian packages, an RPM, their sources, checksums and a bill of materials
    Package(PackageArgs),
    /// Raise the version, date the changelog, tag, and make the packages, all in a clone first (RELEASING.md)
    Release(ReleaseArgs),
}

#[derive(Subcommand)]
enum Bench {
    /// Measure the cost of a bound request, of its client's memory and of a login, beside NGINX's own keep-alive and HAProxy: as JSON
    Bound(BoundArgs),
    /// Make docs/performance.md and its plots of the numbers in docs/performance
    Report,
    /// Count the instructions of a few requests, and fail where they have grown since the last release
    Check {
        /// The NGINX to count with
        #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
        nginx: String,
    },
}

/// The options of `cargo xtask bench bound`.
#[derive(Args)]
struct BoundArgs {
    /// The NGINX versions to measure with
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = ["1.22", "1.30"])]
    nginx: Vec<String>,
    /// Write into docs/performance, as the numbers of a release, in place of target/bench
    #[arg(long)]
    keep: bool,
    /// Measure only this: instructions, check (of the instructions, what "bench check" compares), memory, load, logins
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

/// The options of `cargo xtask test`.
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

/// The options of `cargo xtask asan`.
#[derive(Args)]
struct AsanArgs {
    /// Let only this one watch
    #[arg(long, value_name = "WATCHER")]
    only: Option<Watcher>,
    /// Tests of the suite run at the same time; each owns an NGINX
    #[arg(long, value_name = "N", default_value_t = 4)]
    test_threads: usize,
    /// Passed to the suite's test runner as it is; with it, only the suite is run
    #[arg(last = true, value_name = "FILTER")]
    filter: Vec<String>,
}

/// A watcher of memory.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Watcher {
    /// AddressSanitizer, compiled into NGINX.
    Asan,
    /// valgrind's memcheck, which sees the module's accesses too.
    Memcheck,
}

/// The options of `cargo xtask chaos`.
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

/// The options of `cargo xtask crowd`.
#[derive(Args)]
struct CrowdArgs {
    /// The first seed of chaos
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many seeds
    #[arg(long, value_name = "K", default_value_t = 34)]
    count: u64,
    /// Tests of the suite run at the same time; each owns an NGINX
    #[arg(long, value_name = "N", default_value_t = 4)]
    test_threads: usize,
}

/// The options of `cargo xtask flood`.
#[derive(Args)]
struct FloodArgs {
    /// The NGINX to flood
    #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
    nginx: String,
    /// Forged first legs beside 20 users that are logged in; a tenth as many with tokens of 64 KiB
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    legs: usize,
    /// Bindings to make and end
    #[arg(long, value_name = "N", default_value_t = 20_000)]
    cycles: usize,
    /// Bindings to have time out in one moment
    #[arg(long, value_name = "N", default_value_t = 4000)]
    expiring: usize,
    /// Streams of HTTP/2, a third of them turned back to HTTP/1.1; then as many of h2load's
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    streams: usize,
}

/// The options of `cargo xtask fuzz`.
#[derive(Args)]
struct FuzzArgs {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Add the inputs that reach new code to fuzz/corpus
    #[arg(long)]
    keep: bool,
}

/// The options of `cargo xtask interop`.
#[derive(Args)]
struct InteropArgs {
    /// Only what is quick and steady, on the first NGINX
    #[arg(long)]
    quick: bool,
    /// Only clients whose name contains this
    #[arg(long, value_name = "TEXT")]
    client: Option<String>,
    /// Only servers whose name contains this
    #[arg(long, value_name = "TEXT")]
    server: Option<String>,
    /// Only requests at once, and one after the other, over HTTP/2; each session so often by each way
    #[arg(long, value_name = "ROUNDS", conflicts_with = "quick")]
    streams: Option<usize>,
    /// Write what clients and servers said to each other into this folder, and do nothing else
    #[arg(long, value_name = "FOLDER")]
    record: Option<std::path::PathBuf>,
    /// The NGINX to put between them
    #[arg(long, value_name = "NAME", num_args = 1.., default_values = ["1.22", "1.30"])]
    nginx: Vec<String>,
}

/// The options of `cargo xtask mutants`.
#[derive(Args)]
struct MutantsArgs {
    /// Change only this one
    #[arg(long, value_name = "CRATE")]
    only: Option<Mutated>,
    /// Only files whose path contains this
    #[arg(long, value_name = "TEXT")]
    file: Option<String>,
    /// Only rows of the module's table that change this text
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
    /// Only rows of the module's table that are tried on this NGINX
    #[arg(long, value_name = "NAME")]
    nginx: Option<String>,
    /// Run the whole suite on each row of the module's table, not only the tests that the row names
    #[arg(long)]
    whole: bool,
    /// Only a part of the changes, such as 0/4
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Try no further change after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
}

/// The crate that is changed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mutated {
    /// `ntlm-core`, by cargo-mutants.
    Core,
    /// The module, by the table of changes.
    Module,
}

/// The options of `cargo xtask demo`.
#[derive(Args)]
struct DemoArgs {
    /// Show one handshake and end
    #[arg(long)]
    once: bool,
    /// An origin of your own, instead of the one that comes with the demo
    #[arg(long, value_name = "URL")]
    upstream: Option<demo::ServerUrl>,
    /// Log in at that origin as alice, DOMAIN\alice or alice@example.com; the password is asked for, or in NTLM_PROBE_PASSWORD
    #[arg(long, value_name = "NAME", requires = "upstream")]
    user: Option<String>,
    /// Listen here as well, for browsers on other machines
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<std::net::SocketAddr>,
    /// The NGINX to show it on
    #[arg(long, value_name = "NAME", default_value = nginx::DEFAULT)]
    nginx: String,
}

/// The options of `cargo xtask package`.
#[derive(Args)]
struct PackageArgs {
    /// Only the Debian packages for these (1.22 is Debian 12, 1.26 Debian 13, 1.30 the coming one)
    #[arg(long, value_name = "NAME", num_args = 1..)]
    nginx: Vec<String>,
    /// Make everything twice and compare, run the suite with each packaged module, install, upgrade and remove each package
    #[arg(long)]
    check: bool,
    /// Instead of packages, the module alone: a file for each NGINX and processor, loaded and logged in through
    #[arg(long, conflicts_with = "check")]
    compat: bool,
    /// Tests of the suite run at the same time; each owns an NGINX
    #[arg(long, value_name = "N", default_value_t = 4)]
    test_threads: usize,
}

/// The options of `cargo xtask release`.
#[derive(Args)]
struct ReleaseArgs {
    /// The new version, such as 0.2.0
    version: String,
    /// A rehearsal: do everything in a clone, show it, and throw it away
    #[arg(long)]
    dry_run: bool,
    /// Only the Debian packages for these, for a rehearsal that is not to take long
    #[arg(long, value_name = "NAME", num_args = 1.., requires = "dry_run")]
    nginx: Vec<String>,
    /// Make the packages once, and do not test them
    #[arg(long, requires = "dry_run")]
    no_check: bool,
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Nginx { list: true, .. } => nginx::list(),
        Command::Nginx { names, .. } => nginx::get_all(&names),
        Command::Build { nginx } => build::command(&nginx),
        Command::Env { nginx } => env::command(&nginx),
        Command::Test(args) => test::command(&args),
        Command::Tidy => tidy::command(),
        Command::Alerts => promtool::check(),
        Command::OldestRust => oldest::command(),
        Command::Asan(args) => asan::command(&args),
        Command::Deny => deny::command(),
        Command::Docs => docs::command(),
        Command::Bench { what: Bench::Bound(args) } => bench::bound(&args),
        Command::Bench { what: Bench::Report } => bench::report(),
        Command::Bench { what: Bench::Check { nginx } } => bench::check(&nginx),
        Command::Chaos(args) => chaos::command(&args),
        Command::Crowd(args) => crowd::command(&args),
        Command::Flood(args) => flood::command(&args),
        Command::Fuzz(args) => fuzz::command(&args),
        Command::Interop(args) => interop::command(&args),
        Command::Mutants(args) => mutants::command(&args),
        Command::Demo(args) => demo::command(&args),
        Command::Package(args) => package::command(&args),
        Command::Release(args) => release::command(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
