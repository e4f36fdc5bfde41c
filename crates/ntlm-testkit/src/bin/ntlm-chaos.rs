//! Runs chaos seed after seed, says what it found, and fails if that is anything. `cargo xtask chaos` runs it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use ntlm_testkit::Nginx;
use ntlm_testkit::chaos::{Outcome, Size, run, smallest};

/// How long a smaller run that fails as well is looked for.
const LOOKING: Duration = Duration::from_secs(60);

#[derive(Parser)]
#[command(about = "Clients, origins and nginx at random, and every answer checked")]
struct Args {
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many seeds, one after the other
    #[arg(long, value_name = "K", conflicts_with = "minutes")]
    count: Option<u64>,
    /// Go on with the next seed until so much time has passed
    #[arg(long, value_name = "M")]
    minutes: Option<f64>,
    /// Responses for each seed
    #[arg(long, value_name = "N", default_value_t = Size::default().responses)]
    responses: u64,
    /// Clients at a time
    #[arg(long, value_name = "N", default_value_t = Size::default().clients)]
    clients: usize,
    /// The most clients one after the other in the place of each
    #[arg(long, value_name = "N", default_value_t = usize::MAX, hide_default_value = true)]
    lives: usize,
    /// Run the one seed as it is: do not look for a smaller run that fails as well
    #[arg(long)]
    replay: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The findings tell what a task said as it panicked.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{}", panic.to_string().chars().take(300).collect::<String>());
    }));
    let args = Args::parse();
    let size = Size { clients: args.clients.max(1), lives: args.lives, responses: args.responses };
    let (major, minor, patch) = Nginx::binary().version();
    println!("chaos on NGINX {major}.{minor}.{patch}");
    let begun = Instant::now();
    let mut responses = 0;
    let mut seeds = 0;
    loop {
        let outcome = run(args.seed + seeds, size).await;
        println!("{outcome}");
        seeds += 1;
        responses += outcome.responses;
        if !outcome.findings.is_empty() {
            let time = begun.elapsed().as_secs_f64();
            println!("\nfound in {time:.1} s, by the seed's own {:.1} s:", outcome.time.as_secs_f64());
            tell(&outcome);
            if !args.replay {
                println!("\nlooking for a smaller run that fails as well");
                let smallest = smallest(outcome, LOOKING).await;
                println!("\nthe smallest: {smallest}");
                tell(&smallest);
            }
            return ExitCode::FAILURE;
        }
        let done = match args.minutes {
            _ if args.replay => true,
            Some(minutes) => begun.elapsed().as_secs_f64() >= 60.0 * minutes,
            None => seeds >= args.count.unwrap_or(1),
        };
        if done {
            break;
        }
    }
    let time = begun.elapsed().as_secs_f64();
    println!("\n{responses} responses checked over {seeds} seeds in {time:.0} s, nothing found");
    ExitCode::SUCCESS
}

fn tell(outcome: &Outcome) {
    for finding in outcome.findings.iter().take(10) {
        println!("  {finding}");
    }
    if outcome.findings.len() > 10 {
        println!("  and {} more", outcome.findings.len() - 10);
    }
    println!("{}", outcome.details);
    let Size { clients, lives, responses } = outcome.size;
    let lives = if lives == usize::MAX { String::new() } else { format!(" --lives {lives}") };
    println!(
        "again: cargo xtask chaos --seed {} --clients {clients} --responses {responses}{lives} --replay",
        outcome.seed
    );
}
