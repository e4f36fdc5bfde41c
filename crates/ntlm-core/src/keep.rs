//! Whether a tainted upstream connection may be parked when its request ends, and what its last answer means.
//!
//! Must never say "keep" for a connection on which bytes of the ended exchange may still come.

/// How far the authentication on a connection has come, as its last answer tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The last answer was a 401: a challenge, or a refusal.
    Handshaking,
    /// The last answer was anything else.
    Established,
}

impl Phase {
    /// The phase that an answer with this HTTP status leaves the connection in.
    pub fn after(status: usize) -> Self {
        if status == 401 { Phase::Handshaking } else { Phase::Established }
    }
}

/// The caps of a group on one bound connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests that a connection may carry (`ntlm_requests`).
    pub requests: Option<u64>,
    /// Milliseconds that a connection may live (`ntlm_time`).
    pub time: Option<u64>,
}

impl Limits {
    /// Whether a connection of this many requests and this age, in milliseconds, has reached a cap, and which.
    pub fn reached(&self, requests: u64, age: u64) -> Option<NotKept> {
        if self.requests.is_some_and(|cap| requests >= cap) {
            Some(NotKept::RequestCap)
        } else if self.time.is_some_and(|cap| age > cap) {
            Some(NotKept::TimeCap)
        } else {
            None
        }
    }
}

/// What is known of an upstream connection and its request at the moment the request lets go of it. Each field has the
/// meaning it has in `ngx_http_upstream_free_keepalive_peer`.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    /// The peer was freed with `NGX_PEER_FAILED`.
    pub failed: bool,
    /// The connection saw an end of stream, an error or a time-out, in either direction.
    pub broken: bool,
    /// `u->keepalive`: the response was read to its end, and the server means to keep the connection.
    pub keepalive: bool,
    /// `u->request_body_sent`: nothing of the request is still to be sent.
    pub request_sent: bool,
    /// The worker is about to leave.
    pub exiting: bool,
    /// Requests the connection has carried, this one included.
    pub requests: u64,
    /// Milliseconds since the connection was opened.
    pub age: u64,
}

/// Why a tainted connection is closed instead of parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotKept {
    /// The exchange failed, or the connection did.
    Broken,
    /// The server closes it, or the response was not read to its end.
    NotKeptAlive,
    /// The server answered before it had read the whole request.
    RequestUnsent,
    /// The worker is leaving.
    Exiting,
    /// `ntlm_requests` is reached.
    RequestCap,
    /// `ntlm_time` is reached.
    TimeCap,
}

impl NotKept {
    /// The reason in an operator's words.
    pub fn as_str(self) -> &'static str {
        match self {
            NotKept::Broken => "the exchange failed",
            NotKept::NotKeptAlive => "the response does not leave it open",
            NotKept::RequestUnsent => "the response came before the request was sent",
            NotKept::Exiting => "the worker is exiting",
            NotKept::RequestCap => "\"ntlm_requests\" is reached",
            NotKept::TimeCap => "\"ntlm_time\" is reached",
        }
    }
}

impl Ending {
    /// Whether the connection may be parked under these limits.
    ///
    /// # Errors
    ///
    /// The first reason why not.
    pub fn may_park(&self, limits: &Limits) -> Result<(), NotKept> {
        if self.failed || self.broken {
            return Err(NotKept::Broken);
        }
        if let Some(cap) = limits.reached(self.requests, self.age) {
            return Err(cap);
        }
        if !self.request_sent {
            return Err(NotKept::RequestUnsent);
        }
        if !self.keepalive {
            return Err(NotKept::NotKeptAlive);
        }
        if self.exiting {
            return Err(NotKept::Exiting);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Ending = Ending {
        failed: false,
        broken: false,
        keepalive: true,
        request_sent: true,
        exiting: false,
        requests: 3,
        age: 500,
    };

    #[test]
    fn a_healthy_connection_is_kept_without_limits() {
        assert_eq!(HEALTHY.may_park(&Limits::default()), Ok(()));
    }

    #[test]
    fn each_condition_alone_refuses() {
        for (ending, reason) in [
            (Ending { failed: true, ..HEALTHY }, NotKept::Broken),
            (Ending { broken: true, ..HEALTHY }, NotKept::Broken),
            (Ending { keepalive: false, ..HEALTHY }, NotKept::NotKeptAlive),
            (Ending { request_sent: false, ..HEALTHY }, NotKept::RequestUnsent),
            (Ending { exiting: true, ..HEALTHY }, NotKept::Exiting),
        ] {
            assert_eq!(ending.may_park(&Limits::default()), Err(reason));
        }
    }

    #[test]
    fn caps_count_the_request_that_ended_and_the_milliseconds_that_passed() {
        let by_requests = |cap| HEALTHY.may_park(&Limits { requests: Some(cap), time: None });
        assert_eq!(by_requests(4), Ok(()));
        assert_eq!(by_requests(3), Err(NotKept::RequestCap));
        let by_time = |cap| HEALTHY.may_park(&Limits { requests: None, time: Some(cap) });
        assert_eq!(by_time(500), Ok(()));
        assert_eq!(by_time(499), Err(NotKept::TimeCap));
    }

    #[test]
    fn only_a_401_is_a_handshake() {
        assert_eq!(Phase::after(401), Phase::Handshaking);
        for status in [200, 302, 304, 403, 404, 407, 500] {
            assert_eq!(Phase::after(status), Phase::Established);
        }
    }
}
