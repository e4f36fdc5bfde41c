//! Whether requests take more instructions than at the last release: their ratio to those of NGINX's own keep-alive in the
//! same run, so that another compiler of NGINX's changes nothing.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::exchange::{Login, Size};
use crate::instructions::{FEW, MIDDLE, sweep};
use crate::results::{Cell, Checked, Results};
use crate::subject::Subject;

/// The instructions in NGINX and the module may grow by so much, in percent.
const ALLOWED: f64 = 1.0;

/// The smallest size of the sweep, one in the middle, and the largest.
const SIZES: [Size; 3] = [Size { url: 0, lines: 4 }, MIDDLE, Size { url: 1200, lines: 24 }];

const SUBJECTS: [Subject; 3] = [Subject::Bound, Subject::NoCredentials, Subject::OtherGroup];

/// So many clients that each asks too late to use the timer of its last request.
const MANY: usize = 1000;

/// Counts what [`run`] compares.
pub async fn count(login: &Login) -> Result<Vec<Checked>> {
    let mut checked = Vec::new();
    for (clients, subjects) in [(FEW, &SUBJECTS[..]), (MANY, &[Subject::Bound])] {
        let base = sweep(login, Subject::KeepAlive, clients, &SIZES).await?;
        for &subject in subjects {
            let cells = sweep(login, subject, clients, &SIZES).await?;
            checked.extend(cells.iter().zip(&base).map(|(cell, base)| over(cell, base)));
        }
    }
    Ok(checked)
}

fn over(cell: &Cell, base: &Cell) -> Checked {
    let rounded = |ratio: f64| (ratio * 10_000.0).round() / 10_000.0;
    Checked {
        subject: cell.subject,
        clients: cell.clients,
        size: cell.size,
        all: rounded(cell.all() / base.all()),
        own: rounded(cell.own() / base.own()),
        more_allocations: rounded(cell.allocations() - base.allocations()),
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
    let kept = kept.instructions.context("no instructions were counted at the last release")?;
    let allowed = Allowed { own: ALLOWED, all: ALLOWED + kept.noise.order_percent };
    let now = count(login).await?;
    println!("a request beside one of {}: then → now", Subject::KeepAlive);
    println!("{:68} NGINX and module      all instructions   more allocations", "");
    let mut grown = 0;
    for now in &now {
        let is_same =
            |then: &&Checked| (then.subject, then.clients, then.size) == (now.subject, now.clients, now.size);
        let then = kept.checked.iter().find(is_same).context("the last release counted other requests")?;
        let findings = allowed.exceeded(then, now);
        grown += usize::from(!findings.is_empty());
        println!(
            "  {:34} {:>5} clients, path {:>4}, {:>2} lines: {:.4} → {:.4}, {:.4} → {:.4}, {:.2} → {:.2}  {}",
            now.subject,
            now.clients,
            now.size.url,
            now.size.lines,
            then.own,
            now.own,
            then.all,
            now.all,
            then.more_allocations,
            now.more_allocations,
            findings.join(", ")
        );
    }
    if grown > 0 {
        bail!("{grown} of {} requests cost more than at the last release", now.len());
    }
    println!("allowed: {:.1} % more in NGINX and module, {:.1} % more of all", allowed.own, allowed.all);
    Ok(())
}

/// By how much ratios may grow, in percent.
struct Allowed {
    own: f64,
    /// More, by what the state of the allocator's heap changes by itself: with the module's own instructions and the number of
    /// allocations held, little else is in it.
    all: f64,
}

impl Allowed {
    fn exceeded(&self, then: &Checked, now: &Checked) -> Vec<&'static str> {
        let has_grown = |then: f64, now: f64, percent: f64| now > then * (1.0 + percent / 100.0);
        let findings = [
            (has_grown(then.own, now.own, self.own), "NGINX AND MODULE HAVE GROWN"),
            (has_grown(then.all, now.all, self.all), "ALL HAVE GROWN"),
            // Now and then one of many requests meets a turn of the clock.
            (now.more_allocations > then.more_allocations + 0.1, "MORE ALLOCATIONS"),
        ];
        findings.into_iter().filter(|(is_so, _)| *is_so).map(|(_, finding)| finding).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Allowed, Checked, MIDDLE, Subject};

    #[test]
    fn growth_is_found_and_shrinking_is_not() {
        let allowed = Allowed { own: 1.0, all: 3.0 };
        let then = Checked {
            subject: Subject::Bound,
            clients: 10,
            size: MIDDLE,
            all: 1.0,
            own: 0.98,
            more_allocations: -1.0,
        };
        let found = |now: Checked| allowed.exceeded(&then, &now);
        assert!(
            found(Checked { own: 0.989, all: 1.029, more_allocations: -0.95, ..then.clone() }).is_empty()
        );
        assert!(found(Checked { own: 0.5, all: 0.5, more_allocations: -2.0, ..then.clone() }).is_empty());
        assert_eq!(found(Checked { own: 0.99, ..then.clone() }), ["NGINX AND MODULE HAVE GROWN"]);
        assert_eq!(found(Checked { all: 1.031, ..then.clone() }), ["ALL HAVE GROWN"]);
        assert_eq!(found(Checked { more_allocations: 0.0, ..then.clone() }), ["MORE ALLOCATIONS"]);
    }
}
