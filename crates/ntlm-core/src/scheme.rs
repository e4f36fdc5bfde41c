//! Which `Authorization` and `WWW-Authenticate` fields belong to an authentication that a connection carries.
//!
//! Must never call another scheme connection-bound because its name merely begins alike, nor miss one because of its
//! case (RFC 9110 §11.1 makes scheme names case-insensitive) or of what a server takes for white space.

/// The authentication schemes that authenticate a connection instead of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `NTLM` (MS-NTHT): an NTLMSSP message.
    Ntlm,
    /// `Negotiate` (RFC 4559): SPNEGO, bare Kerberos or bare NTLMSSP.
    Negotiate,
    /// `Nego2`: Microsoft's NEGOEX variant of `Negotiate`.
    Nego2,
    /// `Kerberos`: a bare Kerberos token.
    Kerberos,
    /// `CredSSP` (MS-CSSP): what WinRM carries NTLM or Kerberos in, encrypted.
    CredSsp,
}

const NAMES: [(&[u8], Scheme); 5] = [
    (b"NTLM", Scheme::Ntlm),
    (b"Negotiate", Scheme::Negotiate),
    (b"Nego2", Scheme::Nego2),
    (b"Kerberos", Scheme::Kerberos),
    (b"CredSSP", Scheme::CredSsp),
];

/// Whether a name may have this byte: `tchar` of RFC 9110 §5.6.2.
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A field value that names a connection-bound scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionBound<'a> {
    /// The scheme the value names.
    pub scheme: Scheme,
    /// What follows the scheme, without the white space around it; empty where nothing follows.
    pub token: &'a [u8],
}

impl<'a> ConnectionBound<'a> {
    /// Reads the value of an `Authorization` field. `None` for every scheme that authenticates requests.
    ///
    /// The scheme counts only when it is whole: nothing that a name may have must follow it. Servers differ in what they take
    /// for white space before and after it.
    pub fn credentials(value: &'a [u8]) -> Option<Self> {
        let value = value.get(value.iter().position(|&byte| is_of_a_name(byte))?..)?;
        NAMES.iter().find_map(|&(name, scheme)| {
            let (head, rest) = value.split_at_checked(name.len())?;
            let whole = rest.first().is_none_or(|&byte| !is_of_a_name(byte));
            (whole && head.eq_ignore_ascii_case(name))
                .then(|| ConnectionBound { scheme, token: rest.trim_ascii() })
        })
    }
}

/// Whether the value of one `WWW-Authenticate` field carries a token of a connection-bound scheme: a challenge, or the
/// mutual-authentication token that comes with a success. A bare `Negotiate` or `NTLM` is an offer and carries none.
///
/// One field may list several challenges (RFC 9110 §11.6.1), separated by commas outside quoted strings.
pub fn carries_token(value: &[u8]) -> bool {
    let mut quoted = false;
    let mut escaped = false;
    value
        .split(|&byte| {
            let separator = byte == b',' && !quoted;
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                _ => {}
            }
            separator
        })
        .filter_map(ConnectionBound::credentials)
        .any(|challenge| !challenge.token.is_empty())
}

/// The letter of `Authorization` that other names and values have least.
pub const RARE_LETTER: [u8; 2] = [b'z', b'Z'];

