//! `ngx_http_request_t` and its upstream.
#![expect(unsafe_code, reason = "reads and writes nginx's requests and upstreams")]

use core::ffi::c_void;
use core::ops::Range;
use core::ptr::NonNull;

use nginx_sys::{
    NGX_OK, ngx_buf_t, ngx_connection_t, ngx_http_complex_value, ngx_http_complex_value_t,
    ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_err_page_t, ngx_http_request_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_http_variable_value_t, ngx_int_t, ngx_list_part_t,
    ngx_log_t, ngx_str_t, ngx_table_elt_t, ngx_uint_t,
};

use super::{Connection, Peer, Pool, Slice, Status};

unsafe extern "C" {
    // bits.c
    fn ngx_http_upstream_ntlm_is_background(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_set_value(v: *mut ngx_http_variable_value_t, data: *mut u8, len: usize);
    fn ngx_http_upstream_ntlm_is_keepalive(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_clear_keepalive(r: *mut ngx_http_request_t);
}

/// A request that is alive while the handle is used. Its bit-fields are read and written in bits.c.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request(NonNull<ngx_http_request_t>);

/// `r->upstream` of a request that is alive while the handle is used.
#[derive(Debug, Clone, Copy)]
pub struct Upstream(NonNull<ngx_http_upstream_t>);

/// The header of an HTTP/1.x request that is about to be sent, from after the request target. Alive, and nobody else's,
/// while the handle is used.
#[derive(Clone, Copy)]
pub struct RequestHeader {
    buffer: NonNull<ngx_buf_t>,
    start: NonNull<u8>,
}

/// Where a byte is found first.
#[inline(always)]
pub fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: memchr reads these bytes only, and what it finds lies there.
    unsafe {
        let start = bytes.as_ptr();
        let found = nginx_sys::memchr(start.cast(), byte.into(), bytes.len() as _).cast::<u8>();
        (!found.is_null()).then(|| found.cast_const().offset_from_unsigned(start))
    }
}

impl RequestHeader {
    /// The bytes: the version, then the fields. The body may follow.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: `request_header` has checked that the bytes are in the buffer, which create_request wrote and nobody
        // has sent yet.
        unsafe {
            let length = self.buffer.as_ref().last.cast_const().offset_from_unsigned(self.start.as_ptr());
            core::slice::from_raw_parts_mut(self.start.as_ptr(), length)
        }
    }

    /// Whether the method before it is HEAD, whose responses have no body.
    pub fn is_head(self) -> bool {
        // SAFETY: the buffer is alive (see the type). `request_header` has checked that its start comes before the header, and
        // what lies in between was written by create_request.
        unsafe {
            let start = self.buffer.as_ref().start.cast_const();
            let length = self.start.as_ptr().cast_const().offset_from_unsigned(start);
            core::slice::from_raw_parts(start, length).starts_with(b"HEAD ")
        }
    }

    /// Removes bytes; what follows moves up. A retry sends the buffer from its start, so it is the end that moves.
    pub fn remove(mut self, range: Range<usize>) {
        let gone = range.len();
        if range.end <= self.bytes().len() {
            self.bytes().copy_within(range.end.., range.start);
            // SAFETY: the buffer is alive (see the type) and had these bytes at least.
            unsafe { self.buffer.as_mut().last = self.buffer.as_ref().last.sub(gone) };
        }
    }
}

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

    /// Whether `proxy_intercept_errors` and an `error_page` take the place of an answer with this status.
    pub fn replaces(self, u: Upstream, status: usize) -> bool {
        // SAFETY: alive (from_raw), and its configuration with it; nginx fills the array with these.
        unsafe {
            if (*(*u.as_ptr()).conf).intercept_errors != 1 {
                return false;
            }
            let core = (*(*self.as_ptr()).loc_conf.add(ngx_http_core_module.ctx_index))
                .cast::<ngx_http_core_loc_conf_t>();
            let pages = (*core).error_pages;
            !pages.is_null()
                && (*pages)
                    .as_slice::<ngx_http_err_page_t>()
                    .iter()
                    .any(|page| usize::try_from(page.status) == Ok(status))
        }
    }

    /// Whether the client connection is to go on after the response.
    pub fn is_client_kept_alive(self) -> bool {
        // SAFETY: alive (from_raw), and its main request with it.
        unsafe { ngx_http_upstream_ntlm_is_keepalive(self.as_ptr()) != 0 }
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

    /// `r->upstream`.
    ///
    /// # Safety
    ///
    /// The request has one, as a request that is given its peer has.
    pub unsafe fn upstream(self) -> Upstream {
        // SAFETY: alive (from_raw); vouched for by the caller.
        Upstream(unsafe { NonNull::new_unchecked((*self.as_ptr()).upstream) })
    }
}

