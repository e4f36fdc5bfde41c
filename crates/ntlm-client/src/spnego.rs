//! The few lines of DER that wrap a client's NTLMSSP messages for `Negotiate` (RFC 4178 §4.2).

/// The object identifier of SPNEGO, as DER.
pub const SPNEGO: &[u8] = &[0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
/// The object identifier of NTLMSSP, as DER.
pub const NTLMSSP: &[u8] = &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a];

/// A `NegTokenInit` that offers NTLMSSP alone (RFC 4178 §4.2.1).
#[must_use]
pub fn init(message: &[u8]) -> Vec<u8> {
    let mechanisms = tlv(0xa0, &tlv(0x30, NTLMSSP));
    let token = tlv(0xa2, &tlv(0x04, message));
    let fields = tlv(0xa0, &tlv(0x30, &[mechanisms, token].concat()));
    tlv(0x60, &[SPNEGO, &fields].concat())
}

/// A `NegTokenInit` that offers NTLMSSP alone, and does not begin it: `mechToken` is optional.
#[must_use]
pub fn offer() -> Vec<u8> {
    let fields = tlv(0xa0, &tlv(0x30, &tlv(0xa0, &tlv(0x30, NTLMSSP))));
    tlv(0x60, &[SPNEGO, &fields].concat())
}

/// A `NegTokenResp` with a `responseToken` and nothing else (RFC 4178 §4.2.2).
#[must_use]
pub fn resp(message: &[u8]) -> Vec<u8> {
    tlv(0xa1, &tlv(0x30, &tlv(0xa2, &tlv(0x04, message))))
}

/// An element of DER: tag, length and content.
#[must_use]
pub fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let octets = content.len().to_be_bytes();
    let first = octets.iter().position(|&octet| octet != 0).unwrap_or(octets.len());
    let significant = octets.get(first..).unwrap_or_default();
    let mut bytes = vec![tag];
    if content.len() >= 0x80 {
        // At most eight octets.
        bytes.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
    }
    bytes.extend_from_slice(if content.is_empty() { &[0] } else { significant });
    bytes.extend_from_slice(content);
    bytes
}
