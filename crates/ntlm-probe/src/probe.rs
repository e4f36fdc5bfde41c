//! The probe: a login, what is tried after it, and when it fails, which cause it was.
//!
//! The password goes out no more often than the help says.

use std::time::Duration;

use ntlm_client::ntlm::Credentials;
use ntlm_client::{Request, Response};

use crate::args::Args;
use crate::cause::{Cause, Failure};
use crate::connection::{Broken, Connection, Idle};
use crate::endpoint::Endpoint;
use crate::kept::Kept;
use crate::login::{Carrier, Course, Login};
use crate::report::{CauseInfo, Check, Report, clock};
use crate::{kept, stranger};

/// Domain controllers allow five minutes (MS-KILE; and MS-NLMP §3.3.2 for what follows of it).
const SKEW_SECONDS: u64 = 300;
/// The sentence that clears the proxy.
const KEPT: &str =
    "the proxy keeps the server's connection between the legs: the login reached the server whole";
const POST_BODY: usize = 1024;

/// A run of the probe: its input, and whom it tells of its progress.
pub struct Probe<'a> {
    /// The command line.
    pub args: &'a Args,
    /// Who logs in.
    pub credentials: Credentials,
    /// Where.
    pub endpoint: Endpoint,
    /// Past the proxy.
    pub direct: Option<Endpoint>,
    /// Told of each step.
    pub progress: &'a (dyn Fn(&str) + Sync),
}

