//! The table of bindings against its model, on arbitrary sequences of events.
#![allow(
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    reason = "a test may panic"
)]

use ntlm_core::binding::exchange::Phase;
use proptest::prelude::*;

#[path = "checks/table.rs"]
#[allow(dead_code, reason = "the corpus test reads events from bytes")]
mod table;

use table::{Event, play};

fn event() -> impl Strategy<Value = Event> {
    let phase = prop_oneof![Just(Phase::Handshaking), Just(Phase::Unproven), Just(Phase::Proven)];
    let (client, group, key) = (0..6usize, 0..2u32, 0..8u16);
    let often = || prop::bool::weighted(0.9);
    prop_oneof![
        20 => Just(Event::Enter),
        10 => client.clone().prop_map(|client| Event::Leave { client }),
        60 => (client.clone(), group.clone(), key.clone(), often(), often())
            .prop_map(|(client, group, key, fits, own)| Event::Claim { client, group, key, fits, impostor: !own }),
        60 => (client.clone(), group.clone(), key, phase.clone(), often())
            .prop_map(|(client, group, key, phase, park)| Event::Taint { client, group, key, phase, park }),
        60 => (0..40usize, phase).prop_map(|(binding, phase)| Event::Park { binding, phase }),
        20 => (0..40usize).prop_map(|binding| Event::End { binding }),
        15 => (0..8u64).prop_map(|time| Event::Wait { time }),
        5 => Just(Event::Spare),
        1 => (client, group).prop_map(|(client, group)| Event::Crowd { client, group }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_and_the_model_agree(events in prop::collection::vec(event(), 1..120)) {
        play(events);
    }
}
