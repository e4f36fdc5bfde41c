//! Floods a worker with forged logins, and makes and ends bindings: long runs of what the suite does shortly.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::packages::{self, Need};
use crate::{FloodArgs, build, demo, ui};

/// `cargo xtask flood`
pub fn command(args: &FloodArgs) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Suite, Need::Flood])?;
    let built = build::build(&args.nginx)?;
    let mut flood = Command::new(compile()?);
    flood.arg("--legs").arg(args.legs.to_string()).arg("--cycles").arg(args.cycles.to_string());
    flood.arg("--expiring").arg(args.expiring.to_string());
    flood.arg("--streams").arg(args.streams.to_string()).arg("--h2load").arg(args.streams.to_string());
    flood.env("NTLM_NGINX", built.nginx).env_remove("NTLM_MODULE");
    if let Some(module) = built.module {
        flood.env("NTLM_MODULE", module);
    }
    ui::run(&mut flood)
}

/// Compiles the runner.
pub fn compile() -> Result<PathBuf> {
    demo::testkit_binary_with("ntlm-flood", &["--features", "http2"])
}
