//! What the fuzz targets found interesting, and recorded handshakes, through the checks of the fuzz targets.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};

use ntlm_core::scheme::{ConnectionBound, carries_token};

#[path = "checks/bindings.rs"]
#[allow(dead_code, reason = "the property test makes events of its own")]
mod bindings;
#[path = "checks/scheme.rs"]
mod scheme;

const HANDSHAKES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/handshakes");
const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");

/// The files of a folder; at least one.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let files: Vec<_> = paths
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(&path).expect("a file")))
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

fn handshakes() -> Vec<(PathBuf, String)> {
    let text = |(path, bytes)| (path, String::from_utf8(bytes).expect("text"));
    let mut handshakes: Vec<_> = files(Path::new(HANDSHAKES)).into_iter().map(text).collect();
    handshakes.retain(|(path, _)| path.extension().is_some_and(|extension| extension == "txt"));
    assert!(!handshakes.is_empty());
    handshakes
}

#[test]
fn no_field_value_of_the_corpus_is_read_otherwise_than_the_rules_say() {
    for (_, input) in files(&Path::new(CORPUS).join("scheme")) {
        scheme::check(&input);
    }
    for (_, input) in handshakes() {
        scheme::check(input.as_bytes());
    }
}

#[test]
fn no_sequence_of_the_corpus_parts_the_table_from_the_model() {
    for (_, input) in files(&Path::new(CORPUS).join("events")) {
        bindings::play(bindings::decode(&input));
    }
}

#[test]
fn every_leg_of_a_recorded_login_is_recognised() {
    for (path, text) in handshakes() {
        let path = path.display();
        let (mut credentials, mut challenges) = (0, 0);
        for line in text.lines() {
            if let Some(value) = line.strip_prefix("> Authorization: ") {
                let found = ConnectionBound::credentials(value.as_bytes());
                assert!(found.is_some_and(|found| !found.token.is_empty()), "{path}: {line}");
                credentials += 1;
            } else if let Some(value) = line.strip_prefix("< WWW-Authenticate: ") {
                let offer = !value.contains(' ');
                assert_eq!(carries_token(value.as_bytes()), !offer, "{path}: {line}");
                challenges += usize::from(!offer);
            }
        }
        assert!(
            credentials >= 2 && challenges >= 1,
            "{path} has {credentials} credentials, {challenges} challenges"
        );
    }
}
