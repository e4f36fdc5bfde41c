//! From the token of an `Authorization` or `WWW-Authenticate` field to what it says.
//!
//! It must never decode more than what the question needs: a Kerberos ticket may have 64 KiB, and its first bytes tell.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::mechanism::Mechanism;
use crate::scheme::{ConnectionBound, Scheme};
use crate::spnego::{self, Inner};
use crate::wire::ntlmssp::{Authenticate, Challenge, MessageType, Negotiate, message_type};

/// Some clients leave the padding out, and servers read them all the same.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// How much [`Kind::peek`] decodes, in bytes, until it knows: a bare message tells in its first bytes, the list of mechanisms
/// that Windows sends before a ticket has some 80, and no client was seen to need half of the last.
const STARTS: [usize; 3] = [18, 108, START];
const START: usize = 192;

impl Mechanism {
    /// What is known after a further leg of a login. For [`Kind::NtlmAuthenticate`] it is [`Authenticate::mechanism`] that
    /// tells.
    ///
    /// The first leg of NTLM ends what was known: a client whose Kerberos was refused tries NTLM. A leg of no known kind
    /// says nothing new.
    pub fn after(earlier: Option<Self>, leg: Kind) -> Option<Self> {
        match leg {
            Kind::NtlmNegotiate | Kind::NtlmChallenge | Kind::NtlmAuthenticate => None,
            Kind::Kerberos => Some(Self::Kerberos),
            Kind::IaKerb => Some(Self::IaKerb),
            Kind::Other => earlier.or(Some(Self::Negotiate)),
        }
    }
}

/// A kind of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An NTLM login begins. Its version is not known yet.
    NtlmNegotiate,
    /// The server's answer to it.
    NtlmChallenge,
    /// The NTLM login's end, which names the user.
    NtlmAuthenticate,
    /// A message of Kerberos.
    Kerberos,
    /// A message of Kerberos by way of the server.
    IaKerb,
    /// Any other token, and what is none.
    Other,
}

impl Kind {
    /// Looks at the start of the field's token, which costs the same whatever its length. `None` if that does not tell:
    /// then [`decode`] it and ask [`Message::read`].
    pub fn peek(field: &ConnectionBound) -> Option<Self> {
        let mut buffer = [0; START];
        for start in STARTS {
            let encoded = field.token.get(..start / 3 * 4).unwrap_or(field.token);
            let Some(decoded) = decode(encoded, &mut buffer) else { return Some(Self::Other) };
            match Self::of(field.scheme, decoded) {
                Self::Other if encoded.len() == field.token.len() => return Some(Self::Other),
                Self::Other => {}
                kind => return Some(kind),
            }
        }
        None
    }

    /// The kind of a decoded token.
    pub fn of(scheme: Scheme, token: &[u8]) -> Self {
        match unwrap(scheme, token) {
            Inner::Ntlmssp(message) => match message_type(message) {
                Some(MessageType::Negotiate) => Self::NtlmNegotiate,
                Some(MessageType::Challenge) => Self::NtlmChallenge,
                Some(MessageType::Authenticate) => Self::NtlmAuthenticate,
                None => Self::Other,
            },
            Inner::Kerberos => Self::Kerberos,
            Inner::IaKerb => Self::IaKerb,
            Inner::Other => Self::Other,
        }
    }
}

/// The content of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The first message of NTLM.
    NtlmNegotiate(Negotiate<'a>),
    /// The second message of NTLM.
    NtlmChallenge(Challenge<'a>),
    /// The third message of NTLM.
    NtlmAuthenticate(Authenticate<'a>),
    /// A message of Kerberos.
    Kerberos,
    /// A message of Kerberos by way of the server.
    IaKerb,
    /// Any other token, and what is none.
    Other,
}

impl<'a> Message<'a> {
    /// Reads a decoded token; `None` if it begins as an NTLMSSP message and is none.
    pub fn read(scheme: Scheme, token: &'a [u8]) -> Option<Self> {
        Some(match unwrap(scheme, token) {
            Inner::Ntlmssp(message) => match message_type(message)? {
                MessageType::Negotiate => Self::NtlmNegotiate(Negotiate::read(message)?),
                MessageType::Challenge => Self::NtlmChallenge(Challenge::read(message)?),
                MessageType::Authenticate => Self::NtlmAuthenticate(Authenticate::read(message)?),
            },
            Inner::Kerberos => Self::Kerberos,
            Inner::IaKerb => Self::IaKerb,
            Inner::Other => Self::Other,
        })
    }
}

/// `NTLM` carries nothing but NTLMSSP messages (MS-NTHT §2.1); `CredSSP` no token of GSS-API, the other schemes any.
fn unwrap(scheme: Scheme, token: &[u8]) -> Inner<'_> {
    match scheme {
        Scheme::Ntlm if message_type(token).is_some() => Inner::Ntlmssp(token),
        Scheme::Ntlm | Scheme::CredSsp => Inner::Other,
        Scheme::Negotiate | Scheme::Nego2 | Scheme::Kerberos => spnego::unwrap(token),
    }
}

/// Room enough for [`decode`], in bytes.
pub fn decoded_len(token: &[u8]) -> usize {
    base64::decoded_len_estimate(token.len())
}

/// Decodes base64 (RFC 4648 §4) into `buffer`, which must have [`decoded_len`] bytes. `None` if it is no base64.
pub fn decode<'b>(token: &[u8], buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let length = BASE64.decode_slice(token, buffer).ok()?;
    buffer.get(..length)
}

#[cfg(test)]
mod tests;
