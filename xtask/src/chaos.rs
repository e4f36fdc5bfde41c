//! Chaos on one NGINX: the runner is the test kit's, its exit status is the command's.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::build::{self, Built};
use crate::packages::{self, Need};
use crate::{ChaosArgs, demo, ui};

/// `cargo xtask chaos`
pub fn command(args: &ChaosArgs) -> Result<()> {
    let built = ui::stage("module", || {
        packages::ensure(&[Need::Fetch, Need::Module])?;
        build::build(&args.nginx)
    })?;
    let mut runner = on(&ui::stage("chaos runner", compile)?, &built);
    runner.arg("--seed").arg(args.seed.to_string());
    let numbers = [
        ("--minutes", &args.minutes),
        ("--count", &args.count),
        ("--responses", &args.responses),
        ("--clients", &args.clients),
        ("--lives", &args.lives),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            runner.arg(name).arg(number.to_string());
        }
    }
    if args.replay {
        runner.arg("--replay");
    }
    let error = runner.exec();
    bail!("cannot run {}: {error}", runner.get_program().to_string_lossy())
}

/// Compiles the runner.
pub fn compile() -> Result<PathBuf> {
    // Optimised a little, it checks three times as many answers; without debug information it is compiled as soon.
    let optimised =
        ["--features", "http3", "--config", "profile.dev.opt-level=1", "--config", "profile.dev.debug=false"];
    demo::testkit_binary_with("ntlm-chaos", &optimised)
}

/// The runner, about to run on this NGINX.
pub fn on(runner: &Path, built: &Built) -> Command {
    let mut runner = Command::new(runner);
    runner.env("NTLM_NGINX", &built.nginx).env_remove("NTLM_MODULE");
    if let Some(module) = &built.module {
        runner.env("NTLM_MODULE", module);
    }
    runner
}
