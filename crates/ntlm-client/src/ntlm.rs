//! The messages of a client (MS-NLMP), by way of `sspi`: an implementation that shares no line with the test kit's origin.
//!
//! Must never print a message or a password.

use std::fmt;

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
    #[must_use]
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

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Context {
    /// A context; `end_point` is the channel binding of the TLS connection, where one is to be sent.
    ///
    /// # Errors
    /// A sentence, when the user's name is none.
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
    ///
    /// # Errors
    /// The words of `sspi`, when `challenge` is no CHALLENGE message.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_three_forms_are_taken() {
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
