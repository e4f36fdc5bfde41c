//! The meaning of the bytes in header fields and tokens.

pub mod mechanism;
pub mod ntlmssp;
mod reader;
pub mod scheme;
pub mod spnego;
pub mod text;
pub mod token;
