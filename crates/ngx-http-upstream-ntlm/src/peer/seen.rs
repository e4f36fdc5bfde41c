//! An answer that asks for a login, or carries a token of one: called as nginx parses it.
#![expect(unsafe_code, reason = "reads the group of an upstream")]

use super::key::Parts;
use super::{Facts, NtlmPeer, Source, peer_of};
use crate::ngx::{Request, Status};
use crate::original::Original;
use crate::place::group_of;

/// The answer to a request carries a token of a connection-bound scheme, so that its connection is tainted.
/// [`Status::ERROR`] when there is no memory to see to it; the request fails then, and nginx closes the connection.
pub fn on_token(r: Request) -> Status {
    let Some(u) = r.upstream().filter(|u| u.has_connection()) else { return Status::OK };
    let peer = match peer_of(r) {
        Some(peer) => {
            if !peer.join() {
                return Status::ERROR;
            }
            peer
        }
        None => {
            let Some(group) = group_of(u) else { return Status::OK };
            // SAFETY: the configuration of a group outlives its requests.
            if unsafe { group.as_ref() }.original_init_peer.is_none() {
                return Status::OK;
            }
            // SAFETY: as above.
            let Some(parts) = Parts::of_late(r, unsafe { group.as_ref() }) else { return Status::ERROR };
            let original = Some(Original::of(u.peer()));
            let peer = NtlmPeer::place_with_parts(r, u, group, Facts::NONE, original, parts);
            let Some(peer) = peer else { return Status::ERROR };
            peer.stand_before(u.peer());
            peer.source.set(Source::Original);
            peer
        }
    };
    peer.note(Facts::OFFER.or(Facts::TOKEN));
    u.forbid_storing();
    Status::OK
}

/// The answer to a request offers a connection-bound scheme.
pub fn on_offer(r: Request) {
    if let Some(peer) = peer_of(r) {
        peer.note(Facts::OFFER);
    }
}
