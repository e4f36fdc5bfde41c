//! Finds out what the directives of a location make of the requests that nginx sends upstream: whether they may put credentials
//! into them, and whether they replace the defaults that no handshake survives.
//!
//! The lists of `proxy_set_header` and its like are found by nginx's own tables of directives, which give their place in the
//! configuration of their module.
#![expect(unsafe_code, reason = "reads the configurations of other modules")]

use core::ffi::{c_char, c_void};
use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    NGX_HTTP_LOC_CONF_OFFSET, NGX_HTTP_VAR_CHANGEABLE, NGX_HTTP_VERSION_10, ngx_array_t,
    ngx_conf_set_enum_slot, ngx_conf_set_keyval_slot, ngx_conf_t, ngx_hash_key_t, ngx_http_complex_value_t,
    ngx_http_conf_ctx_t, ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_set_complex_value_slot,
    ngx_http_variable_t, ngx_keyval_t, ngx_module_t, ngx_str_t, ngx_uint_t,
};
use ntlm_core::scheme::{may_break_lines, may_put_credentials};

use crate::conf::{CONF_ERROR, compile};
use crate::group::{Defaults, Location, Value};
use crate::ngx::{Pool, commands_of, http_modules, name_of};
use crate::peer::stand_before_content;
use crate::proxy;

/// Modules that can change a request's header after nginx has parsed it.
const CHANGING: [&[u8]; 2] = [b"ngx_http_lua_module", b"ngx_http_headers_more_filter_module"];

/// `create_loc_conf`.
///
/// # Safety
///
/// Called by nginx while it reads the configuration.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_create_loc_conf(cf: *mut ngx_conf_t) -> *mut c_void {
    // SAFETY: ngx_http_core_location and its like pass the configuration that they read; zeroes are a location in which nothing is said.
    unsafe { Pool::new((*cf).pool).zeroed::<Location>().map_or(null_mut(), |conf| conf.as_ptr().cast()) }
}

/// `merge_loc_conf`: nginx has merged the modules of its own for this location.
///
/// # Safety
///
/// Called by `ngx_http_merge_servers` and `ngx_http_merge_locations`, which let `cf->ctx` be the location's.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_merge_loc_conf(
    cf: *mut ngx_conf_t,
    parent: *mut c_void,
    child: *mut c_void,
) -> *mut c_char {
    // SAFETY: ngx_http_merge_locations and ngx_http_merge_servers pass what `create_loc_conf` returned.
    unsafe {
        let (parent, child) = (parent.cast::<Location>(), child.cast::<Location>());
        if (*child).status == 0 {
            (*child).status = (*parent).status;
        }
        if !proxy::merge(cf, &*parent, &mut *child) {
            return CONF_ERROR;
        }
        (*child).group = proxy::group_of(cf);
        if !(*child).group.is_null() {
            stand_before_content(cf);
        }
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let (mut replaces_connection, mut may_close) = (false, false);
        for module in http_modules(cf) {
            for (directive, field) in fields(ctx, module) {
                let name = field.key.as_bytes();
                (*child).puts_credentials |= may_put_credentials(name, field.value.as_bytes());
                if directive.as_bytes() == b"proxy_set_header" {
                    if may_break_lines(field.value.as_bytes(), |name| is_set(cf, name))
                        && !add_value(cf, &mut *child, field.value)
                    {
                        return CONF_ERROR;
                    }
                    (*child).replaces_authorization |= name.eq_ignore_ascii_case(b"authorization");
                    (*child).replaces_proxy_authorization |=
                        name.eq_ignore_ascii_case(b"proxy-authorization");
                    if name.eq_ignore_ascii_case(b"connection") {
                        replaces_connection = true;
                        may_close |= may_be_close(field.value.as_bytes());
                    }
                }
            }
        }
        (*child).varies_target = proxy::has_variables(cf) || may_method_break_lines(cf);
        (*child).may_taint =
            (*child).puts_credentials || (*child).varies_target || !(*child).values.is_null();
        (*child).defaults.set(match replaces_connection {
            _ if may_close || !is_after_http_1_0(cf) => Defaults::Possible,
            true => Defaults::Absent,
            // Here a client can bring line ends into its request, and so hide the defaults from the module, or show it some that nginx did not write.
            false if (*child).may_taint => Defaults::Possible,
            false => Defaults::Unknown,
        });
    }
    null_mut()
}

/// Adds a value to those of a location that a client may give line ends. False when there is no memory.
///
/// # Safety
///
/// As for `merge_loc_conf`.
unsafe fn add_value(cf: *mut ngx_conf_t, location: &mut Location, text: ngx_str_t) -> bool {
    // SAFETY: vouched for by the caller; nginx has compiled the same text for itself.
    unsafe {
        let Some(value) = Pool::new((*cf).pool).zeroed::<Value>() else { return false };
        (*value.as_ptr()).next = location.values;
        location.values = value.as_ptr();
        compile(cf, text, &raw mut (*value.as_ptr()).text)
    }
}

