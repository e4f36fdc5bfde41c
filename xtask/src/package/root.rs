//! A Debian system in a folder: made once by mmdebstrap, kept in the cache, entered in namespaces of its own.
//!
//! A system that is in the cache is complete and is not written to: builds bring a folder along, tests take a copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};

use anyhow::{Context, Result};

use crate::{apt, paths, ui};

/// Where a system that packages are built in has Rust.
pub const TOOLCHAIN: &str = "/opt/rust";

/// Holds what a system was made from.
const STAMP: &str = "made-from";

/// A system in the cache.
pub struct Root {
    dir: PathBuf,
}

impl Root {
    /// Gets the system called `name`: `suite` with `packages`.
    pub fn get(name: &str, suite: &str, variant: &str, packages: &[&str]) -> Result<Self> {
        let cache = paths::cache().join("roots");
        fs::create_dir_all(&cache)?;
        let dir = cache.join(name);
        let stamp = format!("{suite} {variant} {}", packages.join(","));
        if fs::read_to_string(dir.with_extension(STAMP)).is_ok_and(|made| made == stamp) {
            return Ok(Self { dir });
        }
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let staging = cache.join(format!("{name}.{}", process::id()));
        let mut bootstrap = Command::new("mmdebstrap");
        bootstrap.arg(format!("--variant={variant}")).arg(format!("--include={}", packages.join(",")));
        // A mirror that lags, or is behind a proxy, is this machine's own choice.
        for option in apt::acquire_options()? {
            bootstrap.arg(format!("--aptopt={option}"));
        }
        // Packages in a folder start no services.
        bootstrap.arg("--essential-hook=printf '#!/bin/sh\\nexit 101\\n' > \"$1/usr/sbin/policy-rc.d\"");
        bootstrap.arg("--essential-hook=chmod 755 \"$1/usr/sbin/policy-rc.d\"");
        bootstrap.arg(suite).arg(&staging).arg(apt::mirror());
        let log = cache.join(format!("{name}.log"));
        let _ = fs::remove_file(&log);
        if let Err(error) = ui::quietly(&format!("system {name}"), &log, &mut bootstrap) {
            let _ = fs::remove_dir_all(&staging);
            return Err(error);
        }
        fs::rename(&staging, &dir).with_context(|| format!("cannot make {}", paths::shown(&dir)))?;
        fs::write(dir.with_extension(STAMP), stamp)?;
        Ok(Self { dir })
    }

    /// A copy that may be written to.
    pub fn copy(&self, to: &Path) -> Result<()> {
        if to.exists() {
            fs::remove_dir_all(to)?;
        }
        ui::run(Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(&self.dir).arg(to))
    }

    /// Runs a shell line in the system, without network, in the folder `inside` (below /mnt or /srv), which is the folder
    /// `outside`; the Rust that runs us is at [`TOOLCHAIN`].
    pub fn run(&self, what: &str, outside: &Path, inside: &str, epoch: u64, line: &str) -> Result<()> {
        let rust = rust()?;
        // The namespaces end with the command, and the mounts with them.
        let script = r#"
            set -e
            for place in opt mnt srv tmp; do
                mount -t tmpfs -o mode=755 tmpfs "$1/$place"
            done
            mkdir -p "$1$7" "$1$4"
            mount --bind "$2" "$1$7"
            mount --bind "$3" "$1$4"
            mount -t proc proc "$1/proc"
            exec chroot "$1" env -i PATH="$7/bin":/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C.UTF-8 TZ=UTC \
                SOURCE_DATE_EPOCH="$5" sh -ec "cd $4; $6"
        "#;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child", "--"]);
        command.args(["sh", "-c", script, "sh"]).arg(&self.dir).arg(rust).arg(outside).arg(inside);
        command.arg(epoch.to_string()).arg(line).arg(TOOLCHAIN).stdin(Stdio::null());
        ui::quietly(what, &outside.with_extension("log"), &mut command)
    }
}

/// The folder of the toolchain that runs us, without rustup's proxies.
fn rust() -> Result<PathBuf> {
    let mut rustc = Command::new("rustc");
    Ok(PathBuf::from(ui::output(rustc.args(["--print", "sysroot"]))?.trim()))
}
