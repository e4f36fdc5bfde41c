//! The rules of `ntlm_core::scheme`, restated byte by byte without looking at how it does it, and the comparison of both.
//! Shared by the corpus test and the fuzz target.

use ntlm_core::scheme::{ConnectionBound, Scheme, carries_token};

/// Compares both on `data` as one value, on each line of it, and on what follows the name where a line is a field.
/// So a recorded handshake is an input as it is.
pub fn check(data: &[u8]) {
    check_value(data);
    for line in data.split(|&byte| byte == b'\n') {
        check_value(line);
        if let Some(colon) = line.iter().position(|&byte| byte == b':') {
            check_value(&line[colon + 1..]);
        }
    }
}

fn check_value(value: &[u8]) {
    let credentials = ConnectionBound::credentials(value);
    assert_eq!(credentials.map(|found| (found.scheme, found.token)), restated(value), "{value:?}");
    if let Some(found) = credentials {
        // The token is what the value ends with, white space aside: nothing of it is lost.
        assert!(value.trim_ascii_end().ends_with(found.token));
    }
    let token = elements(value).iter().any(|element| restated(element).is_some_and(|(_, t)| !t.is_empty()));
    assert_eq!(carries_token(value), token, "{value:?}");
}

/// Scheme and token of a value: the first word decides, the rest is the token.
fn restated(value: &[u8]) -> Option<(Scheme, &[u8])> {
    let names = |byte: &u8| matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z' | b'^'..=b'z' | b'|' | b'~');
    let start = value.iter().position(names)?;
    let mut end = start;
    while end < value.len() && names(&value[end]) {
        end += 1;
    }
    let word: String = value[start..end].iter().map(|&byte| char::from(byte).to_ascii_lowercase()).collect();
    let scheme = match word.as_str() {
        "ntlm" => Scheme::Ntlm,
        "negotiate" => Scheme::Negotiate,
        "nego2" => Scheme::Nego2,
        "kerberos" => Scheme::Kerberos,
        "credssp" => Scheme::CredSsp,
        _ => return None,
    };
    Some((scheme, trimmed(&value[end..])))
}

fn trimmed(mut value: &[u8]) -> &[u8] {
    let white = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0c);
    while !value.is_empty() && white(value[0]) {
        value = &value[1..];
    }
    while !value.is_empty() && white(value[value.len() - 1]) {
        value = &value[..value.len() - 1];
    }
    value
}

/// The elements of a list (RFC 9110 §5.6.1): commas part them, but not inside a quoted string, where a backslash
/// takes the meaning off the byte after it.
fn elements(value: &[u8]) -> Vec<Vec<u8>> {
    let mut elements = vec![Vec::new()];
    let mut at = 0;
    while at < value.len() {
        if value[at] == b',' {
            elements.push(Vec::new());
            at += 1;
            continue;
        }
        let length = if value[at] == b'"' { quoted_string(&value[at..]) } else { 1 };
        let last = elements.len() - 1;
        elements[last].extend_from_slice(&value[at..at + length]);
        at += length;
    }
    elements
}

/// The length of the quoted string that `value` starts with; one that never ends takes all.
fn quoted_string(value: &[u8]) -> usize {
    let mut at = 1;
    while at < value.len() {
        match value[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    value.len()
}
