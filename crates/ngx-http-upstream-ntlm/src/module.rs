//! The tables by which nginx knows the module.
#![expect(unsafe_code, reason = "nginx's tables are mutable statics with exported names")]

use core::ffi::{CStr, c_char, c_void};
use core::ptr::{addr_of, addr_of_mut, null_mut};

use nginx_sys::{
    NGX_CONF_NOARGS, NGX_CONF_TAKE1, NGX_HTTP_LOC_CONF, NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_MODULE,
    NGX_HTTP_SRV_CONF_OFFSET, NGX_HTTP_UPS_CONF, ngx_command_t, ngx_http_module_t, ngx_module_t, ngx_str_t,
    ngx_uint_t,
};

use crate::{conf, status, variables, worker};

/// The number of directives.
const DIRECTIVES: usize = 6;

/// A directive of the `upstream` block. nginx compares names with strcmp, so they end with a NUL.
const fn directive(
    name: &'static CStr,
    arguments: u32,
    set: unsafe extern "C" fn(*mut nginx_sys::ngx_conf_t, *mut ngx_command_t, *mut c_void) -> *mut c_char,
) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() },
        type_: (NGX_HTTP_UPS_CONF | arguments) as ngx_uint_t,
        set: Some(set),
        conf: NGX_HTTP_SRV_CONF_OFFSET,
        offset: 0,
        post: null_mut(),
    }
}

static mut NGX_HTTP_UPSTREAM_NTLM_COMMANDS: [ngx_command_t; DIRECTIVES + 1] = [
    directive(c"ntlm", NGX_CONF_NOARGS | NGX_CONF_TAKE1, conf::ngx_http_upstream_ntlm),
    directive(c"ntlm_timeout", NGX_CONF_TAKE1, conf::ngx_http_upstream_ntlm_timeout),
    directive(c"ntlm_requests", NGX_CONF_TAKE1, conf::ngx_http_upstream_ntlm_requests),
    directive(c"ntlm_time", NGX_CONF_TAKE1, conf::ngx_http_upstream_ntlm_time),
    directive(c"ntlm_key", NGX_CONF_TAKE1, conf::ngx_http_upstream_ntlm_key),
    ngx_command_t {
        type_: (NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS | NGX_CONF_TAKE1) as ngx_uint_t,
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        ..directive(c"ntlm_status", 0, status::ngx_http_ntlm_status)
    },
    ngx_command_t::empty(),
];

static mut NGX_HTTP_UPSTREAM_NTLM_MODULE_CTX: ngx_http_module_t = ngx_http_module_t {
    preconfiguration: Some(variables::ngx_http_upstream_ntlm_add_variables),
    postconfiguration: Some(conf::ngx_http_upstream_ntlm_init),
    create_main_conf: Some(conf::ngx_http_upstream_ntlm_create_main_conf),
    init_main_conf: None,
    create_srv_conf: Some(conf::ngx_http_upstream_ntlm_create_conf),
    merge_srv_conf: None,
    create_loc_conf: Some(status::ngx_http_ntlm_create_loc_conf),
    merge_loc_conf: None,
};

/// The module.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "nginx's build system and load_module look for this very name")]
pub static mut ngx_http_upstream_ntlm_module: ngx_module_t = ngx_module_t {
    ctx: addr_of_mut!(NGX_HTTP_UPSTREAM_NTLM_MODULE_CTX).cast(),
    commands: addr_of_mut!(NGX_HTTP_UPSTREAM_NTLM_COMMANDS).cast(),
    type_: NGX_HTTP_MODULE as ngx_uint_t,
    init_process: Some(worker::ngx_http_upstream_ntlm_init_process),
    exit_process: Some(worker::ngx_http_upstream_ntlm_exit_process),
    ..ngx_module_t::default()
};

/// What names the module where nginx asks who owns something.
pub fn tag() -> *mut c_void {
    addr_of_mut!(ngx_http_upstream_ntlm_module).cast()
}

/// The place of the module's own in nginx's arrays of configurations and contexts.
pub fn context_index() -> usize {
    // SAFETY: nginx sets the index before it reads the configuration, and never again in a process.
    unsafe { (*addr_of!(ngx_http_upstream_ntlm_module)).ctx_index }
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
