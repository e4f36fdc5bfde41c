//! `cargo xtask package`: what users install, made from one commit.
//!
//! Everything is put together below `target`; `dist` gets it when it is complete. Nothing here may depend on the hour, the
//! machine or the folder: `--check` makes it all twice, in different folders, and compares.

mod compat;
mod deb;
mod elf;
mod install;
mod namespace;
mod root;
mod rpm;
mod sbom;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::Built;
use crate::nginx::Nginx;
use crate::packages::{self, Need};
use crate::suite::Suite;
use crate::{PackageArgs, paths, ui};
use deb::Deb;
use source::Source;

/// A release's name in files and folders.
const NAME: &str = "nginx-module-ntlm";

/// Folders of the systems that packages are built in: one for what is kept, another for what that is compared with.
const BUILD_FOLDERS: [&str; 2] = ["/mnt/build", "/srv/some/other/folder"];

/// The nginx whose package CI has time for.
const IN_CI: &str = "1.22";

/// `cargo xtask package`
pub fn command(args: &PackageArgs) -> Result<()> {
    if args.compat {
        return compat::command(args);
    }
    need_root()?;
    ui::stage("packages", || packages::ensure(&[Need::Fetch, Need::Package]))?;
    let releases = if args.nginx.is_empty() { deb::RELEASES.iter().collect() } else { named(&args.nginx)? };
    // Without a choice, everything.
    let whole = args.nginx.is_empty();

    let work = paths::repo().join("target/package");
    let first = ui::stage("packages for dist", || {
        make(&releases, whole, true, &work.join("first"), BUILD_FOLDERS[0])
    })?;
    if args.check {
        let second = ui::stage("the same once more, in another folder", || {
            make(&releases, whole, true, &work.join("second/time"), BUILD_FOLDERS[1])
        })?;
        ui::stage("the two compared", || compare(&first, &second, &[]))?;
        let suite = compile_suite()?;
        for release in &releases {
            check(release, &first, &suite, args.test_threads)?;
        }
        if whole {
            check_rpm(&work.join("first/rpm"), &first, &suite, args.test_threads)?;
        }
    }

    let dist = paths::repo().join("dist");
    publish(&first, &dist)?;
    println!("{}", dist.display());
    Ok(())
}

/// The part that `cargo xtask test` runs: the packages for the oldest Debian, made, tested and installed; the module's twice.
///
/// Only root may set up the clean system that it is installed into; anybody else is told what was left out.
pub fn in_ci(suite: &Suite, test_threads: usize) -> Result<()> {
    if !packages::is_root() {
        ui::say(
            "skipped: the Debian package; \"sudo cargo xtask package --nginx 1.22 --check\" makes and checks it",
        );
        return Ok(());
    }
    ui::stage("packages for packages", || packages::ensure(&[Need::Package]))?;
    let release = deb::named(IN_CI)?;
    let work = paths::repo().join("target/package");
    let first = ui::stage("Debian packages", || {
        make(&[release], false, true, &work.join("first"), BUILD_FOLDERS[0])
    })?;
    // The command takes longer than the module; that it comes out the same is left to "cargo xtask package --check".
    let second = ui::stage("the module once more, in another folder", || {
        make(&[release], false, false, &work.join("second/time"), BUILD_FOLDERS[1])
    })?;
    ui::stage("the two compared", || compare(&first, &second, &[deb::PROBE]))?;
    check(release, &first, suite, test_threads)
}

fn named(names: &[String]) -> Result<Vec<&'static deb::Release>> {
    names.iter().map(|name| deb::named(name)).collect()
}

fn need_root() -> Result<()> {
    if packages::is_root() {
        return Ok(());
    }
    bail!(
        "packages are built in systems of their own, which only root can set up; run\n\n    \
         sudo env PATH=\"$PATH\" HOME=\"$HOME\" cargo xtask package\n"
    )
}

/// Makes everything for `releases` in the new folder `work`; returns the folder of the results.
fn make(
    releases: &[&deb::Release],
    whole: bool,
    with_probe: bool,
    work: &Path,
    inside: &str,
) -> Result<PathBuf> {
    if work.exists() {
        fs::remove_dir_all(work)?;
    }
    let out = work.join("out");
    fs::create_dir_all(&out)?;
    let source = Source::assemble(&work.join("source"))?;
    for release in releases {
        deb::build(release, &source, &work.join(release.suite), inside, &out, with_probe)?;
    }
    if whole {
        rpm::build(&source, &work.join("rpm"), &out)?;
        sbom::write(&source, &out)?;
    }
    Ok(out)
}

