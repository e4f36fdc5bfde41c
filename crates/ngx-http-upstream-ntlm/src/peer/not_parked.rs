//! Why a tainted connection is closed instead of parked, and what follows from it.

use ntlm_core::bindings::Refusal;
use ntlm_core::keep::NotKept;

use crate::stats::Counter;

/// Why a tainted connection is closed instead of parked.
#[derive(Clone, Copy)]
pub enum NotParked {
    /// `ntlm_key` cannot be evaluated.
    Unkeyed,
    Ending(NotKept),
    Refused(Refusal),
    /// The request is one that nobody waits for; the client's own request needs the place.
    Background,
    /// The answer was replaced by one out of a cache, so nobody knows what it was.
    Unjudged,
    /// nginx cannot register its read event.
    Unwatched,
}

impl NotParked {
    pub fn as_str(self) -> &'static str {
        match self {
            NotParked::Ending(reason) => reason.as_str(),
            NotParked::Refused(refusal) => refusal.as_str(),
            NotParked::Unkeyed => "\"ntlm_key\" cannot be evaluated",
            NotParked::Background => "its request is one that nobody waits for",
            NotParked::Unjudged => "its answer was replaced out of a cache",
            NotParked::Unwatched => "it cannot be watched",
        }
    }

    /// What the end of a binding counts as.
    pub fn counter(self) -> Counter {
        match self {
            NotParked::Ending(NotKept::RequestCap | NotKept::TimeCap) => Counter::EndedByCap,
            NotParked::Ending(NotKept::Broken | NotKept::NotKeptAlive | NotKept::RequestUnsent) => {
                Counter::EndedByServer
            }
            _ => Counter::EndedOtherwise,
        }
    }

    /// Whether the client cannot go on as if it were authenticated: it must open another connection.
    pub fn ends_the_clients_session(self) -> bool {
        !matches!(
            self,
            NotParked::Refused(Refusal::Taken | Refusal::Share) | NotParked::Background | NotParked::Unjudged
        )
    }
}
