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
    /// The text behind the scheme, without the white space around it; may be empty.
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
pub fn carries_token(value: &[u8]) -> bool {
    challenges(value).any(|challenge| !challenge.token.is_empty())
}

/// Whether the value of one `WWW-Authenticate` field offers a connection-bound scheme, or carries a token of one.
pub fn offers(value: &[u8]) -> bool {
    challenges(value).next().is_some()
}

/// Whether the value of an `Authorization` field, or a challenge in the value of one `WWW-Authenticate` field, is of `Basic`
/// (RFC 7617) or `Bearer` (RFC 6750), which authenticate a request.
pub fn names_basic_or_bearer(value: &[u8]) -> bool {
    parts(value).any(|part| {
        let name = part.trim_ascii().split(|&byte| !is_of_a_name(byte)).next().unwrap_or_default();
        [b"basic".as_slice(), b"bearer"].iter().any(|known| name.eq_ignore_ascii_case(known))
    })
}

/// The challenges of connection-bound schemes in the value of one `WWW-Authenticate` field.
pub fn challenges(value: &[u8]) -> impl Iterator<Item = ConnectionBound<'_>> {
    parts(value).filter_map(ConnectionBound::credentials)
}

/// The parts of a field's value.
///
/// One field may list several challenges (RFC 9110 §11.6.1), separated by commas outside quoted strings.
fn parts(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut quoted = false;
    let mut escaped = false;
    value.split(move |&byte| {
        let separator = byte == b',' && !quoted;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ => {}
        }
        separator
    })
}

/// The letter of `Authorization` that other names and values have least.
pub const RARE_LETTER: [u8; 2] = [b'z', b'Z'];

/// The fields in which a request carries credentials, with the line end before them and what comes before the `z`.
const FIELDS: [(&[u8], usize); 2] =
    [(b"\nAuthorization:", b"\nAuthori".len()), (b"\nProxy-Authorization:", b"\nProxy-Authori".len())];

