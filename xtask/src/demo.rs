//! Prepares everything the demo needs, then becomes it: Ctrl-C and the exit status are the demo's own.
//!
//! Must build nothing that the demo does not use: a person who tries the module for the first time waits for the build.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::{DemoArgs, build, paths, ui};

#[path = "../../crates/ntlm-testkit/src/demo/url.rs"]
mod url;

pub use self::url::ServerUrl;

/// The demo logs in by a few lines of its own, and its origin speaks neither TLS nor WebSockets.
pub const DEMO_FEATURES: &[&str] = &["--no-default-features"];

/// `cargo xtask demo`
pub fn command(args: &DemoArgs) -> Result<()> {
    if let Some(url) = args.upstream.as_ref().filter(|url| !url.is_known()) {
        bail!("the name {} has no address here", url.host);
    }
    if let Some(listen) = args.listen {
        std::net::TcpListener::bind(listen).with_context(|| format!("cannot listen at {listen}"))?;
    }
    packages::ensure(&[Need::Fetch, Need::Module, Need::Suite])?;
    let built = build::build(&args.nginx)?;

    let mut demo = Command::new(testkit_binary_with("ntlm-demo", DEMO_FEATURES)?);
    demo.arg("--nginx").arg(built.nginx);
    if let Some(module) = built.module {
        demo.arg("--module").arg(module);
    }
    if args.once {
        demo.arg("--once");
    }
    if let Some(upstream) = &args.upstream {
        demo.arg("--upstream").arg(upstream.to_string());
    }
    if let Some(user) = &args.user {
        demo.arg("--user").arg(user).arg("--probe").arg(binary("ntlm-probe", "ntlm-probe", &[])?);
    }
    if let Some(listen) = &args.listen {
        demo.arg("--listen").arg(listen.to_string());
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
    binary("ntlm-testkit", name, args)
}

fn binary(package: &str, name: &str, args: &[&str]) -> Result<PathBuf> {
    // The dev profile: it is compiled once to be run for a minute, and the tests share what it compiles.
    let mut cargo = paths::cargo();
    cargo.args(["build", "--package", package, "--bin", name]).args(args);
    cargo.args(["--message-format", "json-render-diagnostics"]);
    let messages = ui::output(cargo.current_dir(paths::repo()))?;
    ui::executables(&messages, "bin").pop().with_context(|| format!("cargo did not say where it put {name}"))
}
