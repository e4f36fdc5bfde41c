//! The tables by which nginx knows the module, and its installation when the configuration has been read.
#![expect(
    unsafe_code,
    reason = "nginx's tables are mutable statics with exported names; configuration hooks"
)]

use core::ffi::{c_char, c_void};
use core::ptr::{NonNull, addr_of_mut, null_mut};

use nginx_sys::{
    NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE,
    ngx_command_t, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module_t,
    ngx_http_upstream_main_conf_t, ngx_http_upstream_module, ngx_http_upstream_srv_conf_t, ngx_int_t,
    ngx_module_t, ngx_palloc, ngx_shm_zone_t, ngx_str_t, ngx_uint_t,
};
use ntlm_core::binding::ids::GroupId;

use crate::group::{Group, Main};
use crate::ngx::{Pool, Status, add_zone, context_index, module_tag, unix_time, zeroed_in};
use crate::stats::{Shared, Slot};
use crate::{conf, fields, header_filter, idle, location, peer, proxy, status, variables, worker};

/// The shared memory, whose name no other zone should have, and its bytes: what is counted, and nginx's own of it. Name and size must
/// never change, or a reload would lose what was counted.
const ZONE: &str = "ngx_http_upstream_ntlm_module";
const ZONE_SIZE: usize = 1024 * 1024;
const _: () = assert!(size_of::<Shared>() < ZONE_SIZE - 64 * 1024);

static mut NGX_HTTP_UPSTREAM_NTLM_COMMANDS: [ngx_command_t; conf::DIRECTIVES.len() + 3] = {
    let mut commands = [ngx_command_t::empty(); conf::DIRECTIVES.len() + 3];
    let (rows, rest) = commands.split_at_mut(conf::DIRECTIVES.len());
    rows.copy_from_slice(conf::DIRECTIVES);
    if let [status, proxy, ..] = rest {
        *status = STATUS;
        *proxy = proxy::DIRECTIVE;
    }
    commands
};

const STATUS: ngx_command_t = ngx_command_t {
    name: ngx_str_t { len: "ntlm_status".len(), data: c"ntlm_status".as_ptr().cast_mut().cast() },
    type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1) as ngx_uint_t,
    set: Some(status::ngx_http_ntlm_status),
    conf: NGX_HTTP_LOC_CONF_OFFSET,
    offset: 0,
    post: null_mut(),
};

static mut NGX_HTTP_UPSTREAM_NTLM_MODULE_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(variables::ngx_http_upstream_ntlm_add_variables),
    postconfiguration: Some(ngx_http_upstream_ntlm_init),
    create_main_conf: Some(ngx_http_upstream_ntlm_create_main_conf),
    init_main_conf: Some(ngx_http_upstream_ntlm_init_main_conf),
    create_srv_conf: Some(conf::ngx_http_upstream_ntlm_create_srv_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(location::ngx_http_upstream_ntlm_create_loc_conf),
    merge_loc_conf: Some(location::ngx_http_upstream_ntlm_merge_loc_conf),
};

/// The module.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "nginx's build system and load_module look for this very name")]
pub static mut ngx_http_upstream_ntlm_module: ngx_module_t = ngx_module_t {
    ctx: addr_of_mut!(NGX_HTTP_UPSTREAM_NTLM_MODULE_CTX).cast(),
    commands: addr_of_mut!(NGX_HTTP_UPSTREAM_NTLM_COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_process: Some(worker::ngx_http_upstream_ntlm_init_process),
    exit_process: Some(ngx_http_upstream_ntlm_exit_process),
    ..ngx_module_t::default()
};

/// `exit_process`: nginx looks for connections that were left open when this has run.
///
/// # Safety
///
/// Called by nginx as a worker ends.
unsafe extern "C" fn ngx_http_upstream_ntlm_exit_process(_cycle: *mut ngx_cycle_t) {
    idle::close_row();
    worker::leave();
}

/// `create_main_conf`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
unsafe extern "C" fn ngx_http_upstream_ntlm_create_main_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: ngx_http_block passes the configuration that it reads; zeroes are a configuration without groups.
    unsafe { Pool::new((*cf).pool).zeroed::<Main>().map_or(null_mut(), |conf| conf.as_ptr().cast()) }
}

/// The upstream groups of a configuration, those that nginx made of addresses among them.
///
/// # Safety
///
/// Called when `http` has been read, with its context in `cf`.
unsafe fn upstreams<'a>(cf: *mut ngx_conf_t) -> &'a [*mut ngx_http_upstream_srv_conf_t] {
    // SAFETY: vouched for by the caller; the upstream module is always there, and adds no group from now on.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(ngx_http_upstream_module.ctx_index);
        (*main.cast::<ngx_http_upstream_main_conf_t>()).upstreams.as_slice()
    }
}

