//! The server's side of NTLM: a CHALLENGE, and the check of the AUTHENTICATE message that answers it (MS-NLMP 2.2.1, 3.3.2).
//!
//! The NTLMv2 proof is recomputed from the password: a message that merely looks right must never log a user in.
//! (The acceptor of `sspi` compares the MIC only, which curl does not send.) NTLMv1 is refused.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use md4::{Digest as _, Md4};
use md5::Md5;

/// The domain of every user.
pub const DOMAIN: &str = "EXAMPLE";
pub(crate) const SIGNATURE: &[u8; 8] = b"NTLMSSP\0";

const UNICODE: u32 = 0x0000_0001;
const OEM: u32 = 0x0000_0002;
const REQUEST_TARGET: u32 = 0x0000_0004;
const NTLM: u32 = 0x0000_0200;
const ALWAYS_SIGN: u32 = 0x0000_8000;
const TARGET_TYPE_DOMAIN: u32 = 0x0001_0000;
const EXTENDED_SESSIONSECURITY: u32 = 0x0008_0000;
const TARGET_INFO: u32 = 0x0080_0000;
const VERSION: u32 = 0x0200_0000;
/// Flags that the server grants to a client that asks for them: SIGN, SEAL, VERSION, 128, KEY_EXCH, 56.
const ECHOED: u32 = 0x0000_0010 | 0x0000_0020 | VERSION | 0x2000_0000 | 0x4000_0000 | 0x8000_0000;

/// The type of an NTLMSSP message; `None` if it is none.
pub(crate) fn message_type(token: &[u8]) -> Option<u32> {
    token.starts_with(SIGNATURE).then(|| u32_at(token, 8)).flatten()
}

/// How strictly a server checks the channel bindings of a login (Extended Protection; MS-NLMP 3.2.5.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Those that a client sends must be right.
    Allow,
    /// A client must send the right ones.
    Require,
}

/// The traits in which one server differs from another.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Its NetBIOS name.
    pub(crate) computer: String,
    /// How many seconds its clock is ahead.
    pub(crate) clock_ahead: i64,
    /// Extended Protection, with the hash of the channel bindings of its TLS.
    pub(crate) protection: Option<(Protection, [u8; 16])>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { computer: "ORIGIN".to_owned(), clock_ahead: 0, protection: None }
    }
}

/// A CHALLENGE message, and what must be remembered of it.
#[derive(Debug)]
pub(crate) struct Challenge {
    pub(crate) message: Vec<u8>,
    pub(crate) nonce: [u8; 8],
}

/// Answers a NEGOTIATE message.
pub(crate) fn challenge(negotiate: &[u8], policy: &Policy) -> Challenge {
    let offered = u32_at(negotiate, 12).unwrap_or(UNICODE | NTLM);
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).expect("random bytes");
    let (charset, target) =
        if offered & UNICODE != 0 { (UNICODE, utf16(DOMAIN)) } else { (OEM, DOMAIN.as_bytes().to_vec()) };
    let flags = charset
        | REQUEST_TARGET
        | NTLM
        | ALWAYS_SIGN
        | TARGET_TYPE_DOMAIN
        | EXTENDED_SESSIONSECURITY
        | TARGET_INFO
        | (offered & ECHOED);

    let mut info = Vec::new();
    let mut pair = |id: u16, value: &[u8]| {
        info.extend(id.to_le_bytes());
        info.extend((value.len() as u16).to_le_bytes());
        info.extend_from_slice(value);
    };
    pair(2, &utf16(DOMAIN));
    pair(1, &utf16(&policy.computer));
    pair(4, &utf16("example.test"));
    pair(3, &utf16("origin.example.test"));
    pair(7, &filetime(policy.clock_ahead).to_le_bytes());
    pair(0, &[]);

    let mut message = Vec::with_capacity(56 + target.len() + info.len());
    message.extend_from_slice(SIGNATURE);
    message.extend(2u32.to_le_bytes());
    let field = |length: usize, offset: usize| {
        let length = (length as u16).to_le_bytes();
        [&length[..], &length, &(offset as u32).to_le_bytes()].concat()
    };
    message.extend(field(target.len(), 56));
    message.extend(flags.to_le_bytes());
    message.extend(nonce);
    message.extend([0; 8]);
    message.extend(field(info.len(), 56 + target.len()));
    message.extend([10, 0, 0x5d, 0x58, 0, 0, 0, 15]);
    message.extend(target);
    message.extend(info);
    Challenge { message, nonce }
}

