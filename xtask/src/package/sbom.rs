//! The bills of materials: the crates that the module and the command are made of, in CycloneDX, as `cargo cyclonedx` writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::NAME;
use super::deb::PROBE;
use super::source::Source;
use crate::{paths, ui};

/// The version that is installed if there is none; what it writes has its version in it.
const TOOL: &str = "cargo-cyclonedx@0.5.9";

/// Crates, and what their bills are called after.
const OF: [(&str, &str); 2] = [("ngx-http-upstream-ntlm", NAME), (PROBE, PROBE)];

/// Writes them to `out`.
pub fn write(source: &Source, out: &Path) -> Result<()> {
    let tool = tool()?;
    for (of, name) in OF {
        let manifest = source.tree.join("crates").join(of).join("Cargo.toml");
        let mut cyclonedx = Command::new(&tool);
        cyclonedx.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5"]);
        cyclonedx.args(["--override-filename", "bom"]).arg("--manifest-path").arg(&manifest);
        ui::run(cyclonedx.env("SOURCE_DATE_EPOCH", source.epoch.to_string()).current_dir(&source.tree))?;

        let written = manifest.with_file_name("bom.json");
        let text = fs::read_to_string(&written).context("cargo cyclonedx wrote nothing")?;
        // It names our own crates by the folder they are in.
        let folder = source.tree.display().to_string();
        let text = text.replace(&folder, &format!("/usr/src/{NAME}-{}", source.version));
        fs::write(out.join(format!("{name}-{}.cdx.json", source.version)), text)?;
        fs::remove_file(written)?;
    }
    Ok(())
}

fn tool() -> Result<PathBuf> {
    let own = paths::tools().join("bin/cargo-cyclonedx");
    for tool in [own.clone(), PathBuf::from("cargo-cyclonedx")] {
        let mut version = Command::new(&tool);
        version.args(["cyclonedx", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
        if version.status().is_ok_and(|status| status.success()) {
            return Ok(tool);
        }
    }
    ui::say("cargo-cyclonedx is missing: compiling it into target/tools, which takes some minutes once");
    let mut install = paths::cargo();
    install.args(["install", "--locked", TOOL, "--root"]).arg(paths::tools());
    ui::run(install.env_remove("CARGO_TARGET_DIR").current_dir(std::env::temp_dir()))?;
    Ok(own)
}
