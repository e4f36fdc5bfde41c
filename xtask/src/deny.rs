//! The dependencies' licences, sources and bans, as `deny.toml` has them.
//!
//! Advisories are left to `cargo deny check advisories`: they live in a git repository that must be reachable.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{paths, ui};

/// `cargo xtask deny`
pub fn command() -> Result<()> {
    let tool = match installed() {
        Some(tool) => tool,
        None => {
            ui::say("cargo-deny is missing: compiling it into target/tools, which takes some minutes once");
            let mut install = paths::cargo();
            install.args(["install", "--locked", "cargo-deny", "--root"]).arg(paths::tools());
            // CARGO_TARGET_DIR or the workspace's own settings have no say in it.
            ui::run(install.env_remove("CARGO_TARGET_DIR").current_dir(std::env::temp_dir()))?;
            own()
        }
    };
    check(&tool)
}

/// Runs the check if the tool is there already; tells how to get it otherwise.
pub fn check_if_installed() -> Result<()> {
    match installed() {
        Some(tool) => check(&tool),
        None => {
            ui::say("skipped: cargo-deny is not installed; \"cargo xtask deny\" installs and runs it");
            Ok(())
        }
    }
}

fn check(tool: &PathBuf) -> Result<()> {
    let mut deny = Command::new(tool);
    ui::run(deny.args(["--all-features", "check", "bans", "licenses", "sources"]).current_dir(paths::repo()))
}

fn own() -> PathBuf {
    paths::tools().join("bin/cargo-deny")
}

fn installed() -> Option<PathBuf> {
    [own(), PathBuf::from("cargo-deny")].into_iter().find(|tool| {
        let version =
            Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    })
}
