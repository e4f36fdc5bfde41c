//! Sequences of events on the table of bindings, beside the model. See `tests/checks/bindings.rs` of the core.
#![no_main]

#[path = "../../crates/ntlm-core/tests/checks/bindings.rs"]
mod bindings;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bindings::play(bindings::decode(data)));
