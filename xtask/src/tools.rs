//! Cargo's own tools, such as `mdbook`: taken where the user has them, else compiled into `target/tools`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{paths, ui};

/// The tool; compiled with `options` of `cargo install` if it is missing.
pub fn get(name: &str, options: &[&str]) -> Result<PathBuf> {
    if let Some(tool) = installed(name) {
        return Ok(tool);
    }
    ui::say(format!("{name} is missing: compiling it into target/tools, which takes some minutes once"));
    let mut install = paths::cargo();
    install.args(["install", "--locked", name]).args(options).arg("--root").arg(paths::tools());
    // CARGO_TARGET_DIR or the workspace's own settings have no say in it.
    ui::run(install.env_remove("CARGO_TARGET_DIR").current_dir(std::env::temp_dir()))?;
    Ok(own(name))
}

/// The tool, if it is there.
pub fn installed(name: &str) -> Option<PathBuf> {
    [own(name), PathBuf::from(name)].into_iter().find(|tool| {
        let mut version = Command::new(tool);
        // As cargo calls its subcommands.
        version.args(name.strip_prefix("cargo-")).arg("--version");
        let status = version.stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    })
}

fn own(name: &str) -> PathBuf {
    paths::tools().join("bin").join(name)
}
