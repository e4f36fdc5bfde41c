//! The suite, compiled once and run against several versions: it finds NGINX and the module in `NTLM_NGINX` and `NTLM_MODULE`
//! (not set where the module is in the binary). The test runner's output goes to stdout.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::Built;
use crate::nginx::Tested;
use crate::{paths, ui};

/// The tests that run on every version live below a module of this name.
const SMOKE: &str = "smoke::";

/// The features that compile the tests which need NGINX.
pub const FEATURES: &str = "ntlm-testkit/suite,ntlm-probe/suite";

/// The test kit's alone: cargo refuses features of packages that it was not told to compile.
const OF_TESTKIT: &str = "ntlm-testkit/suite";

/// The compiled suite.
pub struct Suite {
    unit_tests: Vec<PathBuf>,
    tests: Vec<PathBuf>,
}

impl Suite {
    /// Compiles it.
    pub fn compile() -> Result<Self> {
        Self::of("ntlm-testkit", OF_TESTKIT)
    }

    /// Compiles the tests of the probe, which need nginx as the suite does, and the probe before them.
    pub fn of_probe() -> Result<Self> {
        Self::of("ntlm-probe", FEATURES)
    }

    fn of(package: &str, features: &str) -> Result<Self> {
        let mut cargo = paths::cargo();
        cargo.arg("test").current_dir(paths::repo());
        // Both name these features, so that the test kit is compiled once.
        cargo.args(["--package", package, "--features", features, "--no-run"]);
        let messages = ui::output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
        let suite =
            Self { unit_tests: ui::executables(&messages, "lib"), tests: ui::executables(&messages, "test") };
        if suite.tests.is_empty() {
            bail!("{package} has no tests with the features {features}");
        }
        Ok(suite)
    }

    /// Runs the package's own tests, which need no NGINX.
    pub fn run_unit_tests(&self) -> Result<()> {
        self.unit_tests.iter().try_for_each(|test| ui::run(&mut in_testkit(test)))
    }

    /// Runs as much as `tested` says of what `filter` lets through.
    pub fn run(&self, built: &Built, tested: Tested, test_threads: usize, filter: &[String]) -> Result<()> {
        let smoke = (tested == Tested::Smoke).then(|| SMOKE.to_owned());
        let filter: Vec<String> = smoke.into_iter().chain(filter.iter().cloned()).collect();
        self.run_with(built, test_threads, &filter, &[])
    }

    /// Runs what `filter` lets through, with an environment of the caller's.
    pub fn run_with(
        &self,
        built: &Built,
        test_threads: usize,
        filter: &[String],
        environment: &[(&str, String)],
    ) -> Result<()> {
        for mut test in self.commands(built, test_threads, filter) {
            test.envs(environment.iter().map(|(name, value)| (name, value)));
            ui::run(&mut test).context("tests failed; what they printed is above")?;
        }
        Ok(())
    }

    /// The commands that run what `filter` lets through.
    pub fn commands(&self, built: &Built, test_threads: usize, filter: &[String]) -> Vec<Command> {
        let command = |test: &PathBuf| {
            let mut test = in_testkit(test);
            test.env("NTLM_NGINX", &built.nginx).env_remove("NTLM_MODULE");
            if let Some(module) = &built.module {
                test.env("NTLM_MODULE", module);
            }
            if let Some(arch) = built.foreign {
                // qemu-user hides the titles of nginx's processes, and is slow.
                test.env("NTLM_NGINX_WRAP", "env").env("NTLM_SLOWNESS", "8");
                test.env("NTLM_CC", format!("{}-gcc", arch.triplet()));
            }
            test.arg(format!("--test-threads={test_threads}")).args(filter);
            test
        };
        self.tests.iter().map(command).collect()
    }
}

/// A test executable, in the environment `cargo test` would give it.
fn in_testkit(test: &Path) -> Command {
    let package = paths::repo().join("crates/ntlm-testkit");
    let mut command = Command::new(test);
    command.env("CARGO_MANIFEST_DIR", &package).env("CARGO_PKG_NAME", "ntlm-testkit").current_dir(package);
    command
}