/// Fails unless both folders have the same files with the same bytes, but for packages whose names start as one of `besides`.
fn compare(first: &Path, second: &Path, besides: &[&str]) -> Result<()> {
    let (mut one, mut other) = (contents(first)?, contents(second)?);
    for files in [&mut one, &mut other] {
        files.retain(|name, _| !besides.iter().any(|start| name.starts_with(start)));
    }
    if one.is_empty() {
        bail!("there is nothing in {}", paths::shown(first));
    }
    if let Some(name) = one.keys().chain(other.keys()).find(|name| one.get(*name) != other.get(*name)) {
        bail!(
            "{name} is not reproducible: see\n\n    diffoscope {} {}\n",
            first.join(name).display(),
            second.join(name).display()
        );
    }
    ui::say(format!("  {} files, byte for byte the same", one.len()));
    Ok(())
}

fn contents(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        files.insert(name, fs::read(&path)?);
    }
    Ok(files)
}

fn compile_suite() -> Result<Suite> {
    ui::stage("what the suite needs", || packages::ensure(&[Need::Suite]))?;
    ui::stage("compile the suite", Suite::compile)
}

/// Looks at the module in a package, runs the suite with that very file, and lives through a life of the package.
fn check(release: &deb::Release, out: &Path, suite: &Suite, test_threads: usize) -> Result<()> {
    let name = release.nginx;
    let deb = Deb::find(release, out)?;
    let unpacked = out.with_file_name(format!("{}.unpacked", release.suite));
    let module = deb.unpack(&unpacked)?;
    ui::stage(&format!("files in the packages for nginx {name}"), || elf::check(&module, &unpacked))?;
    ui::stage(&format!("lintian on the packages for nginx {name}"), || deb.lint())?;

    let nginx = Nginx::named(name)?;
    ui::stage(&format!("nginx {name}"), || nginx.get())?;
    let built = Built::with(nginx, module);
    ui::stage(&format!("suite with the packaged module on nginx {name}"), || {
        suite.run_with(&built, test_threads, &[], &[])
    })?;
    ui::stage(&format!("life of the packages on Debian {}", release.suite), || {
        install::check(release, &deb, out)
    })
}

/// Looks at the module in the RPM, and runs the suite with it on an nginx of the same version. No system that takes RPMs is
/// to be had from Debian's packages, so it is not installed.
fn check_rpm(work: &Path, out: &Path, suite: &Suite, test_threads: usize) -> Result<()> {
    let unpacked = work.with_file_name("rpm.unpacked");
    let module = rpm::unpack(work, &unpacked)?;
    ui::stage("files in the RPMs", || elf::check(&module, &unpacked))?;
    ui::stage("rpmlint on the RPMs and their spec", || rpm::lint(out))?;
    let nginx = Nginx::named("1.28")?;
    ui::stage("nginx 1.28", || nginx.get())?;
    let built = Built::with(nginx, module);
    ui::stage("suite with the RPM's module on nginx 1.28", || suite.run_with(&built, test_threads, &[], &[]))
}

/// Replaces `dist` and adds the checksums.
fn publish(out: &Path, dist: &Path) -> Result<()> {
    if dist.exists() {
        fs::remove_dir_all(dist)?;
    }
    fs::create_dir_all(dist)?;
    let mut names: Vec<String> = contents(out)?.into_keys().collect();
    names.sort();
    for name in &names {
        fs::copy(out.join(name), dist.join(name)).with_context(|| format!("cannot write dist/{name}"))?;
    }
    let sums = ui::output(Command::new("sha256sum").arg("--").args(&names).current_dir(dist))?;
    fs::write(dist.join("SHA256SUMS"), sums)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{compare, paths};

    #[test]
    fn other_bytes_are_no_reproduction() {
        let dir = paths::repo().join(format!("target/package.test.{}", std::process::id()));
        let (one, other) = (dir.join("one"), dir.join("other"));
        for folder in [&one, &other] {
            fs::create_dir_all(folder).unwrap();
        }
        assert!(compare(&one, &other, &[]).is_err(), "nothing was made");
        for folder in [&one, &other] {
            fs::write(folder.join("a.deb"), "the same").unwrap();
        }
        assert!(compare(&one, &other, &[]).is_ok());
        fs::write(other.join("a.deb"), "the sane").unwrap();
        assert!(compare(&one, &other, &[]).unwrap_err().to_string().contains("a.deb"));
        fs::write(other.join("a.deb"), "the same").unwrap();
        fs::write(other.join("b.deb"), "").unwrap();
        assert!(compare(&one, &other, &[]).unwrap_err().to_string().contains("b.deb"));
        assert!(compare(&one, &other, &["b"]).is_ok(), "b was left out on purpose");
        fs::remove_dir_all(dir).unwrap();
    }
}
