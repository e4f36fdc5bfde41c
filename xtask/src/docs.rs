//! `cargo xtask docs`: the book, out of the pages in `docs`. "cargo xtask tidy" checks its links.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::{paths, tools, ui};

const TOOL: &str = "mdbook";

/// `cargo xtask docs`
pub fn command() -> Result<()> {
    build(&tools::get(TOOL, &["--no-default-features", "--features", "search"])?)?;
    println!("{}", paths::shown(&paths::repo().join("target/book/index.html")));
    Ok(())
}

/// Makes the book if the tool is there already; tells how to get it otherwise.
pub fn build_if_installed() -> Result<()> {
    match tools::installed(TOOL) {
        Some(tool) => build(&tool),
        None => {
            ui::say("skipped: mdbook is not installed; \"cargo xtask docs\" installs and runs it");
            Ok(())
        }
    }
}

fn build(tool: &Path) -> Result<()> {
    ui::run(Command::new(tool).arg("build").current_dir(paths::repo()))
}
