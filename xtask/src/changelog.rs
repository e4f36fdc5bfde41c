//! Reads CHANGELOG.md, and makes of it the changelog of a release and those that packages carry.

use std::fmt::Write as _;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::{paths, ui};

/// The heading above changes that no release has yet.
const UNRELEASED: &str = "Unreleased";

/// The entries of the distributions' changelogs, which only point to ours.
const FIRST: &str = "First release.";
const LATER: &str = "New release: CHANGELOG.md tells what is new.";

/// The text of CHANGELOG.md.
pub struct Changelog {
    text: String,
}

/// A section of a release.
#[derive(Debug, PartialEq, Eq)]
pub struct Release<'a> {
    /// `0.2.0`
    pub version: &'a str,
    /// `2026-11-25`
    pub date: &'a str,
}

impl Changelog {
    /// The repository's.
    pub fn read() -> Result<Self> {
        let file = paths::repo().join("CHANGELOG.md");
        Ok(Self { text: std::fs::read_to_string(&file).context("cannot read CHANGELOG.md")? })
    }

    /// The releases, newest first. Fails if a heading is none that we write.
    pub fn releases(&self) -> Result<Vec<Release<'_>>> {
        let headings = self.headings().filter(|heading| *heading != UNRELEASED);
        headings
            .map(|heading| {
                let release = heading.split_once(" - ").map(|(version, date)| Release { version, date });
                release.filter(|release| release.date.len() == 10).with_context(|| {
                    format!("CHANGELOG.md: \"## {heading}\" is not \"## VERSION - YYYY-MM-DD\"")
                })
            })
            .collect()
    }

    fn headings(&self) -> impl Iterator<Item = &str> {
        self.text.lines().filter_map(|line| line.strip_prefix("## "))
    }

    /// The changes that no release has yet.
    pub fn unreleased(&self) -> Option<&str> {
        let (_, rest) = self.text.split_once(&format!("## {UNRELEASED}\n"))?;
        let body = rest.split("\n## ").next().unwrap_or_default().trim();
        (!body.is_empty()).then_some(body)
    }

    /// The text in which the changes without a release belong to `version`.
    pub fn release(&self, version: &str, date: &str) -> Result<String> {
        ensure!(self.unreleased().is_some(), "CHANGELOG.md has nothing under \"## {UNRELEASED}\"");
        if let Some(other) = self.releases()?.iter().find(|release| release.version == version) {
            bail!("CHANGELOG.md says that {version} was released on {}", other.date);
        }
        Ok(self.text.replacen(&format!("## {UNRELEASED}\n"), &format!("## {version} - {date}\n"), 1))
    }

    /// The text for packages of `version`, made of a commit of `date`: such a package has the changes, so none is unreleased.
    pub fn packaged(&self, version: &str, date: &str) -> Result<String> {
        let released = self.releases()?.iter().any(|release| release.version == version);
        let heading =
            if released { format!("After {version} - {date}") } else { format!("{version} - {date}") };
        let empty = self.unreleased().is_none();
        let text = self.text.replacen(&format!("## {UNRELEASED}\n"), &format!("## {heading}\n"), 1);
        // A heading without changes goes.
        Ok(if empty { text.replacen(&format!("## {heading}\n\n"), "", 1) } else { text })
    }

    /// The releases with `version`, which may be still to come, at `date`.
    fn up_to<'a>(&'a self, version: &'a str, date: &'a str) -> Result<Vec<Release<'a>>> {
        let mut releases = self.releases()?;
        if !releases.iter().any(|release| release.version == version) {
            releases.insert(0, Release { version, date });
        }
        Ok(releases)
    }

    /// The changelog of the Debian package: an entry for the suite, as a backport has one, above those of the releases.
    pub fn debian(&self, package: &Package, suite: &str, suffix: &str, epoch: u64) -> Result<String> {
        let Package { name, version, maintainer } = package;
        let mut text = format!(
            "{name} ({version}-1{suffix}) {suite}; urgency=medium\n\n  * Build for {suite}.\n\n -- {maintainer}  {}\n",
            date(&format!("@{epoch}"), "+%a, %d %b %Y %H:%M:%S +0000")?
        );
        let today = day(epoch)?;
        let releases = self.up_to(version, &today)?;
        for (number, release) in releases.iter().enumerate() {
            let what = if number + 1 == releases.len() { FIRST } else { LATER };
            // Midnight: no package of that day is older.
            let date = date(release.date, "+%a, %d %b %Y 00:00:00 +0000")?;
            let version = release.version;
            write!(
                text,
                "\n{name} ({version}-1) unstable; urgency=medium\n\n  * {what}\n\n -- {maintainer}  {date}\n"
            )?;
        }
        Ok(text)
    }

    /// The changelog of the RPM.
    pub fn rpm(&self, package: &Package, epoch: u64) -> Result<String> {
        let today = day(epoch)?;
        let releases = self.up_to(package.version, &today)?;
        let mut text = String::new();
        for (number, release) in releases.iter().enumerate() {
            let what = if number + 1 == releases.len() { FIRST } else { LATER };
            let date = date(release.date, "+%a %b %d %Y")?;
            let (version, what) = (release.version, what.trim_end_matches('.'));
            writeln!(text, "* {date} {} - {version}-1\n- {what}\n", package.maintainer)?;
        }
        Ok(text.trim_end().to_owned() + "\n")
    }
}

