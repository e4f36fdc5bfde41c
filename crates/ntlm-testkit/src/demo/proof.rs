//! Whether what was observed is what has to be.
//!
//! It must never be satisfied with a demonstration that shows no difference.

use super::scenario::{LOGIN, Run, words};
use crate::client::curl::Outcome;

/// Everything the demonstration saw.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) direct: Run,
    pub(super) unpooled: Run,
    pub(super) pooled: Run,
    pub(super) bound: Run,
    pub(super) bound_pool: Run,
    /// Straight and through nginx; `None` if there was no curl.
    pub(super) curl: Option<(Outcome, Outcome)>,
    /// Lines of the error log that must not be there.
    pub(super) complaints: Vec<String>,
}

/// That it is fine, or everything that is not: sentences.
pub(super) fn judge(observed: &Observed) -> Result<String, Vec<String>> {
    let mut wrong: Vec<String> = Vec::new();
    let mut must = |holds: bool, otherwise: &str| {
        if !holds {
            wrong.push(otherwise.to_owned());
        }
    };
    let Observed { direct, unpooled, pooled, bound, bound_pool, .. } = observed;
    must(
        direct.is_right() && direct.login() == LOGIN,
        "the server itself does not let Alice in as it should",
    );
    must(!unpooled.alice_got_in(), "the login works without the module, so nothing was shown");
    must(pooled.leaks() > 0, "the pool without the module mixed nobody up, so nothing was shown");
    for (run, which) in [(bound, "with the module"), (bound_pool, "with the module and a pool")] {
        let login = run.login();
        must(
            login == direct.login(),
            &format!("{which} the login took {} and not {}", words(&login), words(&direct.login())),
        );
        must(run.leaks() == 0, &format!("{which} somebody was served as somebody else"));
        must(run.is_right(), &format!("{which} a request was not served as who sent it"));
        match run.alices_connection() {
            None => must(false, &format!("{which} Alice's requests travelled over several connections")),
            Some(connection) => {
                must(!run.bob_was_on(connection), &format!("{which} Bob was on Alice's connection"));
            }
        }
    }
    if let Some((straight, through)) = &observed.curl {
        must(
            straight.exit == 0 && through.exit == 0 && straight.statuses.iter().all(|&status| status == 200),
            "curl did not get in",
        );
        must(through.legs() == straight.legs(), "curl needed other requests through nginx than straight");
    }
    if let Some(complaint) = observed.complaints.first() {
        must(false, &format!("nginx complained: {complaint}"));
    }
    match (wrong.is_empty(), bound.alices_connection()) {
        (true, Some(connection)) => Ok(format!(
            "{} through nginx as straight, on one connection (#{connection}), and Bob stayed Bob",
            words(&bound.login())
        )),
        _ => Err(wrong),
    }
}
