//! valgrind's callgrind counts the instructions of a proxy, and writes them down whenever it is asked to.
//!
//! It counts what the process itself executes outside of the kernel: neither the measuring process nor a busy machine change
//! the number.

use std::collections::HashMap;
use std::iter::Sum;
use std::ops::{Add, Div};
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
}

impl Sum for Instructions {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

impl Add for Instructions {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { all: self.all + other.all, own: self.own + other.own }
    }
}

impl Div<f64> for Instructions {
    type Output = Self;

    fn div(self, by: f64) -> Self {
        Self { all: self.all / by, own: self.own / by }
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
/// follow were, in lines of a place and a number; the line after `calls=` is what the called function took, which stands
/// elsewhere too.
fn of_dump(text: &str) -> (Instructions, Option<u64>) {
    let mut files = HashMap::new();
    let mut is_own = |object: &str| {
        let (id, file) = object.split_once(' ').unwrap_or((object, ""));
        if !file.is_empty() {
            let name = file.rsplit('/').next().unwrap_or_default();
            files.insert(id.to_owned(), !name.starts_with("lib") && !name.starts_with("ld-"));
        }
        files.get(id).copied().unwrap_or_default()
    };
    let (mut all, mut in_own): (u64, u64) = (0, 0);
    let (mut own, mut called) = (false, false);
    for line in text.lines() {
        if let Some(object) = line.strip_prefix("ob=") {
            own = is_own(object);
        } else if let Some(object) = line.strip_prefix("cob=") {
            is_own(object);
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(['+', '-', '*']) || line.starts_with(|c: char| c.is_ascii_digit()) {
            let cost: u64 = line.split(' ').nth(1).and_then(|cost| cost.parse().ok()).unwrap_or_default();
            if !std::mem::take(&mut called) {
                all += cost;
                in_own += if own { cost } else { 0 };
            }
        }
    }
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.parse().ok());
    (Instructions { all: all as f64, own: in_own as f64 }, total)
}

#[cfg(test)]
mod tests {
    use super::{Instructions, of_dump};

    #[test]
    fn called_functions_count_once_and_libraries_apart() {
        let dump = "positions: line\nevents: Ir\n\nob=(1) /usr/sbin/nginx\nfn=(1) a\n10 5\n+1 2\n\
                    cob=(2) /lib/libc.so.6\ncfn=(2) b\ncalls=1 0\n+1 30\n\nob=(2)\nfn=(2) b\n7 30\n\n\
                    ob=(1)\nfn=(3) c\n* 1\n\ntotals: 38\n";
        assert_eq!(of_dump(dump), (Instructions { all: 38.0, own: 8.0 }, Some(38)));
    }
}
