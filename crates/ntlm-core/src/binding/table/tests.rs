//! The table of bindings, event by event.

use core::net::IpAddr;

use super::*;
use crate::binding::challenge::{Challenge, Mark};
use crate::binding::exchange::{Asked, Progress};
use crate::binding::key::{Address, Site};
use crate::binding::login::Login;
use crate::binding::turn_back::Met;
use crate::wire::mechanism::Mechanism;
use crate::wire::ntlmssp::Identity;
use crate::wire::text::Text;

mod room;
mod servers;

const MAIL: GroupId = GroupId(0);
const WIKI: GroupId = GroupId(1);
const HOME: Key<'static> =
    Key { address: Address::v4([127, 0, 0, 1]), chosen: b"", forwarded: Digest::NONE, site: Site::NONE };
const AWAY: Key<'static> = Key { address: Address::v4([127, 0, 0, 9]), ..HOME };
const OTHER: Key<'static> = Key { chosen: b"b", ..HOME };

/// How long bindings may wait, in milliseconds.
const WAIT: u64 = 60_000;
/// A time at which bindings are parked.
const NOW: u64 = 1_000;

type Table = Bindings<&'static str, u32>;
type Lost = Evicted<&'static str, u32>;

fn at(address: &str) -> Address {
    match address.parse().unwrap() {
        IpAddr::V4(address) => Address::v4(address.octets()),
        IpAddr::V6(address) => Address::v6(address.octets()),
    }
}

/// A request takes the binding of its client: the upstream connection.
fn claim(
    table: &mut Table,
    client: ClientId,
    number: u64,
    group: GroupId,
    key: Key<'_>,
) -> Result<u32, Missed<u32>> {
    match table.claim(client, number, group, key, |_| true) {
        Some(Taken { upstream, standing }) => {
            assert_eq!(standing, Standing::default());
            Ok(upstream)
        }
        None => Err(table.missed(client, number, group, key)),
    }
}

/// Parks a binding in a group of so many connections: what the table says of it, and the connection that is evicted for it.
fn park_at(
    table: &mut Table,
    id: BindingId,
    phase: Phase,
    connections: usize,
    now: u64,
) -> Result<(Option<u64>, Option<Lost>), Refusal> {
    let evicted = if table.is_full(MAIL, connections) { table.evict(id, phase, connections) } else { None };
    Ok((table.park(id, phase, now)?, evicted))
}

/// Parks a binding: the connection that is evicted for it.
fn park(table: &mut Table, id: BindingId, phase: Phase, connections: usize) -> Option<u32> {
    park_at(table, id, phase, connections, NOW).unwrap().1.map(|evicted| evicted.ended.upstream)
}

/// A client with one parked binding in `MAIL`.
fn parked(
    table: &mut Table,
    name: &'static str,
    number: u64,
    upstream: u32,
    phase: Phase,
) -> (ClientId, BindingId) {
    let client = table.enter(number, name).unwrap();
    let id = table.bind(client, MAIL, WAIT, HOME, upstream).unwrap().binding;
    assert_eq!(park(table, id, phase, 100), None);
    (client, id)
}

#[test]
fn client_gets_only_its_own_binding() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Proven);
    assert_eq!(claim(&mut table, alice, 1, WIKI, HOME), Err(Missed::Nothing));
    assert_eq!(claim(&mut table, alice, 1, MAIL, AWAY), Err(Missed::Nothing));
    assert_eq!(claim(&mut table, alice, 1, MAIL, OTHER), Err(Missed::Nothing));
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Ok(10));
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Err(Missed::Busy));
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Ok(20));
}

#[test]
fn keys_of_any_length_are_told_apart() {
    for length in 0..=40 {
        let key: Vec<u8> = (0..length).collect();
        let mut table = Table::new();
        let alice = table.enter(1, "alice").unwrap();
        let own = Key { chosen: &key, ..HOME };
        let id = table.bind(alice, MAIL, WAIT, own, 10).unwrap().binding;
        assert_eq!(park(&mut table, id, Phase::Proven, 100), None);
        let mut others: Vec<Vec<u8>> = (0..key.len())
            .map(|at| {
                let mut other = key.clone();
                other[at] ^= 1;
                other
            })
            .collect();
        others.push([&key[..], b"x"].concat());
        for other in &others {
            assert_eq!(
                claim(&mut table, alice, 1, MAIL, Key { chosen: other, ..own }),
                Err(Missed::Nothing),
                "{other:?}"
            );
        }
        assert_eq!(claim(&mut table, alice, 1, MAIL, own), Ok(10));
    }
}

