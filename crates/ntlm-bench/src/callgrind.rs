//! valgrind's callgrind counts the instructions of a proxy, and writes them down whenever it is asked to.
//!
//! callgrind counts the instructions that this process executes, the kernel's excepted: neither the process that sends the requests
//! nor a busy machine changes the number.

use std::collections::HashMap;
use std::ops::Div;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::subject::Proxy;

/// Instructions, or instructions a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Instructions {
    /// All.
    pub all: f64,
    /// In the proxy and its modules, not in libraries.
    pub own: f64,
    /// Calls of the allocator by the proxy and its modules.
    pub allocations: f64,
}

/// The functions of the C library that allocate.
const ALLOCATORS: [&str; 6] = ["malloc", "calloc", "realloc", "posix_memalign", "memalign", "aligned_alloc"];

impl Div<f64> for Instructions {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { all: self.all / by, own: self.own / by, allocations: self.allocations / by }
    }
}

/// The files of one proxy's counts.
pub struct Counter {
    folder: tempfile::TempDir,
    dumps: usize,
}

impl Counter {
    /// A counter for a proxy that is not started yet.
    pub fn new() -> Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("ntlm-callgrind-").tempdir()?, dumps: 0 })
    }

    /// The command that runs the proxy, and counts.
    pub fn command(&self) -> Vec<String> {
        let file = format!("--callgrind-out-file={}/%p", self.folder.path().display());
        ["valgrind", "--quiet", "--tool=callgrind", "--trace-children=yes", &file].map(str::to_owned).into()
    }

    /// The instructions since the last call, or the start. The proxy has nothing to do meanwhile.
    pub async fn count(&mut self, proxy: &Proxy) -> Result<Instructions> {
        proxy.idle().await?;
        self.dumps += 1;
        let mut ask = Command::new("vgdb");
        ask.arg(format!("--pid={}", proxy.pid())).arg("dump").stdin(Stdio::null());
        let said = ask.output().context("vgdb, a part of valgrind, does not run")?;
        ensure!(said.status.success(), "vgdb: {}", String::from_utf8_lossy(&said.stderr));
        let file = self.file(proxy);
        let text = std::fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
        std::fs::remove_file(&file)?;
        let (sum, total) = of_dump(&text);
        ensure!(total == Some(sum.all as u64), "{} was not understood", file.display());
        Ok(sum)
    }

    fn file(&self, proxy: &Proxy) -> PathBuf {
        self.folder.path().join(format!("{}.{}", proxy.pid(), self.dumps))
    }
}

/// Reads what callgrind has written; the sum and the total that it states itself. `ob=(id) file` names where the costs that
/// follow were, in lines of a place and a number. `cfn=(id) function` names what was called, `calls=` how often, and the line
/// after that what it took, which stands elsewhere too. A name stands behind its id only the first time.
fn of_dump(text: &str) -> (Instructions, Option<u64>) {
    let mut objects = Names::new(|file| {
        let name = file.rsplit('/').next().unwrap_or_default();
        !name.starts_with("lib") && !name.starts_with("ld-")
    });
    let mut functions = Names::new(|name| ALLOCATORS.contains(&name));
    let (mut all, mut in_own, mut allocations): (u64, u64, u64) = (0, 0, 0);
    let (mut own, mut called, mut to_allocate) = (false, false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            own = objects.holds(object);
        } else if let Some(object) = line.strip_prefix("cob=") {
            objects.holds(object);
        } else if let Some(function) = line.strip_prefix("fn=") {
            functions.holds(function);
        } else if let Some(function) = line.strip_prefix("cfn=") {
            to_allocate = functions.holds(function);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            called = true;
            if own && to_allocate {
                allocations += calls.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0);
            }
        } else if line.starts_with(['+', '-', '*']) || line.starts_with(|c: char| c.is_ascii_digit()) {
            let cost: u64 = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or_default();
            if !std::mem::take(&mut called) {
                all += cost;
                in_own += if own { cost } else { 0 };
            }
        }
    }
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
    (Instructions { all: all as f64, own: in_own as f64, allocations: allocations as f64 }, total)
}

/// Whether a rule holds for a name. callgrind writes a name once, with a number; after that it writes the number alone.
struct Names<'a> {
    known: HashMap<&'a str, bool>,
    rule: fn(&str) -> bool,
}

impl<'a> Names<'a> {
    fn new(rule: fn(&str) -> bool) -> Self {
        Self { known: HashMap::new(), rule }
    }

    /// Whether it holds for `id`, or for `id name`.
    fn holds(&mut self, text: &'a str) -> bool {
        let (id, name) = text.split_once(' ').unwrap_or((text, ""));
        if !name.is_empty() {
            self.known.insert(id, (self.rule)(name));
        }
        self.known.get(id).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::{Instructions, of_dump};

    #[test]
    fn called_functions_count_once_and_libraries_apart() {
        let dump = "positions: line\nevents: Ir\n\nob=(1) /usr/sbin/nginx\nfn=(1) a\n10 5\n+1 2\n\
                    cob=(2) /lib/libc.so.6\ncfn=(2) malloc\ncalls=3 0\n+1 30\n\nob=(2)\nfn=(2)\n7 30\n\
                    cfn=(2)\ncalls=9 0\n+1 30\n\nob=(1)\nfn=(3) c\n* 1\ncob=(2)\ncfn=(2)\ncalls=1 0\n* 4\n\ntotals: 38\n";
        assert_eq!(of_dump(dump), (Instructions { all: 38.0, own: 8.0, allocations: 4.0 }, Some(38)));
    }
}
