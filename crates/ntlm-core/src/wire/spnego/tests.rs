//! Tokens of SPNEGO, whole and broken.

use super::*;

const NTLM: &[u8] = b"NTLMSSP\0\x01\0\0\0\x07\x82\x08\xa2";
const NTLMSSP_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a];
const NEGOEX_OID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x1e];

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[tag, 0x82][..], &length, content].concat()
}

fn gss(oid: &[u8], content: &[u8]) -> Vec<u8> {
    tlv(tag::GSS, &[&tlv(tag::OID, oid), content].concat())
}

fn init(mechanisms: &[&[u8]], token: Option<&[u8]>) -> Vec<u8> {
    let list: Vec<u8> = mechanisms.iter().flat_map(|oid| tlv(tag::OID, oid)).collect();
    let mut fields = tlv(0xa0, &tlv(tag::SEQUENCE, &list));
    if let Some(token) = token {
        fields.extend(tlv(0xa2, &tlv(tag::OCTET_STRING, token)));
    }
    // negHints and mechListMIC
    fields.extend(tlv(0xa3, &tlv(tag::SEQUENCE, &tlv(0xa0, b"not_defined_in_RFC4178"))));
    gss(oid::SPNEGO, &tlv(0xa0, &tlv(tag::SEQUENCE, &fields)))
}

fn resp(token: &[u8]) -> Vec<u8> {
    let state = tlv(0xa0, &[0x0a, 1, 1]);
    let fields = [state, tlv(0xa2, &tlv(tag::OCTET_STRING, token)), tlv(0xa3, &[4, 1, 0])].concat();
    tlv(0xa1, &tlv(tag::SEQUENCE, &fields))
}

fn ap_req() -> Vec<u8> {
    [&[1, 0][..], &tlv(tag::AP_REQ, &[0x30, 0])].concat()
}

#[test]
fn a_bare_token_says_what_it_is() {
    assert_eq!(unwrap(NTLM), Inner::Ntlmssp(NTLM));
    for oid in [oid::KERBEROS, oid::MS_KERBEROS, oid::KERBEROS_U2U] {
        assert_eq!(unwrap(&gss(oid, &ap_req())), Inner::Kerberos);
    }
    assert_eq!(unwrap(&tlv(tag::AP_REQ, &[0x30, 0])), Inner::Kerberos);
    assert_eq!(unwrap(&gss(oid::IAKERB, &[5, 1])), Inner::IaKerb);
    for other in
        [&b""[..], b"NTLMSSP", b"NTLMSSP\0", b"NTLMSSP\0\x04\0\0\0", b"NEGOEXTS", &[0x60], &[0x60, 0]]
    {
        assert_eq!(unwrap(other), Inner::Other, "{other:?}");
    }
    assert_eq!(unwrap(&gss(&[0x2b, 1], &[0; 8])), Inner::Other);
}

#[test]
fn first_token_of_a_negotiation_decides() {
    let all = [oid::MS_KERBEROS, oid::KERBEROS, NEGOEX_OID, NTLMSSP_OID, oid::IAKERB];
    for (token, expected) in [
        (gss(oid::KERBEROS, &ap_req()), Inner::Kerberos),
        (gss(oid::IAKERB, &[5, 1]), Inner::IaKerb),
        (NTLM.to_vec(), Inner::Ntlmssp(NTLM)),
        (b"NEGOEXTS\0\0\0\0\0\0\0\0".to_vec(), Inner::Other),
        (b"".to_vec(), Inner::Other),
    ] {
        assert_eq!(unwrap(&init(&all, Some(&token))), expected);
        // Without its frame.
        let framed = init(&all, Some(&token));
        let inner = framed.windows(2).position(|window| window == [0xa0, 0x82]).unwrap();
        assert_eq!(unwrap(&framed[inner..]), expected);
    }
    assert_eq!(unwrap(&init(&all, None)), Inner::Other);
    // An NTLM message within the frame of another mechanism.
    let mut foreign = init(&all, Some(NTLM));
    let spnego = foreign.windows(6).position(|window| window == oid::SPNEGO).unwrap();
    foreign[spnego + 5] = 0x7f;
    assert_eq!(unwrap(&foreign), Inner::Other);
    assert_eq!(unwrap(&init(&[NTLMSSP_OID], Some(NTLM))), Inner::Ntlmssp(NTLM));
}

#[test]
fn a_later_token_is_found_too() {
    assert_eq!(unwrap(&resp(NTLM)), Inner::Ntlmssp(NTLM));
    assert_eq!(unwrap(&resp(&gss(oid::IAKERB, &[5, 1]))), Inner::IaKerb);
    assert_eq!(unwrap(&resp(&[0x6f, 0])), Inner::Other);
}

#[test]
fn ambiguous_token_is_not_read() {
    let token = |content: &[u8]| tlv(0xa2, &tlv(tag::OCTET_STRING, content));
    let other = [NTLM, b"x"].concat();
    for fields in [
        [token(NTLM), token(&other)].concat(),
        [tlv(0xa3, b""), token(NTLM)].concat(),
        [token(NTLM), tlv(0xa0, b"")].concat(),
        [token(NTLM), vec![0x04, 0x80, 0, 0]].concat(),
    ] {
        assert_eq!(unwrap(&tlv(0xa1, &tlv(tag::SEQUENCE, &fields))), Inner::Other, "{fields:?}");
    }
    // A token of another type than OCTET STRING.
    assert_eq!(unwrap(&tlv(0xa1, &tlv(tag::SEQUENCE, &tlv(0xa2, &tlv(0x0c, NTLM))))), Inner::Other);
}

#[test]
fn token_is_told_by_its_start() {
    let ticket = gss(oid::KERBEROS, &[&ap_req()[..], &[0x5a; 60_000]].concat());
    let whole = init(&[oid::MS_KERBEROS, oid::KERBEROS, NEGOEX_OID, NTLMSSP_OID], Some(&ticket));
    assert_eq!(unwrap(&whole), Inner::Kerberos);
    assert_eq!(unwrap(&whole[..192]), Inner::Kerberos);
    // Cut anywhere, it is never taken for something else.
    for end in 0..192 {
        assert!(matches!(unwrap(&whole[..end]), Inner::Kerberos | Inner::Other));
    }
}
