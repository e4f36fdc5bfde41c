//! The copy of the sources in which a line is changed, and the module that is built of it.
//!
//! Must never change the sources themselves.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::table::Mutation;
use crate::build::{self, Built, MODULE};
use crate::nginx::Nginx;
use crate::{paths, ui};

/// The files that cargo needs to compile the module.
const COPIED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "crates", "xtask"];

/// A copy of the sources for one NGINX. Its target folder stays between runs, so that a change compiles one crate.
pub struct Tree {
    nginx: &'static Nginx,
    dir: PathBuf,
}

/// A file of the copy with a change in it.
pub struct Changed {
    file: PathBuf,
    before: String,
}

impl Tree {
    /// Copies the sources, as they are now. Each part of a run that is shared out has a copy of its own.
    pub fn copy(nginx: &'static Nginx, part: usize) -> Result<Self> {
        let name = if part == 0 { nginx.name.to_owned() } else { format!("{}-{part}", nginx.name) };
        let tree = Tree { nginx, dir: paths::repo().join("target/mutants").join(name) };
        let sources = tree.sources();
        fs::create_dir_all(&sources)?;
        for name in COPIED {
            sync(&paths::repo().join(name), &sources.join(name))?;
        }
        Ok(tree)
    }

    fn sources(&self) -> PathBuf {
        self.dir.join("sources")
    }

    /// Applies a row of the table.
    pub fn change(&self, row: &Mutation) -> Result<Changed> {
        let file = self.sources().join(row.path());
        let before = fs::read_to_string(&file).with_context(|| format!("no {}", row.path()))?;
        fs::write(&file, apply(row, &before)?)?;
        Ok(Changed { file, before })
    }

    /// Builds the module; `None` when it does not compile.
    pub fn build(&self) -> Result<Option<Built>> {
        let target = self.dir.join("cargo");
        let mut cargo = build::cargo_for(self.nginx, "build");
        cargo.args(["--quiet", "--profile", "mutants"]).env("CARGO_TARGET_DIR", &target);
        cargo.current_dir(self.sources()).stdin(Stdio::null());
        let output = cargo.output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            text.lines()
                .filter(|line| line.starts_with("error"))
                .take(3)
                .for_each(|line| ui::say(format!("    {line}")));
            return Ok(None);
        }
        let module = target.join("mutants").join(format!("lib{MODULE}"));
        Ok(Some(Built::with(self.nginx, module)))
    }
}

impl Changed {
    /// Takes the change back.
    pub fn undo(self) -> Result<()> {
        Ok(fs::write(self.file, self.before)?)
    }
}

/// Makes `to` what `from` is. A file that is the same stays untouched, so that cargo compiles what differs, and a change
/// that an interrupted run has left behind differs.
fn sync(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let text = fs::read(from).with_context(|| format!("cannot read {}", paths::shown(from)))?;
        if fs::read(to).ok().as_ref() != Some(&text) {
            fs::write(to, text)?;
        }
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let name = entry?.file_name();
        sync(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

/// The text of a file with a row of the table applied.
pub fn apply(row: &Mutation, text: &str) -> Result<String> {
    match text.matches(row.text).count() {
        1 => Ok(text.replacen(row.text, row.becomes, 1)),
        count => {
            bail!("{}: the text of this row occurs {count} times and not once: {:?}", row.path(), row.text)
        }
    }
}

/// The text of the file that a row changes, in the sources.
#[cfg(test)]
pub fn text_of(row: &Mutation) -> String {
    fs::read_to_string(paths::repo().join(row.path())).unwrap_or_default()
}
