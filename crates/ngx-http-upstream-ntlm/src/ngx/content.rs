//! Answering a request without an upstream.
#![expect(unsafe_code, reason = "reads and writes nginx's requests and configuration")]

use core::ffi::CStr;
use core::ptr::{NonNull, null_mut};

use nginx_sys::{
    ngx_chain_t, ngx_conf_t, ngx_create_temp_buf, ngx_http_conf_ctx_t, ngx_http_core_loc_conf_t,
    ngx_http_core_module, ngx_http_discard_request_body, ngx_http_handler_pt, ngx_http_output_filter,
    ngx_http_request_t, ngx_http_send_header, ngx_int_t, ngx_list_push, ngx_str_t, ngx_table_elt_t,
    ngx_uint_t,
};

use super::{Request, Slice, Status};

unsafe extern "C" {
    // bits.c
    fn ngx_http_upstream_ntlm_is_header_only(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_mark_last(r: *mut ngx_http_request_t, b: *mut nginx_sys::ngx_buf_t);
}

/// Makes `handler` answer the requests to the location that is being read.
///
/// # Safety
///
/// Called while nginx reads a directive of a location.
pub unsafe fn set_content_handler(
    cf: *mut ngx_conf_t,
    handler: unsafe extern "C" fn(*mut ngx_http_request_t) -> ngx_int_t,
) {
    // SAFETY: vouched for by the caller: the context is that of the location.
    unsafe {
        content_handler(cf).write(Some(handler));
    }
}

/// Where the location that is being read or merged has its content handler.
///
/// # Safety
///
/// `cf->ctx` is that of a location.
pub unsafe fn content_handler(cf: *mut ngx_conf_t) -> *mut ngx_http_handler_pt {
    // SAFETY: vouched for by the caller; each location has a core configuration.
    unsafe {
        let ctx = (*cf).ctx.cast::<ngx_http_conf_ctx_t>();
        let core = *(*ctx).loc_conf.add(ngx_http_core_module.ctx_index);
        &raw mut (*core.cast::<ngx_http_core_loc_conf_t>()).handler
    }
}

impl Request {
    /// The method, one of `NGX_HTTP_…`.
    pub fn method(self) -> u32 {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).method.try_into().unwrap_or(0) }
    }

    /// The text behind the question mark.
    pub fn query(self) -> Slice {
        // SAFETY: alive (from_raw), and the bytes of its header with it.
        unsafe { Slice::from_raw((*self.as_ptr()).args) }
    }

    /// A module's configuration of the request's location.
    ///
    /// # Safety
    ///
    /// The caller knows that what the module `create_loc_conf`s is a `T`, and `index` is its `ctx_index`.
    pub unsafe fn location_conf<T>(self, index: usize) -> NonNull<T> {
        // SAFETY: alive (from_raw), and nginx creates one for each module; the type is vouched for by the caller.
        unsafe { NonNull::new_unchecked((*(*self.as_ptr()).loc_conf.add(index)).cast()) }
    }

    /// Answers with a text, which is not to be cached, and a `Content-Security-Policy` where there is one.
    pub fn answer(
        self,
        status: usize,
        content_type: &'static str,
        policy: Option<&'static CStr>,
        text: &[u8],
    ) -> Status {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and its pool with it; a content handler answers once. What is put into the header lives as
        // long as the program.
        unsafe {
            let discarded = ngx_http_discard_request_body(r);
            if discarded != Status::OK.0 {
                return Status(discarded);
            }
            (*r).headers_out.status = status;
            (*r).headers_out.content_length_n = text.len().try_into().unwrap_or(-1);
            let content_type = ngx_str_t { len: content_type.len(), data: content_type.as_ptr().cast_mut() };
            // As for `gzip_types`: without parameters.
            (*r).headers_out.content_type_len =
                content_type.as_bytes().iter().position(|&byte| byte == b';').unwrap_or(content_type.len);
            (*r).headers_out.content_type = content_type;
            let fields = [
                Some((c"Cache-Control", c"no-store")),
                policy.map(|policy| (c"Content-Security-Policy", policy)),
            ];
            for (name, value) in fields.into_iter().flatten() {
                let field = ngx_list_push(&raw mut (*r).headers_out.headers).cast::<ngx_table_elt_t>();
                let Some(field) = NonNull::new(field) else { return Status::ERROR };
                let mut element: ngx_table_elt_t = core::mem::zeroed();
                element.hash = 1;
                element.key = ngx_str_t { len: name.count_bytes(), data: name.as_ptr().cast_mut().cast() };
                element.value =
                    ngx_str_t { len: value.count_bytes(), data: value.as_ptr().cast_mut().cast() };
                field.write(element);
            }
            let sent = ngx_http_send_header(r);
            if sent == Status::ERROR.0 || sent > Status::OK.0 || ngx_http_upstream_ntlm_is_header_only(r) != 0
            {
                return Status(sent);
            }
            let buffer = ngx_create_temp_buf((*r).pool, text.len());
            let Some(b) = NonNull::new(buffer) else { return Status::ERROR };
            core::ptr::copy_nonoverlapping(text.as_ptr(), (*b.as_ptr()).last, text.len());
            (*b.as_ptr()).last = (*b.as_ptr()).last.add(text.len());
            ngx_http_upstream_ntlm_mark_last(r, b.as_ptr());
            let mut chain = ngx_chain_t { buf: b.as_ptr(), next: null_mut() };
            Status(ngx_http_output_filter(r, &raw mut chain))
        }
    }
}
