//! `ngx_http_request_t`.
#![expect(unsafe_code, reason = "reads and writes nginx's requests")]

use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{
    NGX_HTTP_BAD_REQUEST, NGX_HTTP_MODULE, NGX_OK, ngx_connection_t, ngx_http_block_reading,
    ngx_http_cleanup_add, ngx_http_complex_value, ngx_http_complex_value_t, ngx_http_request_t,
    ngx_http_test_reading, ngx_http_variable_value_t, ngx_int_t, ngx_list_part_t, ngx_log_t, ngx_str_t,
    ngx_table_elt_t, ngx_uint_t,
};

use super::{Connection, Pool, Slice, Status};

unsafe extern "C" {
    // bits.c
    fn ngx_http_upstream_ntlm_is_background(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_set_value(v: *mut ngx_http_variable_value_t, data: *mut u8, len: usize);
    fn ngx_http_upstream_ntlm_is_keepalive(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_is_kept_through_exit(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_is_header_sent(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_clear_keepalive(r: *mut ngx_http_request_t);
}

/// A request that is alive while the handle is used. Its bit-fields are read and written in bits.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

impl Request {
    /// # Safety
    ///
    /// The request is alive while the handle is used.
    pub unsafe fn from_raw(r: *mut ngx_http_request_t) -> Option<Self> {
        NonNull::new(r).map(Request)
    }

    /// # Safety
    ///
    /// As for `from_raw`, and it is not null.
    pub unsafe fn new(r: *mut ngx_http_request_t) -> Self {
        // SAFETY: vouched for by the caller.
        Request(unsafe { NonNull::new_unchecked(r) })
    }

    /// The request itself, for a call into nginx.
    pub fn as_ptr(self) -> *mut ngx_http_request_t {
        self.0.as_ptr()
    }

    /// The request's pool.
    pub fn pool(self) -> Pool {
        // SAFETY: alive (from_raw), and its pool with it.
        unsafe { Pool::new((*self.as_ptr()).pool) }
    }

    /// `r->connection`: the client connection, or the fake one of an HTTP/2 or HTTP/3 stream.
    pub fn connection(self) -> Connection {
        // SAFETY: alive (from_raw), and its connection with it.
        unsafe { Connection::new((*self.as_ptr()).connection) }
    }

    /// The log of the request.
    pub fn log(self) -> *mut ngx_log_t {
        // SAFETY: alive (from_raw), and its connection with it.
        unsafe { (*(*self.as_ptr()).connection).log }
    }

    /// The connection that the client holds with nginx, whatever the protocol: never the fake one of a stream.
    pub fn client_connection(self) -> Connection {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw); a stream's connection outlives its requests.
        unsafe {
            #[cfg(nginx_http2)]
            if let Some(stream) = NonNull::new((*r).stream) {
                return Connection::new((*(*stream.as_ptr()).connection).connection);
            }
            let c: *mut ngx_connection_t = (*r).connection;
            #[cfg(nginx_http3)]
            if let Some(stream) = NonNull::new((*c).quic) {
                return Connection::new((*stream.as_ptr()).parent);
            }
            Connection::new(c)
        }
    }

    /// The value of the `Authorization` field. nginx answers 400 to a second one.
    pub fn authorization(self) -> Option<Slice> {
        // SAFETY: alive (from_raw), and its header with it.
        unsafe {
            NonNull::new((*self.as_ptr()).headers_in.authorization)
                .map(|field| Slice::from_raw(field.as_ref().value))
        }
    }

    /// Calls `look` with the value of each field of the client's request that has this name, without case.
    pub fn each_field(self, name: &[u8], mut look: impl FnMut(Slice)) {
        self.each_header(|field, value| {
            if field.as_bytes().eq_ignore_ascii_case(name) {
                look(value);
            }
        });
    }

    /// Calls `look` with name and value of each field of the client's request. They live as long as the request.
    pub fn each_header(self, look: impl FnMut(Slice, Slice)) {
        // SAFETY: alive (from_raw), and its header with it; nginx's list is well formed once the header is read. Of HTTP/0.9, which
        // has none, it is all zeroes.
        unsafe { Self::each_of(&raw const (*self.as_ptr()).headers_in.headers.part, look) };
    }

    /// Calls `look` with the value of each field of the response that has this name, without case.
    pub fn each_field_sent(self, name: &[u8], mut look: impl FnMut(Slice)) {
        self.each_response_field(|field, value| {
            if field.as_bytes().eq_ignore_ascii_case(name) {
                look(value);
            }
        });
    }

    /// Whether the header of a response with this status was sent.
    pub fn has_answered(self, status: usize) -> bool {
        // SAFETY: alive (from_raw).
        self.is_header_sent() && unsafe { (*self.as_ptr()).headers_out.status == status }
    }

    /// Whether the header of the response was sent.
    pub fn is_header_sent(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { ngx_http_upstream_ntlm_is_header_sent(self.as_ptr()) != 0 }
    }

    /// Calls `look` with name and value of each field of the response, but those for which nginx has places of their own.
    pub fn each_response_field(self, look: impl FnMut(Slice, Slice)) {
        // SAFETY: alive (from_raw), and the header of the response with it; nginx sets the list up with the request.
        unsafe { Self::each_of(&raw const (*self.as_ptr()).headers_out.headers.part, look) };
    }

    /// The status of the response, 0 before there is one.
    pub fn response_status(self) -> usize {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).headers_out.status }
    }

    /// Whether it is the client's own request, and no subrequest.
    pub fn is_main(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).main == self.as_ptr() }
    }

    /// Has nginx call `handler` with this main request when it lets go of it, once however often this is called. Nothing happens
    /// when there is no memory.
    ///
    /// # Safety
    ///
    /// `handler` may be called with this request then.
    pub unsafe fn at_end(self, handler: unsafe extern "C" fn(*mut c_void)) {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and with it its list of cleanups, which ngx_http_free_request runs.
        unsafe {
            let mut next = (*r).cleanup;
            while let Some(cleanup) = next.as_ref() {
                if cleanup.handler.is_some_and(|known| known as usize == handler as usize) {
                    return;
                }
                next = cleanup.next;
            }
            if let Some(cleanup) = ngx_http_cleanup_add(r, 0).as_mut() {
                cleanup.handler = Some(handler);
                cleanup.data = r.cast();
            }
        }
    }

    /// Calls `look` with name and value of each field of a list.
    ///
    /// # Safety
    ///
    /// `part` is the first of a list of fields, or all zeroes.
    pub(super) unsafe fn each_of(mut part: *const ngx_list_part_t, mut look: impl FnMut(Slice, Slice)) {
        // SAFETY: vouched for by the caller.
        unsafe {
            while let Some(here) = part.as_ref().filter(|here| !here.elts.is_null()) {
                let fields = core::slice::from_raw_parts(here.elts.cast::<ngx_table_elt_t>(), here.nelts);
                for field in fields.iter().filter(|field| field.hash != 0) {
                    look(Slice::from_raw(field.key), Slice::from_raw(field.value));
                }
                part = here.next;
            }
        }
    }

    /// Whether the path is not the bytes that the client sent.
    pub fn has_changed_path(self) -> bool {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and the bytes of its header with it. nginx decodes a path into other memory, and leaves one
        // without anything to decode where it is.
        unsafe { (*r).uri.data != (*r).uri_start }
    }

    /// Whether the path, or the arguments, are not the bytes that the client sent.
    pub fn has_changed_target(self) -> bool {
        self.has_changed_path() || self.has_changed_arguments()
    }

    fn has_changed_arguments(self) -> bool {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and the bytes of its header with it.
        let (args, target) = unsafe { ((*r).args, (*r).unparsed_uri) };
        args.len != 0 && args.data.addr().wrapping_sub(target.data.addr()) > target.len
    }

    /// Whether the request says how long its body is.
    pub fn has_content_length(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).headers_in.content_length_n >= 0 }
    }

    /// Whether the method is GET, HEAD, POST or PUT.
    pub fn is_plain_method(self) -> bool {
        use nginx_sys::{NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_POST, NGX_HTTP_PUT};
        // SAFETY: alive (from_raw).
        let method = unsafe { (*self.as_ptr()).method };
        method & (NGX_HTTP_GET | NGX_HTTP_HEAD | NGX_HTTP_POST | NGX_HTTP_PUT) as ngx_uint_t != 0
    }

    /// The method as the client wrote it.
    pub fn method_name(self) -> Slice {
        // SAFETY: alive (from_raw), and the bytes of its header with it.
        unsafe { Slice::from_raw((*self.as_ptr()).method_name) }
    }

    /// The host that the client asks: of the request line, else of `Host`, as nginx normalises it.
    pub fn host(self) -> Slice {
        // SAFETY: alive (from_raw), and the bytes of its header with it.
        unsafe { Slice::from_raw((*self.as_ptr()).headers_in.server) }
    }

    /// The value of the `Host` field.
    pub fn host_field(self) -> Option<Slice> {
        // SAFETY: alive (from_raw), and its header with it.
        unsafe {
            NonNull::new((*self.as_ptr()).headers_in.host).map(|field| Slice::from_raw(field.as_ref().value))
        }
    }

    /// The request target as the client wrote it.
    pub fn unparsed_uri(self) -> Slice {
        // SAFETY: alive (from_raw), and the bytes of its header with it.
        unsafe { Slice::from_raw((*self.as_ptr()).unparsed_uri) }
    }

    /// Whether the client connection is to go on after the response.
    pub fn is_client_kept_alive(self) -> bool {
        // SAFETY: alive (from_raw), and its main request with it.
        unsafe { ngx_http_upstream_ntlm_is_keepalive(self.as_ptr()) != 0 }
    }

    /// Whether nginx keeps an HTTP/1.x client connection after the response although the worker exits
    /// (`keepalive_min_timeout`).
    pub fn is_client_kept_through_exit(self) -> bool {
        // SAFETY: alive (from_raw), and its main request and configuration with it.
        self.is_http1() && unsafe { ngx_http_upstream_ntlm_is_kept_through_exit(self.as_ptr()) != 0 }
    }

    /// Whether the client's method is HEAD.
    pub fn is_head(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).method == nginx_sys::NGX_HTTP_HEAD as _ }
    }

    /// Whether nobody waits for it: `mirror`, the background update of a cache, `post_action`.
    pub fn is_background(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { ngx_http_upstream_ntlm_is_background(self.as_ptr()) != 0 }
    }

    /// Whether nginx watches the client of this main request while the upstream is at work, as ngx_http_upstream_init_request has it do. If so, the
    /// client waits for the answer. This costs less than [`Request::is_background`], and may be false where somebody waits, too: nginx watches no
    /// client with `post_action`, `proxy_ignore_client_abort` or `proxy_store`. Then the request still has the handler that nginx gives one whose body
    /// it does not read now, or one that `auth_delay` holds back.
    pub fn is_watched(self) -> bool {
        // SAFETY: alive (from_raw).
        let handler = unsafe { (*self.as_ptr()).read_event_handler }.map_or(0, |function| function as usize);
        let is = |function: unsafe extern "C" fn(*mut ngx_http_request_t)| handler == function as usize;
        self.is_main() && !is(ngx_http_block_reading) && !is(ngx_http_test_reading)
    }

    /// Makes nginx close an HTTP/1.x client connection after the response, and say so if its header is not out yet.
    /// Nothing happens to HTTP/2 and HTTP/3, whose connections carry other streams.
    pub fn close_client_after_response(self) {
        // SAFETY: alive (from_raw), and its main request with it.
        unsafe {
            if self.is_http1() {
                ngx_http_upstream_ntlm_clear_keepalive((*self.as_ptr()).main);
            }
        }
    }

    /// Whether the client speaks HTTP/1.x. `r->http_version` does not tell: nginx makes it 0.9 where an origin answers without
    /// a status line, and HTTP/1.x syntax may come over QUIC.
    pub fn is_http1(self) -> bool {
        #[cfg(nginx_http2)]
        // SAFETY: alive (from_raw).
        if unsafe { !(*self.as_ptr()).stream.is_null() } {
            return false;
        }
        #[cfg(nginx_http3)]
        // SAFETY: alive (from_raw), and its connection with it.
        if unsafe { !(*(*self.as_ptr()).connection).quic.is_null() } {
            return false;
        }
        true
    }

    /// Whether nginx answers 400.
    pub fn is_bad(self) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).headers_out.status == NGX_HTTP_BAD_REQUEST as ngx_uint_t }
    }

    /// The beginning of a field that is too long for `large_client_header_buffers`, where that is why nginx answers 400.
    pub fn too_long_field(self) -> Option<Slice> {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw). While nginx reads a header, `header_name_start` is null or points into the buffer at hand; it
        // gives up a header when that buffer is full (ngx_http_process_request_headers).
        unsafe {
            let buffer = NonNull::new((*r).header_in)?.as_ref();
            let start = NonNull::new((*r).header_name_start)?;
            let (first, last) = (buffer.start.addr(), buffer.end.addr());
            let at = start.addr().get();
            (buffer.pos == buffer.end && (first..last).contains(&at))
                .then(|| Slice::from_raw(ngx_str_t { len: last - at, data: start.as_ptr() }))
        }
    }

    /// Evaluates a configured value with variables, or gives `default` where none is configured. `None` when evaluation
    /// fails.
    pub fn evaluate(self, value: *mut ngx_http_complex_value_t, default: Slice) -> Option<Slice> {
        if value.is_null() {
            return Some(default);
        }
        let mut result = ngx_str_t::empty();
        // SAFETY: alive (from_raw); the value is configuration; no reference is held.
        unsafe {
            (ngx_http_complex_value(self.as_ptr(), value, &raw mut result) == NGX_OK as ngx_int_t)
                .then(|| Slice::from_raw(result))
        }
    }

    /// The module's context of this request.
    ///
    /// # Safety
    ///
    /// The caller knows that what is stored at `index` is a `T`.
    pub unsafe fn context<T>(self, index: usize) -> Option<NonNull<T>> {
        // SAFETY: alive (from_raw); nginx allocates one slot for each HTTP module.
        unsafe { NonNull::new(*(*self.as_ptr()).ctx.add(index)).map(NonNull::cast) }
    }

    /// Stores the module's context of this request.
    ///
    /// # Safety
    ///
    /// `index` is the `ctx_index` of an HTTP module, and `context` lives as long as the request.
    pub unsafe fn set_context(self, index: usize, context: *mut c_void) {
        // SAFETY: alive (from_raw); nginx allocates one slot for each HTTP module.
        unsafe { *(*self.as_ptr()).ctx.add(index) = context };
    }
}

