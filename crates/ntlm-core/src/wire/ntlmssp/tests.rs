//! Messages of NTLMSSP, whole and broken.

use proptest::prelude::*;

use super::*;

/// An AUTHENTICATE message with its payload in the order of `parts`: LM, NT, domain, user, workstation.
pub(crate) fn authenticate(flags: u32, parts: [&[u8]; 5]) -> Vec<u8> {
    let mut message = [&b"NTLMSSP\0"[..], &3_u32.to_le_bytes()].concat();
    let mut offset = 72_u32;
    for part in parts {
        let length = u16::try_from(part.len()).unwrap().to_le_bytes();
        message.extend([length, length].concat());
        message.extend(offset.to_le_bytes());
        offset += u32::try_from(part.len()).unwrap();
    }
    message.extend([0; 8]);
    message.extend(flags.to_le_bytes());
    message.extend([10, 0, 0x7c, 0x4f, 0, 0, 0, 15]);
    parts.iter().for_each(|part| message.extend(*part));
    message
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn names(identity: Identity) -> [String; 3] {
    [identity.user, identity.domain, identity.workstation].map(|name| name.shown(256).to_string())
}

#[test]
fn the_response_tells_the_version() {
    for (lm, nt, expected) in [
        (24, 24, Some(Mechanism::NtlmV1)),
        (24, 25, Some(Mechanism::NtlmV2)),
        (0, 300, Some(Mechanism::NtlmV2)),
        (24, 0, Some(Mechanism::NtlmV1)),
        (24, 23, None),
        (24, 1, None),
    ] {
        let message = authenticate(1, [&vec![1; lm], &vec![2; nt], b"", b"a\0", b""]);
        assert_eq!(Authenticate::read(&message).map(|read| read.mechanism), expected, "{lm} {nt}");
    }
}

#[test]
fn names_have_the_character_set_of_the_flags() {
    let (user, domain) = (utf16("Zoë"), utf16("EXAMPLE"));
    let message = authenticate(0x201, [&[0; 24], &[0; 40], &domain, &user, &[]]);
    let read = Authenticate::read(&message).unwrap();
    assert_eq!(names(read.identity), ["Zoë", "EXAMPLE", ""]);
    assert_eq!(read.version, None);
    let message = authenticate(0x200_0002, [&[0; 24], &[0; 40], b"EXAMPLE", b"alice", b"PC7"]);
    let read = Authenticate::read(&message).unwrap();
    assert_eq!(names(read.identity), ["alice", "EXAMPLE", "PC7"]);
    assert_eq!(read.version.unwrap().to_string(), "10.0.20348");
}

#[test]
fn ascii_called_unicode_is_read_as_ascii() {
    for (user, nt, expected) in
        [(&b"alice"[..], 24, "alice"), (b"carol1", 24, "carol1"), (b"alice", 40, "alice"), (b"a\0", 24, "a")]
    {
        let message = authenticate(1, [&[0; 24], &vec![0; nt], b"", user, b""]);
        assert_eq!(names(Authenticate::read(&message).unwrap().identity)[0], expected);
    }
    let user = utf16("汩捥");
    let message = authenticate(1, [&[0; 24], &[0; 40], b"", &user, b""]);
    assert_eq!(names(Authenticate::read(&message).unwrap().identity)[0], "汩捥");
}

#[test]
fn a_user_principal_name_stays_whole() {
    let message = authenticate(2, [&[0; 24], &[0; 40], b"", b"alice@corp.example", b""]);
    assert_eq!(names(Authenticate::read(&message).unwrap().identity), ["alice@corp.example", "", ""]);
}

#[test]
fn an_anonymous_login_names_nobody() {
    // The server checks no name for which there is no response, so that one could claim any.
    for (flags, lm, user) in [(2, &b""[..], &b"admin"[..]), (2, b"\0", b"admin"), (0x802, b"\0", b"")] {
        let read = authenticate(flags, [lm, b"", b"EXAMPLE", user, b"PC7"]);
        let read = Authenticate::read(&read).unwrap();
        assert!(read.anonymous);
        assert_eq!(names(read.identity), ["", "", "PC7"]);
    }
    // A name that the server does check is not hidden by a flag.
    let read = authenticate(0x802, [&[0; 24], &[0; 40], b"EXAMPLE", b"alice", b"PC7"]);
    let read = Authenticate::read(&read).unwrap();
    assert!(!read.anonymous);
    assert_eq!(names(read.identity), ["alice", "EXAMPLE", "PC7"]);
    let read = authenticate(2, [&[0; 24], b"", b"EXAMPLE", b"alice", b""]);
    assert!(!Authenticate::read(&read).unwrap().anonymous);
}

#[test]
fn fields_outside_the_message_are_refused() {
    let good = authenticate(2, [&[0; 24], &[0; 40], b"EXAMPLE", b"alice", b"PC7"]);
    assert!(Authenticate::read(&good).is_some());
    for field in [12, 20, 28, 36, 44] {
        for (length, offset) in [
            (5_u16, u32::MAX),
            (5, u32::MAX - 4),
            (u16::MAX, 0),
            (1, u32::try_from(good.len()).unwrap()),
            (2, u32::try_from(good.len()).unwrap() - 1),
        ] {
            let mut hostile = good.clone();
            hostile[field..field + 2].copy_from_slice(&length.to_le_bytes());
            hostile[field + 4..field + 8].copy_from_slice(&offset.to_le_bytes());
            assert_eq!(Authenticate::read(&hostile), None, "{field} {length} {offset}");
        }
        // An empty field may point anywhere.
        let mut empty = authenticate(2, [&[0; 24], &[0; 40], b"EXAMPLE", b"alice", b"PC7"]);
        empty[field..field + 2].copy_from_slice(&[0, 0]);
        empty[field + 4..field + 8].copy_from_slice(&[0xff; 4]);
        assert!(Authenticate::read(&empty).is_some());
    }
}

#[test]
fn short_messages_are_read_to_their_end() {
    let short = [&b"NTLMSSP\0\x01\0\0\0"[..], &0x3007_u32.to_le_bytes()].concat();
    let read = Negotiate::read(&short).unwrap();
    assert!(read.domain.is_empty() && read.workstation.is_empty() && read.version.is_none());
    let short = [&b"NTLMSSP\0\x02\0\0\0"[..], &[0; 8], &1_u32.to_le_bytes(), &[9; 8]].concat();
    assert!(Challenge::read(&short).is_some());
    assert!(Challenge::read(&short[..31]).is_none());
    // Windows 9x: the payload begins where the session key would be.
    let mut old = [&b"NTLMSSP\0\x03\0\0\0"[..]].concat();
    for (length, offset) in [(24_u16, 52_u32), (24, 52), (0, 0), (5, 76), (0, 0)] {
        old.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
        old.extend(offset.to_le_bytes());
    }
    old.extend([0; 24]);
    assert_eq!(Authenticate::read(&old), None);
    old.extend(b"alice");
    // 81 bytes: what would be the flags is a part of the response here, all 0.
    assert_eq!(names(Authenticate::read(&old).unwrap().identity), ["alice", "", ""]);
}

#[test]
fn the_first_message_may_name_domain_and_workstation() {
    let mut message = [&b"NTLMSSP\0\x01\0\0\0"[..], &0x200_3002_u32.to_le_bytes()].concat();
    message.extend([&[7, 0, 7, 0, 40, 0, 0, 0][..], &[3, 0, 3, 0, 47, 0, 0, 0]].concat());
    message.extend([6, 1, 0xb1, 0x1d, 0, 0, 0, 15]);
    message.extend(b"EXAMPLEPC7");
    let read = Negotiate::read(&message).unwrap();
    assert_eq!((read.domain, read.workstation), (Text::oem(b"EXAMPLE"), Text::oem(b"PC7")));
    assert_eq!(read.version.unwrap().to_string(), "6.1.7601");
    // Without the flags the fields mean nothing, wherever they point.
    message[12..16].copy_from_slice(&2_u32.to_le_bytes());
    message[16..32].fill(0xff);
    let read = Negotiate::read(&message).unwrap();
    assert!(read.domain.is_empty() && read.workstation.is_empty() && read.version.is_none());
}

#[test]
fn pairs_end_at_their_end_or_break() {
    let pair = |id: u16, value: &[u8]| {
        [&id.to_le_bytes()[..], &u16::try_from(value.len()).unwrap().to_le_bytes(), value].concat()
    };
    let time = 133_000_000_000_000_000_u64.to_le_bytes();
    let pairs =
        [pair(2, &utf16("EXAMPLE")), pair(1, &utf16("ORIGIN")), pair(7, &time), pair(6, &[2, 0, 0, 0])];
    let info = pairs.concat();
    let read = TargetInfo(&info);
    assert_eq!(read.netbios_domain(), Some(Text::unicode(&utf16("EXAMPLE"))));
    assert_eq!(read.netbios_computer(), Some(Text::unicode(&utf16("ORIGIN"))));
    assert_eq!((read.timestamp(), read.unix_time()), (Some(133_000_000_000_000_000), Some(1_655_526_400)));
    assert_eq!((read.flags(), read.dns_tree(), read.dns_domain()), (Some(2), None, None));
    // Bytes behind the end do not count.
    let info = [pair(0, &[]), pair(2, &utf16("EXAMPLE"))].concat();
    assert_eq!(TargetInfo(&info).netbios_domain(), None);
    let info = [pair(1, &utf16("A")), vec![2, 0, 0xff, 0xff, b'x']].concat();
    assert_eq!(TargetInfo(&info).netbios_domain(), None);
    assert!(TargetInfo(&info).netbios_computer().is_some());
    assert_eq!(TargetInfo(&pair(7, &[1, 2])).timestamp(), None);
    assert_eq!(TargetInfo(&pair(7, &[0xff; 8])).unix_time(), Some(1_833_029_933_770));
}

#[test]
fn no_password_material_is_shown() {
    let mut message = [&b"NTLMSSP\0\x02\0\0\0"[..], &[0; 8], &1_u32.to_le_bytes()].concat();
    message.extend([0xc7; 8]);
    let shown = format!("{:?}", Challenge::read(&message).unwrap());
    assert!(!shown.contains("c7") && !shown.contains("199"), "{shown}");
    let message = authenticate(2, [&[0xc7; 24], &[0xc7; 40], b"EXAMPLE", b"alice", b"PC7"]);
    let shown = format!("{:?}", Authenticate::read(&message).unwrap());
    assert!(shown.contains("alice") && !shown.contains("c7") && !shown.contains("199"), "{shown}");
}

proptest! {
    #[test]
    fn names_are_read_back(user: Vec<u8>, domain: Vec<u8>, workstation: Vec<u8>, nt in 25_usize..600) {
        let message = authenticate(1, [&[0; 24], &vec![7; nt], &domain, &user, &workstation]);
        let read = Authenticate::read(&message).unwrap();
        let halved = [&user, &domain, &workstation].iter().any(|name| name.len() % 2 == 1);
        let text = |bytes| if halved { Text::oem(bytes) } else { Text::unicode(bytes) };
        prop_assert_eq!(read.identity.user, text(&user));
        prop_assert_eq!(read.identity.domain, text(&domain));
        prop_assert_eq!(read.identity.workstation, text(&workstation));
    }
}

#[test]
fn response_of_version_2_repeats_the_target_information() {
    let mut pairs = Vec::new();
    for (id, value) in
        [(2_u16, &b"D\0"[..]), (1, b"C\0"), (6, &[2, 0, 0, 0]), (7, &9_u64.to_le_bytes()), (0, b"")]
    {
        pairs.extend(id.to_le_bytes());
        pairs.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        pairs.extend_from_slice(value);
    }
    let response = [&[1; 16][..], &[2; 28], &pairs, &[0; 4]].concat();
    let message = |nt: &[u8]| authenticate(1, [b"", nt, b"", b"a\0", b""]);
    let whole = message(&response);
    let read = Authenticate::read(&whole).unwrap().info;
    assert_eq!(read.timestamp(), Some(9));
    assert_eq!(read.names(), [Some(&b"C\0"[..]), Some(b"D\0"), None, None, None]);
    // A message that is cut off has no target information, and NTLMv1 repeats none.
    for length in [0, 24, 25, 43, 44, 47, 60] {
        let cut = message(&response[..length]);
        let read = Authenticate::read(&cut).unwrap().info;
        assert_eq!(read.timestamp(), None, "{length}");
        assert_eq!(read == TargetInfo::default(), length <= 44, "{length}");
    }
}
