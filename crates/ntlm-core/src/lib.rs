//! The decisions of `ngx_http_upstream_ntlm_module`, without nginx: bytes, ids and time in, decisions out.
//!
//! Five types to know first:
//!
//! - [`wire::scheme::ConnectionBound`]: the credentials that authenticate a connection, read off a header field;
//! - [`binding::table::Bindings`]: who owns which upstream connection, in one worker;
//! - [`binding::exchange::Exchange`]: the facts of one request, and the [`Verdict`](binding::exchange::Verdict) on its
//!   upstream connection;
//! - [`binding::end::End`]: every way a binding ends, and what each means for the client;
//! - [`diagnosis::Diagnosis`]: what keeps logins from finishing, with its remedy.
//!
//! A *client* is one client connection. A *tainted* upstream connection carried connection-bound credentials, or an
//! answer with a token; a *binding* is one tainted upstream connection that belongs to one client. It is *parked* while it
//! waits and *busy* while it carries a request. Its *phase* says how far the login on it is: handshaking, unproven, proven.
//!
//! This crate must never learn that nginx exists, read a clock or do I/O. It cannot panic on any input, and an
//! allocation that fails is reported to the caller instead of ending the process.

#![forbid(unsafe_code)]

pub mod binding;
pub mod diagnosis;
pub mod wire;

pub use wire::{mechanism, ntlmssp, scheme, spnego, text, token};
