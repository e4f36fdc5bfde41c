//! The table of bindings, event by event.

use super::*;
use crate::binding::key::Site;
use crate::binding::login::Login;
use crate::wire::mechanism::Mechanism;
use crate::wire::ntlmssp::Identity;
use crate::wire::text::Text;

mod servers;

const MAIL: GroupId = GroupId(0);
const WIKI: GroupId = GroupId(1);
const HOME: Key<'static> =
    Key { address: b"127.0.0.1", chosen: b"", forwarded: Digest::NONE, site: Site::NONE };
const AWAY: Key<'static> = Key { address: b"127.0.0.9", ..HOME };
const OTHER: Key<'static> = Key { chosen: b"b", ..HOME };

/// How long bindings may wait, in milliseconds.
const WAIT: u64 = 60_000;
/// A time at which bindings are parked.
const NOW: u64 = 1_000;

type Table = Bindings<&'static str, u32>;

/// The claim of a client that every binding fits.
fn claim(table: &mut Table, client: ClientId, number: u64, group: GroupId, key: Key<'_>) -> Claim<u32> {
    table.claim(client, number, group, key, |_| true)
}

/// The claim of a client that takes a binding without a login so far.
fn taken(upstream: u32) -> Claim<u32> {
    Claim::Taken(upstream, Standing::default())
}

/// Parks a binding: the connection that is evicted for it.
fn park(table: &mut Table, id: BindingId, phase: Phase, connections: usize) -> Option<u32> {
    table.park(id, phase, connections, NOW).unwrap().evicted.map(|evicted| evicted.ended.upstream)
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
    assert_eq!(claim(&mut table, alice, 1, WIKI, HOME), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, AWAY), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, OTHER), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), taken(10));
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Busy);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), taken(20));
}

#[test]
fn keys_of_any_length_are_told_apart() {
    for length in 0..=40 {
        let key: Vec<u8> = (0..length).collect();
        let mut table = Table::new();
        let alice = table.enter(1, "alice").unwrap();
        let own = Key { address: &key, chosen: &key, ..HOME };
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
            for key in [Key { address: other, ..own }, Key { chosen: other, ..own }] {
                assert_eq!(claim(&mut table, alice, 1, MAIL, key), Claim::None, "{key:?}");
            }
        }
        assert_eq!(claim(&mut table, alice, 1, MAIL, own), taken(10));
    }
}

#[test]
fn login_is_known_while_its_trace_lasts() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Handshaking);
    let logins =
        |table: &Table| table.logins(id).map(|it| (it.current.is_some(), it.mechanism, it.challenged));
    assert_eq!(logins(&table), Some((false, None, false)));
    assert!(!table.set_login(id, None, Some(Mechanism::Kerberos), true));
    assert_eq!(logins(&table), Some((false, Some(Mechanism::Kerberos), true)));
    assert!(!table.set_login(id, Some(Login::nameless(Mechanism::Kerberos)), None, false));
    assert_eq!(logins(&table), Some((true, None, false)));
    table.end(id);
    assert_eq!(logins(&table), Some((true, None, false)));
    assert_eq!(table.leave(alice), None);
    assert_eq!(logins(&table), None);
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
    assert!(!table.set_login(id, Some(Login::nameless(Mechanism::Kerberos)), None, false));
}

#[test]
fn a_long_key_leaves_no_trace() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    for (length, left) in [(TRACED, Claim::Lost), (TRACED + 1, Claim::None)] {
        let chosen = vec![b'k'; length];
        let key = Key { address: b"127.0.0.1", chosen: &chosen, ..HOME };
        let id = table.bind(alice, MAIL, WAIT, key, 10).unwrap().binding;
        table.park(id, Phase::Proven, 9, NOW).unwrap();
        assert!(table.end(id).is_some());
        assert_eq!(claim(&mut table, alice, 1, MAIL, key), left);
    }
}

#[test]
fn binding_that_does_not_fit_stays_parked() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    let unfit = table.claim(alice, 1, MAIL, HOME, |upstream| upstream != 10);
    assert_eq!(unfit, Claim::Unfit(id, 10));
    assert_eq!(table.counts(MAIL).parked, 1);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), taken(10));
}

