//! The suite, chaos, and a flood of streams, under a tool that watches every access to memory (AddressSanitizer, or valgrind's memcheck).
//!
//! AddressSanitizer watches NGINX's own code and what is allocated and freed. It does not see what the module reads and
//! writes, since a stable Rust compiler cannot be asked to say; valgrind's memcheck does, for every instruction. Both need
//! an NGINX whose pools give each piece of memory on its own. Whatever one of them says fails the run, not only the test
//! that was at work.
//!
//! Leaks are not looked for: a worker ends with its tables, and NGINX unloads the module before it is asked what is left.
//! That memory does not grow is shown by the suite's floods, unwatched.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::build;
use crate::nginx;
use crate::packages::{self, Need};
use crate::suite::Suite;
use crate::{AsanArgs, Watcher, chaos, flood, paths, ui};

/// Marks of a watcher's report. A mere remark of valgrind's has none of them.
const FINDINGS: &[&str] = &[
    "ERROR: AddressSanitizer",
    "ERROR: LeakSanitizer",
    "Invalid read",
    "Invalid write",
    "Invalid free",
    "Mismatched free",
    "uninitialised",
    "Jump to the invalid",
    "overlap in",
    "definitely lost",
    "Process terminating",
];

/// The lines of a report that are repeated on the screen.
const SHOWN: usize = 60;

/// Seeds of chaos, and what each checks; AddressSanitizer hardly slows NGINX down, memcheck by some thirty times.
const ASAN_CHAOS: [(&str, &str); 3] = [("--count", "16"), ("--responses", "2000"), ("--clients", "32")];
const MEMCHECK_CHAOS: [(&str, &str); 3] = [("--count", "8"), ("--responses", "250"), ("--clients", "12")];

/// Streams of HTTP/2.
const ASAN_FLOOD: [&str; 4] = ["--streams", "25000", "--h2load", "20000"];
const MEMCHECK_FLOOD: [&str; 4] = ["--streams", "0", "--h2load", "15000"];

/// By how much the time given to NGINX is longer under memcheck.
const SLOWNESS: u32 = 10;

/// `cargo xtask asan`
pub fn command(args: &AsanArgs) -> Result<()> {
    let needs = [Need::Nginx, Need::Module, Need::Suite, Need::Browser, Need::Memcheck, Need::Flood];
    ui::stage("packages", || packages::ensure(&needs))?;
    let suite = ui::stage("compile the suite", Suite::compile)?;
    let runners = match args.filter[..] {
        [] => Some((
            ui::stage("compile the chaos runner", chaos::compile)?,
            ui::stage("compile the flood", flood::compile)?,
        )),
        _ => None,
    };
    for watcher in [Watcher::Asan, Watcher::Memcheck] {
        if args.only.is_none_or(|only| only == watcher) {
            watch(watcher, &suite, runners.as_ref(), args)?;
        }
    }
    Ok(())
}

fn watch(
    watcher: Watcher,
    suite: &Suite,
    runners: Option<&(PathBuf, PathBuf)>,
    args: &AsanArgs,
) -> Result<()> {
    let (name, _) = named(watcher);
    let (size, streams) = match watcher {
        Watcher::Asan => (ASAN_CHAOS, ASAN_FLOOD),
        Watcher::Memcheck => (MEMCHECK_CHAOS, MEMCHECK_FLOOD),
    };
    let built = ui::stage(&format!("module for nginx {name}"), || build::build(name))?;
    watched(watcher, "suite", |environment| {
        suite.run_with(&built, args.test_threads, &args.filter, environment)
    })?;
    let Some((chaos, flood)) = runners else { return Ok(()) };
    watched(watcher, "chaos", |environment| {
        let mut runner = chaos::on(chaos, &built);
        runner.args(size.iter().flat_map(|(name, number)| [name, number]));
        runner.envs(environment.iter().map(|(name, value)| (name, value)));
        ui::run(&mut runner)
    })?;
    watched(watcher, "flood", |environment| {
        let mut runner = chaos::on(flood, &built);
        runner.args(["--watched", "--legs", "0", "--cycles", "0", "--expiring", "0"]).args(streams);
        runner.envs(environment.iter().map(|(name, value)| (name, value)));
        ui::run(&mut runner)
    })
}

/// The NGINX that it watches, and what it is called.
fn named(watcher: Watcher) -> (&'static str, &'static str) {
    match watcher {
        Watcher::Asan => (nginx::ASAN, "AddressSanitizer"),
        Watcher::Memcheck => (nginx::MEMCHECK, "memcheck"),
    }
}

/// Has somebody watch what `run` does.
fn watched(watcher: Watcher, what: &str, run: impl FnOnce(&[(&str, String)]) -> Result<()>) -> Result<()> {
    let (name, who) = named(watcher);
    let reports = paths::cache().join(format!("{name}.reports"));
    if reports.exists() {
        fs::remove_dir_all(&reports)?;
    }
    fs::create_dir_all(&reports)?;
    ui::stage(&format!("{what} under {who}"), || {
        let outcome = run(&environment(watcher, &reports));
        // First: what failed may have failed of this.
        judge(&reports)?;
        outcome
    })
}

/// The environment in which the watcher watches, and writes where its reports are looked for.
fn environment(watcher: Watcher, reports: &Path) -> Vec<(&'static str, String)> {
    let reports = reports.display();
    match watcher {
        Watcher::Asan => vec![
            // The order of libraries: a test may put a library of its own before the sanitizer's.
            (
                "ASAN_OPTIONS",
                format!("log_path={reports}/asan:halt_on_error=1:detect_leaks=0:verify_asan_link_order=0"),
            ),
        ],
        Watcher::Memcheck => vec![
            (
                "NTLM_NGINX_WRAP",
                format!(
                    "valgrind --quiet --tool=memcheck --trace-children=yes --leak-check=no --num-callers=30 \
                     --error-exitcode=99 --log-file={reports}/%p"
                ),
            ),
            ("NTLM_SLOWNESS", SLOWNESS.to_string()),
        ],
    }
}

/// Fails if a report was written, and shows the first.
fn judge(reports: &Path) -> Result<()> {
    let mut found: Vec<(PathBuf, String)> = Vec::new();
    for entry in fs::read_dir(reports)? {
        let path = entry?.path();
        let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
        if FINDINGS.iter().any(|finding| text.contains(finding)) {
            found.push((path, text));
        }
    }
    found.sort();
    let Some((first, text)) = found.first() else {
        return Ok(());
    };
    for line in text.lines().take(SHOWN) {
        ui::say(format!("    {line}"));
    }
    let kinds: BTreeSet<&str> = FINDINGS
        .iter()
        .filter(|finding| found.iter().any(|(_, text)| text.contains(**finding)))
        .copied()
        .collect();
    bail!(
        "{} reports in {} ({}); the one above is {}",
        found.len(),
        paths::shown(reports),
        kinds.into_iter().collect::<Vec<_>>().join(", "),
        paths::shown(first)
    )
}
