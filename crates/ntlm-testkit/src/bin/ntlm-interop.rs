//! `ntlm-interop`: other people's clients and servers through nginx, in a world of their own (see
//! `ntlm_testkit::interop`). `cargo xtask interop` installs what it needs and starts it.
//!
//! It must never run a server outside that world.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use ntlm_testkit::Nginx;
use ntlm_testkit::interop::clients::Job;
use ntlm_testkit::interop::front::{Fronts, Way};
use ntlm_testkit::interop::matrix::{self, Stage};
use ntlm_testkit::interop::servers::{Servers, Site};
use ntlm_testkit::interop::world::World;
use ntlm_testkit::interop::{USERS, clients, libraries, mixed, scale, streams};
use ntlm_testkit::pki::pki;
use ntlm_testkit::record::Recorder;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Debug, Parser)]
#[command(name = "ntlm-interop", about = "Other people's clients and servers, straight and through nginx")]
struct Args {
    /// The nginx to put between them
    #[arg(long, value_name = "FILE")]
    nginx: PathBuf,
    /// The module, unless it is built in
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// The folder of the Python and Node packages
    #[arg(long, value_name = "FOLDER")]
    tools: PathBuf,
    /// Only what is quick and steady
    #[arg(long)]
    quick: bool,
    /// Only clients whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    client: String,
    /// Only servers whose name contains this
    #[arg(long, value_name = "TEXT", default_value = "")]
    server: String,
    /// Write what clients and servers said to each other into this folder, and do nothing else
    #[arg(long, value_name = "FOLDER")]
    record: Option<PathBuf>,
    /// Only requests at once, and one after the other, over HTTP/2
    #[arg(long)]
    streams: bool,
    /// How often each of these sessions is played by each way
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: usize,
    /// Print what nginx logged of each request that differs
    #[arg(long)]
    log: bool,
    /// Everything is started in namespaces of its own, and this program anew in them
    #[arg(long, hide = true)]
    inside: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let world = match World::enter(&arguments) {
        Ok(world) => world,
        Err(error) => {
            eprintln!("error: {error}\n\nnamespaces are root's to make: run this as root");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let done = runtime.block_on(async {
        // The first process of a world has no default action for signals.
        let mut ended = signal(SignalKind::terminate()).expect("a handler for SIGTERM");
        tokio::select! {
            done = run(&args, &world) => done,
            _ = tokio::signal::ctrl_c() => Err("interrupted".to_owned()),
            _ = ended.recv() => Err("terminated".to_owned()),
        }
    });
    match done {
        Ok(findings) if findings.is_empty() => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("\n{} differences:", findings.len());
            for finding in findings {
                eprintln!("  {finding}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("\nerror: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args, world: &World) -> Result<Vec<String>, String> {
    Nginx::choose(&args.nginx, args.module.as_deref())?;
    let (major, minor, patch) = Nginx::binary().version();
    let begun = Instant::now();
    let servers = Servers::start(world, &args.tools).await?;
    println!("servers started in {:.1} s; NGINX {major}.{minor}.{patch}", begun.elapsed().as_secs_f64());

    if let Some(folder) = &args.record {
        return record(args, world, &servers.sites, folder).await;
    }
    let ways = Way::all(args.quick);
    let fronts = Fronts::start(&servers.sites, &ways).await;
    let stage = Stage { world, tools: &args.tools, fronts: &fronts };
    let mut wanted = clients::all();
    wanted.retain(|client| client.name.contains(&args.client) && (client.quick || !args.quick));
    let mut sites: Vec<_> = servers.sites.iter().collect();
    sites.retain(|site| site.name.contains(&args.server));
    let (mut played, mut findings) = (0, Vec::new());
    if !args.streams {
        (played, findings) = matrix::run(&stage, &sites, &wanted, &ways).await;
    }
    if args.client.is_empty() && !args.streams {
        for site in sites.iter().filter(|site| site.bound) {
            for way in &Way::all(true) {
                findings.extend(mixed::run(&stage, site, *way).await);
            }
        }
    }
    for site in sites.iter().filter(|site| site.name == "domain") {
        if !args.quick {
            let named = |name: &str| name.contains(&args.client);
            let (more, differences) = streams::run(&stage, site, &ways, named, args.rounds).await;
            played += more;
            findings.extend(differences);
        }
        if !args.streams {
            findings.extend(scale::run(world, &args.tools, site, &wanted).await?);
        }
    }
    if args.server.is_empty() && !args.streams {
        findings.extend(libraries::run(world, &args.tools, &args.client).await?);
    }
    if args.log {
        println!("{}", fronts.errors());
    }
    fronts.stop().await;
    let time = begun.elapsed().as_secs_f64();
    println!(
        "\n{played} sessions and {} differences in {time:.0} s on NGINX {major}.{minor}.{patch}",
        findings.len()
    );
    if args.streams && played == 0 {
        return Err(format!(
            "no client of --streams has \"{}\" in its name, or no server is \"domain\"",
            args.client
        ));
    }
    Ok(findings)
}

/// Records a login of each client at each site, straight and in the clear.
async fn record(args: &Args, world: &World, sites: &[Site], folder: &Path) -> Result<Vec<String>, String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let ca = pki().write_to(world.path()).map_err(|error| error.to_string())?.ca;
    let mut findings = Vec::new();
    for site in sites {
        let server = site.plain[0].parse().map_err(|_| format!("\"{}\" is no address", site.plain[0]))?;
        // A name with a comma is a variant of a client, whose login is that of the client.
        let clients = clients::all()
            .into_iter()
            .filter(|client| !client.files && !client.only_tls && !client.name.contains(','));
        for client in clients.filter(|client| client.suits(site)) {
            let recorder = Recorder::start(server).await;
            let base = format!("http://{}:{}", site.host, recorder.address().port());
            let job = Job { world, tools: &args.tools, ca: &ca, base, site, user: USERS[0] };
            let said = client.play(&job).await;
            let name: String = format!("{}-{}", site.name, client.name)
                .to_lowercase()
                .split(|c: char| !c.is_ascii_alphanumeric())
                .filter(|word| !word.is_empty())
                .collect::<Vec<_>>()
                .join("-");
            println!("{name}.txt");
            match recorder.take() {
                Some(tape) if said.answers.len() == client.answers => {
                    let path = folder.join(format!("{name}.txt"));
                    std::fs::write(&path, tape).map_err(|error| format!("{}: {error}", path.display()))?;
                }
                _ => findings.push(format!("{name}: {said}")),
            }
        }
    }
    Ok(findings)
}
