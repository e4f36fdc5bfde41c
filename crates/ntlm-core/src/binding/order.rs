//! The order in which parked bindings end: by phase where a group is full, where connections run short, and where a client connection has its
//! share; then by client address. Which one of an address ends, `table/room.rs` says: the least recently used one.
//!
//! Must never let a proven binding end for one that is not.

use core::cmp::Reverse;

use super::exchange::Phase;

/// The order in which phases lose bindings.
pub(super) const PHASES: [Phase; Phase::COUNT] = [Phase::Handshaking, Phase::Unproven, Phase::Proven];

/// The place of a phase in that order.
pub(super) fn turn(phase: Phase) -> Option<usize> {
    PHASES.iter().position(|&other| other == phase)
}

/// The claim of a client address to lose a binding of one phase: that with the greatest loses one. They are compared field by field.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Weight {
    /// Its bindings in the phase.
    pub(super) in_phase: usize,
    /// All its bindings, parked and busy.
    pub(super) bindings: usize,
    /// The deadline of its oldest binding in the phase, as far as that is known: the one that has waited longest comes first.
    pub(super) oldest: Reverse<u64>,
}
