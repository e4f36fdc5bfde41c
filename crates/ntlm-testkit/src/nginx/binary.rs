//! Which nginx and which module are under test: the environment says, `cargo xtask test` sets it; or a program does
//! that was told by its user.
//!
//! It must never fall back to an nginx that happens to be installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const HINT: &str = "run this through \"cargo xtask test\"";

/// The nginx under test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    /// `NTLM_NGINX_WRAP` and `NTLM_NGINX`.
    command: Vec<String>,
    module: Option<String>,
    /// `NTLM_BESIDE`.
    beside: Option<PathBuf>,
    version: (u32, u32, u32),
    arguments: String,
}

static BINARY: OnceLock<Binary> = OnceLock::new();

pub(super) fn get() -> &'static Binary {
    BINARY.get_or_init(|| {
        let path = std::env::var("NTLM_NGINX").unwrap_or_default();
        assert!(!path.is_empty(), "NTLM_NGINX names no nginx: {HINT}");
        let module = std::env::var("NTLM_MODULE").ok().filter(|module| !module.is_empty());
        Binary::ask(&path, module).unwrap_or_else(|error| panic!("NTLM_NGINX: {error}; {HINT}"))
    })
}

pub(super) fn choose(path: &Path, module: Option<&Path>) -> Result<(), String> {
    // load_module would look for it below the prefix.
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let module = module.map(|module| absolute(module).display().to_string());
    let binary = Binary::ask(&path.display().to_string(), module)?;
    let chosen = BINARY.get_or_init(|| binary.clone());
    if *chosen == binary { Ok(()) } else { Err("another nginx was chosen before".to_owned()) }
}

/// The `load_module` line for a file.
pub(super) fn load_module(module: &Path) -> String {
    format!("load_module \"{}\";\n", module.display())
}

impl Binary {
    /// Asks the nginx at `path` what it is.
    fn ask(path: &str, module: Option<String>) -> Result<Self, String> {
        let output = Command::new(path).arg("-V").output();
        let output = output.map_err(|error| format!("\"{path}\" does not run ({error})"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text.split_once("nginx/").map_or("", |(_, rest)| rest);
        let mut numbers =
            version.split(|c: char| !c.is_ascii_digit()).map_while(|digits| digits.parse().ok());
        let mut number =
            || numbers.next().ok_or_else(|| format!("\"{path}\" is no nginx: no version in\n{text}"));
        let wrap = std::env::var("NTLM_NGINX_WRAP").unwrap_or_default();
        Ok(Self {
            version: (number()?, number()?, number()?),
            arguments: text
                .split_once("configure arguments:")
                .map_or(String::new(), |(_, rest)| rest.to_owned()),
            module,
            beside: std::env::var_os("NTLM_BESIDE").map(PathBuf::from),
            command: wrap.split_whitespace().chain([path]).map(str::to_owned).collect(),
        })
    }

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

    /// The file of the module; `None` if the module is built in.
    #[must_use]
    pub fn module(&self) -> Option<&Path> {
        self.module.as_deref().map(Path::new)
    }

    /// The folder of nginx's sources, which stands beside the binary: with what its configuration has made of them in `objs`. `None` where there is
    /// none.
    #[must_use]
    pub fn sources(&self) -> Option<PathBuf> {
        let folder = Path::new(self.command.last()?).parent()?.join("src");
        folder.join("objs/ngx_auto_config.h").exists().then_some(folder)
    }

    /// The `load_module` line, empty if the module is built in.
    pub(crate) fn load_module(&self) -> String {
        self.module().map_or(String::new(), load_module)
    }

    /// The folder of what is loaded beside the module in every test, where that is so: `main.conf`, before the module, and
    /// `http.conf`.
    #[must_use]
    pub fn beside(&self) -> Option<&Path> {
        self.beside.as_deref()
    }

    /// It runs below `NTLM_NGINX_WRAP`.
    #[must_use]
    pub fn is_wrapped(&self) -> bool {
        self.command.len() > 1
    }

    /// Something watches what it does with memory.
    #[must_use]
    pub fn is_watched(&self) -> bool {
        self.is_wrapped() || self.has("-fsanitize=address")
    }

    /// qemu-user imitates its processor. Its processes read a `/proc/self/stat` that qemu makes up, and take each other for gone.
    #[must_use]
    pub fn is_imitated(&self) -> bool {
        std::env::var_os("NTLM_CC").is_some()
    }

    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        command
    }
}
