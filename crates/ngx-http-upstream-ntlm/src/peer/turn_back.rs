//! Requests that come at once over one client connection: where each goes, and the streams of HTTP/2 that are turned back to
//! HTTP/1.1. `ntlm_core::binding::turn_back` decides; this file gathers the facts and carries the decision out.
//!
//! Must never turn back a request of whose answer the client has seen anything, nor one that no client waits for.
#![expect(
    unsafe_code,
    reason = "what is noted in the pools of requests, and the trampolines of the cleanups that own it"
)]

use core::ffi::c_void;
use core::ptr::NonNull;

use ntlm_core::binding::challenge::Challenge;
use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::ids::ClientId;
use ntlm_core::binding::table::BegunLogin;
use ntlm_core::binding::turn_back::{Arrival, Leg, Met, Protocol, Way};
use ntlm_core::diagnosis::Diagnosis;
use ntlm_core::scheme::{names_basic_or_bearer, offers};

use super::key::with_user;
use super::leg::{Given, leg};
use super::turns::{GivenUp, Streams, arrived_anew};
use super::{Facts, NtlmPeer, Source, anew, peer_of};
use crate::client::{self, protocol};
use crate::credentials::Carried;
use crate::diagnose::diagnose;
use crate::group::Group;
use crate::log::debug;
use crate::ngx::{Connection, Request, now};
use crate::place::group_of;
use crate::stats::Counter;
use crate::worker::{table, with_table};

/// The name of the field in which an origin asks for a login.
const WWW_AUTHENTICATE: &[u8] = b"www-authenticate";
/// Milliseconds in which a client sends once more what waited for a login that it gives up.
const MOMENT: u64 = 1_000;

/// The module's note about a request over HTTP/2 or HTTP/3. It lies in the pool of the request, which its subrequests share.
#[derive(Clone, Copy)]
struct Note {
    group: NonNull<Group>,
    /// The request, or a subrequest of it, came to the group while another one of its client had the binding or was in the middle of a login.
    beside: bool,
    /// The operator has been told that the origin refused it.
    told: bool,
    turned_back: bool,
}

impl Note {
    fn of(r: Request) -> Option<NonNull<Note>> {
        r.pool().cleanup_data(Some(ngx_http_upstream_ntlm_note_cleanup))
    }

    fn read(r: Request) -> Option<Note> {
        // SAFETY: only `change` adds cleanups with this handler, and each owns a Note for as long as the pool lives.
        Self::of(r).map(|note| unsafe { note.read() })
    }

    /// Changes the note of a request, made now if there is none. Without memory nothing is noted.
    fn change(r: Request, group: NonNull<Group>, change: impl FnOnce(&mut Note)) {
        let none = Note { group, beside: false, told: false, turned_back: false };
        let mut note = Self::read(r).unwrap_or(none);
        change(&mut note);
        match Self::of(r) {
            // SAFETY: as for `read`; no reference to it exists.
            Some(place) => unsafe { place.write(note) },
            None => {
                r.pool().add_cleanup(Some(ngx_http_upstream_ntlm_note_cleanup), note);
            }
        }
    }

    fn group(&self) -> &Group {
        // SAFETY: the configuration of a group outlives its requests.
        unsafe { self.group.as_ref() }
    }
}

/// Whether a stream was open when another one of its connection was turned back. curl closes such a connection as soon as it can, and gives
/// up a login that goes on over it; browsers repeat what was on its way.
fn was_open_then(r: Request) -> bool {
    let last = Streams::find(r.client_connection()).map(|streams| streams.last.get());
    r.stream_ids().zip(last).is_some_and(|((id, _), last)| id <= last)
}

/// Whether a login of the same user in a group was given up within [`MOMENT`], because its challenge was turned back. curl and libsoup send what
/// waited for the login over the connection once more, and take a refusal for the end of it.
fn is_given_up(r: Request, group: NonNull<Group>) -> bool {
    Streams::find(r.client_connection()).and_then(|streams| streams.given_up.get()).is_some_and(|login| {
        login.group == group
            && now().saturating_sub(login.at) < MOMENT
            && user_of(r, group) == Some(login.user)
    })
}

/// Notes that the challenge of a login was turned back. What is turned back for that alone does not make the moment longer.
fn give_up(r: Request, group: NonNull<Group>) {
    if !is_given_up(r, group)
        && let Some(streams) = Streams::find(r.client_connection())
        && let Some(user) = user_of(r, group)
    {
        streams.given_up.set(Some(GivenUp { group, user, at: now() }));
    }
}

fn user_of(r: Request, group: NonNull<Group>) -> Option<Digest> {
    // SAFETY: the configuration of a group outlives its requests.
    with_user(r, unsafe { group.as_ref() }, |key| table().map(|table| table.user(key))).flatten()
}