#[test]
fn login_is_known_while_its_trace_lasts() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Handshaking);
    let logins =
        |table: &Table| table.logins(id).map(|it| (it.current.is_some(), it.mechanism(), it.challenged));
    assert_eq!(logins(&table), Some((false, None, false)));
    assert!(!table.set_login(id, None, Some(Mechanism::Kerberos), true));
    assert_eq!(logins(&table), Some((false, Some(Mechanism::Kerberos), true)));
    assert!(!table.set_login(id, Login::nameless(Mechanism::Kerberos), None, false));
    assert_eq!(logins(&table), Some((true, None, false)));
    table.end(id);
    assert_eq!(logins(&table), Some((true, None, false)));
    assert_eq!(table.leave(alice), None);
    assert_eq!(logins(&table), None);
}

#[test]
fn what_a_login_leaves_behind_is_forgotten_with_the_next_request() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Handshaking);
    let challenge = |mark| Challenge { at: NOW, ntlm: true, mark };
    let meet = |table: &Table| table.meet(Some(alice), 1, MAIL, HOME, NOW);
    let mark = Some(Mark::of_time(7));
    let asked = Progress::of(true, Some(Asked::default()));
    for (mark, answered) in [(None, true), (mark, false)] {
        table.note_challenge(id, challenge(mark));
        // A leg, the same credentials once more, a request of an unproven login, and one of a proven one.
        let requests = [(true, Phase::Proven), (true, Phase::Proven), (false, Phase::Unproven)];
        for (is_leg, phase) in requests.into_iter().chain([(false, Phase::Proven)]) {
            let is_over = !is_leg && phase == Phase::Proven;
            assert!(table.claim(alice, 1, MAIL, HOME, |_| true).is_some());
            if is_leg {
                table.set_progress(id, asked);
            }
            assert_eq!(park(&mut table, id, phase, 9), None);
            let Met::Waiting { challenge, .. } = meet(&table) else { panic!("it waits") };
            let may_be_answered = challenge.is_none_or(|challenge| challenge.may_be_answered_by(mark));
            assert_eq!(may_be_answered, !is_over || answered, "{is_leg} {phase:?} {mark:?}");
            assert_eq!(table.progress(id) == asked, !is_over, "{is_leg} {phase:?}");
        }
        assert!(table.progress(id).is_proven());
    }
}

#[test]
fn another_user_on_a_binding_is_noticed() {
    let mut table = Table::new();
    let (_, id) = parked(&mut table, "proxy", 1, 10, Phase::Handshaking);
    let login = |user: &str| {
        let user = Text::oem(user.as_bytes());
        Login::of(Mechanism::NtlmV2, Identity { user, ..Identity::default() })
    };
    assert!(!table.set_login(id, login("alice"), None, false));
    assert!(!table.set_login(id, login("alice"), None, false));
    assert!(!table.set_login(id, None, None, true));
    assert!(table.logins(id).unwrap().current.is_none());
    assert!(!table.set_login(id, login("alice"), None, false));
    assert!(!table.set_login(id, None, None, true));
    assert!(!table.set_login(id, None, None, true));
    assert!(table.set_login(id, login("bob"), None, false));
    assert!(!table.set_login(id, Login::nameless(Mechanism::Kerberos), None, false));
}

#[test]
fn a_long_key_leaves_no_trace() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    for (length, left) in [(TRACED, Err(Missed::Lost)), (TRACED + 1, Err(Missed::Nothing))] {
        let chosen = vec![b'k'; length];
        let key = Key { chosen: &chosen, ..HOME };
        let id = table.bind(alice, MAIL, WAIT, key, 10).unwrap().binding;
        park_at(&mut table, id, Phase::Proven, 9, NOW).unwrap();
        assert!(table.end(id).is_some());
        assert_eq!(claim(&mut table, alice, 1, MAIL, key), left);
    }
}