/// Whether the configuration gives a variable its value: `set`, `map`, and what other modules have.
///
/// # Safety
///
/// As for `merge_loc_conf`.
unsafe fn is_set(cf: *mut ngx_conf_t, name: &[u8]) -> bool {
    // SAFETY: vouched for by the caller: nginx collects its variables, by their names, until it has merged all.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main =
            (*(*ctx).main_conf.add(ngx_http_core_module.ctx_index)).cast::<ngx_http_core_main_conf_t>();
        let Some(keys) = (*main).variables_keys.as_ref() else { return true };
        let known = keys.keys.as_slice::<ngx_hash_key_t>().iter().find(|known| known.key.as_bytes() == name);
        let variable = known.and_then(|known| known.value.cast::<ngx_http_variable_t>().as_ref());
        variable.is_some_and(|variable| variable.flags & NGX_HTTP_VAR_CHANGEABLE as ngx_uint_t != 0)
    }
}

/// Whether the value of `proxy_method` may come to have line ends.
///
/// # Safety
///
/// As for `merge_loc_conf`.
unsafe fn may_method_break_lines(cf: *mut ngx_conf_t) -> bool {
    let set = ngx_http_set_complex_value_slot as *const () as usize;
    // SAFETY: vouched for by the caller.
    unsafe {
        values(cf, b"proxy_method", set).any(|value| {
            // nginx stores a pointer to the compiled value there (ngx_http_set_complex_value_slot): null or NGX_CONF_UNSET_PTR without the
            // directive.
            let text = NonNull::new(value.cast::<*mut ngx_http_complex_value_t>().read())
                .filter(|text| text.addr().get() != usize::MAX);
            text.is_some_and(|text| may_break_lines(text.as_ref().value.as_bytes(), |name| is_set(cf, name)))
        })
    }
}

/// Where the configuration of the location has the values of a directive with this name and setter.
///
/// # Safety
///
/// As for `merge_loc_conf`.
unsafe fn values(cf: *mut ngx_conf_t, name: &'static [u8], set: usize) -> impl Iterator<Item = *mut c_void> {
    // SAFETY: vouched for by the caller.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        http_modules(cf).flat_map(move |module| {
            let conf = *(*ctx).loc_conf.add((*module).ctx_index);
            let commands = commands_of(module).filter(move |command| {
                !conf.is_null()
                    && command.name.as_bytes() == name
                    && command.conf == NGX_HTTP_LOC_CONF_OFFSET
                    && command.set.is_some_and(|mine| mine as usize == set)
            });
            commands.map(move |command| conf.byte_add(command.offset))
        })
    }
}

/// Whether a value of `Connection`, as a directive gives it, is `close`, or may become that.
fn may_be_close(value: &[u8]) -> bool {
    value.contains(&b'$') || value.eq_ignore_ascii_case(b"close")
}

/// Whether `proxy_pass` of the location speaks HTTP/1.1 or later.
///
/// # Safety
///
/// As for `merge_loc_conf`, of the same location.
unsafe fn is_after_http_1_0(cf: *mut ngx_conf_t) -> bool {
    let set = ngx_conf_set_enum_slot as *const () as usize;
    // SAFETY: vouched for by the caller. What a directive with this setter says is a number (ngx_conf_set_enum_slot).
    unsafe {
        values(cf, b"proxy_http_version", set)
            .any(|value| value.cast::<ngx_uint_t>().read() > NGX_HTTP_VERSION_10 as ngx_uint_t)
    }
}

/// Whether a module is loaded that can change requests behind nginx's parser.
///
/// # Safety
///
/// Called while nginx reads the configuration.
pub unsafe fn has_changing_module(cf: *mut ngx_conf_t) -> bool {
    // SAFETY: vouched for by the caller.
    unsafe { http_modules(cf).any(|module| CHANGING.contains(&name_of(module))) }
}

/// The fields that directives of a module put into the requests of a location, with the names of the directives.
///
/// # Safety
///
/// `ctx` is a location's, `module` one of `http`.
unsafe fn fields(
    ctx: *mut ngx_http_conf_ctx_t,
    module: *mut ngx_module_t,
) -> impl Iterator<Item = (ngx_str_t, ngx_keyval_t)> {
    // SAFETY: vouched for by the caller.
    let (conf, all) = unsafe { (*(*ctx).loc_conf.add((*module).ctx_index), commands_of(module)) };
    let set = ngx_conf_set_keyval_slot as *const () as usize;
    all.filter(move |command| {
        !conf.is_null()
            && command.conf == NGX_HTTP_LOC_CONF_OFFSET
            && command.set.is_some_and(|mine| mine as usize == set)
            && command.name.as_bytes().ends_with(b"_set_header")
    })
    .flat_map(move |command| {
        // SAFETY: what a directive with this setter says is an array of pairs at its offset in the module's configuration of
        // the location (ngx_conf_set_keyval_slot), or null.
        let array = unsafe { *conf.byte_add(command.offset).cast::<*mut ngx_array_t>() };
        // NGX_CONF_UNSET_PTR, where a module merges its configuration later.
        let array = NonNull::new(array).filter(|array| array.addr().get() != usize::MAX);
        // SAFETY: as above; the array lives as long as the configuration.
        let pairs = array.map(|array| unsafe { array.as_ref().as_slice::<ngx_keyval_t>() });
        pairs.unwrap_or_default().iter().map(move |&pair| (command.name, pair))
    })
}
