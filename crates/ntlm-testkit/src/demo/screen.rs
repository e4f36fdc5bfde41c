//! Output for a terminal: colours if it wants any, and columns.
//!
//! It must never write an escape sequence into a file or a pipe.

use std::io::{IsTerminal as _, stdout};

/// Whether and how standard output is coloured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    coloured: bool,
}

impl Screen {
    /// Colours on a terminal, unless `NO_COLOR` is set (<https://no-color.org>) or it can show none.
    pub(super) fn of_stdout() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { coloured: stdout().is_terminal() && !set("NO_COLOR") && !dumb }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    pub(super) fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
