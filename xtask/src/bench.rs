//! Benchmarks: instructions, which are the same on a busy machine.

use std::process::Command;

use anyhow::Result;

use crate::packages::{self, Need};
use crate::{build, demo, paths, ui};

/// `cargo xtask bench bound`
pub fn bound(nginx: &str) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Suite, Need::Bench])?;
    let built = build::build(nginx)?;
    let bench = demo::testkit_binary("ntlm-bench")?;
    let counts = paths::cache().join("callgrind");
    std::fs::create_dir_all(&counts)?;
    let wrap = format!(
        "valgrind --quiet --tool=callgrind --trace-children=yes --callgrind-out-file={}/%p",
        counts.display()
    );
    let mut bench = Command::new(bench);
    bench.arg(&counts).env("NTLM_NGINX", built.nginx).env("NTLM_NGINX_WRAP", wrap);
    if let Some(module) = built.module {
        bench.env("NTLM_MODULE", module);
    }
    let outcome = ui::run(&mut bench);
    std::fs::remove_dir_all(&counts)?;
    outcome
}
