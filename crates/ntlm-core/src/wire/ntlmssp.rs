//! The three messages of NTLMSSP (MS-NLMP §2.2.1): what they say about who talks to whom.
//!
//! Offsets and lengths in them are hostile. What could help to attack a password (the challenge, the responses, keys) must
//! never leave this file: the structs do not have it.

use core::fmt;

use super::reader::Reader;
use crate::wire::mechanism::Mechanism;
use crate::wire::text::Text;

const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

/// `NegotiateFlags` (MS-NLMP §2.2.2.5).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// `NTLMSSP_NEGOTIATE_UNICODE`: names are in UTF-16LE.
    pub const UNICODE: Self = Self(1);
    /// `NTLMSSP_NEGOTIATE_ANONYMOUS`.
    pub const ANONYMOUS: Self = Self(0x800);
    /// `NTLMSSP_NEGOTIATE_OEM_DOMAIN_SUPPLIED`.
    pub const DOMAIN_SUPPLIED: Self = Self(0x1000);
    /// `NTLMSSP_NEGOTIATE_OEM_WORKSTATION_SUPPLIED`.
    pub const WORKSTATION_SUPPLIED: Self = Self(0x2000);
    /// `NTLMSSP_TARGET_TYPE_DOMAIN`: the target name is a domain's.
    pub const TARGET_IS_DOMAIN: Self = Self(0x1_0000);
    /// `NTLMSSP_TARGET_TYPE_SERVER`: the target name is a server's.
    pub const TARGET_IS_SERVER: Self = Self(0x2_0000);
    /// `NTLMSSP_NEGOTIATE_EXTENDED_SESSIONSECURITY`.
    pub const EXTENDED_SESSION_SECURITY: Self = Self(0x8_0000);
    /// `NTLMSSP_NEGOTIATE_TARGET_INFO`.
    pub const TARGET_INFO: Self = Self(0x80_0000);
    /// `NTLMSSP_NEGOTIATE_VERSION`.
    pub const VERSION: Self = Self(0x200_0000);

    /// All flags of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// `VERSION` (MS-NLMP §2.2.2.10): the operating system of the sender, as it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// `ProductMajorVersion`
    pub major: u8,
    /// `ProductMinorVersion`
    pub minor: u8,
    /// `ProductBuild`
    pub build: u16,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Which of the three messages this is; `None` if it is none.
pub fn message_type(message: &[u8]) -> Option<MessageType> {
    let mut reader = Reader::new(message);
    if reader.array()? != *SIGNATURE {
        return None;
    }
    Some(match reader.u32()? {
        1 => MessageType::Negotiate,
        2 => MessageType::Challenge,
        3 => MessageType::Authenticate,
        _ => return None,
    })
}

/// `MessageType` (MS-NLMP §2.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// The client's first message.
    Negotiate,
    /// The server's answer.
    Challenge,
    /// The client's second message.
    Authenticate,
}

/// NEGOTIATE (MS-NLMP §2.2.1.1). Few clients say more in it than their flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiate<'a> {
    /// The abilities of the client.
    pub flags: Flags,
    /// `DomainName`
    pub domain: Text<'a>,
    /// `Workstation`
    pub workstation: Text<'a>,
    /// `Version`
    pub version: Option<Version>,
}

impl<'a> Negotiate<'a> {
    /// Reads a whole message.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut reader = Body::of(message, MessageType::Negotiate)?;
        let flags = Flags(reader.u32()?);
        // Messages of old clients end here.
        let mut name = |supplied| match reader.field() {
            Some(name) if flags.contains(supplied) => name.bytes(message).map(Text::oem),
            _ => Some(Text::default()),
        };
        let domain = name(Flags::DOMAIN_SUPPLIED)?;
        let workstation = name(Flags::WORKSTATION_SUPPLIED)?;
        Some(Self { flags, domain, workstation, version: reader.version(flags) })
    }
}

/// CHALLENGE (MS-NLMP §2.2.1.2), without its challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The abilities that were agreed on.
    pub flags: Flags,
    /// `TargetName`: the server's domain, or its own name, in NetBIOS form.
    pub target: Text<'a>,
    /// `TargetInfo`
    pub info: TargetInfo<'a>,
    /// `Version`
    pub version: Option<Version>,
}

