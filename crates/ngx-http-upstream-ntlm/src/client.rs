//! What the module hangs on a client connection: one cleanup in the pool of the connection. By it the module finds the client's bindings, and when nginx
//! runs it they end. If the pool has enough bytes left, the module also takes room there for the peer of the request that the connection has.
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
use crate::ngx::{Connection, Pool, Request};
use crate::worker::with_table;

/// A client connection that ever had a binding. The cleanup of its pool owns it.
pub struct Client {
    /// The client in the table.
    pub id: ClientId,
    /// Room in the pool of the connection. Over HTTP/1.x a connection has one main request at a time, and that one upstream at a time; so a peer that
    /// is there is not used any more when the next one is written.
    pub room: Option<NonNull<MaybeUninit<Room>>>,
}

/// Room for a peer (peer.rs).
pub type Room = [usize; 11];

impl Client {
    /// Finds the client of a connection. It looks at the cleanups of this one connection only.
    pub fn find<'a>(connection: Connection) -> Option<&'a Self> {
        let data = connection.pool()?.cleanup_data::<Self>(Some(ngx_http_upstream_ntlm_client_cleanup))?;
        // SAFETY: only `find_or_enter` adds cleanups with this handler, and each owns a Client, which lives as long as the uses of the handle of the
        // connection.
        Some(unsafe { data.as_ref() })
    }
}

/// The client in the table, if this connection ever had a binding.
pub fn find(client: Connection) -> Option<ClientId> {
    Client::find(client).map(|client| client.id)
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
    let add = |pool: Pool| {
        let client = Client { id, room: None };
        let data = pool.add_cleanup(Some(ngx_http_upstream_ntlm_client_cleanup), client)?;
        // The room comes last, so that the pool need not grow for the cleanup. Memory checkers see more of a peer that lies in the pool of its request.
        if !cfg!(nginx_debug_palloc) {
            // SAFETY: the data of a cleanup, just written.
            unsafe { (*data.as_ptr()).room = pool.take_free() };
        }
        Some(())
    };
    if client.pool().and_then(add).is_none() {
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
        leave(unsafe { client.read() }.id);
    }
}
