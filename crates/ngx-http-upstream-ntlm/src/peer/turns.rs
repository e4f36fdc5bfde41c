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
use core::sync::atomic::{AtomicPtr, Ordering::Relaxed};

use nginx_sys::{ngx_conf_t, ngx_http_handler_pt, ngx_http_request_t, ngx_int_t};
use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::turn_back::{Arrival, Leg, Met};

use super::anew;
use super::free::asked;
use super::key::with_user;
use super::leg::leg;
use crate::client::{self, protocol};
use crate::credentials::Carried;
use crate::group::{Group, Location};
use crate::log::debug;
use crate::ngx::{Connection, Request, Status, content_handler, now};
use crate::worker::with_table;

/// Milliseconds that a request waits for one other; then it goes to the origin without the binding.
const PATIENCE: u64 = 5_000;
/// Milliseconds that it waits for all of them.
const MOST: u64 = 60_000;
/// Milliseconds after which it looks by itself whether it is its turn: a binding may have ended, or have served a request that takes no turns.
const LOOK: u64 = 1_000;

/// The content handler of `proxy_pass`, which this module's stands before.
static CONTENT: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// A login whose challenge was turned back, so that its client gives it up.
#[derive(Clone, Copy)]
pub struct GivenUp {
    pub group: NonNull<Group>,
    pub user: Digest,
    /// When that was, if none was a moment before.
    pub at: u64,
}

/// The module's note about a client connection of HTTP/2 or HTTP/3. It lies in the pool of that connection.
#[derive(Default)]
pub struct Streams {
    /// The last stream that the client had opened when one of them was turned back; 0 before that.
    pub last: Cell<usize>,
    /// The last login over the connection whose challenge was turned back.
    pub given_up: Cell<Option<GivenUp>>,
    /// The requests that take turns, user by user.
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

/// The requests of one user of a client connection to one group that wait, in the pool of the connection.
struct Line {
    client: Connection,
    group: Cell<NonNull<Group>>,
    user: Cell<Digest>,
    /// How many requests refer to it. Without any it is there for the next user, so that there are no more lines than streams.
    turns: Cell<u32>,
    /// How many requests go on that are legs of a login, or have waited themselves.
    going: Cell<u32>,
    /// The request that has begun a login last.
    begun: Cell<Digest>,
    first: Cell<Option<NonNull<Turn>>>,
    /// When a request that waited has had its turn last.
    moved: Cell<u64>,
    /// Another one of the connection.
    next: Option<NonNull<Line>>,
}

/// A request over a stream, in its pool.
struct Turn {
    r: Request,
    line: NonNull<Line>,
    leg: Leg,
    /// Its client begins the login anew with it.
    anew: bool,
    state: Cell<State>,
    /// When it began to wait.
    since: Cell<u64>,
    /// The request behind it in the line.
    next: Cell<Option<NonNull<Turn>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// No other request waits for this one.
    Beside,
    /// The request is in the line.
    Waiting,
    /// Other requests wait until this one is over.
    Going,
}

impl Line {
    /// The line of a request, made now if there is none. `None` for one that may have no binding, and when there is no memory.
    fn of<'a>(r: Request, group: NonNull<Group>) -> Option<&'a Line> {
        let client = r.client_connection();
        // SAFETY: the configuration of a group outlives its requests.
        let user = with_user(r, unsafe { group.as_ref() }, |key| with_table(|table| table.user(key)))??;
        let streams = Streams::find_or_add(client)?;
        // SAFETY: they lie in the pool of the connection, which outlives its requests.
        let at = |line: NonNull<Line>| unsafe { line.as_ref() };
        let lines = || core::iter::successors(streams.lines.get().map(at), |line| line.next.map(at));
        if let Some(line) = lines().find(|line| line.group.get() == group && line.user.get() == user) {
            return Some(line);
        }
        if let Some(line) = lines().find(|line| line.turns.get() == 0) {
            line.group.set(group);
            line.user.set(user);
            line.begun.set(Digest::NONE);
            return Some(line);
        }
        let line = client.pool()?.place(Line {
            client,
            group: Cell::new(group),
            user: Cell::new(user),
            turns: Cell::new(0),
            going: Cell::new(0),
            begun: Cell::new(Digest::NONE),
            first: Cell::new(None),
            moved: Cell::new(0),
            next: streams.lines.get(),
        })?;
        streams.lines.set(Some(line));
        Some(at(line))
    }

    fn group(&self) -> &Group {
        // SAFETY: the configuration of a group outlives its requests.
        unsafe { self.group.get().as_ref() }
    }

    /// The state of the client's bindings for the request `r`: [`Met::Busy`] also while a request of the line goes on.
    fn met(&self, r: Request) -> Met {
        if self.going.get() > 0 {
            return Met::Busy;
        }
        let (number, group) = (self.client.number(), self.group().id);
        let Some(id) = client::find(self.client) else { return Met::Nothing };
        with_user(r, self.group(), |key| with_table(|table| table.meet_any(id, number, group, key, now())))
            .flatten()
            .unwrap_or(Met::Nothing)
    }

    /// Lets the first request see whether it is its turn.
    fn wake(&self) {
        if let Some(first) = self.first.get() {
            // SAFETY: a request leaves the line before its pool is destroyed.
            unsafe { first.as_ref() }.r.wake();
        }
    }

    /// The pointer to the request `turn` in the line: that of the line itself, or of the request before it. With `None` the pointer at the
    /// end, which the next request that joins sets.
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
    fn add<'a>(r: Request, line: &Line, leg: Leg, anew: bool) -> Option<&'a Turn> {
        let turn = r.pool().place(Turn {
            r,
            line: NonNull::from(line),
            leg,
            anew,
            state: Cell::new(State::Beside),
            since: Cell::new(0),
            next: Cell::new(None),
        })?;
        r.pool().add_cleanup(Some(ngx_http_upstream_ntlm_turn_cleanup), turn)?;
        line.turns.set(line.turns.get() + 1);
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
        let (protocol, repeatable, anew) = (protocol(r), r.is_repeatable(), self.anew);
        Arrival { multiplexing, protocol, repeatable, anew, leg: self.leg, met }.waits()
    }

