//! The sources that packages are built from: what the repository has of the module and the probe, and the crates they need.
//!
//! Two tarballs, which are the same bytes whenever and wherever they are made of the same commit.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::NAME;
use crate::changelog::{self, Changelog};
use crate::{paths, ui};

/// The files that users build and read: the module and the probe, without their tests.
const FILES: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "auto",
    "config",
    "config.make",
    "crates/ngx-http-upstream-ntlm",
    "crates/ntlm-client",
    "crates/ntlm-core",
    "crates/ntlm-probe",
    "docs",
    "examples",
    "packaging/deb/copyright",
    ":!crates/*/benches",
    ":!crates/*/tests",
];

/// The members of the workspace that are in it.
const MEMBERS: [&str; 4] =
    ["crates/ngx-http-upstream-ntlm", "crates/ntlm-client", "crates/ntlm-core", "crates/ntlm-probe"];

/// The systems that packages are for.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Files in crates that nobody can read the source of and nothing of ours needs: objects and libraries for Windows.
const PREBUILT: [&str; 2] = [".o", ".dll"];

/// Where cargo has the checksums of a vendored crate's files.
const CHECKSUMS: &str = ".cargo-checksum.json";

/// The sources, put together.
pub struct Source {
    /// Our version, as in Cargo.toml.
    pub version: &'static str,
    /// The commit's time, in seconds of Unix: the time of everything that is made.
    pub epoch: u64,
    /// Our own files.
    pub tree: PathBuf,
    /// The tree as a tarball with one folder in it, `nginx-module-ntlm-VERSION`.
    pub tarball: PathBuf,
    /// The crates, with one folder in it, `vendor`.
    pub vendor: PathBuf,
}

impl Source {
    /// Puts the sources together in the new folder `work`.
    pub fn assemble(work: &Path) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let tree = work.join(format!("{NAME}-{version}"));
        for name in tracked()? {
            let to = tree.join(&name);
            if let Some(dir) = to.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::copy(paths::repo().join(&name), &to).with_context(|| format!("cannot copy {name}"))?;
        }
        let epoch = epoch()?;
        let changelog = Changelog::read()?.packaged(version, &changelog::day(epoch)?)?;
        fs::write(tree.join("CHANGELOG.md"), changelog)?;
        leave_out_members(&tree.join("Cargo.toml"))?;
        for member in MEMBERS {
            leave_out_tests(&tree.join(member).join("Cargo.toml"))?;
        }

        // Drops from the lock file what is needed by what was left out, and raises nothing.
        let mut vendor = paths::cargo();
        vendor.args(["vendor", "--quiet", "--versioned-dirs"]).arg(work.join("vendor")).current_dir(&tree);
        ui::output(&mut vendor)?;
        let needed = needed(&tree)?;
        for entry in fs::read_dir(work.join("vendor"))? {
            let dir = entry?.path();
            let is_needed = needed.contains(&*dir.file_name().unwrap_or_default().to_string_lossy());
            if is_needed { drop_prebuilt(&dir)? } else { empty(&dir)? }
        }

        let source = Self {
            version,
            epoch,
            tarball: work.join(format!("{NAME}-{version}.tar.xz")),
            vendor: work.join(format!("{NAME}-{version}-vendor.tar.xz")),
            tree,
        };
        source.pack(work, &format!("{NAME}-{version}"), &source.tarball, "xz -6 -T1")?;
        source.pack(work, "vendor", &source.vendor, "xz -3 -T1")?;
        Ok(source)
    }

    /// Packs the folder `name` in `dir`.
    pub fn pack(&self, dir: &Path, name: &str, tarball: &Path, compressor: &str) -> Result<()> {
        pack(self.epoch, dir, name, tarball, compressor)
    }
}

/// Packs the folder `name` in `dir`, with the time `epoch` for every file.
pub fn pack(epoch: u64, dir: &Path, name: &str, tarball: &Path, compressor: &str) -> Result<()> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--sort=name", "--format=gnu", "--owner=0", "--group=0", "--numeric-owner"]);
    tar.arg("--mode=u+rw,go+rX,go-w").arg(format!("--use-compress-program={compressor}"));
    tar.arg(format!("--mtime=@{epoch}")).arg("--file").arg(tarball).arg("--directory").arg(dir);
    ui::run(tar.arg(name))
}