#[test]
fn an_id_with_another_connection_number_gets_nothing() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(claim(&mut table, alice, 2, MAIL, HOME), Claim::None);
}

#[test]
fn stale_client_id_finds_nothing() {
    let mut table = Table::new();
    let (alice, of_alice) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(table.leave(alice), Some(Left { upstream: 10, busy: false }));
    assert_eq!(table.leave(alice), None);
    let (bob, _) = parked(&mut table, "bob", 1, 20, Phase::Proven);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::None);
    assert_eq!(table.end(of_alice), None);
    assert_eq!(table.park(of_alice, Phase::Proven, 100, NOW), Err(Refusal::NoClient));
    assert_eq!(table.leave(alice), None);
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 30), Err(Refusal::NoClient));
    assert_eq!(claim(&mut table, bob, 1, MAIL, HOME), taken(20));
}

#[test]
fn second_binding_for_a_key_is_refused() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 11), Err(Refusal::Taken));
    claim(&mut table, alice, 1, MAIL, HOME);
    assert_eq!(table.bind(alice, MAIL, WAIT, HOME, 11), Err(Refusal::Taken));
    assert!(table.bind(alice, WIKI, WAIT, HOME, 12).is_ok());
    assert!(table.bind(alice, MAIL, WAIT, AWAY, 13).is_ok());
}

/// Makes clients whose bindings fill `MAIL`, one parked after the other.
struct Crowd {
    table: Table,
    connections: usize,
    clock: u64,
    upstreams: u32,
}

impl Crowd {
    fn new(connections: usize) -> Self {
        Crowd { table: Table::new(), connections, clock: NOW, upstreams: 0 }
    }

    fn client(&mut self) -> ClientId {
        self.table.enter(1, "client").unwrap()
    }

    /// Parks a new binding of a client. Returns its number, and the number of the binding that is evicted for it.
    fn park(&mut self, client: ClientId, address: &str, chosen: &[u8], phase: Phase) -> (u32, Option<u32>) {
        self.clock += 1;
        self.upstreams += 1;
        let key = Key { address: address.as_bytes(), chosen, ..HOME };
        let id = self.table.bind(client, MAIL, WAIT, key, self.upstreams).unwrap().binding;
        let parked = self.table.park(id, phase, self.connections, self.clock).unwrap();
        (self.upstreams, parked.evicted.map(|evicted| evicted.ended.upstream))
    }

    /// A binding as [`Self::bind`] makes it, of a client of its own.
    fn arrive(&mut self, address: &str, phase: Phase) -> (u32, Option<u32>) {
        let client = self.client();
        self.park(client, address, b"", phase)
    }
}