    /// Whether it begins the login of the same request once more. libsoup with winbind does so after an attempt without a password.
    fn begins_again(&self) -> bool {
        self.leg == Leg::Begins && self.line().begun.get() == self.request()
    }

    /// The digest of all that is the same in the legs of a login.
    fn request(&self) -> Digest {
        asked(self.r, self.r.unparsed_uri()).header
    }

    /// Joins the line.
    fn wait(&self) {
        self.line().link(None).set(Some(NonNull::from(self)));
        self.state.set(State::Waiting);
        self.since.set(now());
        // SAFETY: the body has been read, and the handler is for requests that wait.
        unsafe { self.r.suspend(ngx_http_upstream_ntlm_turn_handler, LOOK) };
        debug!(self.r.log(), "waiting for the requests before it");
        self.line().wake();
    }

    /// From now on others wait until the request is over.
    fn go(&self) {
        self.state.set(State::Going);
        self.line().going.set(self.line().going.get() + 1);
        if self.leg == Leg::Begins {
            self.line().begun.set(self.request());
        }
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
        let is_mine = line.first.get() == Some(NonNull::from(self)) && !self.waits(line.met(self.r));
        if !is_mine {
            let since = self.since.get();
            let until = (since.max(line.moved.get()) + PATIENCE).min(since + MOST);
            if !self.r.is_overdue() {
                return;
            }
            if until > now() {
                // SAFETY: as for `wait`.
                unsafe { self.r.suspend(ngx_http_upstream_ntlm_turn_handler, LOOK.min(until - now())) };
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

/// Whether a request that takes turns was found, when it arrived, to begin its login anew. `None` for one that takes none.
pub(super) fn arrived_anew(r: Request) -> Option<bool> {
    Turn::of(r).map(|turn| turn.anew)
}

/// Puts this module before the content handler of a location whose `proxy_pass` leads to a group with `ntlm`. A block `if` may run it with
/// the settings of another location, so that there is one handler behind it for all.
///
/// # Safety
///
/// Called from `merge_loc_conf`.
pub unsafe fn stand_before_content(cf: *mut ngx_conf_t) {
    // SAFETY: vouched for by the caller. A handler is a function.
    unsafe {
        let place = content_handler(cf);
        let Some(handler) = place.read() else { return };
        let handler = handler as *mut ();
        let known = CONTENT.compare_exchange(core::ptr::null_mut(), handler, Relaxed, Relaxed);
        if known.is_ok() || known == Err(handler) {
            place.write(Some(ngx_http_upstream_ntlm_content_handler));
        }
    }
}

/// The content handler of a location whose `proxy_pass` leads to a group with `ntlm`.
///
/// # Safety
///
/// Called by `ngx_http_core_content_phase`.
unsafe extern "C" fn ngx_http_upstream_ntlm_content_handler(r: *mut ngx_http_request_t) -> ngx_int_t {
    // SAFETY: ngx_http_core_content_phase passes a live request.
    let r = unsafe { Request::new(r) };
    if !r.is_http1() || r.authorization().is_some() {
        return look_at(r).0;
    }
    pass_on(r).0
}

/// Receives a request that comes over a stream, or with an `Authorization`.
#[inline(never)]
fn look_at(r: Request) -> Status {
    if !r.is_http1() {
        return arrive(r).unwrap_or_else(|| pass_on(r));
    }
    anew::note_arrival(r);
    pass_on(r)
}

/// Hands a request to `proxy_pass`.
fn pass_on(r: Request) -> Status {
    // SAFETY: `stand_before_content` stored a content handler before it made this module's one; an Option of a function is a pointer that
    // may be null.
    let handler = unsafe { core::mem::transmute::<*mut (), ngx_http_handler_pt>(CONTENT.load(Relaxed)) };
    // SAFETY: the request is alive.
    handler.map_or(Status::ERROR, |handler| Status(unsafe { handler(r.as_ptr()) }))
}

/// Receives a request over a stream. `None` where `proxy_pass` is to handle it now; where the request waits, the status that the content
/// handler returns to nginx.
#[cold]
fn arrive(r: Request) -> Option<Status> {
    // An internal redirect may bring a request here again.
    if !r.is_main() || Turn::of(r).is_some() {
        return None;
    }
    let line = Line::of(r, NonNull::new(Location::of(r).group)?)?;
    let carried = Carried::by_client(r);
    let leg = match carried {
        Carried::Nowhere if r.authorization().is_none() => Leg::None,
        Carried::Field(value) => leg(value.as_bytes()),
        // `Basic` and its like need no binding.
        Carried::Nowhere | Carried::Unreadable => Leg::Other,
    };
    let turn = Turn::add(r, line, leg, anew::arrive(r, line.group(), leg))?;
    // Those that wait already have theirs first, unless they wait for the end of the login that this one begins again.
    let behind = line.first.get().is_some() && !turn.begins_again();
    if turn.waits(if behind { Met::Busy } else { line.met(r) }) {
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
        let turn = unsafe { turn.read().as_ref() };
        turn.leave();
        turn.line().turns.set(turn.line().turns.get() - 1);
    }
}

/// Called by `ngx_destroy_pool`. It is what the note is found by.
///
/// # Safety
///
/// Called by nginx only.
unsafe extern "C" fn ngx_http_upstream_ntlm_streams_cleanup(_data: *mut c_void) {}