fn note_turned_back(r: Request) {
    if let Some((_, newest)) = r.stream_ids()
        && let Some(streams) = Streams::find_or_add(r.client_connection())
    {
        streams.last.set(newest);
    }
}

/// Whether a request over a stream may come while another one of its client begins the first login over their connection.
pub(super) fn is_beside_first_login(r: Request, owner: Connection) -> bool {
    owner != r.connection() && with_table(|table| table.has_begun_logins()) == Some(true)
}

impl NtlmPeer {
    /// Where a request goes. `client` is `None` while its client connection has never had a binding.
    pub(super) fn way(&self, owner: Connection, client: Option<ClientId>) -> Way {
        if owner == self.r.connection() && !self.has(Facts::CREDENTIALS) {
            // It speaks HTTP/1.x, and answers no challenge.
            return Way::Binding;
        }
        self.way_of_many(owner, client)
    }

    /// [`NtlmPeer::way`] of a request over HTTP/2 or HTTP/3, and of a leg of a login over HTTP/1.x.
    #[cold]
    fn way_of_many(&self, owner: Connection, client: Option<ClientId>) -> Way {
        let (r, group) = (self.r, self.group());
        if r.is_background() {
            return Way::Binding;
        }
        // The content handler has found that out, where there is one.
        let anew = arrived_anew(r).unwrap_or_else(|| anew::arrive(r, group, self.leg()));
        if anew {
            diagnose(r.log(), group, Diagnosis::BeginsAnew);
        }
        let (protocol, met) = (protocol(r), self.meet(owner, client));
        if protocol == Protocol::Http1 && !met.is_some_and(|met| met.can_be_mistaken()) {
            return Way::Binding;
        }
        if met.is_none() && group.multiplexing {
            return Way::Binding;
        }
        let arrival = Arrival {
            multiplexing: group.multiplexing,
            protocol,
            repeatable: r.is_repeatable(),
            anew: anew && r.has_whole_body(),
            leg: self.leg(),
            met: met.unwrap_or(Met::Nothing),
        };
        let way = arrival.way();
        match way {
            Way::Binding if arrival.met == Met::Nothing && arrival.leg.is_first() => {
                self.begin_login(owner);
            }
            Way::Apart if protocol == Protocol::Http1 => {
                diagnose(r.log(), group, Diagnosis::MixedClients);
            }
            Way::Apart => Note::change(r, self.group, |note| (note.group, note.beside) = (self.group, true)),
            // Where all logins are turned back, the operator has said so.
            Way::Back if group.multiplexing && !arrival.anew => {
                diagnose(r.log(), group, Diagnosis::Multiplexed);
            }
            Way::Binding | Way::Back => {}
        }
        way
    }

    /// The state of the client's binding when the request arrives; `None` for a request that may have no binding.
    fn meet(&self, owner: Connection, client: Option<ClientId>) -> Option<Met> {
        self.with_key(|key| Some(table()?.meet(client, owner.number(), self.group().id, key, now())))
            .flatten()
    }

    pub(super) fn leg(&self) -> Leg {
        match Carried::in_field(self.r, self.u) {
            Ok(Some(value)) => leg(value.as_bytes()),
            _ if self.has(Facts::CREDENTIALS) => Leg::Other,
            _ => Leg::None,
        }
    }

    /// Notes that a login begins whose client has no binding yet, until the request is over.
    fn begin_login(&self, owner: Connection) {
        let begun = self.with_key(|key| table()?.begin_login(owner.number(), self.group().id, key));
        if let Some(begun) = begun.flatten()
            && self.r.pool().add_cleanup(Some(ngx_http_upstream_ntlm_login_cleanup), begun).is_none()
        {
            with_table(|table| table.end_login(begun));
        }
    }

    /// Turns the request back before anything is sent to the origin. False where that cannot be said any more.
    #[cold]
    pub(super) fn turn_back(&self) -> bool {
        turn_back(self.r, self.group)
    }

    /// Notes the challenge that came with an answer over the binding.
    #[cold]
    pub(super) fn note_challenge(&self) {
        let mut given = Given::default();
        self.u.each_answered_field(|name, value| {
            if name.as_bytes().eq_ignore_ascii_case(WWW_AUTHENTICATE)
                || name.as_bytes().eq_ignore_ascii_case(b"proxy-authenticate")
            {
                given = given.or(Given::by(value.as_bytes()));
            }
        });
        let challenge = Challenge { at: now(), ntlm: given.ntlm, mark: given.mark };
        with_table(|table| table.note_challenge(self.binding.get(), challenge));
    }

    /// Whether the answer is a challenge whose connection is closed after it, because the client has another binding by now.
    fn is_challenge_lost(&self) -> bool {
        let owner = self.r.client_connection();
        self.has(Facts::CREDENTIALS)
            && self.has(Facts::TOKEN)
            && matches!(self.source.get(), Source::Original)
            && self.meet(owner, client::find(owner)).is_some_and(|met| met.is_taken())
    }
}

