//! The connection-bound credentials of a request: whether it has any, and what they say.
//!
//! Must never keep a token, nor log any part of it.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use ntlm_core::binding::login::Login;
use ntlm_core::mechanism::Mechanism;
use ntlm_core::scheme::{ConnectionBound, breaks_line};
use ntlm_core::token::{Kind, Message, decode, decoded_len};

use crate::group::Location;
use crate::ngx::{Request, Slice, Upstream};
use crate::outgoing::{Outgoing, Unreadable};

/// Why requests are looked at more closely than at their `Authorization`: bits of [`PROXY_AUTHORIZATION`] and [`CHANGEABLE`].
static ALERT: AtomicU8 = AtomicU8::new(0);
/// A client of this worker has sent `Proxy-Authorization`. nginx notes no such field, so that only from then on it is looked
/// for, request by request.
const PROXY_AUTHORIZATION: u8 = 1;
/// A module is loaded that can change a request's header behind nginx's parser.
const CHANGEABLE: u8 = 2;

/// Where a request has connection-bound credentials.
#[derive(Debug, Clone, Copy)]
pub enum Carried {
    /// Nowhere.
    Nowhere,
    /// In a field with this value.
    Field(Slice),
    /// The location puts a field into the request, and the request cannot be read.
    Unreadable,
}

impl Carried {
    /// Whether it has any.
    pub fn any(self) -> bool {
        !matches!(self, Carried::Nowhere)
    }

    /// False where a request has none for certain.
    pub fn may_be_by(r: Request, u: Upstream) -> bool {
        !Self::is_plain(r) && Self::may_be_after_all(r, u)
    }

    /// Whether a request has none at first sight.
    pub fn is_plain(r: Request) -> bool {
        r.authorization().is_none()
            && !Location::of(r).may_taint
            && ALERT.load(Relaxed) == 0
            && !r.has_changed_target()
    }

    /// [`Carried::may_be_by`] of a request that is not plain at first sight.
    #[inline(never)]
    fn may_be_after_all(r: Request, u: Upstream) -> bool {
        r.authorization().is_some()
            || Location::of(r).puts_credentials
            || ALERT.load(Relaxed) != 0
            || brings_lines(r, u)
    }

    /// Those of a request, as the client sent it and as it goes out. It evaluates variables, so that none of the module's may call it.
    pub fn by(r: Request, u: Upstream) -> Self {
        match Self::in_field(r, u) {
            Ok(Some(value)) => Carried::Field(value),
            Err(Unreadable) if Location::of(r).puts_credentials => Carried::Unreadable,
            _ if brings_lines(r, u) => Carried::Unreadable,
            _ => Carried::Nowhere,
        }
    }

    /// The value of the field that has them, as the client sent it or as it goes out. It evaluates nothing.
    ///
    /// # Errors
    ///
    /// [`Unreadable`]: the location or a module may have put some into a request that cannot be read.
    pub fn in_field(r: Request, u: Upstream) -> Result<Option<Slice>, Unreadable> {
        let location = Location::of(r);
        if let Some(value) = for_origin(r)
            && !(location.replaces_authorization && u.speaks_http())
        {
            return Ok(Some(value));
        }
        if ALERT.load(Relaxed) != 0
            && !(location.replaces_proxy_authorization && u.speaks_http())
            && let Some(value) = for_proxy(r)
        {
            return Ok(Some(value));
        }
        match location.puts_credentials || may_change() {
            true => Outgoing::of(u).credentials(),
            false => Ok(None),
        }
    }

    /// Those of a request as the client sent it, before there is an outgoing one; unreadable where that may come to have others.
    pub fn by_client(r: Request) -> Self {
        let location = Location::of(r);
        match for_origin(r).or_else(|| for_proxy(r)) {
            Some(value) => Carried::Field(value),
            None if location.puts_credentials || may_change() => Carried::Unreadable,
            None if r.has_changed_path() && (location.varies_target || !location.values.is_null()) => {
                Carried::Unreadable
            }
            None => Carried::Nowhere,
        }
    }
}

