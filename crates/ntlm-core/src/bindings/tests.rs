use super::*;
use crate::ntlmssp::Identity;
use crate::text::Text;

const MAIL: GroupId = GroupId(0);
const WIKI: GroupId = GroupId(1);
const HOME: Key<'static> = Key { address: b"127.0.0.1", chosen: b"" };
const AWAY: Key<'static> = Key { address: b"127.0.0.9", chosen: b"" };
const OTHER: Key<'static> = Key { address: b"127.0.0.1", chosen: b"b" };

/// A deadline that does not come.
const LATER: u64 = 60_000;

type Table = Bindings<&'static str, u32>;

/// What a client gets that every binding fits.
fn claim(table: &mut Table, client: ClientId, number: u64, group: GroupId, key: Key<'_>) -> Claim<u32> {
    table.claim(client, number, group, key, |_| true)
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
    let id = table.bind(client, MAIL, HOME, upstream).unwrap();
    assert_eq!(table.park(id, phase, 100, LATER), Ok(None));
    (client, id)
}

#[test]
fn a_client_gets_its_own_binding_and_nobody_elses() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Established);
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Established);
    assert_eq!(claim(&mut table, alice, 1, WIKI, HOME), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, AWAY), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, OTHER), Claim::None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Taken(10));
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Busy);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Claim::Taken(20));
}

#[test]
fn a_key_of_any_length_is_told_from_one_that_differs_anywhere() {
    for length in 0..=40 {
        let key: Vec<u8> = (0..length).collect();
        let mut table = Table::new();
        let alice = table.enter(1, "alice").unwrap();
        let own = Key { address: &key, chosen: &key };
        let id = table.bind(alice, MAIL, own, 10).unwrap();
        assert_eq!(table.park(id, Phase::Established, 100, LATER), Ok(None));
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
        assert_eq!(claim(&mut table, alice, 1, MAIL, own), Claim::Taken(10));
    }
}

#[test]
fn a_login_is_known_as_long_as_its_binding_leaves_a_trace() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Handshaking);
    assert_eq!((table.login(id), table.mechanism(id)), (None, None));
    assert!(!table.set_login(id, None, Some(Mechanism::Kerberos), true));
    assert_eq!((table.mechanism(id), table.is_challenged(id)), (Some(Mechanism::Kerberos), true));
    assert!(!table.set_login(id, Some(Login::nameless(Mechanism::Kerberos)), None, false));
    assert_eq!(table.login(id), Some(&Login::nameless(Mechanism::Kerberos)));
    assert_eq!((table.mechanism(id), table.is_challenged(id)), (None, false));
    table.end(id);
    assert!(table.login(id).is_some());
    assert_eq!(table.leave(alice), None);
    assert_eq!(table.login(id), None);
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
    assert_eq!(table.login(id), None);
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
        let key = Key { address: b"127.0.0.1", chosen: &chosen };
        let id = table.bind(alice, MAIL, key, 10).unwrap();
        table.park(id, Phase::Established, 9, LATER).unwrap();
        assert!(table.end(id).is_some());
        assert_eq!(claim(&mut table, alice, 1, MAIL, key), left);
    }
}

#[test]
fn a_binding_that_does_not_fit_the_request_stays_parked() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Established);
    let unfit = table.claim(alice, 1, MAIL, HOME, |upstream| upstream != 10);
    assert_eq!(unfit, Claim::Unfit(id, 10));
    assert_eq!(table.counts(MAIL).parked, 1);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Taken(10));
}

#[test]
fn an_id_with_another_connection_number_gets_nothing() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Established);
    assert_eq!(claim(&mut table, alice, 2, MAIL, HOME), Claim::None);
}

#[test]
fn a_stale_client_id_finds_nothing_in_the_slot_of_its_successor() {
    let mut table = Table::new();
    let (alice, of_alice) = parked(&mut table, "alice", 1, 10, Phase::Established);
    assert_eq!(table.leave(alice), Some(10));
    assert_eq!(table.leave(alice), None);
    let (bob, _) = parked(&mut table, "bob", 1, 20, Phase::Established);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::None);
    assert_eq!(table.end(of_alice), None);
    assert_eq!(table.park(of_alice, Phase::Established, 100, LATER), Err(Refusal::NoClient));
    assert_eq!(table.leave(alice), None);
    assert_eq!(table.bind(alice, MAIL, HOME, 30), Err(Refusal::NoClient));
    assert_eq!(claim(&mut table, bob, 1, MAIL, HOME), Claim::Taken(20));
}

#[test]
fn a_second_binding_for_the_same_group_and_key_is_refused() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Established);
    assert_eq!(table.bind(alice, MAIL, HOME, 11), Err(Refusal::Taken));
    claim(&mut table, alice, 1, MAIL, HOME);
    assert_eq!(table.bind(alice, MAIL, HOME, 11), Err(Refusal::Taken));
    assert!(table.bind(alice, WIKI, HOME, 12).is_ok());
    assert!(table.bind(alice, MAIL, AWAY, 13).is_ok());
}

#[test]
fn a_full_group_gives_up_handshakes_first_and_then_the_longest_unused() {
    let mut table = Table::new();
    let mut at_cap = |name, number, upstream, phase| {
        let client = table.enter(number, name).unwrap();
        let id = table.bind(client, MAIL, HOME, upstream).unwrap();
        table.park(id, phase, 3, LATER).unwrap().map(|ended| (ended.client, ended.upstream, ended.phase))
    };
    let (hand, est) = (Phase::Handshaking, Phase::Established);
    assert_eq!(at_cap("a", 1, 10, est), None);
    assert_eq!(at_cap("b", 2, 20, hand), None);
    assert_eq!(at_cap("c", 3, 30, hand), None);
    assert_eq!(at_cap("d", 4, 40, est), Some(("b", 20, Some(hand))));
    assert_eq!(at_cap("e", 5, 50, est), Some(("c", 30, Some(hand))));
    assert_eq!(at_cap("f", 6, 60, est), Some(("a", 10, Some(est))));
    assert_eq!(at_cap("g", 7, 70, hand), Some(("d", 40, Some(est))));
    assert_eq!(at_cap("h", 8, 80, hand), Some(("g", 70, Some(hand))));
    assert_eq!(table.counts(MAIL).parked, 3);
}

