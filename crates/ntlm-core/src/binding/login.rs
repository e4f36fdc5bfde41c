//! Who is logged in over a bound connection, as far as the tokens said.
//!
//! Must never hold a token, a response or a challenge.

use core::fmt::Write as _;

use super::challenge::Challenge;
use super::exchange::{Asked, Phase};
use super::ids::{Boxed, boxed};
use crate::wire::mechanism::Mechanism;
use crate::wire::ntlmssp::Identity;

/// The longest name that is kept, in bytes of UTF-8. Active Directory's are shorter.
pub const LONGEST: usize = 256;

/// A login that the origin accepted. Names are fit to be shown ([`Text::shown`](crate::text::Text::shown)), and empty where the
/// mechanism does not tell them.
#[derive(Debug, PartialEq, Eq)]
pub struct Login(
    /// The place of the mechanism in [`Mechanism::ALL`] as a digit, then user, domain and workstation with [`BETWEEN`] between them.
    Box<str>,
);

/// No name that is fit to be shown has it.
const BETWEEN: char = '\0';

impl Login {
    /// A login by a mechanism that does not tell names. `None` when there is no memory.
    pub fn nameless(mechanism: Mechanism) -> Option<Self> {
        Self::of(mechanism, Identity::default())
    }

    /// A login with its names. `None` when there is no memory.
    pub fn of(mechanism: Mechanism, identity: Identity<'_>) -> Option<Self> {
        let Identity { user, domain, workstation } = identity;
        let [user, domain, workstation] = [user, domain, workstation].map(|name| name.shown(LONGEST));
        let mut kept = String::new();
        kept.try_reserve_exact(3 + user.len() + domain.len() + workstation.len()).ok()?;
        let mechanism = Mechanism::ALL.into_iter().position(|known| known == mechanism)?;
        write!(kept, "{mechanism}{user}{BETWEEN}{domain}{BETWEEN}{workstation}").ok()?;
        Some(Login(kept.into_boxed_str()))
    }

    /// How the client proved who it is.
    pub fn mechanism(&self) -> Mechanism {
        let digit = self.0.chars().next().and_then(|digit| digit.to_digit(10));
        let place = digit.and_then(|digit| usize::try_from(digit).ok());
        place.and_then(|place| Mechanism::ALL.get(place)).copied().unwrap_or(Mechanism::Negotiate)
    }

    fn name(&self, number: usize) -> &str {
        self.0.get(1..).and_then(|names| names.split(BETWEEN).nth(number)).unwrap_or_default()
    }

    /// The user's name.
    pub fn user(&self) -> &str {
        self.name(0)
    }

    /// The domain that knows the user.
    pub fn domain(&self) -> &str {
        self.name(1)
    }

    /// The workstation, as the client names it.
    pub fn workstation(&self) -> &str {
        self.name(2)
    }

    /// Whether they are of two users, as far as names tell: Windows does not mind their case, and who has no domain, as in
    /// `alice@corp.example`, may be of any.
    pub fn is_another_user(&self, other: &Self) -> bool {
        let differ = |mine: &str, theirs: &str| {
            !mine.is_empty() && !theirs.is_empty() && !mine.eq_ignore_ascii_case(theirs)
        };
        let account = |login: &Self| login.user().split('@').next().unwrap_or_default().len();
        differ(
            self.user().get(..account(self)).unwrap_or_default(),
            other.user().get(..account(other)).unwrap_or_default(),
        ) || differ(self.domain(), other.domain())
    }
}

/// The logins over one binding, one after the other.
#[derive(Debug, Default)]
pub struct Logins {
    /// Who is logged in; `None` while nobody is.
    pub current: Option<Login>,
    /// A login goes on: its last answer was a challenge.
    pub challenged: bool,
    /// Counts what was noted: where the count is the same, so is who is logged in.
    pub notes: u32,
    /// The request that has the binding is a leg of a login.
    in_leg: bool,
    /// `last` has been forgotten, and the mark of that login's challenge too.
    forgotten: bool,
    /// The last login over the binding, until it is over.
    last: Option<Boxed<Last>>,
}

/// The last login over a binding.
#[derive(Debug, Default, PartialEq, Eq)]
struct Last {
    /// The mechanism as the legs of an unfinished login have told it.
    mechanism: Option<Mechanism>,
    /// The last challenge, whether it has been answered or not.
    challenge: Option<Challenge>,
    /// The request that the origin demanded a login for.
    asked: Option<Asked>,
    /// Who was logged in before.
    former: Option<Login>,
}

