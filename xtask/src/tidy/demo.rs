//! Counts the crates that `cargo xtask demo` compiles in a new checkout: a person who tries the module for the first time waits for them.
//!
//! The demo once compiled 202. Crates that only tests need belong behind the test kit's feature `full`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use crate::{demo, paths, ui};

/// Half of what it once was.
const MOST: usize = 101;

/// A sentence, where there are more.
pub fn too_much(root: &Path) -> Result<Option<String>> {
    let mut crates = BTreeSet::new();
    let demo = [&["--package", "ntlm-testkit"], demo::DEMO_FEATURES].concat();
    for package in [&["--package", "xtask"][..], &["--package", "ngx-http-upstream-ntlm"], &demo] {
        let mut cargo = paths::cargo();
        cargo.args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none"]).args(package);
        let tree = ui::output(cargo.current_dir(root))?;
        crates.extend(tree.lines().filter(|line| !line.is_empty()).map(name_and_version));
    }
    let count = crates.len();
    Ok((count > MOST).then(|| format!("cargo xtask demo compiles {count} crates, more than {MOST}")))
}

/// The first two words of a line; what follows says where the crate is from, or that it was there before.
fn name_and_version(line: &str) -> String {
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
