//! How a bound upstream connection waits: parking, the events that end the wait, and closing.
//!
//! Must never close a connection that is still in the table, nor leave one in the table that is closed.
#![expect(unsafe_code, reason = "event handlers' trampolines, and what they find on c->data")]

use core::cell::{Cell, RefCell};

use nginx_sys::ngx_event_t;
use ntlm_core::binding::end::End;
use ntlm_core::binding::exchange::Phase;
use ntlm_core::binding::table::Ended;
use ntlm_core::diagnosis::Diagnosis;

use crate::bound::Bound;
use crate::diagnose::diagnose;
use crate::log::{alert, debug, info};
use crate::ngx::{Connection, Readable, StandIn, Timer, now};
use crate::worker::{Table, count_end, publish_soon, will_publish, with_table};

/// Connections that are closed in one turn of nginx's event loop: about a millisecond's work with their clients.
const BATCH: u32 = 32;
/// Milliseconds until the next ones are.
const PAUSE: u64 = 1;

/// Lets a connection wait for the next request of its client. The table has it parked already, and is to be looked at
/// by `expire_by`. The connection may be closed when this returns.
pub fn wait(bound: Bound, expire_by: Option<u64>) {
    STAND_IN.stand();
    publish_soon();
    if let Some(time) = expire_by {
        TIMER.go_off_by(time);
    }
    wait_again(bound);
    if bound.is_rarely_used() {
        bound.connection().stop_timer();
    }
    if bound.connection().is_read_ready() {
        on_readable(bound);
    }
}

/// Whether the worker already has what [`wait`] sees to before a connection waits: an entry in nginx's queue, and a time to publish the live numbers.
pub fn is_prepared() -> bool {
    STAND_IN.stands() && will_publish()
}

/// Lets a quiet connection wait that has waited before, where [`is_prepared`] holds. The caller stops the timer of one that is rarely used.
#[inline(always)]
pub fn wait_again(bound: Bound) {
    let c = bound.connection();
    // SAFETY: the read handler expects the bound connection on c->data; it lives as long as the connection.
    unsafe {
        c.idle(
            bound.data(),
            Some(ngx_http_upstream_ntlm_read_handler),
            Some(ngx_http_upstream_ntlm_dummy_handler),
        );
    }
}

/// A parked connection is readable, or nginx asks it to close.
fn on_readable(bound: Bound) {
    let c = bound.connection();
    if c.take_timeout() {
        return;
    }
    if c.is_closing() {
        if c.is_closing_by_force() || !is_client_kept(bound) {
            end(bound, End::Exiting);
            return;
        }
        // Its client connection goes on for a while: the binding ends with that.
        c.stay();
    }
    match c.peek() {
        Readable::Nothing if c.watch_for_reading() => {}
        Readable::Nothing => end(bound, End::Unwatched),
        Readable::Data => end(bound, End::UnsolicitedData),
        Readable::Closed => end(bound, End::ServerClosed),
    }
}

/// Whether nginx keeps the client connection of a parked binding although the worker exits.
fn is_client_kept(bound: Bound) -> bool {
    let client = with_table(|table| table.client(bound.binding())).flatten();
    client.is_some_and(|client| !client.is_idle())
}

/// Ends a parked binding.
fn end(bound: Bound, end: End) {
    let c = bound.connection();
    let awaited = with_table(|table| table.awaits_answer(bound.binding(), now()));
    match with_table(|table| table.end(bound.binding())).flatten() {
        Some(ended) => {
            // After a refusal, or when the client has given up, the server may close.
            if end == End::ServerClosed && ended.phase == Some(Phase::Handshaking) && awaited == Some(true) {
                diagnose(ended.client.log(), bound.group(), Diagnosis::OriginCloses);
            }
            close(ended, end);
        }
        None => {
            alert!(c.log(), "ntlm: parked upstream connection {} is in no table", c.fd());
            c.close();
        }
    }
}

/// Goes off when the first parked connections may have waited long enough.
static TIMER: Timer = Timer::new(expire);

/// Closes the parked connections that have waited long enough, a batch of them.
fn expire() {
    for _ in 0..BATCH {
        let Some(ended) = with_table(|table| table.expire(now())).flatten() else {
            if let Some(time) = with_table(|table| table.expire_by()).flatten() {
                TIMER.go_off_by(time);
            }
            return;
        };
        close(ended, End::Timeout);
    }
    TIMER.go_off_within(now(), PAUSE);
}

/// Answers for all parked connections when nginx runs short of connections.
static STAND_IN: StandIn = StandIn::new(spare);

/// Closes the parked connection that is the first to go. False when there is none.
fn spare() -> bool {
    if close_next() {
        return true;
    }
    let Some(ended) = with_table(Table::spare).flatten() else { return false };
    count_end(ended.upstream, End::Shortage);
    told(ended.upstream, End::Shortage);
    close_now(ended.upstream, mirrored(ended, End::Shortage));
    true
}

/// Closes an upstream connection that the table has let go of, and its client connection too, at once or after the
/// request it has: the client takes it for authenticated. Where many end at the same moment, later.
pub fn close(ended: Ended<Connection, Bound>, end: End) {
    count_end(ended.upstream, end);
    told(ended.upstream, end);
    close_soon(ended.upstream, mirrored(ended, end));
}

