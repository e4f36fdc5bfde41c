//! nginx's pools: memory that lives as long as its request, connection or configuration.
#![expect(unsafe_code, reason = "hands out memory of nginx's pools")]

use core::mem::MaybeUninit;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_palloc, ngx_pcalloc, ngx_pnalloc, ngx_pool_cleanup_add, ngx_pool_cleanup_pt, ngx_pool_t, ngx_str_t,
};

/// A pool that outlives the use of the handle.
#[derive(Debug, Clone, Copy)]
pub struct Pool(NonNull<ngx_pool_t>);

/// Bytes in a pool or in the configuration, whose owner outlives the use of the handle.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Slice(ngx_str_t);

impl Pool {
    /// # Safety
    ///
    /// The pool outlives the use of the handle.
    pub unsafe fn from_raw(pool: *mut ngx_pool_t) -> Option<Self> {
        NonNull::new(pool).map(Pool)
    }

    /// # Safety
    ///
    /// As for `from_raw`, and it is not null.
    pub unsafe fn new(pool: *mut ngx_pool_t) -> Self {
        // SAFETY: vouched for by the caller.
        Pool(unsafe { NonNull::new_unchecked(pool) })
    }

    /// The pool itself, for a call into nginx.
    pub fn as_ptr(self) -> *mut ngx_pool_t {
        self.0.as_ptr()
    }

    /// Moves a value into the pool. `None` when there is no memory. It is not dropped with the pool, so its
    /// type must not need it.
    pub fn place<T>(self, value: T) -> Option<NonNull<T>> {
        const { assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT && !core::mem::needs_drop::<T>()) };
        // SAFETY: the pool is alive (from_raw); ngx_palloc returns null or aligned memory of that size.
        let place = NonNull::new(unsafe { ngx_palloc(self.as_ptr(), size_of::<T>()) }.cast::<T>())?;
        // SAFETY: the memory just allocated is large enough and nobody else's.
        unsafe { place.write(value) };
        Some(place)
    }

    /// Memory for a small value, where ngx_palloc would take it. `None` where the pool would have to grow for it, or there is no memory.
    pub fn take_free<T>(self) -> Option<NonNull<MaybeUninit<T>>> {
        const { assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT && !core::mem::needs_drop::<T>()) };
        if cfg!(nginx_debug_palloc) {
            // SAFETY: the pool is alive (from_raw); ngx_palloc returns null or aligned memory of that size.
            return NonNull::new(unsafe { ngx_palloc(self.as_ptr(), size_of::<T>()) }.cast());
        }
        // SAFETY: the pool is alive (from_raw), and its blocks with it. As ngx_palloc_small, this takes what lies from `last` on in the first
        // block from `current` on in which that does not end after `end`.
        unsafe {
            let mut pool = (*self.as_ptr()).current;
            while !pool.is_null() {
                let block = &raw mut (*pool).d;
                let start = (*block).last.map_addr(|addr| addr.next_multiple_of(nginx_sys::NGX_ALIGNMENT));
                let last = start.wrapping_add(size_of::<T>());
                if last <= (*block).end {
                    (*block).last = last;
                    return NonNull::new(start.cast());
                }
                pool = (*block).next;
            }
        }
        None
    }

    /// Zeroed memory for a configuration struct, for which all zeroes must be a value. `None` when there is no memory.
    pub fn zeroed<T>(self) -> Option<NonNull<T>> {
        const { assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT && !core::mem::needs_drop::<T>()) };
        // SAFETY: the pool is alive (from_raw); ngx_pcalloc returns null or aligned memory of that size.
        NonNull::new(unsafe { ngx_pcalloc(self.as_ptr(), size_of::<T>()) }.cast::<T>())
    }

    /// Copies bytes into the pool. `None` when there is no memory.
    pub fn copy(self, bytes: &[u8]) -> Option<Slice> {
        if bytes.is_empty() {
            return Some(Slice::EMPTY);
        }
        // SAFETY: the pool is alive (from_raw); ngx_pnalloc returns null or memory of that size.
        let data = NonNull::new(unsafe { ngx_pnalloc(self.as_ptr(), bytes.len()) }.cast::<u8>())?;
        // SAFETY: freshly allocated, so it does not overlap; both sides have `len` bytes.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), data.as_ptr(), bytes.len()) };
        Some(Slice(ngx_str_t { len: bytes.len(), data: data.as_ptr() }))
    }

    /// The data of the pool's cleanup with this handler. The linker may make one function of all handlers that do nothing, so that one
    /// kind of pool has at most one of these.
    pub fn cleanup_data<T>(self, handler: ngx_pool_cleanup_pt) -> Option<NonNull<T>> {
        // SAFETY: the pool is alive, and so are the cleanups in its list.
        let mut next = unsafe { (*self.as_ptr()).cleanup };
        while let Some(cleanup) = NonNull::new(next) {
            // SAFETY: as above.
            let cleanup = unsafe { cleanup.as_ref() };
            if cleanup.handler.map(|f| f as usize) == handler.map(|f| f as usize) {
                return NonNull::new(cleanup.data.cast());
            }
            next = cleanup.next;
        }
        None
    }

    /// Adds a cleanup that owns a value, which is not dropped. `None` when there is no memory; then nothing was added.
    pub fn add_cleanup<T>(self, handler: ngx_pool_cleanup_pt, value: T) -> Option<NonNull<T>> {
        const { assert!(align_of::<T>() <= nginx_sys::NGX_ALIGNMENT && !core::mem::needs_drop::<T>()) };
        // SAFETY: the pool is alive (from_raw).
        let cleanup = NonNull::new(unsafe { ngx_pool_cleanup_add(self.as_ptr(), size_of::<T>()) })?;
        // SAFETY: ngx_pool_cleanup_add returned a live cleanup whose data has the size asked for.
        unsafe {
            let data = NonNull::new((*cleanup.as_ptr()).data.cast::<T>())?;
            data.write(value);
            (*cleanup.as_ptr()).handler = handler;
            Some(data)
        }
    }
}

impl Slice {
    /// No bytes.
    pub const EMPTY: Slice = Slice(ngx_str_t { len: 0, data: core::ptr::null_mut() });

    /// # Safety
    ///
    /// The bytes that `value` points to outlive the use of the handle, and nobody changes them meanwhile.
    pub unsafe fn from_raw(value: ngx_str_t) -> Self {
        Slice(value)
    }

    /// A part of the bytes; `None` where `part` is not one.
    pub fn part(self, part: &[u8]) -> Option<Slice> {
        let start = part.as_ptr().addr().checked_sub(self.0.data.addr())?;
        let data = self.0.data.wrapping_add(start);
        (start + part.len() <= self.0.len).then_some(Slice(ngx_str_t { len: part.len(), data }))
    }

    /// Copies the bytes into memory that the worker never frees. `None` when there is no memory.
    pub fn kept_for_good(self) -> Option<Slice> {
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(self.0.len).ok()?;
        bytes.extend_from_slice(self.as_bytes());
        let bytes = bytes.leak();
        Some(Slice(ngx_str_t { len: bytes.len(), data: bytes.as_mut_ptr() }))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// The bytes as nginx names them.
    pub fn as_raw(self) -> ngx_str_t {
        self.0
    }
}

impl PartialEq for Slice {
    fn eq(&self, other: &Self) -> bool {
        self.0.len == other.0.len && (self.0.len == 0 || self.as_bytes() == other.as_bytes())
    }
}
