//! Links in pages: each leads to a file that is there, and to a heading in it.
//!
//! Must never ask anybody about addresses outside the repository.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::Result;

use super::files::{self, File};

/// The table of contents of the book, in `docs`.
const CONTENTS: &str = "docs/SUMMARY.md";

/// The links below `root` that lead nowhere, one sentence each.
pub fn broken(root: &Path) -> Result<Vec<String>> {
    let pages = files::all(root, &[".md"])?;
    Ok(broken_in(&pages, |path| root.join(path).exists()))
}

/// Pages of the book that are missing in its contents, and links that lead out of it.
pub fn outside_the_book(pages: &[File]) -> Vec<String> {
    let book = |path: &Path| path.starts_with("docs");
    let contents = pages.iter().find(|page| page.path == Path::new(CONTENTS));
    let listed: BTreeSet<PathBuf> =
        contents.iter().flat_map(|page| links(page)).map(|(target, _)| target).collect();
    let mut found = Vec::new();
    for page in pages.iter().filter(|page| book(&page.path) && page.path != Path::new(CONTENTS)) {
        let name = page.path.display();
        if page.path.extension().is_some_and(|end| end == "md") && !listed.contains(&page.path) {
            found.push(format!("{name}: is not in {CONTENTS}"));
        }
        let out = links(page).into_iter().filter(|(target, _)| !book(target));
        found.extend(out.map(|(target, _)| format!("{name}: leads out of the book to {}", target.display())));
    }
    found
}

fn broken_in(pages: &[File], exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for page in pages {
        for (target, heading) in links(page) {
            let shown = target.display();
            if !exists(&target) {
                found.push(format!("{}: a link leads to {shown}, which is not there", page.path.display()));
            } else if let (Some(heading), Some(to)) = (heading, pages.iter().find(|page| page.path == target))
                && !anchors(&to.text).contains(&heading)
            {
                found.push(format!("{}: {shown} has no heading \"#{heading}\"", page.path.display()));
            }
        }
    }
    found
}

/// Where the links of a page lead, from the root, and to which heading there. Addresses elsewhere are left out.
fn links(page: &File) -> Vec<(PathBuf, Option<String>)> {
    let folder = page.path.parent().unwrap_or(Path::new(""));
    let prose = prose(&page.text);
    let targets = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let targets = targets.filter(|target| !target.is_empty() && !target.contains("://"));
    let split = targets.map(|target| target.split_once('#').map_or((target, None), |(a, b)| (a, Some(b))));
    split
        .map(|(path, heading)| {
            let path = if path.is_empty() { page.path.clone() } else { resolved(&folder.join(path)) };
            (path, heading.map(str::to_owned))
        })
        .collect()
}

/// A page without its blocks and spans of code.
fn prose(text: &str) -> String {
    let mut code = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        } else if !code {
            prose.extend(line.split('`').step_by(2));
            prose.push('\n');
        }
    }
    prose
}

/// The names by which GitHub and mdBook know the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut code = false;
    let mut anchors = BTreeSet::new();
    for line in text.lines() {
        code ^= line.trim_start().starts_with("```");
        let title = line.trim_start_matches('#');
        if !code && title.len() < line.len() && title.starts_with(' ') {
            let kept = title.trim().chars().filter(|&char| char.is_alphanumeric() || " -_".contains(char));
            let anchor = kept.map(|char| if char == ' ' { '-' } else { char }).collect::<String>();
            anchors.insert(anchor.to_lowercase());
        }
    }
    anchors
}

/// The path without `..`.
fn resolved(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::CurDir => {}
            part => resolved.push(part),
        }
    }
    resolved
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::File;
    use super::{broken_in, outside_the_book};

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let pages = [
            File::new(
                "README.md",
                "[a](docs/a.md#the-first) [b](#no-such) [c](https://example.com/) `[d](e)`\n",
            ),
            File::new(
                "docs/a.md",
                "# The first\n```\n# not a heading\n[x](y.md)\n```\n[up](../README.md) [gone](gone.md)\n[none](#not-a-heading)\n",
            ),
        ];
        let found = broken_in(&pages, |path| pages.iter().any(|page| page.path == Path::new(path)));
        assert_eq!(
            found,
            [
                "README.md: README.md has no heading \"#no-such\"",
                "docs/a.md: a link leads to docs/gone.md, which is not there",
                "docs/a.md: docs/a.md has no heading \"#not-a-heading\"",
            ]
        );
    }

    #[test]
    fn pages_outside_the_book_are_found() {
        let pages = [
            File::new("docs/SUMMARY.md", "- [A](a.md)\n- [B](sub/b.md)\n"),
            File::new("docs/a.md", "[b](sub/b.md)"),
            File::new("docs/sub/b.md", "[a](../a.md) [out](../../README.md)"),
            File::new("docs/c.md", "# C\n"),
        ];
        assert_eq!(
            outside_the_book(&pages),
            ["docs/sub/b.md: leads out of the book to README.md", "docs/c.md: is not in docs/SUMMARY.md"]
        );
    }
}
