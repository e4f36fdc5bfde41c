//! `cargo xtask bench`: what a request, a waiting client and a login cost. `ntlm-bench` measures and writes; this gets what it
//! needs.
//!
//! The numbers of the last release are in `docs/performance`. A new measurement goes to `target/bench`, or there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::{self, Need};
use crate::{BoundArgs, build, nginx, paths, ui};

const TOOL: &str = "ntlm-bench";

/// valgrind makes NGINX slow, and so does a machine that others use.
const SLOWNESS: &str = "6";

/// `cargo xtask bench bound`
pub fn bound(args: &BoundArgs) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Bench])?;
    let tool = tool(Profile::Measuring)?;
    let criterion = paths::repo().join("target/bench/criterion");
    if args.only.is_empty() {
        ui::stage("operations on the table alone", || {
            let mut cargo = paths::cargo();
            cargo.args(["bench", "--package", "ntlm-core", "--profile", "command", "--", "--quiet"]);
            cargo.env("CRITERION_HOME", &criterion).current_dir(paths::repo());
            ui::run(&mut cargo)
        })?;
    }
    let folder = if args.keep { kept() } else { paths::repo().join("target/bench") };
    for name in &args.nginx {
        let file = folder.join(format!("nginx-{name}.json"));
        ui::stage(&format!("bench bound on nginx {name}"), || {
            let mut measure = on(&tool, name)?;
            measure.arg("measure").arg("--out").arg(&file);
            if args.only.is_empty() {
                measure.arg("--criterion").arg(&criterion);
            }
            for part in &args.only {
                measure.args(["--only", part]);
            }
            ui::run(&mut measure)
        })?;
        println!("{}", paths::shown(&file));
    }
    Ok(())
}

/// `cargo xtask bench report`
pub fn report() -> Result<()> {
    ui::run(Command::new(tool(Profile::Counting)?).arg("report").arg(paths::repo().join("docs")))
}

/// `cargo xtask bench check`
pub fn check(name: &str) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Bench])?;
    let mut check = on(&tool(Profile::Counting)?, name)?;
    ui::run(check.arg("check").arg(kept().join(format!("nginx-{name}.json"))))
}

/// The check, as a stage of `cargo xtask test`.
pub fn check_in_test() -> Result<()> {
    ui::stage("instructions beside those of the last release", || check(nginx::DEFAULT))
}

/// Where the numbers of the last release are.
fn kept() -> PathBuf {
    paths::repo().join("docs/performance")
}

/// How the tool is compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Profile {
    /// Optimized: it must not be what is waited for.
    Measuring,
    /// As its tests are: callgrind counts only what NGINX does.
    Counting,
}

fn tool(profile: Profile) -> Result<PathBuf> {
    let mut cargo = paths::cargo();
    cargo.args(["build", "--package", TOOL, "--message-format", "json-render-diagnostics"]);
    if profile == Profile::Measuring {
        cargo.args(["--profile", "command"]);
    }
    let messages = ui::output(cargo.current_dir(paths::repo()))?;
    ui::executables(&messages, "bin").pop().with_context(|| format!("cargo did not say where it put {TOOL}"))
}

/// The tool, with the module for an NGINX.
fn on(tool: &PathBuf, name: &str) -> Result<Command> {
    let built = build::build(name)?;
    let mut command = Command::new(tool);
    command.env("NTLM_NGINX", built.nginx).env("NTLM_SLOWNESS", SLOWNESS).env_remove("NTLM_MODULE");
    if let Some(module) = built.module {
        command.env("NTLM_MODULE", module);
    }
    Ok(command)
}
