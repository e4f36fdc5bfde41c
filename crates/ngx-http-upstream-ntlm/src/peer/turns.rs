//! Requests over HTTP/2 and HTTP/3 that take turns. While the binding of their client is in use, or another request of it is a leg of a
//! login, the origin would refuse them over another connection; those with a body wait, when it is read, until that is over.
//! `ntlm_core::binding::turn_back` decides which.
//!
//! This file is the content handler of the locations whose `proxy_pass` leads to a group with `ntlm`, before `proxy_pass`. Must never keep
//! a request that nginx has let go of, nor let one wait for another for longer than [`PATIENCE`].
#![expect(unsafe_code, reason = "trampolines, and what is noted in the pools of requests and connections")]

use core::cell::Cell;
use core::ffi::c_void;
use core::ptr::NonNull;

use nginx_sys::{ngx_http_request_t, ngx_int_t};
use ntlm_core::binding::turn_back::{Arrival, Leg, Met};

use super::leg::leg;
use crate::client::{self, protocol};
use crate::credentials::Carried;
use crate::group::{Group, Location};
use crate::log::debug;
use crate::ngx::{Connection, Request, Status, now};
use crate::worker::with_table;

/// Milliseconds that a request waits for one other; then it goes to the origin without the binding.
const PATIENCE: u64 = 5_000;

/// What the module notes about a client connection of HTTP/2 or HTTP/3, in its pool.
#[derive(Default)]
pub struct Streams {
    /// The last stream that the client had opened when one of them was turned back; 0 before that.
    pub last: Cell<usize>,
    /// The requests that take turns, group by group.
    lines: Cell<Option<NonNull<Line>>>,
}

impl Streams {
    /// That of a client connection; `None` where nothing was noted yet.
    pub fn find<'a>(client: Connection) -> Option<&'a Streams> {
        let noted =
            client.pool()?.cleanup_data::<NonNull<Streams>>(Some(ngx_http_upstream_ntlm_streams_cleanup))?;
        // SAFETY: only `find_or_add` adds cleanups with this handler. Each owns the address of a note in the same pool, which outlives the
        // requests of the connection.
        Some(unsafe { noted.read().as_ref() })
    }

    /// That of a client connection, made now if there is none. `None` when there is no memory.
    pub fn find_or_add<'a>(client: Connection) -> Option<&'a Streams> {
        if let Some(noted) = Self::find(client) {
            return Some(noted);
        }
        let pool = client.pool()?;
        let noted = pool.place(Streams::default())?;
        pool.add_cleanup(Some(ngx_http_upstream_ntlm_streams_cleanup), noted)?;
        // SAFETY: as for `find`.
        Some(unsafe { noted.as_ref() })
    }
}

/// The requests of one client connection to one group that wait, in the pool of the connection.
struct Line {
    client: Connection,
    group: NonNull<Group>,
    /// How many requests go on that are legs of a login, or have waited themselves.
    going: Cell<u32>,
    first: Cell<Option<NonNull<Turn>>>,
    /// When a request that waited has had its turn last.
    moved: Cell<u64>,
    /// That of the connection's requests to another group.
    next: Option<NonNull<Line>>,
}

/// A request over a stream, in its pool.
struct Turn {
    r: Request,
    line: NonNull<Line>,
    leg: Leg,
    state: Cell<State>,
    /// When it began to wait.
    since: Cell<u64>,
    /// The request behind it in the line.
    next: Cell<Option<NonNull<Turn>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nobody waits for it.
    Beside,
    /// It is in the line.
    Waiting,
    /// Others wait until it is over.
    Going,
}

impl Line {
    /// The line of a client connection's requests to a group, made now if there is none. `None` when there is no memory.
    fn of<'a>(client: Connection, group: NonNull<Group>) -> Option<&'a Line> {
        let streams = Streams::find_or_add(client)?;
        // SAFETY: they lie in the pool of the connection, which outlives its requests.
        let at = |line: NonNull<Line>| unsafe { line.as_ref() };
        let lines = core::iter::successors(streams.lines.get().map(at), |line| line.next.map(at));
        if let Some(line) = lines.into_iter().find(|line| line.group == group) {
            return Some(line);
        }
        let line = client.pool()?.place(Line {
            client,
            group,
            going: Cell::new(0),
            first: Cell::new(None),
            moved: Cell::new(0),
            next: streams.lines.get(),
        })?;
        streams.lines.set(Some(line));
        Some(at(line))
    }

