//! The key by which the table finds the binding of a request, and what it finds: client address, `ntlm_key`, the server that the request asks for, and
//! the fields by which a proxy in front names its client, since requests that differ in them are of different clients.
#![expect(unsafe_code, reason = "reads what the module put into the pool of the request")]

use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::end::End;
use ntlm_core::binding::ids::{BindingId, ClientId};
use ntlm_core::binding::key::{Key, Site};
use ntlm_core::binding::table::{Missed, Taken};

use super::NtlmPeer;
use crate::bound::{Bound, Transport};
use crate::group::Group;
use crate::log::{debug, info};
use crate::ngx::{Connection, Request, Slice};
use crate::worker::{count_end, table, with_table};

/// The names of the fields.
const FIELDS: [&[u8]; 3] = [b"x-forwarded-for", b"forwarded", b"x-real-ip"];

/// A client of this worker has sent one of them. Only from then on they are looked for, request by request.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// Notes that clients send these fields.
pub fn expect_forwarded() {
    EXPECTED.store(true, Relaxed);
}

/// The digest of these fields of a request; [`Digest::NONE`] where it has none.
fn forwarded(r: Request) -> Digest {
    let mut digest = Digest::NONE;
    if EXPECTED.load(Relaxed) {
        for name in FIELDS {
            r.each_field(name, |value| {
                let before = digest.to_bytes();
                let parts: [&[u8]; 3] = [&before, name, value.as_bytes()];
                digest = with_table(|table| table.digest(&parts)).unwrap_or(digest);
            });
        }
    }
    digest
}

/// The parts of a binding's key that are neither the client's address nor the server. They lie in the pool of the request.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    /// The value of `ntlm_key`, evaluated when the request came; it holds until the request ends. `None`: the value is empty, and the
    /// request may have no binding.
    pub(super) chosen: Option<Slice>,
    /// The digest of the fields by which a proxy in front names its client.
    forwarded: Digest,
}

impl Parts {
    /// The parts of a request whose group has no `ntlm_key`, and which has no fields of a proxy in front.
    const NONE: Self = Parts { chosen: Some(Slice::EMPTY), forwarded: Digest::NONE };

    /// The parts of a request's key. `Some(None)` where the key is the client's address alone; `None` when there is no memory.
    pub(super) fn of(r: Request, group: &Group) -> Option<Option<NonNull<Self>>> {
        if Self::is_address_alone(group) { Some(None) } else { Self::looked_for(r, group) }
    }

    /// Whether the key of a request to the group is the client's address alone.
    pub(super) fn is_address_alone(group: &Group) -> bool {
        group.key.is_null() && !group.by_server && !EXPECTED.load(Relaxed)
    }

    #[inline(never)]
    fn looked_for(r: Request, group: &Group) -> Option<Option<NonNull<Self>>> {
        let parts = if group.key.is_null() {
            Parts { forwarded: forwarded(r), ..Parts::NONE }
        } else {
            let chosen = r.evaluate(group.key, Slice::EMPTY).filter(|key| !key.as_bytes().is_empty());
            Parts { chosen, ..Parts::NONE }
        };
        r.pool().place(parts).map(Some)
    }

    /// The parts of a request's key after an answer with a token to a request without credentials. The module has not evaluated
    /// `ntlm_key` when that request came, and its value may have changed since, so a group with `ntlm_key` gives it no binding. `None`
    /// when there is no memory.
    pub(super) fn of_late(r: Request, group: &Group) -> Option<Option<NonNull<Self>>> {
        if group.key.is_null() {
            Self::of(r, group)
        } else {
            r.pool().place(Parts { chosen: None, ..Parts::NONE }).map(Some)
        }
    }
}

/// Runs `look` with the key of a request to a group, before the server that it asks for is known. `None` for one that may have no binding.
/// `look` must not call nginx.
pub(super) fn with_user<R>(r: Request, group: &Group, look: impl FnOnce(Key<'_>) -> R) -> Option<R> {
    let parts = Parts::of(r, group)?;
    // SAFETY: they lie in the pool of the request, and nothing changes them.
    let Parts { chosen, forwarded } = parts.map_or(Parts::NONE, |parts| unsafe { parts.read() });
    let (address, chosen) = (r.connection().address(), chosen?);
    Some(look(Key { address, chosen: chosen.as_bytes(), forwarded, site: Site::NONE }))
}

impl NtlmPeer {
    fn parts(&self) -> Parts {
        // SAFETY: they lie in the pool of the request, and nothing changes them.
        self.parts.map_or(Parts::NONE, |parts| unsafe { parts.read() })
    }

    /// Whether the request may have a binding.
    pub(super) fn is_keyed(&self) -> bool {
        self.parts().chosen.is_some()
    }

    /// Runs `look` with the key by which the table finds the request's binding. `None` for a request that may have none. `look` must not
    /// call nginx.
    pub(super) fn with_key<R>(&self, look: impl FnOnce(Key<'_>) -> R) -> Option<R> {
        let Parts { chosen, forwarded } = self.parts();
        let (address, chosen) = (self.r.connection().address(), chosen?);
        let (tls, host, port) = if self.group().by_server { self.u.site() } else { (false, Slice::EMPTY, 0) };
        let site = Site { tls, host: host.as_bytes(), port };
        Some(look(Key { address, chosen: chosen.as_bytes(), forwarded, site }))
    }

    /// Takes the binding of this request.
    pub(super) fn claim(&self, owner: Connection, id: ClientId) -> Option<Taken<Bound>> {
        let transport = Transport::of(self.r, self.u)?;
        let fits = |bound: Bound| bound.transport().is(&transport);
        let taken = self.with_key(|key| table()?.claim(id, owner.number(), self.group().id, key, fits));
        if taken.flatten().is_none() {
            self.miss(owner, id);
        }
        taken.flatten()
    }

    /// The client has no binding that waits for this request, and fits it. A request over HTTP/2 or HTTP/3 that finds the binding busy does
    /// not come here: it goes apart, or back (turn_back.rs).
    #[cold]
    pub(super) fn miss(&self, owner: Connection, id: ClientId) {
        let missed = self.with_key(|key| Some(table()?.missed(id, owner.number(), self.group().id, key)));
        match missed.flatten() {
            Some(Missed::Unfit(binding, bound)) => self.lose_unfit(binding, bound),
            Some(Missed::Lost) => self.lose(),
            Some(Missed::Busy) => {
                let number = owner.number();
                debug!(self.r.log(), "bound upstream connection of client connection {number} is busy");
            }
            Some(Missed::Nothing) | None => {}
        }
    }

    /// The client's binding was made with another transport than this request's.
    #[cold]
    fn lose_unfit(&self, binding: BindingId, bound: Bound) {
        let (c, end) = (bound.connection(), End::AnotherTransport);
        info!(self.r.log(), "bound upstream connection {} is closed, {}", c.fd(), end.text());
        self.lose();
        count_end(bound, end);
        // This request may bring credentials for another: it decides what becomes of its client connection.
        if with_table(|table| table.end(binding)).flatten().is_some() {
            c.close();
        }
    }
}
