//! Requests that wait before their content handler answers them, as those of `limit_req` wait before theirs.
#![expect(unsafe_code, reason = "reads and writes nginx's requests and events")]

use nginx_sys::{
    ngx_add_timer, ngx_del_timer, ngx_http_block_reading, ngx_http_finalize_request,
    ngx_http_read_client_request_body, ngx_http_request_empty_handler, ngx_http_request_t,
    ngx_http_test_reading, ngx_msec_t, ngx_post_event, ngx_posted_events,
};

use super::{Request, Status};

/// A handler of a request's events.
type Handler = unsafe extern "C" fn(*mut ngx_http_request_t);

impl Request {
    /// Reads the whole body, and calls `handler` then, maybe at once. Returns what the content handler is to return.
    ///
    /// # Safety
    ///
    /// Called by the content handler of this main request, and `handler` may be called with it.
    pub unsafe fn read_body(self, handler: Handler) -> Status {
        // SAFETY: alive (from_raw); the rest is vouched for by the caller.
        let status = Status(unsafe { ngx_http_read_client_request_body(self.as_ptr(), Some(handler)) });
        if status.0 >= nginx_sys::NGX_HTTP_SPECIAL_RESPONSE as _ { status } else { Status::DONE }
    }

    /// Lets the request wait: nginx calls `handler` after `time` milliseconds, and when it is woken. A client that leaves ends the request.
    ///
    /// # Safety
    ///
    /// The body is read, and `handler` may be called with this request.
    pub unsafe fn suspend(self, handler: Handler, time: u64) {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and its connection with it.
        unsafe {
            let event = (*(*r).connection).write;
            (*r).read_event_handler = Some(ngx_http_test_reading);
            (*r).write_event_handler = Some(handler);
            // ngx_http_request_handler takes it back when the time is over.
            (*event).set_delayed(1);
            ngx_add_timer(event, ngx_msec_t::try_from(time).unwrap_or(ngx_msec_t::MAX / 2));
        }
    }

    /// Whether the time of a request that waits is over.
    pub fn is_overdue(self) -> bool {
        // SAFETY: alive (from_raw), and its connection with it.
        unsafe { (*(*(*self.as_ptr()).connection).write).delayed() == 0 }
    }

    /// Has nginx call the handler of a request that waits, when it has handled the present event.
    pub fn wake(self) {
        // SAFETY: alive (from_raw), and its connection with it, which takes the event back when it closes.
        unsafe { ngx_post_event((*(*self.as_ptr()).connection).write, &raw mut ngx_posted_events) };
    }

    /// Ends the wait: `answer` is the content handler that goes on.
    ///
    /// # Safety
    ///
    /// Called by the handler of a request that waits, which touches nothing of it afterwards. `answer` may be called with it.
    pub unsafe fn resume(self, answer: impl FnOnce(Self) -> Status) {
        let r = self.as_ptr();
        // SAFETY: alive (from_raw), and its connection with it; the rest is vouched for by the caller.
        unsafe {
            let event = (*(*r).connection).write;
            (*event).set_delayed(0);
            if (*event).timer_set() != 0 {
                ngx_del_timer(event);
            }
            (*r).read_event_handler = Some(ngx_http_block_reading);
            (*r).write_event_handler = Some(ngx_http_request_empty_handler);
            ngx_http_finalize_request(r, answer(self).0);
        }
    }
}
