//! Alice's and Bob's side of a login by NTLMv2 (MS-NLMP 3.3.2), in few lines: `sspi`, with which the tests log in, is two thirds
//! of what a first build would compile.
//!
//! This code must never be given another person's password: it answers the challenges of the demonstration's own server.

use md4::{Digest as _, Md4};

use crate::Response;
use crate::ntlm::{from_base64, to_base64};
use crate::origin::DOMAIN;
use crate::origin::ntlm::{SIGNATURE, field_at, filetime, hmac_md5, utf16};

/// UNICODE, REQUEST_TARGET, NTLM, ALWAYS_SIGN, EXTENDED_SESSIONSECURITY, TARGET_INFO (MS-NLMP 2.2.2.5).
const FLAGS: u32 = 0x0088_8205;

/// `Authorization` with the NEGOTIATE message.
pub(super) fn first() -> String {
    let message = [&SIGNATURE[..], &1u32.to_le_bytes(), &FLAGS.to_le_bytes(), &[0; 16]].concat();
    format!("NTLM {}", to_base64(&message))
}

/// `Authorization` with the AUTHENTICATE message that answers the challenge in `response`; `None` if there is none.
pub(super) fn answer(response: &Response, user: &str, password: &str) -> Option<String> {
    let challenge = response
        .all("WWW-Authenticate")
        .find_map(|value| value.strip_prefix("NTLM "))
        .and_then(|token| from_base64(token.trim()))?;
    let (nonce, target_info) = (challenge.get(24..32)?, field_at(&challenge, 40)?);
    // NTLMv2_CLIENT_CHALLENGE (MS-NLMP 2.2.2.7).
    let mut random = [0; 8];
    getrandom::fill(&mut random).ok()?;
    let time = filetime(0).to_le_bytes();
    let blob = [&[1, 1, 0, 0, 0, 0, 0, 0], &time[..], &random, &[0; 4], target_info, &[0; 4]].concat();

    let nt_hash = Md4::digest(utf16(password));
    let key = hmac_md5(&nt_hash, &[&utf16(&user.to_uppercase()), &utf16(DOMAIN)]);
    let nt_response = [&hmac_md5(&key, &[nonce, &blob])[..], &blob].concat();
    let fields = [vec![0; 24], nt_response, utf16(DOMAIN), utf16(user), Vec::new(), Vec::new()];

    let mut message = [&SIGNATURE[..], &3u32.to_le_bytes()].concat();
    let mut offset = 64;
    for field in &fields {
        let length = u16::try_from(field.len()).ok()?;
        message.extend([length.to_le_bytes(), length.to_le_bytes()].concat());
        message.extend(u32::to_le_bytes(offset));
        offset += u32::from(length);
    }
    message.extend(FLAGS.to_le_bytes());
    message.extend(fields.concat());
    Some(format!("NTLM {}", to_base64(&message)))
}
