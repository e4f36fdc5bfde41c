//! Streams of HTTP/2, and the reset by which nginx asks their clients for HTTP/1.1.
//!
//! `ngx_http_v2_terminate_stream` and what it calls are static in nginx. What they do to the connection is done here in the same
//! order, so that nginx's own accounts of frames and bytes stay right.
#![expect(unsafe_code, reason = "reads requests, and queues a frame on nginx's HTTP/2 connections")]

use nginx_sys::{ngx_http_request_t, ngx_uint_t};

use super::Request;

#[cfg(nginx_http2)]
use core::ptr::NonNull;
#[cfg(nginx_http2)]
use nginx_sys::{
    ngx_alloc_chain_link, ngx_create_temp_buf, ngx_http_v2_connection_t, ngx_http_v2_out_frame_t, ngx_int_t,
    ngx_pcalloc, ngx_pool_t, ngx_post_event, ngx_posted_events,
};

#[cfg(nginx_http2)]
use super::Status;

unsafe extern "C" {
    // bits.c
    fn ngx_http_upstream_ntlm_is_repeatable(r: *mut ngx_http_request_t) -> ngx_uint_t;
    fn ngx_http_upstream_ntlm_has_whole_body(r: *mut ngx_http_request_t) -> ngx_uint_t;
}

/// `HTTP_1_1_REQUIRED` (RFC 9113 section 7).
#[cfg(nginx_http2)]
const HTTP_1_1_REQUIRED: u32 = 0xd;
/// The bytes of `RST_STREAM` after its header.
#[cfg(nginx_http2)]
const RST_STREAM_SIZE: u8 = 4;
#[cfg(nginx_http2)]
const RST_STREAM_TYPE: u8 = 3;
#[cfg(nginx_http2)]
const FRAME_HEADER_SIZE: i64 = 9;
/// `NGX_HTTP_V2_FRAME_BUFFER_SIZE`: nginx uses the frame for others afterwards.
#[cfg(nginx_http2)]
const FRAME_BUFFER_SIZE: usize = 24;
/// The most frames that `ngx_http_v2_get_frame` makes for a connection.
#[cfg(nginx_http2)]
const MOST_FRAMES: ngx_uint_t = 10_000;
/// The status that nginx writes into the access log for a stream that the module turned back: 421 (Misdirected Request).
#[cfg(nginx_http2)]
const STATUS: ngx_uint_t = 421;

impl Request {
    /// Whether it came over a stream of HTTP/2.
    pub fn is_http2(self) -> bool {
        #[cfg(nginx_http2)]
        // SAFETY: alive (from_raw).
        unsafe {
            !(*self.as_ptr()).stream.is_null()
        }
        #[cfg(not(nginx_http2))]
        false
    }

    /// Whether the client can repeat the request whole: it has no body, and nothing of the response is on its way.
    pub fn is_repeatable(self) -> bool {
        // SAFETY: alive (from_raw), and its main request with it.
        unsafe { ngx_http_upstream_ntlm_is_repeatable(self.as_ptr()) != 0 }
    }

    /// Whether the request has a `Content-Length`, came over HTTP/2, its body has come whole, and no origin has seen it yet.
    pub fn has_whole_body(self) -> bool {
        // SAFETY: alive (from_raw), and its stream with it.
        unsafe { ngx_http_upstream_ntlm_has_whole_body(self.as_ptr()) != 0 }
    }

    /// The number of the request's stream, and of the last one that its client has opened; `None` where it has no stream.
    pub fn stream_ids(self) -> Option<(usize, usize)> {
        #[cfg(nginx_http2)]
        // SAFETY: alive (from_raw), and with it its stream, the stream's connection and node.
        unsafe {
            let stream = NonNull::new((*self.as_ptr()).stream)?.as_ptr();
            Some(((*(*stream).node).id, (*(*stream).connection).last_sid))
        }
        #[cfg(not(nginx_http2))]
        None
    }

    /// Resets the request's stream with `HTTP_1_1_REQUIRED`. The caller then ends the request with [`Status::ERROR`], and touches
    /// nothing of the connection meanwhile. False where nothing was sent: it has no stream, the stream or its connection is at its end
    /// already, there is no memory, or the client does not take the frames that wait.
    pub fn turn_back(self) -> bool {
        #[cfg(nginx_http2)]
        // SAFETY: alive (from_raw), and with it its main request, its stream and the stream's connection.
        unsafe {
            let Some(stream) = NonNull::new((*self.as_ptr()).stream) else { return false };
            let stream = stream.as_ptr();
            let h2c = (*stream).connection;
            let c = (*h2c).connection;
            if (*stream).rst_sent() != 0 || (*stream).out_closed() != 0 || (*c).error() != 0 {
                return false;
            }
            let Some(id) = u32::try_from((*(*stream).node).id).ok() else { return false };
            let Some(frame) = get_frame(h2c) else { return false };
            write_frame(frame, id);
            queue_blocked_frame(h2c, frame);
            (*stream).set_rst_sent(1);
            (*stream).set_skip_data(1);
            (*(*(*stream).request).connection).set_error(1);
            // NGINX 1.18 does not run posted requests when a body has come, so that a request ended there would stay. This event
            // runs them; ngx_http_v2_close_stream takes it back.
            ngx_post_event((*(*(*stream).request).connection).write, &raw mut ngx_posted_events);
            // nginx sends what is queued when it has handled what it reads; else nothing would remind it.
            if (*h2c).blocked() == 0 {
                ngx_post_event((*c).write, &raw mut ngx_posted_events);
            }
            (*(*self.as_ptr()).main).err_status = STATUS;
        }
        cfg!(nginx_http2)
    }
}