    fn group(&self) -> &Group {
        // SAFETY: the configuration of a group outlives its requests.
        unsafe { self.group.as_ref() }
    }

    /// What a request finds that has its turn.
    fn met(&self) -> Met {
        if self.going.get() > 0 {
            return Met::Busy;
        }
        let (number, group) = (self.client.number(), self.group().id);
        let meet = |id| with_table(|table| table.meet_any(id, number, group, now()));
        client::find(self.client).and_then(meet).unwrap_or(Met::Nothing)
    }

    /// Lets the first request see whether it is its turn.
    fn wake(&self) {
        if let Some(first) = self.first.get() {
            // SAFETY: a request leaves the line before its pool is destroyed.
            unsafe { first.as_ref() }.r.wake();
        }
    }

    /// What leads to a request of the line, or with `None` to the next one that joins it.
    fn link(&self, turn: Option<NonNull<Turn>>) -> &Cell<Option<NonNull<Turn>>> {
        let mut link = &self.first;
        while let Some(here) = link.get().filter(|&here| Some(here) != turn) {
            // SAFETY: as for `wake`.
            link = unsafe { &here.as_ref().next };
        }
        link
    }
}

impl Turn {
    /// The turn of a request; `None` where it takes none.
    fn of<'a>(r: Request) -> Option<&'a Turn> {
        let turn = r.pool().cleanup_data::<NonNull<Turn>>(Some(ngx_http_upstream_ntlm_turn_cleanup))?;
        // SAFETY: only `add` adds cleanups with this handler, and each owns the address of a turn in the same pool.
        Some(unsafe { turn.read().as_ref() })
    }

    /// Notes a request. `None` when there is no memory.
    fn add<'a>(r: Request, line: &Line, leg: Leg) -> Option<&'a Turn> {
        let turn = r.pool().place(Turn {
            r,
            line: NonNull::from(line),
            leg,
            state: Cell::new(State::Beside),
            since: Cell::new(0),
            next: Cell::new(None),
        })?;
        r.pool().add_cleanup(Some(ngx_http_upstream_ntlm_turn_cleanup), turn)?;
        // SAFETY: it lives as long as the request.
        Some(unsafe { turn.as_ref() })
    }

    fn line(&self) -> &Line {
        // SAFETY: it lies in the pool of the client connection, which outlives the request.
        unsafe { self.line.as_ref() }
    }

    /// Whether the request waits where it finds this.
    fn waits(&self, met: Met) -> bool {
        let (r, multiplexing) = (self.r, self.line().group().multiplexing);
        Arrival { multiplexing, protocol: protocol(r), repeatable: r.is_repeatable(), leg: self.leg, met }
            .waits()
    }

    /// Joins the line.
    fn wait(&self) {
        self.line().link(None).set(Some(NonNull::from(self)));
        self.state.set(State::Waiting);
        self.since.set(now());
        // SAFETY: the body has been read, and the handler is for requests that wait.
        unsafe { self.r.suspend(ngx_http_upstream_ntlm_turn_handler, PATIENCE) };
        debug!(self.r.log(), "waiting for the requests before it");
        self.line().wake();
    }

    /// From now on others wait until the request is over.
    fn go(&self) {
        self.state.set(State::Going);
        self.line().going.set(self.line().going.get() + 1);
    }

    /// Leaves the line, or lets the others go on.
    fn leave(&self) {
        match self.state.replace(State::Beside) {
            State::Beside => {}
            State::Waiting => self.line().link(Some(NonNull::from(self))).set(self.next.get()),
            State::Going => self.line().going.set(self.line().going.get() - 1),
        }
        self.line().wake();
    }