impl Connection {
    /// Makes nginx close a client connection after the request it has, and say so if the header of the response is not
    /// out yet. Nothing happens to one that has none.
    ///
    /// # Safety
    ///
    /// It speaks HTTP/1.x, and has had a request already.
    pub unsafe fn close_after_request(self) {
        // SAFETY: vouched for by the caller.
        if let Some(r) = unsafe { self.request() } {
            r.close_client_after_response();
        }
    }

    /// The request at hand, or a subrequest of it; `None` while the connection waits for the next one, or says goodbye.
    ///
    /// # Safety
    ///
    /// It is a client connection that speaks HTTP/1.x, and has had a request already.
    unsafe fn request(self) -> Option<Request> {
        if self.is_saying_goodbye() {
            return None;
        }
        // SAFETY: alive (from_raw). c->data is a request, or an ngx_http_connection_t, which begins with two pointers as a request
        // begins with its signature and its connection. c->idle does not tell them apart (keepalive_min_timeout).
        unsafe {
            let r = (*self.as_ptr()).data.cast::<ngx_http_request_t>();
            let is_request =
                !r.is_null() && (*r).signature == NGX_HTTP_MODULE && (*r).connection == self.as_ptr();
            if is_request { Request::from_raw(r) } else { None }
        }
    }
}

/// Gives a variable its value, copied to the request's pool.
///
/// # Safety
///
/// `v` is nginx's place for the value of a variable of `r`.
pub unsafe fn show(r: Request, v: *mut ngx_http_variable_value_t, text: &[u8]) -> Status {
    let Some(copy) = r.pool().copy(text) else { return Status::ERROR };
    let copy = copy.as_raw();
    // SAFETY: vouched for by the caller; no value is too long for nginx's 28 bits.
    unsafe { ngx_http_upstream_ntlm_set_value(v, copy.data, copy.len) };
    Status::OK
}
