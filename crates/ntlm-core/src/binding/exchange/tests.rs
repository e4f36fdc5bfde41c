//! The verdict on an exchange, fact by fact.

use super::*;
use crate::binding::digest::Secret;

/// The connection can carry another request.
const SOUND: Condition =
    Condition { broken: false, kept_alive: true, request_sent: true, exiting: false, requests: 3, age: 500 };

/// The connection has seen an end of stream or an error.
const BROKEN: Condition = Condition { broken: true, ..SOUND };

/// The response was not read to its end, or the server closes the connection.
const NOT_KEPT_ALIVE: Condition = Condition { kept_alive: false, ..SOUND };

/// A part of the request was not sent.
const UNSENT: Condition = Condition { request_sent: false, ..SOUND };

/// A login's last leg, answered 200 over the binding that its challenge came by.
const HEALTHY: Exchange = Exchange {
    guarded: false,
    bound: true,
    lost: false,
    credentials: true,
    background: false,
    delivered: true,
    keyed: true,
    asked: Asked { target: Digest::NONE, header: Digest::NONE },
    status: 200,
    offer: false,
    token: false,
    from_cache: false,
    outcome: Outcome::Done,
    condition: SOUND,
    progress: Progress { proven: false, asked: Some(Asked { target: Digest::NONE, header: Digest::NONE }) },
};

/// A page that asks nobody, or has not asked yet.
const UNASKED: Exchange = Exchange { progress: Progress { proven: false, asked: None }, ..HEALTHY };

fn connection(exchange: Exchange) -> Fate {
    exchange.verdict(&Limits::NONE).connection
}

fn end(exchange: Exchange) -> Option<End> {
    match connection(exchange) {
        Fate::Close(end) => Some(end),
        _ => None,
    }
}

#[test]
fn untainted_connection_is_passed_on() {
    let anonymous = Exchange { bound: false, credentials: false, ..HEALTHY };
    assert_eq!(connection(anonymous), Fate::PassOn);
    for tainted in [
        Exchange { bound: true, ..anonymous },
        Exchange { credentials: true, ..anonymous },
        Exchange { token: true, ..anonymous },
    ] {
        assert_ne!(connection(tainted), Fate::PassOn, "{tainted:?}");
    }
}

#[test]
fn each_condition_alone_ends_the_connection() {
    for (exchange, expected) in [
        (Exchange { guarded: true, ..HEALTHY }, End::Guarded),
        (Exchange { background: true, bound: false, ..HEALTHY }, End::Background),
        (Exchange { from_cache: true, bound: false, ..HEALTHY }, End::Cached),
        (Exchange { outcome: Outcome::Failed, ..HEALTHY }, End::Broken),
        (Exchange { condition: BROKEN, ..HEALTHY }, End::Broken),
        (Exchange { condition: NOT_KEPT_ALIVE, ..HEALTHY }, End::NotKeptAlive),
        (Exchange { outcome: Outcome::Next, ..HEALTHY }, End::AnotherServer),
        (Exchange { condition: UNSENT, ..HEALTHY }, End::RequestUnsent),
        (Exchange { condition: Condition { exiting: true, ..SOUND }, ..HEALTHY }, End::Exiting),
        (Exchange { keyed: false, ..HEALTHY }, End::NoKey),
    ] {
        assert_eq!(end(exchange), Some(expected));
    }
    assert_eq!(connection(HEALTHY), Fate::Keep(Phase::Proven));
}

#[test]
fn limits_count_this_request_and_passed_milliseconds() {
    let by = |exchange: Exchange, requests, time| match exchange
        .verdict(&Limits::new(requests, time))
        .connection
    {
        Fate::Close(end) => Some(end),
        _ => None,
    };
    let (any, ever) = (u64::MAX, u64::MAX);
    assert_eq!(by(HEALTHY, 4, ever), None);
    assert_eq!(by(HEALTHY, 3, ever), Some(End::RequestCap));
    assert_eq!(by(HEALTHY, any, 500), None);
    assert_eq!(by(HEALTHY, any, 499), Some(End::TimeCap));
}

#[test]
fn limits_never_cut_a_handshake() {
    let challenge = Exchange { status: 401, token: true, ..HEALTHY };
    let limits = Limits::new(1, 1);
    assert_eq!(challenge.verdict(&limits).connection, Fate::Keep(Phase::Handshaking));
}