#[test]
fn full_group_evicts_by_phase_first() {
    let mut crowd = Crowd::new(3);
    let (proven, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    let (unproven, _) = crowd.arrive("192.0.2.2", Phase::Unproven);
    let (handshake, _) = crowd.arrive("192.0.2.3", Phase::Handshaking);
    let (other, evicted) = crowd.arrive("192.0.2.4", Phase::Proven);
    assert_eq!(evicted, Some(handshake));
    assert_eq!(crowd.arrive("192.0.2.5", Phase::Proven).1, Some(unproven));
    assert_eq!(crowd.arrive("192.0.2.6", Phase::Proven).1, Some(proven));
    assert_eq!(crowd.arrive("192.0.2.7", Phase::Handshaking).1, Some(other));
}

#[test]
fn address_with_most_bindings_pays_first() {
    let mut crowd = Crowd::new(4);
    let (_alice, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    let many: Vec<u32> = (0..3).map(|_| crowd.arrive("192.0.2.9", Phase::Proven).0).collect();
    assert_eq!(crowd.arrive("192.0.2.2", Phase::Proven).1, Some(many[0]));
    assert_eq!(crowd.arrive("192.0.2.3", Phase::Proven).1, Some(many[1]));
}

#[test]
fn v6_network_pays_as_one_address() {
    let mut crowd = Crowd::new(3);
    crowd.arrive("2001:db8:0:1::1", Phase::Proven);
    let (first, _) = crowd.arrive("2001:db8:0:2::1", Phase::Proven);
    crowd.arrive("2001:db8:0:2::2", Phase::Proven);
    assert_eq!(crowd.arrive("2001:db8:0:3::1", Phase::Proven).1, Some(first));
}

#[test]
fn client_with_many_keys_pays_first_itself() {
    let mut crowd = Crowd::new(4);
    let (_alice, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    let (_bob, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    let greedy = crowd.client();
    let (first, _) = crowd.park(greedy, "192.0.2.1", b"1", Phase::Proven);
    let (second, _) = crowd.park(greedy, "192.0.2.1", b"2", Phase::Proven);
    assert_eq!(crowd.park(greedy, "192.0.2.1", b"3", Phase::Proven).1, Some(first));
    assert_eq!(crowd.park(greedy, "192.0.2.1", b"4", Phase::Proven).1, Some(second));
}

#[test]
fn far_heavier_address_pays_for_many_keys() {
    let mut crowd = Crowd::new(8);
    let proxy = crowd.client();
    crowd.park(proxy, "192.0.2.1", b"1", Phase::Unproven);
    crowd.park(proxy, "192.0.2.1", b"2", Phase::Unproven);
    let junk: Vec<u32> = (0..6).map(|_| crowd.arrive("192.0.2.9", Phase::Unproven).0).collect();
    assert_eq!(crowd.park(proxy, "192.0.2.1", b"3", Phase::Unproven).1, Some(junk[0]));
}

#[test]
fn office_keeps_its_handshake_beside_an_attacker() {
    let mut crowd = Crowd::new(20);
    for _ in 0..12 {
        crowd.arrive("192.0.2.1", Phase::Proven);
    }
    let junk: Vec<u32> = (0..7).map(|_| crowd.arrive("192.0.2.9", Phase::Handshaking).0).collect();
    let (office, _) = crowd.arrive("192.0.2.1", Phase::Handshaking);
    let (_, evicted) = crowd.arrive("192.0.2.9", Phase::Handshaking);
    assert_eq!(evicted, Some(junk[0]));
    assert_ne!(evicted, Some(office));
}

#[test]
fn full_share_gives_up_what_is_not_proven() {
    let mut table = Table::new();
    let proxy = table.enter(1, "proxy").unwrap();
    let mut made = Vec::new();
    for number in 0..SHARE + 2 {
        let address = number.to_string();
        let key = Key { address: b"", chosen: address.as_bytes(), ..HOME };
        let bound = table.bind(proxy, MAIL, WAIT, key, u32::try_from(number).unwrap()).unwrap();
        let phase = if number < 2 { Phase::Handshaking } else { Phase::Proven };
        table.park(bound.binding, phase, usize::MAX, NOW).unwrap();
        made.extend(bound.evicted.map(|ended| ended.upstream));
    }
    made.sort_unstable();
    assert_eq!(made, [0, 1]);
    assert_eq!(table.bind(proxy, MAIL, WAIT, HOME, 999), Err(Refusal::Share));
}

#[test]
fn busy_bindings_weigh_and_are_never_evicted() {
    let mut crowd = Crowd::new(2);
    let (first, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    for _ in 0..3 {
        let client = crowd.client();
        let key = Key { address: b"192.0.2.9", chosen: b"", ..HOME };
        crowd.table.bind(client, MAIL, WAIT, key, 100).unwrap();
    }
    let (second, _) = crowd.arrive("192.0.2.2", Phase::Proven);
    assert_eq!(crowd.arrive("192.0.2.3", Phase::Proven).1, Some(first).or(Some(second)));
    assert_eq!(crowd.table.counts(MAIL).busy, 3);
}

#[test]
fn shortage_takes_the_first_phase_of_any_group() {
    let mut crowd = Crowd::new(100);
    let (proven, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    let wiki = crowd.client();
    let id = crowd.table.bind(wiki, WIKI, WAIT, HOME, 100).unwrap().binding;
    assert_eq!(park(&mut crowd.table, id, Phase::Unproven, 100), None);
    assert_eq!(crowd.table.spare().map(|ended| ended.upstream), Some(100));
    assert_eq!(crowd.table.spare().map(|ended| ended.upstream), Some(proven));
    assert_eq!(crowd.table.spare(), None);
}

#[test]
fn other_forwarded_fields_get_another_binding() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "proxy", 1, 10, Phase::Proven);
    let forwarded = table.digest(&[b"192.0.2.1"]);
    assert_eq!(claim(&mut table, alice, 1, MAIL, Key { forwarded, ..HOME }), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), taken(10));
}

#[test]
fn binding_expires_at_its_last_deadline() {
    for wait in [1, 9, 150, 60_000, 3_600_000] {
        let late = wait / 256 + 1;
        let mut table = Table::new();
        let client = table.enter(1, "alice").unwrap();
        let id = table.bind(client, MAIL, wait, HOME, 10).unwrap().binding;
        table.park(id, Phase::Proven, 100, NOW).unwrap();
        assert!(table.expire_by().unwrap() <= NOW + wait + late);
        let again = NOW + wait - 1;
        assert_eq!(table.expire(again), None);
        assert_eq!(claim(&mut table, client, 1, MAIL, HOME), taken(10));
        // It is busy for long, and is parked after that.
        let again = again + 10 * wait;
        assert_eq!(table.expire(again), None);
        table.park(id, Phase::Proven, 100, again).unwrap();
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
        table.park(id, Phase::Proven, usize::MAX, NOW + u64::from(number)).unwrap();
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
    claim(&mut table, a, 1, MAIL, HOME);
    table.park(first, Phase::Proven, 2, NOW).unwrap();
    claim(&mut table, a, 1, MAIL, HOME);
    let client = table.enter(3, "c").unwrap();
    let third = table.bind(client, MAIL, WAIT, HOME, 30).unwrap().binding;
    assert_eq!(park(&mut table, third, Phase::Proven, 2), None);
    assert_eq!(park(&mut table, first, Phase::Proven, 2), Some(20));
    assert_eq!(claim(&mut table, b, 2, MAIL, HOME), Claim::Lost);
    assert_eq!(table.counts(MAIL).parked, 2);
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
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Lost);
    let again = table.bind(alice, MAIL, WAIT, HOME, 11).unwrap().binding;
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Busy);
    assert_eq!(table.park(id, Phase::Proven, 1, NOW), Err(Refusal::NoClient), "the lost one's id is stale");
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
        table.park(id, Phase::Handshaking, 9, NOW).unwrap();
    }
    let busy = table.bind(alice, MAIL, WAIT, AWAY, 13).unwrap().binding;
    let mut left: Vec<_> =
        std::iter::from_fn(|| table.leave(alice)).map(|it| (it.upstream, it.busy)).collect();
    left.sort_unstable();
    assert_eq!(left, [(10, false), (11, false), (12, false), (13, true)]);
    assert_eq!(table.park(busy, Phase::Proven, 9, NOW), Err(Refusal::NoClient));
    assert_eq!(table.bindings.len(), 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), taken(20));
}

#[test]
fn a_client_gets_no_more_than_its_share() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Proven);
    let bind = |table: &mut Table, n: usize| {
        let address = n.to_be_bytes();
        let id = table.bind(alice, MAIL, WAIT, Key { address: &address, chosen: b"", ..HOME }, 100)?.binding;
        table.park(id, Phase::Proven, usize::MAX, NOW).map(|_| id)
    };
    let ids: Vec<_> = (0..SHARE).map(|n| bind(&mut table, n).unwrap()).collect();
    assert_eq!(bind(&mut table, SHARE), Err(Refusal::Share));
    table.end(ids[7]).unwrap();
    let last = bind(&mut table, SHARE).unwrap();
    assert_eq!(bind(&mut table, SHARE + 1), Err(Refusal::Share));
    assert_eq!(table.bindings.len(), SHARE + 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), taken(20));
    table.end(last).unwrap();
    assert!(bind(&mut table, SHARE).is_ok(), "its own trace makes room as well");
    assert_eq!(std::iter::from_fn(|| table.leave(alice)).count(), SHARE);
}

#[test]
fn huge_cap_allocates_nothing_up_front() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Proven);
    claim(&mut table, alice, 1, MAIL, HOME);
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
