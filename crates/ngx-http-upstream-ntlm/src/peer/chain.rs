//! The peer callbacks below this module's: those of the balancer, and of the keepalive pool over it.
#![expect(unsafe_code, reason = "the chain's own peer.init, and what it leaves on the peer")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt};

use crate::conf::Group;
use crate::ngx::{Peer, Request, Status, Upstream};

/// The peer callbacks that were there before; none as long as the chain is not set up.
#[derive(Clone, Copy)]
pub(super) struct Chain {
    pub(super) data: *mut c_void,
    pub(super) get: ngx_event_get_peer_pt,
    pub(super) free: ngx_event_free_peer_pt,
    pub(super) notify: ngx_event_notify_peer_pt,
    #[cfg(nginx_tls)]
    pub(super) set_session: nginx_sys::ngx_event_set_peer_session_pt,
    #[cfg(nginx_tls)]
    pub(super) save_session: nginx_sys::ngx_event_save_peer_session_pt,
}

impl Chain {
    pub(super) const NONE: Chain = Chain {
        data: core::ptr::null_mut(),
        get: None,
        free: None,
        notify: None,
        #[cfg(nginx_tls)]
        set_session: None,
        #[cfg(nginx_tls)]
        save_session: None,
    };

    /// Has the chain give a request its peer. `None` when it refuses.
    #[inline(always)]
    pub(super) fn set_up(r: Request, u: Upstream, group: NonNull<Group>) -> Option<()> {
        // SAFETY: the configuration outlives the request, and does not change.
        let init = unsafe { group.as_ref() }.original_init_peer?;
        // SAFETY: the chain's own `peer.init`, as nginx would have called it: with no data yet, since what a balancer finds
        // there it takes for the data of the balancer that wraps it, and writes to it. The peer is part of the request's
        // upstream.
        let rc = unsafe {
            (*u.peer().as_ptr()).data = core::ptr::null_mut();
            init(r.as_ptr(), u.group())
        };
        (rc == Status::OK.0).then_some(())
    }

    /// The callbacks that the chain put there.
    #[inline(always)]
    pub(super) fn of(pc: Peer) -> Self {
        let pc = pc.as_ptr();
        // SAFETY: the peer is part of the request's upstream.
        unsafe {
            Chain {
                data: (*pc).data,
                get: (*pc).get,
                free: (*pc).free,
                notify: (*pc).notify,
                #[cfg(nginx_tls)]
                set_session: (*pc).set_session,
                #[cfg(nginx_tls)]
                save_session: (*pc).save_session,
            }
        }
    }
}
