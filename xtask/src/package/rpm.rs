//! The RPM: `packaging/rpm`'s spec, built by Debian's rpm with the sources of nginx that come as a crate.
//!
//! A machine with RHEL's own tools takes the same spec and the same tarballs. What is made here is for nginx.org's nginx of
//! that version, on systems whose C library is no older than Debian 12's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::source::Source;
use super::{NAME, deb};
use crate::changelog::{self, Changelog};
use crate::{nginx, paths, source as nginx_source, ui};

/// Where it is built: rpm writes that into the source package.
pub const INSIDE: &str = "/mnt/rpmbuild";

/// The spec, and in `packaging/rpm` with ".in" what it is made of.
const SPEC: &str = "nginx-module-ntlm.spec";

/// Builds in `work` and copies the packages to `out`.
pub fn build(source: &Source, work: &Path, out: &Path) -> Result<()> {
    let root = deb::build_root(deb::named(nginx::DEFAULT)?)?;
    let sources = work.join("SOURCES");
    fs::create_dir_all(&sources)?;
    for tarball in [&source.tarball, &source.vendor] {
        fs::copy(tarball, sources.join(tarball.file_name().unwrap_or_default()))?;
    }
    let version = nginx_sources(source, work, &sources)?;
    fs::write(work.join(SPEC), spec(source)?)?;
    // For other versions of nginx, and for RHEL's own tools.
    fs::copy(work.join(SPEC), out.join(SPEC))?;

    let defines = [
        format!("_topdir {INSIDE}"),
        format!("nginx_version {version}"),
        // As RHEL has it.
        "_libdir /usr/lib64".to_owned(),
        // It takes the "+" of the version for a pattern, and strips the debug symbols that were put apart.
        "__brp_strip %{nil}".to_owned(),
        // rpm writes these into the package.
        "_buildhost reproducible".to_owned(),
        "use_source_date_epoch_as_buildtime 1".to_owned(),
        "clamp_mtime_to_source_date_epoch 1".to_owned(),
        "source_date_epoch_from_changelog 0".to_owned(),
    ];
    let defines: String = defines.iter().map(|define| format!(" --define '{define}'")).collect();
    // Debian's packages are none of rpm's.
    let line = format!(
        "touch --date=@$SOURCE_DATE_EPOCH SOURCES/* *.spec; \
         rpmbuild --nodeps -ba{defines} {SPEC}; rpm2archive RPMS/*/*.rpm >/dev/null"
    );
    root.run("RPM", work, INSIDE, source.epoch, &line)?;

    for folder in ["RPMS/x86_64", "RPMS/aarch64", "SRPMS"] {
        let Ok(entries) = fs::read_dir(work.join(folder)) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "rpm") {
                fs::copy(&path, out.join(path.file_name().unwrap_or_default()))?;
            }
        }
    }
    Ok(())
}

/// Unpacks what was built in `work` to the new folder `dir`; returns the module.
pub fn unpack(work: &Path, dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    fs::create_dir_all(dir)?;
    for arch in fs::read_dir(work.join("RPMS"))? {
        for entry in fs::read_dir(arch?.path())? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "tgz") {
                ui::run(
                    Command::new("tar").arg("--extract").arg("--file").arg(&path).arg("--directory").arg(dir),
                )?;
            }
        }
    }
    Ok(dir.join("usr/lib64/nginx/modules/ngx_http_upstream_ntlm_module.so"))
}

/// Asks rpmlint about the packages in `out` and the spec. Unlike lintian it is asked for errors only: of its warnings some
/// are about what the spec has for RHEL's own rpm.
pub fn lint(out: &Path) -> Result<()> {
    let folder = paths::repo().join("packaging/rpm");
    let mut rpmlint = Command::new("rpmlint");
    rpmlint.arg("--config").arg(folder.join("rpmlint.toml")).arg(out.join(SPEC));
    for entry in fs::read_dir(out)? {
        let path = entry?.path();
        if path.extension().is_some_and(|end| end == "rpm") {
            rpmlint.arg(path);
        }
    }
    ui::run(&mut rpmlint)
}

/// The spec with what is said once in the repository, elsewhere.
fn spec(source: &Source) -> Result<String> {
    let template = fs::read_to_string(paths::repo().join("packaging/rpm").join(format!("{SPEC}.in")))?;
    let manifest = fs::read_to_string(source.tree.join("crates/ntlm-probe/Cargo.toml"))?;
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = "));
    let rust = rust.context("the probe names no rust-version")?.trim_matches('"');
    let maintainer = deb::maintainer()?;
    let package = changelog::Package { name: NAME, version: source.version, maintainer: &maintainer };
    let changelog = Changelog::read()?.rpm(&package, source.epoch)?;
    Ok(template
        .replace("@VERSION@", source.version)
        .replace("@RUST@", rust)
        .replace("@CHANGELOG@\n", &changelog))
}

/// Packs the sources of nginx as nginx.org does; returns their version.
fn nginx_sources(source: &Source, work: &Path, sources: &Path) -> Result<String> {
    let from = nginx_source::fetch(&work.join("fetch"), &work.with_extension("fetch.log"))?;
    let header = fs::read_to_string(from.join("src/core/nginx.h"))?;
    let line = header.lines().find(|line| line.starts_with("#define NGINX_VERSION"));
    let version =
        line.and_then(|line| line.split('"').nth(1)).context("nginx.h names no version")?.to_owned();
    let name = format!("nginx-{version}");
    ui::run(Command::new("cp").args(["-r", "--"]).arg(&from).arg(work.join(&name)))?;
    source.pack(work, &name, &sources.join(format!("{name}.tar.gz")), "gzip -9n")?;
    fs::remove_dir_all(work.join(&name))?;
    Ok(version)
}
