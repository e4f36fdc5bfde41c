//! Who is logged in over a bound connection, as far as the tokens said.
//!
//! Must never hold a token, a response or a challenge.

use core::fmt::Write as _;

use super::challenge::Challenge;
use crate::wire::mechanism::Mechanism;
use crate::wire::ntlmssp::Identity;
use crate::wire::text::Text;

/// The longest name that is kept, in bytes of UTF-8. Active Directory's are shorter.
pub const LONGEST: usize = 256;

/// A login that the origin accepted. Names are fit to be shown ([`Text::shown`]), and empty where the mechanism does not
/// tell them.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// How the client proved who it is.
    pub mechanism: Mechanism,
    /// The user's name.
    pub user: String,
    /// The domain that knows the user.
    pub domain: String,
    /// The workstation, as the client names it.
    pub workstation: String,
}

impl Login {
    /// A login by a mechanism that does not tell names.
    pub fn nameless(mechanism: Mechanism) -> Self {
        Login { mechanism, user: String::new(), domain: String::new(), workstation: String::new() }
    }

    /// A login with its names. `None` when there is no memory.
    pub fn of(mechanism: Mechanism, identity: Identity<'_>) -> Option<Self> {
        Some(Login {
            mechanism,
            user: kept(identity.user)?,
            domain: kept(identity.domain)?,
            workstation: kept(identity.workstation)?,
        })
    }

    /// Whether they are of two users, as far as names tell: Windows does not mind their case, and who has no domain, as in
    /// `alice@corp.example`, may be of any.
    pub fn is_another_user(&self, other: &Self) -> bool {
        let differ = |mine: &str, theirs: &str| {
            !mine.is_empty() && !theirs.is_empty() && !mine.eq_ignore_ascii_case(theirs)
        };
        let account = |login: &Self| login.user.split('@').next().unwrap_or_default().len();
        differ(
            self.user.get(..account(self)).unwrap_or_default(),
            other.user.get(..account(other)).unwrap_or_default(),
        ) || differ(&self.domain, &other.domain)
    }
}

/// The logins over one binding, one after the other.
#[derive(Debug, Default)]
pub struct Logins {
    /// Who is logged in; `None` while nobody is.
    pub current: Option<Login>,
    /// The mechanism as the legs of an unfinished login have told it.
    pub mechanism: Option<Mechanism>,
    /// A login goes on: its last answer was a challenge.
    pub challenged: bool,
    /// Counts what was noted: where the count is the same, so is who is logged in.
    pub notes: u32,
    /// The last challenge, whether it has been answered or not.
    pub challenge: Option<Challenge>,
    /// Who was logged in before the login that goes on.
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
        self.mechanism = mechanism;
        self.challenged = challenged;
        self.notes = self.notes.wrapping_add(1);
        let before = self.current.take().or(self.former.take());
        let Some(login) = login else {
            self.former = before;
            return false;
        };
        let another = before.is_some_and(|before| before.is_another_user(&login));
        self.current = Some(login);
        another
    }
}

fn kept(name: Text<'_>) -> Option<String> {
    let shown = name.shown(LONGEST);
    let mut kept = String::new();
    kept.try_reserve_exact(shown.len()).ok()?;
    write!(kept, "{shown}").ok()?;
    Some(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_they_may_be_shown() {
        let long = "x".repeat(2 * LONGEST);
        let identity = Identity {
            user: Text::oem("eve\r\nmallory".as_bytes()),
            domain: Text::unicode(&[0x41, 0, 0x42, 0]),
            workstation: Text::oem(long.as_bytes()),
        };
        let login = Login::of(Mechanism::NtlmV2, identity).unwrap();
        assert_eq!((login.user.as_str(), login.domain.as_str()), ("eve\\x0D\\x0Amallory", "AB"));
        assert_eq!(login.workstation.len(), LONGEST);
        assert!(!login.is_another_user(&Login::nameless(Mechanism::NtlmV2)));
        let login = |user: &str, domain: &str| Login {
            user: user.to_owned(),
            domain: domain.to_owned(),
            ..Login::nameless(Mechanism::NtlmV2)
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
