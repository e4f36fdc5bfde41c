//! What a change has to pass, stage by stage; the first stage that fails is the last that runs.
//!
//! The suite is compiled once and run against several versions: it finds NGINX and the module in `NTLM_NGINX` and
//! `NTLM_MODULE` (not set where the module is in the binary). The test runner's output goes to stdout.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::build::{self, Built};
use crate::nginx::{self, Nginx, Tested};
use crate::packages::{self, Need};
use crate::{TestArgs, deny, interop, package, paths, ui};

/// Crates that need no NGINX to compile.
const PLAIN: &[&str] = &["ntlm-core", "ntlm-probe", "ntlm-testkit", "xtask"];
/// The tests that run on every version live below a module of this name.
const SMOKE: &str = "smoke::";

/// `cargo xtask test`
pub fn command(args: &TestArgs) -> Result<()> {
    let runs = plan(args)?;
    let needs = [Need::Fetch, Need::Nginx, Need::Module, Need::Suite, Need::Browser];
    ui::stage("packages", || packages::ensure(&needs))?;

    let filtered = args.filter.iter().any(|word| !word.starts_with('-'));
    if !args.quick && !filtered {
        lint()?;
    }
    if !filtered {
        // In a checkout without NGINX, as the core promises.
        ui::stage("tests of the core, the probe and xtask", || {
            let mut cargo = cargo("test");
            cargo.env_remove("NGINX_SOURCE_DIR").env_remove("NGINX_BUILD_DIR");
            ui::run(cargo.args(["--package", "ntlm-core", "--package", "xtask"]))?;
            ui::run(self::cargo("test").args(["--package", "ntlm-probe", "--bins"]))
        })?;
    }

    let suite = ui::stage("compile the suite", Suite::compile)?;
    let probe = ui::stage("compile the probe's tests", Suite::of_probe)?;
    if !filtered {
        ui::stage("the test kit's own tests", || suite.run_unit_tests())?;
    }
    for (nginx, tested) in &runs {
        let built = ui::stage(&format!("module for nginx {}", nginx.name), || build::build(nginx.name))?;
        let how_much = if *tested == Tested::Smoke { "smoke tests" } else { "suite" };
        ui::stage(&format!("{how_much} on nginx {}", nginx.name), || {
            suite.run(&built, *tested, args)?;
            probe.run(&built, *tested, args)
        })?;
    }
    if !args.quick && !filtered && args.nginx.is_empty() {
        package::in_ci(&suite, args.test_threads)?;
        interop::in_test()?;
    }
    let names: Vec<&str> = runs.iter().map(|(nginx, _)| nginx.name).collect();
    ui::say(format!("\nall passed, on nginx {}", names.join(", ")));
    Ok(())
}

/// Which versions, and how much of the suite on each.
fn plan(args: &TestArgs) -> Result<Vec<(&'static Nginx, Tested)>> {
    let filtered = args.filter.iter().any(|word| !word.starts_with('-'));
    if !args.nginx.is_empty() {
        return args.nginx.iter().map(|name| Ok((Nginx::named(name)?, Tested::Whole))).collect();
    }
    if args.quick {
        return Ok(vec![(Nginx::named(nginx::DEFAULT)?, Tested::Whole)]);
    }
    let all = nginx::ALL.iter().map(|nginx| (nginx, nginx.tested));
    // A filter and "smoke::" would add up to more tests, not to fewer.
    let runs = all.filter(|(_, tested)| *tested != Tested::Apart && (!filtered || *tested == Tested::Whole));
    Ok(runs.collect())
}

