//! Debian packages: `packaging/deb` put beside the sources, and built by each suite's own tools in that suite.
//!
//! The suite's `nginx-dev` decides the compiler's flags and the nginx ABI that the package depends on; nothing here does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::root::Root;
use super::source::Source;
use crate::changelog::{self, Changelog};
use crate::{paths, ui};

/// The source package, and the binary package of the module.
pub const PACKAGE: &str = "libnginx-mod-http-upstream-ntlm";

/// The binary package of the command.
pub const PROBE: &str = "ntlm-probe";

/// Where nginx looks for modules.
const MODULE: &str = "usr/lib/nginx/modules/ngx_http_upstream_ntlm_module.so";

/// A Debian that packages are made for.
pub struct Release {
    /// Its nginx, as `cargo xtask nginx --list` names it.
    pub nginx: &'static str,
    /// Its name in the archive.
    pub suite: &'static str,
    /// The end of the version, which sorts its packages before those of the next release.
    pub suffix: &'static str,
}

/// Every one, oldest first.
pub const RELEASES: &[Release] = &[
    Release { nginx: "1.22", suite: "bookworm", suffix: "~deb12u1" },
    Release { nginx: "1.26", suite: "trixie", suffix: "~deb13u1" },
    Release { nginx: "1.30", suite: "forky", suffix: "~deb14u1" },
];

/// The release whose nginx is called `name`.
pub fn named(name: &str) -> Result<&'static Release> {
    RELEASES.iter().find(|release| release.nginx == name).with_context(|| {
        let known: Vec<&str> = RELEASES.iter().map(|release| release.nginx).collect();
        format!("there is no Debian with nginx \"{name}\" here; packages are made for {}", known.join(", "))
    })
}

/// The system that `release` is built in.
pub fn build_root(release: &Release) -> Result<Root> {
    let mut packages = vec!["debhelper", "libclang-dev", "nginx", "nginx-dev"];
    if release.suite == "bookworm" {
        // The RPM is built there too, and its debug symbols put apart.
        packages.extend(["cpio", "elfutils", "rpm"]);
    }
    Root::get(&format!("{}-build", release.suite), release.suite, "buildd", &packages)
}

/// Builds in `work`, which is the folder `inside` for the compiler, and copies what is for users to `out`.
pub fn build(
    release: &Release,
    source: &Source,
    work: &Path,
    inside: &str,
    out: &Path,
    with_probe: bool,
) -> Result<()> {
    let root = build_root(release)?;
    let tree = work.join(PACKAGE);
    copy(&source.tree, &tree)?;
    copy(&source.tree.with_file_name("vendor"), &tree.join("vendor"))?;
    copy(&paths::repo().join("packaging/deb"), &tree.join("debian"))?;
    let upstream = format!("{PACKAGE}_{}", source.version);
    fs::copy(&source.tarball, work.join(format!("{upstream}.orig.tar.xz")))?;
    fs::copy(&source.vendor, work.join(format!("{upstream}.orig-vendor.tar.xz")))?;
    write_changelog(&tree.join("debian"), release, source)?;

    let profile =
        if with_probe { "" } else { " --build-profiles=pkg.libnginx-mod-http-upstream-ntlm.noprobe" };
    let line = format!("cd {PACKAGE}; dpkg-buildpackage --no-sign{profile}");
    root.run(&format!("Debian package for {}", release.suite), work, inside, source.epoch, &line)?;
    for entry in fs::read_dir(work)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Not .changes and .buildinfo: they tell of this one build.
        let is_package = [PACKAGE, PROBE].iter().any(|package| name.starts_with(package));
        if is_package && [".deb", ".dsc", ".tar.xz"].iter().any(|end| name.ends_with(end)) {
            fs::copy(&path, out.join(&name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    ui::run(Command::new("cp").args(["-r", "--"]).arg(from).arg(to))
}

/// Writes the changelog that dpkg reads the version from.
fn write_changelog(debian: &Path, release: &Release, source: &Source) -> Result<()> {
    let maintainer = maintainer()?;
    let package = changelog::Package { name: PACKAGE, version: source.version, maintainer: &maintainer };
    let text = Changelog::read()?.debian(&package, release.suite, release.suffix, source.epoch)?;
    Ok(fs::write(debian.join("changelog"), text)?)
}

/// Who the packages say to write to.
pub fn maintainer() -> Result<String> {
    let control = fs::read_to_string(paths::repo().join("packaging/deb/control"))?;
    let line = control.lines().find_map(|line| line.strip_prefix("Maintainer: "));
    Ok(line.context("debian/control names no maintainer")?.to_owned())
}

/// The binary packages that were made.
pub struct Deb {
    /// The module.
    pub file: PathBuf,
    debug: PathBuf,
    /// The command.
    pub probe: PathBuf,
    probe_debug: PathBuf,
}

impl Deb {
    /// Those for `release` in `out`.
    pub fn find(release: &Release, out: &Path) -> Result<Self> {
        let find = |package: &str| {
            let files = fs::read_dir(out)?.filter_map(|entry| Some(entry.ok()?.path()));
            let mut files = files.filter(|path| {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                name.starts_with(&format!("{package}_"))
                    && name.contains(release.suffix)
                    && name.ends_with(".deb")
            });
            files.next().with_context(|| format!("no {package} for {} in {}", release.suite, out.display()))
        };
        Ok(Self {
            file: find(PACKAGE)?,
            debug: find(&format!("{PACKAGE}-dbgsym"))?,
            probe: find(PROBE)?,
            probe_debug: find(&format!("{PROBE}-dbgsym"))?,
        })
    }

    /// Unpacks them and their debug symbols to the new folder `dir`; returns the module.
    pub fn unpack(&self, dir: &Path) -> Result<PathBuf> {
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        for deb in [&self.file, &self.debug, &self.probe, &self.probe_debug] {
            ui::run(Command::new("dpkg-deb").arg("--extract").arg(deb).arg(dir))?;
        }
        Ok(dir.join(MODULE))
    }

    /// The package's `field`.
    pub fn field(&self, field: &str) -> Result<String> {
        field_of(&self.file, field)
    }

    /// Asks lintian about the packages and about the sources of all of them.
    pub fn lint(&self) -> Result<()> {
        let version = self.field("Version")?;
        let mut lintian = Command::new("lintian");
        lintian.args(["--fail-on", "error,warning", "--allow-root", "--tag-display-limit", "0"]);
        // It has opinions on names of suites, and knows only those that were there when it was made.
        lintian.args(["--suppress-tags", "bad-distribution-in-changes-file"]);
        lintian.args([&self.file, &self.debug, &self.probe, &self.probe_debug]);
        lintian.arg(self.file.with_file_name(format!("{PACKAGE}_{version}.dsc")));
        ui::run(&mut lintian)
    }
}

/// A field of the binary package `file`.
pub fn field_of(file: &Path, field: &str) -> Result<String> {
    let value = ui::output(Command::new("dpkg-deb").arg("--field").arg(file).arg(field))?;
    Ok(value.trim().to_owned())
}
