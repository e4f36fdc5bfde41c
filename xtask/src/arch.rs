//! The processors that the module is compiled for.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::packages::Need;
use crate::{paths, ui};

/// A processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86-64, this machine's.
    Amd64,
    /// 64-bit ARM.
    Arm64,
}

impl Arch {
    /// Debian's name of the processor.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// The first part of its triplets, what `uname -m` says.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }

    /// Rust's target triple.
    pub fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }

    /// The triplet in the names of Debian's compilers and library folders.
    pub fn triplet(self) -> String {
        format!("{}-linux-gnu", self.machine())
    }

    /// The packages that it takes to compile for it and to run what was compiled.
    pub fn needs(self) -> &'static [Need] {
        match self {
            Self::Amd64 => &[],
            Self::Arm64 => &[Need::Cross],
        }
    }

    /// The program that runs files for this processor.
    pub fn runner(self) -> &'static str {
        match self {
            Self::Amd64 => "qemu-x86_64",
            Self::Arm64 => "qemu-aarch64",
        }
    }

    /// Whether it is another than this machine's.
    pub fn is_foreign(self) -> bool {
        self != Self::Amd64
    }
}

/// Makes sure that rustup's toolchain can compile for `arch`.
pub fn ensure_target(arch: Arch) -> Result<()> {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", arch.target()]).current_dir(paths::repo());
    let libdir = ui::output(&mut rustc)?;
    if Path::new(libdir.trim()).exists() {
        return Ok(());
    }
    let mut rustup = Command::new("rustup");
    rustup.args(["target", "add", arch.target()]).current_dir(paths::repo());
    ui::run(rustup.stdout(std::io::stderr()))
        .context("Rust's libraries for it are missing, and there is no rustup to get them")
}
