//! A request through a `proxy_pass` for which `proxy_ntlm` holds: the server that it asks for, and whether its client has a
//! binding to that server.
//!
//! Where the value of `proxy_pass` has variables, nginx evaluates `proxy_bind` after it has made the request and before it
//! looks at `u->resolved`. The module's code runs there, and hides `u->resolved`: nginx then takes the group that the location
//! says, which is the module's. Must never hide it where nginx would end the request with an error, nor leave it hidden.
#![expect(
    unsafe_code,
    reason = "trampolines of a script code and of peer.init; reads and writes nginx's upstreams"
)]

use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    AF_UNIX, ngx_addr_t, ngx_http_request_t, ngx_http_script_code_pt, ngx_http_script_engine_t,
    ngx_http_script_len_code_pt, ngx_http_upstream_create_round_robin_peer, ngx_http_upstream_main_conf_t,
    ngx_http_upstream_module, ngx_http_upstream_resolved_t, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_parse_addr_port,
};

use crate::conf::has_ntlm;
use crate::group::Group;
use crate::ngx::{Request, Slice, Status, Upstream};
use crate::peer::NtlmPeer;
use crate::place::{Proxied, init_of_balancer};

/// The script codes by which nginx learns how long the value of `proxy_bind` is.
pub static LENGTH: [ngx_http_script_len_code_pt; 2] = [Some(ngx_http_upstream_ntlm_bind_len_code), None];
/// The script codes by which nginx writes that value.
pub static VALUE: [ngx_http_script_code_pt; 2] = [Some(ngx_http_upstream_ntlm_bind_code), None];

/// Room for the address of any server.
type Address = [u64; 16];

/// The fields of the upstream that the module hides from nginx until `peer.init`. `u->peer.data`, which nginx does not use before
/// `peer.init`, points here.
#[derive(Clone, Copy)]
struct Hidden {
    resolved: *mut ngx_http_upstream_resolved_t,
    /// The group that the request asks for; null for a server in none.
    group: *mut ngx_http_upstream_srv_conf_t,
}

/// The length of the location's own value of `proxy_bind`, which is kept in `e->line`; and what the module is here for.
///
/// # Safety
///
/// Called by `ngx_http_complex_value`, which `ngx_http_upstream_set_local` calls with a live request.
unsafe extern "C" fn ngx_http_upstream_ntlm_bind_len_code(e: *mut ngx_http_script_engine_t) -> usize {
    // SAFETY: ngx_http_complex_value runs `LENGTH` with a live request; the code after this one ends it.
    unsafe {
        (*e).ip = (*e).ip.byte_add(size_of::<ngx_http_script_len_code_pt>());
        let r = Request::new((*e).request);
        if let Some(u) = r.upstream()
            && let Some(proxied) = Proxied::of(u)
            && !(*u.as_ptr()).resolved.is_null()
        {
            if let Some(text) = bind(r, u, proxied) {
                (*e).line = text.as_raw();
                choose(r, u, proxied);
            } else {
                // `peer.init` finds nothing hidden, and ends the request.
                (*u.as_ptr()).resolved = null_mut();
            }
        }
        (*e).line.len
    }
}

/// Writes what the code before it has kept.
///
/// # Safety
///
/// As for [`ngx_http_upstream_ntlm_bind_len_code`], with room for so many bytes.
unsafe extern "C" fn ngx_http_upstream_ntlm_bind_code(e: *mut ngx_http_script_engine_t) {
    // SAFETY: ngx_http_complex_value runs `VALUE` with the engine of `LENGTH`; the code after this one ends it.
    unsafe {
        (*e).ip = (*e).ip.byte_add(size_of::<ngx_http_script_code_pt>());
        let line = (*e).line;
        if line.len != 0 {
            core::ptr::copy_nonoverlapping(line.data, (*e).pos, line.len);
            (*e).pos = (*e).pos.byte_add(line.len);
        }
    }
}

/// The location's own value of `proxy_bind`, set already as nginx will set it: a binding is for one such address. `None` when
/// there is no memory.
///
/// # Safety
///
/// Called with a live request, and what is in the configuration of its upstream.
unsafe fn bind(r: Request, u: Upstream, proxied: NonNull<Proxied>) -> Option<Slice> {
    // SAFETY: vouched for by the caller.
    unsafe {
        let pc = u.peer().as_ptr();
        let Some(local) = proxied.as_ref().bind.as_ref() else { return Some(Slice::EMPTY) };
        if let Some(addr) = local.addr.as_ref().filter(|_| local.value.is_null()) {
            (*pc).local = local.addr;
            return Some(Slice::from_raw(addr.name));
        }
        let value = r.evaluate(local.value, Slice::EMPTY)?;
        let addr = r.pool().place(core::mem::zeroed::<ngx_addr_t>())?;
        let text = value.as_raw();
        // nginx tells of a value that is no address.
        if text.len != 0
            && Status(ngx_parse_addr_port(r.pool().as_ptr(), addr.as_ptr(), text.data, text.len))
                == Status::OK
        {
            (*pc).local = addr.as_ptr();
        }
        Some(value)
    }
}

