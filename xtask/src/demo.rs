//! Prepares everything the demo needs, then becomes it: Ctrl-C and the exit status are the demo's own.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::packages::{self, Need};
use crate::{DemoArgs, build, paths, ui};

/// `cargo xtask demo`
pub fn command(args: &DemoArgs) -> Result<()> {
    packages::ensure(&[Need::Fetch, Need::Module, Need::Suite])?;
    let built = build::build(&args.nginx)?;

    let demo = testkit_binary("ntlm-demo")?;

    let mut demo = Command::new(demo);
    demo.arg("--nginx").arg(built.nginx);
    if let Some(module) = built.module {
        demo.arg("--module").arg(module);
    }
    if args.once {
        demo.arg("--once");
    }
    if let Some(upstream) = &args.upstream {
        demo.arg("--upstream").arg(upstream);
    }
    if let Some(listen) = &args.listen {
        demo.arg("--listen").arg(listen.to_string());
    }
    let error = demo.exec();
    bail!("cannot run {}: {error}", demo.get_program().to_string_lossy())
}

/// Builds a binary of the test kit and says where it is.
pub fn testkit_binary(name: &str) -> Result<PathBuf> {
    testkit_binary_with(name, &[])
}

/// Builds a binary of the test kit with more arguments for cargo.
pub fn testkit_binary_with(name: &str, args: &[&str]) -> Result<PathBuf> {
    // The dev profile: it is compiled once to be run for a minute, and the tests share what it compiles.
    let mut cargo = paths::cargo();
    cargo.args([
        "build",
        "--package",
        "ntlm-testkit",
        "--message-format",
        "json-render-diagnostics",
        "--bin",
        name,
    ]);
    cargo.args(args);
    let messages = ui::output(cargo.current_dir(paths::repo()))?;
    ui::executables(&messages, "bin").pop().with_context(|| format!("cargo did not say where it put {name}"))
}

/// Refuses what is no URL of a server before anything is built for it. The demo itself looks at it more closely.
pub fn parse_upstream(text: &str) -> Result<String, String> {
    let lower = text.to_ascii_lowercase();
    let Some(rest) = lower.strip_prefix("http://").or_else(|| lower.strip_prefix("https://")) else {
        return Err(format!("write it with http:// or https:// in front, such as https://{text}"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    if authority.contains('@') {
        return Err("leave name and password out: your client will ask for them".to_owned());
    }
    if authority.is_empty() || authority.starts_with(':') || !authority.chars().all(is_plain) {
        return Err(format!("\"{authority}\" is no name of a host"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::parse_upstream;

    #[test]
    fn nonsense_is_refused_before_anything_is_built() {
        for url in
            ["http://a", "https://mail.example.com:8443/owa/?x=1", "http://[::1]:81/", "HTTP://10.0.0.1"]
        {
            assert_eq!(parse_upstream(url), Ok(url.to_owned()));
        }
        for url in [
            "",
            "mail.example.com",
            "ftp://a",
            "http://",
            "http:///x",
            "https://u:p@a/",
            "http://a;b/",
            "http://:80",
        ] {
            assert!(parse_upstream(url).is_err(), "{url}");
        }
    }
}