impl<'a> Challenge<'a> {
    /// Reads a whole message.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut reader = Body::of(message, MessageType::Challenge)?;
        let target = reader.field()?.bytes(message)?;
        let flags = Flags(reader.u32()?);
        reader.take(8)?;
        // Messages of old servers end here.
        let _reserved = reader.take(8);
        let info = match reader.field() {
            Some(info) if flags.contains(Flags::TARGET_INFO) => info.bytes(message)?,
            _ => &[],
        };
        let version = reader.version(flags);
        Some(Self { flags, target: name(flags, target), info: TargetInfo(info), version })
    }
}

/// `AV_PAIR`s (MS-NLMP §2.2.2.1). A server sends them in its CHALLENGE; the NTLMv2 response of the client repeats them, beside
/// others (MS-NLMP §3.1.5.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TargetInfo<'a>(&'a [u8]);

impl<'a> TargetInfo<'a> {
    /// Of pairs as they lie in a message.
    #[cfg(test)]
    pub(crate) fn of(pairs: &'a [u8]) -> Self {
        Self(pairs)
    }

    /// `MsvAvNbComputerName`
    pub fn netbios_computer(self) -> Option<Text<'a>> {
        self.value(1).map(Text::unicode)
    }

    /// `MsvAvNbDomainName`
    pub fn netbios_domain(self) -> Option<Text<'a>> {
        self.value(2).map(Text::unicode)
    }

    /// `MsvAvDnsComputerName`
    pub fn dns_computer(self) -> Option<Text<'a>> {
        self.value(3).map(Text::unicode)
    }

    /// `MsvAvDnsDomainName`
    pub fn dns_domain(self) -> Option<Text<'a>> {
        self.value(4).map(Text::unicode)
    }

    /// `MsvAvDnsTreeName`: the forest.
    pub fn dns_tree(self) -> Option<Text<'a>> {
        self.value(5).map(Text::unicode)
    }

    /// `MsvAvFlags`
    pub fn flags(self) -> Option<u32> {
        Reader::new(self.value(6)?).u32()
    }

    /// `MsvAvTimestamp`: the server's time, as a `FILETIME` (100 ns since 1601-01-01).
    pub fn timestamp(self) -> Option<u64> {
        Reader::new(self.value(7)?).array().map(u64::from_le_bytes)
    }

    /// [`Self::timestamp`] in seconds since 1970-01-01.
    pub fn unix_time(self) -> Option<i64> {
        let seconds = i64::try_from(self.timestamp()? / 10_000_000).ok()?;
        seconds.checked_sub(11_644_473_600)
    }

    /// The values of the names, in the order of their ids; `None` for one that is not there.
    pub fn names(self) -> [Option<&'a [u8]>; 5] {
        [1, 2, 3, 4, 5].map(|id| self.value(id))
    }

    fn value(self, id: u16) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.0);
        loop {
            let (found, length) = (reader.u16()?, reader.u16()?);
            let value = reader.take(length.into())?;
            match found {
                // MsvAvEOL
                0 => return None,
                _ if found == id => return Some(value),
                _ => {}
            }
        }
    }
}

impl fmt::Debug for TargetInfo<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TargetInfo")
            .field("netbios_computer", &self.netbios_computer())
            .field("netbios_domain", &self.netbios_domain())
            .field("dns_computer", &self.dns_computer())
            .field("dns_domain", &self.dns_domain())
            .field("dns_tree", &self.dns_tree())
            .field("timestamp", &self.timestamp())
            .finish_non_exhaustive()
    }
}

/// Who logs in, from where. The server checks user and domain; the name of the workstation is what the client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Identity<'a> {
    /// `UserName`; may be a user principal name (`alice@corp.example`), then without a domain.
    pub user: Text<'a>,
    /// `DomainName`
    pub domain: Text<'a>,
    /// `Workstation`
    pub workstation: Text<'a>,
}

/// AUTHENTICATE (MS-NLMP §2.2.1.3), without its responses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authenticate<'a> {
    /// The abilities that were agreed on; 0 in messages of clients so old that they have no such field.
    pub flags: Flags,
    /// Who logs in. User and domain are empty for an anonymous login, where the server does not check them.
    pub identity: Identity<'a>,
    /// A login without credentials (MS-NLMP §3.2.5.1.2).
    pub anonymous: bool,
    /// [`Mechanism::NtlmV1`] or [`Mechanism::NtlmV2`], by the form of the response (MS-NLMP §2.2.2.6, §2.2.2.8).
    pub mechanism: Mechanism,
    /// The target information of the challenge that it answers; empty in a response of version 1, which repeats none.
    pub info: TargetInfo<'a>,
    /// `Version`
    pub version: Option<Version>,
}

