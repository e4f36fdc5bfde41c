//! `ngx_http_upstream_t`, and the HTTP/1.x request that it is about to send.
#![expect(unsafe_code, reason = "reads and writes nginx's upstreams")]

use core::ops::Range;
use core::ptr::NonNull;

use nginx_sys::{
    ngx_buf_t, ngx_hash_find, ngx_http_core_loc_conf_t, ngx_http_core_module, ngx_http_err_page_t,
    ngx_http_upstream_srv_conf_t, ngx_http_upstream_t, ngx_str_t, ngx_table_elt_t,
};

use super::{Peer, Request, Slice};

/// Bytes that the socket of an idle connection takes at once.
const AT_ONCE: usize = 8192;

/// `r->upstream` of a request that is alive while the handle is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream(NonNull<ngx_http_upstream_t>);

/// The header of an HTTP/1.x request that is about to be sent, from after the request target. Alive, and nobody else's,
/// while the handle is used.
#[derive(Clone, Copy)]
pub struct RequestHeader {
    buffer: NonNull<ngx_buf_t>,
    start: NonNull<u8>,
}

/// Where a byte is found first.
pub fn find_byte(bytes: &[u8], byte: u8) -> Option<usize> {
    // SAFETY: memchr reads these bytes only, and what it finds lies there.
    unsafe {
        let start = bytes.as_ptr();
        let found = nginx_sys::memchr(start.cast(), byte.into(), bytes.len() as _).cast::<u8>();
        (!found.is_null()).then(|| found.cast_const().offset_from_unsigned(start))
    }
}

impl Request {
    /// `r->upstream`; `None` for a request that has none.
    pub fn upstream(self) -> Option<Upstream> {
        // SAFETY: alive (from_raw); a request's upstream lives as long as the request.
        unsafe { Upstream::from_raw((*self.as_ptr()).upstream) }
    }

