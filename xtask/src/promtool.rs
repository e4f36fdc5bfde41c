//! The alert rules, judged by Prometheus' own tool: that of the machine, else that of Debian's package, unpacked and not installed.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::arch::Arch;
use crate::{paths, ui};

/// The suite whose package is taken.
const SUITE: &str = "bookworm";

/// Checks the rules, and runs their tests.
pub fn check() -> Result<()> {
    let promtool = get()?;
    let folder = paths::repo().join("packaging/monitoring");
    for arguments in
        [["check", "rules", "prometheus-rules.yml"], ["test", "rules", "prometheus-rules.test.yml"]]
    {
        ui::run(Command::new(&promtool).args(arguments).current_dir(&folder))?;
    }
    Ok(())
}

fn get() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(installed) =
        std::env::split_paths(&path).map(|dir| dir.join("promtool")).find(|file| file.is_file())
    {
        return Ok(installed);
    }
    let dir = paths::tools().join("prometheus");
    let promtool = dir.join("root/usr/bin/promtool");
    if promtool.is_file() {
        return Ok(promtool);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).context("cannot remove what is left of an earlier try")?;
    }
    fs::create_dir_all(&dir)?;
    let log = dir.join("log");
    let apt = Apt::new(SUITE, Arch::Amd64, &dir.join("apt"))?;
    ui::quietly(&format!("package list of {SUITE}"), &log, apt.get().arg("update"))?;
    ui::quietly("Prometheus", &log, apt.get().args(["download", "prometheus"]).current_dir(&dir))?;
    for entry in fs::read_dir(&dir)? {
        let file = entry?.path();
        if file.extension().is_some_and(|end| end == "deb") {
            ui::run(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(dir.join("root")))?;
            fs::remove_file(&file)?;
        }
    }
    fs::remove_dir_all(dir.join("apt"))?;
    Ok(promtool)
}
