//! NTLMSSP messages: nothing panics, and what is read keeps the rules. See `tests/checks/token.rs` of the core.
#![no_main]

#[path = "../../crates/ntlm-core/tests/checks/token.rs"]
mod token;

libfuzzer_sys::fuzz_target!(|data: &[u8]| token::ntlmssp(data));