/// `init_main_conf`: refuses what contradicts itself before nginx begins to put its filters in order.
///
/// # Safety
///
/// Called by `ngx_http_block`, once for each `http` block.
unsafe extern "C" fn ngx_http_upstream_ntlm_init_main_conf(
    cf: *mut ngx_conf_t,
    _conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_http_block passes the configuration that it has read.
    let sound = unsafe { upstreams(cf).iter().all(|&us| conf::check(cf, us)) };
    if sound { null_mut() } else { conf::CONF_ERROR }
}

/// `postconfiguration`: every balancer and pool has wrapped its group by now, in whatever order its lines stand, so what
/// is put before them here is the outermost.
///
/// # Safety
///
/// Called by `ngx_http_block`, once for each `http` block.
unsafe extern "C" fn ngx_http_upstream_ntlm_init(cf: *mut ngx_conf_t) -> ngx_int_t {
    // SAFETY: ngx_http_block passes the configuration that it has read; the pool lives as long as the configuration.
    unsafe {
        let all = upstreams(cf);
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = (*(*ctx).main_conf.add(context_index())).cast::<Main>();
        let http = *(*ctx).srv_conf.add(context_index());
        let most = all.len() + proxy::count_places(main);
        let list = ngx_palloc((*cf).pool, most * size_of::<*mut Group>()).cast::<*mut Group>();
        if list.is_null() {
            return Status::ERROR.0;
        }
        let mut count = 0;
        for (id, &us) in (0u32..).zip(all) {
            let Some(group) = conf::set_up_group(us, http, GroupId(id)) else { continue };
            if group.as_ref().original_init_peer.is_none() {
                return Status::ERROR.0;
            }
            peer::stand_before_group(us, group);
            if !group.as_ref().is_guarded() {
                list.add(count).write(group.as_ptr());
                count += 1;
            }
        }
        count = proxy::number_places(main, all.len(), list, count);
        if !fields::watch(cf) {
            return Status::ERROR.0;
        }
        header_filter::install();
        // Nothing else refers to the main configuration now, and it lives as long as the zone's `data` needs it.
        (*main).groups = list;
        (*main).count = count;
        (*main).has_changing_module = location::has_changing_module(cf);
        let zone =
            add_zone(cf, ZONE, ZONE_SIZE, module_tag(), Some(ngx_http_upstream_ntlm_init_zone), main.cast());
        zone.map_or(Status::ERROR, |()| Status::OK).0
    }
}

/// Called by nginx when the shared memory is there, with that of the configuration before in `old`, if it is the same
/// memory.
///
/// # Safety
///
/// Called by nginx only, with the zone that [`ngx_http_upstream_ntlm_init`] asked for.
unsafe extern "C" fn ngx_http_upstream_ntlm_init_zone(
    zone: *mut ngx_shm_zone_t,
    old: *mut c_void,
) -> ngx_int_t {
    // SAFETY: ngx_init_cycle passes the zone, whose data is this module's configuration, as the old data is. All of the shared
    // memory is atomic.
    unsafe {
        let main = (*zone).data.cast::<Main>();
        let shared = match NonNull::new(old.cast::<Main>()).and_then(|old| old.as_ref().shared()) {
            Some(shared) => shared,
            None => match zeroed_in::<Shared>(zone) {
                Some(shared) => shared,
                None => return Status::ERROR.0,
            },
        };
        shared.begin(unix_time());
        (*main).shared = shared;
        let (groups, count) = ((*main).groups, (*main).count);
        let name = |index: usize| (**groups.add(index)).name;
        let is_used = |slot: &Slot| {
            let mut slots = (0..count).filter_map(|index| shared.find(name(index).as_bytes()));
            slots.any(|used| core::ptr::eq(used, slot))
        };
        for index in 0..count {
            (**groups.add(index)).slot = shared.slot(name(index).as_bytes(), is_used);
        }
    }
    Status::OK.0
}

/// The symbols that `load_module` looks for in a shared object.
#[cfg(feature = "export-modules")]
#[allow(non_upper_case_globals, reason = "the names are ngx_load_module's")]
mod exported {
    use super::{addr_of_mut, c_char, ngx_module_t, null_mut};

    /// A table of strings that is only ever read.
    #[repr(transparent)]
    pub struct Names<const N: usize>([*const c_char; N]);
    // SAFETY: the strings are constant.
    unsafe impl<const N: usize> Sync for Names<N> {}

    #[unsafe(no_mangle)]
    static mut ngx_modules: [*mut ngx_module_t; 2] =
        [addr_of_mut!(super::ngx_http_upstream_ntlm_module), null_mut()];

    #[unsafe(no_mangle)]
    static ngx_module_names: Names<2> = Names([c"ngx_http_upstream_ntlm_module".as_ptr(), core::ptr::null()]);

    /// Before the first of nginx's own filters that runs for every response, as nginx's build system orders a module of
    /// type HTTP_AUX_FILTER: filters later in the list run earlier.
    #[unsafe(no_mangle)]
    static ngx_module_order: Names<3> = Names([
        c"ngx_http_upstream_ntlm_module".as_ptr(),
        c"ngx_http_copy_filter_module".as_ptr(),
        core::ptr::null(),
    ]);
}
