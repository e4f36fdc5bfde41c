//! Everything that a change has to pass, stage by stage; the first stage that fails is the last that runs.

use std::process::Command;

use anyhow::Result;

use crate::build;
use crate::nginx::{self, Nginx, Tested};
use crate::packages::{self, Need};
use crate::suite::{self, Suite};
use crate::{TestArgs, bench, demo, deny, docs, interop, package, paths, promtool, tidy, ui};

/// Crates that need no NGINX to compile.
const PLAIN: &[&str] = &["ntlm-bench", "ntlm-client", "ntlm-core", "ntlm-probe", "ntlm-testkit", "xtask"];

/// The forms of a configuration beside an `upstream` block (`NTLM_FORM`), and the themes that are played in each of them.
const FORMS: &[&str] = &["replaced", "literal", "address", "name"];
const IN_FORMS: &[&str] = &["handshakes::", "isolation::", "lifetime::", "eviction::", "multiplexed::"];

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
        ui::stage("tidy", tidy::command)?;
        ui::stage("alert rules", promtool::check)?;
        // In a checkout without NGINX, as the core promises.
        ui::stage("tests of the core, the client, the probe, the benchmark and xtask", || {
            let mut cargo = cargo("test");
            cargo.env_remove("NGINX_SOURCE_DIR").env_remove("NGINX_BUILD_DIR");
            ui::run(cargo.args(["--package", "ntlm-core", "--package", "xtask"]))?;
            ui::run(self::cargo("test").args(["--package", "ntlm-client", "--lib"]))?;
            ui::run(self::cargo("test").args(["--package", "ntlm-probe", "--bins"]))?;
            ui::run(self::cargo("test").args(["--package", "ntlm-bench"]))
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
            suite.run(&built, *tested, args.test_threads, &args.filter)?;
            probe.run(&built, *tested, args.test_threads, &args.filter)
        })?;
        if !filtered && *tested == Tested::Whole {
            for form in FORMS {
                ui::stage(&format!("form {form} on nginx {}", nginx.name), || {
                    let themes: Vec<String> = IN_FORMS.iter().map(|&theme| theme.to_owned()).collect();
                    suite.run_with(&built, args.test_threads, &themes, &[("NTLM_FORM", (*form).to_owned())])
                })?;
            }
        }
    }
    if !args.quick && !filtered && args.nginx.is_empty() {
        bench::check_in_test()?;
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
        plain.args(["--all-targets", "--features", suite::FEATURES, "--", "-D", "warnings"]);
        ui::run(&mut plain)
    })?;
    ui::stage("clippy on the demo, which is compiled without the tests' features", || {
        let mut clippy = cargo("clippy");
        clippy.args(["--package", "ntlm-testkit", "--bin", "ntlm-demo"]).args(demo::DEMO_FEATURES);
        ui::run(clippy.args(["--", "-D", "warnings"]))
    })?;
    ui::stage("rustdoc", || {
        let mut plain = with_packages("doc");
        plain.args(["--no-deps", "--document-private-items", "--features", suite::FEATURES]);
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
    ui::stage("book", docs::build_if_installed)?;
    ui::stage("licences, sources and bans", deny::check_if_installed)
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
