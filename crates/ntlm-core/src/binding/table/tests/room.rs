//! Which binding ends when a group is full.

use super::*;

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
        let key = Key { address: at(address), chosen, ..HOME };
        let id = self.table.bind(client, MAIL, WAIT, key, self.upstreams).unwrap().binding;
        let parked = park_at(&mut self.table, id, phase, self.connections, self.clock).unwrap();
        (self.upstreams, parked.1.map(|evicted| evicted.ended.upstream))
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
    assert_eq!(crowd.arrive("192.0.2.4", Phase::Proven).1, Some(handshake));
    assert_eq!(crowd.arrive("192.0.2.5", Phase::Proven).1, Some(unproven));
    assert_eq!(crowd.arrive("192.0.2.6", Phase::Proven).1, Some(proven));
}

#[test]
fn what_is_not_proven_ends_no_proven_login() {
    for phase in [Phase::Handshaking, Phase::Unproven] {
        let mut crowd = Crowd::new(3);
        let (first, _) = crowd.arrive("192.0.2.1", Phase::Proven);
        crowd.arrive("192.0.2.2", Phase::Proven);
        crowd.arrive("192.0.2.3", Phase::Proven);
        let beside: Vec<u32> = (0..3)
            .map(|number| {
                let (arrived, evicted) = crowd.arrive(&format!("198.51.100.{number}"), phase);
                assert_eq!(evicted, None, "{phase:?} {number}");
                arrived
            })
            .collect();
        let (fourth, evicted) = crowd.arrive("203.0.113.1", phase);
        assert_eq!(evicted, beside.first().copied());
        // A newly proven login ends the oldest proven one; the logins that have begun stay.
        assert_eq!(crowd.arrive("192.0.2.30", Phase::Proven).1, Some(first));
        assert!(!beside.contains(&fourth));
    }
}

#[test]
fn idle_binding_goes_before_many_in_use() {
    let mut crowd = Crowd::new(102);
    let busy: Vec<ClientId> = (0..100).map(|_| crowd.client()).collect();
    for &client in &busy {
        crowd.park(client, "192.0.2.1", b"", Phase::Proven);
    }
    let (idle, _) = crowd.arrive("192.0.2.1", Phase::Proven);
    for _ in 0..3 {
        crowd.clock += WAIT / 4;
        for &client in &busy {
            let key = Key { address: at("192.0.2.1"), ..HOME };
            let (id, _) = crowd.table.of_client(&crowd.table.clients[client]).next().unwrap();
            assert!(crowd.table.claim(client, 1, MAIL, key, |_| true).is_some());
            crowd.clock += 1;
            crowd.table.park(id, Phase::Proven, crowd.clock).unwrap();
        }
    }
    assert_eq!(crowd.arrive("192.0.2.1", Phase::Proven).1, None);
    assert_eq!(crowd.arrive("192.0.2.1", Phase::Proven).1, Some(idle));
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
        let key = Key { address: Address::LOCAL, chosen: address.as_bytes(), ..HOME };
        let bound = table.bind(proxy, MAIL, WAIT, key, u32::try_from(number).unwrap()).unwrap();
        let phase = if number < 2 { Phase::Handshaking } else { Phase::Proven };
        park_at(&mut table, bound.binding, phase, usize::MAX, NOW).unwrap();
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
        let key = Key { address: at("192.0.2.9"), ..HOME };
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