#[test]
fn binding_that_does_not_fit_stays_parked() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(table.claim(alice, 1, MAIL, HOME, |upstream| upstream != 10), None);
    assert_eq!(table.missed(alice, 1, MAIL, HOME), Missed::Unfit(id, 10));
    assert_eq!(table.counts(MAIL).parked, 1);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Ok(10));
}

#[test]
fn an_id_with_another_connection_number_gets_nothing() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(claim(&mut table, alice, 2, MAIL, HOME), Err(Missed::Nothing));
}

#[test]
fn stale_client_id_finds_nothing() {
    let mut table = Table::new();
    let (alice, of_alice) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(table.leave(alice), Some(Left { upstream: 10, busy: false }));
    assert_eq!(table.leave(alice), None);
    let (bob, _) = parked(&mut table, "bob", 1, 20, Phase::Proven);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Err(Missed::Nothing));
    assert_eq!(table.end(of_alice), None);
    assert_eq!(park_at(&mut table, of_alice, Phase::Proven, 100, NOW), Err(Refusal::NoClient));
    assert_eq!(table.leave(alice), None);
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 30), Err(Refusal::NoClient));
    assert_eq!(claim(&mut table, bob, 1, MAIL, HOME), Ok(20));
}

#[test]
fn second_binding_for_a_key_is_refused() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 11), Err(Refusal::Taken));
    claim(&mut table, alice, 1, MAIL, HOME).unwrap();
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 11), Err(Refusal::Taken));
    assert!(table.bind(alice, WIKI, WAIT, HOME, 12).is_ok());
    assert!(table.bind(alice, MAIL, WAIT, AWAY, 13).is_ok());
}

#[test]
fn other_forwarded_fields_get_another_binding() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "proxy", 1, 10, Phase::Proven);
    let forwarded = table.digest(&[b"192.0.2.1"]);
    assert_eq!(claim(&mut table, alice, 1, MAIL, Key { forwarded, ..HOME }), Err(Missed::Nothing));
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Ok(10));
}

#[test]
fn binding_expires_at_its_last_deadline() {
    for wait in [1, 9, 150, 60_000, 3_600_000] {
        let late = wait / 256 + 1;
        let mut table = Table::new();
        let client = table.enter(1, "alice").unwrap();
        let id = table.bind(client, MAIL, wait, HOME, 10).unwrap().binding;
        park_at(&mut table, id, Phase::Proven, 100, NOW).unwrap();
        assert!(table.expire_by().unwrap() <= NOW + wait + late);
        let again = NOW + wait - 1;
        assert_eq!(table.expire(again), None);
        assert_eq!(claim(&mut table, client, 1, MAIL, HOME), Ok(10));
        // It is busy for long, and is parked after that.
        let again = again + 10 * wait;
        assert_eq!(table.expire(again), None);
        park_at(&mut table, id, Phase::Proven, 100, again).unwrap();
        assert_eq!(table.expire(again + wait - 1), None);
        assert_eq!(table.expire(again + wait + late).map(|ended| ended.upstream), Some(10));
        assert_eq!((table.expire(u64::MAX / 2), table.expire_by()), (None, None));
    }
}

#[test]
fn late_timer_expires_all_that_is_due() {
    let mut table = Table::new();
    let mut ids = Vec::new();
    for number in 0..2_000 {
        let client = table.enter(1, "client").unwrap();
        let id = table.bind(client, MAIL, 1_000, HOME, number).unwrap().binding;
        park_at(&mut table, id, Phase::Proven, usize::MAX, NOW + u64::from(number)).unwrap();
        ids.push(id);
    }
    // No look at the ring for laps and laps; the last ones are not due.
    let now = NOW + 1_000 + 1_500;
    let ended = std::iter::from_fn(|| table.expire(now)).count();
    assert!((1_490..=1_501).contains(&ended), "{ended}");
    assert_eq!(table.counts(MAIL).parked, 2_000 - ended);
    assert_eq!(std::iter::from_fn(|| table.expire(now + 1_000)).count(), 2_000 - ended);
}