/// The client connection that ends with a binding: not one over which other clients go on, nor one whose client is logged in over another binding
/// and not over this one. In the middle of a login the client has to begin it again, so only an end that others bring about leaves it its connection.
fn mirrored(ended: Ended<Connection, Bound>, end: End) -> Option<Connection> {
    let by_others = matches!(end, End::Evicted | End::Shortage);
    let stays = ended.login_elsewhere && (by_others || ended.phase != Some(Phase::Handshaking));
    (!ended.shared && !stays).then_some(ended.client)
}

/// Closes an upstream connection whose client has left.
pub fn close_of_client(bound: Bound) {
    count_end(bound, End::ClientLeft);
    told(bound, End::ClientLeft);
    close_soon(bound, None);
}

/// Tells the error log of the end of a parked binding. Of an eviction peer/free.rs has told already.
fn told(bound: Bound, end: End) {
    let c = bound.connection();
    if end.is_limit() && end != End::Evicted {
        info!(c.log(), "bound upstream connection {} is closed, {}", c.fd(), end.text());
    } else {
        debug!(c.log(), "parked upstream connection {} is closed, {}", c.fd(), end.text());
    }
}

/// The connections that wait to be closed, and how many this turn of the event loop has closed.
struct Closings {
    waiting: RefCell<Vec<Closing>>,
    /// The turn, by nginx's clock.
    turn: Cell<u64>,
    closed: Cell<u32>,
}

/// A connection that waits to be closed.
struct Closing {
    bound: Bound,
    /// The client connection that is to end with it, and its number.
    client: Option<(Connection, u64)>,
}

// SAFETY: nginx runs the events of a worker, and so all of this module, on one thread.
unsafe impl Sync for Closings {}

static CLOSINGS: Closings =
    Closings { waiting: RefCell::new(Vec::new()), turn: Cell::new(0), closed: Cell::new(0) };
static CLOSINGS_TIMER: Timer = Timer::new(close_batch);

/// Closes a connection at once, or lets it join the row if this turn has closed enough.
fn close_soon(bound: Bound, client: Option<Connection>) {
    if CLOSINGS.turn.replace(now()) != now() {
        CLOSINGS.closed.set(0);
    }
    if CLOSINGS.closed.get() < BATCH || !wait_to_close(bound, client) {
        CLOSINGS.closed.set(CLOSINGS.closed.get() + 1);
        close_now(bound, client);
    }
}

/// Lets a connection join the row. False when there is no memory.
fn wait_to_close(bound: Bound, client: Option<Connection>) -> bool {
    let Ok(mut waiting) = CLOSINGS.waiting.try_borrow_mut() else { return false };
    if waiting.try_reserve(1).is_err() {
        return false;
    }
    bound.connection().set_read_handler(Some(ngx_http_upstream_ntlm_dummy_handler));
    waiting.push(Closing { bound, client: client.map(|client| (client, client.number())) });
    CLOSINGS_TIMER.go_off_within(now(), PAUSE);
    true
}

fn close_now(bound: Bound, client: Option<Connection>) {
    let c = bound.connection();
    if let Some(client) = client {
        if client.close_if_unused() {
            debug!(c.log(), "closing idle client connection {} with it", client.fd());
        } else if bound.is_http1() {
            // SAFETY: it speaks HTTP/1.x, and has had the request that was bound.
            unsafe { client.close_after_request() };
        }
    }
    c.close();
}

/// Closes the first connection of the row. False when there is none.
fn close_next() -> bool {
    let next = CLOSINGS.waiting.try_borrow_mut().ok().and_then(|mut waiting| waiting.pop());
    let Some(Closing { bound, client }) = next else { return false };
    // Its client connection may have closed meanwhile, and be another's.
    let client = client.filter(|&(client, number)| client.is_open() && client.number() == number);
    close_now(bound, client.map(|(client, _)| client));
    true
}

fn close_batch() {
    for _ in 0..BATCH {
        if !close_next() {
            return;
        }
    }
    if CLOSINGS.waiting.try_borrow().is_ok_and(|waiting| !waiting.is_empty()) {
        CLOSINGS_TIMER.go_off_within(now(), PAUSE);
    }
}

/// Closes all that waits to be closed: the worker ends.
pub fn close_row() {
    while close_next() {}
}

/// Called by nginx when a parked connection is readable, or the worker exits.
///
/// # Safety
///
/// Called by nginx only, with the read event of a connection that [`wait`] gave this handler.
unsafe extern "C" fn ngx_http_upstream_ntlm_read_handler(ev: *mut ngx_event_t) {
    // SAFETY: an event's data is its connection; c->data is what `wait` hung there, and both live until `close`.
    let bound = unsafe { Connection::from_raw((*ev).data.cast()).and_then(|c| Bound::of(c)) };
    if let Some(bound) = bound {
        on_readable(bound);
    }
}

/// Called by nginx when a parked connection is writable, which says nothing.
///
/// # Safety
///
/// Called by nginx only.
unsafe extern "C" fn ngx_http_upstream_ntlm_dummy_handler(_ev: *mut ngx_event_t) {}
