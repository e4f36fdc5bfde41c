//! What the credentials of a request say: read once, and only when somebody asks.
//!
//! Must never keep the token, nor log any part of it.

use ntlm_core::login::Login;
use ntlm_core::scheme::ConnectionBound;
use ntlm_core::token::{Kind, Mechanism, Message, decode, decoded_len};

use crate::ngx::Request;

/// What a leg of a login is.
#[derive(Debug)]
pub struct Credentials {
    /// What the token is.
    pub kind: Kind,
    /// The login that an NTLM AUTHENTICATE message asks for.
    login: Option<Login>,
}

/// Whether a client's request carries connection-bound credentials.
#[inline(always)]
pub fn carried_by(r: Request) -> bool {
    r.authorization().is_some_and(|field| ConnectionBound::credentials(field.as_bytes()).is_some())
}

impl Credentials {
    /// Reads the credentials of a request. `None` when it has none that are connection-bound, or there is no memory.
    pub fn of(r: Request) -> Option<Self> {
        let field = r.authorization()?;
        let field = ConnectionBound::credentials(field.as_bytes())?;
        match Kind::peek(&field) {
            Some(kind) if kind != Kind::NtlmAuthenticate => return Some(Credentials { kind, login: None }),
            _ => {}
        }
        let mut buffer = Vec::new();
        buffer.try_reserve_exact(decoded_len(field.token)).ok()?;
        buffer.resize(decoded_len(field.token), 0);
        let token = decode(field.token, &mut buffer).unwrap_or_default();
        let login = match Message::read(field.scheme, token) {
            Some(Message::NtlmAuthenticate(message)) => Login::of(message.mechanism, message.identity),
            _ => None,
        };
        Some(Credentials { kind: Kind::of(field.scheme, token), login })
    }

    /// The login that the origin accepted with this leg, after what the legs before it told. `None` for a leg that asks
    /// for nothing yet, and for an AUTHENTICATE message that answers no challenge: a client can name anybody in one that
    /// nobody reads.
    pub fn accepted(self, earlier: Option<Mechanism>, challenged: bool) -> Option<Login> {
        match self.kind {
            Kind::NtlmAuthenticate => self.login.filter(|_| challenged),
            kind => Mechanism::after(earlier, kind).map(Login::nameless),
        }
    }

    /// The mechanism, as far as this leg and those before it tell.
    pub fn mechanism(&self, earlier: Option<Mechanism>) -> Option<Mechanism> {
        match &self.login {
            Some(login) => Some(login.mechanism),
            None => Mechanism::after(earlier, self.kind),
        }
    }
}
