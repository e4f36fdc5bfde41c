//! Who a connection is: the state IIS keeps for each TCP connection, and how a request's credentials change it.
//!
//! It must never look at anything but this connection's own past: no session, no cookie, no address.

use super::behaviour::Behaviour;
use super::ledger::Leg;
use super::ntlm::{self, Policy};
use super::spnego::{self, NegState};
use crate::ntlm::{from_base64, to_base64};

/// The schemes that authenticate the connection.
const SCHEMES: [&str; 4] = ["NTLM", "Negotiate", "Kerberos", "Nego2"];

/// The first bytes of a simulated Kerberos ticket; `user:password` follow.
pub(crate) const KERBEROS: &[u8] = b"KRB-SIM:";
/// The first bytes of an opaque round of `?legs=N`.
pub(crate) const ROUND: &[u8] = b"ROUND:";

#[derive(Debug, Default)]
pub(super) struct Auth {
    identity: Option<String>,
    /// The challenge sent on this connection and not answered yet.
    pending: Option<[u8; 8]>,
    /// NTLMSSP was agreed on by SPNEGO, and has not begun yet.
    agreed: bool,
    rounds: u64,
}

/// The part of an answer that is about authentication.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) leg: Leg,
    pub(super) scheme: Option<String>,
    pub(super) identity: Option<String>,
    /// A `WWW-Authenticate` value with a token.
    pub(super) token: Option<String>,
    /// This request logged the connection in.
    pub(super) logged_in: bool,
    /// The token of a login that goes on: the answer is a 401, even for a public path.
    pub(super) challenged: bool,
    /// The credentials were looked at and refused.
    pub(super) refused: bool,
}

impl Verdict {
    /// Of an anonymous request without credentials.
    pub(super) fn nothing() -> Self {
        Self {
            leg: Leg::None,
            scheme: None,
            identity: None,
            token: None,
            logged_in: false,
            challenged: false,
            refused: false,
        }
    }
}

impl Auth {
    /// Looks at a request's `Authorization`, and says who the request is served as.
    pub(super) fn consider(
        &mut self,
        authorization: Option<&str>,
        behaviour: &Behaviour,
        policy: &Policy,
        password_of: impl Fn(&str) -> Option<String>,
    ) -> Verdict {
        let mut verdict = Verdict::nothing();
        if behaviour.logout {
            *self = Self::default();
        }
        if let Some(value) = authorization {
            let (scheme, token) = value.split_once([' ', '\t']).unwrap_or((value, ""));
            verdict.scheme = Some(scheme.to_owned());
            if SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
                let token = from_base64(token.trim()).unwrap_or_default();
                self.advance(scheme, &token, behaviour, policy, password_of, &mut verdict);
            }
        }
        if verdict.token.is_none() && behaviour.token_without_auth {
            let challenge = ntlm::challenge(&[], policy);
            self.pending = Some(challenge.nonce);
            let scheme = if behaviour.odd { "nTlM\t" } else { "NTLM " };
            verdict.token = Some(format!("{scheme}{}", to_base64(&challenge.message)));
        }
        verdict.identity.clone_from(&self.identity);
        if !behaviour.persist {
            self.identity = None;
        }
        verdict
    }

    /// Serves a request as the user of the connection, and lets the request's credentials change nothing.
    pub(super) fn overlook(&self, authorization: Option<&str>) -> Verdict {
        let mut verdict = Verdict::nothing();
        let scheme = authorization.map(|value| value.split([' ', '\t']).next().unwrap_or_default());
        verdict.scheme = scheme.map(str::to_owned);
        if scheme.is_some_and(|scheme| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme))) {
            verdict.leg = Leg::Other;
        }
        verdict.identity.clone_from(&self.identity);
        verdict
    }

    /// Forgets the user, and any challenge.
    fn refuse(&mut self, verdict: &mut Verdict) {
        self.identity = None;
        self.pending = None;
        self.rounds = 0;
        verdict.refused = true;
    }

    fn advance(
        &mut self,
        scheme: &str,
        token: &[u8],
        behaviour: &Behaviour,
        policy: &Policy,
        password_of: impl Fn(&str) -> Option<String>,
        verdict: &mut Verdict,
    ) {
        verdict.leg = Leg::Other;
        let scheme = SCHEMES.iter().find(|known| known.eq_ignore_ascii_case(scheme)).unwrap_or(&"Negotiate");
        let with = |token: &[u8]| Some(format!("{scheme} {}", to_base64(token)));

        if let Some(ticket) = token.strip_prefix(KERBEROS) {
            let ticket = String::from_utf8_lossy(ticket);
            match ticket.split_once(':') {
                Some((user, password)) if password_of(user).as_deref() == Some(password) => {
                    self.pending = None;
                    self.identity = Some(user.to_owned());
                    verdict.logged_in = true;
                    if !behaviour.nomutual {
                        verdict.token = with(b"KRB-SIM-MUTUAL");
                    }
                }
                _ => self.refuse(verdict),
            }
            return;
        }
        if let Some(round) = token.strip_prefix(ROUND) {
            self.identity = None;
            self.rounds += 1;
            verdict.challenged = true;
            verdict.token = with(&[b"ROUND-REPLY:", round].concat());
            return;
        }

        let parsed = spnego::parse(token);
        let wrapped = parsed.is_some();
        let goes_on = matches!(parsed, Some(spnego::Token::Resp(_)));
        let agreed = core::mem::take(&mut self.agreed);
        let message = match parsed {
            None => Some(token.to_vec()),
            Some(spnego::Token::Resp(token)) => token,
            Some(spnego::Token::Init { prefers_ntlmssp: true, mech_token: Some(token), .. }) => Some(token),
            // There is no token, or it is another mechanism's; NTLMSSP is asked for, the login goes on.
            Some(spnego::Token::Init { offers_ntlmssp: true, .. }) => {
                self.identity = None;
                self.agreed = true;
                verdict.challenged = true;
                verdict.token = with(&spnego::resp(Some(NegState::AcceptIncomplete), true, None));
                return;
            }
            Some(spnego::Token::Init { .. }) => None,
        };
        let message = message.unwrap_or_default();
        match ntlm::message_type(&message) {
            // A `NegTokenResp` goes on with what began on this connection.
            Some(1) if goes_on && !agreed => self.refuse(verdict),
            Some(1) => {
                verdict.leg = Leg::Negotiate;
                let rounds = self.rounds;
                self.identity = None;
                self.pending = None;
                if rounds + 3 < behaviour.legs {
                    self.refuse(verdict);
                    return;
                }
                let challenge = ntlm::challenge(&message, policy);
                self.pending = Some(challenge.nonce);
                verdict.challenged = true;
                verdict.token = if wrapped {
                    with(&spnego::resp(Some(NegState::AcceptIncomplete), true, Some(&challenge.message)))
                } else {
                    with(&challenge.message)
                };
            }
            Some(3) => {
                verdict.leg = Leg::Authenticate;
                let user =
                    self.pending.take().and_then(|nonce| ntlm::verify(&message, &nonce, policy, password_of));
                if user.is_none() {
                    self.refuse(verdict);
                    return;
                }
                self.identity = user;
                self.rounds = 0;
                verdict.logged_in = true;
                if behaviour.mutual {
                    verdict.token = with(&spnego::resp(Some(NegState::AcceptCompleted), false, None));
                }
            }
            _ => self.refuse(verdict),
        }
    }
}
