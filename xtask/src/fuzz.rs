//! Fuzzes the core with libFuzzer, for a bounded time.
//!
//! The stable toolchain does it, without cargo-fuzz: coverage comes from LLVM's pass, and the targets have no unsafe code
//! that an address sanitizer would be needed for. New inputs are kept in `target/fuzz`; `--keep` adds those that reach
//! new code to the corpus in the repository, which `cargo test -p ntlm-core` runs.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::{FuzzArgs, paths, ui};

/// Target, the longest input it is given, folders of seeds beside its corpus.
const TARGETS: &[(&str, u32, &[&str])] = &[
    ("scheme", 4096, &["crates/ntlm-core/testdata/handshakes"]),
    ("ntlmssp", 1024, &[]),
    ("spnego", 4096, &["crates/ntlm-core/testdata/handshakes"]),
    ("events", 600, &[]),
    ("exchange", 80, &[]),
];

/// The options of cargo-fuzz, without the sanitizer's.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
];

/// `cargo xtask fuzz`
pub fn command(args: &FuzzArgs) -> Result<()> {
    packages::ensure(&[Need::Fuzz])?;
    let binaries = ui::stage("compile the fuzz targets", compile)?;
    for &(target, max_len, seeds) in TARGETS {
        let binary = binaries.join(target);
        ui::stage(&format!("fuzz {target} for {} s", args.seconds), || {
            fuzz(&binary, target, max_len, seeds, args)
        })?;
    }
    Ok(())
}

/// Returns the folder of the executables.
fn compile() -> Result<PathBuf> {
    // Named, so that build scripts, which run here, are compiled without the flags.
    let host = ui::output(Command::new("rustc").arg("-vV"))?;
    let host = host.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let target_dir = folder();
    let mut cargo = paths::cargo();
    cargo.args(["build", "--release", "--locked", "--target", host, "--manifest-path"]);
    cargo.arg(paths::repo().join("fuzz/Cargo.toml")).arg("--target-dir").arg(&target_dir);
    ui::run(cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", FLAGS.join(" ")))?;
    Ok(target_dir.join(host).join("release"))
}

fn folder() -> PathBuf {
    paths::repo().join("target/fuzz")
}

fn fuzz(binary: &Path, target: &str, max_len: u32, seeds: &[&str], args: &FuzzArgs) -> Result<()> {
    let (found, corpus) =
        (folder().join("found").join(target), paths::repo().join("fuzz/corpus").join(target));
    let artifacts = folder().join("artifacts").join(target);
    for folder in [&found, &corpus, &artifacts] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", paths::shown(folder)))?;
    }
    let log = folder().join(format!("{target}.log"));
    let mut fuzzer = Command::new(binary);
    fuzzer
        .arg(format!("-max_total_time={}", args.seconds))
        .arg(format!("-max_len={max_len}"))
        .args(["-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([&found, &corpus])
        .args(seeds.iter().map(|seeds| paths::repo().join(seeds)));
    let file = std::fs::File::create(&log).with_context(|| format!("cannot write {}", paths::shown(&log)))?;
    let status = fuzzer.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).status();
    let status = status.with_context(|| format!("cannot run {}", paths::shown(binary)))?;

    let text = std::fs::read(&log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if !status.success() {
        let why = text.lines().filter(|line| line.contains("panicked at") || line.contains("SUMMARY"));
        why.for_each(|line| ui::say(format!("  {line}")));
        let reproducer =
            text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, p)| p);
        match reproducer {
            Some(path) => bail!(
                "{target} has a finding; reproduce it with\n\n    {} {path}\n\nits whole output is in {}",
                paths::shown(binary),
                paths::shown(&log)
            ),
            None => bail!("{target}: {status}; its whole output is in {}", paths::shown(&log)),
        }
    }
    let last = |name: &str| {
        text.lines().rev().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned()
    };
    let coverage = text.lines().rev().find_map(|line| Some(line.split_once(" cov: ")?.1)).unwrap_or("?");
    ui::say(format!(
        "  {target}: {} executions, {} a second, coverage {}, {} new inputs",
        last("stat::number_of_executed_units:"),
        last("stat::average_exec_per_sec:"),
        coverage.split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        last("stat::new_units_added:")
    ));
    if args.keep {
        let mut merge = Command::new(binary);
        merge.arg("-set_cover_merge=1").args([&corpus, &found]).stderr(Stdio::null());
        ui::run(&mut merge)?;
    }
    Ok(())
}
