//! What the bytes of header fields and tokens say.

pub mod mechanism;
pub mod ntlmssp;
mod reader;
pub mod scheme;
pub mod spnego;
pub mod text;
pub mod token;