/// The files of the module that git knows, as they are in the working tree.
fn tracked() -> Result<Vec<String>> {
    let changed = ui::output(git().args(["status", "--porcelain", "--", "packaging"]).args(FILES))?;
    if !changed.is_empty() {
        ui::say("  these differ from the commit, so what is made belongs to no commit:");
        changed.lines().for_each(|line| ui::say(format!("    {line}")));
    }
    let names = ui::output(git().args(["ls-files", "-z", "--"]).args(FILES))?;
    let names: Vec<String> = names.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("git lists no files in {}", paths::repo().display());
    }
    Ok(names)
}

/// The time of the commit, or `SOURCE_DATE_EPOCH`.
pub fn epoch() -> Result<u64> {
    let text = match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => ui::output(git().args(["log", "-1", "--format=%ct"]))?,
    };
    text.trim().parse().with_context(|| format!("\"{}\" is no time in seconds", text.trim()))
}

fn git() -> Command {
    let mut git = Command::new("git");
    // Root may package what somebody else cloned.
    git.args(["-c", "safe.directory=*"]).current_dir(paths::repo());
    git
}

fn leave_out_members(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let members = format!("members = {MEMBERS:?}");
    let mut found = 0;
    let lines = text.lines().map(|line| {
        let is_members = line.starts_with("members = ");
        found += u32::from(is_members);
        if is_members { members.as_str() } else { line }
    });
    let new = lines.collect::<Vec<_>>().join("\n") + "\n";
    if found != 1 {
        bail!("Cargo.toml has {found} lines that start with \"members = \", not one");
    }
    Ok(fs::write(manifest, new)?)
}

/// Cuts the tests, and what only they depend on, out of a member's manifest.
fn leave_out_tests(manifest: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let mut kept = String::new();
    let mut of_tests = false;
    for line in text.lines() {
        if line.starts_with('[') {
            of_tests = ["[dev-dependencies]", "[[test]]", "[[bench]]"].contains(&line);
        }
        if !of_tests {
            kept = kept + line + "\n";
        }
    }
    Ok(fs::write(manifest, kept)?)
}

/// The crates that are compiled for any of [`TARGETS`], as `cargo vendor` names their folders.
fn needed(tree: &Path) -> Result<BTreeSet<String>> {
    let mut metadata = paths::cargo();
    metadata.args(["metadata", "--locked", "--format-version=1"]).current_dir(tree);
    for target in TARGETS {
        metadata.args(["--filter-platform", target]);
    }
    let metadata: Value = serde_json::from_str(&ui::output(&mut metadata)?)?;
    let packages = metadata["packages"].as_array().context("cargo metadata names no packages")?;
    let name =
        |package: &Value| Some(format!("{}-{}", package["name"].as_str()?, package["version"].as_str()?));
    packages.iter().map(|package| name(package).context("a package without a name or version")).collect()
}

/// Leaves only the manifest of a vendored crate: the lock file names it, so cargo wants to read it, but compiles it for other
/// systems only.
fn empty(dir: &Path) -> Result<()> {
    let manifest = fs::read(dir.join("Cargo.toml"))?;
    let list = dir.join(CHECKSUMS);
    let mut sums: Value = serde_json::from_str(&fs::read_to_string(&list)?)?;
    sums["files"] = json!({});
    fs::remove_dir_all(dir)?;
    fs::create_dir_all(dir.join("src"))?;
    fs::write(dir.join("src/lib.rs"), "")?;
    fs::write(dir.join("Cargo.toml"), manifest)?;
    Ok(fs::write(&list, sums.to_string())?)
}

/// Removes binaries from a vendored crate, and from cargo's list of its files.
fn drop_prebuilt(dir: &Path) -> Result<()> {
    let list = dir.join(CHECKSUMS);
    let mut sums: Value = serde_json::from_str(&fs::read_to_string(&list)?)?;
    let files = sums["files"].as_object_mut().with_context(|| format!("{} has no files", list.display()))?;
    let is_prebuilt = |name: &str| PREBUILT.iter().any(|end| name.ends_with(end));
    let dropped: Vec<String> = files.keys().filter(|name| is_prebuilt(name)).cloned().collect();
    for name in &dropped {
        files.remove(name);
        fs::remove_file(dir.join(name))?;
    }
    if !dropped.is_empty() {
        fs::write(&list, sums.to_string())?;
    }
    Ok(())
}
