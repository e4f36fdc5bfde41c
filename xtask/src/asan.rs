//! The suite with somebody watching every access to memory.
//!
//! AddressSanitizer watches NGINX's own code and what is allocated and freed. It does not see what the module reads and
//! writes, since a stable Rust compiler cannot be asked to say; valgrind's memcheck does, for every instruction. Both need
//! an NGINX whose pools give each piece of memory on its own. Whatever one of them says fails the run, not only the test
//! that was at work.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::build;
use crate::nginx;
use crate::packages::{self, Need};
use crate::test::Suite;
use crate::{AsanArgs, Watcher, paths, ui};

/// What a watcher's report has. Where valgrind only remarks something its lines have none of these.
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

/// `cargo xtask asan`
pub fn command(args: &AsanArgs) -> Result<()> {
    let needs = [Need::Nginx, Need::Module, Need::Suite, Need::Browser, Need::Memcheck];
    ui::stage("packages", || packages::ensure(&needs))?;
    let suite = ui::stage("compile the suite", Suite::compile)?;
    for watcher in [Watcher::Asan, Watcher::Memcheck] {
        if args.only.is_none_or(|only| only == watcher) {
            watch(watcher, &suite, args)?;
        }
    }
    Ok(())
}

fn watch(watcher: Watcher, suite: &Suite, args: &AsanArgs) -> Result<()> {
    let (name, what) = match watcher {
        Watcher::Asan => (nginx::ASAN, "suite under AddressSanitizer"),
        Watcher::Memcheck => (nginx::MEMCHECK, "suite under memcheck"),
    };
    let built = ui::stage(&format!("module for nginx {name}"), || build::build(name))?;
    let reports = paths::cache().join(format!("{name}.reports"));
    if reports.exists() {
        fs::remove_dir_all(&reports)?;
    }
    fs::create_dir_all(&reports)?;
    let mut filter = args.filter.clone();
    if watcher == Watcher::Memcheck {
        // The demo's own tests give it the time that a person would.
        filter.extend(["--skip".to_owned(), "demo::".to_owned()]);
    }
    ui::stage(what, || {
        let outcome = suite.run_with(&built, args.test_threads, &filter, &environment(watcher, &reports));
        // First: a test that failed may have failed of this.
        judge(&reports)?;
        outcome
    })
}

/// What makes the watcher watch, and write where its reports are looked for.
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
        Watcher::Memcheck => vec![(
            "NTLM_NGINX_WRAP",
            format!(
                "valgrind --quiet --tool=memcheck --trace-children=yes --leak-check=no --num-callers=30 \
                     --error-exitcode=99 --log-file={reports}/%p"
            ),
        )],
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
