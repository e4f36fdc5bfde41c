//! Responses, with the facts that an origin of the test kit states in each.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A response, complete; its status, fields and body are those of [`ntlm_client::Response`].
#[derive(Clone, PartialEq, Eq)]
pub struct Response(ntlm_client::Response);

impl Deref for Response {
    type Target = ntlm_client::Response;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Response {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl From<ntlm_client::Response> for Response {
    fn from(response: ntlm_client::Response) -> Self {
        Self(response)
    }
}

impl Response {
    /// Who the origin served: `anonymous` or a user. Panics if no origin did.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.must("X-Identity")
    }

    /// The origin's connection. Panics if no origin answered.
    #[must_use]
    pub fn connection(&self) -> u64 {
        self.must("X-Connection").parse().expect("X-Connection is a number")
    }

    /// The how-manieth request on the origin's connection this was. Panics if no origin answered.
    #[must_use]
    pub fn request_number(&self) -> u64 {
        self.must("X-Request").parse().expect("X-Request is a number")
    }

    /// Which origin answered. Panics if none did.
    #[must_use]
    pub fn origin_name(&self) -> &str {
        self.must("X-Origin")
    }

    fn must(&self, name: &str) -> &str {
        self.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
