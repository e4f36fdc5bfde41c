//! Checks of the files of module and command, by binutils.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{BUILD_FOLDERS, root, rpm};
use crate::{paths, ui};

/// The symbols that `ngx_load_module` looks up, and the module itself. The module exports no other.
const EXPORTS: &[&str] =
    &["ngx_modules", "ngx_module_names", "ngx_module_order", "ngx_http_upstream_ntlm_module"];

/// The libraries every Debian has.
const LIBRARIES: &[&str] =
    &["libc.so.6", "libgcc_s.so.1", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"];

/// Checks `module`; its debug symbols, and the command with its own, were unpacked to `dir`.
pub fn check(module: &Path, dir: &Path) -> Result<()> {
    exports(module)?;
    let command = dir.join("usr/bin/ntlm-probe");
    position_independent(&command)?;
    for file in [module, &command] {
        ui::say(format!("  {}", file.file_name().unwrap_or_default().to_string_lossy()));
        protection(file)?;
        debug_symbols_apart(file, dir)?;
        no_paths(file)?;
    }
    Ok(())
}

/// Checks a file of the module that comes without a package: stripped, for any system whose C library is `newest` or newer.
/// Returns the version of the C library that it asks for.
pub fn check_alone(module: &Path, newest: (u32, u32)) -> Result<(u32, u32)> {
    exports(module)?;
    protection(module)?;
    no_paths(module)?;
    let versions = readelf(&["--wide", "--version-info"], module)?;
    let asked = asked_of_c_library(&versions).context("it asks for no version of the C library")?;
    if asked > newest {
        bail!(
            "it asks for version {}.{} of the C library, newer than {}.{}",
            asked.0,
            asked.1,
            newest.0,
            newest.1
        );
    }
    Ok(asked)
}

/// The newest version of the C library that readelf's list of needed versions names.
fn asked_of_c_library(text: &str) -> Option<(u32, u32)> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "_.".contains(c)));
    let names = words.filter_map(|word| word.strip_prefix("GLIBC_"));
    let number = |part: Option<&str>| part.and_then(|text| text.parse::<u32>().ok());
    names
        .filter_map(|name| {
            let mut parts = name.split('.');
            Some((number(parts.next())?, number(parts.next())?))
        })
        .max()
}

fn exports(module: &Path) -> Result<()> {
    let symbols = ui::output(Command::new("nm").args(["--dynamic", "--defined-only"]).arg(module))?;
    let names: Vec<&str> = symbols.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    if let Some(other) = names.iter().find(|name| !EXPORTS.contains(name)) {
        bail!("the module exports \"{other}\", which nginx has no use for ({} in all)", names.len());
    }
    // The last one is found through the first.
    if let Some(missing) = EXPORTS[..3].iter().find(|name| !names.contains(name)) {
        bail!("the module does not export \"{missing}\", by which nginx finds it");
    }
    ui::say(format!("  exports {}", names.join(", ")));
    Ok(())
}

/// A library is anyway.
fn position_independent(command: &Path) -> Result<()> {
    let header = readelf(&["--wide", "--file-header"], command)?;
    if !header.lines().any(|line| line.trim_start().starts_with("Type:") && line.contains("DYN")) {
        bail!("{} can run at one address only", paths::shown(command));
    }
    Ok(())
}

fn protection(file: &Path) -> Result<()> {
    let text = readelf(&["--wide", "--program-headers", "--dynamic"], file)?;
    let segment = |name: &str| text.lines().find(|line| line.trim_start().starts_with(name));
    let flags = segment("GNU_STACK").context("it does not say that its stack is not executable")?;
    if flags.split_whitespace().any(|word| word == "RWE") {
        bail!("it asks for an executable stack");
    }
    segment("GNU_RELRO").context("it has no RELRO segment")?;
    if !text.lines().any(|line| line.contains("(FLAGS)") && line.contains("BIND_NOW")) {
        bail!("it is bound lazily, so its RELRO is partial");
    }
    let entry =
        |name: &str| text.lines().filter(|line| line.contains(name)).map(str::to_owned).collect::<Vec<_>>();
    if let Some(path) = entry("(RPATH)").into_iter().chain(entry("(RUNPATH)")).next() {
        bail!("it says where libraries are: {}", path.trim());
    }
    for line in entry("(NEEDED)") {
        let library = line.split(['[', ']']).nth(1).unwrap_or_default().to_owned();
        if !LIBRARIES.contains(&library.as_str()) {
            bail!("it needs {library}, which not every system has");
        }
    }
    ui::say("    full RELRO, no executable stack, no search path");
    Ok(())
}

fn debug_symbols_apart(file: &Path, dir: &Path) -> Result<()> {
    let sections = readelf(&["--wide", "--sections"], file)?;
    // Not .debug_gdb_scripts: it names what shows Rust's types in gdb, is loaded with the program, and no tool strips it.
    let is_left = |line: &str| {
        line.contains(".symtab") || line.contains(".debug_") && !line.contains(".debug_gdb_scripts")
    };
    if let Some(line) = sections.lines().find(|line| is_left(line)) {
        bail!("it is not stripped: {}", line.trim());
    }
    let notes = readelf(&["--wide", "--notes"], file)?;
    let id = notes
        .lines()
        .find_map(|line| Some(line.split_once("Build ID: ")?.1.trim()))
        .context("no build id")?;
    let (folder, name) = id.split_at_checked(2).context("a build id of nothing")?;
    let debug = dir.join(format!("usr/lib/debug/.build-id/{folder}/{name}.debug"));
    let sections = readelf(&["--wide", "--sections"], &debug)
        .with_context(|| format!("the debug symbols of {id} are not in the other package"))?;
    if !sections.contains(".debug_line") {
        bail!("{} has no lines in it", paths::shown(&debug));
    }
    ui::say(format!("    stripped; the debug symbols of {id} are apart"));
    Ok(())
}

/// The folders of a build have no place in what is built: those inside of the system it was built in, and this machine's.
fn no_paths(file: &Path) -> Result<()> {
    let bytes = fs::read(file)?;
    let inside = BUILD_FOLDERS.into_iter().chain([rpm::INSIDE, root::TOOLCHAIN]).map(PathBuf::from);
    let machine =
        ["HOME", "CARGO_HOME", "RUSTUP_HOME"].into_iter().filter_map(env::var_os).map(PathBuf::from);
    for path in inside.chain(machine).chain([paths::repo()]).filter(|path| path.components().count() > 1) {
        let path = path.as_os_str().as_encoded_bytes();
        if bytes.windows(path.len()).any(|window| window == path) {
            bail!("it has a path of its build in it: {}", String::from_utf8_lossy(path));
        }
    }
    Ok(())
}

fn readelf(options: &[&str], file: &Path) -> Result<String> {
    ui::output(Command::new("readelf").env("LC_ALL", "C").args(options).arg(file))
}

#[cfg(test)]
mod tests {
    use super::asked_of_c_library;

    #[test]
    fn the_newest_version_needed_is_found() {
        let text = "  0x0010:   Name: GLIBC_2.17  Flags: none  Version: 2\n\
                    0x0020:   Name: GLIBC_2.2.5  Flags: none  Version: 3\n\
                    004:   5 (GLIBC_2.9)     6 (GLIBC_2.28)\n";
        assert_eq!(asked_of_c_library(text), Some((2, 28)));
        assert_eq!(asked_of_c_library("Name: GCC_3.3"), None);
    }
}
