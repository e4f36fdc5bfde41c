//! Unwraps GSS-API tokens: RFC 2743 §3.1 for the frame, RFC 4178 §4.2 for SPNEGO.
//!
//! It reads no further than to the mechanism's own token, and must never take one of two candidates for it: where a token
//! could be read in two ways, it is not read.

use super::reader::Reader;
use crate::wire::ntlmssp;

/// The token of a mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inner<'a> {
    /// An NTLMSSP message.
    Ntlmssp(&'a [u8]),
    /// Kerberos 5 (RFC 4121, MS-KILE), whichever of its messages.
    Kerberos,
    /// Kerberos by way of the server (IAKERB).
    IaKerb,
    /// Another mechanism (such as NEGOEX), none yet, or no token at all.
    Other,
}

/// Contents of object identifiers.
mod oid {
    /// 1.3.6.1.5.5.2
    pub(super) const SPNEGO: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
    /// 1.2.840.113554.1.2.2
    pub(super) const KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02];
    /// 1.2.840.48018.1.2.2: the same with a slip of 2000 in it, which Windows still sends.
    pub(super) const MS_KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 0x01, 0x02, 0x02];
    /// 1.2.840.113554.1.2.2.3: user to user.
    pub(super) const KERBEROS_U2U: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 0x03];
    /// 1.3.6.1.5.2.5
    pub(super) const IAKERB: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x02, 0x05];
}

mod tag {
    pub(super) const OCTET_STRING: u8 = 0x04;
    pub(super) const OID: u8 = 0x06;
    pub(super) const SEQUENCE: u8 = 0x30;
    /// `[APPLICATION 0]`: the frame of an initial token.
    pub(super) const GSS: u8 = 0x60;
    /// `[APPLICATION 14]`: an AP-REQ of Kerberos without a frame.
    pub(super) const AP_REQ: u8 = 0x6e;
    /// `negTokenInit`
    pub(super) const CONTEXT_0: u8 = 0xa0;
    /// `negTokenResp`
    pub(super) const CONTEXT_1: u8 = 0xa1;
    /// `mechToken`, `responseToken`
    pub(super) const CONTEXT_2: u8 = 0xa2;
}

/// Looks into the token of a `Negotiate` field. The start of a token is enough, unless its list of mechanisms is longer
/// than that.
pub fn unwrap(token: &[u8]) -> Inner<'_> {
    if let Some(inner) = mechanism_token(token) {
        return inner;
    }
    let mut reader = Reader::new(token);
    match reader.element() {
        Some((tag::GSS, content)) => init(content),
        // NegTokenResp, and a NegTokenInit without its frame, which servers take.
        Some((tag::CONTEXT_0 | tag::CONTEXT_1, content)) => negotiation(content),
        _ => None,
    }
    .unwrap_or(Inner::Other)
}

/// A token that says itself which mechanism it belongs to.
fn mechanism_token(token: &[u8]) -> Option<Inner<'_>> {
    if ntlmssp::message_type(token).is_some() {
        return Some(Inner::Ntlmssp(token));
    }
    let mut reader = Reader::new(token);
    match reader.element()? {
        (tag::GSS, content) => mechanism(Reader::new(content).expect(tag::OID)?),
        (tag::AP_REQ, _) => Some(Inner::Kerberos),
        _ => None,
    }
}

fn mechanism(oid: &[u8]) -> Option<Inner<'static>> {
    match oid {
        oid::KERBEROS | oid::MS_KERBEROS | oid::KERBEROS_U2U => Some(Inner::Kerberos),
        oid::IAKERB => Some(Inner::IaKerb),
        _ => None,
    }
}

/// `InitialContextToken`, whose mechanism was none that is known by itself.
fn init(content: &[u8]) -> Option<Inner<'_>> {
    let mut reader = Reader::new(content);
    if reader.expect(tag::OID)? != oid::SPNEGO {
        return None;
    }
    negotiation(reader.expect(tag::CONTEXT_0)?)
}

/// `NegTokenInit`, `NegTokenInit2` (MS-SPNG §2.2.1) or `NegTokenResp`: a SEQUENCE which has the mechanism's token under
/// `[2]` in all of them. The mechanism is the one that the token names, not the first of `mechTypes`, which is a wish.
fn negotiation(content: &[u8]) -> Option<Inner<'_>> {
    let mut sequence = Reader::new(Reader::new(content).expect(tag::SEQUENCE)?);
    let (mut last, mut token) = (None, None);
    while !sequence.is_empty() {
        let (tag, content) = sequence.element()?;
        // In DER they ascend, so that none comes twice.
        if last.is_some_and(|last| last >= tag) {
            return None;
        }
        last = Some(tag);
        if tag == tag::CONTEXT_2 {
            token = Some(Reader::new(content).expect(tag::OCTET_STRING)?);
        }
    }
    mechanism_token(token?)
}

#[cfg(test)]
mod tests;
