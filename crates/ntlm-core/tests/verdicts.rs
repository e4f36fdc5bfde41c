//! The invariants of the verdict on an exchange, on arbitrary sequences of exchanges over one connection.
#![allow(clippy::indexing_slicing, reason = "a test may panic")]

use proptest::prelude::*;

#[path = "checks/exchange.rs"]
mod exchange;

proptest! {
    #![proptest_config(ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn verdicts_keep_the_invariants(data in prop::collection::vec(any::<u8>(), 0..10 * exchange::WIDTH)) {
        exchange::check(&data);
    }
}