impl Logins {
    /// Notes a login, or that there is none now. True when another user was logged in before.
    pub(super) fn note(
        &mut self,
        login: Option<Login>,
        mechanism: Option<Mechanism>,
        challenged: bool,
    ) -> bool {
        self.challenged = challenged;
        self.notes = self.notes.wrapping_add(1);
        let mut before = self.current.take();
        self.change(|last| {
            last.mechanism = mechanism;
            before = before.take().or(last.former.take());
            if login.is_none() {
                last.former = before.take();
            }
        });
        let Some(login) = login else { return false };
        let another = before.is_some_and(|before| before.is_another_user(&login));
        self.current = Some(login);
        another
    }

    /// The mechanism as the legs of an unfinished login have told it.
    pub fn mechanism(&self) -> Option<Mechanism> {
        self.last()?.mechanism
    }

    /// The last challenge, whether it has been answered or not.
    pub(super) fn challenge(&self) -> Option<Challenge> {
        if self.forgotten { Some(Challenge::FORGOTTEN) } else { self.last()?.challenge }
    }

    /// Notes a challenge.
    pub(super) fn set_challenge(&mut self, challenge: Challenge) {
        self.forgotten = false;
        self.change(|last| last.challenge = Some(challenge));
    }

    /// The request that the origin demanded a login for last.
    pub(super) fn asked(&self) -> Option<Asked> {
        self.last()?.asked
    }

    /// Notes what a leg of a login has shown.
    pub(super) fn end_leg(&mut self, asked: Option<Asked>) {
        self.in_leg = true;
        if self.asked() != asked {
            self.change(|last| last.asked = asked);
        }
    }

    /// A request ends after which the binding is in this phase. Where it was no leg, and the login is proven, what only matters until a
    /// login is over is forgotten. An answer to its challenge that comes later is one to no challenge.
    #[cold]
    pub(super) fn end_request(&mut self, phase: Phase) {
        if !core::mem::take(&mut self.in_leg) && phase == Phase::Proven {
            self.forgotten |= self.challenge().is_some_and(|challenge| challenge.mark.is_some());
            self.last = None;
        }
    }

    /// Whether there is something to forget.
    pub(super) fn has_last(&self) -> bool {
        self.last.is_some()
    }

    fn last(&self) -> Option<&Last> {
        let [last] = self.last.as_deref()?;
        Some(last)
    }

    /// Changes what is known of the last login. Without memory it stays as it was: then a login is not proven, and an answer is
    /// taken for one to the binding's challenge.
    fn change(&mut self, change: impl FnOnce(&mut Last)) {
        if self.last.is_none() {
            self.last = boxed(Last::default()).ok();
        }
        if let Some([last]) = self.last.as_deref_mut() {
            change(last);
            if *last == Last::default() {
                self.last = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::Text;

    #[test]
    fn names_are_kept_as_they_may_be_shown() {
        let long = "x".repeat(2 * LONGEST);
        let identity = Identity {
            user: Text::oem("eve\r\nmallory".as_bytes()),
            domain: Text::unicode(&[0x41, 0, 0x42, 0]),
            workstation: Text::oem(long.as_bytes()),
        };
        let login = Login::of(Mechanism::NtlmV2, identity).unwrap();
        assert_eq!((login.user(), login.domain()), ("eve\\x0D\\x0Amallory", "AB"));
        assert_eq!(login.workstation().len(), LONGEST);
        for mechanism in Mechanism::ALL {
            assert_eq!(Login::nameless(mechanism).unwrap().mechanism(), mechanism);
            let named =
                Login::of(mechanism, Identity { user: Text::oem(b"a\0b"), ..Identity::default() }).unwrap();
            assert_eq!((named.mechanism(), named.user(), named.domain()), (mechanism, "a\\x00b", ""));
        }
        assert!(!login.is_another_user(&Login::nameless(Mechanism::NtlmV2).unwrap()));
        let login = |user: &str, domain: &str| {
            let [user, domain] = [user, domain].map(|name| Text::oem(name.as_bytes()));
            Login::of(Mechanism::NtlmV2, Identity { user, domain, ..Identity::default() }).unwrap()
        };
        for (other, another) in [
            (login("alice", "corp"), false),
            (login("alice@corp.example", ""), false),
            (login("bob", "CORP"), true),
            (login("Alice", "OTHER"), true),
            (login("bob@corp.example", ""), true),
        ] {
            assert_eq!(login("Alice", "CORP").is_another_user(&other), another, "{other:?}");
        }
    }
}
