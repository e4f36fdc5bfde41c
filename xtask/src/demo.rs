//! Prepares everything the demo needs, then becomes it: Ctrl-C and the exit status are the demo's own.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::{DemoArgs, build, paths, ui};

/// `cargo xtask demo`
pub fn command(args: &DemoArgs) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Suite])?;
    let built = build::build(&args.nginx)?;

    let demo = testkit_binary("ntlm-demo")?;

    let mut demo = Command::new(demo);
    demo.arg("--nginx").arg(built.nginx);
    if let Some(module) = built.module {
        demo.arg("--module").arg(module);
    }
    if args.once {
        demo.arg("--once");
    }
    if let Some(upstream) = &args.upstream {
        demo.arg("--upstream").arg(upstream);
    }
    let error = demo.exec();
    bail!("cannot run {}: {error}", demo.get_program().to_string_lossy())
}

/// Builds a binary of the test kit and says where it is.
pub fn testkit_binary(name: &str) -> Result<PathBuf> {
    testkit_binary_with(name, &[])
}

/// Builds a binary of the test kit with more arguments for cargo.
pub fn testkit_binary_with(name: &str, args: &[&str]) -> Result<PathBuf> {
    // The dev profile: it is compiled once to be run for a minute, and the tests share what it compiles.
    let mut cargo = paths::cargo();
    cargo.args([
        "build",
        "--package",
        "ntlm-testkit",
        "--message-format",
        "json-render-diagnostics",
        "--bin",
        name,
    ]);
    cargo.args(args);
    let messages = ui::output(cargo.current_dir(paths::repo()))?;
    ui::executables(&messages, "bin").pop().with_context(|| format!("cargo did not say where it put {name}"))
}
