//! Field values: nothing panics, and the answers are those of the rules restated. See `tests/checks/scheme.rs` of the core.
#![no_main]

#[path = "../../crates/ntlm-core/tests/checks/scheme.rs"]
mod scheme;

libfuzzer_sys::fuzz_target!(|data: &[u8]| scheme::check(data));
