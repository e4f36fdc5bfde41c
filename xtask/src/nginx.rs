//! The NGINX versions we test against: their names, where each comes from, and the folder one is kept in.
//!
//! A folder is made under another name and renamed when it is complete, so a name that exists is whole. Its layout:
//! `nginx` (run this), `src` and `src/objs` (headers, configured), `modules` (what `build` puts there), `cargo`.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process;

use anyhow::{Context, Result};

use crate::packages::{self, Need};
use crate::source::Door;
use crate::{debian, paths, source, ui};

/// The NGINX taken when none is named: the oldest we support.
pub const DEFAULT: &str = "1.22";

/// Holds the fingerprint of how a folder was made; another fingerprint means to make it anew.
const STAMP: &str = ".made-from";

/// Raised when the layout of a folder changes.
const LAYOUT: u32 = 1;

/// A version we know how to get.
pub struct Nginx {
    /// The name on the command line and in the cache.
    pub name: &'static str,
    /// Where it comes from.
    pub origin: Origin,
    /// How much of the suite `cargo xtask test` runs on it.
    pub tested: Tested,
}

/// Where an NGINX comes from.
pub enum Origin {
    /// The binary package of a Debian suite.
    Debian(&'static str),
    /// Compiled here from the sources in the crate `nginx-src`.
    Source {
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
    /// Nothing: it is `cargo xtask asan`'s.
    Apart,
}

/// Every version, in the order in which it is tested.
pub const ALL: &[Nginx] = &[
    Nginx { name: "1.22", origin: Origin::Debian("bookworm"), tested: Tested::Whole },
    Nginx { name: "1.30", origin: Origin::Debian("forky"), tested: Tested::Whole },
    Nginx { name: "1.26", origin: Origin::Debian("trixie"), tested: Tested::Smoke },
    from_source("1.28", source::FULL, Door::Cargo),
    from_source("1.28-static", source::FULL, Door::Static),
    from_source("1.28-dynamic-door", source::FULL, Door::Dynamic),
    from_source("1.28-nodebug", source::BARE, Door::Cargo),
    apart(ASAN, source::ASAN),
    apart(MEMCHECK, source::MEMCHECK),
];

/// The NGINX in which AddressSanitizer watches.
pub const ASAN: &str = "1.28-asan";

/// The NGINX that valgrind's memcheck watches.
pub const MEMCHECK: &str = "1.28-memcheck";

const fn apart(name: &'static str, flags: &'static [&'static str]) -> Nginx {
    Nginx { name, origin: Origin::Source { flags, door: Door::Cargo }, tested: Tested::Apart }
}

const fn from_source(name: &'static str, flags: &'static [&'static str], door: Door) -> Nginx {
    Nginx { name, origin: Origin::Source { flags, door }, tested: Tested::Smoke }
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
            Origin::Source { flags, door: Door::Cargo } => format!("layout {LAYOUT}, {}", flags.join(" ")),
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

    /// Gets it unless it is there.
    pub fn get(&self) -> Result<()> {
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
                debian::make(suite, &staging, &self.log())
            }
            Origin::Source { flags, door } => {
                packages::ensure(&[Need::Nginx])?;
                source::make(flags, door, &staging, &self.log())
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
    fn exact_version(&self) -> Option<String> {
        let header = fs::read_to_string(self.source_dir().join("src/core/nginx.h")).ok()?;
        let line = header.lines().find(|line| line.starts_with("#define NGINX_VERSION"))?;
        line.split('"').nth(1).map(str::to_owned)
    }
}

impl Origin {
    fn shown(&self) -> String {
        match self {
            Self::Debian(suite) => format!("Debian {suite}"),
            Self::Source { door: Door::Cargo, .. } => "crate nginx-src, compiled here".to_owned(),
            Self::Source { door: Door::Dynamic, .. } => "crate nginx-src, --add-dynamic-module".to_owned(),
            Self::Source { door: Door::Static, .. } => "crate nginx-src, --add-module".to_owned(),
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
