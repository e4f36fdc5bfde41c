//! The peer callbacks that ours wrap: those of the balancer, and of the keepalive pool over it.
#![expect(unsafe_code, reason = "calls the original peer.init and the callbacks that it leaves on the peer")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{ngx_event_free_peer_pt, ngx_event_get_peer_pt, ngx_event_notify_peer_pt, ngx_uint_t};

use crate::group::Group;
use crate::ngx::{Peer, Request, Status, Upstream};

/// The callbacks that were on a peer before ours.
#[derive(Clone, Copy)]
pub struct Original {
    data: *mut c_void,
    get: ngx_event_get_peer_pt,
    free: ngx_event_free_peer_pt,
    notify: ngx_event_notify_peer_pt,
    #[cfg(nginx_tls)]
    set_session: nginx_sys::ngx_event_set_peer_session_pt,
    #[cfg(nginx_tls)]
    save_session: nginx_sys::ngx_event_save_peer_session_pt,
}

/// Has the balancer of a group give a request its peer.
pub fn init(r: Request, u: Upstream, group: NonNull<Group>) -> Status {
    // SAFETY: the configuration of a group outlives its requests.
    let Some(init) = (unsafe { group.as_ref() }).original_init_peer else { return Status::ERROR };
    // SAFETY: the balancer's own `peer.init`, as `ngx_http_upstream_init_request` would have called it: with no data yet,
    // since what a balancer finds there it takes for the data of the balancer that wraps it, and writes to it.
    unsafe {
        (*u.peer().as_ptr()).data = core::ptr::null_mut();
        Status(init(r.as_ptr(), u.group()))
    }
}

impl Original {
    /// The callbacks that are on a peer.
    pub fn of(pc: Peer) -> Self {
        let pc = pc.as_ptr();
        // SAFETY: the peer is part of the request's upstream.
        unsafe {
            Original {
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

    /// Whether it wants to know of what happens to a connection.
    pub fn has_notify(&self) -> bool {
        self.notify.is_some()
    }

    /// `pc->get`.
    pub fn get(&self, pc: Peer) -> Status {
        // SAFETY: the original callback with its own data, as nginx would have called it.
        self.get.map_or(Status::ERROR, |get| Status(unsafe { get(pc.as_ptr(), self.data) }))
    }

    /// `pc->free`.
    pub fn free(&self, pc: Peer, state: ngx_uint_t) {
        if let Some(free) = self.free {
            // SAFETY: the original callback with its own data, about an attempt that it was asked for.
            unsafe { free(pc.as_ptr(), self.data, state) };
        }
    }

    /// `pc->notify`.
    pub fn notify(&self, pc: Peer, event: ngx_uint_t) {
        if let Some(notify) = self.notify {
            // SAFETY: the original callback with its own data, about an attempt that it was asked for.
            unsafe { notify(pc.as_ptr(), self.data, event) };
        }
    }

    /// `pc->set_session`.
    #[cfg(nginx_tls)]
    pub fn set_session(&self, pc: Peer) -> Status {
        // SAFETY: the original callback with its own data, about an attempt that it was asked for.
        self.set_session.map_or(Status::OK, |set| Status(unsafe { set(pc.as_ptr(), self.data) }))
    }

    /// `pc->save_session`.
    #[cfg(nginx_tls)]
    pub fn save_session(&self, pc: Peer) {
        if let Some(save) = self.save_session {
            // SAFETY: the original callback with its own data, about an attempt that it was asked for.
            unsafe { save(pc.as_ptr(), self.data) };
        }
    }
}
