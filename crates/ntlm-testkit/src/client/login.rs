//! A login without its transport: which `Authorization` comes first, and which after each response.
//!
//! It must never send anything itself, nor decide that a login succeeded: that is for the test to say.

use std::collections::VecDeque;

use ntlm_client::spnego;

use super::Response;
use crate::ntlm::{NtlmClient, from_base64, to_base64};
use crate::origin::spnego::{Token, parse};
use crate::origin::{KERBEROS, ROUND};

/// How a login is spelled and wrapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scheme {
    spelling: String,
    spnego: bool,
}

impl Scheme {
    /// NTLM in SPNEGO, as browsers send it.
    #[must_use]
    pub fn spnego() -> Self {
        Self { spelling: "Negotiate".to_owned(), spnego: true }
    }
}

/// Bare NTLMSSP under a scheme of any spelling: `NTLM`, `Negotiate`, `ntlm`, …
impl From<&str> for Scheme {
    fn from(spelling: &str) -> Self {
        Self { spelling: spelling.to_owned(), spnego: false }
    }
}

/// The token of a simulated Kerberos ticket, in base64.
#[must_use]
pub fn kerberos_token(user: &str, password: &str) -> String {
    to_base64(&[KERBEROS, user.as_bytes(), b":", password.as_bytes()].concat())
}

/// One login on its way.
#[derive(Debug)]
pub struct Login {
    scheme: Scheme,
    ntlm: NtlmClient,
    rounds: VecDeque<String>,
    to_proxy: bool,
}

impl Login {
    /// The three legs of NTLM.
    #[must_use]
    pub fn new(scheme: impl Into<Scheme>, user: &str, password: &str) -> Self {
        Self {
            scheme: scheme.into(),
            ntlm: NtlmClient::new(user, password),
            rounds: VecDeque::new(),
            to_proxy: false,
        }
    }

    /// As [`Self::new`], with opaque rounds before: `legs` requests in all, 3 of them being the anonymous one and NTLM's two.
    #[must_use]
    pub fn in_legs(mut self, legs: usize) -> Self {
        self.rounds =
            (3..legs).map(|round| to_base64(&[ROUND, round.to_string().as_bytes()].concat())).collect();
        self
    }

    /// To a proxy: by 407, `Proxy-Authenticate` and `Proxy-Authorization`.
    #[must_use]
    pub fn to_proxy(mut self) -> Self {
        self.to_proxy = true;
        self
    }

    /// The field that the credentials are sent in.
    #[must_use]
    pub fn field(&self) -> &'static str {
        if self.to_proxy { "Proxy-Authorization" } else { "Authorization" }
    }

    /// The first `Authorization`.
    #[must_use]
    pub fn first(&mut self) -> String {
        match self.rounds.pop_front() {
            Some(round) => format!("{} {round}", self.scheme.spelling),
            None => {
                let message = self.ntlm.negotiate();
                self.spell(if self.scheme.spnego { spnego::init(&message) } else { message })
            }
        }
    }

    /// The `Authorization` that follows `response`; `None` if the login ends there, well or not.
    #[must_use]
    pub fn next(&mut self, response: &Response) -> Option<String> {
        let (asks, challenge) =
            if self.to_proxy { (407, "Proxy-Authenticate") } else { (401, "WWW-Authenticate") };
        if response.status != asks {
            return None;
        }
        let token = response.all(challenge).find_map(|value| {
            let (scheme, token) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case(&self.scheme.spelling).then(|| from_base64(token.trim()))?
        })?;
        if token.starts_with(b"ROUND-REPLY:") {
            return Some(self.first());
        }
        let challenge = match parse(&token) {
            Some(Token::Resp(challenge)) => challenge?,
            Some(Token::Init { .. }) => return None,
            None => token,
        };
        let message = self.ntlm.authenticate(&challenge).ok()?;
        Some(self.spell(if self.scheme.spnego { spnego::resp(&message) } else { message }))
    }

    /// Sends each `Authorization` by `send`, and returns all responses, however the login ends.
    pub(super) async fn drive(mut self, mut send: impl AsyncFnMut(&str) -> Response) -> Vec<Response> {
        let mut responses = Vec::new();
        let mut authorization = Some(self.first());
        while let Some(value) = authorization {
            let response = send(&value).await;
            authorization = self.next(&response);
            responses.push(response);
        }
        responses
    }

    fn spell(&self, token: Vec<u8>) -> String {
        format!("{} {}", self.scheme.spelling, to_base64(&token))
    }
}

/// Panics unless the last of `responses` serves `user`.
pub(super) fn must_be_in(user: &str, responses: &[Response]) {
    let last = responses.last().expect("a login has at least one response");
    assert!(
        last.status != 401 && last.get("X-Identity") == Some(user),
        "{user} is not logged in; the responses were:\n{responses:#?}"
    );
}
