//! The dependencies' licences, sources and bans, as `deny.toml` has them.
//!
//! Advisories are left to `cargo deny check advisories`: they live in a git repository that must be reachable.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{paths, tools, ui};

const TOOL: &str = "cargo-deny";

/// `cargo xtask deny`
pub fn command() -> Result<()> {
    check(&tools::get(TOOL, &[])?)
}

/// Runs the check if the tool is there already; tells how to get it otherwise.
pub fn check_if_installed() -> Result<()> {
    match tools::installed(TOOL) {
        Some(tool) => check(&tool),
        None => {
            ui::say("skipped: cargo-deny is not installed; \"cargo xtask deny\" installs and runs it");
            Ok(())
        }
    }
}

fn check(tool: &Path) -> Result<()> {
    let mut deny = Command::new(tool);
    ui::run(deny.args(["--all-features", "check", "bans", "licenses", "sources"]).current_dir(paths::repo()))
}
