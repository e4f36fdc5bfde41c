//! `cargo xtask mutants`: changes one line at a time and shows which changes the fast tests do not notice.
//!
//! `cargo-mutants` changes the core and runs the core's own tests. The module runs inside nginx only, so the project has a
//! table of changes for the module (`table.rs`), each with the tests of the suite that must fail.

mod cargo_mutants;
mod table;
mod tree;

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use self::table::{Mutation, all};
use self::tree::Tree;
use crate::build::Built;
use crate::nginx::Nginx;
use crate::packages::{self, Need};
use crate::suite::Suite;
use crate::{MutantsArgs, Mutated, ui};

/// Seconds that the tests of one change may take: a test that a change makes wait gives up after ten.
const PATIENCE: u64 = 150;
/// The forms of a configuration in which the tests are run, for a request with the defaults of `proxy_pass` takes another way than one without.
const FORMS: [&str; 2] = ["group", "replaced"];
/// Tests of the suite that run at the same time.
const TEST_THREADS: usize = 4;

/// The outcome of a change.
#[derive(Clone, PartialEq, Eq)]
enum Fate {
    /// By this test.
    Caught(String),
    /// The tests did not end within [`PATIENCE`].
    Hung,
    Survived,
    NotBuilt,
}

impl Fate {
    fn text(&self) -> String {
        match self {
            Fate::Caught(test) => format!("caught by {test}"),
            Fate::Hung => "caught by time".to_owned(),
            Fate::Survived => "SURVIVED".to_owned(),
            Fate::NotBuilt => "NOT BUILT".to_owned(),
        }
    }

    fn is_caught(&self) -> bool {
        matches!(self, Fate::Caught(_) | Fate::Hung)
    }
}

/// `cargo xtask mutants`
pub fn command(args: &MutantsArgs) -> Result<()> {
    let until = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let wants = |what: Mutated| args.only.is_none_or(|only| only == what);
    let mut unnoticed = 0;
    if wants(Mutated::Module) {
        unnoticed += module(args, until)?;
    }
    if wants(Mutated::Core) && until.is_none_or(|until| Instant::now() < until) {
        unnoticed += ui::stage("core", || cargo_mutants::run(args, until))?;
    }
    if unnoticed != 0 {
        bail!(
            "{unnoticed} changes that no test notices, or that do not compile; docs/reliability.md lists the known ones"
        );
    }
    Ok(())
}

/// Tries the rows of the table that `args` choose. The number of those that are neither caught nor known.
fn module(args: &MutantsArgs, until: Option<Instant>) -> Result<usize> {
    let (part, parts) = args.shard.as_deref().map_or(Ok((0, 1)), shard)?;
    let rows = all().enumerate().filter(|(index, _)| index % parts == part).map(|(_, row)| row);
    let chosen: Vec<&Mutation> = rows.filter(|row| is_chosen(row, args)).collect();
    if chosen.is_empty() {
        return Ok(0);
    }
    packages::ensure(&[Need::Fetch, Need::Nginx, Need::Module, Need::Suite])?;
    let suite = ui::stage("compile the suite", Suite::compile)?;
    let (mut fates, mut unnoticed) = (Vec::new(), 0);
    for name in ["1.22", "1.30"] {
        let rows: Vec<&&Mutation> = chosen.iter().filter(|row| row.nginx == name).collect();
        if rows.is_empty() {
            continue;
        }
        let nginx = Nginx::named(name)?;
        nginx.get()?;
        let tree = Tree::copy(nginx, part)?;
        ui::stage(&format!("the tests without a change, on nginx {name}"), || {
            unchanged(&tree, &suite, &rows)
        })?;
        for row in rows {
            if until.is_some_and(|until| Instant::now() >= until) {
                ui::say("the time is up: the rest is not tried");
                break;
            }
            let start = Instant::now();
            let fate = try_one(&tree, &suite, row, args.whole)?;
            let known = if fate == Fate::Survived && row.known { " (known)" } else { "" };
            let seconds = start.elapsed().as_secs();
            println!("{}{known} in {seconds} s: {}: {}", fate.text(), row.file, row.change());
            if !fate.is_caught() && !row.known {
                unnoticed += 1;
            }
            fates.push(fate);
        }
    }
    let count = |fate| fates.iter().filter(|it| **it == fate).count();
    ui::say(format!(
        "\nmodule: {} of {} rows tried: {} caught, {} survived, {} not built",
        fates.len(),
        all().count(),
        fates.iter().filter(|fate| fate.is_caught()).count(),
        count(Fate::Survived),
        count(Fate::NotBuilt)
    ));
    Ok(unnoticed)
}

fn is_chosen(row: &Mutation, args: &MutantsArgs) -> bool {
    let by_file = args.file.as_ref().is_none_or(|file| row.path().contains(file.as_str()));
    let by_text = args.text.as_ref().is_none_or(|text| row.text.contains(text.as_str()));
    by_file && by_text && args.nginx.as_ref().is_none_or(|name| row.nginx == name)
}