/// Whether a [`RARE_LETTER`] at `at` belongs to a field of a request's header that has connection-bound credentials. Fields
/// end with CR LF; where a body follows, there is no telling what it has, so either of them ends what is looked at.
pub fn is_in_credentials(header: &[u8], at: usize) -> bool {
    const FIELD: &[u8] = b"\nAuthorization:";
    const BEFORE: usize = b"\nAuthori".len();
    let field = at.checked_sub(BEFORE).and_then(|start| header.get(start..)).unwrap_or_default();
    field.split_at_checked(FIELD.len()).is_some_and(|(name, value)| {
        name.eq_ignore_ascii_case(FIELD)
            && ConnectionBound::credentials(
                value.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default(),
            )
            .is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scheme(value: &str) -> Option<Scheme> {
        ConnectionBound::credentials(value.as_bytes()).map(|credentials| credentials.scheme)
    }

    #[test]
    fn the_schemes_are_recognised_in_any_case_with_any_white_space() {
        for (value, expected) in [
            ("NTLM TlRMTVNTUAAB", Scheme::Ntlm),
            ("ntlm TlRMTVNTUAAB", Scheme::Ntlm),
            ("NEGOTIATE YII=", Scheme::Negotiate),
            ("Negotiate\tYII=", Scheme::Negotiate),
            ("Negotiate    YII=", Scheme::Negotiate),
            (" \tnegotiate", Scheme::Negotiate),
            ("Nego2 AAAA", Scheme::Nego2),
            ("Kerberos YII=", Scheme::Kerberos),
            ("NTLM", Scheme::Ntlm),
            ("NTLM ", Scheme::Ntlm),
            ("CredSSP TlRM", Scheme::CredSsp),
            ("Negotiate\u{b}YII=", Scheme::Negotiate),
            ("\u{b}\u{c}\u{a0}Negotiate\u{c}YII=", Scheme::Negotiate),
            ("NTLM=abc", Scheme::Ntlm),
            ("NTLM,abc", Scheme::Ntlm),
            ("NTLM\u{0}", Scheme::Ntlm),
        ] {
            assert_eq!(scheme(value), Some(expected), "{value:?}");
        }
    }

    #[test]
    fn other_schemes_are_left_alone() {
        for value in [
            "",
            " ",
            "Basic dXNlcg==",
            "Bearer",
            "Bearer NTLM",
            "NTLMx abc",
            "Negotiated abc",
            "NTL",
            "Nego",
            "Nego22 a",
            "NTLM-abc",
            "CredSSP2 abc",
            "Digest NTLM",
        ] {
            assert_eq!(scheme(value), None, "{value:?}");
        }
    }

    #[test]
    fn credentials_are_found_wherever_a_header_has_them() {
        let found = |header: &str| {
            let letters = header.match_indices(['z', 'Z']).map(|(at, _)| at);
            letters.filter(|&at| is_in_credentials(header.as_bytes(), at)).count()
        };
        for (field, expected) in [
            ("Authorization: NTLM TlRM", 1),
            ("AUTHORIZATION:NEGOTIATE", 1),
            ("authorization: \tkerberos YII=", 1),
            ("Authorization: Basic dXNlcg==", 0),
            ("Authorization: NTLMx", 0),
            ("Authorization: \nNTLM TlRM", 0),
            ("XAuthorization: NTLM TlRM", 0),
            ("Authorization : NTLM TlRM", 0),
            ("Proxy-Authorization: NTLM TlRM", 0),
            ("X-Note: Authorization: NTLM TlRM", 0),
        ] {
            let filler = "X-Filler: Mozilla gzip Zaza\r\n";
            for header in [
                format!(" HTTP/1.1\r\n{field}\r\n\r\n"),
                format!(" HTTP/1.0\r\n{filler}{field}\r\n{filler}\r\nbody"),
                format!("\r\n{filler}{field}"),
            ] {
                assert_eq!(found(&header), expected, "{header:?}");
            }
        }
        assert_eq!(found("Authorization: NTLM TlRM\r\n"), 0, "this is no header: there is no line before it");
        assert!(!is_in_credentials(b"z", 0) && !is_in_credentials(b"", 7) && !is_in_credentials(b"zzz", 900));
    }

    #[test]
    fn the_token_comes_without_its_white_space() {
        let credentials = ConnectionBound::credentials(b"NTLM \t TlRM ").unwrap();
        assert_eq!(credentials.token, b"TlRM");
        assert_eq!(ConnectionBound::credentials(b"Negotiate").unwrap().token, b"");
    }

    #[test]
    fn an_offer_is_no_token_and_a_challenge_is_one() {
        for value in [
            "NTLM",
            "Negotiate",
            "Negotiate, NTLM",
            "Basic realm=\"NTLM abc\"",
            "Basic realm=\"x, NTLM abc\"",
            "Basic realm=\"a\\\", NTLM abc\"",
            "Bearer abc",
            "NTLMx abc",
            "",
            ",",
            "Negotiate ,NTLM\t",
        ] {
            assert!(!carries_token(value.as_bytes()), "{value:?}");
        }
        for value in [
            "NTLM TlRM",
            "negotiate oYG=",
            "Basic realm=\"x\", NTLM TlRM",
            "Negotiate, NTLM TlRM",
            "NTLM TlRM, Basic realm=\"x\"",
            "Nego2\tAA",
            "KERBEROS AA==",
        ] {
            assert!(carries_token(value.as_bytes()), "{value:?}");
        }
    }
}
