//! What the fuzz targets found interesting, and recorded handshakes, through the checks of the fuzz targets.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a test may panic"
)]

use std::path::{Path, PathBuf};

use ntlm_core::mechanism::Mechanism;
use ntlm_core::ntlmssp::Authenticate;
use ntlm_core::scheme::{ConnectionBound, carries_token};
use ntlm_core::token::{self, Kind, Message};

#[path = "checks/exchange.rs"]
mod exchange;
#[path = "checks/scheme.rs"]
mod scheme;
#[path = "checks/table.rs"]
#[allow(dead_code, reason = "the property test makes events of its own")]
mod table;
#[path = "checks/token.rs"]
mod tokens;

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
fn corpus_of_fields_is_read_by_the_rules() {
    for (_, input) in files(&Path::new(CORPUS).join("scheme")) {
        scheme::check(&input);
    }
    for (_, input) in handshakes() {
        scheme::check(input.as_bytes());
    }
}

#[test]
fn no_token_of_the_corpus_breaks_a_rule() {
    for (_, input) in files(&Path::new(CORPUS).join("ntlmssp")) {
        tokens::ntlmssp(&input);
    }
    for (_, input) in files(&Path::new(CORPUS).join("spnego")) {
        tokens::spnego(&input);
    }
    for (_, input) in handshakes() {
        tokens::spnego(input.as_bytes());
        for (_, _, token) in legs(&input) {
            tokens::ntlmssp(&token);
            // Broken anywhere, a message is refused or read, but nothing panics.
            (0..token.len()).for_each(|end| tokens::spnego(&token[..end]));
        }
    }
}

#[test]
fn corpus_of_exchanges_keeps_the_invariants() {
    for (_, input) in files(&Path::new(CORPUS).join("exchange")) {
        exchange::check(&input);
    }
}

#[test]
fn corpus_of_events_keeps_to_the_model() {
    for (_, input) in files(&Path::new(CORPUS).join("events")) {
        table::play(table::decode(&input));
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
        // A Kerberos ticket, longer than any first leg of NTLM, is a login of one leg; not every server answers it.
        let ticket = text.contains("> Authorization: Negotiate YII");
        let (least, answers) = if ticket { (1, 0) } else { (2, 1) };
        assert!(
            credentials >= least && challenges >= answers,
            "{path} has {credentials} credentials, {challenges} challenges"
        );
    }
}

/// The tokens of a recorded login: from the client?, the field, the token.
fn legs(text: &str) -> Vec<(bool, ConnectionBound<'_>, Vec<u8>)> {
    let mut legs = Vec::new();
    for line in text.lines() {
        let (direction, line) = line.split_at(2);
        let (_, value) = line.split_once(": ").expect("a field");
        let field = ConnectionBound::credentials(value.as_bytes()).expect("a connection-bound scheme");
        if !field.token.is_empty() {
            let mut buffer = vec![0; token::decoded_len(field.token)];
            let token = token::decode(field.token, &mut buffer).expect("base64").to_vec();
            legs.push((direction == "> ", field, token));
        }
    }
    legs
}

#[test]
fn every_recorded_login_tells_who_and_how() {
    let mut versions = 0;
    // Those of the test kit's origin; for those of other people's servers see below.
    for (path, text) in handshakes().into_iter().filter(|(path, _)| !is_of_others(path)) {
        let path = path.display();
        let mut kinds = Vec::new();
        for (sent, field, token) in legs(&text) {
            let kind = Kind::peek(&field).expect("a kind");
            kinds.push(kind);
            match Message::read(field.scheme, &token).unwrap_or_else(|| panic!("{path}: {kind:?}")) {
                Message::NtlmNegotiate(_) => assert!(sent && kind == Kind::NtlmNegotiate),
                Message::NtlmChallenge(challenge) => {
                    assert!(!sent && kind == Kind::NtlmChallenge);
                    let info = challenge.info;
                    let shown =
                        |name: Option<_>| name.map(|name: ntlm_core::text::Text| name.shown(64).to_string());
                    assert_eq!(challenge.target.shown(64).to_string(), "EXAMPLE");
                    assert_eq!(shown(info.netbios_domain()).as_deref(), Some("EXAMPLE"));
                    assert_eq!(shown(info.netbios_computer()).as_deref(), Some("ORIGIN"));
                    assert_eq!(shown(info.dns_domain()).as_deref(), Some("example.test"));
                    assert_eq!(shown(info.dns_computer()).as_deref(), Some("origin.example.test"));
                    assert!(info.unix_time().is_some_and(|time| time > 1_700_000_000), "{path}: {info:?}");
                    // curl does not ask for it, and gets none.
                    let version = challenge.version.map(|version| version.to_string());
                    assert!(version.is_none_or(|version| version == "10.0.22621"));
                    versions += usize::from(challenge.version.is_some());
                }
                Message::NtlmAuthenticate(Authenticate { identity, anonymous, mechanism, .. }) => {
                    assert!(sent && kind == Kind::NtlmAuthenticate && !anonymous);
                    assert_eq!(mechanism, Mechanism::NtlmV2);
                    assert_eq!(identity.user.shown(64).to_string(), "alice", "{path}");
                    // curl's own NTLM was given no domain.
                    let domain = if path.to_string().ends_with("curl-ntlm.txt") { "" } else { "EXAMPLE" };
                    assert_eq!(identity.domain.shown(64).to_string(), domain, "{path}");
                }
                // The server's last word in SPNEGO.
                Message::Other => assert!(!sent && kinds.len() == 4, "{path}"),
                other => panic!("{path}: {other:?}"),
            }
        }
        assert_eq!(kinds[..3], [Kind::NtlmNegotiate, Kind::NtlmChallenge, Kind::NtlmAuthenticate], "{path}");
    }
    assert_eq!(versions, 4);
}

/// Recorded at Apache httpd or for an Active Directory domain.
fn is_of_others(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("apache-") || name.starts_with("domain-")
}

#[test]
fn recorded_logins_tell_who_and_how() {
    let mut logins = 0;
    for (path, text) in handshakes().into_iter().filter(|(path, _)| is_of_others(path)) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let sent: Vec<_> = legs(&text).into_iter().filter(|(sent, ..)| *sent).collect();
        let kinds: Vec<_> = sent.iter().map(|(_, field, _)| Kind::peek(field).expect("a kind")).collect();
        if name.contains("kerberos") && !name.contains("ntlm") || name.contains("gssapi") {
            assert!(
                !kinds.is_empty() && kinds.iter().all(|kind| *kind == Kind::Kerberos),
                "{name}: {kinds:?}"
            );
            continue;
        }
        let first = kinds.iter().position(|kind| *kind == Kind::NtlmNegotiate).expect("a first leg");
        assert_eq!(kinds[first + 1], Kind::NtlmAuthenticate, "{name}: {kinds:?}");
        let (_, field, token) = &sent[first + 1];
        let Some(Message::NtlmAuthenticate(login)) = Message::read(field.scheme, token) else {
            panic!("{name}: {kinds:?}")
        };
        // wget's response is of the old kind.
        let expected = if name.contains("wget") { Mechanism::NtlmV1 } else { Mechanism::NtlmV2 };
        assert_eq!((login.mechanism, login.anonymous), (expected, false), "{name}");
        assert_eq!(login.identity.user.shown(64).to_string(), "alice", "{name}");
        logins += 1;
    }
    assert!(logins >= 10, "{logins}");
}