#[test]
fn demand_then_acceptance_is_proof() {
    for status in [101, 200, 204, 302, 304, 404, 410] {
        let verdict = Exchange { status, ..HEALTHY }.verdict(&Limits::NONE);
        assert_eq!((verdict.login, verdict.connection), (Step::Proven, Fate::Keep(Phase::Proven)));
    }
}

#[test]
fn answers_without_a_demand_prove_nothing() {
    let other = Secret::default().digest(&[b"other"]);
    let elsewhere = Asked { target: other, header: Digest::NONE };
    let longer = Asked { target: Digest::NONE, header: other };
    for exchange in [
        UNASKED,
        Exchange { asked: elsewhere, ..HEALTHY },
        Exchange { asked: longer, status: 404, ..HEALTHY },
        Exchange { credentials: false, ..HEALTHY },
        Exchange { status: 400, ..HEALTHY },
        Exchange { status: 403, ..HEALTHY },
        Exchange { status: 500, ..HEALTHY },
        Exchange { status: 503, ..HEALTHY },
    ] {
        let verdict = exchange.verdict(&Limits::NONE);
        assert_eq!((verdict.login, verdict.connection), (Step::Nothing, Fate::Keep(Phase::Unproven)));
    }
}

#[test]
fn mutual_token_is_proof_without_a_demand() {
    let verdict = Exchange { token: true, ..UNASKED }.verdict(&Limits::NONE);
    assert_eq!((verdict.login, verdict.connection), (Step::Proven, Fate::Keep(Phase::Proven)));
}

#[test]
fn new_login_ends_the_proof_of_the_last() {
    let proven = Progress { proven: true, asked: None };
    let refused = Exchange { status: 401, progress: proven, ..HEALTHY }.verdict(&Limits::NONE);
    assert_eq!((refused.login, refused.progress.proven), (Step::Refused, false));
    let denied = Exchange { status: 401, credentials: false, progress: proven, ..HEALTHY };
    let denied = denied.verdict(&Limits::NONE);
    assert_eq!((denied.connection, denied.progress.proven), (Fate::Keep(Phase::Handshaking), true));
    let after = Exchange { credentials: false, progress: denied.progress, ..HEALTHY };
    assert_eq!(connection(after), Fate::Keep(Phase::Proven));
}

#[test]
fn only_a_demand_starts_a_login() {
    let demand = |offer| Exchange { status: 401, credentials: false, offer, ..UNASKED };
    for (offer, proven) in [(true, true), (false, false)] {
        let progress = demand(offer).verdict(&Limits::NONE).progress;
        let verdict = Exchange { progress, ..HEALTHY }.verdict(&Limits::NONE);
        assert_eq!(verdict.login == Step::Proven, proven);
    }
}

#[test]
fn bare_401_is_a_refusal() {
    for status in [401, 407] {
        let answer = |token| Exchange { status, token, ..HEALTHY }.verdict(&Limits::NONE);
        assert_eq!((answer(true).login, answer(false).login), (Step::GoesOn, Step::Refused));
        assert_eq!(answer(true).connection, Fate::Keep(Phase::Handshaking));
    }
}

#[test]
fn retry_with_credentials_leaves_the_client_alone() {
    for outcome in [Outcome::Failed, Outcome::Next] {
        let failed = Exchange { outcome, condition: NOT_KEPT_ALIVE, ..HEALTHY };
        assert_eq!(failed.verdict(&Limits::NONE).client, Client::Stays);
        let anonymous = Exchange { credentials: false, ..failed };
        assert_eq!(anonymous.verdict(&Limits::NONE).client, Client::Leaves);
    }
}

#[test]
fn ends_that_an_operator_can_mend_are_diagnosed() {
    let challenge = Exchange { status: 401, token: true, ..HEALTHY };
    for (exchange, replaced, expected) in [
        (Exchange { guarded: true, ..HEALTHY }, false, Some(Diagnosis::NoDirective)),
        (Exchange { keyed: false, ..HEALTHY }, false, Some(Diagnosis::EmptyKey)),
        (Exchange { condition: NOT_KEPT_ALIVE, ..HEALTHY }, true, Some(Diagnosis::Intercepted)),
        (Exchange { condition: UNSENT, ..challenge }, false, Some(Diagnosis::EarlyUnauthorized)),
        (Exchange { condition: NOT_KEPT_ALIVE, ..challenge }, false, Some(Diagnosis::OriginCloses)),
        (Exchange { condition: BROKEN, ..challenge }, false, Some(Diagnosis::OriginCloses)),
        (Exchange { condition: NOT_KEPT_ALIVE, ..HEALTHY }, false, None),
    ] {
        let end = end(exchange).unwrap();
        assert_eq!(exchange.diagnosis(end, replaced), expected, "{exchange:?}");
    }
}