    /// Whether this is its upstream.
    pub fn goes_through(self, u: Upstream) -> bool {
        // SAFETY: alive (from_raw).
        unsafe { (*self.as_ptr()).upstream == u.as_ptr() }
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

    /// The bytes as they were sent, or are to be sent again; they live as long as the request.
    pub fn sent(self) -> Slice {
        // SAFETY: as for `bytes`; once the request is sent nobody changes them.
        unsafe {
            let len = self.buffer.as_ref().last.cast_const().offset_from_unsigned(self.start.as_ptr());
            Slice::from_raw(ngx_str_t { len, data: self.start.as_ptr() })
        }
    }

    /// The bytes before the header: the method, a space and the request target. They live as long as the request.
    pub fn before(self) -> Slice {
        // SAFETY: the buffer is alive (see the type). `request_header` has checked that its start comes before the header, and
        // create_request wrote what lies in between.
        unsafe {
            let start = self.buffer.as_ref().start;
            let len = self.start.as_ptr().cast_const().offset_from_unsigned(start.cast_const());
            Slice::from_raw(ngx_str_t { len, data: start })
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

impl Upstream {
    /// # Safety
    ///
    /// The upstream is alive while the handle is used.
    pub unsafe fn from_raw(u: *mut ngx_http_upstream_t) -> Option<Self> {
        NonNull::new(u).map(Upstream)
    }

    /// # Safety
    ///
    /// As for `from_raw`, and it is not null.
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

    /// The group that the location says; null where its value has variables.
    pub fn configured_group(self) -> *mut ngx_http_upstream_srv_conf_t {
        // SAFETY: alive (see the type), and its configuration with it, once a handler has set it.
        unsafe { (*self.as_ptr()).conf.as_ref().map_or(core::ptr::null_mut(), |conf| conf.upstream) }
    }

    /// The server that the request asks for, as a URL names it: whether its scheme is `https`, its host and its port.
    pub fn site(self) -> (bool, Slice, u16) {
        let u = self.as_ptr();
        // SAFETY: alive (see the type), and with it the group or what the value of `proxy_pass` says.
        let (host, port) = unsafe {
            match ((*u).upstream.as_ref(), (*u).resolved.as_ref()) {
                (Some(us), _) => (us.host, us.port),
                (None, Some(resolved)) => (resolved.host, resolved.port),
                (None, None) => (ngx_str_t::empty(), 0),
            }
        };
        // SAFETY: as above.
        (self.is_tls(), unsafe { Slice::from_raw(host) }, port)
    }

    /// Whether it speaks TLS.
    pub fn is_tls(self) -> bool {
        #[cfg(nginx_tls)]
        // SAFETY: alive (see the type).
        return unsafe { (*self.as_ptr()).ssl() != 0 };
        #[cfg(not(nginx_tls))]
        false
    }

    /// Applies `proxy_next_upstream_tries`, as nginx does after `peer.init`.
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

    /// Milliseconds that nginx waits for the answer after it has sent the request.
    pub fn read_timeout(self) -> usize {
        // SAFETY: alive (see the type), and its configuration with it.
        unsafe { (*(*self.as_ptr()).conf).read_timeout }
    }

    /// Whether the socket of an idle connection takes the request at once: it is not too long, has no body, and can have none
    /// (`proxy_request_buffering off`).
    pub fn is_sent_at_once(self) -> bool {
        // SAFETY: alive (see the type), and with it its configuration and the chain of buffers that create_request made.
        unsafe {
            let first = (*self.as_ptr()).request_bufs.as_ref().filter(|first| first.next.is_null());
            let length = first.map(|first| (*first.buf).last.addr().wrapping_sub((*first.buf).pos.addr()));
            length.is_some_and(|length| length <= AT_ONCE) && (*(*self.as_ptr()).conf).request_buffering != 0
        }
    }

    /// Names the protocol spoken: each upstream module, and each version of HTTP, has its own `create_request`.
    pub fn protocol(self) -> usize {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).create_request.map_or(0, |function| function as usize) }
    }

    /// Whether a field of the response is kept from the client (`proxy_hide_header`).
    ///
    /// # Safety
    ///
    /// `h` is a field of the response that nginx has parsed.
    pub unsafe fn hides(self, h: *mut ngx_table_elt_t) -> bool {
        // SAFETY: alive (see the type), and its configuration with it; vouched for by the caller. ngx_hash_find reads the hash as
        // ngx_http_upstream_process_headers has it do for the same field.
        unsafe {
            let hash = &raw mut (*(*self.as_ptr()).conf).hide_headers_hash;
            (*hash).size != 0 && !ngx_hash_find(hash, (*h).hash, (*h).lowcase_key, (*h).key.len).is_null()
        }
    }

    /// Whether it is `proxy_pass` that speaks. nginx keeps the scheme as it was written, and compares it without case.
    pub fn speaks_http(self) -> bool {
        // SAFETY: alive (see the type); the schema is configuration or the request's.
        let schema = unsafe { Slice::from_raw((*self.as_ptr()).schema) };
        [b"http://".as_slice(), b"https://"].iter().any(|known| schema.as_bytes().eq_ignore_ascii_case(known))
    }

    /// The request target as the server gets it; empty where none is noted.
    pub fn target(self) -> Slice {
        // SAFETY: alive (see the type), and with it what create_request noted.
        unsafe { Slice::from_raw((*self.as_ptr()).uri) }
    }

    /// Whether the method or the request target that goes to the server has line ends in it.
    pub fn breaks_request_line(self) -> bool {
        let before = self.request_header().map_or(Slice::EMPTY, RequestHeader::before);
        [b'\r', b'\n'].iter().any(|&end| find_byte(before.as_bytes(), end).is_some())
    }

    /// Whether a connection is at work for it: nginx has one and will free the peer.
    pub fn has_connection(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { !(*self.as_ptr()).peer.connection.is_null() && !(*self.as_ptr()).peer.sockaddr.is_null() }
    }

    /// What follows the request target in the request that is to be sent, or sent again, where a target is noted. It is a header
    /// where [`Upstream::speaks_http`].
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
            let header = RequestHeader { buffer, start };
            // A protocol that is not text may note a target, too.
            (at.wrapping_sub(first) <= last.wrapping_sub(first)
                && header.sent().as_bytes().starts_with(b" HTTP/1."))
            .then_some(header)
        }
    }