/// The user an AUTHENTICATE message logs in: its name if the proof in it follows from `password_of` that name, its time is
/// not off by half an hour, and its channel bindings are as the policy wants them.
pub(crate) fn verify(
    authenticate: &[u8],
    nonce: &[u8; 8],
    policy: &Policy,
    password_of: impl FnOnce(&str) -> Option<String>,
) -> Option<String> {
    let response = field_at(authenticate, 20)?;
    let flags = u32_at(authenticate, 60)?;
    let text = |field: &[u8]| {
        if flags & UNICODE != 0 { from_utf16(field) } else { String::from_utf8_lossy(field).into_owned() }
    };
    let domain = text(field_at(authenticate, 28)?);
    let user = text(field_at(authenticate, 36)?);
    // 16 bytes of proof, and a client challenge of at least 28 (MS-NLMP 2.2.2.8): else it is NTLMv1, or anonymous.
    let (proof, blob) = response.split_at_checked(16)?;
    if user.is_empty() || blob.len() < 28 {
        return None;
    }
    // Where the server's time was off, the client's copy of it is: no domain controller takes that.
    let protected = policy.clock_ahead.unsigned_abs() <= 1800
        && match &policy.protection {
            None => true,
            Some((protection, expected)) => match bindings_in(blob) {
                Some(sent) if sent != [0; 16] => sent == expected,
                _ => *protection == Protection::Allow,
            },
        };
    if !protected {
        return None;
    }
    let nt_hash = Md4::digest(utf16(&password_of(&user)?));
    let key = hmac_md5(&nt_hash, &[&utf16(&user.to_uppercase()), &utf16(&domain)]);
    (hmac_md5(&key, &[nonce, blob]) == proof).then_some(user)
}

/// `MsvAvChannelBindings` of an NTLMv2_CLIENT_CHALLENGE (MS-NLMP 2.2.2.7), whose pairs follow 28 bytes.
fn bindings_in(blob: &[u8]) -> Option<&[u8]> {
    let mut rest = blob.get(28..)?;
    loop {
        let (head, after) = rest.split_at_checked(4)?;
        let (id, length) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        let (value, after) = after.split_at_checked(usize::from(length))?;
        match id {
            0 => return None,
            10 => return Some(value),
            _ => rest = after,
        }
    }
}

pub(crate) fn hmac_md5(key: &[u8], parts: &[&[u8]]) -> [u8; 16] {
    let mut mac = <Hmac<Md5>>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

pub(crate) fn field_at(message: &[u8], position: usize) -> Option<&[u8]> {
    let length = u16::from_le_bytes(message.get(position..position + 2)?.try_into().ok()?);
    let offset = u32_at(message, position + 4)? as usize;
    message.get(offset..offset.checked_add(usize::from(length))?)
}

fn u32_at(message: &[u8], position: usize) -> Option<u32> {
    Some(u32::from_le_bytes(message.get(position..position + 4)?.try_into().ok()?))
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn from_utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    String::from_utf16_lossy(&units)
}

/// Now, in steps of 100 ns since 1601, by a clock that is `ahead` seconds ahead.
pub(crate) fn filetime(ahead: i64) -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = since_1970.as_nanos() as u64 / 100 + 116_444_736_000_000_000;
    now.saturating_add_signed(ahead * 10_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ntlm::NtlmClient;

    #[test]
    fn only_the_right_password_answers_the_right_challenge() {
        let mut client = NtlmClient::new("alice", "alice-password");
        let policy = Policy::default();
        let challenge = challenge(&client.negotiate(), &policy);
        let answer = client.authenticate(&challenge.message).unwrap();
        let known = |user: &str| Some(crate::password_of(user));
        assert_eq!(verify(&answer, &challenge.nonce, &policy, known).as_deref(), Some("alice"));
        assert_eq!(verify(&answer, &challenge.nonce, &policy, |_| Some("other".into())), None);
        assert_eq!(verify(&answer, &challenge.nonce, &policy, |_| None), None);
        assert_eq!(verify(&answer, &[0; 8], &policy, known), None);
        assert_eq!(verify(&answer[..70], &challenge.nonce, &policy, known), None);
    }

    #[test]
    fn the_maths_are_those_of_the_specification() {
        // MS-NLMP 4.2.4.1.1: NTOWFv2 of "User", "Domain", "Password".
        let nt_hash = Md4::digest(utf16("Password"));
        let key = hmac_md5(&nt_hash, &[&utf16("USER"), &utf16("Domain")]);
        assert_eq!(key[..4], [0x0c, 0x86, 0x8a, 0x40]);
    }
}
