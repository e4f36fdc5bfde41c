//! Whether a proxy keeps the server's connection between the legs of a login, found out without a password.
//!
//! SPNEGO lets a client offer NTLM without its first message (RFC 4178 §4.2.1, where `mechToken` is optional). The server answers
//! that it takes NTLM, and notes so on its connection; a `NegTokenResp` with NTLM's NEGOTIATE goes on from there. On another connection
//! nothing is noted, and the server refuses it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ntlm_client::ntlm::{Context, Credentials};
use ntlm_client::{Request, Response, spnego};

use crate::connection::Connection;
use crate::login::{Carrier, inside, token_of};

/// Whether the proxy kept the connection between the legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The second leg reached the connection of the first.
    Yes,
    /// It reached another.
    No,
}

/// Tries it on a connection that is in no login. `None` where the server takes no part in it.
pub fn kept(connection: &mut Connection, target: &str, host: &str) -> Option<Kept> {
    let nobody = Credentials { user: "nobody".to_owned(), domain: String::new(), password: String::new() };
    let negotiate = Context::new(&nobody, None).ok()?.step(&[], host).ok()?;
    let first = ask(connection, target, &spnego::offer())?;
    let reply = token_of(&first, Carrier::Negotiate)?;
    if first.status != 401 || first.closes() || inside(Carrier::Negotiate, &reply).is_some() {
        return None;
    }
    let second = ask(connection, target, &spnego::resp(&negotiate))?;
    let challenged = token_of(&second, Carrier::Negotiate)
        .is_some_and(|token| inside(Carrier::Negotiate, &token).is_some());
    match second.status {
        401 if challenged => Some(Kept::Yes),
        400 | 401 => Some(Kept::No),
        _ => None,
    }
}

fn ask(connection: &mut Connection, target: &str, token: &[u8]) -> Option<Response> {
    let authorization = format!("Negotiate {}", STANDARD.encode(token));
    connection.exchange(Request::get(target).header("Authorization", &authorization)).ok()
}
