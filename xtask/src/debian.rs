//! An NGINX as a Debian suite ships it, next to whatever the machine itself has installed.
//!
//! apt is given lists, a cache and a package state of our own, so nothing of the machine's is touched and nobody has
//! to be root. The binary runs under its own suite's loader and libraries: a newer one than the machine's works too.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::ui;

/// Debian's own public name, for machines whose apt names no Debian mirror.
const PUBLIC_MIRROR: &str = "http://deb.debian.org/debian";

const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// The packages unpacked besides the libraries.
const PACKAGES: &[&str] = &["nginx", "nginx-common", "nginx-dev"];

/// njs, for the suite, where its package needs no library that nginx does not.
pub fn added(suite: &str) -> Option<&'static str> {
    (suite == "bookworm").then_some("libnginx-mod-http-js")
}

/// Fills `dir` with the NGINX of `suite`: `root`, the wrapper `nginx`, and configured headers in `src`.
pub fn make(suite: &str, dir: &Path, log: &Path) -> Result<()> {
    let apt = Apt::new(suite, &dir.join("apt"))?;
    ui::quietly(&format!("package list of {suite}"), log, apt.get().arg("update"))?;

    let mut packages: BTreeSet<String> = PACKAGES.iter().map(|name| (*name).to_owned()).collect();
    packages.extend(apt.libraries_of("nginx")?);
    packages.extend(added(suite).map(str::to_owned));
    let debs = dir.join("debs");
    fs::create_dir(&debs)?;
    ui::quietly("packages", log, apt.get().arg("download").args(&packages).current_dir(&debs))?;

    let root = dir.join("root");
    for deb in fs::read_dir(&debs)? {
        let mut unpack = Command::new("dpkg-deb");
        ui::run(unpack.arg("--extract").arg(deb?.path()).arg(&root))?;
    }
    fs::remove_dir_all(&debs)?;
    fs::remove_dir_all(dir.join("apt"))?;

    write_wrapper(dir, &root)?;

    let src = dir.join("src");
    ui::run(Command::new("cp").arg("-a").arg(root.join("usr/share/nginx/src")).arg(&src))?;
    let configure = ". ./conf_flags && ./configure \"${NGX_CONF_FLAGS[@]}\"";
    ui::quietly(
        "configuring its headers",
        log,
        Command::new("bash").args(["-c", configure]).current_dir(&src),
    )
}

/// An apt that knows one suite and has installed nothing.
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// Of a suite, with its lists and cache in `dir`.
    pub fn new(suite: &str, dir: &Path) -> Result<Self> {
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(below))?;
        }
        let Some(keyring) = KEYRINGS.iter().find(|path| Path::new(path).exists()) else {
            bail!("no Debian archive keyring here: apt-get install debian-archive-keyring");
        };
        let sources = dir.join("suite.sources");
        let mirror = mirror();
        fs::write(
            &sources,
            format!("Types: deb\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"),
        )?;
        fs::write(dir.join("status"), "")?;

        let at = |name: &str| dir.join(name).display().to_string();
        let options = vec![
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::State::Status={}", at("status")),
            format!("Dir::Cache={}", at("cache")),
            // The folder is ours, not the user's that apt becomes for downloads.
            "APT::Sandbox::User=root".to_owned(),
            // A short or unsigned list is an error, not a warning.
            "APT::Update::Error-Mode=any".to_owned(),
            "Acquire::Retries=3".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ];
        Ok(Self { options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("LC_ALL", "C").arg("-q");
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
    }

    /// `apt-get`.
    pub fn get(&self) -> Command {
        self.command("apt-get")
    }

    /// The libraries `package` needs, and those need in turn.
    fn libraries_of(&self, package: &str) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut asked = vec![package.to_owned()];
        while !asked.is_empty() {
            let depends =
                ui::output(self.command("apt-cache").args(["depends", "--important"]).args(&asked))?;
            let on = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            let libraries = on.filter(|name| name.starts_with("lib") || name.starts_with("zlib"));
            asked = libraries.filter(|name| found.insert((*name).to_owned())).map(str::to_owned).collect();
        }
        Ok(found)
    }
}

/// `nginx`: starts the real binary with the loader and libraries of its suite, as the same process.
///
/// `--argv0` lets an upgrade of the running binary (SIGUSR2) come back through the wrapper.
fn write_wrapper(dir: &Path, root: &Path) -> Result<()> {
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
exec "{}" --argv0 "$self" --library-path "{}" "$here/root/usr/sbin/nginx" "$@"
"#,
        from_here(&loader)?,
        library_path.join(":"),
    );
    let wrapper = dir.join("nginx");
    fs::write(&wrapper, script)?;
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// The mirror the machine's own apt takes Debian from.
pub fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|file| file.path()),
    );
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| uris(&text)).find(|uri| is_debian(uri)).unwrap_or_else(|| PUBLIC_MIRROR.to_owned())
}

/// What the machine's own apt was told about reaching mirrors, as lines of its configuration: proxies, and that a mirror
/// may lag.
pub fn acquire_options() -> Result<Vec<String>> {
    let known = ui::output(Command::new("apt-config").args(["dump", "Acquire"]))?;
    let lines = known.lines().map(|line| line.trim_end_matches(';'));
    let ours = lines.filter(|line| {
        let name = line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        name == "acquire::check-valid-until"
            || (name.starts_with("acquire::http") && name.contains("::proxy"))
    });
    Ok(ours.map(str::to_owned).collect())
}

/// The addresses in a sources file, of either format apt knows.
fn uris(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let of_package_lines = lines.filter(|line| {
        let first = line.split_whitespace().next().unwrap_or_default();
        first == "deb" || first.eq_ignore_ascii_case("uris:")
    });
    let words = of_package_lines.flat_map(str::split_whitespace);
    words.filter(|word| word.contains("://")).map(str::to_owned).collect()
}

/// The archive itself, not its security updates, nor another distribution's or vendor's.
fn is_debian(uri: &str) -> bool {
    uri.starts_with("http") && uri.trim_end_matches('/').ends_with("/debian")
}

#[cfg(test)]
mod tests {
    use super::{is_debian, uris};

    #[test]
    fn the_archive_is_found_in_either_format() {
        let list = "# deb http://old.example/debian sid main\n\
                    deb [signed-by=/k.gpg arch=amd64] https://mirror.example/debian/ bookworm main\n\
                    deb-src https://mirror.example/debian bookworm main\n";
        assert_eq!(uris(list), ["https://mirror.example/debian/"]);
        let sources =
            "Types: deb\nURIs: http://a.example/debian-security http://a.example/debian\nSuites: trixie\n";
        let found: Vec<String> = uris(sources).into_iter().filter(|uri| is_debian(uri)).collect();
        assert_eq!(found, ["http://a.example/debian"]);
    }

    #[test]
    fn vendors_are_not_the_archive() {
        assert!(!is_debian("https://apt.example/repo"));
        assert!(!is_debian("http://mirror.example/debian-security"));
        assert!(!is_debian("cdrom:/debian"));
    }
}
