//! Sequences of events on the table of bindings, beside the model. See `tests/checks/table.rs` of the core.
#![no_main]

#[path = "../../crates/ntlm-core/tests/checks/table.rs"]
mod table;

libfuzzer_sys::fuzz_target!(|data: &[u8]| table::play(table::decode(data)));
