//! The known troubles of logins: a name for the status, a sentence for the log, and the remedy.

/// A known trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Diagnosis {
    /// A request with credentials goes out with `Connection: close`.
    ConnectionClose,
    /// The origin closes its connection after its challenge.
    OriginCloses,
    /// `error_page` takes the place of an answer over a bound connection.
    Intercepted,
    /// The client connection does not outlive the challenge.
    ClientKeepaliveOff,
    /// Requests with a login come at once over one connection of HTTP/2 or HTTP/3.
    Multiplexed,
    /// A client begins its login anew over another connection of HTTP/2 each time.
    BeginsAnew,
    /// Logins are evicted.
    TooSmall,
    /// Logins are evicted while one of several client addresses has more than half of the group's bindings.
    OneAddress,
    /// The origin answers 401 before it has read the body.
    EarlyUnauthorized,
    /// A client connection carries several clients.
    MixedClients,
    /// `ntlm_key` is empty.
    EmptyKey,
    /// Credentials go to a group without `ntlm`.
    NoDirective,
    /// A location takes `Authorization` out of requests.
    AuthorizationCleared,
    /// A location takes the challenge out of answers.
    ChallengeHidden,
    /// `ntlm_key` is another in each leg of a login.
    KeyChanges,
    /// The legs of a login come over several client connections.
    SpreadInFront,
    /// Most logins are refused.
    MostlyRefused,
}

impl Diagnosis {
    /// All of them.
    pub const ALL: [Diagnosis; 17] = [
        Diagnosis::ConnectionClose,
        Diagnosis::OriginCloses,
        Diagnosis::Intercepted,
        Diagnosis::ClientKeepaliveOff,
        Diagnosis::Multiplexed,
        Diagnosis::BeginsAnew,
        Diagnosis::TooSmall,
        Diagnosis::OneAddress,
        Diagnosis::EarlyUnauthorized,
        Diagnosis::MixedClients,
        Diagnosis::EmptyKey,
        Diagnosis::NoDirective,
        Diagnosis::AuthorizationCleared,
        Diagnosis::ChallengeHidden,
        Diagnosis::KeyChanges,
        Diagnosis::SpreadInFront,
        Diagnosis::MostlyRefused,
    ];