    /// Goes on if it is the turn of the request, or it has waited for too long.
    fn look(&self) {
        let line = self.line();
        let is_mine = line.first.get() == Some(NonNull::from(self)) && !self.waits(line.met());
        if !is_mine {
            let until = self.since.get().max(line.moved.get()) + PATIENCE;
            if !self.r.is_overdue() {
                return;
            }
            if until > now() {
                // SAFETY: as for `wait`.
                unsafe { self.r.suspend(ngx_http_upstream_ntlm_turn_handler, until - now()) };
                return;
            }
        }
        self.leave();
        if is_mine {
            self.go();
            line.moved.set(now());
        }
        debug!(self.r.log(), "waited for {} ms", now() - self.since.get());
        // SAFETY: only the handler of a request that waits calls this.
        unsafe { self.r.resume(pass_on) };
    }
}

/// The content handler of a location whose `proxy_pass` leads to a group with `ntlm`.
///
/// # Safety
///
/// Called by `ngx_http_core_content_phase`.
pub unsafe extern "C" fn ngx_http_upstream_ntlm_content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: ngx_http_core_content_phase passes a live request.
    let r = unsafe { Request::new(r) };
    if r.is_http1() { pass_on(r).0 } else { arrive(r).unwrap_or_else(|| pass_on(r)).0 }
}

/// Hands a request to the content handler that the location had.
fn pass_on(r: Request) -> Status {
    let Some(handler) = Location::of(r).content else { return Status::ERROR };
    // SAFETY: it is the content handler of the request's location.
    Status(unsafe { handler(r.as_ptr()) })
}

/// What nginx is told of a request over a stream that waits; `None` for one that goes on.
#[cold]
fn arrive(r: Request) -> Option<Status> {
    // An internal redirect may bring a request here again.
    if !r.is_main() || Turn::of(r).is_some() {
        return None;
    }
    let line = Line::of(r.client_connection(), NonNull::new(Location::of(r).group)?)?;
    let carried = Carried::by_client(r);
    let leg = match carried {
        Carried::Nowhere if r.authorization().is_none() => Leg::None,
        Carried::Field(value) => leg(value.as_bytes()),
        // `Basic` and its like need no binding.
        Carried::Nowhere | Carried::Unreadable => Leg::Other,
    };
    let turn = Turn::add(r, line, leg)?;
    // Those that wait already have theirs first.
    if turn.waits(if line.first.get().is_some() { Met::Busy } else { line.met() }) {
        // SAFETY: this is the content handler, and the function is for requests that wait.
        return Some(unsafe { r.read_body(ngx_http_upstream_ntlm_body_handler) });
    }
    // A client with a binding may send tickets with all its requests.
    let repeats = leg == Leg::Ticket && client::find(line.client).is_some();
    if matches!(carried, Carried::Field(_)) && !repeats {
        turn.go();
    }
    None
}

/// Called when the body of a request that has to wait is read.
///
/// # Safety
///
/// Called by nginx only, with the request for which `arrive` asked that.
unsafe extern "C" fn ngx_http_upstream_ntlm_body_handler(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes a live request.
    if let Some(turn) = Turn::of(unsafe { Request::new(r) }) {
        turn.wait();
    }
}

/// Called when a request that waits was woken, or its time is over.
///
/// # Safety
///
/// Called by nginx only, with the request that [`Turn::wait`] let wait.
unsafe extern "C" fn ngx_http_upstream_ntlm_turn_handler(r: *mut ngx_http_request_t) {
    // SAFETY: nginx passes a live request.
    if let Some(turn) = Turn::of(unsafe { Request::new(r) }) {
        turn.look();
    }
}

/// Called by `ngx_destroy_pool` when a request is over that may have waited, or for which others wait.
///
/// # Safety
///
/// Called by nginx only, with the data of a cleanup that [`Turn::add`] added.
unsafe extern "C" fn ngx_http_upstream_ntlm_turn_cleanup(data: *mut c_void) {
    if let Some(turn) = NonNull::new(data.cast::<NonNull<Turn>>()) {
        // SAFETY: ngx_destroy_pool passes the data of a cleanup that `add` added, and frees the pool after its cleanups have run.
        unsafe { turn.read().as_ref() }.leave();
    }
}

/// Called by `ngx_destroy_pool`. It is what the note is found by.
///
/// # Safety
///
/// Called by nginx only.
unsafe extern "C" fn ngx_http_upstream_ntlm_streams_cleanup(_data: *mut c_void) {}
