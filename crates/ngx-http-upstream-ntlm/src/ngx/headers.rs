//! nginx's tables of header fields: which function looks at a field as it is parsed.
//!
//! nginx calls the handler of a field in `ngx_http_process_request_headers` and its like for HTTP/2 and HTTP/3, and in
//! `process_header` of each upstream module. The module adds its handler to the fields that it needs and
//! leaves every other field as it was, at no cost.
#![expect(unsafe_code, reason = "rebuilds nginx's hashes of header fields")]

use core::ffi::c_void;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use nginx_sys::{
    ngx_array_create, ngx_array_push, ngx_conf_t, ngx_hash_elt_t, ngx_hash_find, ngx_hash_init,
    ngx_hash_init_t, ngx_hash_key_lc, ngx_hash_key_t, ngx_hash_t, ngx_http_conf_ctx_t,
    ngx_http_core_main_conf_t, ngx_http_core_module, ngx_http_header_handler_pt, ngx_http_header_t,
    ngx_http_request_t, ngx_http_upstream_header_t, ngx_http_upstream_main_conf_t, ngx_http_upstream_module,
    ngx_int_t, ngx_str_t, ngx_table_elt_t,
};

use super::{Pool, Status};

/// The handler that a watched field had before. It is the same in each configuration, since nginx's fields are.
pub struct Wrapped(AtomicPtr<()>);

impl Wrapped {
    /// A field that is not watched yet.
    pub const fn new() -> Self {
        Wrapped(AtomicPtr::new(core::ptr::null_mut()))
    }

    fn set(&self, handler: ngx_http_header_handler_pt) {
        // SAFETY: an Option of a function is a pointer that may be null.
        let handler = unsafe { core::mem::transmute::<ngx_http_header_handler_pt, *mut ()>(handler) };
        self.0.store(handler, Ordering::Relaxed);
    }

    /// Has nginx's own handler look at a field.
    ///
    /// # Safety
    ///
    /// Called with what nginx called the field's handler with.
    pub unsafe fn call(
        &self,
        r: *mut ngx_http_request_t,
        h: *mut ngx_table_elt_t,
        offset: usize,
    ) -> ngx_int_t {
        // SAFETY: `set` stored a handler or null there; vouched for by the caller.
        unsafe {
            let handler =
                core::mem::transmute::<*mut (), ngx_http_header_handler_pt>(self.0.load(Ordering::Relaxed));
            handler.map_or(Status::OK.0, |handler| handler(r, h, offset))
        }
    }
}

/// Has `handler` look at each field `name` (in lower case) of requests, before nginx's own, which `wrapped` is given. False
/// when there is no memory.
///
/// # Safety
///
/// Called from `postconfiguration`.
pub unsafe fn watch_client_field(
    cf: *mut ngx_conf_t,
    name: &'static str,
    handler: ngx_http_header_handler_pt,
    wrapped: &Wrapped,
) -> bool {
    // SAFETY: vouched for by the caller: the hash is built, and lives as long as the configuration.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(ngx_http_core_module.ctx_index);
        let hash = &raw mut (*main.cast::<ngx_http_core_main_conf_t>()).headers_in_hash;
        let Some(entry) = Pool::new((*cf).pool).zeroed::<ngx_http_header_t>() else { return false };
        let entry = entry.as_ptr();
        if let Some(original) = find(hash, name).map(NonNull::cast::<ngx_http_header_t>) {
            entry.write(original.read());
        }
        wrapped.set((*entry).handler);
        (*entry).name = string(name);
        (*entry).handler = handler;
        replace(cf, hash, name, entry.cast(), c"headers_in_hash")
    }
}

