//! Output for people: headings, a spinner for what takes long, and a failed command's last words.
//!
//! All of it goes to stderr; stdout belongs to results (a path) and to the test runner.

use std::fs::{self, OpenOptions};
use std::io::{IsTerminal, Write, stderr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::paths;

/// Lines of a failed command's output that are repeated on the screen.
const LAST_LINES: usize = 30;

/// One line for people.
pub fn say(line: impl AsRef<str>) {
    eprintln!("{}", line.as_ref());
}

/// Runs `stage` under a heading and says how long it took, also when it failed.
pub fn stage<T>(name: &str, stage: impl FnOnce() -> Result<T>) -> Result<T> {
    say(format!("\n=== {name}"));
    let start = Instant::now();
    let done = stage();
    let verdict = if done.is_ok() { "done" } else { "FAILED" };
    say(format!("--- {name}: {verdict} in {}", duration(start.elapsed())));
    done.with_context(|| format!("stage \"{name}\" failed"))
}

/// Runs a command whose output nobody wants to read unless it fails: it is appended to `log`.
///
/// A terminal gets a spinner, anything else one line at the start and one at the end.
pub fn quietly(what: &str, log: &Path, command: &mut Command) -> Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot write {}", paths::shown(log)))?;
    writeln!(file, "\n$ {}", line_of(command))?;
    command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);

    let busy = Busy::start(what);
    let start = Instant::now();
    let status = command.status();
    busy.stop();
    let status = status.with_context(|| cannot_run(command))?;
    if !status.success() {
        let text = fs::read(log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_LINES)) {
            say(format!("    {line}"));
        }
        bail!("{what}: {status}; the whole output is in {}", paths::shown(log));
    }
    say(format!("  {what} ({})", duration(start.elapsed())));
    Ok(())
}

/// Runs a command that speaks for itself.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| cannot_run(command))?;
    if !status.success() {
        bail!("{status}: {}", line_of(command));
    }
    Ok(())
}

/// Runs a command for its output; its errors go to the screen.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().with_context(|| cannot_run(command))?;
    if !output.status.success() {
        bail!("{}: {}", output.status, line_of(command));
    }
    String::from_utf8(output.stdout).with_context(|| format!("unreadable output of {}", line_of(command)))
}

/// The spinner, where there is a terminal to spin on.
struct Busy(Option<ProgressBar>);

impl Busy {
    fn start(what: &str) -> Self {
        if !stderr().is_terminal() {
            say(format!("  {what} …"));
            return Self(None);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})") {
            bar.set_style(style);
        }
        bar.set_message(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self(Some(bar))
    }

    fn stop(self) {
        if let Some(bar) = self.0 {
            bar.finish_and_clear();
        }
    }
}

fn duration(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1} s", time.as_secs_f32()),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

fn line_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

fn cannot_run(command: &Command) -> String {
    format!("cannot run \"{}\": is it installed?", command.get_program().to_string_lossy())
}

/// The executables in cargo's JSON messages that were built from targets of this kind ("lib", "bin", "test").
pub fn executables(messages: &str, kind: &str) -> Vec<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_kind = messages.filter(|message| {
        message["target"]["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|name| name == kind))
    });
    of_kind.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).collect()
}
