//! `cargo xtask tidy`: checks of all sources that need no compiler.
//!
//! Each check returns one sentence for each finding. [`KNOWN`] lists the findings that are not mended yet; an entry without a
//! finding fails the check, so the list shrinks.

mod demo;
pub mod files;
mod imports;
pub mod links;
mod reference;
mod versions;

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, bail};
use serde_json::Value;

use crate::{paths, ui};

/// The sources of the module.
const MODULE: &str = "crates/ngx-http-upstream-ntlm/src";

/// The beginnings of findings that are not mended yet, each with its reason.
const KNOWN: &[(&str, &str)] = &[];

/// `cargo xtask tidy`
pub fn command() -> Result<()> {
    let found = findings(&paths::repo())?;
    let (known, new): (Vec<&String>, Vec<&String>) =
        found.iter().partition(|finding| KNOWN.iter().any(|(start, _)| finding.starts_with(start)));
    for finding in &known {
        let reason =
            KNOWN.iter().find(|(start, _)| finding.starts_with(start)).map_or("", |(_, reason)| reason);
        ui::say(format!("  known ({reason}): {finding}"));
    }
    for finding in &new {
        ui::say(format!("  {finding}"));
    }
    if let Some((gone, _)) =
        KNOWN.iter().find(|(start, _)| !known.iter().any(|finding| finding.starts_with(start)))
    {
        bail!("nothing begins with \"{gone}\" any more: take it out of KNOWN in xtask/src/tidy/mod.rs");
    }
    if !new.is_empty() {
        bail!("{} to put in order", new.len());
    }
    Ok(())
}

/// The findings of all checks in the repository at `root`.
fn findings(root: &Path) -> Result<Vec<String>> {
    let rust = files::all(root, &[".rs"])?;
    let mut found = files::shapes(&rust);
    let is_root = |file: &&files::File| ["lib.rs", "main.rs"].iter().any(|name| file.path.ends_with(name));
    let roots: BTreeSet<&Path> = rust.iter().filter(is_root).filter_map(|file| file.path.parent()).collect();
    for root in roots {
        found.extend(imports::circles(root, &rust)?);
    }

    let ends = [".md", ".in", ".toml", ".1", "rules", "control", "rust", "Dockerfile", "README.source"];
    let mut texts = files::all(root, &ends)?;
    // Lock files and lists of npm and pip state versions of other projects.
    texts.retain(|file| {
        !file.path.starts_with("crates/ntlm-testkit/interop") && !file.path.starts_with("fuzz")
    });
    let sources: Vec<_> = rust.into_iter().filter(|file| file.path.starts_with(MODULE)).collect();
    found.extend(reference::differences(&sources, &texts));
    found.extend(links::broken(root)?);
    found.extend(links::outside_the_book(&texts));

    let metadata = metadata(root)?;
    found.extend(demo::too_much(root)?);
    found.extend(versions::too_old(&metadata)?);
    found.extend(versions::other_rusts(&metadata, &texts)?);
    found.extend(versions::other_places(env!("CARGO_PKG_VERSION"), &texts));
    Ok(found)
}

fn metadata(root: &Path) -> Result<Value> {
    let mut cargo = paths::cargo();
    cargo.args(["metadata", "--locked", "--format-version=1"]).current_dir(root);
    Ok(serde_json::from_str(&ui::output(&mut cargo)?)?)
}