/// A frame for the connection's own use, as `ngx_http_v2_get_frame` gets it. `None` where that would end the connection.
///
/// # Safety
///
/// `h2c` is a live connection of HTTP/2.
#[cfg(nginx_http2)]
unsafe fn get_frame(h2c: *mut ngx_http_v2_connection_t) -> Option<NonNull<ngx_http_v2_out_frame_t>> {
    // SAFETY: vouched for by the caller. A frame in `free_frames` has a buffer of FRAME_BUFFER_SIZE; what is made here is as
    // nginx makes it, in the pool that nginx takes for it, which outlives the frame.
    unsafe {
        if let Some(frame) = NonNull::new((*h2c).free_frames) {
            (*h2c).free_frames = (*frame.as_ptr()).next;
            let buf = (*(*frame.as_ptr()).first).buf;
            (*buf).pos = (*buf).start;
            (*frame.as_ptr()).set_blocked(0);
            return Some(frame);
        }
        if (*h2c).frames >= MOST_FRAMES {
            return None;
        }
        let pool: *mut ngx_pool_t =
            if (*h2c).pool.is_null() { (*(*h2c).connection).pool } else { (*h2c).pool };
        let frame = NonNull::new(ngx_pcalloc(pool, size_of::<ngx_http_v2_out_frame_t>()))?
            .cast::<ngx_http_v2_out_frame_t>();
        let link = NonNull::new(ngx_alloc_chain_link(pool))?.as_ptr();
        let buf = NonNull::new(ngx_create_temp_buf(pool, FRAME_BUFFER_SIZE))?.as_ptr();
        (*buf).set_last_buf(1);
        (*link).buf = buf;
        (*frame.as_ptr()).first = link;
        (*frame.as_ptr()).last = link;
        (*frame.as_ptr()).handler = Some(ngx_http_upstream_ntlm_v2_frame_handler);
        (*h2c).frames += 1;
        Some(frame)
    }
}

/// Makes a frame `RST_STREAM`.
///
/// # Safety
///
/// `frame` is what [`get_frame`] returned.
#[cfg(nginx_http2)]
unsafe fn write_frame(frame: NonNull<ngx_http_v2_out_frame_t>, id: u32) {
    let [a, b, c, d] = id.to_be_bytes();
    let [e, f, g, h] = HTTP_1_1_REQUIRED.to_be_bytes();
    let bytes = [0, 0, RST_STREAM_SIZE, RST_STREAM_TYPE, 0, a, b, c, d, e, f, g, h];
    // SAFETY: vouched for by the caller; the buffer is longer than these bytes.
    unsafe {
        let buf = (*(*frame.as_ptr()).first).buf;
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), (*buf).pos, bytes.len());
        (*buf).last = (*buf).pos.add(bytes.len());
        (*frame.as_ptr()).length = RST_STREAM_SIZE.into();
    }
}

/// `ngx_http_v2_queue_blocked_frame`, which is inline: before all frames that belong to a stream and have not been begun.
///
/// # Safety
///
/// `h2c` is a live connection of HTTP/2, and `frame` is in no queue.
#[cfg(nginx_http2)]
unsafe fn queue_blocked_frame(h2c: *mut ngx_http_v2_connection_t, frame: NonNull<ngx_http_v2_out_frame_t>) {
    // SAFETY: vouched for by the caller; the queue is a list of live frames, the last to be sent first.
    unsafe {
        let mut out: *mut *mut ngx_http_v2_out_frame_t = &raw mut (*h2c).last_out;
        while let Some(here) = (*out).as_ref()
            && here.blocked() == 0
            && !here.stream.is_null()
        {
            out = &raw mut (**out).next;
        }
        (*frame.as_ptr()).next = *out;
        *out = frame.as_ptr();
    }
}

/// Called by `ngx_http_v2_send_output_queue` when it has sent as much as it could, as `ngx_http_v2_frame_handler` is: nginx takes
/// the frame for others of its own afterwards.
///
/// # Safety
///
/// Called by nginx only, with a frame that [`get_frame`] made.
#[cfg(nginx_http2)]
unsafe extern "C" fn ngx_http_upstream_ntlm_v2_frame_handler(
    h2c: *mut ngx_http_v2_connection_t,
    frame: *mut ngx_http_v2_out_frame_t,
) -> ngx_int_t {
    // SAFETY: ngx_http_v2_send_output_queue passes a live connection and its frame.
    unsafe {
        let buf = (*(*frame).first).buf;
        if (*buf).pos != (*buf).last {
            return nginx_sys::NGX_AGAIN as ngx_int_t;
        }
        (*frame).next = (*h2c).free_frames;
        (*h2c).free_frames = frame;
        (*h2c).total_bytes += FRAME_HEADER_SIZE + (*frame).length.try_into().unwrap_or(0);
    }
    Status::OK.0
}
