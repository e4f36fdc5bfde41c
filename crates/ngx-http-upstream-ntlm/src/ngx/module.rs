//! The index under which nginx keeps this module's configurations and contexts, and the list of the other modules of `http`.
#![expect(unsafe_code, reason = "the module's own table, which nginx writes to")]

use core::ffi::c_void;
use core::ptr::{NonNull, addr_of};

use nginx_sys::{NGX_HTTP_MODULE, ngx_command_t, ngx_conf_t, ngx_module_t, ngx_uint_t};

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

/// The modules of `http`, in nginx's order.
///
/// # Safety
///
/// Called while nginx reads the configuration.
pub unsafe fn http_modules(cf: *mut ngx_conf_t) -> impl Iterator<Item = *mut ngx_module_t> {
    // SAFETY: vouched for by the caller: the cycle has a list of its modules, whose end is null.
    let all = unsafe { (*(*cf).cycle).modules };
    // SAFETY: as above.
    let modules = (0..).map(move |index| unsafe { *all.add(index) }).take_while(|module| !module.is_null());
    // SAFETY: as above.
    modules.filter(|&module| unsafe { (*module).type_ == NGX_HTTP_MODULE as ngx_uint_t })
}

/// The name of a module.
///
/// # Safety
///
/// `module` is one of [`http_modules`].
pub unsafe fn name_of<'a>(module: *mut ngx_module_t) -> &'a [u8] {
    // SAFETY: vouched for by the caller; the names of modules are strings of C, which live as long as the module.
    unsafe {
        let name = NonNull::new((*module).name);
        name.map_or(b"", |name| core::ffi::CStr::from_ptr(name.as_ptr()).to_bytes())
    }
}

/// The directives of a module.
///
/// # Safety
///
/// `module` is one of [`http_modules`].
pub unsafe fn commands_of(module: *mut ngx_module_t) -> impl Iterator<Item = ngx_command_t> {
    // SAFETY: vouched for by the caller.
    let commands = unsafe { (*module).commands };
    // SAFETY: a table of directives ends with an empty name.
    (0..).map_while(move |index| unsafe {
        let command = NonNull::new(commands)?.as_ptr().add(index).read();
        (command.name.len != 0).then_some(command)
    })
}
