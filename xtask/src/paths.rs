//! Where things are: the repository, the cache of NGINX versions, the tools installed for this checkout.

use std::env;

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the repository.
pub fn repo() -> PathBuf {
    let xtask = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let xtask = PathBuf::from(xtask);
    xtask.parent().map(Path::to_path_buf).unwrap_or(xtask)
}

/// The folder that has one sub-folder for each NGINX: `$NTLM_CACHE_DIR`, or `target/nginx`.
pub fn cache() -> PathBuf {
    match env::var_os("NTLM_CACHE_DIR") {
        Some(dir) if !dir.is_empty() => std::path::absolute(&dir).unwrap_or_else(|_| dir.into()),
        _ => repo().join("target/nginx"),
    }
}

/// Where `cargo install` puts tools of ours, out of the way of the user's own.
pub fn tools() -> PathBuf {
    repo().join("target/tools")
}

/// The cargo that runs us, so that one toolchain does everything, without what it told us about this package: build
/// scripts of dependencies watch such variables, and would run anew each time cargo is called the other way.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(&*name);
        }
    }
    cargo
}

/// `path` as a person would type it: relative to the current folder if it is below it.
pub fn shown(path: &Path) -> String {
    let below = env::current_dir().ok().and_then(|cwd| path.strip_prefix(cwd).ok().map(Path::to_path_buf));
    below.unwrap_or_else(|| path.to_path_buf()).display().to_string()
}