impl Upstream {
    /// # Safety
    ///
    /// The upstream is not null, and alive while the handle is used.
    pub unsafe fn new(u: *mut ngx_http_upstream_t) -> Self {
        // SAFETY: vouched for by the caller.
        Upstream(unsafe { NonNull::new_unchecked(u) })
    }

    /// The upstream itself, for a call into nginx.
    pub fn as_ptr(self) -> *mut ngx_http_upstream_t {
        self.0.as_ptr()
    }

    /// The peer.
    pub fn peer(self) -> Peer {
        // SAFETY: alive (see the type), and the peer is a part of it.
        unsafe { Peer::new(&raw mut (*self.as_ptr()).peer) }
    }

    /// The group that nginx found for the request.
    pub fn group(self) -> *mut ngx_http_upstream_srv_conf_t {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).upstream }
    }

    /// Applies `proxy_next_upstream_tries`, as nginx does when a chain has been set up.
    pub fn limit_tries(self) {
        let u = self.as_ptr();
        // SAFETY: alive (see the type), and its configuration with it.
        unsafe {
            let most = (*(*u).conf).next_upstream_tries;
            if most != 0 && (*u).peer.tries > most {
                (*u).peer.tries = most;
            }
        }
    }

    /// Names the protocol spoken: each upstream module, and each version of HTTP, has its own `create_request`.
    pub fn protocol(self) -> usize {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).create_request.map_or(0, |function| function as usize) }
    }

    /// Whether it is `proxy_pass` that speaks.
    pub fn speaks_http(self) -> bool {
        // SAFETY: alive (see the type); the schema is configuration or the request's.
        let schema = unsafe { Slice::from_raw((*self.as_ptr()).schema) };
        schema.as_bytes() == b"http://" || schema.as_bytes() == b"https://"
    }

    /// What follows the request target in the request that is to be sent, or sent again, where a target is noted. It is a header
    /// where [`Upstream::speaks_http`].
    #[inline]
    pub fn request_header(self) -> Option<RequestHeader> {
        let u = self.as_ptr();
        // SAFETY: alive (see the type), and with it the chain of buffers that create_request made. It also noted where in
        // the first buffer the request target is. A request that was sent ends where it did, and a retry sends it from the
        // start of the buffer.
        unsafe {
            let start = NonNull::new((*u).uri.data.wrapping_add((*u).uri.len))?;
            let buffer = NonNull::new((*NonNull::new((*u).request_bufs)?.as_ptr()).buf)?;
            let (first, last) = (buffer.as_ref().start.addr(), buffer.as_ref().last.addr());
            let at = start.addr().get();
            (at.wrapping_sub(first) <= last.wrapping_sub(first)).then_some(RequestHeader { buffer, start })
        }
    }

    /// The HTTP status of the response, 0 before there is one.
    pub fn status(self) -> usize {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).headers_in.status_n }
    }

    /// Whether the response has a `WWW-Authenticate` field.
    #[inline]
    pub fn has_www_authenticate(self) -> bool {
        // SAFETY: alive (see the type). nginx sets it when the header has one such field or more.
        unsafe { !(*self.as_ptr()).headers_in.www_authenticate.is_null() }
    }

    /// Whether the value of a `WWW-Authenticate` field of the response passes a test.
    pub fn any_www_authenticate(self, test: fn(&[u8]) -> bool) -> bool {
        if !self.has_www_authenticate() {
            return false;
        }
        let u = self.as_ptr();
        // SAFETY: alive (see the type). Up to 1.22 `www_authenticate` names the last field only, so the list of all
        // fields is walked; it is well formed, since it has that one.
        unsafe {
            let mut part: *const ngx_list_part_t = &raw const (*u).headers_in.headers.part;
            while let Some(here) = part.as_ref() {
                let fields = core::slice::from_raw_parts(here.elts.cast::<ngx_table_elt_t>(), here.nelts);
                let found = fields.iter().any(|field| {
                    field.hash != 0
                        && field.key.as_bytes().eq_ignore_ascii_case(b"www-authenticate")
                        && test(field.value.as_bytes())
                });
                if found {
                    return true;
                }
                part = here.next;
            }
        }
        false
    }

    /// Whether the origin's answer was replaced by one out of a cache (a stale one, or one that the origin confirmed).
    #[inline]
    pub fn is_answered_from_cache(self) -> bool {
        #[cfg(nginx_cache)]
        // SAFETY: alive (see the type).
        unsafe {
            self.may_be_answered_from_cache()
                && matches!(
                    (*self.as_ptr()).cache_status(),
                    nginx_sys::NGX_HTTP_CACHE_STALE | nginx_sys::NGX_HTTP_CACHE_REVALIDATED
                )
        }
        #[cfg(not(nginx_cache))]
        false
    }

    /// True wherever [`Upstream::is_answered_from_cache`] is, and cheaper: both have a bit that no status has with which an
    /// origin's answer goes to the client.
    #[inline]
    pub fn may_be_answered_from_cache(self) -> bool {
        #[cfg(nginx_cache)]
        // SAFETY: alive (see the type).
        unsafe {
            const BIT: u32 = nginx_sys::NGX_HTTP_CACHE_STALE & nginx_sys::NGX_HTTP_CACHE_REVALIDATED;
            const { assert!(BIT.is_power_of_two()) };
            (*self.as_ptr()).cache_status() & BIT != 0
        }
        #[cfg(not(nginx_cache))]
        false
    }

    /// Whether a stale answer out of a cache took the place of the origin's, whose body nobody reads.
    pub fn is_answered_stale(self) -> bool {
        #[cfg(nginx_cache)]
        // SAFETY: alive (see the type).
        unsafe {
            (*self.as_ptr()).cache_status() == nginx_sys::NGX_HTTP_CACHE_STALE
        }
        #[cfg(not(nginx_cache))]
        false
    }

    /// `u->keepalive`: the response was read to its end, and the connection may be used again. After a stale answer
    /// `u->keepalive` tells of that one.
    pub fn is_kept_alive(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).keepalive() != 0 && !self.is_answered_stale() }
    }

    /// Clears `u->keepalive`: no pool below may keep the connection.
    pub fn forbid_keepalive(self) {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).set_keepalive(0) }
    }

    /// `u->request_body_sent`: nothing of the request is still to be sent.
    pub fn is_request_sent(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).request_body_sent() != 0 }
    }

    /// Whether the response's header, already parsed, rules out that the connection is kept: the server says so, its body is
    /// not read to its end, or the request is not wholly sent and never will be.
    #[inline(always)]
    pub fn will_not_be_kept_alive(self, r: Request) -> bool {
        let u = self.as_ptr();
        // SAFETY: alive (see the type), and its configuration with it.
        unsafe {
            (*u).headers_in.connection_close() != 0
                || (((*u).headers_in.content_length_n < 0 || r.is_head()) && self.has_unread_body(r))
                || ((*u).request_body_sent() == 0 && (*(*u).conf).preserve_output() == 0)
        }
    }

    /// Whether the response has a body whose end is marked by nothing but the connection's, or one that is not for the client:
    /// where a cache is configured, nginx sends GET for a HEAD.
    #[inline(never)]
    fn has_unread_body(self, r: Request) -> bool {
        let u = self.as_ptr();
        // SAFETY: alive (see the type).
        let (length, chunked, status) = unsafe {
            ((*u).headers_in.content_length_n, (*u).headers_in.chunked() != 0, (*u).headers_in.status_n)
        };
        let is_head = self.request_header().map_or(r.is_head(), RequestHeader::is_head);
        let has_body = !is_head && !matches!(status, 204 | 304) && (chunked || length != 0);
        has_body && (r.is_head() || (length < 0 && !chunked))
    }

    /// Keeps the response out of `proxy_cache` and `proxy_store`. In time until the header has been sent.
    pub fn forbid_storing(self) {
        // SAFETY: alive (see the type).
        unsafe {
            (*self.as_ptr()).set_cacheable(0);
            (*self.as_ptr()).set_store(0);
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
