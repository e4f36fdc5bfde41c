//! The client's side of NTLM, by way of `sspi`, and the few bytes of SPNEGO around it.
//!
//! It must never print a message or the password.

use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse, DataRepresentation,
    Ntlm, SecurityBuffer, Sspi as _, SspiImpl as _, Username,
};

/// Who logs in.
#[derive(Clone)]
pub struct Credentials {
    /// As the AUTHENTICATE message names it.
    pub user: String,
    /// May be empty.
    pub domain: String,
    /// Secret.
    pub password: String,
}

impl Credentials {
    /// `DOMAIN\user`, or the user alone.
    pub fn account(&self) -> String {
        if self.domain.is_empty() { self.user.clone() } else { format!("{}\\{}", self.domain, self.user) }
    }

    fn identity(&self) -> Result<AuthIdentity, String> {
        let username = match (self.domain.is_empty(), self.user.split_once('@')) {
            (true, Some((account, suffix))) => Username::new_upn(account, suffix),
            _ => Username::new_down_level_logon_name(&self.user, &self.domain),
        };
        let username = username.map_err(|_| {
            format!("\"{}\" is no user name: write alice, DOMAIN\\alice or alice@example.com", self.account())
        })?;
        Ok(AuthIdentity { username, password: self.password.clone().into() })
    }
}

/// One NTLM client context: good for one login.
pub struct Context {
    context: Ntlm,
    credentials: Option<AuthIdentityBuffers>,
}

impl Context {
    /// A context; `end_point` is the channel binding of the TLS connection, where one is to be sent.
    pub fn new(credentials: &Credentials, end_point: Option<&[u8]>) -> Result<Self, String> {
        let identity = credentials.identity()?;
        let mut context = Ntlm::new();
        if let Some(end_point) = end_point {
            context.set_channel_bindings(end_point);
        }
        let credentials = context
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&identity)
            .execute(&mut context)
            .map_err(|error| error.to_string())?
            .credentials_handle;
        Ok(Self { context, credentials })
    }

    /// The NEGOTIATE message for an empty `challenge`, else the AUTHENTICATE message that answers it.
    pub fn step(&mut self, challenge: &[u8], host: &str) -> Result<Vec<u8>, String> {
        let mut input = [SecurityBuffer::new(challenge.to_vec(), BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let target = format!("HTTP/{host}");
        let mut builder = self
            .context
            .initialize_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(ClientRequestFlags::ALLOCATE_MEMORY)
            .with_target_data_representation(DataRepresentation::Native)
            .with_target_name(&target)
            .with_input(&mut input)
            .with_output(&mut output);
        let step = self.context.initialize_security_context_impl(&mut builder);
        step.and_then(|mut step| step.resolve_to_result()).map_err(|error| error.to_string())?;
        Ok(output.pop().map(|output| output.buffer).unwrap_or_default())
    }
}

const SPNEGO: &[u8] = &[0x06, 0x06, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x02];
const NTLMSSP: &[u8] = &[0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x02, 0x0a];

/// A `NegTokenInit` that offers NTLMSSP alone (RFC 4178 §4.2.1).
pub fn spnego_init(message: &[u8]) -> Vec<u8> {
    let mechanisms = tlv(0xa0, &tlv(0x30, NTLMSSP));
    let token = tlv(0xa2, &tlv(0x04, message));
    let fields = tlv(0xa0, &tlv(0x30, &[mechanisms, token].concat()));
    tlv(0x60, &[SPNEGO, &fields].concat())
}

/// A `NegTokenResp` (RFC 4178 §4.2.2).
pub fn spnego_resp(message: &[u8]) -> Vec<u8> {
    tlv(0xa1, &tlv(0x30, &tlv(0xa2, &tlv(0x04, message))))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ntlm_core::spnego::{Inner, unwrap};

    #[test]
    fn what_is_wrapped_is_found_again() {
        for length in [16, 100, 128, 255, 256, 5000, 70_000] {
            let mut message = b"NTLMSSP\0\x01\0\0\0".to_vec();
            message.resize(length, 7);
            assert_eq!(unwrap(&spnego_init(&message)), Inner::Ntlmssp(&message));
            assert_eq!(unwrap(&spnego_resp(&message)), Inner::Ntlmssp(&message));
        }
        assert_eq!(tlv(4, b""), [4, 0]);
    }

    #[test]
    fn names_are_taken_in_their_three_forms() {
        let credentials = |user: &str, domain: &str| Credentials {
            user: user.to_owned(),
            domain: domain.to_owned(),
            password: String::new(),
        };
        for (user, domain) in
            [("alice", ""), ("alice", "EXAMPLE"), ("alice@example.com", ""), ("Zoë", "EXAMPLE")]
        {
            assert!(Context::new(&credentials(user, domain), None).is_ok(), "{user} {domain}");
        }
        assert!(Context::new(&credentials("a\\b", "EXAMPLE"), None).is_err());
    }
}
