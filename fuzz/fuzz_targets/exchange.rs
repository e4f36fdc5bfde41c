//! Sequences of exchanges over one connection, and the invariants of their verdicts. See `tests/checks/exchange.rs` of the core.
#![no_main]

#[path = "../../crates/ntlm-core/tests/checks/exchange.rs"]
mod exchange;

libfuzzer_sys::fuzz_target!(|data: &[u8]| exchange::check(data));
