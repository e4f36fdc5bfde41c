//! Finds second places for a version (ours belongs in Cargo.toml, `workspace.package.version`), and manifests that name an
//! older Rust than their dependencies need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::files::File;

/// Files that state our version: `cargo xtask release` keeps them.
const HOMES: &[&str] = &["Cargo.toml", "CHANGELOG.md"];

/// The words that stand before a version of Rust.
const RUST: &[&str] = &["cargo ", "cargo >= ", "Rust ", "rustc "];

/// Major and minor version of a Rust.
type Rust = (u32, u32);

/// Members of the workspace whose rust-version is below that of a dependency.
///
/// Dependencies of tests count too: they are compiled by `cargo test`, with the Rust that the member names.
pub fn too_old(metadata: &Value) -> Result<Vec<String>> {
    let packages = by_id(&metadata["packages"])?;
    let nodes = by_id(&metadata["resolve"]["nodes"])?;
    let members: Vec<&str> = strings(&metadata["workspace_members"]);
    let mut found = Vec::new();
    for member in &members {
        let package = packages.get(member).context("a member is no package")?;
        let name = package["name"].as_str().unwrap_or_default();
        let Some(own) = rust_of(package) else {
            found.push(format!("{name}: has no rust-version"));
            continue;
        };
        let mut seen = BTreeSet::new();
        let mut ahead = vec![*member];
        while let Some(id) = ahead.pop() {
            if !seen.insert(id) {
                continue;
            }
            let deps = nodes.get(id).and_then(|node| node["deps"].as_array());
            for dep in deps.into_iter().flatten() {
                let kinds = dep["dep_kinds"].as_array();
                let of_tests = kinds.is_some_and(|kinds| kinds.iter().all(|kind| kind["kind"] == "dev"));
                if !of_tests || id == *member {
                    ahead.extend(dep["pkg"].as_str());
                }
            }
        }
        let needs = seen.iter().filter_map(|id| packages.get(id)).filter(|other| rust_of(other) > Some(own));
        if let Some(most) = needs.max_by_key(|other| rust_of(other)) {
            found.push(format!(
                "{name}: says rust-version {}.{}, but {} {} needs {}",
                own.0,
                own.1,
                most["name"].as_str().unwrap_or_default(),
                most["version"].as_str().unwrap_or_default(),
                most["rust_version"].as_str().unwrap_or_default(),
            ));
        }
    }
    Ok(found)
}

/// Lines that name a Rust which is no member's rust-version.
pub fn other_rusts(metadata: &Value, texts: &[File]) -> Result<Vec<String>> {
    let packages = by_id(&metadata["packages"])?;
    let members = strings(&metadata["workspace_members"]);
    let known: BTreeSet<Rust> =
        members.iter().filter_map(|id| packages.get(id)).filter_map(|package| rust_of(package)).collect();
    let mut found = Vec::new();
    for (file, number, line) in lines(texts) {
        for word in RUST {
            for (_, rest) in line.match_indices(word).map(|(at, _)| line.split_at(at + word.len())) {
                let is_version =
                    rest.strip_prefix("1.").is_some_and(|minor| minor.starts_with(char::is_numeric));
                if is_version && rust(rest).is_some_and(|named| !known.contains(&named)) {
                    found.push(format!(
                        "{}:{number}: names a Rust that no crate here has as its rust-version: {}",
                        file.display(),
                        line.trim(),
                    ));
                }
            }
        }
    }
    Ok(found)
}

