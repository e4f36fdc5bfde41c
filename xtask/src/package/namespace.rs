//! A network, a table of mounts and a table of processes of our own, for as long as the value lives.
//!
//! When it is dropped, or when we end in whatever way, all that runs in it ends, and its mounts are gone.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// The namespaces.
pub struct Namespace {
    /// Lives until its standard input is closed.
    holder: Child,
    /// The first process inside, by its number outside.
    inside: String,
}

impl Namespace {
    /// Makes them, with a loopback interface that is up.
    pub fn new() -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--", "sh", "-c"]);
        unshare.arg("ip link set lo up && echo up && exec cat");
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut holder = unshare.spawn().context("cannot run \"unshare\": is it installed?")?;
        let mut line = String::new();
        let output = holder.stdout.take().context("no output of unshare")?;
        BufReader::new(output).read_line(&mut line)?;
        if line != "up\n" {
            bail!("namespaces are not to be had here: is this root in a container without CAP_SYS_ADMIN?");
        }
        let id = holder.id();
        let inside = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?.trim().to_owned();
        Ok(Self { holder, inside })
    }

    /// `program`, to be run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.inside, "--mount", "--net", "--pid", "--", program]);
        command.env("LC_ALL", "C").stdin(Stdio::null());
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
