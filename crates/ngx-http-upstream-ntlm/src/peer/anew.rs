//! Clients that begin the login of a request anew over another connection of HTTP/2 each time. `ntlm_core::binding::anew` says which do;
//! this file gathers the facts.
//!
//! Must never look at the target of the outgoing request: a request is noted before there is one.

use ntlm_core::binding::anew::FirstLeg;
use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::exchange::Exchange;
use ntlm_core::binding::turn_back::Leg;

use super::NtlmPeer;
use super::free::asked;
use super::key::with_user;
use super::leg::leg;
use crate::credentials::Carried;
use crate::group::{Group, Location};
use crate::ngx::{Connection, Request, now};
use crate::worker::{table, with_table};

/// Notes a request over HTTP/1.x with credentials of the client's. Called before its body is read.
#[cold]
pub(super) fn note_arrival(r: Request) {
    if any_unanswered()
        && let Some(group) = Location::of(r).group()
        && let Carried::Field(value) = Carried::by_client(r)
    {
        arrive(r, group, leg(value.as_bytes()));
    }
}

/// Notes that a request arrives; whether its client begins the login anew with it. An answer to a challenge says that its client does not: over
/// HTTP/1.x as well, as curl `--ntlm` goes on there.
pub(super) fn arrive(r: Request, group: &Group, leg: Leg) -> bool {
    let (answers, begins) = (matches!(leg, Leg::Answers(_)), leg == Leg::Begins && may_begin_anew(r));
    if (!answers && !begins) || !any_unanswered() {
        return false;
    }
    let user = with_user(r, group, |key| table().map(|table| table.user(key))).flatten();
    let Some(leg) = user.and_then(|user| first_leg(r, user)) else { return false };
    with_table(|table| {
        if answers {
            table.note_answer(leg.target);
        }
        begins && table.begins_anew(leg, now())
    }) == Some(true)
}

impl NtlmPeer {
    /// Notes that a request which begins a login was given a challenge. Called when the leg is over.
    #[cold]
    pub(super) fn note_unanswered(&self, exchange: &Exchange) {
        if exchange.token
            && !exchange.guarded
            && may_begin_anew(self.r)
            && self.leg() == Leg::Begins
            && let Some(user) = self.with_key(|key| table().map(|table| table.user(key))).flatten()
            && let Some(leg) = first_leg(self.r, user)
        {
            with_table(|table| table.note_unanswered(leg, Connection::newest(), now()));
        }
    }
}

fn any_unanswered() -> bool {
    with_table(|table| table.has_unanswered(now())) == Some(true)
}

/// Whether the request itself came over the first stream of its client connection, of HTTP/2, with a `Content-Length`. Only POST and its like
/// were seen to begin anew, and other requests are turned back in more cases.
fn may_begin_anew(r: Request) -> bool {
    r.is_main() && r.has_content_length() && r.stream_ids().is_some_and(|(stream, _)| stream == 1)
}

/// The request as its user has asked for it.
fn first_leg(r: Request, user: Digest) -> Option<FirstLeg> {
    let asked = asked(r, r.unparsed_uri());
    let digest = |part: Digest| table().map(|table| table.digest(&[&user.to_bytes(), &part.to_bytes()]));
    let (target, header) = (digest(asked.target)?, digest(asked.header)?);
    Some(FirstLeg { target, header, number: r.client_connection().number() })
}
