//! The rules of `ntlm_core::{token, spnego, ntlmssp, text}` that hold for any bytes.
//! Shared by the corpus test and the fuzz targets.

use ntlm_core::ntlmssp::{Authenticate, Challenge, MessageType, Negotiate, message_type};
use ntlm_core::scheme::{ConnectionBound, Scheme};
use ntlm_core::spnego::{self, Inner};
use ntlm_core::text::Text;
use ntlm_core::token::{self, Kind, Message};

/// `message` as an NTLMSSP message of each type.
#[allow(dead_code, reason = "one of the targets does not use it")]
pub fn ntlmssp(message: &[u8]) {
    check_message(message);
    // Restored, so that the fuzzer reaches the fields whatever it did to signature and type.
    for number in 1..=3_u32 {
        let mut typed = message.to_vec();
        typed.resize(message.len().max(12), 0);
        typed[..8].copy_from_slice(b"NTLMSSP\0");
        typed[8..12].copy_from_slice(&number.to_le_bytes());
        check_message(&typed);
    }
}

fn check_message(message: &[u8]) {
    let kind = message_type(message);
    if let Some(read) = Negotiate::read(message) {
        assert_eq!(kind, Some(MessageType::Negotiate));
        check_text(read.domain);
        check_text(read.workstation);
    }
    if let Some(read) = Challenge::read(message) {
        assert_eq!(kind, Some(MessageType::Challenge));
        check_text(read.target);
        let info = read.info;
        let names = [
            info.netbios_computer(),
            info.netbios_domain(),
            info.dns_computer(),
            info.dns_domain(),
            info.dns_tree(),
        ];
        names.into_iter().flatten().for_each(check_text);
        assert!(info.unix_time().is_none() || info.timestamp().is_some());
        let _shown = format!("{read:?} {:?}", info.flags());
    }
    let read = Authenticate::read(message);
    if let Some(read) = read {
        assert_eq!(kind, Some(MessageType::Authenticate));
        assert!(!read.anonymous || read.identity.user.is_empty() && read.identity.domain.is_empty());
        [read.identity.user, read.identity.domain, read.identity.workstation]
            .into_iter()
            .for_each(check_text);
        let _shown = format!("{read:?}");
    }
    if kind == Some(MessageType::Authenticate) {
        assert_eq!(
            read.map(|read| (read.identity.user, read.identity.domain, read.anonymous)),
            restated(message)
        );
    }
}

fn check_text(text: Text) {
    for limit in [0, 2, 3, 7, 64, 256] {
        let shown = text.shown(limit);
        let written = shown.to_string();
        assert!(written.len() <= limit && shown.len() == written.len());
        assert!(!written.contains(|char: char| char.is_control() || char == '\u{202e}'));
        assert!(limit < 256 || shown.is_empty() == written.is_empty());
    }
}

/// User, domain and anonymity of an AUTHENTICATE message, read by absolute offsets.
fn restated(message: &[u8]) -> Option<(Text<'_>, Text<'_>, bool)> {
    let number = |at: usize, octets: usize| -> Option<usize> {
        let bytes = message.get(at..at + octets)?;
        Some(bytes.iter().rev().fold(0, |number, &byte| number * 256 + usize::from(byte)))
    };
    let field = |at: usize| -> Option<&[u8]> {
        let (length, offset) = (number(at, 2)?, number(at + 4, 4)?);
        if length == 0 { Some(&[]) } else { message.get(offset..offset + length) }
    };
    let [lm, nt, domain, user, workstation] = [field(12)?, field(20)?, field(28)?, field(36)?, field(44)?];
    let flags = number(60, 4).unwrap_or(0);
    if (1..24).contains(&nt.len()) {
        return None;
    }
    let silent = nt.is_empty() && (lm.is_empty() || lm == [0]);
    if silent || flags & 0x800 != 0 && user.is_empty() {
        return Some((Text::default(), Text::default(), true));
    }
    let whole = user.len() % 2 + domain.len() % 2 + workstation.len() % 2 == 0;
    let ascii = nt.len() <= 24 && !user.is_empty() && user.iter().all(|byte| (0x21..0x7f).contains(byte));
    let text =
        |bytes| if flags & 1 == 1 && whole && !ascii { Text::unicode(bytes) } else { Text::oem(bytes) };
    Some((text(user), text(domain), false))
}

/// `data` as a token, as its base64 and as the value of a field, and each line of it as a recorded field.
#[allow(dead_code, reason = "one of the targets does not use it")]
pub fn spnego(data: &[u8]) {
    for scheme in [Scheme::Ntlm, Scheme::Negotiate, Scheme::Nego2, Scheme::Kerberos, Scheme::CredSsp] {
        check_token(scheme, data);
        check_field(&ConnectionBound { scheme, token: data });
    }
    for line in data.split(|&byte| byte == b'\n') {
        let value = line.iter().position(|&byte| byte == b':').map_or(line, |colon| &line[colon + 1..]);
        if let Some(field) = ConnectionBound::credentials(value) {
            check_field(&field);
        }
    }
}

fn check_token(scheme: Scheme, token: &[u8]) {
    let kind = Kind::of(scheme, token);
    let read = Message::read(scheme, token);
    let of_read = read.map(|read| match read {
        Message::NtlmNegotiate(_) => Kind::NtlmNegotiate,
        Message::NtlmChallenge(_) => Kind::NtlmChallenge,
        Message::NtlmAuthenticate(_) => Kind::NtlmAuthenticate,
        Message::Kerberos => Kind::Kerberos,
        Message::IaKerb => Kind::IaKerb,
        Message::Other => Kind::Other,
    });
    assert!(of_read.is_none_or(|of_read| of_read == kind));
    if let Inner::Ntlmssp(message) = spnego::unwrap(token) {
        check_message(message);
        // It is a part of the token, not a copy of it.
        assert!(token.as_ptr_range().contains(&message.as_ptr()));
    }
}

fn check_field(field: &ConnectionBound) {
    let peeked = Kind::peek(field);
    let mut buffer = vec![0; token::decoded_len(field.token)];
    let Some(token) = token::decode(field.token, &mut buffer) else { return };
    check_token(field.scheme, token);
    // A token may turn out broken behind its start, but never to be of another kind.
    let kind = Kind::of(field.scheme, token);
    assert!(peeked.is_none_or(|peeked| peeked == kind || kind == Kind::Other), "{peeked:?} {kind:?}");
    assert!(peeked.is_some() || field.token.len() > 256);
}
