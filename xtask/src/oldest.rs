//! `cargo xtask oldest-rust`: compiles each crate with the oldest Rust that its manifest names.
//!
//! Not a part of `cargo xtask test`: it downloads toolchains.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::nginx::{self, Nginx};
use crate::packages::{self, Need};
use crate::{build, paths, ui};

/// `cargo xtask oldest-rust`
pub fn command() -> Result<()> {
    let nginx = Nginx::named(nginx::DEFAULT)?;
    packages::ensure(&[Need::Module])?;
    nginx.get()?;

    let mut metadata = paths::cargo();
    metadata.args(["metadata", "--locked", "--no-deps", "--format-version=1"]).current_dir(paths::repo());
    for (rust, names) in by_rust(&serde_json::from_str(&ui::output(&mut metadata)?)?)? {
        ui::stage(&format!("{} with Rust {rust}", names.join(", ")), || {
            let mut install = Command::new("rustup");
            install.args(["toolchain", "install", &rust, "--profile", "minimal", "--no-self-update"]);
            ui::run(&mut install).context("other versions of Rust come by rustup")?;
            let mut check = Command::new("rustup");
            check.args(["run", &rust, "cargo", "check", "--locked", "--target-dir"]);
            check.arg(paths::repo().join("target/oldest-rust").join(&rust));
            for name in names {
                check.args(["--package", &name]);
            }
            // For the module.
            ui::run(check.envs(build::environment(nginx)).current_dir(paths::repo()))
        })?;
    }
    Ok(())
}

/// The members of the workspace, by the Rust that they name.
fn by_rust(metadata: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let mut by_rust: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().context("cargo metadata names no packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        let rust = package["rust_version"].as_str().with_context(|| format!("{name} has no rust-version"))?;
        by_rust.entry(rust.to_owned()).or_default().push(name.to_owned());
    }
    Ok(by_rust)
}
