//! apt, told of one Debian suite and given lists, a cache and a package state of our own, so nothing of the machine's is
//! touched and no root is needed.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::arch::Arch;
use crate::ui;

/// Debian's own public name, for machines whose apt names no Debian mirror.
const PUBLIC_MIRROR: &str = "http://deb.debian.org/debian";

const KEYRINGS: &[&str] =
    &["/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"];

/// An apt that knows one suite and has installed nothing.
pub struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// With lists, cache and state in the new folder `dir`.
    pub fn new(suite: &str, arch: Arch, dir: &Path) -> Result<Self> {
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
            format!(
                "Types: deb deb-src\nURIs: {mirror}\nSuites: {suite}\nComponents: main\nSigned-By: {keyring}\n"
            ),
        )?;
        fs::write(dir.join("status"), "")?;

        let at = |name: &str| dir.join(name).display().to_string();
        let options = vec![
            format!("APT::Architecture={}", arch.debian()),
            format!("APT::Architectures={}", arch.debian()),
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

    /// `apt-get`; the caller adds what it is to do.
    pub fn get(&self) -> Command {
        self.command("apt-get")
    }

    /// Downloads packages to the new folder `debs`, which goes away, and unpacks them into `root`.
    pub fn unpack<I>(&self, packages: I, debs: &Path, root: &Path, log: &Path) -> Result<()>
    where
        I: IntoIterator<Item: AsRef<OsStr>>,
    {
        fs::create_dir(debs)?;
        ui::quietly("packages", log, self.get().arg("download").args(packages).current_dir(debs))?;
        for deb in fs::read_dir(debs)? {
            let mut unpack = Command::new("dpkg-deb");
            ui::run(unpack.arg("--extract").arg(deb?.path()).arg(root))?;
        }
        Ok(fs::remove_dir_all(debs)?)
    }

    /// The libraries `package` needs, and those need in turn.
    pub fn libraries_of(&self, package: &str) -> Result<BTreeSet<String>> {
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

/// The mirror the machine's own apt takes Debian from.
pub fn mirror() -> String {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|file| file.path()),
    );
    let texts = files.iter().filter_map(|file| fs::read_to_string(file).ok());
    texts.flat_map(|text| uris(&text)).find(|uri| is_debian(uri)).unwrap_or_else(|| PUBLIC_MIRROR.to_owned())
}

/// The settings by which the machine's own apt reaches mirrors, as lines of its configuration: proxies, and that a mirror may lag.
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