/// Notes that clients send `Proxy-Authorization`.
pub fn expect_proxy_authorization() {
    ALERT.fetch_or(PROXY_AUTHORIZATION, Relaxed);
}

/// Notes whether a module is loaded that can change requests. Called as a worker starts.
pub fn expect_changes(expected: bool) {
    ALERT.store(if expected { CHANGEABLE } else { 0 }, Relaxed);
}

/// Whether requests may be changed after their `peer.init` (`balancer.recreate_request` of Lua).
pub fn may_change() -> bool {
    ALERT.load(Relaxed) & CHANGEABLE != 0
}

/// Whether a value brings line ends into a request: behind them there may be fields, or a request, that its client wrote.
fn brings_lines(r: Request, u: Upstream) -> bool {
    let location = Location::of(r);
    let varies = location.varies_target || r.has_changed_target();
    (varies && u.breaks_request_line()) || (!location.values.is_null() && has_broken_value(r, location))
}

/// Whether a field that the location puts into a request is more than one, or cannot be told.
#[inline(never)]
fn has_broken_value(r: Request, location: &Location) -> bool {
    let breaks = |value: Slice| breaks_line(value.as_bytes());
    location.values().any(|value| r.evaluate(value, Slice::EMPTY).is_none_or(breaks))
}

/// The value of an `Authorization` with connection-bound credentials.
fn for_origin(r: Request) -> Option<Slice> {
    r.authorization().filter(|value| is_bound(value.as_bytes()))
}

/// The value of a `Proxy-Authorization` with connection-bound credentials.
#[inline(never)]
fn for_proxy(r: Request) -> Option<Slice> {
    let mut found = None;
    r.each_field(b"proxy-authorization", |value| {
        found = found.or(Some(value).filter(|value| is_bound(value.as_bytes())));
    });
    found
}

fn is_bound(value: &[u8]) -> bool {
    ConnectionBound::credentials(value).is_some()
}

/// Runs `read` on the token of a field, decoded. `None` when there is no memory.
pub fn decoded<R>(field: &ConnectionBound<'_>, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(decoded_len(field.token)).ok()?;
    buffer.resize(decoded_len(field.token), 0);
    Some(read(decode(field.token, &mut buffer).unwrap_or_default()))
}

/// A leg of a login.
#[derive(Debug)]
pub struct Credentials {
    /// The kind of its token.
    pub kind: Kind,
    /// The login that an NTLM AUTHENTICATE message asks for.
    login: Option<Login>,
}

impl Credentials {
    /// Reads the value of a field. `None` when it has no connection-bound credentials, or there is no memory.
    pub fn read(value: &[u8]) -> Option<Self> {
        let field = ConnectionBound::credentials(value)?;
        match Kind::peek(&field) {
            Some(kind) if kind != Kind::NtlmAuthenticate => return Some(Credentials { kind, login: None }),
            _ => {}
        }
        decoded(&field, |token| {
            let login = match Message::read(field.scheme, token) {
                Some(Message::NtlmAuthenticate(message)) => Login::of(message.mechanism, message.identity),
                _ => None,
            };
            Credentials { kind: Kind::of(field.scheme, token), login }
        })
    }

    /// The login that this leg asks for, after what the legs before it told. `None` for a leg that asks for nothing yet, and
    /// for an AUTHENTICATE message that answers no challenge: a client can name anybody in one that the origin does not read.
    pub fn login(self, earlier: Option<Mechanism>, challenged: bool) -> Option<Login> {
        match self.kind {
            Kind::NtlmAuthenticate => self.login.filter(|_| challenged),
            kind => Mechanism::after(earlier, kind).and_then(Login::nameless),
        }
    }

    /// The mechanism, as far as this leg and those before it tell.
    pub fn mechanism(&self, earlier: Option<Mechanism>) -> Option<Mechanism> {
        match &self.login {
            Some(login) => Some(login.mechanism()),
            None => Mechanism::after(earlier, self.kind),
        }
    }
}
