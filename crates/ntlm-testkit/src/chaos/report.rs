//! The report of a finding, and the smallest run that still has it.
//!
//! It must never change what it tells of.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::checks::Finding;
use super::client::World;
use super::{Outcome, Size, run};
use crate::origin::Entry;

/// How often a smaller run is tried before it counts as one that finds nothing.
const TRIES: usize = 3;

/// All that is known of the first finding.
pub(super) fn details(world: &World, findings: &[Finding], ledger: &[Entry], log: &str) -> String {
    let mut text = String::new();
    let Some(finding) = findings.first() else { return text };
    if let Some(name) = &finding.client {
        let connection = name.split(['.', '~']).next().unwrap_or_default();
        let numbers = connection.trim_start_matches('s').split_once('-');
        if let Some((Ok(slot), Ok(number))) = numbers.map(|(slot, number)| (slot.parse(), number.parse())) {
            let _ = write!(text, "\nplan of {}", super::draw(&world.config, slot, number));
        }
        let _ = writeln!(text, "\nwhat {name} got:");
        for line in world.judge.seen_by(name) {
            let _ = writeln!(text, "  {line}");
        }
    }
    let concerned = |entry: &&Entry| {
        Some(entry.connection) == finding.connection
            || (finding.client.is_some() && entry.x_client == finding.client)
    };
    let _ = writeln!(text, "\nledger:");
    for entry in ledger.iter().filter(concerned) {
        let _ = writeln!(text, "  {entry}");
    }
    let lines: Vec<&str> = log.lines().collect();
    let _ = writeln!(text, "\nend of the error log:");
    for line in &lines[lines.len().saturating_sub(30)..] {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// Halves a run that failed for as long as it still fails, by the same check and within `time`. Returns the smallest that
/// did.
pub async fn smallest(mut failed: Outcome, time: Duration) -> Outcome {
    let begun = Instant::now();
    failed.size.responses = failed.responses.max(1);
    let check = failed.findings.first().map(|finding| finding.check);
    loop {
        let Size { clients, lives, responses } = failed.size;
        let halves = [
            Size { responses: responses.div_ceil(2), ..failed.size },
            Size { clients: clients.div_ceil(2), ..failed.size },
            Size { lives: lives.min(4096).div_ceil(2), ..failed.size },
        ];
        let mut smaller = None;
        'found: for size in halves.into_iter().filter(|&size| size != failed.size) {
            for _ in 0..TRIES {
                if begun.elapsed() > time {
                    return failed;
                }
                let outcome = run(failed.seed, size).await;
                if outcome.findings.iter().any(|finding| Some(finding.check) == check) {
                    smaller = Some(outcome);
                    break 'found;
                }
            }
        }
        match smaller {
            Some(outcome) => failed = outcome,
            None => return failed,
        }
    }
}
