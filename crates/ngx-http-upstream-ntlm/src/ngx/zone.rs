//! Memory that the workers share, and nginx's clock.
#![expect(unsafe_code, reason = "a shared memory zone, nginx's clock")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_cached_time, ngx_conf_t, ngx_cycle_t, ngx_http_conf_ctx_t, ngx_http_module, ngx_shared_memory_add,
    ngx_shm_zone_init_pt, ngx_shm_zone_t, ngx_slab_alloc, ngx_slab_pool_t, ngx_str_t,
};

/// Milliseconds of Unix time.
pub fn unix_time() -> u64 {
    // SAFETY: nginx keeps the time that this points to up to date, on this thread.
    let (seconds, milliseconds) = unsafe { ((*ngx_cached_time).sec, (*ngx_cached_time).msec) };
    u64::try_from(seconds).unwrap_or(0) * 1000 + milliseconds as u64
}

/// Asks nginx for shared memory, of which `init` is told, by way of the zone's `data`, when it is there. `None` when it is
/// refused.
///
/// # Safety
///
/// Called while nginx reads the configuration; `tag` names the module, `data` is what `init` expects.
pub unsafe fn add(
    cf: *mut ngx_conf_t,
    name: &'static str,
    size: usize,
    tag: *mut c_void,
    init: ngx_shm_zone_init_pt,
    data: *mut c_void,
) -> Option<()> {
    let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
    // SAFETY: vouched for by the caller.
    unsafe {
        let zone = NonNull::new(ngx_shared_memory_add(cf, &raw mut name, size, tag))?;
        (*zone.as_ptr()).init = init;
        (*zone.as_ptr()).data = data;
    }
    Some(())
}

/// Memory of zeroes in a zone, which lives as long as that. `None` when there is no room.
///
/// # Safety
///
/// Called from a zone's `init`; zeroes are a `T`, which is shared without harm.
pub unsafe fn zeroed_in<T: Sync>(zone: *mut ngx_shm_zone_t) -> Option<&'static T> {
    // SAFETY: vouched for by the caller. nginx has put a slab pool at the beginning; a zone whose name, size and tag stay
    // the same outlives every reload.
    unsafe {
        let place = ngx_slab_alloc((*zone).shm.addr.cast::<ngx_slab_pool_t>(), size_of::<T>()).cast::<T>();
        let place = NonNull::new(place)?;
        place.write_bytes(0, 1);
        Some(place.as_ref())
    }
}

/// This module's main configuration in a cycle; `None` without `http`.
///
/// # Safety
///
/// Called with a live cycle; the caller knows that what the module `create_main_conf`s is a `T`, and `index` is its
/// `ctx_index`.
pub unsafe fn main_conf<T>(cycle: *mut ngx_cycle_t, index: usize) -> Option<&'static T> {
    // SAFETY: vouched for by the caller; of the modules of `http`, that of nginx itself has the context of all.
    unsafe {
        let http = (*(*cycle).conf_ctx.add(ngx_http_module.index)).cast::<ngx_http_conf_ctx_t>();
        (*http.as_ref()?.main_conf.add(index)).cast::<T>().as_ref()
    }
}
