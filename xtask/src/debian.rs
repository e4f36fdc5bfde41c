//! An NGINX as a Debian suite ships it, next to whatever the machine itself has installed.
//!
//! The binary runs under its own suite's loader and libraries: a newer one than the machine's works too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::Apt;
use crate::arch::Arch;
use crate::sysroot::Sysroot;
use crate::ui;

/// The packages unpacked besides the libraries.
const PACKAGES: &[&str] = &["nginx", "nginx-common", "nginx-dev"];

/// njs, for the suite, where its package needs no library that nginx does not.
pub fn added(suite: &str) -> Option<&'static str> {
    (suite == "bookworm").then_some("libnginx-mod-http-js")
}

/// Fills `dir` with the NGINX of `suite` for `arch`: `root`, the wrapper `nginx`, and configured headers in `src`.
pub fn make(suite: &str, arch: Arch, dir: &Path, log: &Path) -> Result<()> {
    let apt = Apt::new(suite, arch, &dir.join("apt"))?;
    ui::quietly(&format!("package list of {suite}"), log, apt.get().arg("update"))?;

    let mut packages: BTreeSet<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    packages.extend(apt.libraries_of("nginx")?);
    packages.extend(added(suite).map(str::to_owned));
    let root = dir.join("root");
    apt.unpack(&packages, &dir.join("debs"), &root, log)?;
    fs::remove_dir_all(dir.join("apt"))?;

    write_wrapper(arch, dir, &root, "usr/sbin/nginx")?;

    let src = dir.join("src");
    ui::run(Command::new("cp").arg("-a").arg(root.join("usr/share/nginx/src")).arg(&src))?;
    let configure = ". ./conf_flags && ./configure \"${NGX_CONF_FLAGS[@]}\" \"$@\"";
    let mut command = Command::new("bash");
    command.args(["-c", configure, "configure"]).current_dir(&src);
    // The compiler's options that dpkg-buildflags names.
    command.env("DEB_HOST_ARCH", arch.debian());
    if arch.is_foreign() {
        let compiler = Sysroot::get(arch)?.put_compiler(dir)?;
        command.arg(format!("--with-cc={}", compiler.display()));
    }
    ui::quietly("configuring its headers", log, &mut command)
}

/// Unpacks the sources of the NGINX of `suite` into the new folder `src`, as its authors released them.
pub fn sources(suite: &str, src: &Path, log: &Path) -> Result<()> {
    let dir = src.with_file_name("fetch");
    let apt = Apt::new(suite, Arch::Amd64, &dir.join("apt"))?;
    ui::quietly(&format!("source list of {suite}"), log, apt.get().arg("update"))?;
    let mut download = apt.get();
    download.args(["source", "--download-only", "--tar-only", "nginx"]);
    ui::quietly("sources", log, download.current_dir(&dir))?;
    let is_tarball = |path: &PathBuf| path.to_string_lossy().contains(".orig.tar.");
    let files = fs::read_dir(&dir)?.flatten().map(|file| file.path());
    let tarball = files.filter(|path| path.extension().is_some_and(|end| end != "asc")).find(is_tarball);
    let tarball = tarball.context("apt-get source left no tarball")?;
    fs::create_dir(src)?;
    let mut unpack = Command::new("tar");
    ui::run(unpack.arg("-xf").arg(tarball).args(["--strip-components=1", "-C"]).arg(src))?;
    Ok(fs::remove_dir_all(&dir)?)
}

/// In `dir`, a program of the same name as that in `root`: starts it with the loader and libraries of its suite, as the same process.
///
/// `--argv0` lets an upgrade of the running binary (SIGUSR2) come back through the wrapper.
pub fn write_wrapper(arch: Arch, dir: &Path, root: &Path, program: &str) -> Result<()> {
    let libraries: Vec<PathBuf> = ["lib", "usr/lib"]
        .iter()
        .flat_map(|lib| fs::read_dir(root.join(lib)).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir() && path.to_string_lossy().contains("-linux-gnu"))
        .collect();
    let loader = libraries
        .iter()
        .flat_map(|dir| fs::read_dir(dir).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ld-linux")))
        .context("the packages hold no loader (ld-linux*)")?;

    let from_here =
        |path: &Path| -> Result<String> { Ok(format!("$here/{}", path.strip_prefix(dir)?.display())) };
    let library_path: Vec<String> = libraries.iter().map(|path| from_here(path)).collect::<Result<_>>()?;
    let script = format!(
        r#"#!/bin/sh
case $0 in
    /*) self=$0 ;;
    *) self=$PWD/$0 ;;
esac
here=${{self%/*}}
exec {}"{}" --argv0 "$self" --library-path "{}" "{}" "$@"
"#,
        if arch.is_foreign() { arch.runner().to_owned() + " " } else { String::new() },
        from_here(&loader)?,
        library_path.join(":"),
        from_here(&root.join(program))?,
    );
    let name = Path::new(program).file_name().context("a program has a name")?;
    let wrapper = dir.join(name);
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(())
}
