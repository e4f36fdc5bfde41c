//! Chaos on one NGINX: the runner is the test kit's, its exit status is the command's.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, bail};

use crate::packages::{self, Need};
use crate::{ChaosArgs, build, demo, ui};

/// `cargo xtask chaos`
pub fn command(args: &ChaosArgs) -> Result<()> {
    let built = ui::stage("module", || {
        packages::ensure(&[Need::Fetch, Need::Module])?;
        build::build(&args.nginx)
    })?;
    // Optimised a little, it checks three times as many answers; without debug information it is compiled as soon.
    let optimised =
        ["--features", "http2", "--config", "profile.dev.opt-level=1", "--config", "profile.dev.debug=false"];
    let runner = ui::stage("chaos runner", || demo::testkit_binary_with("ntlm-chaos", &optimised))?;
    let mut runner = Command::new(runner);
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
    runner.env("NTLM_NGINX", built.nginx).env_remove("NTLM_MODULE");
    if let Some(module) = built.module {
        runner.env("NTLM_MODULE", module);
    }
    let error = runner.exec();
    bail!("cannot run {}: {error}", runner.get_program().to_string_lossy())
}
