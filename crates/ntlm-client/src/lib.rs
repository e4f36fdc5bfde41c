//! The client's side of a login by NTLM, for the probe and for the test kit's clients.
//!
//! A connection is the caller's: nothing here opens one, retries, or follows a redirection. The test kit's origin judges
//! logins by an implementation of its own.

pub mod http1;
#[cfg(feature = "http2")]
pub mod http2;
mod message;
#[cfg(feature = "sspi")]
pub mod ntlm;
pub mod spnego;

pub use message::{Body, Request, Response};
