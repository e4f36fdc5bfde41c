//! The NGINX versions we test against: their names, where each comes from, and the folder one is kept in.
//!
//! A folder is made under another name and renamed when it is complete, so a name that exists is whole. Its layout:
//! `nginx` (run this), `src` and `src/objs` (headers, configured), `modules` (what `build` puts there), `cargo`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

use crate::arch::Arch;
use crate::packages::{self, Need};
use crate::source::{Door, Sources};
use crate::{debian, paths, source, ui};

/// The NGINX taken when none is named: the oldest whose package runs here.
pub const DEFAULT: &str = "1.22";

/// Holds the fingerprint of how a folder was made; another fingerprint means to make it anew.
const STAMP: &str = ".made-from";

/// Raised when the layout of a folder changes.
const LAYOUT: u32 = 1;

/// A version we know how to get.
pub struct Nginx {
    /// The name on the command line and in the cache.
    pub name: &'static str,
    /// The processor it is for.
    pub arch: Arch,
    /// Where it comes from.
    pub origin: Origin,
    /// How much of the suite `cargo xtask test` runs on it.
    pub tested: Tested,
}

/// Where an NGINX comes from.
pub enum Origin {
    /// The binary package of a Debian suite.
    Debian(&'static str),
    /// Compiled here.
    Source {
        /// From these.
        sources: Sources,
        /// Options of `./configure`.
        flags: &'static [&'static str],
        /// How the module gets in.
        door: Door,
    },
}

/// How much of the suite is run on a version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tested {
    /// All of it.
    Whole,
    /// The tests below a module called `smoke`.
    Smoke,
    /// Nothing, unless it is named.
    Apart,
}

/// Every version, in the order in which it is tested.
pub const ALL: &[Nginx] = &[
    from_debian("1.22", Arch::Amd64, "bookworm", Tested::Whole),
    from_debian("1.30", Arch::Amd64, "forky", Tested::Whole),
    from_debian("1.26", Arch::Amd64, "trixie", Tested::Smoke),
    from_source("1.18", Sources::Debian("bullseye"), source::FULL_HTTP2, Door::Cargo),
    from_source("1.28", Sources::Crate, source::FULL, Door::Cargo),
    from_source("1.28-static", Sources::Crate, source::FULL, Door::Static),
    from_source("1.28-dynamic-door", Sources::Crate, source::FULL, Door::Dynamic),
    from_source("1.28-nodebug", Sources::Crate, source::BARE, Door::Cargo),
    apart(ASAN, Sources::Crate, Arch::Amd64, source::ASAN),
    apart(MEMCHECK, Sources::Crate, Arch::Amd64, source::MEMCHECK),
    apart("1.18-arm64", Sources::Debian("bullseye"), Arch::Arm64, source::FULL_HTTP2),
    from_debian("1.22-arm64", Arch::Arm64, "bookworm", Tested::Apart),
    from_debian("1.26-arm64", Arch::Arm64, "trixie", Tested::Apart),
    apart("1.28-arm64", Sources::Crate, Arch::Arm64, source::FULL),
    from_debian("1.30-arm64", Arch::Arm64, "forky", Tested::Apart),
];

/// The NGINX in which AddressSanitizer watches.
pub const ASAN: &str = "1.28-asan";

/// The NGINX that valgrind's memcheck watches.
pub const MEMCHECK: &str = "1.28-memcheck";

const fn from_debian(name: &'static str, arch: Arch, suite: &'static str, tested: Tested) -> Nginx {
    Nginx { name, arch, origin: Origin::Debian(suite), tested }
}

const fn apart(name: &'static str, sources: Sources, arch: Arch, flags: &'static [&'static str]) -> Nginx {
    let origin = Origin::Source { sources, flags, door: Door::Cargo };
    Nginx { name, arch, origin, tested: Tested::Apart }
}

const fn from_source(
    name: &'static str,
    sources: Sources,
    flags: &'static [&'static str],
    door: Door,
) -> Nginx {
    let origin = Origin::Source { sources, flags, door };
    Nginx { name, arch: Arch::Amd64, origin, tested: Tested::Smoke }
}

