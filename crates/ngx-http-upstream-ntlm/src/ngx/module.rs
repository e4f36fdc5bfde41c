//! What nginx knows the module by, for rooms that its tables refer to.
#![expect(unsafe_code, reason = "the module's own table, which nginx writes to")]

use core::ffi::c_void;
use core::ptr::addr_of;

use nginx_sys::ngx_module_t;

unsafe extern "C" {
    // module.rs
    static mut ngx_http_upstream_ntlm_module: ngx_module_t;
}

/// What names the module where nginx asks who owns something.
pub fn module_tag() -> *mut c_void {
    (&raw mut ngx_http_upstream_ntlm_module).cast()
}

/// The place of the module's own in nginx's arrays of configurations and contexts.
pub fn context_index() -> usize {
    // SAFETY: nginx sets the index before it reads the configuration, and never again in a process.
    unsafe { (*addr_of!(ngx_http_upstream_ntlm_module)).ctx_index }
}
