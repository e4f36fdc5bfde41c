//! Where requests go: case by case, and logins of one client connection interleaved in every order of their legs.

use std::sync::LazyLock;

use super::*;
use crate::binding::digest::Digest;
use crate::binding::exchange::Phase;
use crate::binding::ids::{BindingId, ClientId, GroupId};
use crate::binding::key::{Address, Key, Site};
use crate::binding::table::{BegunLogin, Bindings};
use crate::wire::ntlmssp::TargetInfo;

const NONE: Met = Met::Nothing;

fn mark(time: u64) -> Option<Mark> {
    let mut pairs = [&[7, 0, 8, 0][..], &time.to_le_bytes()].concat();
    pairs.extend([0; 4]);
    static TABLE: LazyLock<Bindings<(), ()>> = LazyLock::new(Bindings::new);
    TABLE.mark(TargetInfo::of(&pairs))
}

fn waiting(awaited: bool) -> Met {
    Met::Waiting { challenge: Some(Challenge { at: 0, ntlm: true, mark: mark(1) }), awaited }
}

fn way(protocol: Protocol, repeatable: bool, leg: Leg, met: Met) -> Way {
    Arrival { multiplexing: true, protocol, repeatable, anew: false, leg, met }.way()
}

#[test]
fn streams_that_would_be_refused_are_turned_back() {
    use Way::{Apart, Back, Binding};
    let (mine, others, untold) = (Leg::Answers(mark(1)), Leg::Answers(mark(2)), Leg::Answers(None));
    let another =
        Met::Waiting { challenge: Some(Challenge { at: 0, ntlm: false, mark: None }), awaited: true };
    // For a request over HTTP/2 without a body; then what any other has where that is turned back.
    for (met, leg, expected) in [
        (NONE, Leg::None, Binding),
        (NONE, Leg::Begins, Binding),
        (NONE, Leg::Ticket, Binding),
        (NONE, Leg::Other, Binding),
        (NONE, mine, Back),
        (NONE, untold, Back),
        (Met::Begun, Leg::None, Apart),
        (Met::Begun, Leg::Begins, Back),
        (Met::Begun, Leg::Ticket, Binding),
        (Met::Begun, mine, Back),
        (Met::Busy, Leg::None, Apart),
        (Met::Busy, Leg::Begins, Back),
        (Met::Busy, Leg::Ticket, Apart),
        (Met::Busy, Leg::Other, Back),
        (Met::Busy, mine, Back),
        (waiting(true), Leg::None, Apart),
        (waiting(true), Leg::Begins, Back),
        (waiting(true), Leg::Ticket, Binding),
        (waiting(true), Leg::Other, Binding),
        (waiting(true), mine, Binding),
        (waiting(true), untold, Binding),
        (waiting(true), others, Back),
        (waiting(false), Leg::None, Binding),
        (waiting(false), Leg::Begins, Binding),
        (waiting(false), mine, Binding),
        (waiting(false), others, Back),
        // The legs before NTLM in Negotiate.
        (another, Leg::Begins, Binding),
        (another, Leg::None, Apart),
    ] {
        assert_eq!(way(Protocol::Http2, true, leg, met), expected, "{met:?} {leg:?}");
        let kept = match (expected, met, leg) {
            (Back, Met::Waiting { .. }, Leg::Begins) => Binding,
            (Back, ..) => Apart,
            _ => expected,
        };
        assert_eq!(way(Protocol::Http2, false, leg, met), kept, "with a body: {met:?} {leg:?}");
        assert_eq!(way(Protocol::Http3, true, leg, met), kept, "HTTP/3: {met:?} {leg:?}");
    }
}

#[test]
fn body_is_turned_back_where_its_login_is_begun_anew() {
    let legs = [Leg::None, Leg::Begins, Leg::Ticket, Leg::Other, Leg::Answers(mark(1))];
    for met in [NONE, Met::Begun, Met::Busy, waiting(true), waiting(false)] {
        for (leg, protocol) in legs.into_iter().flat_map(|leg| {
            [Protocol::Http1, Protocol::Http2, Protocol::Http3].map(|protocol| (leg, protocol))
        }) {
            let before = way(protocol, false, leg, met);
            let anew = Arrival { multiplexing: true, protocol, repeatable: false, anew: true, leg, met };
            let turned_back = protocol == Protocol::Http2 && leg == Leg::Begins;
            assert_eq!(anew.way(), if turned_back { Way::Back } else { before }, "{met:?} {leg:?}");
            assert!(!turned_back || !anew.waits());
        }
    }
}