    /// The HTTP status of the response, 0 before there is one.
    pub fn status(self) -> usize {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).headers_in.status_n }
    }

    /// Calls `look` with name and value of each field of the origin's answer. They live as long as the request.
    pub fn each_answered_field(self, look: impl FnMut(Slice, Slice)) {
        // SAFETY: alive (see the type); nginx makes the list before it reads an answer.
        unsafe { Request::each_of(&raw const (*self.as_ptr()).headers_in.headers.part, look) };
    }

    /// Whether the origin's answer was replaced by one out of a cache (a stale one, or one that the origin confirmed).
    pub fn is_answered_from_cache(self) -> bool {
        #[cfg(nginx_cache)]
        // SAFETY: alive (see the type).
        unsafe {
            matches!(
                (*self.as_ptr()).cache_status(),
                nginx_sys::NGX_HTTP_CACHE_STALE | nginx_sys::NGX_HTTP_CACHE_REVALIDATED
            )
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

    /// `u->keepalive`: the response was read to its end, and the connection may be used again. False after a stale answer out of a
    /// cache, which `u->keepalive` describes then.
    pub fn is_kept_alive(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).keepalive() != 0 && !self.is_answered_stale() }
    }

    /// Clears `u->keepalive`: no pool below may keep the connection.
    pub fn forbid_keepalive(self) {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).set_keepalive(0) }
    }

    /// Treats the answer as one whose server closes the connection.
    pub fn close_after_answer(self) {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).headers_in.set_connection_close(1) }
    }

    /// `u->request_body_sent`: nothing of the request is still to be sent.
    pub fn is_request_sent(self) -> bool {
        // SAFETY: alive (see the type).
        unsafe { (*self.as_ptr()).request_body_sent() != 0 }
    }

    /// Whether the response's header, already parsed, rules out that the connection is kept: the server says so, its body is
    /// not read to its end, or the request is not wholly sent and never will be.
    pub fn will_not_be_kept_alive(self, r: Request) -> bool {
        self.is_cut_off() || self.has_unread_body(r)
    }

    /// A first look, which costs less: where this is false, so is [`Upstream::will_not_be_kept_alive`].
    pub fn might_not_be_kept_alive(self, r: Request) -> bool {
        self.is_cut_off() || self.ends_with_connection() || r.is_head()
    }

    /// Whether the server says that it closes, or the request is not wholly sent and never will be.
    fn is_cut_off(self) -> bool {
        let u = self.as_ptr();
        // SAFETY: alive (see the type), and its configuration with it.
        unsafe {
            (*u).headers_in.connection_close() != 0
                || ((*u).request_body_sent() == 0 && (*(*u).conf).preserve_output() == 0)
        }
    }

    /// Whether nothing but the connection's end marks the end of the response's body, if it has one.
    fn ends_with_connection(self) -> bool {
        // SAFETY: alive (see the type).
        let answer = unsafe { &(*self.as_ptr()).headers_in };
        answer.content_length_n < 0 && answer.chunked() == 0
    }

    /// Whether the response has a body whose end is marked by nothing but the connection's, or one that is not for the client:
    /// where a cache is configured, nginx sends GET for a HEAD.
    fn has_unread_body(self, r: Request) -> bool {
        if !r.is_head() && !self.ends_with_connection() {
            return false;
        }
        // SAFETY: alive (see the type).
        let answer = unsafe { &(*self.as_ptr()).headers_in };
        let is_head = self.request_header().map_or(r.is_head(), RequestHeader::is_head);
        let is_empty = answer.content_length_n == 0 && answer.chunked() == 0;
        !is_head && !matches!(answer.status_n, 204 | 304) && !is_empty
    }

    /// Keeps the response out of `proxy_cache` and `proxy_store`. To be called before the header is sent.
    pub fn forbid_storing(self) {
        // SAFETY: alive (see the type).
        unsafe {
            (*self.as_ptr()).set_cacheable(0);
            (*self.as_ptr()).set_store(0);
        }
    }
}
