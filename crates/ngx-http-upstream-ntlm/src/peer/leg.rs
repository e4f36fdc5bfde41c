//! Reads tokens as legs of a login: a token begins the login, answers a challenge, or is a challenge.
//!
//! Must never keep a token, nor log any part of it.

use ntlm_core::binding::challenge::Mark;
use ntlm_core::binding::turn_back::Leg;
use ntlm_core::scheme::{ConnectionBound, challenges};
use ntlm_core::token::{Kind, Message};

use crate::credentials::decoded;
use crate::worker::with_table;

/// The leg of a login that the value of an `Authorization` field is.
pub fn leg(value: &[u8]) -> Leg {
    let Some(field) = ConnectionBound::credentials(value) else { return Leg::Other };
    let kind = Kind::peek(&field).or_else(|| decoded(&field, |token| Kind::of(field.scheme, token)));
    match kind {
        Some(Kind::NtlmNegotiate) => Leg::Begins,
        Some(Kind::NtlmAuthenticate) => Leg::Answers(mark(&field)),
        Some(Kind::Kerberos) => Leg::Ticket,
        _ => Leg::Other,
    }
}

/// The mark of an NTLM message.
fn mark(field: &ConnectionBound<'_>) -> Option<Mark> {
    decoded(field, |token| {
        let info = match Message::read(field.scheme, token)? {
            Message::NtlmChallenge(message) => message.info,
            Message::NtlmAuthenticate(message) => message.info,
            _ => return None,
        };
        with_table(|table| table.mark(info)).flatten()
    })
    .flatten()
}

/// The challenge that an answer gives.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given {
    /// It is one of NTLM.
    pub ntlm: bool,
    /// The part of the challenge that an answer to it repeats.
    pub mark: Option<Mark>,
}

impl Given {
    /// That in the value of a field; the default where the field has no challenge of NTLM.
    pub fn by(value: &[u8]) -> Self {
        challenges(value)
            .find(|challenge| Kind::peek(challenge) == Some(Kind::NtlmChallenge))
            .map_or(Given::default(), |challenge| Given { ntlm: true, mark: mark(&challenge) })
    }

    /// This one, or else another.
    pub fn or(self, other: Self) -> Self {
        if self.ntlm { self } else { other }
    }
}