#[test]
fn use_makes_a_binding_recent_and_a_busy_one_is_never_evicted() {
    let mut table = Table::new();
    let (a, first) = parked(&mut table, "a", 1, 10, Phase::Established);
    let (b, _) = parked(&mut table, "b", 2, 20, Phase::Established);
    claim(&mut table, a, 1, MAIL, HOME);
    table.park(first, Phase::Established, 2, LATER).unwrap();
    claim(&mut table, a, 1, MAIL, HOME);
    let client = table.enter(3, "c").unwrap();
    let third = table.bind(client, MAIL, HOME, 30).unwrap();
    assert_eq!(table.park(third, Phase::Established, 2, LATER), Ok(None));
    let evicted = table.park(first, Phase::Established, 2, LATER).unwrap().unwrap();
    assert_eq!(evicted.upstream, 20);
    assert_eq!(claim(&mut table, b, 2, MAIL, HOME), Claim::Lost);
    assert_eq!(table.counts(MAIL).parked, 2);
}

#[test]
fn groups_have_caps_of_their_own() {
    let mut table = Table::new();
    parked(&mut table, "a", 1, 10, Phase::Established);
    let client = table.enter(2, "b").unwrap();
    let id = table.bind(client, WIKI, HOME, 20).unwrap();
    assert_eq!(table.park(id, Phase::Established, 1, LATER), Ok(None));
    assert_eq!(
        (table.counts(MAIL).parked, table.counts(WIKI).parked, table.counts(GroupId(7)).parked),
        (1, 1, 0)
    );
}

#[test]
fn a_binding_that_ends_before_its_client_is_remembered_as_lost_until_the_next() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Established);
    let ended = table.end(id).unwrap();
    assert_eq!((ended.client, ended.upstream), ("alice", 10));
    assert_eq!(table.end(id), None);
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Lost);
    let again = table.bind(alice, MAIL, HOME, 11).unwrap();
    assert_eq!(claim(&mut table, alice, 1, MAIL, HOME), Claim::Busy);
    assert_eq!(
        table.park(id, Phase::Established, 1, LATER),
        Err(Refusal::NoClient),
        "the lost one's id is stale"
    );
    assert_eq!(table.park(again, Phase::Established, 1, LATER), Ok(None));
    assert_eq!(table.leave(alice), Some(11));
    assert_eq!(table.leave(alice), None);
    assert_eq!((table.clients(), table.bindings.len()), (0, 0));
}

#[test]
fn a_leaving_client_takes_all_its_bindings_along_and_nobody_elses() {
    let mut table = Table::new();
    let (alice, _) = parked(&mut table, "alice", 1, 10, Phase::Established);
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Handshaking);
    for (group, upstream) in [(WIKI, 11), (GroupId(5), 12)] {
        let id = table.bind(alice, group, HOME, upstream).unwrap();
        table.park(id, Phase::Handshaking, 9, LATER).unwrap();
    }
    let busy = table.bind(alice, MAIL, AWAY, 13).unwrap();
    let mut closed: Vec<_> = std::iter::from_fn(|| table.leave(alice)).collect();
    closed.sort();
    assert_eq!(closed, [10, 11, 12]);
    assert_eq!(table.park(busy, Phase::Established, 9, LATER), Err(Refusal::NoClient));
    assert_eq!(table.bindings.len(), 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Claim::Taken(20));
}

#[test]
fn a_client_gets_no_more_than_its_share() {
    let mut table = Table::new();
    let alice = table.enter(1, "alice").unwrap();
    let (bob, _) = parked(&mut table, "bob", 2, 20, Phase::Established);
    let bind = |table: &mut Table, n: usize| {
        let address = n.to_be_bytes();
        let id = table.bind(alice, MAIL, Key { address: &address, chosen: b"" }, 100)?;
        table.park(id, Phase::Established, usize::MAX, LATER).map(|_| id)
    };
    let ids: Vec<_> = (0..SHARE).map(|n| bind(&mut table, n).unwrap()).collect();
    assert_eq!(bind(&mut table, SHARE), Err(Refusal::Share));
    table.end(ids[7]).unwrap();
    let last = bind(&mut table, SHARE).unwrap();
    assert_eq!(bind(&mut table, SHARE + 1), Err(Refusal::Share));
    assert_eq!(table.bindings.len(), SHARE + 1);
    assert_eq!(claim(&mut table, bob, 2, MAIL, HOME), Claim::Taken(20));
    table.end(last).unwrap();
    assert!(bind(&mut table, SHARE).is_ok(), "its own trace makes room as well");
    assert_eq!(std::iter::from_fn(|| table.leave(alice)).count(), SHARE);
}

#[test]
fn a_huge_group_number_or_cap_allocates_nothing_up_front() {
    let mut table = Table::new();
    let (alice, id) = parked(&mut table, "alice", 1, 10, Phase::Established);
    claim(&mut table, alice, 1, MAIL, HOME);
    assert_eq!(table.park(id, Phase::Established, usize::MAX, LATER), Ok(None));
    assert!(table.bindings.capacity() < 100);
}
