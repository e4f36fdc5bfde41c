//! What is known to keep logins from finishing, told in the error log with its remedy.
//!
//! Must never name a user, nor fill a log: each kind is told once a minute for each group.

use nginx_sys::ngx_log_t;

use crate::conf::Group;
use crate::log::warn;
use crate::ngx::unix_time;

/// Milliseconds between two messages of a kind about a group.
const INTERVAL: u64 = 60_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request with credentials goes out with `Connection: close`.
    ConnectionClose,
    /// The origin closes its connection after its challenge.
    OriginCloses,
    /// `error_page` takes the place of the challenge.
    Intercepted,
    /// The client connection does not outlive the challenge.
    ClientKeepaliveOff,
    /// Credentials come over HTTP/2 or HTTP/3.
    Multiplexed,
    /// Logins are evicted.
    TooSmall,
    /// The origin answers 401 before it has read the body.
    EarlyUnauthorized,
    /// A client connection carries several clients.
    MixedClients,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] = [
        Kind::ConnectionClose,
        Kind::OriginCloses,
        Kind::Intercepted,
        Kind::ClientKeepaliveOff,
        Kind::Multiplexed,
        Kind::TooSmall,
        Kind::EarlyUnauthorized,
        Kind::MixedClients,
    ];

    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Kind::ConnectionClose => "connection_close",
            Kind::OriginCloses => "origin_closes",
            Kind::Intercepted => "intercepted",
            Kind::ClientKeepaliveOff => "client_keepalive_off",
            Kind::Multiplexed => "multiplexed",
            Kind::TooSmall => "too_small",
            Kind::EarlyUnauthorized => "early_401",
            Kind::MixedClients => "mixed_clients",
        }
    }

    /// What happens, in an operator's words.
    pub fn text(self) -> &'static str {
        match self {
            Kind::ConnectionClose => {
                "credentials are sent to the origin with \"Connection: close\", so no login can finish"
            }
            Kind::OriginCloses => {
                "the origin closes its connection after the challenge, so no login can finish"
            }
            Kind::Intercepted => "the origin's 401 is replaced by \"error_page\", so no login can finish",
            Kind::ClientKeepaliveOff => {
                "the client connection is closed after the challenge, so no login can finish"
            }
            Kind::Multiplexed => {
                "credentials come over HTTP/2 or HTTP/3, where a binding serves one request at a time"
            }
            Kind::TooSmall => "a logged in client's connection was closed to make room for another's",
            Kind::EarlyUnauthorized => {
                "the origin answered 401 before it had read the request's body, so its connection could not be kept"
            }
            Kind::MixedClients => "one client connection carries the requests of several clients",
        }
    }

    /// What to do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Kind::ConnectionClose => "remove \"proxy_set_header Connection\" or set it to \"\"",
            Kind::OriginCloses => {
                "let the origin, and whatever is between, keep its connections alive for at least some seconds"
            }
            Kind::Intercepted => {
                "remove 401 from \"error_page\", or say \"proxy_intercept_errors off\" in this location"
            }
            Kind::ClientKeepaliveOff => {
                "set \"keepalive_timeout\" to more than 0 and \"keepalive_requests\" to more than 2, and let a proxy in \
                 front keep its connections"
            }
            Kind::Multiplexed => "switch HTTP/2 and HTTP/3 off for this server if it is too slow",
            Kind::TooSmall => "raise the number in \"ntlm\"",
            Kind::EarlyUnauthorized => {
                "let clients send \"Expect: 100-continue\" or log in with an empty request first, or let the origin read \
                 the body (in IIS \"uploadReadAheadSize\")"
            }
            Kind::MixedClients => {
                "let the proxy in front use a connection for each of its clients, or tell them apart by \"ntlm_key\""
            }
        }
    }
}

/// Counts a trouble of a group, and tells of it if that has not been done for a minute.
#[cold]
#[inline(never)]
pub fn diagnose(log: *mut ngx_log_t, group: &Group, kind: Kind) {
    // A group that is not counted is not told of either: nothing would bound how often.
    if group.slot.is_some_and(|slot| slot.count_trouble(kind, unix_time(), INTERVAL)) {
        warn!(log, "ntlm: {} in upstream \"{}\": {}", kind.text(), group.name, kind.remedy());
    }
}