/// Finds the server that a request asks for, and hides it from nginx where the module's group is to serve the request: always
/// but for a name that nginx must resolve.
///
/// # Safety
///
/// Called with a live request whose `u->resolved` is set, and what is in the configuration of its upstream.
unsafe fn choose(r: Request, u: Upstream, proxied: NonNull<Proxied>) {
    // SAFETY: vouched for by the caller; what proxy_pass has noted of the server lives as long as the request.
    unsafe {
        let resolved = (*u.as_ptr()).resolved;
        let group = search(r, &*resolved);
        if group.is_null() {
            let address = (*resolved).sockaddr;
            let is_unix = !address.is_null() && u32::from((*address).sa_family) == AF_UNIX;
            if (*resolved).port == 0 && !is_unix {
                return;
            }
            if address.is_null() {
                // nginx would do so next.
                #[cfg(nginx_tls)]
                {
                    (*u.as_ptr()).ssl_name = (*resolved).host;
                }
                if !NtlmPeer::expect_named(r, u, proxied.as_ref().place.cast()) {
                    return;
                }
            }
        } else if has_ntlm(group) {
            return;
        }
        let hidden = r.pool().place(Hidden { resolved, group });
        (*u.as_ptr()).peer.data = hidden.map_or(null_mut(), |hidden| hidden.as_ptr().cast());
        (*u.as_ptr()).resolved = null_mut();
    }
}

/// The group that nginx would find; null where it would find none.
///
/// # Safety
///
/// Called with a live request.
unsafe fn search(r: Request, resolved: &ngx_http_upstream_resolved_t) -> *mut ngx_http_upstream_srv_conf_t {
    // SAFETY: vouched for by the caller; the groups are the configuration's.
    unsafe {
        let main = *(*r.as_ptr()).main_conf.add(ngx_http_upstream_module.ctx_index);
        let groups = (*main.cast::<ngx_http_upstream_main_conf_t>())
            .upstreams
            .as_slice::<*mut ngx_http_upstream_srv_conf_t>();
        let found = groups.iter().find(|&&us| {
            let (host, port) = ((*us).host, (*us).port);
            ((port == 0 && resolved.no_port != 0) || port == resolved.port)
                && host.as_bytes().eq_ignore_ascii_case(resolved.host.as_bytes())
        });
        found.map_or(null_mut(), |&us| us)
    }
}

/// `peer.init` of the group that nginx finds in a location for which `proxy_ntlm` holds.
///
/// # Safety
///
/// Called by `ngx_http_upstream_init_request` with a live request, and the group that begins a [`Proxied`].
pub unsafe extern "C" fn ngx_http_upstream_init_proxied_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: ngx_http_upstream_init_request passes a live request and its group.
    unsafe {
        let (r, proxied) = (Request::new(r), &*us.cast::<Proxied>());
        let (Some(u), Some(group)) = (r.upstream(), NonNull::new(proxied.place.cast::<Group>())) else {
            return Status::ERROR.0;
        };
        if !proxied.named.is_null() {
            (*u.as_ptr()).upstream = proxied.named;
            return NtlmPeer::init(r, u, group).0;
        }
        let data = (*u.as_ptr()).peer.data;
        (*u.as_ptr()).peer.data = null_mut();
        let Some(hidden) = NonNull::new(data.cast::<Hidden>()) else { return Status::ERROR.0 };
        let Hidden { resolved, group: named } = hidden.read();
        (*u.as_ptr()).resolved = resolved;
        (*u.as_ptr()).upstream = named;
        #[cfg(nginx_tls)]
        {
            (*u.as_ptr()).ssl_name = named.as_ref().map_or((*resolved).host, |named| named.host);
        }
        NtlmPeer::init_expected(r, u).unwrap_or_else(|| NtlmPeer::init(r, u, group)).0
    }
}

/// Sets up the peer as nginx would have without the module, for a request that has no binding and for the retry of one whose binding
/// turned out dead: calls the group's `peer.init`, or makes a peer for the address. For a name, the address is that of the binding.
///
/// # Safety
///
/// Called by `original::init` with a live request.
pub unsafe extern "C" fn ngx_http_upstream_init_target_peer(
    r: *mut ngx_http_request_t,
    us: *mut ngx_http_upstream_srv_conf_t,
) -> ngx_int_t {
    // SAFETY: `original::init` passes a live request and its group.
    unsafe {
        if !us.is_null() {
            return init_of_balancer(us).map_or(Status::ERROR.0, |init| init(r, us));
        }
        let request = Request::new(r);
        let Some(u) = request.upstream() else { return Status::ERROR.0 };
        let Some(resolved) = NonNull::new((*u.as_ptr()).resolved) else { return Status::ERROR.0 };
        if !resolved.as_ref().sockaddr.is_null() {
            return ngx_http_upstream_create_round_robin_peer(r, resolved.as_ptr());
        }
        let mut of_binding = resolved.read();
        let (address, name) = (u.peer().address(), u.peer().name());
        let (Some(room), Some(name)) =
            (request.pool().place::<Address>([0; 16]), request.pool().copy(name.as_bytes()))
        else {
            return Status::ERROR.0;
        };
        let length = address.as_bytes().len();
        if length == 0 || length > size_of::<Address>() {
            return Status::ERROR.0;
        }
        core::ptr::copy_nonoverlapping(address.as_bytes().as_ptr(), room.as_ptr().cast::<u8>(), length);
        of_binding.sockaddr = room.as_ptr().cast();
        of_binding.socklen = length.try_into().unwrap_or(0);
        of_binding.name = name.as_raw();
        of_binding.naddrs = 1;
        // It reads from it only.
        ngx_http_upstream_create_round_robin_peer(r, &raw mut of_binding)
    }
}
