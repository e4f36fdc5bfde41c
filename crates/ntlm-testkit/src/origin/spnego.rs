//! An acceptor's side of SPNEGO around NTLMSSP messages (RFC 4178 section 4.2).
//!
//! Only what browsers, curl and IIS exchange; must never be used to judge the parser of the module, which has its own.

use ntlm_client::spnego::{NTLMSSP, SPNEGO, tlv};

/// The `negState` of a `NegTokenResp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NegState {
    /// The context is established.
    AcceptCompleted = 0,
    /// Another token is needed.
    AcceptIncomplete = 1,
}

/// The content of a SPNEGO token.
#[derive(Debug, PartialEq, Eq)]
pub enum Token {
    /// A `NegTokenInit`: does it offer NTLMSSP, and the optimistic token of its first mechanism.
    Init {
        /// NTLMSSP is among `mechTypes`.
        offers_ntlmssp: bool,
        /// NTLMSSP is the first of `mechTypes`, hence the owner of `mech_token`.
        prefers_ntlmssp: bool,
        /// `mechToken`.
        mech_token: Option<Vec<u8>>,
    },
    /// A `NegTokenResp` and its `responseToken`.
    Resp(Option<Vec<u8>>),
}

/// A `NegTokenResp`; `token` is left out when `None`. The acceptor's first one names NTLMSSP (`with_mech`).
#[must_use]
pub fn resp(state: Option<NegState>, with_mech: bool, token: Option<&[u8]>) -> Vec<u8> {
    let mut fields = Vec::new();
    if let Some(state) = state {
        fields.extend(tlv(0xa0, &tlv(0x0a, &[state as u8])));
    }
    if with_mech {
        fields.extend(tlv(0xa1, NTLMSSP));
    }
    if let Some(token) = token {
        fields.extend(tlv(0xa2, &tlv(0x04, token)));
    }
    tlv(0xa1, &tlv(0x30, &fields))
}

/// Reads a token; `None` if it is no SPNEGO token.
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Token> {
    let (tag, content, _) = read(bytes)?;
    match tag {
        0x60 => {
            let inner = content.strip_prefix(SPNEGO)?;
            let (0xa0, inner, _) = read(inner)? else {
                return None;
            };
            let (0x30, mut fields, _) = read(inner)? else {
                return None;
            };
            let (mut offers_ntlmssp, mut prefers_ntlmssp, mut mech_token) = (false, false, None);
            while let Some((tag, content, rest)) = read(fields) {
                match tag {
                    0xa0 => {
                        let (0x30, mechs, _) = read(content)? else {
                            return None;
                        };
                        prefers_ntlmssp = mechs.starts_with(NTLMSSP);
                        offers_ntlmssp = mechs.windows(NTLMSSP.len()).any(|window| window == NTLMSSP);
                    }
                    0xa2 => mech_token = read(content).map(|(_, token, _)| token.to_vec()),
                    _ => {}
                }
                fields = rest;
            }
            Some(Token::Init { offers_ntlmssp, prefers_ntlmssp, mech_token })
        }
        0xa1 => {
            let (0x30, mut fields, _) = read(content)? else {
                return None;
            };
            let mut token = None;
            while let Some((tag, content, rest)) = read(fields) {
                if tag == 0xa2 {
                    token = read(content).map(|(_, token, _)| token.to_vec());
                }
                fields = rest;
            }
            Some(Token::Resp(token))
        }
        _ => None,
    }
}

fn read(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first >= 0x80 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 3 {
            return None;
        }
        let (octets, after) = rest.split_at_checked(count)?;
        length = octets.iter().fold(0, |value, &octet| value << 8 | usize::from(octet));
        rest = after;
    }
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ntlm_client::spnego::init;

    #[test]
    fn every_length_is_read_back() {
        for length in [0, 1, 127, 128, 255, 256, 70_000] {
            let message = vec![7; length];
            assert_eq!(
                parse(&init(&message)),
                Some(Token::Init {
                    offers_ntlmssp: true,
                    prefers_ntlmssp: true,
                    mech_token: Some(message.clone())
                })
            );
            assert_eq!(resp(None, false, Some(&message)), ntlm_client::spnego::resp(&message));
            assert_eq!(parse(&resp(None, false, Some(&message))), Some(Token::Resp(Some(message))));
        }
        assert_eq!(parse(b"NTLMSSP\0"), None);
    }
}
