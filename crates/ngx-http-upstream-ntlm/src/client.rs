//! What hangs on a client connection: one cleanup of its pool, by which its bindings are found and with which they end.
//!
//! Must never let a binding outlive the client connection it belongs to: without a cleanup there is no binding.
#![expect(unsafe_code, reason = "a pool cleanup's trampoline")]

use core::ffi::c_void;
use core::ptr::NonNull;

use ntlm_core::binding::end::End;
use ntlm_core::binding::ids::ClientId;
use ntlm_core::binding::table::Left;
use ntlm_core::binding::turn_back::Protocol;

use crate::idle;
use crate::ngx::{Connection, Request};
use crate::worker::with_table;

/// The client in the table, if this connection ever had a binding.
///
/// The walk is over the cleanups of this one connection.
pub fn find(client: Connection) -> Option<ClientId> {
    let data = client.pool()?.cleanup_data::<ClientId>(Some(ngx_http_upstream_ntlm_client_cleanup))?;
    // SAFETY: only `find_or_enter` adds cleanups with this handler, and each owns a ClientId.
    Some(unsafe { data.read() })
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
    let cleanup =
        client.pool().and_then(|pool| pool.add_cleanup(Some(ngx_http_upstream_ntlm_client_cleanup), id));
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
    if let Some(id) = NonNull::new(data.cast::<ClientId>()) {
        // SAFETY: ngx_destroy_pool passes the data of a cleanup that `find_or_enter` added, and frees the pool after its
        // cleanups have run.
        leave(unsafe { id.read() });
    }
}