impl Probe<'_> {
    /// Does all that the command line asks for.
    pub fn run(&self) -> Report {
        let mut course = Course::default();
        let mut checks = Vec::new();
        let outcome = match self.login(&self.endpoint, None, true).run(&self.endpoint, &mut course) {
            Ok(mut connection) => self.checks(&mut connection, &course, &mut checks),
            Err(failure) if failure.cause == Cause::Refused => Err(self.explain(&mut course)),
            Err(failure) => Err(self.without_login(failure)),
        };
        if let Some(ahead) = skew(&course).filter(|_| outcome.is_ok()) {
            course.notes.push(format!("the server's clock is {}; Kerberos allows 300 s", clock(ahead)));
        }
        let failure = outcome.err();
        Report {
            format: 1,
            url: self.args.url.to_string(),
            user: self.credentials.account(),
            ok: failure.is_none(),
            exit: failure.as_ref().map_or(0, |failure| failure.cause.exit()),
            cause: failure.as_ref().map(CauseInfo::from),
            connection: course.connection,
            offers: course.offers,
            scheme: course.carrier.map(Carrier::name),
            legs: course.legs,
            challenge: course.challenge,
            checks,
            notes: course.notes,
        }
    }

    fn login(&self, endpoint: &Endpoint, carrier: Option<Carrier>, bound_to_tls: bool) -> Login<'_> {
        let asked = match (self.args.ntlm, self.args.negotiate) {
            (true, _) => Some(Carrier::Ntlm),
            (_, true) => Some(Carrier::Negotiate),
            _ => carrier,
        };
        Login {
            credentials: &self.credentials,
            target: endpoint.target(),
            host: endpoint.host().to_owned(),
            carrier: asked,
            bound_to_tls,
            progress: self.progress,
        }
    }

    // After a login.

    fn checks(
        &self,
        connection: &mut Connection,
        course: &Course,
        checks: &mut Vec<Check>,
    ) -> Result<(), Failure> {
        let closes = course.last.as_ref().is_some_and(|last| last.closes());
        let mut enter = |name, outcome: Result<String, Failure>| {
            let ok = outcome.is_ok();
            let detail = match &outcome {
                Ok(detail) => detail.clone(),
                Err(failure) => failure.detail.clone(),
            };
            checks.push(Check { name, ok, detail });
            outcome.map(|_| ())
        };
        if self.args.requests > 0 {
            enter("requests", self.requests(connection, closes))?;
        }
        enter("strangers", stranger::refused(&self.endpoint, self.progress))?;
        if self.args.post {
            enter("post", self.post(connection))?;
        }
        if let Some(time) = self.args.idle {
            enter("idle", self.idle(connection, time))?;
        }
        if self.args.parallel > 1 {
            enter("parallel", self.parallel())?;
        }
        Ok(())
    }

    fn requests(&self, connection: &mut Connection, mut closes: bool) -> Result<String, Failure> {
        let all = self.args.requests;
        for number in 1..=all {
            (self.progress)(&format!("request {number} of {all}"));
            let lost =
                |why: &str| Failure::new(Cause::SessionLost, format!("request {number} of {all}: {why}"));
            if closes {
                return Err(lost("the answer before it ended the connection"));
            }
            let response = self.get(connection).map_err(|broken| match broken {
                Broken::Closed => lost("the connection was closed"),
                Broken::Failed(failure) => lost(&in_words(&failure)),
            })?;
            match response.status {
                401 => return Err(lost("401")),
                status @ 500.. => {
                    return Err(Failure::new(Cause::Unexpected, format!("request {number}: {status}")));
                }
                _ => closes = response.closes(),
            }
        }
        Ok(format!("{all} of {all} on the same connection"))
    }

    fn post(&self, connection: &mut Connection) -> Result<String, Failure> {
        (self.progress)("POST");
        let failed = |why: String| Failure::new(Cause::PostFailed, why);
        let request = Request::post(&self.endpoint.target(), vec![b'.'; POST_BODY])
            .header("Content-Type", "application/octet-stream");
        let response = connection.exchange(request).map_err(|broken| match broken {
            Broken::Closed => failed("the connection was closed".to_owned()),
            Broken::Failed(failure) => failed(in_words(&failure)),
        })?;
        match response.status {
            status @ (401 | 413 | 500..) => Err(failed(status.to_string())),
            status => Ok(format!("{POST_BODY} bytes, answered with {status}")),
        }
    }

    fn idle(&self, connection: &mut Connection, time: Duration) -> Result<String, Failure> {
        (self.progress)(&format!("idle for {}", humantime::format_duration(time)));
        let lost = |why: String| Failure::new(Cause::SessionLostIdle, why);
        if let Idle::Closed(after) = connection.idle(time) {
            return Err(lost(format!("the connection was closed after {:.1} s", after.as_secs_f64())));
        }
        let response = self.get(connection).map_err(|broken| match broken {
            Broken::Closed => lost("the connection was closed when the next request came".to_owned()),
            Broken::Failed(failure) => lost(in_words(&failure)),
        })?;
        match response.status {
            status @ (401 | 500..) => {
                Err(lost(format!("{status} after {}", humantime::format_duration(time))))
            }
            _ => Ok(format!("still logged in after {}", humantime::format_duration(time))),
        }
    }

    fn parallel(&self) -> Result<String, Failure> {
        let all = self.args.parallel;
        (self.progress)(&format!("{all} logins at the same time"));
        let one = || {
            let quiet = |_: &str| ();
            let login = Login { progress: &quiet, ..self.login(&self.endpoint, None, true) };
            let mut connection = login.run(&self.endpoint, &mut Course::default())?;
            match self.get(&mut connection) {
                Ok(response) if response.status != 401 => Ok(()),
                _ => Err(Failure::from(Cause::SessionLost)),
            }
        };
        let failures: Vec<Failure> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..all).map(|_| scope.spawn(one)).collect();
            let outcomes = threads.into_iter().map(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => Err(Failure::new(Cause::Unexpected, "a thread ended early")),
            });
            outcomes.filter_map(Result::err).collect()
        });
        match failures.first() {
            None => Ok(format!("{all} of {all} logins at the same time")),
            Some(first) => Err(Failure::new(
                Cause::ParallelFailed,
                format!("{} of {all} logins failed: {}", failures.len(), in_words(first)),
            )),
        }
    }

    fn get(&self, connection: &mut Connection) -> Result<Response, Broken> {
        stranger::get(connection, &self.endpoint)
    }

    // After an answer that asked for no login.

    /// Sends the request again over other connections and past the proxy, and adds their answers to the failure.
    fn without_login(&self, failure: Failure) -> Failure {
        let direct = self.direct.as_ref();
        match failure.cause {
            Cause::NoLoginWanted => {
                (self.progress)("ask again without credentials");
                stranger::answered(&self.endpoint, direct, failure)
            }
            Cause::FormsLogin
            | Cause::Redirected
            | Cause::Forbidden
            | Cause::NotFound
            | Cause::HostUnknown
            | Cause::NoNtlmOffered => match direct.and_then(stranger::direct_status) {
                Some(status) => {
                    Failure::new(failure.cause, format!("{}; {status} past the proxy", failure.detail))
                }
                None => failure,
            },
            _ => failure,
        }
    }

    // After a refusal.

    /// Why the server refused; tries what tells causes apart, the harmless first.
    fn explain(&self, course: &mut Course) -> Failure {
        let body = course.last.as_ref().map(|last| String::from_utf8_lossy(&last.body).to_ascii_lowercase());
        let body = body.unwrap_or_default();
        // What IIS writes into its detailed errors: SEC_E_INVALID_TOKEN and SEC_E_LOGON_DENIED (MS-ERREF §2.1).
        if body.contains("0x80090308") {
            return Failure::new(
                Cause::ConnectionChanged,
                "the answer says 0x80090308 (SEC_E_INVALID_TOKEN)",
            );
        }
        if body.contains("0x8009030c") {
            return Failure::new(Cause::WrongCredentials, "the answer says 0x8009030C (SEC_E_LOGON_DENIED)");
        }
        if let Some(failure) = self.several_servers(course) {
            return failure;
        }
        let kept = self.kept(course);
        if kept == Some(Kept::No) {
            return Failure::new(
                Cause::ConnectionChanged,
                "a negotiation without a password was forgotten between its legs",
            );
        }
        // Without TLS there is no channel binding, so that nothing is left but the server's word on the login.
        let (cause, detail) = match kept {
            Some(_) if !self.endpoint.is_tls() => (Cause::WrongCredentials, KEPT),
            Some(_) => (Cause::Refused, KEPT),
            None => (Cause::Refused, ""),
        };
        if self.args.one_attempt || cause == Cause::WrongCredentials {
            return self.undecided(course, cause, detail);
        }
        let carrier = course.carrier;
        if self.endpoint.is_tls() && self.succeeds(&self.endpoint, carrier, false).is_ok() {
            return Failure::new(
                Cause::ExtendedProtection,
                "refused with the channel binding of the proxy's certificate, accepted without one",
            );
        }
        let Some(direct) = &self.direct else { return self.undecided(course, cause, detail) };
        match self.succeeds(direct, None, true) {
            Err(failure) if failure.cause == Cause::Refused => {
                self.undecided(course, Cause::WrongCredentials, "refused past the proxy, too")
            }
            Err(failure) => {
                let detail = format!("past the proxy: {}", in_words(&failure));
                self.undecided(course, Cause::Refused, &detail)
            }
            Ok(()) => {
                let tls = self.endpoint.is_tls() && direct.is_tls();
                if tls && self.succeeds(direct, None, false).is_err() {
                    return Failure::new(
                        Cause::ExtendedProtection,
                        "past the proxy, the login works with the right channel binding and not without one",
                    );
                }
                Failure::new(Cause::ConnectionChanged, "the same login works past the proxy")
            }
        }
    }

    /// Whether the proxy keeps the server's connection between the legs, as far as the server lets it be seen.
    fn kept(&self, course: &Course) -> Option<Kept> {
        if !course.offers.iter().any(|offer| offer.eq_ignore_ascii_case("Negotiate")) {
            return None;
        }
        (self.progress)("negotiate without a password");
        let mut connection = self.endpoint.connect().ok()?;
        kept::kept(&mut connection, &self.endpoint.target(), self.endpoint.host())
    }

    /// A clock that is off explains a refusal that nothing else does.
    fn undecided(&self, course: &Course, otherwise: Cause, detail: &str) -> Failure {
        match skew(course) {
            Some(ahead) => Failure::new(Cause::ClockSkew, format!("the server's clock is {}", clock(ahead))),
            None => Failure::new(otherwise, detail),
        }
    }

    /// Asks the same connection for more challenges: they must all come from one server.
    fn several_servers(&self, course: &Course) -> Option<Failure> {
        let carrier = course.carrier?;
        let login = self.login(&self.endpoint, Some(carrier), true);
        let mut connection = self.endpoint.connect().ok()?;
        let mut names: Vec<String> = Vec::new();
        for _ in 0..3 {
            (self.progress)("ask for another challenge");
            names.extend(login.challenger(&mut connection, carrier));
        }
        names.sort();
        names.dedup();
        (names.len() > 1).then(|| {
            let detail =
                format!("challenges on one connection came from several servers: {}", names.join(", "));
            Failure::new(Cause::ConnectionChanged, detail)
        })
    }

    fn succeeds(
        &self,
        endpoint: &Endpoint,
        carrier: Option<Carrier>,
        bound_to_tls: bool,
    ) -> Result<(), Failure> {
        self.login(endpoint, carrier, bound_to_tls).run(endpoint, &mut Course::default()).map(|_| ())
    }
}

fn skew(course: &Course) -> Option<i64> {
    let ahead = course.challenge.as_ref()?.clock_ahead_seconds?;
    (ahead.unsigned_abs() > SKEW_SECONDS).then_some(ahead)
}

fn in_words(failure: &Failure) -> String {
    match failure.detail.as_str() {
        "" => failure.cause.sentence().to_owned(),
        detail => format!("{} ({detail})", failure.cause.sentence()),
    }
}