#[test]
fn body_that_would_be_refused_waits() {
    let legs = [Leg::None, Leg::Begins, Leg::Ticket, Leg::Other, Leg::Answers(mark(1))];
    for (met, waiting) in [
        (NONE, &[][..]),
        (Met::Begun, &[Leg::None, Leg::Begins]),
        (Met::Busy, &[Leg::None, Leg::Begins]),
        (waiting(true), &[Leg::None]),
        (waiting(false), &[]),
    ] {
        for leg in legs {
            let arrival = |protocol, repeatable| Arrival {
                multiplexing: true,
                protocol,
                repeatable,
                anew: false,
                leg,
                met,
            };
            let (body, quic) = (arrival(Protocol::Http2, false), arrival(Protocol::Http3, false));
            assert_eq!(
                (body.waits(), quic.waits()),
                (waiting.contains(&leg), waiting.contains(&leg)),
                "{met:?} {leg:?}"
            );
            for other in [
                arrival(Protocol::Http2, true),
                arrival(Protocol::Http3, true),
                arrival(Protocol::Http1, false),
            ] {
                assert!(!other.waits(), "{met:?} {leg:?}");
            }
        }
    }
}

#[test]
fn http1_keeps_its_binding_but_for_a_foreign_answer() {
    for met in [NONE, Met::Begun, Met::Busy, waiting(true), waiting(false)] {
        for leg in
            [Leg::None, Leg::Begins, Leg::Ticket, Leg::Other, Leg::Answers(mark(1)), Leg::Answers(None)]
        {
            assert_eq!(way(Protocol::Http1, true, leg, met), Way::Binding, "{met:?} {leg:?}");
        }
    }
    for awaited in [true, false] {
        let foreign = Leg::Answers(mark(2));
        assert_eq!(way(Protocol::Http1, true, foreign, waiting(awaited)), Way::Apart);
        assert!(waiting(awaited).can_be_mistaken());
    }
    let unmarked =
        Met::Waiting { challenge: Some(Challenge { at: 0, ntlm: true, mark: None }), awaited: true };
    for met in [NONE, Met::Begun, Met::Busy, unmarked] {
        assert!(!met.can_be_mistaken());
    }
}

#[test]
fn off_turns_back_credentials_of_streams_without_body() {
    for leg in [Leg::Begins, Leg::Ticket, Leg::Other, Leg::Answers(None)] {
        for met in [NONE, Met::Busy, waiting(true), waiting(false)] {
            let arrival = Arrival {
                multiplexing: false,
                protocol: Protocol::Http2,
                repeatable: true,
                anew: false,
                leg,
                met,
            };
            assert_eq!(arrival.way(), Way::Back);
            for (protocol, repeatable) in
                [(Protocol::Http2, false), (Protocol::Http3, true), (Protocol::Http1, true)]
            {
                let other = Arrival { protocol, repeatable, ..arrival };
                assert_eq!(other.way(), Arrival { multiplexing: true, ..other }.way());
            }
        }
    }
}

/// A connection of the origin: the login that it gave its last challenge to, and who is logged in.
#[derive(Clone, Copy, Default)]
struct Server {
    challenged: Option<usize>,
    user: Option<usize>,
}

/// A login over the connection, and how far it is; each of its legs is sent, and answered later.
#[derive(Clone, Copy, Default)]
struct Login {
    legs: usize,
    on_its_way: Option<OnItsWay>,
    /// When its challenge was given, as the server's clock told.
    challenge: Option<u64>,
    over: bool,
}

#[derive(Clone, Copy)]
struct OnItsWay {
    server: usize,
    bound: bool,
    begun: Option<BegunLogin>,
}

/// One client connection, its table, and an origin.
struct World {
    protocol: Protocol,
    repeatable: bool,
    /// All challenges are given within one tick of the server's clock, so that nothing tells them apart.
    same_tick: bool,
    table: Bindings<u32, usize>,
    client: ClientId,
    /// The binding, once there is one.
    binding: Option<BindingId>,
    servers: Vec<Server>,
    logins: Vec<Login>,
    /// Answers to challenges that came to a connection that had given another.
    astray: usize,
    accepted: usize,
}

const GROUP: GroupId = GroupId(0);
const KEY: Key<'_> = Key { address: Address::LOCAL, chosen: b"", forwarded: Digest::NONE, site: Site::NONE };

