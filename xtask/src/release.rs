//! `cargo xtask release`: a commit with the new version, its tag, and the packages made from it.
//!
//! Works in a temporary clone. This repository gets the commit, the tag and `dist` when the packages are complete; a rehearsal
//! (`--dry-run`) ends before that. Must never push.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{self, Command};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::changelog::{self, Changelog};
use crate::{ReleaseArgs, packages, paths, ui};

/// The lock files, in which Cargo repeats our version.
const LOCKS: [&str; 2] = ["Cargo.lock", "fuzz/Cargo.lock"];

/// `cargo xtask release`
pub fn command(args: &ReleaseArgs) -> Result<()> {
    let old = env!("CARGO_PKG_VERSION");
    let new = args.version.as_str();
    let tag = format!("v{new}");
    ensure!(
        numbers(new)? > numbers(old)?,
        "{new} does not come after {old}, which is the version in Cargo.toml"
    );
    if !packages::is_root() {
        bail!("packages are built in systems of their own, which only root can set up: run this with sudo");
    }
    let repo = paths::repo();
    let changed = ui::output(git(&repo).args(["status", "--porcelain", "--untracked-files=no"]))?;
    ensure!(changed.is_empty(), "these files differ from the last commit:\n{changed}");
    let tags = ui::output(git(&repo).args(["tag", "--list", &tag]))?;
    ensure!(tags.is_empty(), "there is a tag {tag} already");
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let text = Changelog::read()?.release(new, &changelog::day(now)?)?;

    let clone = env::temp_dir().join(format!("ntlm-release-{new}-{}", process::id()));
    ui::stage("a clone", || ui::run(git(&repo).args(["clone", "--quiet", "--"]).args([&repo, &clone])))?;
    ui::say(format!("  everything happens in {}", clone.display()));

    ui::stage("version and changelog", || {
        fs::write(clone.join("CHANGELOG.md"), text)?;
        raise(&clone.join("Cargo.toml"), old, new, manifest)?;
        LOCKS.iter().try_for_each(|lock| raise(&clone.join(lock), old, new, lock_file))
    })?;
    // Also compiles xtask, with the new version in it.
    ui::stage("tidy", || xtask(&clone, &["tidy".to_owned()]))?;
    ui::stage("commit and tag", || {
        commit(&repo, &clone, new, &tag)?;
        ui::run(git(&clone).args(["show", "--stat", "--format=%h %s%d", "HEAD"]))
    })?;
    xtask(&clone, &package_line(args))?;
    ui::say(format!("\n{tag} consists of"));
    ui::say(fs::read_to_string(clone.join("dist/SHA256SUMS"))?);

    if args.dry_run {
        fs::remove_dir_all(&clone)?;
        ui::say("that was a rehearsal: the clone is gone, and this repository is as it was");
        return Ok(());
    }
    ui::stage("commit, tag and dist for this repository", || take(&repo, &clone, &tag))?;
    fs::remove_dir_all(&clone)?;
    ui::say(format!("now look at {tag} and dist, then: git push --atomic origin HEAD {tag}"));
    println!("{}", repo.join("dist").display());
    Ok(())
}

fn package_line(args: &ReleaseArgs) -> Vec<String> {
    let mut line = vec!["package".to_owned()];
    if !args.no_check {
        line.push("--check".to_owned());
    }
    if !args.nginx.is_empty() {
        line.push("--nginx".to_owned());
        line.extend(args.nginx.iter().cloned());
    }
    line
}

/// The three numbers of a version.
fn numbers(version: &str) -> Result<Vec<u32>> {
    let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    numbers
        .ok()
        .filter(|numbers| numbers.len() == 3)
        .with_context(|| format!("\"{version}\" is no version such as 0.2.0"))
}

/// Rewrites a file by `how`, which returns nothing if the file does not state `old`.
fn raise(file: &Path, old: &str, new: &str, how: fn(&str, &str, &str) -> Option<String>) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let text = how(&text, old, new).with_context(|| format!("{} does not state {old}", file.display()))?;
    Ok(fs::write(file, text)?)
}