/// The package, as entries of the distributions' changelogs name it.
pub struct Package<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its version, without a revision.
    pub version: &'a str,
    /// `Name <address>`
    pub maintainer: &'a str,
}

/// The day of a time in seconds of Unix, as the changelog has it.
pub fn day(epoch: u64) -> Result<String> {
    date(&format!("@{epoch}"), "+%Y-%m-%d")
}

fn date(when: &str, format: &str) -> Result<String> {
    let mut date = Command::new("date");
    date.env("LC_ALL", "C").args(["--utc", "--date", when, format]);
    Ok(ui::output(&mut date)?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Changelog, Package, Release};

    const HEAD: &str = "# Changelog\n\nWhat is new.\n\n";
    const NEW: &str = "## Unreleased\n\n### Added\n\n- This.\n\n";
    const OLD: &str = "## 0.1.0 - 2026-11-22\n\n- That.\n";
    const PACKAGE: Package = Package { name: "p", version: "0.2.0", maintainer: "M <m@e.example>" };
    /// 2026-11-25, 10:00:00.
    const EPOCH: u64 = 1_795_600_800;

    fn changelog(parts: &[&str]) -> Changelog {
        Changelog { text: parts.concat() }
    }

    #[test]
    fn a_release_dates_the_unreleased_changes() {
        let changelog = changelog(&[HEAD, NEW, OLD]);
        assert_eq!(changelog.unreleased(), Some("### Added\n\n- This."));
        let text = changelog.release("0.2.0", "2026-11-25").unwrap();
        assert_eq!(text, [HEAD, "## 0.2.0 - 2026-11-25\n\n### Added\n\n- This.\n\n", OLD].concat());
        let releases = Changelog { text };
        let (new, old) = (
            Release { version: "0.2.0", date: "2026-11-25" },
            Release { version: "0.1.0", date: "2026-11-22" },
        );
        assert_eq!(releases.releases().unwrap(), [new, old]);
        assert_eq!(releases.unreleased(), None);
    }

    #[test]
    fn nothing_new_is_no_release() {
        assert!(changelog(&[HEAD, OLD]).release("0.2.0", "2026-11-25").is_err());
        assert!(changelog(&[HEAD, "## Unreleased\n\n", OLD]).release("0.2.0", "2026-11-25").is_err());
        assert!(
            changelog(&[HEAD, NEW, OLD]).release("0.1.0", "2026-11-25").is_err(),
            "it was released before"
        );
    }

    #[test]
    fn a_heading_of_another_form_is_an_error() {
        assert!(changelog(&[HEAD, "## [0.1.0]\n"]).releases().is_err());
    }

    #[test]
    fn no_package_says_unreleased() {
        for (parts, heading) in [
            (vec![HEAD, NEW], "## 0.2.0 - 2026-11-25\n"),
            (vec![HEAD, NEW, "## 0.2.0 - 2026-11-24\n\n- That.\n"], "## After 0.2.0 - 2026-11-25\n"),
            (vec![HEAD, "## Unreleased\n\n## 0.2.0 - 2026-11-24\n\n- That.\n"], "## 0.2.0 - 2026-11-24\n"),
        ] {
            let text = changelog(&parts).packaged("0.2.0", "2026-11-25").unwrap();
            assert!(text.contains(heading) && !text.contains("Unreleased"), "{text}");
        }
    }

    #[test]
    fn debian_has_an_entry_for_each_release() {
        let text = changelog(&[HEAD, NEW, OLD]).debian(&PACKAGE, "bookworm", "~deb12u1", EPOCH).unwrap();
        let entries = [
            "p (0.2.0-1~deb12u1) bookworm; urgency=medium\n\n  * Build for bookworm.\n\n -- M <m@e.example>  Wed, 25 Nov 2026 10:00:00 +0000\n",
            "p (0.2.0-1) unstable; urgency=medium\n\n  * New release: CHANGELOG.md tells what is new.\n\n -- M <m@e.example>  Wed, 25 Nov 2026 00:00:00 +0000\n",
            "p (0.1.0-1) unstable; urgency=medium\n\n  * First release.\n\n -- M <m@e.example>  Sun, 22 Nov 2026 00:00:00 +0000\n",
        ];
        assert_eq!(text, entries.join("\n"));
    }

    #[test]
    fn rpm_has_an_entry_for_each_release() {
        let text = changelog(&[HEAD, NEW, OLD]).rpm(&PACKAGE, EPOCH).unwrap();
        assert_eq!(
            text,
            "* Wed Nov 25 2026 M <m@e.example> - 0.2.0-1\n- New release: CHANGELOG.md tells what is new\n\n\
             * Sun Nov 22 2026 M <m@e.example> - 0.1.0-1\n- First release\n"
        );
    }
}