/// An answer asks for a login by a connection-bound scheme: called as nginx parses it.
pub fn on_offer(r: Request) {
    if r.is_http1() || r.is_background() {
        return;
    }
    let Some(u) = r.upstream().filter(|u| u.status() == 401) else { return };
    match Note::read(r) {
        Some(note) => {
            let is_its = group_of(u) == Some(note.group);
            if is_its && note.beside && !note.told && !(r.is_http2() && r.is_repeatable()) {
                diagnose(r.log(), note.group(), Diagnosis::Multiplexed);
                Note::change(r, note.group, |note| note.told = true);
            }
        }
        None => {
            // SAFETY: the configuration of a group outlives its requests.
            let group = group_of(u).filter(|group| unsafe { group.as_ref() }.turns_all_back());
            if let Some(group) = group.filter(|_| r.is_http2()) {
                Note::change(r, group, |_| {});
            }
        }
    }
}

/// Turns a stream back whose answer asks for a login that cannot take place over it. Called with a request over HTTP/2 before
/// the header of its response is sent; true where there is none to send any more.
pub fn is_answer_turned_back(r: Request) -> bool {
    r.is_main() && r.response_status() == 401 && r.is_repeatable() && is_refusal_turned_back(r)
}

#[cold]
fn is_refusal_turned_back(r: Request) -> bool {
    let (peer, upstream) = (peer_of(r), r.upstream());
    let asked = upstream.and_then(group_of);
    // A subrequest, or a request before `error_page`, may have come to another group.
    let note = Note::read(r).filter(|note| upstream.is_none() || asked == Some(note.group));
    let Some(group) = note.map(|note| note.group).or(asked) else { return false };
    let beside = note.is_some_and(|note| note.beside) || peer.is_some_and(NtlmPeer::is_challenge_lost);
    let (mut login, mut others) = (false, false);
    r.each_response_field(|name, value| {
        if name.as_bytes().eq_ignore_ascii_case(WWW_AUTHENTICATE) {
            login |= offers(value.as_bytes());
            others |= names_basic_or_bearer(value.as_bytes());
        }
    });
    others |= r.authorization().is_some_and(|value| names_basic_or_bearer(value.as_bytes()));
    // SAFETY: the configuration of a group outlives its requests.
    let settings = unsafe { group.as_ref() };
    // The origin has looked at the answer to its challenge.
    let answers = peer.is_some_and(|peer| matches!(peer.leg(), Leg::Answers(_)));
    let unfit = settings.turns_all_back() || was_open_then(r) || (!answers && is_given_up(r, group));
    let wanted = !settings.is_guarded() && (beside || (unfit && !others));
    if !login || !wanted || !turn_back(r, group) {
        return false;
    }
    if settings.multiplexing {
        diagnose(r.log(), settings, Diagnosis::Multiplexed);
    }
    // The client never sees the challenge, so it cannot answer it over this upstream connection, which is closed.
    if let Some(peer) = peer.filter(|peer| peer.has(Facts::CREDENTIALS)) {
        peer.u.forbid_keepalive();
        if peer.has(Facts::TOKEN) {
            give_up(r, group);
        }
    }
    true
}

/// Resets the stream of a request.
fn turn_back(r: Request, group: NonNull<Group>) -> bool {
    if !r.turn_back() {
        return false;
    }
    debug!(r.log(), "turning the stream back to HTTP/1.1");
    note_turned_back(r);
    Note::change(r, group, |note| note.turned_back = true);
    // SAFETY: the configuration of a group outlives its requests.
    let group = unsafe { group.as_ref() };
    if let Some(slot) = group.slot {
        slot.count(Counter::Fallback);
    }
    true
}

/// Whether the stream of a request was turned back.
pub fn is_turned_back(r: Request) -> bool {
    r.is_http2() && Note::read(r).is_some_and(|note| note.turned_back)
}

/// Called by `ngx_destroy_pool`. It is what a note is found by.
///
/// # Safety
///
/// Called by nginx only.
unsafe extern "C" fn ngx_http_upstream_ntlm_note_cleanup(_data: *mut c_void) {}

/// Called by `ngx_destroy_pool` when a request is over that began a login.
///
/// # Safety
///
/// Called by nginx only, with the data of a cleanup that [`NtlmPeer::begin_login`] added.
unsafe extern "C" fn ngx_http_upstream_ntlm_login_cleanup(data: *mut c_void) {
    if let Some(begun) = NonNull::new(data.cast::<BegunLogin>()) {
        // SAFETY: ngx_destroy_pool passes the data of a cleanup that `begin_login` added, and frees the pool after its
        // cleanups have run.
        let begun = unsafe { begun.read() };
        with_table(|table| table.end_login(begun));
    }
}