impl Nginx {
    /// The version called `name`.
    pub fn named(name: &str) -> Result<&'static Self> {
        let found = ALL.iter().find(|nginx| nginx.name == name);
        found.with_context(|| {
            let known: Vec<&str> = ALL.iter().map(|nginx| nginx.name).collect();
            format!("there is no NGINX called \"{name}\" here; known are: {}", known.join(", "))
        })
    }

    /// How the module gets in.
    pub fn door(&self) -> Door {
        match self.origin {
            Origin::Debian(_) => Door::Cargo,
            Origin::Source { door, .. } => door,
        }
    }

    /// Its folder in the cache, made or not.
    pub fn dir(&self) -> PathBuf {
        paths::cache().join(self.name)
    }

    /// The file to run. A static one is there after the module was built.
    pub fn binary(&self) -> PathBuf {
        self.dir().join("nginx")
    }

    /// The sources, or what a Debian package has of them; configured.
    pub fn source_dir(&self) -> PathBuf {
        self.dir().join("src")
    }

    /// The output folder of `./configure`.
    pub fn build_dir(&self) -> PathBuf {
        self.source_dir().join("objs")
    }

    /// Where things written while making it are logged.
    pub fn log(&self) -> PathBuf {
        paths::cache().join(format!("{}.log", self.name))
    }

    /// Whether it is in the cache and made as it would be made now.
    fn is_made(&self) -> bool {
        fs::read_to_string(self.dir().join(STAMP)).is_ok_and(|stamp| stamp == self.fingerprint())
    }

    fn fingerprint(&self) -> String {
        match self.origin {
            Origin::Debian(suite) => {
                let added = debian::added(suite).map_or(String::new(), |package| format!(" and {package}"));
                format!("layout {LAYOUT}, debian {suite}{added}")
            }
            Origin::Source { sources, flags, door: Door::Cargo } => {
                let other = match sources {
                    Sources::Crate => String::new(),
                    Sources::Debian(suite) => format!(", sources of {suite}"),
                };
                format!("layout {LAYOUT}, {}{other}", flags.join(" "))
            }
            // ./configure copies the door's shell into the Makefile, with the repository's path.
            Origin::Source { flags, .. } => {
                let mut hash = DefaultHasher::new();
                for file in ["config", "config.make", "auto/rust"] {
                    fs::read(paths::repo().join(file)).unwrap_or_default().hash(&mut hash);
                }
                paths::repo().hash(&mut hash);
                format!("layout {LAYOUT}, {}, door {:016x}", flags.join(" "), hash.finish())
            }
        }
    }

    /// Whether the module is compiled for it with the headers and libraries of a sysroot.
    pub fn takes_sysroot(&self) -> bool {
        let of_sources = matches!(self.origin, Origin::Source { sources, .. } if sources.of_sysroot());
        self.arch.is_foreign() || of_sources
    }

    /// Gets it unless it is there.
    pub fn get(&self) -> Result<()> {
        packages::ensure(self.arch.needs())?;
        if self.is_made() {
            return Ok(());
        }
        let cache = paths::cache();
        fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", paths::shown(&cache)))?;
        drop_abandoned(&cache);
        let _ = fs::remove_file(self.log());

        let staging = cache.join(format!(".{}.{}", self.name, process::id()));
        fs::create_dir(&staging).with_context(|| format!("cannot make {}", paths::shown(&staging)))?;
        ui::say(format!("getting nginx {} from {}", self.name, self.origin.shown()));
        let made = match self.origin {
            Origin::Debian(suite) => {
                packages::ensure(&[Need::Fetch])?;
                debian::make(suite, self.arch, &staging, &self.log())
            }
            Origin::Source { sources, flags, door } => {
                packages::ensure(&[Need::Nginx])?;
                source::make(sources, self.arch, flags, door, &staging, &self.log())
            }
        };
        let put = made.and_then(|()| {
            fs::write(staging.join(STAMP), self.fingerprint())?;
            put_in_place(&staging, &self.dir())
        });
        if put.is_err() {
            let _ = fs::remove_dir_all(&staging);
        }
        put.with_context(|| format!("cannot get nginx {}", self.name))?;
        ui::say(format!("nginx {} is in {}", self.name, paths::shown(&self.dir())));
        Ok(())
    }

    /// "1.30.6", as its headers say.
    pub fn exact_version(&self) -> Option<String> {
        let header = fs::read_to_string(self.source_dir().join("src/core/nginx.h")).ok()?;
        let line = header.lines().find(|line| line.starts_with("#define NGINX_VERSION"))?;
        line.split('"').nth(1).map(str::to_owned)
    }
}

impl Origin {
    fn shown(&self) -> String {
        match self {
            Self::Debian(suite) => format!("Debian {suite}"),
            Self::Source { sources, door, .. } => {
                let sources = match sources {
                    Sources::Crate => "crate nginx-src".to_owned(),
                    Sources::Debian(suite) => format!("sources of Debian {suite}"),
                };
                let how = match door {
                    Door::Cargo => "compiled here",
                    Door::Dynamic => "--add-dynamic-module",
                    Door::Static => "--add-module",
                };
                format!("{sources}, {how}")
            }
        }
    }
}

/// `cargo xtask nginx NAME…`
pub fn get_all(names: &[String]) -> Result<()> {
    let all: Vec<_> = names.iter().map(|name| Nginx::named(name)).collect::<Result<_>>()?;
    for nginx in all {
        nginx.get()?;
        println!("{}", nginx.dir().display());
    }
    Ok(())
}

/// `cargo xtask nginx --list`
pub fn list() -> Result<()> {
    for nginx in ALL {
        let here = match (nginx.is_made(), nginx.exact_version()) {
            (true, Some(version)) => format!("here: {version} in {}", paths::shown(&nginx.dir())),
            _ => "not here yet".to_owned(),
        };
        println!("{:18} {:38} {here}", nginx.name, nginx.origin.shown());
    }
    Ok(())
}

/// Renames `staging` to `dir`; one that is there from before goes away first.
fn put_in_place(staging: &Path, dir: &Path) -> Result<()> {
    if dir.exists() {
        let mut old = staging.as_os_str().to_owned();
        old.push(".old");
        fs::rename(dir, &old).with_context(|| format!("cannot replace {}", paths::shown(dir)))?;
        fs::rename(staging, dir)?;
        fs::remove_dir_all(&old)?;
        return Ok(());
    }
    match fs::rename(staging, dir) {
        // Another xtask was quicker; what it made is as good as ours.
        Err(_) if dir.exists() => Ok(fs::remove_dir_all(staging)?),
        renamed => Ok(renamed?),
    }
}

/// Removes what runs left behind that were interrupted: hidden folders that end in the id of no process.
fn drop_abandoned(cache: &Path) {
    let Ok(entries) = fs::read_dir(cache) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let owner = name.strip_prefix('.').and_then(|rest| rest.trim_end_matches(".old").rsplit('.').next());
        let alive = |pid: &str| Path::new("/proc").join(pid).exists();
        if owner.is_some_and(|pid| pid.parse::<u32>().is_ok() && !alive(pid)) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