/// Lines outside of [`HOMES`] that state our version.
pub fn other_places(version: &str, texts: &[File]) -> Vec<String> {
    let stated = |line: &str| {
        line.match_indices(version).any(|(at, _)| {
            let before = line[..at].chars().next_back();
            let mut after = line[at + version.len()..].chars();
            // Not 10.1.0, 0.1.05, 0.1.0.2; a sentence may end after it.
            let goes_on = match after.next() {
                Some('.') => after.next().is_some_and(|next| next.is_ascii_digit()),
                next => next.is_some_and(|next| next.is_ascii_digit()),
            };
            !before.is_some_and(|char| char.is_ascii_digit() || char == '.') && !goes_on
        })
    };
    lines(texts)
        .filter(|(file, _, line)| !HOMES.iter().any(|home| *file == Path::new(home)) && stated(line))
        .map(|(file, number, _)| {
            format!(
                "{}:{number}: states the version {version}, which belongs in Cargo.toml only",
                file.display()
            )
        })
        .collect()
}

fn lines(texts: &[File]) -> impl Iterator<Item = (&Path, usize, &str)> {
    texts.iter().flat_map(|file| {
        file.text.lines().enumerate().map(|(number, line)| (file.path.as_path(), number + 1, line))
    })
}

fn by_id(list: &Value) -> Result<BTreeMap<&str, &Value>> {
    let list = list.as_array().context("cargo metadata lacks a list")?;
    Ok(list.iter().filter_map(|value| Some((value["id"].as_str()?, value))).collect())
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn rust_of(package: &Value) -> Option<Rust> {
    rust(package["rust_version"].as_str()?)
}

/// The first two numbers of "1.88.0".
fn rust(text: &str) -> Option<Rust> {
    let mut numbers = text.split(|char: char| !char.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next().and_then(|minor| minor.parse().ok()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::files::File;
    use super::{other_places, other_rusts, too_old};

    /// Two members; "core" is tested with "prop", "probe" is made of "core" and, by way of "asn1", "time".
    fn metadata(core: &str, probe: &str) -> Value {
        let package = |name: &str, rust: &str| json!({"id": name, "name": name, "version": "1.0.0", "rust_version": rust});
        let dep = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({
            "packages": [package("core", core), package("probe", probe), package("prop", "1.85"),
                package("asn1", "1.56"), package("time", "1.93.1"), package("fuzz", "1.99")],
            "workspace_members": ["core", "probe"],
            "resolve": {"nodes": [
                {"id": "core", "deps": [dep("prop", json!("dev"))]},
                {"id": "probe", "deps": [dep("core", Value::Null), dep("asn1", Value::Null)]},
                {"id": "prop", "deps": [dep("fuzz", json!("dev"))]},
                {"id": "asn1", "deps": [dep("time", json!("build"))]},
                {"id": "time", "deps": []}, {"id": "fuzz", "deps": []},
            ]},
        })
    }

    #[test]
    fn a_rust_version_that_dependencies_allow_is_true() {
        assert!(too_old(&metadata("1.85", "1.93")).unwrap().is_empty());
    }

    #[test]
    fn a_rust_version_below_a_dependency_is_found() {
        let found = too_old(&metadata("1.84", "1.92")).unwrap();
        assert_eq!(
            found,
            [
                "core: says rust-version 1.84, but prop 1.0.0 needs 1.85",
                "probe: says rust-version 1.92, but time 1.0.0 needs 1.93.1",
            ]
        );
    }

    #[test]
    fn a_text_that_names_another_rust_is_found() {
        let metadata = metadata("1.85", "1.93");
        let texts = [File::new("a.md", "Install Rust 1.93.\n"), File::new("b.md", "\ncargo 1.88 or newer\n")];
        let found = other_rusts(&metadata, &texts).unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("b.md:2"), "{found:?}");
    }

    #[test]
    fn a_second_place_for_the_version_is_found() {
        let texts = [
            File::new("Cargo.toml", "version = \"0.2.0\"\n"),
            File::new("a.md", "10.2.0 and 0.2.01 and 0.2.0.1\n"),
            File::new("b.spec", "\n%global version 0.2.0\n"),
            File::new("c.md", "It came with 0.2.0.\n"),
        ];
        let found = other_places("0.2.0", &texts);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b.spec:2") && found[1].starts_with("c.md:1"), "{found:?}");
    }
}
