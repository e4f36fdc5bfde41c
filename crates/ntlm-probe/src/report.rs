//! The report of a run, for people and for scripts.
//!
//! The JSON is documented in docs/probe.md and only ever grows. A token, a challenge or a password must never get in here.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ntlm_client::Response;
use ntlm_core::ntlmssp::Challenge;
use ntlm_core::text::Text;
use serde::Serialize;

use crate::cause::Failure;

/// A request of the login, and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Leg {
    /// The request, in words.
    pub sent: String,
    /// Status of the answer.
    pub status: u16,
    /// Its version.
    pub version: &'static str,
    /// Its `Connection`.
    pub connection: Option<String>,
    /// Its `WWW-Authenticate`, tokens left out.
    pub www_authenticate: Vec<String>,
    /// Its `Server`.
    pub server: Option<String>,
    /// From the request to the end of the answer.
    pub milliseconds: u64,
}

impl Leg {
    /// Of an answer.
    pub fn new(sent: &str, response: &Response, took: Duration) -> Self {
        let challenges = response.all("WWW-Authenticate").map(|value| match value.split_once([' ', '\t']) {
            Some((scheme, rest)) if !rest.contains('"') => format!("{scheme} (a token)"),
            _ => value.to_owned(),
        });
        Self {
            sent: sent.to_owned(),
            status: response.status,
            version: response.version,
            connection: response.get("Connection").map(str::to_owned),
            www_authenticate: challenges.collect(),
            server: response.get("Server").map(str::to_owned),
            milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Facts about the server that a challenge reveals.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChallengeInfo {
    /// `TargetName`
    pub target: String,
    /// NetBIOS name of the domain.
    pub netbios_domain: Option<String>,
    /// NetBIOS name of the server.
    pub netbios_computer: Option<String>,
    /// DNS name of the domain.
    pub dns_domain: Option<String>,
    /// DNS name of the server.
    pub dns_computer: Option<String>,
    /// DNS name of the forest.
    pub dns_forest: Option<String>,
    /// Its operating system: major.minor.build.
    pub version: Option<String>,
    /// Its time.
    pub time: Option<String>,
    /// How far its clock is ahead of the one here.
    pub clock_ahead_seconds: Option<i64>,
}

impl ChallengeInfo {
    /// Of a challenge that came just now.
    pub fn of(challenge: &Challenge) -> Self {
        let text = |text: Text| text.shown(256).to_string();
        let info = challenge.info;
        let here = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let here = i64::try_from(here).unwrap_or_default();
        let time = info.unix_time();
        let shown = time.and_then(|time| u64::try_from(time).ok()).and_then(|time| {
            let time = UNIX_EPOCH.checked_add(Duration::from_secs(time))?;
            // A FILETIME may be beyond the year 9999, which has no such form.
            let mut shown = String::new();
            write!(shown, "{}", humantime::format_rfc3339_seconds(time)).ok().map(|()| shown)
        });
        Self {
            target: text(challenge.target),
            netbios_domain: info.netbios_domain().map(text),
            netbios_computer: info.netbios_computer().map(text),
            dns_domain: info.dns_domain().map(text),
            dns_computer: info.dns_computer().map(text),
            dns_forest: info.dns_tree().map(text),
            version: challenge.version.map(|version| version.to_string()),
            time: shown,
            clock_ahead_seconds: time.and_then(|time| time.checked_sub(here)),
        }
    }
}

/// Something tried after the login.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// `requests`, `strangers`, `post`, `idle` or `parallel`.
    pub name: &'static str,
    /// It worked.
    pub ok: bool,
    /// In words.
    pub detail: String,
}

/// Why it failed.
#[derive(Clone, Debug, Serialize)]
pub struct CauseInfo {
    /// Stable name.
    pub id: &'static str,
    /// The event, in a sentence.
    pub sentence: &'static str,
    /// Particulars.
    pub detail: String,
    /// The remedy.
    pub remedy: &'static str,
}

impl From<&Failure> for CauseInfo {
    fn from(failure: &Failure) -> Self {
        Self {
            id: failure.cause.id(),
            sentence: failure.cause.sentence(),
            detail: failure.detail.clone(),
            remedy: failure.cause.remedy(),
        }
    }
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Of this object; 1.
    pub format: u8,
    /// The URL.
    pub url: String,
    /// Who logged in.
    pub user: String,
    /// The login worked, and all that was tried after it.
    pub ok: bool,
    /// The exit status.
    pub exit: u8,
    /// Why not.
    pub cause: Option<CauseInfo>,
    /// Where the connection led to.
    pub connection: String,
    /// Schemes offered to a request without credentials.
    pub offers: Vec<String>,
    /// The scheme of the login.
    pub scheme: Option<&'static str>,
    /// The requests of the login.
    pub legs: Vec<Leg>,
    /// Facts that the challenge reveals.
    pub challenge: Option<ChallengeInfo>,
    /// The checks after the login.
    pub checks: Vec<Check>,
    /// Remarks.
    pub notes: Vec<String>,
}

impl Report {
    /// One JSON object, with a line break at the end.
    pub fn json(&self) -> String {
        // Strings, numbers and lists of them: nothing in it can fail.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            text.push_str(line.trim_end());
            text.push('\n');
        };
        line(match self.connection.as_str() {
            "" => printable(&self.url),
            connection => format!("{} at {connection}", printable(&self.url)),
        });
        line(String::new());
        for (number, leg) in self.legs.iter().enumerate() {
            let number = number.saturating_add(1);
            let mut answer = format!("{} {}", leg.version, leg.status);
            let challenges = leg.www_authenticate.join(", ");
            for part in [Some(challenges.as_str()), leg.connection.as_deref()].into_iter().flatten() {
                if !part.is_empty() {
                    answer.push_str(&format!("  {}", printable(part)));
                }
            }
            line(format!("leg {number}  {:<24}{answer}  ({} ms)", leg.sent, leg.milliseconds));
        }
        if let Some(challenge) = &self.challenge {
            line(String::new());
            challenge.lines().into_iter().for_each(&mut line);
        }
        if !self.checks.is_empty() {
            line(String::new());
        }
        for check in &self.checks {
            let verdict = if check.ok { "ok" } else { "FAILED" };
            line(format!("{:<10}{verdict:<8}{}", check.name, printable(&check.detail)));
        }
        for note in &self.notes {
            line(format!("note: {}", printable(note)));
        }
        line(String::new());
        match &self.cause {
            None => line(format!("logged in as {}", printable(&self.user))),
            Some(cause) => {
                line(format!("FAILED ({}): {}", cause.id, cause.sentence));
                if !cause.detail.is_empty() {
                    line(format!("  seen: {}", printable(&cause.detail)));
                }
                line(format!("  remedy: {}", cause.remedy));
            }
        }
        text
    }
}

impl ChallengeInfo {
    fn lines(&self) -> Vec<String> {
        let named = |netbios: &Option<String>, dns: &Option<String>| match (netbios, dns) {
            (Some(netbios), Some(dns)) => format!("{netbios} ({dns})"),
            (Some(one), None) | (None, Some(one)) => one.clone(),
            (None, None) => "not named".to_owned(),
        };
        let mut lines = vec![
            format!("domain    {}", named(&self.netbios_domain, &self.dns_domain)),
            format!("server    {}", named(&self.netbios_computer, &self.dns_computer)),
        ];
        if let Some(forest) =
            self.dns_forest.as_ref().filter(|forest| self.dns_domain.as_ref() != Some(forest))
        {
            lines.push(format!("forest    {forest}"));
        }
        if let Some(version) = &self.version {
            lines.push(format!("version   {version}"));
        }
        if let (Some(time), Some(ahead)) = (&self.time, self.clock_ahead_seconds) {
            lines.push(format!("time      {time}, {}", clock(ahead)));
        }
        lines
    }
}

/// The difference of the clocks in words.
pub fn clock(ahead: i64) -> String {
    match ahead {
        -2..=2 => "as here".to_owned(),
        3.. => format!("{ahead} s ahead of here"),
        _ => format!("{} s behind here", ahead.unsigned_abs()),
    }
}

/// A text of the server without control characters, which a terminal would obey.
fn printable(text: &str) -> String {
    Text::oem(text.as_bytes()).shown(512).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_never_kept() {
        let response = Response {
            status: 401,
            version: "HTTP/1.1",
            headers: vec![
                ("WWW-Authenticate".to_owned(), "NTLM TlRMTVNTUAACAAAA".to_owned()),
                ("WWW-Authenticate".to_owned(), "Basic realm=\"x\"".to_owned()),
                ("WWW-Authenticate".to_owned(), "Negotiate".to_owned()),
            ],
            body: Vec::new(),
        };
        let leg = Leg::new("NTLM NEGOTIATE", &response, Duration::ZERO);
        assert_eq!(leg.www_authenticate, ["NTLM (a token)", "Basic realm=\"x\"", "Negotiate"]);
    }
}
