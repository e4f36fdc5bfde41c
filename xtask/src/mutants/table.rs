//! The project's own changes of the module: each is a defect, and the tests named beside it must fail.
//!
//! A row's text occurs exactly once in its file (a unit test and `tree::apply` see to that), so that the table cannot fall
//! behind the sources.

mod nginx;
mod peer;
mod proxy;
mod requests;
mod streams;
mod waiting;

/// A change, and the tests that must notice it.
#[derive(Clone, Copy)]
pub struct Mutation {
    /// Below the module's sources.
    pub file: &'static str,
    /// The text that is there.
    pub text: &'static str,
    /// The text that takes its place.
    pub becomes: &'static str,
    /// Filters of the suite.
    pub tests: &'static [&'static str],
    /// The NGINX that it is tried on.
    pub nginx: &'static str,
    /// No test notices it; `docs/reliability.md` says why.
    pub known: bool,
}

impl Mutation {
    /// The path in the repository.
    pub fn path(&self) -> String {
        format!("crates/ngx-http-upstream-ntlm/src/{}", self.file)
    }

    /// The change in one line.
    pub fn change(&self) -> String {
        let line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("\"{}\" becomes \"{}\"", line(self.text), line(self.becomes))
    }

    const fn known(self) -> Self {
        Mutation { known: true, ..self }
    }

    const fn on_1_30(self) -> Self {
        Mutation { nginx: "1.30", ..self }
    }
}

const fn row(
    file: &'static str,
    text: &'static str,
    becomes: &'static str,
    tests: &'static [&'static str],
) -> Mutation {
    Mutation { file, text, becomes, tests, nginx: "1.22", known: false }
}

const CACHES: &[&str] = &["isolation::caches::"];
const GUARD: &[&str] = &["guard::"];
const LOCATIONS: &[&str] =
    &["isolation::spellings::", "isolation::locations::", "isolation::ways::credentials_by", "guard::ways::"];
const KEYS: &[&str] = &["keys::"];
const WAYS: &[&str] = &["isolation::ways::", "tls_upstream::changed_tls_route"];
const RETRIES: &[&str] = &["lifetime::retries::", "lifetime::next_upstream::"];
const VARIABLES: &[&str] = &["variables::", "proof::"];
const TIMEOUTS: &[&str] = &["lifetime::timeouts::"];
const SUBREQUESTS: &[&str] = &["multiplexed::subrequests::", "multiplexed::njs::"];
const RESPONSES: &[&str] = &["lifetime::responses::"];
const OUTGOING: &[&str] = &["configuration::outgoing::", "diagnoses::", "isolation::spellings::trouble"];

/// The changes, by theme.
pub const TABLE: [&[Mutation]; 6] =
    [peer::ROWS, proxy::ROWS, requests::ROWS, streams::ROWS, waiting::ROWS, nginx::ROWS];

/// All changes.
pub fn all() -> impl Iterator<Item = &'static Mutation> {
    TABLE.into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutants::tree::{apply, text_of};
    use crate::tidy::files;
    use crate::{nginx::Nginx, paths};

    #[test]
    fn each_text_occurs_once_in_its_file() {
        let errors: Vec<String> =
            all().filter_map(|row| apply(row, &text_of(row)).err()).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    #[test]
    fn rows_change_something_and_name_an_nginx() {
        for row in all() {
            assert!(row.text != row.becomes && !row.tests.is_empty(), "{}", row.change());
            assert!(Nginx::named(row.nginx).is_ok(), "{}", row.change());
        }
    }

    #[test]
    fn each_filter_names_a_test() {
        let names = tests_of_suite();
        let missing: Vec<&str> = all()
            .flat_map(|row| row.tests)
            .filter(|filter| !names.iter().any(|name| name.contains(**filter)))
            .copied()
            .collect();
        assert!(missing.is_empty(), "the suite has no tests of these names: {missing:#?}");
    }

    /// The tests of the suite, named as its runner names them: `isolation::ways::…` stands in `isolation/ways.rs`.
    fn tests_of_suite() -> Vec<String> {
        const FOLDER: &str = "crates/ntlm-testkit/tests/suite";
        let files = files::all(&paths::repo(), &[".rs"]).expect("sources");
        let suite = files.iter().filter_map(|file| Some((file.path.strip_prefix(FOLDER).ok()?, &file.text)));
        suite
            .flat_map(|(path, text)| {
                let theme = path.with_extension("").display().to_string().replace('/', "::");
                let functions =
                    text.lines().filter_map(|line| line.strip_prefix("async fn ")?.split_once('('));
                functions.map(move |(name, _)| format!("{theme}::{name}")).collect::<Vec<_>>()
            })
            .collect()
    }

    #[test]
    fn known_survivors_are_in_the_page() {
        let page = std::fs::read_to_string(paths::repo().join("docs/reliability.md")).unwrap_or_default();
        for row in all().filter(|row| row.known) {
            assert!(page.contains(row.file), "docs/reliability.md does not name {}", row.file);
        }
    }
}
