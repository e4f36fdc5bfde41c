//! The settings of an upstream group, of a line `proxy_ntlm` and of a location, as requests see them, and the list of all groups.
//!
//! Must never change while requests are served, but for what a worker has seen of a location's requests ([`Location::defaults`]).
#![expect(unsafe_code, reason = "reads configurations that nginx keeps for the module")]

use core::cell::Cell;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_http_complex_value_t, ngx_http_upstream_init_peer_pt, ngx_http_upstream_init_pt,
    ngx_http_upstream_srv_conf_t, ngx_str_t,
};
use ntlm_core::binding::exchange::Limits;
use ntlm_core::binding::ids::GroupId;

use crate::ngx::{Request, context_index};
use crate::stats::{Shared, Slot};

/// An upstream group. It begins the module's configuration of an `upstream` block (`conf.rs`).
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Group {
    /// Numbers the group.
    pub id: GroupId,
    /// The most bindings that are parked at a time in a worker; 0 in a group without `ntlm`, which is only guarded.
    pub connections: usize,
    /// Milliseconds that a binding stays parked.
    pub timeout: u64,
    /// `ntlm_multiplexing`: logins take place over HTTP/2, too.
    pub multiplexing: bool,
    /// The limits of one binding.
    pub limits: Limits,
    /// The name of the upstream block, which lives as long as the configuration.
    pub name: ngx_str_t,
    /// Where it is counted; `None` for a group that is only guarded, and where there are more groups than slots.
    pub slot: Option<&'static Slot>,
    /// `ntlm_key`; null where the block has none.
    pub key: *mut ngx_http_complex_value_t,
    /// `peer.init` of the balancer; `None` where the module does not stand before it.
    pub original_init_peer: ngx_http_upstream_init_peer_pt,
    /// `peer.init_upstream` of the balancer; `None` for round robin.
    pub original_init_upstream: ngx_http_upstream_init_pt,
    /// The group has no `ntlm` and `ntlm_guard off`, so the module leaves its connections to nginx.
    pub guard_off: bool,
    /// The settings are those of a `proxy_ntlm` line, under which a client has a binding for each server (scheme, host, port). False for
    /// an `upstream` block, in which it has one for all servers.
    pub by_server: bool,
}

impl Group {
    /// Without `ntlm`, and without any other directive.
    pub const NONE: Self = Group {
        id: GroupId(0),
        connections: 0,
        timeout: 0,
        multiplexing: true,
        limits: Limits::NONE,
        name: ngx_str_t::empty(),
        slot: None,
        key: core::ptr::null_mut(),
        original_init_peer: None,
        original_init_upstream: None,
        guard_off: false,
        by_server: false,
    };

    /// The group of nginx's configuration of an `upstream` block; `None` for one that nginx made of an address.
    ///
    /// # Safety
    ///
    /// `us` is null or a live group's configuration.
    pub unsafe fn of(us: *mut ngx_http_upstream_srv_conf_t) -> Option<NonNull<Group>> {
        // SAFETY: vouched for by the caller; the slot is what `create_srv_conf` returned, which begins with a group.
        unsafe {
            let confs = NonNull::new(us.as_ref()?.srv_conf)?;
            NonNull::new((*confs.as_ptr().add(context_index())).cast())
        }
    }

    /// Whether every login over HTTP/2 is turned back to HTTP/1.1.
    pub fn turns_all_back(&self) -> bool {
        !self.multiplexing && !self.is_guarded()
    }

    /// Whether the group has no `ntlm`, and the guard closes its tainted connections.
    pub fn is_guarded(&self) -> bool {
        self.connections == 0
    }
}

/// A line `proxy_ntlm`: a group without servers of its own. In the configuration's pool.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ProxyNtlm {
    /// Its settings; without connections the line says `off`.
    pub group: Group,
    /// The file that the line stands in, and its number.
    pub said: (ngx_str_t, usize),
    /// The place before it.
    pub next: *mut ProxyNtlm,
}

/// A value of `proxy_set_header`, in the configuration's pool.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Value {
    /// The value, compiled.
    pub text: ngx_http_complex_value_t,
    /// The next one of the location; null after the last.
    pub next: *mut Value,
}

