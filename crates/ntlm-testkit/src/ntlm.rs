//! The client's side of NTLM, as the tests' users log in, and the base64 around it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

#[cfg(feature = "full")]
pub use self::client::NtlmClient;

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

#[cfg(feature = "full")]
mod client {
    use ntlm_client::ntlm::{Context, Credentials};

    /// One NTLM client context: good for one login.
    #[derive(Debug)]
    pub struct NtlmClient(Context);

    impl NtlmClient {
        /// A context for `user` of the domain `EXAMPLE`.
        #[must_use]
        pub fn new(user: &str, password: &str) -> Self {
            let credentials = Credentials {
                user: user.to_owned(),
                domain: crate::origin::DOMAIN.to_owned(),
                password: password.to_owned(),
            };
            Self(Context::new(&credentials, None).expect("a user name sspi can take"))
        }

        /// The NEGOTIATE message ("Type 1").
        #[must_use]
        pub fn negotiate(&mut self) -> Vec<u8> {
            self.authenticate(&[]).expect("an NTLM NEGOTIATE message")
        }

        /// The AUTHENTICATE message ("Type 3", NTLMv2) that answers `challenge`.
        ///
        /// # Errors
        /// When `challenge` is no CHALLENGE message.
        pub fn authenticate(&mut self, challenge: &[u8]) -> Result<Vec<u8>, String> {
            self.0.step(challenge, "origin.example")
        }
    }
}
