//! The bills of materials: the crates that the module and the command are made of, in CycloneDX, as `cargo cyclonedx` writes it.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::NAME;
use super::deb::PROBE;
use super::source::Source;
use crate::{tools, ui};

/// The version that is installed if there is none; what it writes has its version in it.
const VERSION: &str = "0.5.9";

/// Crates, and what their bills are called after.
const OF: [(&str, &str); 2] = [("ngx-http-upstream-ntlm", NAME), (PROBE, PROBE)];

/// Writes them to `out`.
pub fn write(source: &Source, out: &Path) -> Result<()> {
    let tool = tools::get("cargo-cyclonedx", &["--version", VERSION])?;
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
