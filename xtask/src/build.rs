//! Builds the module for one NGINX, through the door that NGINX has.
//!
//! Every NGINX has a cargo target folder of its own: bindings and `cfg`s differ from one to the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result};

use crate::arch::{self, Arch};
use crate::nginx::{self, Nginx};
use crate::packages::{self, Need};
use crate::source::Door;
use crate::sysroot::Sysroot;
use crate::{paths, source, ui};

/// The file NGINX loads.
pub const MODULE: &str = "ngx_http_upstream_ntlm_module.so";

/// The target folder of builds with a sysroot: what is compiled for this machine differs from other builds', too.
const OLD: &str = "cargo-old";

/// An NGINX and the module built for it.
pub struct Built {
    /// The file to run.
    pub nginx: PathBuf,
    /// The argument of `load_module`; nothing if the module is in the binary.
    pub module: Option<PathBuf>,
    /// The processor that is imitated to run it.
    pub foreign: Option<Arch>,
}

impl Built {
    /// An NGINX, and a module that it loads.
    pub fn with(nginx: &Nginx, module: PathBuf) -> Self {
        Self {
            nginx: nginx.binary(),
            module: Some(module),
            foreign: Some(nginx.arch).filter(|arch| arch.is_foreign()),
        }
    }
}

/// `cargo xtask build`
pub fn command(name: &str) -> Result<()> {
    let built = build(name)?;
    println!("{}", built.module.unwrap_or(built.nginx).display());
    Ok(())
}

/// Gets the NGINX called `name` if need be and builds the module for it.
pub fn build(name: &str) -> Result<Built> {
    let nginx = Nginx::named(name)?;
    packages::ensure(&[Need::Module])?;
    nginx.get()?;
    let file = match nginx.door() {
        Door::Cargo if nginx.takes_sysroot() => for_old_systems(nginx)?,
        Door::Cargo => with_cargo(nginx)?,
        Door::Dynamic => {
            // Its binary is 1.28's.
            Nginx::named("1.28")?.get()?;
            source::run_make(&nginx.source_dir(), "modules", "module (make modules)", &nginx.log())?;
            nginx.build_dir().join(MODULE)
        }
        Door::Static => {
            source::run_make(&nginx.source_dir(), "build", "NGINX with the module in it", &nginx.log())?;
            return Ok(Built { nginx: nginx.binary(), module: None, foreign: None });
        }
    };
    let module = nginx.dir().join("modules").join(MODULE);
    install(&file, &module)?;
    Ok(Built::with(nginx, module))
}

/// The variables by which cargo and nginx-sys compile the module for `nginx`.
pub fn environment(nginx: &Nginx) -> [(&'static str, PathBuf); 3] {
    [
        ("NGINX_SOURCE_DIR", nginx.source_dir()),
        ("NGINX_BUILD_DIR", nginx.build_dir()),
        ("CARGO_TARGET_DIR", nginx.dir().join("cargo")),
    ]
}

/// A cargo that compiles the module for `nginx`; the caller adds the subcommand.
pub fn cargo_for(nginx: &Nginx, subcommand: &str) -> Command {
    let mut cargo = paths::cargo();
    cargo.arg(subcommand).args(["--package", "ngx-http-upstream-ntlm"]);
    cargo.envs(environment(nginx)).current_dir(paths::repo());
    cargo
}

fn with_cargo(nginx: &Nginx) -> Result<PathBuf> {
    seed(nginx, "cargo")?;
    let mut cargo = cargo_for(nginx, "build");
    ui::run(cargo.arg("--release").stdin(Stdio::null()))?;
    Ok(nginx.dir().join("cargo/release").join(format!("lib{MODULE}")))
}

/// Builds the module so that it loads with the C library of Debian 11 too, on the processor that `nginx` is for.
pub fn for_old_systems(nginx: &Nginx) -> Result<PathBuf> {
    arch::ensure_target(nginx.arch)?;
    let sysroot = Sysroot::get(nginx.arch)?;
    seed(nginx, OLD)?;
    let target = nginx.dir().join(OLD);
    let mut cargo = cargo_for(nginx, "build");
    cargo.args(["--release", "--target", nginx.arch.target()]).envs(sysroot.environment());
    cargo.env("CARGO_TARGET_DIR", &target);
    ui::run(cargo.stdin(Stdio::null()))?;
    Ok(target.join(nginx.arch.target()).join("release").join(format!("lib{MODULE}")))
}

/// Starts a new target folder as a copy of another NGINX's: all but the bindings and what stands on them is the same,
/// and cargo sees by itself what is not. Half of a cold build's time.
fn seed(nginx: &Nginx, folder: &str) -> Result<()> {
    let target = nginx.dir().join(folder);
    let others = nginx::ALL.iter().map(|other| other.dir().join(folder).join("release"));
    let Some(other) = others.into_iter().find(|dir| dir.is_dir()) else {
        return Ok(());
    };
    if target.join("release").exists() {
        return Ok(());
    }
    fs::create_dir_all(&target)?;
    let new = target.join(format!(".release.{}", process::id()));
    ui::run(Command::new("cp").arg("-a").arg(other).arg(&new))?;
    if fs::rename(&new, target.join("release")).is_err() {
        fs::remove_dir_all(&new)?;
    }
    Ok(())
}

/// Copies by renaming: a running NGINX has the old file mapped.
fn install(from: &Path, to: &Path) -> Result<()> {
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = to.with_extension(format!("{}.new", process::id()));
    fs::copy(from, &new).with_context(|| format!("the build left no {}", paths::shown(from)))?;
    fs::rename(&new, to)?;
    Ok(())
}
