//! The client's side of NTLM (MS-NLMP), by way of `sspi`: an implementation that shares no line with the origin's.
//!
//! It must never print a token or a password.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sspi::{
    AuthIdentity, AuthIdentityBuffers, BufferType, ClientRequestFlags, CredentialUse, DataRepresentation,
    Ntlm, SecurityBuffer, Sspi, SspiImpl, Username,
};

/// One NTLM client context: good for one login.
pub struct NtlmClient {
    context: Ntlm,
    credentials: Option<AuthIdentityBuffers>,
}

impl fmt::Debug for NtlmClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NtlmClient").finish_non_exhaustive()
    }
}

impl NtlmClient {
    /// A context for `user` of the domain `EXAMPLE`.
    #[must_use]
    pub fn new(user: &str, password: &str) -> Self {
        let username = Username::new(user, Some(crate::origin::DOMAIN)).expect("a user name sspi can take");
        let identity = AuthIdentity { username, password: password.to_owned().into() };
        let mut context = Ntlm::new();
        let credentials = context
            .acquire_credentials_handle()
            .with_credential_use(CredentialUse::Outbound)
            .with_auth_data(&identity)
            .execute(&mut context)
            .expect("an NTLM credentials handle")
            .credentials_handle;
        Self { context, credentials }
    }

    /// The NEGOTIATE message ("Type 1").
    #[must_use]
    pub fn negotiate(&mut self) -> Vec<u8> {
        self.step(Vec::new()).expect("an NTLM NEGOTIATE message")
    }

    /// The AUTHENTICATE message ("Type 3", NTLMv2) that answers `challenge`.
    ///
    /// # Errors
    /// When `challenge` is no CHALLENGE message.
    pub fn authenticate(&mut self, challenge: &[u8]) -> Result<Vec<u8>, sspi::Error> {
        self.step(challenge.to_vec())
    }

    fn step(&mut self, token: Vec<u8>) -> Result<Vec<u8>, sspi::Error> {
        let mut input = [SecurityBuffer::new(token, BufferType::Token)];
        let mut output = vec![SecurityBuffer::new(Vec::new(), BufferType::Token)];
        let mut builder = self
            .context
            .initialize_security_context()
            .with_credentials_handle(&mut self.credentials)
            .with_context_requirements(ClientRequestFlags::ALLOCATE_MEMORY)
            .with_target_data_representation(DataRepresentation::Native)
            .with_target_name("HTTP/origin.example")
            .with_input(&mut input)
            .with_output(&mut output);
        self.context.initialize_security_context_impl(&mut builder)?.resolve_to_result()?;
        Ok(output.swap_remove(0).buffer)
    }
}

/// Base64 as `Authorization` carries it.
#[must_use]
pub fn to_base64(token: &[u8]) -> String {
    STANDARD.encode(token)
}

/// The reverse of [`to_base64`]; `None` if it is not base64.
#[must_use]
pub fn from_base64(token: &str) -> Option<Vec<u8>> {
    STANDARD.decode(token).ok()
}