/// Formatting, clippy, rustdoc and licences: everything that is said about the sources without running them.
fn lint() -> Result<()> {
    ui::stage("format", || ui::run(cargo("fmt").args(["--all", "--check"])))?;
    ui::stage("clippy", || {
        let mut plain = with_packages("clippy");
        plain.args(["--all-targets", "--features", "ntlm-testkit/suite", "--", "-D", "warnings"]);
        ui::run(&mut plain)
    })?;
    ui::stage("rustdoc", || {
        let mut plain = with_packages("doc");
        plain.args(["--no-deps", "--document-private-items", "--features", "ntlm-testkit/suite"]);
        ui::run(plain.env("RUSTDOCFLAGS", "-D warnings"))
    })?;

    let oldest = Nginx::named(nginx::DEFAULT)?;
    // With everything an nginx can have, and with as little as possible.
    for nginx in [oldest, Nginx::named("1.28-nodebug")?] {
        ui::stage(&format!("nginx {}", nginx.name), || nginx.get())?;
        ui::stage(&format!("clippy on the module for nginx {}", nginx.name), || {
            ui::run(build::cargo_for(nginx, "clippy").args(["--all-targets", "--", "-D", "warnings"]))
        })?;
    }
    ui::stage("rustdoc of the module", || {
        let mut module = build::cargo_for(oldest, "doc");
        module.args(["--no-deps", "--document-private-items"]);
        ui::run(module.env("RUSTDOCFLAGS", "-D warnings"))
    })?;
    ui::stage("licences, sources and bans", deny::check_if_installed)
}

/// The compiled suite.
pub struct Suite {
    unit_tests: Vec<PathBuf>,
    tests: Vec<PathBuf>,
}

impl Suite {
    /// Compiles it.
    pub fn compile() -> Result<Self> {
        Self::of("ntlm-testkit")
    }

    /// Compiles the tests of the probe, which need nginx as the suite does, and the probe before them.
    fn of_probe() -> Result<Self> {
        Self::of("ntlm-probe")
    }

    fn of(package: &str) -> Result<Self> {
        let mut cargo = cargo("test");
        // The same features for both: the test kit is compiled once.
        cargo.args(["--package", package, "--features", "ntlm-testkit/suite", "--no-run"]);
        let messages = ui::output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
        let suite =
            Self { unit_tests: ui::executables(&messages, "lib"), tests: ui::executables(&messages, "test") };
        if suite.tests.is_empty() {
            bail!("{package} has no tests with the feature \"suite\" of ntlm-testkit");
        }
        Ok(suite)
    }

    fn run_unit_tests(&self) -> Result<()> {
        self.unit_tests.iter().try_for_each(|test| ui::run(&mut in_testkit(test)))
    }

    fn run(&self, built: &Built, tested: Tested, args: &TestArgs) -> Result<()> {
        let smoke = (tested == Tested::Smoke).then(|| SMOKE.to_owned());
        let filter: Vec<String> = smoke.into_iter().chain(args.filter.iter().cloned()).collect();
        self.run_with(built, args.test_threads, &filter, &[])
    }

    /// Runs what `filter` lets through, with an environment of the caller's.
    pub fn run_with(
        &self,
        built: &Built,
        test_threads: usize,
        filter: &[String],
        environment: &[(&str, String)],
    ) -> Result<()> {
        for test in &self.tests {
            let mut test = in_testkit(test);
            test.env("NTLM_NGINX", &built.nginx).env_remove("NTLM_MODULE");
            if let Some(module) = &built.module {
                test.env("NTLM_MODULE", module);
            }
            test.envs(environment.iter().map(|(name, value)| (name, value)));
            test.arg(format!("--test-threads={test_threads}")).args(filter);
            ui::run(&mut test).context("tests failed; what they printed is above")?;
        }
        Ok(())
    }
}

/// A test executable, in the environment `cargo test` would give it.
fn in_testkit(test: &Path) -> Command {
    let package = paths::repo().join("crates/ntlm-testkit");
    let mut command = Command::new(test);
    command.env("CARGO_MANIFEST_DIR", &package).env("CARGO_PKG_NAME", "ntlm-testkit").current_dir(package);
    command
}

fn cargo(subcommand: &str) -> Command {
    let mut cargo = paths::cargo();
    cargo.arg(subcommand).current_dir(paths::repo());
    cargo
}

fn with_packages(subcommand: &str) -> Command {
    let mut cargo = cargo(subcommand);
    for package in PLAIN {
        cargo.args(["--package", package]);
    }
    cargo
}