/// The workspace's manifest: the version below `[workspace.package]`.
fn manifest(text: &str, old: &str, new: &str) -> Option<String> {
    let (before, after) = text.split_once("[workspace.package]\n")?;
    let line = format!("version = \"{old}\"\n");
    let after = after.contains(&line).then(|| after.replacen(&line, &format!("version = \"{new}\"\n"), 1))?;
    Some(format!("{before}[workspace.package]\n{after}"))
}

/// A lock file: the crates without a registry are ours.
fn lock_file(text: &str, old: &str, new: &str) -> Option<String> {
    let line = format!("version = \"{old}\"\n");
    let crates: Vec<String> = text
        .split("\n\n")
        .map(|entry| {
            let is_ours = entry.contains(&line) && !entry.contains("\nsource = ");
            if is_ours {
                entry.replacen(&line, &format!("version = \"{new}\"\n"), 1)
            } else {
                entry.to_owned()
            }
        })
        .collect();
    let raised = crates.join("\n\n");
    (raised != text).then_some(raised)
}

/// Commits and tags in the name that git has for this repository.
fn commit(repo: &Path, clone: &Path, version: &str, tag: &str) -> Result<()> {
    for setting in ["user.name", "user.email"] {
        let value = ui::output(git(repo).args(["config", setting]))?;
        ui::run(git(clone).args(["config", setting, value.trim()]))?;
    }
    ui::run(git(clone).args(["commit", "--quiet", "--all", "--message", &format!("release: {version}")]))?;
    ui::run(git(clone).args(["tag", "--annotate", "--message", version, tag]))
}

/// Runs the clone's `cargo xtask`, with this repository's NGINX versions, systems and tools.
fn xtask(clone: &Path, line: &[String]) -> Result<()> {
    let mut cargo = paths::cargo();
    cargo.arg("xtask").args(line).current_dir(clone);
    cargo.env_remove("CARGO_TARGET_DIR").env("NTLM_CACHE_DIR", paths::cache());
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [paths::tools().join("bin")].into_iter().chain(env::split_paths(&path));
    ui::run(cargo.env("PATH", env::join_paths(folders)?))
}

/// Takes commit, tag and `dist` over from the clone.
fn take(repo: &Path, clone: &Path, tag: &str) -> Result<()> {
    ui::run(git(repo).args(["pull", "--quiet", "--ff-only", "--no-tags", "--"]).arg(clone).arg("HEAD"))?;
    ui::run(
        git(repo).args(["fetch", "--quiet", "--"]).arg(clone).arg(format!("refs/tags/{tag}:refs/tags/{tag}")),
    )?;
    let dist = repo.join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist)?;
    }
    ui::run(Command::new("cp").args(["-r", "--"]).args([clone.join("dist"), dist]))
}

fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    // Root may release what somebody else cloned.
    git.args(["-c", "safe.directory=*"]).current_dir(dir);
    git
}

#[cfg(test)]
mod tests {
    use super::{lock_file, manifest, numbers};

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(numbers("0.10.0").unwrap() > numbers("0.9.1").unwrap());
        assert!(numbers("0.2").is_err() && numbers("v0.2.0").is_err() && numbers("0.2.0-rc1").is_err());
    }

    #[test]
    fn only_the_version_of_the_workspace_is_raised() {
        let text = "[dep]\nversion = \"0.1.0\"\n\n[workspace.package]\nversion = \"0.1.0\"\nrust-version = \"1.88\"\n";
        let raised = manifest(text, "0.1.0", "0.2.0").unwrap();
        assert_eq!(
            raised,
            "[dep]\nversion = \"0.1.0\"\n\n[workspace.package]\nversion = \"0.2.0\"\nrust-version = \"1.88\"\n"
        );
        assert!(manifest(text, "0.3.0", "0.4.0").is_none());
    }

    #[test]
    fn only_our_crates_are_raised_in_lock_files() {
        let text = "version = 4\n\n[[package]]\nname = \"other\"\nversion = \"0.1.0\"\nsource = \"registry\"\n\n\
                    [[package]]\nname = \"ntlm-core\"\nversion = \"0.1.0\"\n";
        let raised = lock_file(text, "0.1.0", "0.2.0").unwrap();
        assert_eq!(raised.matches("0.2.0").count(), 1);
        assert!(raised.ends_with("name = \"ntlm-core\"\nversion = \"0.2.0\"\n"));
        assert!(lock_file(text, "0.3.0", "0.4.0").is_none());
    }
}