/// The length of LM_RESPONSE, LMv2_RESPONSE and NTLM_RESPONSE (MS-NLMP §2.2.2.3, §2.2.2.4, §2.2.2.6). An NTLMv2_RESPONSE
/// is longer. NTLMv1 with extended session security (an "NTLM2 session response") has the form of NTLMv1.
const RESPONSE: usize = 24;

/// Where `AvPairs` begin in an NTLMv2_RESPONSE: after `Response`, which has 16 bytes, and 28 bytes of the
/// NTLMv2_CLIENT_CHALLENGE (MS-NLMP §2.2.2.7, §2.2.2.8).
const PAIRS: usize = 16 + 28;

impl<'a> Authenticate<'a> {
    /// Reads a whole message.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let mut reader = Body::of(message, MessageType::Authenticate)?;
        let [lm, nt, domain, user, workstation] =
            [reader.field()?, reader.field()?, reader.field()?, reader.field()?, reader.field()?];
        // Messages of old clients end here, or after the session key.
        let _session_key = reader.field();
        let flags = Flags(reader.u32().unwrap_or(0));
        let version = reader.version(flags);

        let (lm, nt) = (lm.bytes(message)?, nt.bytes(message)?);
        let mechanism = match nt.len() {
            0 | RESPONSE => Mechanism::NtlmV1,
            length if length > RESPONSE => Mechanism::NtlmV2,
            _ => return None,
        };
        let pairs = if mechanism == Mechanism::NtlmV2 { nt.get(PAIRS..) } else { None };
        let info = TargetInfo(pairs.unwrap_or_default());
        let [user, domain, workstation] =
            [user.bytes(message)?, domain.bytes(message)?, workstation.bytes(message)?];
        // wget says Unicode and writes ASCII: half a character, or a name without a zero byte beside a response of version 1.
        let halved = [user, domain, workstation].iter().any(|name| name.len() % 2 != 0);
        let ascii =
            mechanism == Mechanism::NtlmV1 && !user.is_empty() && user.iter().all(u8::is_ascii_graphic);
        let text = |bytes| if halved || ascii { Text::oem(bytes) } else { name(flags, bytes) };
        let mut identity =
            Identity { user: text(user), domain: text(domain), workstation: text(workstation) };
        // The flag alone proves nothing: a server that is given a response checks it.
        let anonymous = nt.is_empty() && matches!(lm, [] | [0])
            || flags.contains(Flags::ANONYMOUS) && identity.user.is_empty();
        if anonymous {
            identity = Identity { workstation: identity.workstation, ..Identity::default() };
        }
        Some(Self { flags, identity, anonymous, mechanism, info, version })
    }
}

fn name(flags: Flags, bytes: &[u8]) -> Text<'_> {
    if flags.contains(Flags::UNICODE) { Text::unicode(bytes) } else { Text::oem(bytes) }
}

/// The bytes behind signature and type.
struct Body<'a>(Reader<'a>);

impl<'a> Body<'a> {
    fn of(message: &'a [u8], expected: MessageType) -> Option<Self> {
        if message_type(message)? != expected {
            return None;
        }
        let mut reader = Reader::new(message);
        reader.take(12)?;
        Some(Self(reader))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        self.0.take(count)
    }

    fn u32(&mut self) -> Option<u32> {
        self.0.u32()
    }

    fn field(&mut self) -> Option<Field> {
        let (length, _maximum, offset) = (self.0.u16()?, self.0.u16()?, self.0.u32()?);
        Some(Field { length, offset })
    }

    fn version(&mut self, flags: Flags) -> Option<Version> {
        if !flags.contains(Flags::VERSION) {
            return None;
        }
        Some(Version { major: self.0.u8()?, minor: self.0.u8()?, build: self.0.u16()? })
    }
}

/// `Len`, `MaxLen` and `BufferOffset`, which point into the payload.
#[derive(Clone, Copy)]
struct Field {
    length: u16,
    offset: u32,
}

impl Field {
    /// `None` if the message does not have these bytes. Where an empty one points does not matter.
    fn bytes(self, message: &[u8]) -> Option<&[u8]> {
        if self.length == 0 {
            return Some(&[]);
        }
        let start = usize::try_from(self.offset).ok()?;
        message.get(start..start.checked_add(self.length.into())?)
    }
}

#[cfg(test)]
mod tests;
