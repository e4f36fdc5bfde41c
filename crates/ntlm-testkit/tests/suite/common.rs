//! The front, the credentials and the verdicts that tests of several themes share.
//!
//! It must never hold a scenario: each test says its own.

use ntlm_testkit::client::{Login, kerberos_token};
use ntlm_testkit::{Nginx, Origin, Response, password_of};

/// An origin, and an nginx that passes everything to it by a group with the lines `group`.
pub(crate) async fn front(group: &str) -> (Origin, Nginx) {
    let origin = Origin::start().await;
    let nginx = Nginx::builder().in_front_of(&[&origin], group).start().await;
    (origin, nginx)
}

/// The login of `user` by NTLM, with the right password.
pub(crate) fn login_of(user: &str) -> Login {
    Login::new("NTLM", user, &password_of(user))
}

/// The `Authorization` of `user` by a ticket: one leg.
pub(crate) fn ticket_of(user: &str) -> String {
    format!("Negotiate {}", kerberos_token(user, &password_of(user)))
}

/// Asserts that the origin served `user` over `connection`.
#[track_caller]
pub(crate) fn serves(response: &Response, user: &str, connection: u64) {
    let seen = (response.status, response.identity(), response.connection());
    assert_eq!(seen, (200, user, connection), "{response:?}");
}

/// Asserts that the origin asked for credentials.
#[track_caller]
pub(crate) fn refuses(response: &Response) {
    assert_eq!((response.status, response.identity()), (401, "anonymous"), "{response:?}");
}

/// The C compiler for nginx's processor.
pub fn c_compiler() -> String {
    std::env::var("NTLM_CC").unwrap_or_else(|_| "cc".to_owned())
}