#[test]
fn use_makes_a_binding_recent() {
    let mut table = Table::new();
    let (a, first) = parked(&mut table, "a", 1, 10, Phase::Proven);
    let (b, _) = parked(&mut table, "b", 2, 20, Phase::Proven);
    claim(&mut table, a, 1, MAIL, HOME).unwrap();
    park_at(&mut table, first, Phase::Proven, 2, NOW).unwrap();
    claim(&mut table, a, 1, MAIL, HOME).unwrap();
    let client = table.enter(3, "c").unwrap();
    let third = table.bind(client, MAIL, WAIT, HOME, 30).unwrap().binding;
    assert_eq!(park(&mut table, third, Phase::Proven, 2), None);
    assert_eq!(park(&mut table, first, Phase::Proven, 2), Some(20));
    assert_eq!(claim(&mut table, b, 2, MAIL, HOME), Err(Missed::Lost));
    assert_eq!(table.counts(MAIL).parked, 2);
}

#[test]
fn binding_is_parked_again_where_nothing_else_has_to_be_done() {
    for phase in Phase::ALL {
        let mut table = Table::new();
        let (alice, id) = parked(&mut table, "alice", 1, 10, phase);
        parked(&mut table, "bob", 2, 20, Phase::Proven);
        assert!(!table.park_again(id, NOW, 3), "{phase:?}: it is parked");
        claim(&mut table, alice, 1, MAIL, HOME).unwrap();
        assert!(!table.park_again(id, NOW, 1), "{phase:?}: the group is full");
        let soon = NOW + WAIT / MOVES;
        assert!(!table.park_again(id, soon + 1, 3), "{phase:?}: it has to move in its list");
        assert_eq!(table.counts(MAIL).busy, 1);
        let may = phase != Phase::Handshaking;
        assert_eq!(table.park_again(id, soon, 2), may, "{phase:?}");
        if may {
            assert_eq!((table.counts(MAIL).parked, table.counts(MAIL).busy), (2, 0));
            let late = NOW + WAIT + WAIT / 100;
            assert!(table.expire(late).is_some_and(|ended| ended.upstream == 20));
            assert_eq!(table.expire(late), None, "{phase:?}: it has been used since");
            assert_eq!(table.end(id).map(|ended| ended.phase), Some(Some(phase)));
        }
        assert!(!table.park_again(id, soon, 2), "{phase:?}: it has ended, or its login goes on");
    }
}

#[test]
fn binding_that_an_eviction_passed_is_parked_anew() {
    let mut table = Table::new();
    let (alice, busy) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    parked(&mut table, "bob", 2, 20, Phase::Proven);
    claim(&mut table, alice, 1, MAIL, HOME).unwrap();
    let client = table.enter(3, "carol").unwrap();
    let newcomer = table.bind(client, MAIL, WAIT, HOME, 30).unwrap().binding;
    assert_eq!(park(&mut table, newcomer, Phase::Proven, 1), Some(20));
    assert!(!table.park_again(busy, NOW, 100), "no eviction would find it");
    assert_eq!(park(&mut table, busy, Phase::Proven, 100), None);
    assert_eq!(table.spare().map(|ended| ended.upstream), Some(30));
    assert_eq!(table.spare().map(|ended| ended.upstream), Some(10));
}

#[test]
fn first_request_after_a_login_forgets_what_it_was_for() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Handshaking);
    claim(&mut table, alice, 1, MAIL, HOME).unwrap();
    table.set_progress(id, Progress::of(true, Some(Asked::default())));
    assert_eq!(park(&mut table, id, Phase::Proven, 100), None);
    for asked in [Some(Asked::default()), None] {
        assert_eq!(table.progress(id).asked(), asked);
        assert!(table.claim(alice, 1, MAIL, HOME, |_| true).is_some());
        assert_eq!(table.park_again(id, NOW, 100), asked.is_none());
        if asked.is_some() {
            assert_eq!(park(&mut table, id, Phase::Proven, 100), None);
        }
    }
}