    /// Its name in the status.
    pub fn name(self) -> &'static str {
        match self {
            Diagnosis::ConnectionClose => "connection_close",
            Diagnosis::OriginCloses => "origin_closes",
            Diagnosis::Intercepted => "intercepted",
            Diagnosis::ClientKeepaliveOff => "client_keepalive_off",
            Diagnosis::Multiplexed => "multiplexed",
            Diagnosis::BeginsAnew => "begins_anew",
            Diagnosis::TooSmall => "too_small",
            Diagnosis::OneAddress => "one_address",
            Diagnosis::EarlyUnauthorized => "early_401",
            Diagnosis::MixedClients => "mixed_clients",
            Diagnosis::EmptyKey => "empty_key",
            Diagnosis::NoDirective => "no_directive",
            Diagnosis::AuthorizationCleared => "authorization_cleared",
            Diagnosis::ChallengeHidden => "challenge_hidden",
            Diagnosis::KeyChanges => "key_changes",
            Diagnosis::SpreadInFront => "spread_in_front",
            Diagnosis::MostlyRefused => "mostly_refused",
        }
    }

    /// A sentence for the log, in an operator's words.
    pub fn text(self) -> &'static str {
        match self {
            Diagnosis::ConnectionClose => {
                "credentials are sent to the origin with \"Connection: close\", so no login can finish"
            }
            Diagnosis::OriginCloses => {
                "the origin closes its connection after the challenge, so no login can finish"
            }
            Diagnosis::Intercepted => {
                "\"error_page\" replaces the origin's answer, so its authenticated connection cannot be kept"
            }
            Diagnosis::ClientKeepaliveOff => {
                "the client connection is closed after the challenge, so no login can finish"
            }
            Diagnosis::Multiplexed => {
                "requests were turned back or refused because they came at once over one HTTP/2 or HTTP/3 connection"
            }
            Diagnosis::BeginsAnew => {
                "a client begins its login anew over another HTTP/2 connection each time, and answers none of the challenges"
            }
            Diagnosis::TooSmall => "a logged in client's connection was closed to make room for another's",
            Diagnosis::OneAddress => {
                "a logged in client's connection was closed to make room, and one client address has most connections"
            }
            Diagnosis::EarlyUnauthorized => {
                "the origin answered 401 before it had read the request's body, so its connection could not be kept"
            }
            Diagnosis::MixedClients => "one client connection carries the requests of several clients",
            Diagnosis::EmptyKey => {
                "\"ntlm_key\" is empty for a request with credentials, so its login cannot be kept"
            }
            Diagnosis::NoDirective => {
                "credentials that authenticate a connection go to an upstream without \"ntlm\", so no login can finish"
            }
            Diagnosis::AuthorizationCleared => {
                "the location takes the credentials out of requests, and the origin asks for them"
            }
            Diagnosis::ChallengeHidden => {
                "the location takes \"WWW-Authenticate\" out of the answer, so no client learns how to log in"
            }
            Diagnosis::KeyChanges => "\"ntlm_key\" is another in each leg of a login, so no login can finish",
            Diagnosis::SpreadInFront => {
                "the last leg of a login came over another client connection than its challenge went to, so it cannot finish"
            }
            Diagnosis::MostlyRefused => "the origin refused most logins of the last five minutes",
        }
    }

    /// The remedy.
    pub fn remedy(self) -> &'static str {
        match self {
            Diagnosis::ConnectionClose => "remove \"proxy_set_header Connection\" or set it to \"\"",
            Diagnosis::OriginCloses => {
                "let the origin, and whatever is between, keep its connections alive for at least some seconds"
            }
            Diagnosis::Intercepted => {
                "remove the answer's code from \"error_page\", or say \"proxy_intercept_errors off\" in this location"
            }
            Diagnosis::ClientKeepaliveOff => {
                "set \"keepalive_timeout\" to more than 0, and leave \"keepalive_requests\" at its default; a proxy in front \
                 has to use a connection of its own for each of its clients, or to pass TCP, and must not pool them"
            }
            Diagnosis::Multiplexed => "set \"http2 off\", and no \"quic\", on the server with \"ntlm\"",
            Diagnosis::BeginsAnew => "set \"http2 off\" on the server with \"ntlm\"",
            Diagnosis::TooSmall => "raise the number in \"ntlm\", or \"connections\" in \"proxy_ntlm\"",
            Diagnosis::OneAddress => "limit the connections of one address with \"limit_conn\"",
            Diagnosis::EarlyUnauthorized => {
                "let clients log in with an empty request first, set \"proxy_request_buffering on\", or let the origin \
                 read the body (in IIS \"uploadReadAheadSize\")"
            }
            Diagnosis::MixedClients => {
                "let the proxy in front use a connection for each of its clients; \"ntlm_key\" can tell them apart, but does not keep \
                 the legs of a login on one connection"
            }
            Diagnosis::EmptyKey => {
                "choose a value for \"ntlm_key\" that every client has, or let the proxy in front send it with every request"
            }
            Diagnosis::NoDirective => {
                "write \"ntlm;\" into its \"upstream\" block or \"proxy_ntlm on;\" beside \"proxy_pass\", or \"ntlm_guard off;\" if the \
                 server authenticates each request by itself, which NTLM never does"
            }
            Diagnosis::AuthorizationCleared => {
                "remove \"proxy_set_header Authorization\" from this location, or send public files to an upstream of their own"
            }
            Diagnosis::ChallengeHidden => {
                "remove \"proxy_hide_header WWW-Authenticate\", and whatever else replaces this field"
            }
            Diagnosis::KeyChanges => {
                "choose a value for \"ntlm_key\" that stays the same for all requests of a client, unlike \"$request_id\""
            }
            Diagnosis::SpreadInFront => {
                "let the proxy in front keep a connection to nginx for each of its clients, or let it pass TCP"
            }
            Diagnosis::MostlyRefused => {
                "log \"$ntlm_refused_user\" and \"$remote_addr\": one name is an old password that a device keeps, many names from one \
                 address are guesses, and everybody is Extended Protection, or a trust or clock that is off"
            }
        }
    }

    /// The diagnoses that explain this one: after one of them the error log does not have this one as well.
    pub fn follows_from(self) -> &'static [Diagnosis] {
        match self {
            Diagnosis::OriginCloses => &[Diagnosis::ConnectionClose],
            Diagnosis::SpreadInFront => &[
                Diagnosis::ConnectionClose,
                Diagnosis::OriginCloses,
                Diagnosis::Intercepted,
                Diagnosis::ClientKeepaliveOff,
                Diagnosis::EarlyUnauthorized,
                Diagnosis::EmptyKey,
                Diagnosis::KeyChanges,
            ],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_diagnosis_has_its_place_and_name() {
        for (index, diagnosis) in Diagnosis::ALL.into_iter().enumerate() {
            assert_eq!(diagnosis as usize, index);
            assert!(
                Diagnosis::ALL
                    .into_iter()
                    .all(|other| other == diagnosis || other.name() != diagnosis.name())
            );
        }
    }

    #[test]
    fn the_page_has_a_row_for_each_diagnosis() {
        let page = include_str!("../../../docs/diagnoses.md");
        for diagnosis in Diagnosis::ALL {
            let row = format!("\n| `{}` |", diagnosis.name());
            assert!(page.contains(&row), "docs/diagnoses.md lacks {row}");
        }
    }
}
