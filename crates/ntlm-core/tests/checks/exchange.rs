//! Exchanges over one connection, and the invariants of ARCHITECTURE.md that their verdicts must keep. Shared by the
//! property test and the fuzz target.

use ntlm_core::binding::digest::{Digest, Secret};
use ntlm_core::binding::end::{Client, End};
use ntlm_core::binding::exchange::{
    Asked, Condition, Exchange, Fate, Limits, Outcome, Phase, Progress, Step, Verdict,
};

/// Bytes of one exchange.
pub const WIDTH: usize = 4;

/// The statuses that exchanges have; 0 is no answer at all.
const STATUSES: [usize; 8] = [0, 200, 302, 401, 403, 404, 407, 500];

/// Plays exchanges, each of [`WIDTH`] bytes, over one connection of a client, and checks each verdict.
pub fn check(data: &[u8]) {
    let secret = Secret::default();
    let limits = Limits::new(6, 1000);
    let mut progress = Progress::default();
    // The targets that the origin demanded a login for, so far.
    let mut demanded: Vec<Digest> = Vec::new();
    for (number, bytes) in data.chunks_exact(WIDTH).enumerate() {
        let exchange = exchange(&secret, bytes, number as u64 + 1, progress);
        let verdict = exchange.verdict(&limits);
        check_connection(&exchange, &verdict);
        check_client(&exchange, &verdict);
        check_login(&exchange, &verdict, &limits, &demanded);
        check_plain(&exchange, &verdict, &limits);
        let is_answer = exchange.status != 0 && !exchange.from_cache && exchange.outcome != Outcome::Failed;
        if is_answer && is_unauthorized(exchange.status) && exchange.offer {
            demanded.push(exchange.asked.target);
        }
        progress = verdict.progress;
    }
}

/// Invariants 1 and 4: a tainted connection is owned or closed, and kept only if no byte of the exchange may still come.
fn check_connection(exchange: &Exchange, verdict: &Verdict) {
    let tainted = exchange.bound || exchange.credentials || exchange.token;
    assert_eq!(verdict.connection == Fate::PassOn, !tainted, "{exchange:?}");
    if let Fate::Keep(_) = verdict.connection {
        let Condition { broken, kept_alive, request_sent, exiting, .. } = exchange.condition;
        assert!(kept_alive && request_sent && !broken, "{exchange:?}");
        assert!(exchange.outcome == Outcome::Done && !exiting, "{exchange:?}");
        assert!(exchange.keyed && !exchange.guarded, "{exchange:?}");
        // No client would own it, or none knows of it.
        assert!(exchange.bound || !exchange.background && !exchange.from_cache, "{exchange:?}");
    }
}

/// Invariant 9: lives are mirrored. A client whose binding ends leaves, unless it is about to log in anew.
fn check_client(exchange: &Exchange, verdict: &Verdict) {
    match verdict.connection {
        Fate::Close(_) if exchange.bound && !exchange.background && !exchange.credentials => {
            let spares = exchange.guarded || !exchange.keyed;
            assert!(verdict.client == Client::Leaves || spares, "{exchange:?}");
        }
        Fate::Close(_) if exchange.background => assert_eq!(verdict.client, Client::Stays),
        Fate::Close(_)
            if !exchange.progress.is_proven() && !exchange.bound && !exchange.delivered && !exchange.lost =>
        {
            let is_leg = matches!(verdict.login, Step::GoesOn | Step::Proven);
            assert!(verdict.client == Client::Stays || is_leg, "{exchange:?}");
        }
        Fate::Keep(_) if exchange.credentials => assert_eq!(verdict.client, Client::Stays),
        Fate::PassOn => assert_eq!(verdict.client == Client::Leaves, exchange.lost, "{exchange:?}"),
        _ => {}
    }
}

/// Invariant 8: only the origin proves a login; and limits never cut a handshake.
fn check_login(exchange: &Exchange, verdict: &Verdict, limits: &Limits, demanded: &[Digest]) {
    if verdict.login == Step::Proven {
        assert!(exchange.credentials && !is_unauthorized(exchange.status), "{exchange:?}");
        assert!(exchange.token || demanded.contains(&exchange.asked.target), "{exchange:?}");
        assert!(exchange.status < 400 || exchange.token || exchange.status == 404, "{exchange:?}");
    }
    if verdict.progress.is_proven() && !exchange.progress.is_proven() {
        assert_eq!(verdict.login, Step::Proven, "{exchange:?}");
    }
    match verdict.connection {
        Fate::Keep(phase) => {
            assert_eq!(phase == Phase::Handshaking, is_unauthorized(exchange.status), "{exchange:?}");
            assert_eq!(
                phase == Phase::Proven,
                verdict.progress.is_proven() && phase != Phase::Handshaking,
                "{exchange:?}"
            );
            let reached = limits.reached(exchange.condition.requests, exchange.condition.age).is_some();
            assert!(!reached || phase == Phase::Handshaking, "{exchange:?}");
        }
        Fate::Close(End::RequestCap | End::TimeCap) => {
            assert!(!is_unauthorized(exchange.status), "{exchange:?}");
        }
        _ => {}
    }
}

/// After a request that is no leg of a login the module asks for less than the whole verdict, and must hear the same.
fn check_plain(exchange: &Exchange, verdict: &Verdict, limits: &Limits) {
    let Exchange { bound, guarded, credentials, token, keyed, outcome, status, .. } = *exchange;
    let is_leg = credentials || token || is_unauthorized(status);
    if !bound || guarded || is_leg || !keyed || outcome != Outcome::Done {
        return;
    }
    let phase = if exchange.progress.is_proven() { Phase::Proven } else { Phase::Unproven };
    let is_kept = exchange.condition.is_kept_after_plain(limits);
    assert_eq!(is_kept, verdict.connection == Fate::Keep(phase), "{exchange:?}");
    assert_eq!(verdict.progress, exchange.progress, "{exchange:?}");
}

fn is_unauthorized(status: usize) -> bool {
    matches!(status, 401 | 407)
}

fn exchange(secret: &Secret, bytes: &[u8], requests: u64, progress: Progress) -> Exchange {
    let [rare, often, about, more] = *bytes else { unreachable!("chunks of {WIDTH}") };
    let bit = |byte: u8, bit: u32| byte >> bit & 1 == 1;
    // Of what ends connections each is rare, so that some of them live for long.
    let seldom = |which: u8| rare & 0x0f == which;
    Exchange {
        guarded: seldom(1),
        bound: bit(often, 0),
        lost: bit(often, 1),
        credentials: bit(often, 2),
        background: seldom(2),
        delivered: !seldom(11),
        keyed: !seldom(3),
        asked: Asked {
            target: secret.digest(&[&[about & 1]]),
            header: secret.digest(&[&[about & 1, about >> 1 & 1]]),
        },
        status: STATUSES[usize::from(more & 7)],
        offer: bit(often, 3),
        token: bit(often, 4) && bit(often, 3),
        from_cache: seldom(4),
        outcome: match rare & 0x0f {
            5 => Outcome::Failed,
            6 => Outcome::Next,
            _ => Outcome::Done,
        },
        condition: Condition {
            broken: seldom(7),
            kept_alive: !seldom(8),
            request_sent: !seldom(9),
            exiting: seldom(10),
            requests,
            age: u64::from(more) * 8,
        },
        progress,
    }
}