#[test]
fn answer_of_no_origin_shows_nothing() {
    for status in [200, 401] {
        let answered = Exchange { status, offer: true, token: true, ..UNASKED };
        for exchange in [
            Exchange { status: 0, ..answered },
            Exchange { from_cache: true, ..answered },
            Exchange { outcome: Outcome::Failed, ..answered },
        ] {
            let verdict = exchange.verdict(&Limits::NONE);
            assert_eq!((verdict.login, verdict.progress), (Step::Nothing, UNASKED.progress), "{exchange:?}");
        }
        assert_ne!(answered.verdict(&Limits::NONE).progress, UNASKED.progress);
    }
}

#[test]
fn lost_login_is_told_unless_another_begins() {
    for (lost, credentials, client) in [
        (true, false, Client::Leaves),
        (true, true, Client::Stays),
        (false, false, Client::Stays),
        (false, true, Client::Stays),
    ] {
        let kept = Exchange { lost, credentials, ..HEALTHY }.verdict(&Limits::NONE);
        assert_eq!(
            (matches!(kept.connection, Fate::Keep(_)), kept.client),
            (true, client),
            "{lost} {credentials}"
        );
    }
}

#[test]
fn cache_and_background_end_new_connections_only() {
    for exchange in [
        Exchange { bound: false, ..HEALTHY },
        Exchange { background: true, ..HEALTHY },
        Exchange { from_cache: true, ..HEALTHY },
    ] {
        assert_eq!(end(exchange), None, "{exchange:?}");
    }
}

#[test]
fn ends_of_no_login_are_not_diagnosed() {
    let login = Exchange { status: 401, token: true, ..HEALTHY };
    for (exchange, end) in [
        (Exchange { credentials: false, ..login }, End::Guarded),
        (Exchange { credentials: false, ..login }, End::NoKey),
        (Exchange { credentials: false, ..login }, End::RequestUnsent),
        (Exchange { status: 200, ..login }, End::RequestUnsent),
        (Exchange { token: false, ..login }, End::NotKeptAlive),
        (Exchange { status: 200, ..login }, End::Broken),
    ] {
        assert_eq!(exchange.diagnosis(end, false), None, "{end:?} {exchange:?}");
    }
    let next = Exchange { outcome: Outcome::Next, ..login };
    assert_eq!(next.diagnosis(End::NotKeptAlive, true), None);
    for outcome in [Outcome::Done, Outcome::Failed] {
        let broken = Exchange { outcome, ..login };
        assert_eq!(broken.diagnosis(End::Broken, false), Some(Diagnosis::OriginCloses));
    }
}

#[test]
fn client_stays_for_a_server_that_it_does_not_hear_of() {
    let unheard = Exchange { bound: false, delivered: false, condition: NOT_KEPT_ALIVE, ..UNASKED };
    let client = |exchange: Exchange| {
        let verdict = exchange.verdict(&Limits::NONE);
        assert_eq!(verdict.connection, Fate::Close(End::NotKeptAlive));
        verdict.client
    };
    for exchange in [
        unheard,
        Exchange { status: 404, ..unheard },
        Exchange { status: 401, ..unheard },
        Exchange { bound: true, ..unheard },
        Exchange { bound: true, status: 403, progress: HEALTHY.progress, ..unheard },
        Exchange { lost: true, ..unheard },
    ] {
        assert_eq!(client(exchange), Client::Stays, "{exchange:?}");
    }
    for exchange in [
        Exchange { delivered: true, ..unheard },
        Exchange { status: 401, token: true, ..unheard },
        Exchange { token: true, ..unheard },
        // The server grants the request for which it has asked for a login.
        Exchange { progress: HEALTHY.progress, bound: true, ..unheard },
        Exchange { progress: Progress { proven: true, asked: None }, bound: true, ..unheard },
        Exchange { lost: true, credentials: false, token: true, ..unheard },
        Exchange { bound: true, credentials: false, ..unheard },
    ] {
        assert_eq!(client(exchange), Client::Leaves, "{exchange:?}");
    }
}
