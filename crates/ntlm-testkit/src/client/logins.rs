//! Logins over the one connection of a client that speaks HTTP/1.1.
//!
//! The client must never log in over another connection.

use super::http1::Client;
use super::login::must_be_in;
use super::{Login, Request, Response, Scheme, kerberos_token};
use crate::password_of;

impl Client {
    /// Logs in by NTLM with the user's own password and returns all responses; panics unless the last one serves `user`.
    pub async fn login(&mut self, user: &str, path: &str) -> Vec<Response> {
        let responses = self.login_with("NTLM", user, &password_of(user), path).await;
        must_be_in(user, &responses);
        responses
    }

    /// Tries to log in, and returns all responses, however it ends.
    pub async fn login_with(
        &mut self,
        scheme: impl Into<Scheme>,
        user: &str,
        password: &str,
        path: &str,
    ) -> Vec<Response> {
        self.login_as(Login::new(scheme, user, password), Request::get(path)).await
    }

    /// Drives `login`, with `request` on each leg, and returns all responses, however it ends.
    pub async fn login_as(&mut self, login: Login, request: Request) -> Vec<Response> {
        let field = login.field();
        login.drive(async |value| self.request(request.clone().header(field, value)).await).await
    }

    /// Logs in by a simulated Kerberos ticket: one leg.
    pub async fn login_in_one_leg(&mut self, user: &str, path: &str) -> Response {
        let value = format!("Negotiate {}", kerberos_token(user, &password_of(user)));
        self.get_with(path, "Authorization", &value).await
    }

    /// The first leg of an NTLM login of `user`, alone.
    pub async fn leg1(&mut self, user: &str, path: &str) -> Response {
        let mut login = Login::new("NTLM", user, &password_of(user));
        let value = login.first();
        self.login = Some(login);
        self.get_with(path, "Authorization", &value).await
    }

    /// The last leg of the login [`Self::leg1`] began; `challenge` is the response to that, or another one's.
    pub async fn leg3(&mut self, challenge: &Response, path: &str) -> Response {
        let mut login = self.login.take().expect("leg1 comes before leg3");
        let value = login.next(challenge).unwrap_or_else(|| panic!("no challenge in {challenge:?}"));
        self.get_with(path, "Authorization", &value).await
    }
}
