//! The clients of HTTP/2 and HTTP/3: many requests at a time over one connection.
//!
//! Methods take `&self`: `tokio::join!` runs streams side by side.

use std::fmt::Display;

use super::login::must_be_in;
use super::{Login, Request, Response, Scheme};
use crate::{password_of, within};

/// A connection that carries streams.
pub trait Streams {
    /// How a request ends without a response.
    type Error: Display;

    /// Sends `request` on a stream of its own and reads the response.
    fn exchange(&self, request: Request) -> impl Future<Output = Result<Response, Self::Error>> + Send;
}

/// A client with one connection, which never opens a second one.
#[derive(Debug)]
pub struct Client<S> {
    pub(super) streams: S,
}

impl<S: Streams> Client<S> {
    /// GET.
    pub async fn get(&self, target: &str) -> Response {
        self.request(Request::get(target)).await
    }

    /// GET with one more field.
    pub async fn get_with(&self, target: &str, name: &str, value: &str) -> Response {
        self.request(Request::get(target).header(name, value)).await
    }

    /// Sends `request` on a stream of its own and reads the response; panics if there is none.
    pub async fn request(&self, request: Request) -> Response {
        let what = format!("{} {}", request.method, request.target);
        self.try_request(request).await.unwrap_or_else(|error| panic!("no answer to {what}: {error}"))
    }

    /// Sends `request` on a stream of its own and reads the response.
    ///
    /// # Errors
    /// When stream or connection end before the response does.
    pub async fn try_request(&self, request: Request) -> Result<Response, S::Error> {
        let what = format!("no answer to {} {}", request.method, request.target);
        within(self.streams.exchange(request), || what).await
    }

    /// Logs in by NTLM and returns all responses; panics unless the last one serves `user`.
    pub async fn login(&self, user: &str, path: &str) -> Vec<Response> {
        let responses = self.login_with("NTLM", user, &password_of(user), path).await;
        must_be_in(user, &responses);
        responses
    }

    /// Tries to log in, and returns all responses, however it ends.
    pub async fn login_with(
        &self,
        scheme: impl Into<Scheme>,
        user: &str,
        password: &str,
        path: &str,
    ) -> Vec<Response> {
        let login = Login::new(scheme, user, password);
        login.drive(async |value| self.get_with(path, "Authorization", value).await).await
    }
}
