//! Tokens told apart, by their first bytes and as a whole.

use super::*;

fn encode(token: &[u8]) -> String {
    BASE64.encode(token)
}

fn peek(value: &str) -> Option<Kind> {
    Kind::peek(&ConnectionBound::credentials(value.as_bytes()).unwrap())
}

/// A long NegTokenInit of Kerberos, made of its first bytes.
fn ticket() -> Vec<u8> {
    let mut ticket = vec![0x60, 0x82, 0xea, 0x60, 0x06, 0x09];
    ticket.extend([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 0x01, 0x02, 0x02, 1, 0, 0x6e]);
    ticket.resize(60_004, 0x5a);
    ticket
}

#[test]
fn a_glance_tells_the_legs_apart() {
    for (value, kind) in [
        ("NTLM TlRMTVNTUAABAAAAB4IIogAAAAAoAAAAAAAAACgAAAAKAGNFAAAADw==", Kind::NtlmNegotiate),
        ("Negotiate TlRMTVNTUAABAAAAB4IIogAAAAAoAAAAAAAAACgAAAAKAGNFAAAADw", Kind::NtlmNegotiate),
        ("NTLM TlRMTVNTUAACAAAA", Kind::NtlmChallenge),
        ("NTLM TlRMTVNTUAADAAAA", Kind::NtlmAuthenticate),
        ("Negotiate", Kind::Other),
        ("Negotiate oQA=", Kind::Other),
        ("NTLM no base64!", Kind::Other),
        ("NTLM TlRMTVNTUAAE", Kind::Other),
    ] {
        assert_eq!(peek(value), Some(kind), "{value}");
    }
    assert_eq!(peek(&format!("Negotiate {}", encode(&ticket()))), Some(Kind::Kerberos));
    assert_eq!(peek(&format!("Kerberos {}", encode(&ticket()))), Some(Kind::Kerberos));
    // A long NTLM message is told by its start, too.
    let long = [&b"NTLMSSP\0\x03\0\0\0"[..], &[0; 40_000]].concat();
    assert_eq!(peek(&format!("NTLM {}", encode(&long))), Some(Kind::NtlmAuthenticate));
}

#[test]
fn the_scheme_ntlm_carries_nothing_else() {
    let ticket = encode(&ticket());
    assert_eq!(peek(&format!("NTLM {}", &ticket[..200])), Some(Kind::Other));
}

#[test]
fn ambiguous_start_is_not_guessed_from() {
    assert_eq!(peek(&format!("Negotiate {}", encode(&[0x5a; 2000]))), None);
    // As long as what is looked at: that is the whole.
    assert_eq!(peek(&format!("Negotiate {}", encode(&[0x5a; START]))), Some(Kind::Other));
    assert_eq!(peek(&format!("Negotiate {}", encode(&[0x5a; START + 1]))), None);
    // A list of mechanisms longer than that, and NTLM after it.
    let list = [&[0xa0, 0x82, 1, 0][..], &[0; 256]].concat();
    let message = [&[0xa2, 18, 4, 16][..], b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\xa2"].concat();
    let content = [list, message].concat();
    let length = u16::try_from(content.len()).unwrap();
    let token =
        [&[0xa1, 0x82][..], &(length + 4).to_be_bytes(), &[0x30, 0x82], &length.to_be_bytes(), &content];
    let token = token.concat();
    assert_eq!(peek(&format!("Negotiate {}", encode(&token))), None);
    assert_eq!(Kind::of(Scheme::Negotiate, &token), Kind::NtlmNegotiate);
}

#[test]
fn base64_is_read_with_or_without_padding() {
    let mut buffer = [0; 64];
    for (text, bytes) in [
        ("TlRM", Some(&b"NTLM"[..3])),
        ("TlRMTQ==", Some(b"NTLM")),
        ("TlRMTQ", Some(b"NTLM")),
        ("", Some(b"")),
        ("TlRM TQ==", None),
        ("TlRM\n", None),
        ("T", None),
        ("TlRM=TQ=", None),
        ("TlR-", None),
    ] {
        assert_eq!(decode(text.as_bytes(), &mut buffer), bytes, "{text:?}");
        assert!(decoded_len(text.as_bytes()) >= bytes.map_or(0, <[u8]>::len));
    }
    assert_eq!(decode(b"TlRMTQ==", &mut buffer[..3]), None);
}

#[test]
fn leg_of_unknown_kind_changes_nothing() {
    let after = Mechanism::after;
    assert_eq!(after(None, Kind::Other), Some(Mechanism::Negotiate));
    assert_eq!(after(None, Kind::Kerberos), Some(Mechanism::Kerberos));
    assert_eq!(after(Some(Mechanism::Kerberos), Kind::Other), Some(Mechanism::Kerberos));
    assert_eq!(after(Some(Mechanism::Kerberos), Kind::NtlmNegotiate), None);
    assert_eq!(after(Some(Mechanism::NtlmV2), Kind::NtlmAuthenticate), None);
    assert_eq!(after(Some(Mechanism::NtlmV2), Kind::IaKerb), Some(Mechanism::IaKerb));
    let names = ["NTLMv1", "NTLMv2", "Kerberos", "IAKerb", "Negotiate"];
    assert_eq!(Mechanism::ALL.map(Mechanism::name), names);
}

#[test]
fn a_message_that_breaks_off_is_no_message() {
    assert_eq!(Message::read(Scheme::Ntlm, b"NTLMSSP\0\x03\0\0\0"), None);
    assert_eq!(Message::read(Scheme::Negotiate, b""), Some(Message::Other));
    assert_eq!(Message::read(Scheme::Negotiate, &ticket()), Some(Message::Kerberos));
}
