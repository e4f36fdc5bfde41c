//! One request and its answer: the facts in, and out of them what becomes of the upstream connection and of the client.
//!
//! Must never say "keep" for a connection on which bytes of the ended exchange may still come, nor "pass on" for one that
//! is tainted.

use super::digest::Digest;
use super::end::{Client, End};
use crate::diagnosis::Diagnosis;

/// How far the login on a binding is. `order.rs` says which phase loses bindings first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The last answer was a 401: a challenge, or a refusal.
    Handshaking,
    /// The origin has not shown that it accepted a login that it had asked for.
    Unproven,
    /// The origin accepted a login that it had asked for.
    Proven,
}

impl Phase {
    /// The number of phases.
    pub const COUNT: usize = 3;
    /// All of them, in the order of their numbers.
    pub const ALL: [Phase; Self::COUNT] = [Phase::Handshaking, Phase::Unproven, Phase::Proven];
}

/// The phase of the login on a connection, as its exchanges have shown it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// The origin accepted a login that it had asked for, and no other login has begun since.
    proven: bool,
    /// The request that the origin demanded a login for last.
    asked: Option<Asked>,
}

impl Progress {
    /// The origin accepted a login that it had asked for, and no other login has begun since.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    pub(super) fn of(proven: bool, asked: Option<Asked>) -> Self {
        Progress { proven, asked }
    }

    /// The request that the origin demanded a login for last.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.asked
    }
}

/// A request that a login is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Asked {
    /// Host, path and query, and the method where servers may answer it without a login.
    pub target: Digest,
    /// The whole header, but for the fields that differ between the legs of a login.
    pub header: Digest,
}

/// The limits of a group on one binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    requests: u64,
    time: u64,
    /// Whether there is a limit at all.
    any: bool,
}

impl Limits {
    /// No limits.
    pub const NONE: Self = Limits::new(u64::MAX, u64::MAX);

    /// A binding may carry so many requests (`ntlm_requests`), and last so many milliseconds (`ntlm_time`); [`u64::MAX`] is no limit.
    pub const fn new(requests: u64, time: u64) -> Self {
        Limits { requests, time, any: requests != u64::MAX || time != u64::MAX }
    }

    /// The limit that is reached by a binding of this many requests and this age in milliseconds.
    pub fn reached(&self, requests: u64, age: u64) -> Option<End> {
        if !self.any {
            None
        } else if requests >= self.requests {
            Some(End::RequestCap)
        } else if age > self.time {
            Some(End::TimeCap)
        } else {
            None
        }
    }
}

/// How nginx lets go of a connection (`pc->free`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The request is over.
    Done,
    /// `NGX_PEER_FAILED`.
    Failed,
    /// `NGX_PEER_NEXT`: the server answered, and the next one is asked all the same.
    Next,
}

/// What is known of an exchange when nginx lets go of its connection; of an exchange whose header is being sent, what is
/// to be expected.
#[derive(Debug, Clone, Copy)]
pub struct Exchange {
    /// The group has no `ntlm`; the guard watches it.
    pub guarded: bool,
    /// The connection is the client's binding.
    pub bound: bool,
    /// The client had a binding for the group that is gone.
    pub lost: bool,
    /// The request carried connection-bound credentials.
    pub credentials: bool,
    /// No client waits for the request.
    pub background: bool,
    /// This answer is the one to the client's request: not to a subrequest of it, and no other one replaces it (`error_page`, `X-Accel-Redirect`).
    pub delivered: bool,
    /// The request may have a binding: `ntlm_key` is not empty for it, or the group has none.
    pub keyed: bool,
    /// The client's request.
    pub asked: Asked,
    /// The status of the answer; 0 without one.
    pub status: usize,
    /// The answer offered a connection-bound scheme, or carried a token of one.
    pub offer: bool,
    /// The answer carried a token of a connection-bound scheme.
    pub token: bool,
    /// A cached answer took the answer's place.
    pub from_cache: bool,
    /// How nginx lets go of the connection.
    pub outcome: Outcome,
    /// The condition of the connection.
    pub condition: Condition,
    /// The phase that the exchanges before this one have shown.
    pub progress: Progress,
}

/// The condition of an upstream connection when nginx lets go of it: whether it can carry another request. The fields mean what
/// `ngx_http_upstream_free_keepalive_peer` makes of them.
#[derive(Debug, Clone, Copy)]
pub struct Condition {
    /// The connection saw an end of stream, an error or a time-out, in either direction.
    pub broken: bool,
    /// `u->keepalive`: the response was read to its end, and the server means to keep the connection.
    pub kept_alive: bool,
    /// `u->request_body_sent`: nothing of the request is still to be sent.
    pub request_sent: bool,
    /// The worker is about to leave.
    pub exiting: bool,
    /// Requests the binding has carried, this one included.
    pub requests: u64,
    /// Milliseconds since the connection was bound.
    pub age: u64,
}

impl Condition {
    /// Why the binding cannot be kept.
    fn obstacle(&self, limits: &Limits, in_login: bool) -> Option<End> {
        if self.broken {
            return Some(End::Broken);
        }
        if !in_login && let Some(cap) = limits.reached(self.requests, self.age) {
            return Some(cap);
        }
        if !self.request_sent {
            return Some(End::RequestUnsent);
        }
        if !self.kept_alive {
            return Some(End::NotKeptAlive);
        }
        self.exiting.then_some(End::Exiting)
    }

    /// Whether a binding in this condition is kept, as proven if it was and as unproven if not, after an exchange that was no leg of a
    /// login: the request had no credentials, and the answer was no 401 or 407 and had no token.
    pub fn is_kept_after_plain(&self, limits: &Limits) -> bool {
        self.obstacle(limits, false).is_none()
    }
}

