//! The page and its plots, made of the numbers of the last release and of nothing else.

mod figures;
mod page;
mod plots;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::results::Results;

/// The folder of results and plots in `docs`.
const FOLDER: &str = "performance";

/// Writes the page and the plots.
pub fn write(docs: &Path) -> Result<()> {
    for (path, text) in make(docs)? {
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// The files, each with its text.
fn make(docs: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = docs.join(FOLDER);
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("nginx-") && name.ends_with(".json") {
            names.push(name);
        }
    }
    names.sort();
    ensure!(!names.is_empty(), "no results in {}", folder.display());
    let results = names.iter().map(|name| Results::read(&folder.join(name))).collect::<Result<Vec<_>>>()?;
    let mut files = vec![(docs.join("performance.md"), page::text(&results, &names)?)];
    for (name, svg) in figures::all(&results)? {
        files.push((folder.join(name), svg));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::make;

    #[test]
    fn page_and_plots_are_made_of_the_kept_numbers() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
        for (path, text) in make(&docs).unwrap() {
            let kept = fs::read_to_string(&path).unwrap_or_default();
            assert!(kept == text, "{} is stale: \"cargo xtask bench report\" makes it", path.display());
        }
    }
}
