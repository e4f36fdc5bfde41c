//! Which nginx and which module are under test: the environment says, `cargo xtask test` sets it.
//!
//! It must never fall back to an nginx that happens to be installed.

use std::process::Command;
use std::sync::OnceLock;

const HINT: &str = "run this through \"cargo xtask test\"";

/// The nginx under test.
#[derive(Debug)]
pub struct Binary {
    /// `NTLM_NGINX_WRAP` and `NTLM_NGINX`.
    command: Vec<String>,
    module: Option<String>,
    version: (u32, u32, u32),
    arguments: String,
}

pub(super) fn get() -> &'static Binary {
    static BINARY: OnceLock<Binary> = OnceLock::new();
    BINARY.get_or_init(|| {
        let path = std::env::var("NTLM_NGINX").unwrap_or_default();
        assert!(!path.is_empty(), "NTLM_NGINX names no nginx: {HINT}");
        let output = Command::new(&path).arg("-V").output();
        let output =
            output.unwrap_or_else(|error| panic!("NTLM_NGINX=\"{path}\" does not run ({error}): {HINT}"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text.split_once("nginx/").map_or("", |(_, rest)| rest);
        let mut numbers =
            version.split(|c: char| !c.is_ascii_digit()).map_while(|digits| digits.parse().ok());
        let mut number =
            || numbers.next().unwrap_or_else(|| panic!("no version in the output of {path} -V:\n{text}"));
        let wrap = std::env::var("NTLM_NGINX_WRAP").unwrap_or_default();
        Binary {
            version: (number(), number(), number()),
            arguments: text
                .split_once("configure arguments:")
                .map_or(String::new(), |(_, rest)| rest.to_owned()),
            module: std::env::var("NTLM_MODULE").ok().filter(|module| !module.is_empty()),
            command: wrap.split_whitespace().map(str::to_owned).chain([path]).collect(),
        }
    })
}

impl Binary {
    /// Its version, such as (1, 30, 6).
    #[must_use]
    pub fn version(&self) -> (u32, u32, u32) {
        self.version
    }

    /// Its configure arguments contain `text`: `http_v3`, `with-debug`, …
    #[must_use]
    pub fn has(&self, text: &str) -> bool {
        self.arguments.contains(text)
    }

    /// The `load_module` line, empty if the module is built in.
    pub(super) fn load_module(&self) -> String {
        self.module.as_ref().map_or(String::new(), |module| format!("load_module \"{module}\";\n"))
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}
