//! `cargo xtask package --compat`: the module alone, a file for each nginx and processor.
//!
//! nginx.org builds its packages with `--with-compat`, and so do distributions: one file serves all of them that are of the same
//! version, on every system whose C library is as old as RHEL 8's or newer.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{elf, publish, source};
use crate::build::{self, Built, MODULE};
use crate::nginx::Nginx;
use crate::packages::{self, Need};
use crate::suite::Suite;
use crate::{PackageArgs, paths, ui};

/// The nginx that each file is built for, and loaded by.
const NAMES: &[&str] = &[
    "1.18",
    "1.18-arm64",
    "1.22",
    "1.22-arm64",
    "1.26",
    "1.26-arm64",
    "1.28",
    "1.28-arm64",
    "1.30",
    "1.30-arm64",
];

/// The C library of RHEL 8. Debian 10's is the same, Ubuntu 20.04's and Debian 11's are newer.
const C_LIBRARY: (u32, u32) = (2, 28);

/// The name of files and folders.
const NAME: &str = "ngx_http_upstream_ntlm_module";

/// The documents that go along with each file.
const DOCUMENTS: [&str; 4] = ["CHANGELOG.md", "LICENSE", "README.md", "docs/install.md"];

/// Makes the files, has an nginx load each, and puts them into `dist/compat`.
pub fn command(args: &PackageArgs) -> Result<()> {
    let chosen: Vec<&str> = match args.nginx.as_slice() {
        [] => NAMES.to_vec(),
        names => names.iter().map(String::as_str).collect(),
    };
    if let Some(other) = chosen.iter().find(|name| !NAMES.contains(name)) {
        bail!("there is no file for \"{other}\"; there is one for each of {}", NAMES.join(", "));
    }
    ui::stage("packages", || packages::ensure(&[Need::Fetch, Need::Nginx, Need::Module, Need::Suite]))?;
    let suite = ui::stage("compile the suite", Suite::compile)?;
    let work = paths::repo().join("target/compat");
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    let out = work.join("out");
    fs::create_dir_all(&out)?;
    let epoch = source::epoch()?;
    let mut table = Vec::new();
    for name in chosen {
        table.push(make(Nginx::named(name)?, &work, &out, epoch, &suite, args.test_threads)?);
    }
    ui::say("\nmade, loaded and logged in through:");
    table.iter().for_each(ui::say);
    let dist = paths::repo().join("dist/compat");
    publish(&out, &dist)?;
    println!("{}", dist.display());
    Ok(())
}

/// Makes one file; returns a line that tells of it.
fn make(
    nginx: &Nginx,
    work: &Path,
    out: &Path,
    epoch: u64,
    suite: &Suite,
    test_threads: usize,
) -> Result<String> {
    let built = ui::stage(&format!("module for nginx {}", nginx.name), || {
        nginx.get()?;
        build::for_old_systems(nginx)
    })?;
    let version = nginx.exact_version().context("its headers name no version")?;
    let folder = format!("{NAME}-{version}-{}", nginx.arch.machine());
    let dir = work.join(&folder);
    fs::create_dir(&dir)?;
    let module = dir.join(MODULE);
    let mut strip = Command::new(format!("{}-linux-gnu-strip", nginx.arch.machine()));
    ui::run(strip.arg("--strip-unneeded").arg("-o").arg(&module).arg(&built))?;
    let (major, minor) = elf::check_alone(&module, C_LIBRARY)
        .with_context(|| format!("the file for nginx {} will not do", nginx.name))?;
    ui::stage(&format!("a login by it through nginx {}", nginx.name), || {
        suite.run_with(&Built::with(nginx, module), test_threads, &["smoke::".to_owned()], &[])
    })?;
    for document in DOCUMENTS {
        let from = paths::repo().join(document);
        fs::copy(&from, dir.join(from.file_name().unwrap_or_default()))?;
    }
    source::pack(epoch, work, &folder, &out.join(format!("{folder}.tar.xz")), "xz -6 -T1")?;
    Ok(format!("  {folder:52} C library {major}.{minor} or newer"))
}
