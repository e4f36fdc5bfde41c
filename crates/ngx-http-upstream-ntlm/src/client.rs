//! What hangs on a client connection: one cleanup of its pool, by which its bindings are found and with which they end, with room for the peer of
//! the request that the connection has.
//!
//! Must never let a binding outlive the client connection it belongs to: without a cleanup there is no binding.
#![expect(unsafe_code, reason = "a pool cleanup's trampoline")]

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use ntlm_core::binding::end::End;
use ntlm_core::binding::ids::ClientId;
use ntlm_core::binding::table::Left;
use ntlm_core::binding::turn_back::Protocol;

use crate::idle;
use crate::ngx::{Connection, Request};
use crate::worker::with_table;

/// What hangs on the connection of a client that ever had a binding, in its pool.
pub struct Client {
    id: ClientId,
    room: Room,
}

/// As large as a peer (peer.rs).
type Room = MaybeUninit<[usize; 11]>;

impl Client {
    /// That of a client connection.
    ///
    /// The walk is over the cleanups of this one connection.
    pub fn find(connection: Connection) -> Option<NonNull<Self>> {
        connection.pool()?.cleanup_data(Some(ngx_http_upstream_ntlm_client_cleanup))
    }

    /// The client in the table.
    ///
    /// # Safety
    ///
    /// [`Client::find`] has returned it, and the connection is open.
    pub unsafe fn id(client: NonNull<Self>) -> ClientId {
        // SAFETY: vouched for by the caller; only `find_or_enter` adds cleanups with that handler, and each owns a Client.
        unsafe { (*client.as_ptr()).id }
    }

    /// Memory that lives as long as the connection, for one value at a time: the peer of the one main request that a connection of HTTP/1.x has.
    pub fn room<T>(client: NonNull<Self>) -> NonNull<T> {
        const { assert!(size_of::<T>() <= size_of::<Room>() && align_of::<T>() <= align_of::<usize>()) };
        const { assert!(!core::mem::needs_drop::<T>()) };
        // SAFETY: a field's address is not null.
        unsafe { NonNull::new_unchecked(&raw mut (*client.as_ptr()).room).cast() }
    }
}

/// The client in the table, if this connection ever had a binding.
pub fn find(client: Connection) -> Option<ClientId> {
    // SAFETY: it was found, and the caller has the connection.
    Client::find(client).map(|client| unsafe { Client::id(client) })
}

/// The client in the table, entered now if it is not there yet.
///
/// # Errors
///
/// [`End::NoMemory`]; then the table is as it was.
pub fn find_or_enter(client: Connection) -> Result<ClientId, End> {
    if let Some(id) = find(client) {
        return Ok(id);
    }
    let entered = with_table(|table| table.enter(client.number(), client));
    let id = entered.and_then(Result::ok).ok_or(End::NoMemory)?;
    let data = Client { id, room: Room::uninit() };
    let cleanup =
        client.pool().and_then(|pool| pool.add_cleanup(Some(ngx_http_upstream_ntlm_client_cleanup), data));
    if cleanup.is_none() {
        leave(id);
        return Err(End::NoMemory);
    }
    Ok(id)
}

/// The protocol that a client speaks.
pub fn protocol(r: Request) -> Protocol {
    match r.is_http2() {
        true => Protocol::Http2,
        false if r.is_http1() => Protocol::Http1,
        false => Protocol::Http3,
    }
}

/// Closes all that is parked for a client, and forgets it.
fn leave(id: ClientId) {
    while let Some(Left { upstream, busy }) = with_table(|table| table.leave(id)).flatten() {
        // A request that ended before nginx asked for its connection has left that waiting.
        if !busy || upstream.connection().is_idle() {
            idle::close_of_client(upstream);
        }
    }
}

/// Called by `ngx_destroy_pool` when nginx closes the client connection.
///
/// # Safety
///
/// Called by nginx only, with the data of a cleanup that [`find_or_enter`] added.
unsafe extern "C" fn ngx_http_upstream_ntlm_client_cleanup(data: *mut c_void) {
    if let Some(client) = NonNull::new(data.cast::<Client>()) {
        // SAFETY: ngx_destroy_pool passes the data of a cleanup that `find_or_enter` added, and frees the pool after its
        // cleanups have run.
        leave(unsafe { Client::id(client) });
    }
}