/// The part and the number of parts.
fn shard(text: &str) -> Result<(usize, usize)> {
    let numbers =
        text.split_once('/').and_then(|(part, parts)| Some((part.parse().ok()?, parts.parse().ok()?)));
    match numbers {
        Some((part, parts)) if part < parts => Ok((part, parts)),
        _ => bail!("\"{text}\" is no part such as 0/4"),
    }
}

/// The tests of all rows pass without a change; else what fails would say nothing about the changes. What fails beside all
/// others is run once more alone: the machine may be slow.
fn unchanged(tree: &Tree, suite: &Suite, rows: &[&&Mutation]) -> Result<()> {
    let Some(built) = tree.build()? else { bail!("the module does not compile") };
    let mut tests: Vec<&str> = rows.iter().flat_map(|row| row.tests).copied().collect();
    tests.sort_unstable();
    tests.dedup();
    for mut test in in_forms(suite, &built, &words(&tests)) {
        let failed = Running::start(&mut test)?.failed()?;
        if failed.is_empty() {
            continue;
        }
        ui::say(format!("    once more: {}", failed.join(", ")));
        let mut words = failed;
        words.push("--exact".to_owned());
        for mut test in suite.commands(&built, 1, &words) {
            ui::run(test.stdout(Stdio::null()))?;
        }
    }
    Ok(())
}

/// Applies one row, builds the module and runs the row's tests.
fn try_one(tree: &Tree, suite: &Suite, row: &Mutation, whole: bool) -> Result<Fate> {
    let changed = tree.change(row)?;
    let built = tree.build();
    let fate = match built? {
        None => Fate::NotBuilt,
        Some(built) => run_tests(suite, &built, if whole { &[] } else { row.tests })?,
    };
    changed.undo()?;
    Ok(fate)
}

/// The commands that run tests in each of [`FORMS`].
fn in_forms<'a>(suite: &'a Suite, built: &'a Built, words: &'a [String]) -> impl Iterator<Item = Command> {
    FORMS.iter().flat_map(|form| {
        let mut tests = suite.commands(built, TEST_THREADS, words);
        tests.iter_mut().for_each(|test| {
            test.env("NTLM_FORM", form);
        });
        tests
    })
}

/// Runs tests until one fails.
fn run_tests(suite: &Suite, built: &Built, tests: &[&str]) -> Result<Fate> {
    for mut test in in_forms(suite, built, &words(tests)) {
        let mut running = Running::start(&mut test)?;
        let fate = match running.failures.recv_timeout(Duration::from_secs(PATIENCE)) {
            Ok(test) => Fate::Caught(test),
            Err(RecvTimeoutError::Timeout) => Fate::Hung,
            // The output has ended.
            Err(RecvTimeoutError::Disconnected) if running.child.wait()?.success() => continue,
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Fate::Caught("the end of the tests".to_owned()));
            }
        };
        end(&mut running.child, "KILL")?;
        return Ok(fate);
    }
    Ok(Fate::Survived)
}

/// Tests at work, and the names of those that fail as they do. What they leave in the folder for temporary files is removed.
struct Running {
    child: Child,
    failures: Receiver<String>,
    temporary: PathBuf,
}

impl Running {
    fn start(test: &mut Command) -> Result<Self> {
        // Short: the path of a socket may have 107 bytes.
        let temporary = std::env::temp_dir().join(format!("ntlm-mutants-{}", std::process::id()));
        std::fs::create_dir_all(&temporary)?;
        test.env("TMPDIR", &temporary).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = test.process_group(0).spawn()?;
        let (failed, failures) = mpsc::channel();
        let out = child.stdout.take();
        spawn(move || {
            let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines().map_while(Result::ok));
            for line in lines {
                let name = line.strip_prefix("test ").and_then(|line| line.strip_suffix(" ... FAILED"));
                if name.is_some_and(|name| failed.send(name.to_owned()).is_err()) {
                    return;
                }
            }
        });
        Ok(Running { child, failures, temporary })
    }

    /// Waits for the end: the tests that failed.
    fn failed(mut self) -> Result<Vec<String>> {
        let failed = self.failures.iter().collect();
        self.child.wait()?;
        Ok(failed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

/// Ends a command and everything that it started: they are one group of processes.
fn end(child: &mut Child, signal: &str) -> Result<()> {
    let group = format!("-{}", child.id());
    ui::run(Command::new("kill").args(["-s", signal, "--", &group]))?;
    child.wait()?;
    Ok(())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// Runs a command and everything that it starts. `None` when it took longer than `time`; then the group of its processes
/// gets `signal`.
fn within(command: &mut Command, time: Duration, signal: &str) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + time;
    let mut child = command.stdin(Stdio::null()).process_group(0).spawn()?;
    while Instant::now() < until {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        sleep(Duration::from_millis(50));
    }
    end(&mut child, signal)?;
    Ok(None)
}
