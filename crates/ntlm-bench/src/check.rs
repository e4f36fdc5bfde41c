//! Whether requests take more instructions than at the last release: their ratio to those of NGINX's own keep-alive in the
//! same run, so that another compiler of NGINX's changes nothing.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::exchange::{Login, Size};
use crate::instructions::{FEW, MIDDLE, sweep};
use crate::results::{Cell, Checked, Results};
use crate::subject::Subject;

/// A ratio may grow by so much, in percent.
const ALLOWED: f64 = 1.0;

/// The smallest size of the sweep, one in the middle, and the largest.
const SIZES: [Size; 3] = [Size { url: 0, lines: 4 }, MIDDLE, Size { url: 1200, lines: 24 }];

const SUBJECTS: [Subject; 3] = [Subject::Bound, Subject::NoCredentials, Subject::OtherGroup];

/// Counts what [`run`] compares.
pub async fn count(login: &Login) -> Result<Vec<Checked>> {
    let base = sweep(login, Subject::KeepAlive, FEW, &SIZES).await?;
    let mut checked = Vec::new();
    for subject in SUBJECTS {
        let cells = sweep(login, subject, FEW, &SIZES).await?;
        checked.extend(cells.iter().zip(&base).map(|(cell, base)| over(cell, base)));
    }
    Ok(checked)
}

fn over(cell: &Cell, base: &Cell) -> Checked {
    let rounded = |ratio: f64| (ratio * 10_000.0).round() / 10_000.0;
    Checked {
        subject: cell.subject,
        size: cell.size,
        all: rounded(cell.all() / base.all()),
        own: rounded(cell.own() / base.own()),
    }
}

/// Counts anew, and compares with what the file has.
pub async fn run(login: &Login, nginx: &str, file: &Path) -> Result<()> {
    let kept = Results::read(file)?;
    ensure!(
        kept.nginx == nginx,
        "{} is about NGINX {}, and this is {nginx}: \"cargo xtask bench bound --keep\" measures anew",
        file.display(),
        kept.nginx
    );
    let kept = kept.instructions.context("no instructions were counted at the last release")?.checked;
    let now = count(login).await?;
    println!(
        "instructions of a request over those of {}: then, now (NGINX and module alone)",
        Subject::KeepAlive
    );
    let mut grown = 0;
    for now in &now {
        let is_same = |then: &&Checked| (then.subject, then.size) == (now.subject, now.size);
        let then = kept.iter().find(is_same).context("the last release counted other requests")?;
        let is_grown = has_grown(then.all, now.all) || has_grown(then.own, now.own);
        grown += usize::from(is_grown);
        println!(
            "  {:34} path {:>4}, {:>2} lines: {:.4}, {:.4} ({:.4}, {:.4}){}",
            now.subject,
            now.size.url,
            now.size.lines,
            then.all,
            now.all,
            then.own,
            now.own,
            if is_grown { "  GROWN" } else { "" }
        );
    }
    if grown > 0 {
        bail!("{grown} of {} ratios have grown by more than {ALLOWED} %", now.len());
    }
    Ok(())
}

fn has_grown(then: f64, now: f64) -> bool {
    now > then * (1.0 + ALLOWED / 100.0)
}

#[cfg(test)]
mod tests {
    use super::has_grown;

    #[test]
    fn more_than_one_percent_is_growth() {
        assert!(has_grown(1.0, 1.0101) && has_grown(0.98, 0.991));
        assert!(!has_grown(1.0, 1.0099) && !has_grown(1.0, 0.5));
    }
}