#[test]
fn groups_have_caps_of_their_own() {
    let mut table = Table::new();
    parked(&mut table, "a", 1, 10, Phase::Proven);
    let client = table.enter(2, "b").unwrap();
    let id = table.bind(client, WIKI, WAIT, HOME, 20).unwrap().binding;
    assert_eq!(park(&mut table, id, Phase::Proven, 1), None);
    assert_eq!(
        (table.counts(MAIL).parked, table.counts(WIKI).parked, table.counts(GroupId(7)).parked),
        (1, 1, 0)
    );
}

#[test]
fn ended_binding_is_lost_until_the_next() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    let ended = table.end(id).unwrap();
    assert_eq!((ended.client, ended.upstream), ("alice", 10));
    assert_eq!(table.end(id), None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Err(Missed::Lost));
    let again = table.bind(alice, MAIL, WAIT, HOME, 11).unwrap().binding;
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Err(Missed::Busy));
    assert_eq!(
        park_at(&mut table, id, Phase::Proven, 1, NOW),
        Err(Refusal::NoClient),
        "the lost one's id is stale"
    );
    assert_eq!(park(&mut table, again, Phase::Proven, 1), None);
    assert_eq!(table.leave(alice), Some(Left { upstream: 11, busy: false }));
    assert_eq!(table.leave(alice), None);
    assert_eq!((table.clients(), table.bindings.len()), (0, 0));
}

#[test]
fn leaving_client_ends_only_its_own_bindings() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Handshaking);
    for (group, upstream) in [(WIKI, 11), (GroupId(5), 12)] {
        let id = table.bind(alice, group, WAIT, HOME, upstream).unwrap().binding;
        park_at(&mut table, id, Phase::Handshaking, 9, NOW).unwrap();
    }
    let busy = table.bind(alice, MAIL, WAIT, AWAY, 13).unwrap().binding;
    let mut left: Vec<_> =
        std::iter::from_fn(|| table.leave(alice)).map(|it| (it.upstream, it.busy)).collect();
    left.sort_unstable();
    assert_eq!(left, [(10, false), (11, false), (12, false), (13, true)]);
    assert_eq!(park_at(&mut table, busy, Phase::Proven, 9, NOW), Err(Refusal::NoClient));
    assert_eq!(table.bindings.len(), 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Ok(20));
}

#[test]
fn a_client_gets_no_more_than_its_share() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Proven);
    let bind = |table: &mut Table, n: usize| {
        let chosen = n.to_be_bytes();
        let id = table.bind(alice, MAIL, WAIT, Key { chosen: &chosen, ..HOME }, 100)?.binding;
        park_at(table, id, Phase::Proven, usize::MAX, NOW).map(|_| id)
    };
    let ids: Vec<_> = (0..SHARE).map(|n| bind(&mut table, n).unwrap()).collect();
    assert_eq!(bind(&mut table, SHARE), Err(Refusal::Share));
    table.end(ids[7]).unwrap();
    let last = bind(&mut table, SHARE).unwrap();
    assert_eq!(bind(&mut table, SHARE + 1), Err(Refusal::Share));
    assert_eq!(table.bindings.len(), SHARE + 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Ok(20));
    table.end(last).unwrap();
    assert!(bind(&mut table, SHARE).is_ok(), "its own trace makes room as well");
    assert_eq!(std::iter::from_fn(|| table.leave(alice)).count(), SHARE);
}

#[test]
fn huge_cap_allocates_nothing_up_front() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    claim(&mut table, alice, 1, MAIL, HOME).unwrap();
    assert_eq!(park(&mut table, id, Phase::Proven, usize::MAX), None);
    assert!(table.bindings.capacity() < 100);
}

#[test]
fn binding_made_anew_takes_no_more_share() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let mut last = None;
    for _ in 0..2 * SHARE {
        if let Some(last) = last {
            table.end(last).unwrap();
        }
        let id = table.bind(alice, MAIL, WAIT, HOME, 10).unwrap().binding;
        assert_eq!(park(&mut table, id, Phase::Proven, 100), None);
        last = Some(id);
    }
    assert!(table.bind(alice, MAIL, WAIT, AWAY, 20).is_ok());
}