/// The same for the responses of upstream servers.
///
/// # Safety
///
/// As for [`watch_client_field`].
pub unsafe fn watch_upstream_field(
    cf: *mut ngx_conf_t,
    name: &'static str,
    handler: ngx_http_header_handler_pt,
    wrapped: &Wrapped,
) -> bool {
    // SAFETY: vouched for by the caller: the hash is built, and lives as long as the configuration.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let main = *(*ctx).main_conf.add(ngx_http_upstream_module.ctx_index);
        let hash = &raw mut (*main.cast::<ngx_http_upstream_main_conf_t>()).headers_in_hash;
        let Some(entry) = Pool::new((*cf).pool).zeroed::<ngx_http_upstream_header_t>() else { return false };
        let entry = entry.as_ptr();
        match find(hash, name).map(NonNull::cast::<ngx_http_upstream_header_t>) {
            Some(original) => entry.write(original.read()),
            None => {
                // It goes to the client as a field that nginx does not know does.
                let Some(like) = find(hash, "www-authenticate") else { return false };
                (*entry).copy_handler = like.cast::<ngx_http_upstream_header_t>().as_ref().copy_handler;
            }
        }
        wrapped.set((*entry).handler);
        (*entry).name = string(name);
        (*entry).handler = handler;
        replace(cf, hash, name, entry.cast(), c"upstream_headers_in_hash")
    }
}

fn string(text: &'static str) -> ngx_str_t {
    ngx_str_t { len: text.len(), data: text.as_ptr().cast_mut() }
}

/// The entry of a hash under a name in lower case.
///
/// # Safety
///
/// The hash is one that nginx built.
unsafe fn find(hash: *mut ngx_hash_t, name: &'static str) -> Option<NonNull<c_void>> {
    let name = string(name);
    // SAFETY: vouched for by the caller; the functions read the name only.
    unsafe { NonNull::new(ngx_hash_find(hash, ngx_hash_key_lc(name.data, name.len), name.data, name.len)) }
}

/// Builds a hash anew with `value` under a name in lower case, and all else that it has. False when there is no memory.
///
/// # Safety
///
/// The hash is one that nginx built and nobody uses yet; `value` lives as long as the configuration.
unsafe fn replace(
    cf: *mut ngx_conf_t,
    hash: *mut ngx_hash_t,
    name: &'static str,
    value: *mut c_void,
    called: &'static core::ffi::CStr,
) -> bool {
    // SAFETY: vouched for by the caller. Each bucket is a row of elements, aligned to pointers, whose last has no value
    // (ngx_hash_init); the names stay in the memory of the old hash, which lives as long.
    unsafe {
        let keys = ngx_array_create((*cf).temp_pool, 64, size_of::<ngx_hash_key_t>());
        if keys.is_null() {
            return false;
        }
        let push = |key: ngx_str_t, value: *mut c_void| {
            let place = ngx_array_push(keys).cast::<ngx_hash_key_t>();
            if place.is_null() {
                return false;
            }
            place.write(ngx_hash_key_t { key, key_hash: ngx_hash_key_lc(key.data, key.len), value });
            true
        };
        for bucket in 0..(*hash).size {
            let mut element: *mut ngx_hash_elt_t = *(*hash).buckets.add(bucket);
            while !element.is_null() && !(*element).value.is_null() {
                let (data, len) = ((&raw mut (*element).name).cast::<u8>(), usize::from((*element).len));
                let key = ngx_str_t { len, data };
                if key.as_bytes() != name.as_bytes() && !push(key, (*element).value) {
                    return false;
                }
                let end = data.add(len);
                element = end.add(end.align_offset(align_of::<*mut c_void>())).cast();
            }
        }
        if !push(string(name), value) {
            return false;
        }
        let mut init: ngx_hash_init_t = core::mem::zeroed();
        init.hash = hash;
        init.key = Some(ngx_hash_key_lc);
        // nginx's own sizes for these two hashes.
        init.max_size = 512;
        init.bucket_size = nginx_sys::ngx_cacheline_size.next_multiple_of(64).max(64);
        init.name = called.as_ptr().cast_mut();
        init.pool = (*cf).pool;
        ngx_hash_init(&raw mut init, (*keys).elts.cast(), (*keys).nelts) == Status::OK.0
    }
}
