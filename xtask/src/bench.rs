//! `cargo xtask bench`: what a request, a waiting client and a login cost. `ntlm-bench` measures and writes; this gets what it
//! needs.
//!
//! The numbers of the last release are in `docs/performance`. A new measurement goes to `target/bench`, or there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::{self, Need};
use crate::{BoundArgs, build, paths, ui};

const TOOL: &str = "ntlm-bench";

/// valgrind makes NGINX slow, and so does a machine that others use.
const SLOWNESS: &str = "6";

/// `cargo xtask bench bound`
pub fn bound(args: &BoundArgs) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Bench])?;
    let tool = tool()?;
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

/// `cargo xtask bench check`
pub fn check(name: &str) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Bench])?;
    let mut check = on(&tool()?, name)?;
    ui::run(check.arg("check").arg(kept().join(format!("nginx-{name}.json"))))
}

/// Where the numbers of the last release are.
fn kept() -> PathBuf {
    paths::repo().join("docs/performance")
}

/// The tool, optimized: it must not be what is waited for.
fn tool() -> Result<PathBuf> {
    let mut cargo = paths::cargo();
    cargo.args(["build", "--package", TOOL, "--profile", "command"]);
    cargo.args(["--message-format", "json-render-diagnostics"]);
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