/// The fate of the upstream connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is not tainted: the balancer and its pool decide.
    PassOn,
    /// It is parked for its client in this phase.
    Keep(Phase),
    /// It is closed.
    Close(End),
}

/// The outcome, by this answer, of the login that the request was a leg of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// The origin asks for the next leg.
    GoesOn,
    /// The origin refused it.
    Refused,
    /// The origin accepted a login that it had asked for.
    Proven,
}

/// The consequences of an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// For the upstream connection.
    pub connection: Fate,
    /// For the client connection.
    pub client: Client,
    /// For the login.
    pub login: Step,
    /// The phase that the exchanges up to this one have shown.
    pub progress: Progress,
}

/// Whether an answer is the origin's demand for a login, or its refusal of one.
fn is_unauthorized(status: usize) -> bool {
    matches!(status, 401 | 407)
}

impl Exchange {
    /// The verdict on these facts under the limits of the group.
    pub fn verdict(&self, limits: &Limits) -> Verdict {
        let (login, progress) = (self.login(), self.progress_after());
        if !self.is_tainted() {
            let client = if self.lost { Client::Leaves } else { Client::Stays };
            return Verdict { connection: Fate::PassOn, client, login, progress };
        }
        let phase = self.phase(progress);
        match self.end(limits, phase) {
            Some(end) => {
                Verdict { connection: Fate::Close(end), client: self.client_after(end), login, progress }
            }
            None => {
                let client = if self.lost && !self.credentials { Client::Leaves } else { Client::Stays };
                Verdict { connection: Fate::Keep(phase), client, login, progress }
            }
        }
    }

    /// Whether the connection belongs to the client of this request from now on.
    pub fn is_tainted(&self) -> bool {
        self.bound || self.credentials || self.token
    }

    /// The consequence of the end of the connection for the client.
    pub fn client_after(&self, end: End) -> Client {
        // The request goes on to another server, and brings its credentials along.
        let goes_on = self.outcome != Outcome::Done && self.credentials;
        // The server has proved no login, and the client does not get its answer: what the client waits for is at another server.
        let elsewhere = !self.delivered
            && (!self.bound || self.credentials)
            && !self.progress.proven
            && (self.credentials || !self.lost)
            && !matches!(self.login(), Step::GoesOn | Step::Proven);
        if goes_on || self.background || elsewhere { Client::Stays } else { end.client() }
    }

    fn login(&self) -> Step {
        if !self.credentials || self.status == 0 || self.from_cache || self.outcome == Outcome::Failed {
            Step::Nothing
        } else if is_unauthorized(self.status) {
            if self.token { Step::GoesOn } else { Step::Refused }
        } else if self.is_proof() {
            Step::Proven
        } else {
            Step::Nothing
        }
    }

    /// The origin demanded a login for this very target, and grants the request now that it brings one; or it proves itself
    /// to the client (RFC 4559 section 5), which it does after it has accepted a login only.
    ///
    /// Servers redirect and refuse requests before they look at credentials, for what else is in the header or for want of
    /// time. So a redirection and "not found" are proof only where nothing but the credentials differs from the request
    /// before, and other refusals are none.
    fn is_proof(&self) -> bool {
        self.token
            || self.progress.asked.is_some_and(|asked| {
                asked.target == self.asked.target
                    && (self.status < 300
                        || (matches!(self.status, 300..400 | 404 | 410) && asked == self.asked))
            })
    }

    fn progress_after(&self) -> Progress {
        if self.status == 0 || self.from_cache || self.outcome == Outcome::Failed {
            return self.progress;
        }
        if is_unauthorized(self.status) {
            let proven = self.progress.proven && !self.credentials;
            let asked = if self.offer { Some(self.asked) } else { self.progress.asked };
            return Progress { proven, asked };
        }
        let proven = self.progress.proven || self.login() == Step::Proven;
        Progress { proven, ..self.progress }
    }

    fn phase(&self, progress: Progress) -> Phase {
        match progress {
            _ if is_unauthorized(self.status) => Phase::Handshaking,
            Progress { proven: true, .. } => Phase::Proven,
            _ => Phase::Unproven,
        }
    }

    /// Why the connection cannot be kept.
    fn end(&self, limits: &Limits, phase: Phase) -> Option<End> {
        if self.guarded {
            return Some(End::Guarded);
        }
        // Whatever becomes of this connection, the client's session does not end with it.
        if self.background && !self.bound {
            return Some(End::Background);
        }
        if self.from_cache && !self.bound {
            return Some(End::Cached);
        }
        if self.outcome == Outcome::Failed || self.condition.broken {
            return Some(End::Broken);
        }
        if self.outcome == Outcome::Next {
            return Some(End::AnotherServer);
        }
        let obstacle = self.condition.obstacle(limits, phase == Phase::Handshaking);
        obstacle.or((!self.keyed).then_some(End::NoKey))
    }

    /// What the operator can do about an end, while the client is still there. `replaced`: `error_page` takes the place of
    /// the answer.
    pub fn diagnosis(&self, end: End, replaced: bool) -> Option<Diagnosis> {
        if self.outcome != Outcome::Done && end != End::Broken {
            return None;
        }
        let in_login = self.credentials && is_unauthorized(self.status);
        match end {
            End::Guarded if self.credentials => Some(Diagnosis::NoDirective),
            End::NoKey if self.credentials => Some(Diagnosis::EmptyKey),
            End::NotKeptAlive if replaced => Some(Diagnosis::Intercepted),
            End::RequestUnsent if in_login => Some(Diagnosis::EarlyUnauthorized),
            End::NotKeptAlive | End::Broken if in_login && self.token => Some(Diagnosis::OriginCloses),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
