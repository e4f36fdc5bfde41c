//! The decisions of `ngx_http_upstream_ntlm_module`, without nginx: bytes, ids and time in, decisions out.
//!
//! This crate must never learn that nginx exists, read a clock or do I/O. It cannot panic on any input, and an
//! allocation that fails is reported to the caller instead of ending the process.

#![forbid(unsafe_code)]

pub mod bindings;
pub mod keep;
pub mod login;
pub mod ntlmssp;
mod reader;
pub mod scheme;
pub mod spnego;
pub mod text;
pub mod token;