/// The value of the field with connection-bound credentials that a [`RARE_LETTER`] at `at` belongs to. Fields end with
/// CR LF; what follows the header may be anything, so either of them ends the value.
pub fn credentials_at(header: &[u8], at: usize) -> Option<&[u8]> {
    FIELDS.iter().find_map(|&(field, before)| {
        let (name, rest) = header.get(at.checked_sub(before)?..)?.split_at_checked(field.len())?;
        let value = rest.split(|&byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
        (name.eq_ignore_ascii_case(field) && ConnectionBound::credentials(value).is_some()).then_some(value)
    })
}

/// Whether a configured field, whose value may have variables, may put connection-bound credentials into a request.
pub fn may_put_credentials(name: &[u8], value: &[u8]) -> bool {
    let breaks_lines = |text: &[u8]| text.iter().any(|&byte| matches!(byte, b'\r' | b'\n'));
    if breaks_lines(name) || breaks_lines(value) {
        return true;
    }
    if ![b"authorization".as_slice(), b"proxy-authorization"].iter().any(|it| it.eq_ignore_ascii_case(name)) {
        return false;
    }
    // Nothing that a variable may be can change a scheme that stands before it in full.
    let literal = value.split(|&byte| byte == b'$').next().unwrap_or_default();
    let scheme_ends = literal.trim_ascii_start().iter().any(u8::is_ascii_whitespace);
    if scheme_ends || literal.len() == value.len() {
        ConnectionBound::credentials(literal).is_some()
    } else {
        true
    }
}

/// nginx's variables whose values have no line end: numbers, addresses, names that nginx has checked, and bytes out of a line that it has read.
const OF_ONE_LINE: [&[u8]; 50] = [
    b"connection",
    b"connection_requests",
    b"connection_time",
    b"content_length",
    b"content_type",
    b"host",
    b"hostname",
    b"http2",
    b"http3",
    b"http_cookie",
    b"http_host",
    b"http_referer",
    b"http_user_agent",
    b"http_via",
    b"http_x_forwarded_for",
    b"https",
    b"msec",
    b"nginx_version",
    b"pid",
    b"proxy_add_x_forwarded_for",
    b"proxy_protocol_addr",
    b"proxy_protocol_port",
    b"proxy_protocol_server_addr",
    b"proxy_protocol_server_port",
    b"realip_remote_addr",
    b"realip_remote_port",
    b"remote_addr",
    b"remote_port",
    b"request_id",
    b"request_length",
    b"request_method",
    b"request_time",
    b"request_uri",
    b"scheme",
    b"server_addr",
    b"server_name",
    b"server_port",
    b"server_protocol",
    b"ssl_cipher",
    b"ssl_client_escaped_cert",
    b"ssl_client_fingerprint",
    b"ssl_client_serial",
    b"ssl_client_verify",
    b"ssl_protocol",
    b"ssl_session_id",
    b"ssl_session_reused",
    b"status",
    b"tcpinfo_rtt",
    b"time_iso8601",
    b"time_local",
];

/// Whether a configured text with variables may come to have line ends that it has not by itself, so that a client could put fields of its own
/// into a request. `is_set` says whether the configuration gives a variable its value (`set`, `map` and their like).
pub fn may_break_lines(text: &[u8], is_set: impl Fn(&[u8]) -> bool) -> bool {
    text.split(|&byte| byte == b'$').skip(1).any(|rest| {
        let rest = rest.strip_prefix(b"{").unwrap_or(rest);
        let end = rest.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default().to_ascii_lowercase();
        let of_client = name.starts_with(b"http_") || name.starts_with(b"cookie_");
        !(OF_ONE_LINE.contains(&name.as_slice()) || of_client) || is_set(&name)
    })
}

/// Whether a value that is put into a field ends that field: by CR or LF, but where the value goes on in the next line behind white space
/// (RFC 9112 section 5.2), as a certificate does.
pub fn breaks_line(value: &[u8]) -> bool {
    let mut rest = value;
    while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
        let line_end = if rest.get(end..).is_some_and(|rest| rest.starts_with(b"\r\n")) { 2 } else { 1 };
        rest = rest.get(end + line_end..).unwrap_or_default();
        if !matches!(rest.first(), Some(b' ' | b'\t')) {
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_end_a_field_unless_it_goes_on() {
        for value in ["", "a b", "a\n\tb\r\n c"] {
            assert!(!breaks_line(value.as_bytes()), "{value:?}");
        }
        for value in ["a\nb", "a\r\nb: c", "a\rb", "a\n", "a\r\n", "a\n b\nc", "a\r\n\r\nb", "a\n\r\tb"] {
            assert!(breaks_line(value.as_bytes()), "{value:?}");
        }
    }

    #[test]
    fn variables_that_may_break_lines_are_known() {
        let breaks = |text: &str| may_break_lines(text.as_bytes(), |name| name == b"http_mine");
        for text in ["", "a", "a: b", "$host", "${host}:$server_port", "$http_x_y", "$cookie_a.b", "$HOST"] {
            assert!(!breaks(text), "{text}");
        }
        for text in [
            "$uri",
            "$host$uri",
            "${uri}",
            "$1",
            "$remote_user",
            "$ssl_server_name",
            "$http_mine",
            "$",
            "$hosts",
            "$host $x",
        ] {
            assert!(breaks(text), "{text}");
        }
    }

    fn scheme(value: &str) -> Option<Scheme> {
        ConnectionBound::credentials(value.as_bytes()).map(|credentials| credentials.scheme)
    }

    #[test]
    fn schemes_are_recognised_in_any_spelling() {
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
    fn schemes_that_authenticate_requests_are_told() {
        for (value, expected) in [
            ("Basic dXNlcg==", true),
            ("bearer abc", true),
            ("Basic realm=\"a, b\"", true),
            ("NTLM, BASIC realm=x", true),
            ("Negotiate, Bearer", true),
            ("NTLM", false),
            ("NTLM TlRM, Negotiate", false),
            ("Basics x", false),
            ("Digest realm=\"x, Basic\"", false),
            ("Digest Basic", false),
            ("", false),
        ] {
            assert_eq!(names_basic_or_bearer(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn credentials_are_found_wherever_a_header_has_them() {
        let found = |header: &str| {
            let letters = header.match_indices(['z', 'Z']).map(|(at, _)| at);
            letters.filter(|&at| credentials_at(header.as_bytes(), at).is_some()).count()
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
            ("Proxy-Authorization: NTLM TlRM", 1),
            ("PROXY-AUTHORIZATION:\tnegotiate", 1),
            ("X-Proxy-Authorization: NTLM TlRM", 0),
            ("Proxy-Authorization: Basic dXNlcg==", 0),
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
        for (header, at) in [(&b"z"[..], 0), (b"", 7), (b"zzz", 900)] {
            assert_eq!(credentials_at(header, at), None);
        }
        let header = b"\nProxy-Authorization: NTLM TlRM\r\n";
        assert_eq!(credentials_at(header, 14), Some(&b" NTLM TlRM"[..]));
    }

    #[test]
    fn configured_fields_that_may_hold_credentials_are_told() {
        for (name, value, expected) in [
            ("Authorization", "$http_x_auth", true),
            ("AUTHORIZATION", "Negotiate $token", true),
            ("proxy-authorization", "$x", true),
            ("Authorization", "NTLM", true),
            ("Authorization", "NT$rest", true),
            ("X-Anything", "$uri\r\nAuthorization: NTLM x", true),
            ("Authorization", "Basic $basic", false),
            ("Authorization", "Bearer abc", false),
            ("Authorization", "", false),
            ("X-Authorization", "$http_authorization", false),
        ] {
            assert_eq!(may_put_credentials(name.as_bytes(), value.as_bytes()), expected, "{name}: {value}");
        }
    }

    #[test]
    fn the_token_comes_without_its_white_space() {
        let credentials = ConnectionBound::credentials(b"NTLM \t TlRM ").unwrap();
        assert_eq!(credentials.token, b"TlRM");
        assert_eq!(ConnectionBound::credentials(b"Negotiate").unwrap().token, b"");
    }

    #[test]
    fn challenge_is_a_token_and_offer_none() {
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
        assert!(
            offers(b"Basic realm=\"x\", NTLM") && !offers(b"Basic realm=\"x, NTLM\"") && !offers(b"Bearer")
        );
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
