//! Reads the repository's files; finds Rust files that do not open with `//!`, and those past 500 lines.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A longer file is to be split by noun.
const MOST_LINES: usize = 500;

/// Folders whose files come from tools or from elsewhere.
const SKIPPED: &[&str] = &["target", "dist", "vendor", "node_modules", "corpus", "artifacts"];

/// A text file of the repository.
pub struct File {
    /// Path from the repository's root.
    pub path: PathBuf,
    /// Contents.
    pub text: String,
}

impl File {
    /// A file that exists only in a test.
    #[cfg(test)]
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.into(), text: text.to_owned() }
    }
}

/// All files below `root` whose names end so, in order. Hidden folders are left out.
pub fn all(root: &Path, ends: &[&str]) -> Result<Vec<File>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && !SKIPPED.contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if ends.iter().any(|end| name.ends_with(end)) {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                files.push(File { path: path.strip_prefix(root)?.to_path_buf(), text });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// Files that do not open with `//!`, and files that are too long.
pub fn shapes(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for File { path, text } in files {
        let path = path.display();
        if !text.starts_with("//!") {
            found.push(format!("{path}: does not open with \"//!\""));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            found.push(format!("{path}: has {lines} lines, more than {MOST_LINES}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::{File, shapes};

    #[test]
    fn a_file_without_its_sentence_is_found() {
        let files =
            [File::new("a.rs", "//! A.\n"), File::new("b.rs", "use a;\n//! B.\n"), File::new("c.rs", "")];
        let found = shapes(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b.rs") && found[1].starts_with("c.rs"), "{found:?}");
    }

    #[test]
    fn a_file_past_500_lines_is_found() {
        let lines = |count: usize| "//! A.\n".repeat(count);
        let files = [File::new("a.rs", &lines(500)), File::new("b.rs", &lines(501))];
        assert_eq!(shapes(&files), ["b.rs: has 501 lines, more than 500"]);
    }
}