/// Whether nginx sends the requests of a location with the two defaults of `proxy_pass` that no handshake survives (`outgoing.rs`), as far as the worker
/// knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defaults {
    /// nginx speaks HTTP/1.1, and the first request of the location shows whether it says `Connection: close`, as it does before 1.29.7.
    Unknown = 0,
    /// nginx sends no request of the location with one of them.
    Absent,
    /// nginx may send requests of the location with one of them, or both.
    Possible,
}

/// The module's settings for one `location`.
#[repr(C)]
pub struct Location {
    /// `ntlm_status`: a format; 0 without it.
    pub status: usize,
    /// A directive like `proxy_set_header Authorization` may put connection-bound credentials into requests.
    pub puts_credentials: bool,
    /// The value of `proxy_pass` or `proxy_method` has variables that a client may give line ends.
    pub varies_target: bool,
    /// The first value of `proxy_set_header` that has such variables; null where there is none.
    pub values: *mut Value,
    /// One of these three is so.
    pub may_taint: bool,
    /// `proxy_set_header` takes the place of the client's `Authorization`, so that `proxy_pass` does not send it.
    pub replaces_authorization: bool,
    /// And of the client's `Proxy-Authorization`.
    pub replaces_proxy_authorization: bool,
    /// Whether nginx sends requests with its defaults.
    pub defaults: Cell<Defaults>,
    /// The line `proxy_ntlm` that holds; null without one.
    pub place: *mut ProxyNtlm,
    /// The group with `ntlm` that `proxy_pass` leads to; null where there is none, its value has variables, or bodies are passed on unread.
    pub group: *mut Group,
}

impl Location {
    /// The settings for the location of a request.
    pub fn of(r: Request) -> &'static Location {
        // SAFETY: `create_loc_conf` returned it; a configuration outlives its requests.
        unsafe { r.location_conf::<Location>(context_index()).as_ref() }
    }

    /// Whether nginx sends each request of the location as a handshake needs it.
    pub fn has_no_defaults(&self) -> bool {
        self.defaults.get() == Defaults::Absent
    }

    /// The group that [`Location::group`] points to.
    pub fn group(&self) -> Option<&Group> {
        // SAFETY: `proxy.rs` set it; the configuration of a group lives as long as that of the location.
        unsafe { self.group.as_ref() }
    }

    /// The values of `proxy_set_header` that a client may give line ends.
    pub fn values(&self) -> impl Iterator<Item = *mut ngx_http_complex_value_t> {
        // SAFETY: `merge_loc_conf` made the list, in the configuration's pool.
        let next = |value: &NonNull<Value>| NonNull::new(unsafe { value.as_ref() }.next);
        // SAFETY: as above; a field of it.
        core::iter::successors(NonNull::new(self.values), next)
            .map(|value| unsafe { &raw mut (*value.as_ptr()).text })
    }
}

/// The module's settings for the whole configuration: the groups that have `ntlm`, and the shared memory that counts their logins.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Main {
    /// Null before the shared memory is there.
    pub shared: *const Shared,
    /// The groups with `ntlm`, in the configuration's pool.
    pub groups: *mut *mut Group,
    /// How many they are.
    pub count: usize,
    /// A module is loaded that can change a request's header behind nginx's parser.
    pub has_changing_module: bool,
    /// The last line `proxy_ntlm on`.
    pub places: *mut ProxyNtlm,
}

impl Main {
    /// The counters and diagnoses that all workers share; `None` before nginx has set up the shared memory.
    pub fn shared(&self) -> Option<&'static Shared> {
        // SAFETY: the zone outlives every worker (see `ngx::zeroed_in`).
        unsafe { self.shared.as_ref() }
    }

    /// The groups with `ntlm`.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        // SAFETY: postconfiguration filled the array, with groups that live as long as this.
        (0..self.count).map(|index| unsafe { &**self.groups.add(index) })
    }
}

const _: () = assert!(core::mem::offset_of!(ProxyNtlm, group) == 0);