impl World {
    fn new(protocol: Protocol, repeatable: bool, same_tick: bool, logins: usize) -> Self {
        let mut table = Bindings::new();
        let client = table.enter(1, 7).unwrap();
        let logins = vec![Login::default(); logins];
        let (servers, binding) = (Vec::new(), None);
        World {
            protocol,
            repeatable,
            same_tick,
            table,
            client,
            binding,
            servers,
            logins,
            astray: 0,
            accepted: 0,
        }
    }

    /// The next thing that happens to a login: a leg is sent, or answered.
    fn step(&mut self, index: usize) {
        let login = self.logins[index];
        match login.on_its_way {
            _ if login.over => {}
            None => self.send(index),
            Some(on_its_way) => self.answer(index, on_its_way),
        }
    }

    fn send(&mut self, index: usize) {
        let login = self.logins[index];
        let leg = match login.challenge {
            None => Leg::Begins,
            Some(time) => Leg::Answers(mark(time)),
        };
        let met = self.table.meet(Some(self.client), 1, GROUP, KEY, 0);
        let Self { protocol, repeatable, .. } = *self;
        let way = Arrival { multiplexing: true, protocol, repeatable, anew: false, leg, met }.way();
        let mut begun = None;
        let server = match way {
            Way::Back => {
                assert!(protocol == Protocol::Http2 && repeatable);
                self.logins[index].over = true;
                return;
            }
            Way::Binding => {
                if met == Met::Nothing && leg.is_first() {
                    begun = self.table.begin_login(1, GROUP, KEY);
                }
                self.table.claim(self.client, 1, GROUP, KEY, |_| true).map(|taken| taken.upstream)
            }
            Way::Apart => None,
        };
        let bound = server.is_some();
        let server = server.unwrap_or_else(|| {
            self.servers.push(Server::default());
            self.servers.len() - 1
        });
        self.logins[index].on_its_way = Some(OnItsWay { server, bound, begun });
    }

    fn answer(&mut self, index: usize, OnItsWay { server, bound, begun }: OnItsWay) {
        self.logins[index].on_its_way = None;
        self.logins[index].legs += 1;
        let is_challenge = self.logins[index].challenge.is_none();
        let connection = &mut self.servers[server];
        if is_challenge {
            *connection = Server { challenged: Some(index), user: None };
        } else {
            let challenged = connection.challenged.take();
            self.astray += usize::from(challenged.is_some_and(|challenged| challenged != index));
            connection.user = challenged.filter(|&challenged| challenged == index);
            self.accepted += usize::from(connection.user.is_some());
            self.logins[index].over = true;
        }
        let phase = if is_challenge { Phase::Handshaking } else { Phase::Proven };
        let id = if bound {
            self.binding
        } else {
            let met = self.table.meet(Some(self.client), 1, GROUP, KEY, 0);
            // A challenge whose connection cannot be kept is not given over HTTP/2.
            if is_challenge && met.is_taken() && self.protocol == Protocol::Http2 && self.repeatable {
                self.logins[index].over = true;
            }
            let made = self.table.bind(self.client, GROUP, 60_000, KEY, server);
            made.ok().map(|made| made.binding).inspect(|&id| self.binding = Some(id))
        };
        let time = if self.same_tick { 0 } else { 1_000 + index as u64 };
        if is_challenge {
            self.logins[index].challenge = Some(time);
        }
        if let Some(id) = id {
            self.table.set_login(id, None, None, is_challenge);
            if is_challenge {
                let mark = mark(time);
                self.table.note_challenge(id, Challenge { at: 0, ntlm: true, mark });
            }
            self.table.park(id, phase, 0).unwrap();
        }
        if let Some(begun) = begun {
            self.table.end_login(begun);
        }
    }
}

/// All orders in which each of `logins` takes `steps` steps.
fn orders(logins: usize, steps: usize) -> Vec<Vec<usize>> {
    fn go(left: &mut [usize], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left.iter().all(|&left| left == 0) {
            all.push(order.clone());
        }
        for index in 0..left.len() {
            if left[index] > 0 {
                left[index] -= 1;
                order.push(index);
                go(left, order, all);
                order.pop();
                left[index] += 1;
            }
        }
    }
    let mut all = Vec::new();
    go(&mut vec![steps; logins], &mut Vec::new(), &mut all);
    all
}

