//! The challenge that a binding gave last, as far as the answer to it can be told from the answer to another.
//!
//! Must never hold what could help to attack a password: neither the challenge itself, nor a response to it.

use super::digest::{Digest, Secret};
use crate::wire::ntlmssp::TargetInfo;

/// Milliseconds within which a client that goes on with its login does so.
pub const LEG: u64 = 5_000;

/// The last challenge over a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// When the client was given it, on the caller's clock in milliseconds.
    pub at: u64,
    /// Whether it is a CHALLENGE of NTLM, not a token of another mechanism.
    pub ntlm: bool,
    /// The part of it that an answer repeats; `None` where it has no time stamp, which alone tells two challenges apart.
    pub mark: Option<Mark>,
}

/// The target information of a CHALLENGE, or the copy of it in an NTLMv2 response (MS-NLMP §2.2.2.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// `MsvAvTimestamp`, in steps of 100 ns.
    time: u64,
    /// Which names it has, a bit each.
    present: u8,
    names: Digest,
}

impl Mark {
    /// That of a message. `None` where the message has no time stamp: servers older than Windows Vista send none, and NTLMv1
    /// repeats nothing.
    pub fn of(info: TargetInfo<'_>, secret: &Secret) -> Option<Self> {
        let time = info.timestamp()?;
        let names = info.names();
        let present = names.iter().fold(0, |bits, name| bits << 1 | u8::from(name.is_some()));
        Some(Mark { time, present, names: secret.digest(&names.map(Option::unwrap_or_default)) })
    }

    #[cfg(test)]
    pub(super) fn of_time(time: u64) -> Self {
        Mark { time, present: 0, names: Digest::NONE }
    }

    /// That of no message. `present` has a bit for each name, and there are fewer than eight.
    const OF_NOTHING: Self = Mark { time: 0, present: u8::MAX, names: Digest::NONE };

    /// Whether an answer with `self` may be one to a challenge with `other`. Clients repeat the time stamp as it is; where they
    /// leave names out, only the time stamp tells.
    fn may_answer(self, other: Self) -> bool {
        other != Self::OF_NOTHING
            && self.time == other.time
            && (self.present != other.present || self.names == other.names)
    }
}

impl Challenge {
    /// One to which no answer belongs any more.
    pub const FORGOTTEN: Self = Challenge { at: 0, ntlm: true, mark: Some(Mark::OF_NOTHING) };

    /// Whether an answer may be one to this challenge. What cannot be told is taken for one.
    pub fn may_be_answered_by(&self, answer: Option<Mark>) -> bool {
        match (self.mark, answer) {
            (Some(given), Some(answer)) => answer.may_answer(given),
            _ => true,
        }
    }

    /// Whether the client may still be about to answer it at the time `now`.
    pub fn is_fresh(&self, now: u64) -> bool {
        now.saturating_sub(self.at) < LEG
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(pairs: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (id, value) in pairs {
            bytes.extend(id.to_le_bytes());
            bytes.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(value);
        }
        bytes.extend([0; 4]);
        bytes
    }

    fn challenge(mark: Option<Mark>) -> Challenge {
        Challenge { at: 0, ntlm: true, mark }
    }

    #[test]
    fn answer_repeats_time_and_names_of_its_challenge() {
        let secret = Secret::default();
        let mark = |pairs: &[(u16, &[u8])]| Mark::of(TargetInfo::of(&info(pairs)), &secret);
        let (now, later) = (&8_u64.to_le_bytes()[..], &9_u64.to_le_bytes()[..]);
        let given = mark(&[(2, b"D"), (1, b"C"), (7, now)]);
        assert!(given.is_some());
        for (answer, expected) in [
            (mark(&[(2, b"D"), (1, b"C"), (7, now)]), true),
            // Clients add pairs of their own, in any order.
            (
                mark(&[(1, b"C"), (2, b"D"), (7, now), (6, &[2, 0, 0, 0]), (10, &[1; 16]), (9, b"HTTP/c")]),
                true,
            ),
            // And leave names out.
            (mark(&[(7, now)]), true),
            (mark(&[(1, b"C"), (7, now)]), true),
            // Without a time stamp an answer passes for one to any challenge.
            (mark(&[(2, b"D"), (1, b"C")]), true),
            (None, true),
            (mark(&[(2, b"D"), (1, b"C"), (7, later)]), false),
            (mark(&[(7, later)]), false),
            (mark(&[(2, b"D"), (1, b"X"), (7, now)]), false),
            (mark(&[(2, b"C"), (1, b"D"), (7, now)]), false),
        ] {
            assert_eq!(challenge(given).may_be_answered_by(answer), expected, "{answer:?}");
            assert!(challenge(None).may_be_answered_by(answer));
        }
    }

    #[test]
    fn nothing_answers_a_forgotten_challenge_but_what_cannot_be_told() {
        let secret = Secret::default();
        for time in [0, 1, u64::MAX] {
            let answer = Mark::of(TargetInfo::of(&info(&[(7, &time.to_le_bytes())])), &secret);
            assert!(answer.is_some() && !Challenge::FORGOTTEN.may_be_answered_by(answer));
        }
        assert!(Challenge::FORGOTTEN.may_be_answered_by(None));
    }

    #[test]
    fn challenge_is_fresh_for_five_seconds() {
        let challenge = Challenge { at: 1_000, ..challenge(None) };
        assert!(challenge.is_fresh(1_000) && challenge.is_fresh(5_999) && challenge.is_fresh(0));
        assert!(!challenge.is_fresh(6_000));
    }
}
