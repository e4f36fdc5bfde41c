//! Other people's clients and servers: their packages, then the test kit's runner, which judges.
//!
//! Debian packages are installed as for any command; Python and Node packages go into the cache, in the versions that
//! the repository pins.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, process};

use anyhow::{Context, Result, bail};

use crate::apt::Apt;
use crate::arch::Arch;
use crate::packages::{self, Need};
use crate::{InteropArgs, build, debian, demo, nginx, paths, ui};

/// Where the repository keeps scripts and pins.
const PINS: &str = "crates/ntlm-testkit/interop";

/// `cargo xtask interop`
pub fn command(args: &InteropArgs) -> Result<()> {
    ui::stage("packages", || {
        packages::ensure(&[Need::Fetch, Need::Module, Need::Nginx, Need::Suite, Need::Interop])?;
        if args.quick { Ok(()) } else { packages::ensure(&[Need::Streams]) }
    })?;
    let tools = ui::stage("Python and Node packages", || {
        let tools = tools()?;
        // Nothing that is quick needs them.
        if !args.quick {
            compiled(&tools)?;
            later_curl(&tools)?;
            go(&tools)?;
        }
        Ok(tools)
    })?;
    let runner = ui::stage("runner", || demo::testkit_binary("ntlm-interop"))?;
    let count = if args.quick || args.record.is_some() { 1 } else { args.nginx.len() };
    for name in &args.nginx[..count] {
        let built = ui::stage(&format!("module for nginx {name}"), || build::build(name))?;
        ui::stage(&format!("clients and servers on nginx {name}"), || {
            let mut run = Command::new(&runner);
            run.arg("--nginx").arg(&built.nginx).arg("--tools").arg(&tools);
            if let Some(module) = &built.module {
                run.arg("--module").arg(module);
            }
            if args.quick {
                run.arg("--quick");
            }
            if let Some(rounds) = args.streams {
                run.args(["--streams", "--rounds", &rounds.to_string()]);
            }
            if let Some(folder) = &args.record {
                run.arg("--record").arg(std::path::absolute(folder)?);
            }
            for (name, value) in [("--client", &args.client), ("--server", &args.server)] {
                if let Some(value) = value {
                    run.arg(name).arg(value);
                }
            }
            ui::run(&mut run).context("the differences are above")
        })?;
    }
    Ok(())
}

/// The quick part, for `cargo xtask test`. Namespaces are root's to make.
pub fn in_test() -> Result<()> {
    if !packages::is_root() {
        ui::say(
            "\nnot run: other people's clients and servers (cargo xtask interop --quick), which need root",
        );
        return Ok(());
    }
    let nginx = vec![nginx::DEFAULT.to_owned()];
    command(&InteropArgs { quick: true, client: None, server: None, streams: None, record: None, nginx })
}

/// The folder with `python` (a virtual environment) and `node` (with `node_modules`), made anew when a pin changed.
fn tools() -> Result<PathBuf> {
    let pins = paths::repo().join(PINS);
    let (python, node) = (pins.join("requirements.txt"), pins.join("package-lock.json"));
    let read = |path: &Path| fs::read_to_string(path).with_context(|| paths::shown(path));
    let stamp = read(&python)? + &read(&node)?;
    let tools = paths::cache().join("interop");
    if fs::read_to_string(tools.join(".made-from")).is_ok_and(|made| made == stamp) {
        return Ok(tools);
    }
    if Command::new("npm").arg("--version").output().is_err() {
        bail!(
            "there is no npm. Run this, then try again:\n\n    apt-get install -y --no-install-recommends nodejs npm\n"
        );
    }
    if tools.exists() {
        fs::remove_dir_all(&tools)?;
    }
    // A virtual environment knows its own path: it is made where it stays, and stamped when it is whole.
    fs::create_dir_all(tools.join("node"))?;
    let log = tools.join("log");
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--system-site-packages"]).arg(tools.join("python"));
    ui::quietly("Python environment", &log, &mut venv)?;
    ui::quietly("Python packages", &log, &mut pip(&tools, &python))?;
    for name in ["package.json", "package-lock.json"] {
        fs::copy(pins.join(name), tools.join("node").join(name))?;
    }
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(tools.join("node"));
    ui::quietly("Node packages", &log, &mut npm)?;
    let new = tools.join(format!(".made-from.{}", process::id()));
    fs::write(&new, stamp)?;
    fs::rename(new, tools.join(".made-from"))?;
    Ok(tools)
}

/// Adds the Python packages that are compiled here.
fn compiled(tools: &Path) -> Result<()> {
    let pins = paths::repo().join(PINS).join("requirements-compiled.txt");
    let stamp = tools.join(".compiled-from");
    let pinned = fs::read_to_string(&pins).with_context(|| paths::shown(&pins))?;
    if fs::read_to_string(&stamp).is_ok_and(|made| made == pinned) {
        return Ok(());
    }
    ui::quietly("Python packages that are compiled", &tools.join("log"), &mut pip(tools, &pins))?;
    fs::write(&stamp, pinned)?;
    Ok(())
}

/// Adds curl, and NTLM for its GSS-API, as a later Debian has them.
fn later_curl(tools: &Path) -> Result<()> {
    const SUITE: &str = "trixie";
    let dir = tools.join(SUITE);
    if dir.join("curl").exists() {
        return Ok(());
    }
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    let log = tools.join("log");
    let apt = Apt::new(SUITE, Arch::Amd64, &dir.join("apt"))?;
    ui::quietly(&format!("package list of {SUITE}"), &log, apt.get().arg("update"))?;
    let mut packages = BTreeSet::from(["curl".to_owned(), "gss-ntlmssp".to_owned()]);
    packages.extend(apt.libraries_of("curl")?);
    packages.extend(apt.libraries_of("gss-ntlmssp")?);
    let root = dir.join("root");
    apt.unpack(&packages, &dir.join("debs"), &root, &log)?;
    fs::remove_dir_all(dir.join("apt"))?;
    // The package's own file names the machine's library.
    let library = root.join("usr/lib/x86_64-linux-gnu/gssntlmssp/gssntlmssp.so");
    fs::write(
        dir.join("mech.conf"),
        format!("gssntlmssp_v1 1.3.6.1.4.1.311.2.2.10 {}\n", library.display()),
    )?;
    debian::write_wrapper(Arch::Amd64, &dir, &root, "usr/bin/curl")
}

/// Compiles the client in Go.
fn go(tools: &Path) -> Result<()> {
    let source = paths::repo().join(PINS).join("session.go");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(tools.join("go/session")).arg(source).current_dir(tools);
    go.env("GO111MODULE", "off").env("GOCACHE", tools.join("go/cache"));
    ui::quietly("client in Go", &tools.join("log"), &mut go)
}

/// Installs a list of Python packages. It is complete: what is not in it is Debian's.
fn pip(tools: &Path, list: &Path) -> Command {
    let mut pip = Command::new(tools.join("python/bin/pip"));
    pip.args(["install", "--no-deps", "--disable-pip-version-check", "--requirement"]).arg(list);
    pip
}