#[test]
fn no_answer_goes_astray_in_any_order_of_three_logins() {
    // Two legs each: sent, answered, sent, answered.
    let orders = orders(3, 4);
    assert_eq!(orders.len(), 34_650);
    // Over HTTP/3 requests go where those with a body go over HTTP/2.
    for (protocol, repeatable) in [(Protocol::Http2, true), (Protocol::Http2, false)] {
        for same_tick in [false, true] {
            // Where nothing tells challenges apart, streams that can be turned back have one login at a time.
            if same_tick && !(protocol == Protocol::Http2 && repeatable) {
                continue;
            }
            for order in &orders {
                let mut world = World::new(protocol, repeatable, same_tick, 3);
                order.iter().for_each(|&index| world.step(index));
                assert_eq!(world.astray, 0, "{protocol:?} {repeatable} {same_tick} {order:?}");
                assert!(world.accepted > 0, "{protocol:?} {repeatable} {same_tick} {order:?}");
            }
        }
    }
}

#[test]
fn no_answer_goes_astray_where_a_proxy_mixes_logins() {
    // Over HTTP/1.1 a request comes when the one before has been answered.
    let orders = orders(4, 2);
    assert_eq!(orders.len(), 2_520);
    for order in orders {
        let mut world = World::new(Protocol::Http1, true, false, 4);
        for &index in &order {
            world.step(index);
            world.step(index);
        }
        assert_eq!(world.astray, 0, "{order:?}");
        assert!(world.accepted > 0, "{order:?}");
    }
}

#[test]
fn login_that_was_begun_ends_with_its_request() {
    let mut table: Bindings<u32, usize> = Bindings::new();
    let meet = |table: &Bindings<u32, usize>, number| table.meet(None, number, GROUP, KEY, 0);
    let begun = table.begin_login(1, GROUP, KEY).unwrap();
    assert!(table.begin_login(1, GROUP, KEY).is_none());
    assert_eq!((meet(&table, 1), meet(&table, 2)), (Met::Begun, NONE));
    assert_eq!(table.meet(None, 1, GroupId(1), KEY, 0), NONE);
    assert_eq!(table.meet(None, 1, GROUP, Key { chosen: b"k", ..KEY }, 0), NONE);
    table.end_login(begun);
    assert_eq!(meet(&table, 1), NONE);
}

#[test]
fn unanswered_challenge_is_awaited_for_five_seconds() {
    let mut world = World::new(Protocol::Http2, true, false, 1);
    world.step(0);
    world.step(0);
    let meet = |now| world.table.meet(Some(world.client), 1, GROUP, KEY, now);
    assert!(matches!(meet(4_999), Met::Waiting { awaited: true, .. }));
    assert!(matches!(meet(5_000), Met::Waiting { awaited: false, challenge: Some(_) }));
    assert_eq!(world.table.meet(Some(world.client), 2, GROUP, KEY, 0), NONE, "another connection's number");
    let any = |number, group, now| world.table.meet_any(world.client, number, group, KEY, now);
    assert_eq!(any(1, GROUP, 4_999), meet(4_999));
    for nothing in [any(1, GROUP, 5_000), any(2, GROUP, 0), any(1, GroupId(1), 0)] {
        assert_eq!(nothing, NONE);
    }
}

#[test]
fn busiest_binding_of_a_client_is_met() {
    let mut table: Bindings<u32, usize> = Bindings::new();
    let client = table.enter(1, 1).unwrap();
    let meet = |table: &Bindings<u32, usize>| table.meet_any(client, 1, GROUP, KEY, 0);
    let id = table.bind(client, GROUP, 60_000, KEY, 1).unwrap().binding;
    assert_eq!(meet(&table), Met::Busy);
    table.park(id, Phase::Proven, 0).unwrap();
    assert_eq!(meet(&table), NONE);
    let app = Key { site: Site { tls: false, host: b"app", port: 80 }, ..KEY };
    let other = table.bind(client, GROUP, 60_000, app, 2).unwrap().binding;
    assert_eq!(meet(&table), Met::Busy);
    let bob = Key { chosen: b"bob", ..KEY };
    assert_eq!(table.meet_any(client, 1, GROUP, bob, 0), NONE, "another user's");
    assert!(table.user(app) == table.user(KEY) && table.user(bob) != table.user(KEY));
    table.end(other);
    assert_eq!(meet(&table), NONE, "what is left of it");
}
