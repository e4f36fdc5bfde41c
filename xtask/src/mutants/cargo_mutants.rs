//! The core, changed by `cargo-mutants`: it replaces functions' bodies, operators and arms of matches.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::within;
use crate::{MutantsArgs, paths, tools, ui};

/// Seconds that the core's tests may take.
const PATIENCE: &str = "20";
/// Cases of each property, where the test names no number: enough to notice a change, and quick.
const CASES: &str = "64";
/// A run without time limit ends within this.
const DAY: Duration = Duration::from_secs(86_400);

/// Runs `cargo-mutants`, which lists what was not caught. The number of changes that no test noticed.
pub fn run(args: &MutantsArgs, until: Option<Instant>) -> Result<usize> {
    let out = paths::repo().join("target/mutants/core");
    let mut tool = Command::new(tools::get("cargo-mutants", &[])?);
    tool.args(["mutants", "--package", "ntlm-core", "--jobs", "2", "--no-shuffle", "--timeout", PATIENCE]);
    tool.arg("--output").arg(&out);
    if let Some(file) = &args.file {
        tool.args(["--file", &format!("**/*{file}*")]);
    }
    if let Some(shard) = &args.shard {
        tool.args(["--shard", shard]);
    }
    tool.args(["--", "--lib", "--tests"]);
    tool.env("PROPTEST_CASES", CASES).env_remove("CARGO_TARGET_DIR").current_dir(paths::repo());
    std::fs::create_dir_all(&out)?;
    let time = until.map_or(DAY, |until| until.saturating_duration_since(Instant::now()));
    // Its exit status says whether a change was missed, which its list says too.
    if within(&mut tool, time, "INT")?.is_none() {
        ui::say("the time is up: the rest is not tried");
    }
    let lines = |name: &str| -> Vec<String> {
        let text = std::fs::read_to_string(out.join("mutants.out").join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let (caught, late, missed) = (lines("caught.txt"), lines("timeout.txt"), lines("missed.txt"));
    for line in &missed {
        println!("SURVIVED: {line}");
    }
    ui::say(format!(
        "\ncore: {} caught, {} survived, {} not built",
        caught.len() + late.len(),
        missed.len(),
        lines("unviable.txt").len()
    ));
    Ok(missed.len())
}
