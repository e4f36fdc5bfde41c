//! The table of bindings beside a model that is too simple to be wrong: both are played the same events, of several
//! clients, groups and keys, with ids that are stale as often as not, and must agree on every answer. So a binding never
//! reaches a client it was not made for, caps and shares hold, and the order of eviction is what the specification says:
//! by phase, then by who has most.
//! Shared by the property test, the corpus test and the fuzz target.

use std::cmp::Reverse;
use std::collections::HashSet;

use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::exchange::Phase;
use ntlm_core::binding::ids::{BindingId, ClientId, GroupId, Refusal};
use ntlm_core::binding::key::{Address, Key, Site};
use ntlm_core::binding::table::{Bindings, Counts, Ended, Evicted, Missed, SHARE, Standing, Taken};

/// A binding, or the trace of one, in the model.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Parked(Phase),
    Busy,
    Lost,
}

#[derive(Debug, Clone)]
struct Entry {
    id: BindingId,
    client: u64,
    group: u32,
    key: u16,
    state: State,
    upstream: u32,
    /// The phase it was parked in last.
    phase: Phase,
    /// When it was parked last.
    used: u64,
}

/// An event for the table.
#[derive(Debug, Clone)]
pub enum Event {
    Enter,
    Leave {
        client: usize,
    },
    Claim {
        client: usize,
        group: u32,
        key: u16,
        fits: bool,
        /// Another connection number comes with the client's id.
        impostor: bool,
    },
    /// A request taints a connection, and its connection is bound and parked, or lost at once.
    Taint {
        client: usize,
        group: u32,
        key: u16,
        phase: Phase,
        park: bool,
    },
    /// A proxy in front lets half a share of connections be tainted at once, each for another key.
    Crowd {
        client: usize,
        group: u32,
    },
    /// A busy binding's request ends. The id may be any that ever was.
    Park {
        binding: usize,
        phase: Phase,
    },
    /// A binding ends: by its timer, its server, an error. The id may be any that ever was.
    End {
        binding: usize,
    },
    /// Time passes.
    Wait {
        time: u64,
    },
    /// Connections run short.
    Spare,
}

const CAPS: [usize; 2] = [3, 5];
/// The order in which phases lose bindings.
const ORDER: [Phase; 3] = [Phase::Handshaking, Phase::Unproven, Phase::Proven];

/// The place of a phase in that order.
fn turn(phase: Phase) -> usize {
    ORDER.iter().take_while(|&&other| other != phase).count()
}

/// How long a binding of each group may be parked.
const TIMEOUTS: [u64; 2] = [9, 5];

/// Reads events from bytes: one for the kind, and two for its operands. Every input is some sequence.
pub fn decode(data: &[u8]) -> impl Iterator<Item = Event> {
    data.chunks_exact(3).map(|bytes| {
        let (kind, who, how) = (bytes[0], usize::from(bytes[1]), bytes[2]);
        let client = who % 6;
        let (group, key) = (u32::from(how & 1), u16::from(how >> 5));
        let phase = Phase::ALL[usize::from(how >> 1 & 3) % 3];
        match kind % 10 {
            0 => Event::Enter,
            1 => Event::Leave { client },
            2 | 3 => Event::Claim { client, group, key, fits: how & 8 == 0, impostor: how & 16 != 0 },
            4 => Event::Taint { client, group, key, phase, park: how & 8 == 0 },
            5 => Event::Park { binding: who % 40, phase },
            6 => Event::End { binding: who % 40 },
            7 => Event::Crowd { client, group },
            8 => Event::Wait { time: u64::from(how % 8) },
            _ => Event::Spare,
        }
    })
}

/// Client addresses; the last two are of one /64, which counts as one address.
const ADDRESSES: [Address; 4] = [
    Address::v4([192, 0, 2, 1]),
    Address::v4([192, 0, 2, 2]),
    Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
    Address::v6([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]),
];

/// The lowest bits choose the address, the others are what `ntlm_key` says.
fn key_of(key: u16, chosen: &mut [u8; 2]) -> Key<'_> {
    *chosen = (key >> 2).to_be_bytes();
    let chosen: &[u8] = if key >> 2 == 0 { b"" } else { chosen };
    Key { address: ADDRESSES[usize::from(key & 3)], chosen, forwarded: Digest::NONE, site: Site::NONE }
}

/// One address for the count.
fn source_of(key: u16) -> u16 {
    (key & 3).min(2)
}

/// Plays events from an empty table on; panics where the table and the model differ.
pub fn play(events: impl IntoIterator<Item = Event>) {
    let mut both = Both::default();
    for event in events {
        both.play(event);
    }
}

/// The table and its model, side by side. Client connections are named by their number.
#[derive(Default)]
struct Both {
    table: Bindings<u64, u32>,
    clients: Vec<(ClientId, u64, bool)>,
    ids: Vec<BindingId>,
    seen: HashSet<BindingId>,
    model: Vec<Entry>,
    clock: u64,
    upstreams: u32,
}

impl Both {
    fn client(&self, index: usize) -> Option<(ClientId, u64, bool)> {
        // The newest ones, so that sequences stay interesting when many have come and gone.
        self.clients.iter().rev().nth(index).copied()
    }

    fn id(&self, index: usize) -> Option<BindingId> {
        self.ids.iter().rev().nth(index).copied()
    }

    fn find(&mut self, client: u64, group: u32, key: u16) -> Option<&mut Entry> {
        self.model.iter_mut().find(|e| (e.client, e.group, e.key) == (client, group, key))
    }

    fn of(&self, client: u64) -> impl Iterator<Item = &Entry> {
        self.model.iter().filter(move |e| e.client == client)
    }

    fn parked(&self, group: u32) -> impl Iterator<Item = &Entry> {
        self.model.iter().filter(move |e| e.group == group && matches!(e.state, State::Parked(_)))
    }

    /// Bindings of a group that are no traces.
    fn live(&self, group: u32) -> impl Iterator<Item = &Entry> {
        self.model.iter().filter(move |e| e.group == group && e.state != State::Lost)
    }

    fn in_phase(&self, group: u32, phase: Phase) -> impl Iterator<Item = &Entry> {
        self.parked(group).filter(move |e| e.state == State::Parked(phase))
    }

    /// How many bindings an address has in a group.
    fn weight(&self, group: u32, source: u16) -> usize {
        self.live(group).filter(|e| source_of(e.key) == source).count()
    }

    /// And how many of them were parked in a phase last.
    fn weight_in(&self, group: u32, source: u16, phase: Phase) -> usize {
        self.live(group).filter(|e| source_of(e.key) == source && e.phase == phase).count()
    }

    /// The phase of a group, from one on, that loses a binding first, how many bindings the address with most of them has in it, and its
    /// least recently used one.
    fn first_to_lose(&self, group: u32, first: usize) -> Option<(Phase, Reverse<usize>, &Entry)> {
        let phase =
            ORDER.into_iter().skip(first).find(|&phase| self.in_phase(group, phase).next().is_some())?;
        let rank = |e: &&Entry| {
            let source = source_of(e.key);
            (Reverse(self.weight_in(group, source, phase)), Reverse(self.weight(group, source)), e.used)
        };
        let first = self.in_phase(group, phase).min_by_key(rank)?;
        Some((phase, rank(&first).0, first))
    }

    /// The binding that the specification evicts for one more parked binding.
    fn victim(&self, newcomer: &Entry, phase: Phase) -> Option<BindingId> {
        let (group, cap) = (newcomer.group, CAPS[newcomer.group as usize]);
        let from =
            |first: usize| ORDER.into_iter().skip(first).map(|it| self.in_phase(group, it).count()).sum();
        let (all, same, later): (usize, usize, usize) = (from(0), from(turn(phase)), from(turn(phase) + 1));
        let first = match () {
            () if all < cap || (later >= cap && all < 2 * cap) => return None,
            () if later < cap && same >= cap => turn(phase),
            () => 0,
        };
        let (phase, Reverse(most), first) = self.first_to_lose(group, first)?;
        let own = self.in_phase(group, phase).filter(|e| e.client == newcomer.client).min_by_key(|e| e.used);
        let of_client = self.live(group).filter(|e| e.client == newcomer.client && e.id != newcomer.id);
        let others = of_client.filter(|e| e.phase == phase).count();
        let pays_itself = source_of(first.key) == source_of(newcomer.key) || others * 2 >= most;
        Some(own.filter(|_| pays_itself).unwrap_or(first).id)
    }

    /// The bindings that the specification may spare when connections run short: of several groups if they are alike.
    fn spared(&self) -> Vec<BindingId> {
        let lost = (0..2).filter_map(|group| self.first_to_lose(group, 0));
        let candidates: Vec<_> = lost.map(|(phase, weight, e)| ((turn(phase), weight), e.id)).collect();
        let first = candidates.iter().map(|&(rank, _)| rank).min();
        candidates.into_iter().filter(|&(rank, _)| Some(rank) == first).map(|(_, id)| id).collect()
    }

    fn deadline(entry: &Entry) -> u64 {
        entry.used + TIMEOUTS[entry.group as usize]
    }

    /// The model's side of a binding's end.
    fn model_end(&mut self, id: BindingId) -> Option<Ended<u64, u32>> {
        let entry = self.model.iter_mut().find(|e| e.id == id && e.state != State::Lost)?;
        let phase = if let State::Parked(phase) = entry.state { Some(phase) } else { None };
        entry.state = State::Lost;
        let (client, upstream, group, key) = (entry.client, entry.upstream, entry.group, entry.key);
        let has_login = entry.phase == Phase::Proven;
        // No two users of a client have the same key.
        let mut all = (0..2).flat_map(|group| self.live(group));
        let shared = all.any(|e| e.client == client && (e.key != key || e.group == group));
        let mut all = (0..2).flat_map(|group| self.live(group));
        let login_elsewhere = !has_login && all.any(|e| e.client == client && e.phase == Phase::Proven);
        Some(Ended { client, upstream, phase, shared, login_elsewhere })
    }

    /// The one of `allowed` that the table chose: the model ends it too.
    fn chosen(&mut self, allowed: &[BindingId], ended: Option<Ended<u64, u32>>) {
        let by_upstream = |upstream| self.model.iter().find(|e| e.upstream == upstream).map(|e| e.id);
        let chosen = ended.and_then(|ended| by_upstream(ended.upstream));
        assert_eq!(chosen.is_some(), !allowed.is_empty());
        if let Some(id) = chosen {
            assert!(allowed.contains(&id), "{id:?} is not among {allowed:?}");
            assert_eq!(self.model_end(id), ended);
        }
    }

    fn park(&mut self, id: BindingId, phase: Phase) {
        let busy = self.model.iter().find(|e| e.id == id && e.state == State::Busy).cloned();
        let cap = busy.as_ref().map_or(1, |busy| CAPS[busy.group as usize]);
        // A moment later it would be one that has been used since it was parked.
        if self.table.park_again(id, self.clock, cap) {
            let again = busy.expect("it is busy");
            assert!(again.phase != Phase::Handshaking && self.parked(again.group).count() < cap);
            let entry = self.model.iter_mut().find(|e| e.id == id).expect("it is busy");
            (entry.state, entry.used) = (State::Parked(entry.phase), self.clock);
            return;
        }
        // Every binding is parked at a time of its own.
        self.clock += 1;
        let Some(busy) = busy else {
            assert_eq!(self.table.park(id, phase, self.clock), Err(Refusal::NoClient));
            return;
        };
        let full = self.table.is_full(GroupId(busy.group), cap);
        let evicted = if full { self.table.evict(id, phase, cap) } else { None };
        self.table.park(id, phase, self.clock).expect("it is busy");
        let victims: Vec<_> = self.victim(&busy, phase).into_iter().collect();
        if let Some(Evicted { ended, of_most }) = evicted {
            let victim = self.model.iter().find(|e| e.upstream == ended.upstream).expect("a binding");
            let (one, all) =
                (self.weight(victim.group, source_of(victim.key)), self.live(victim.group).count());
            assert_eq!(of_most, one < all && one * 2 > all);
        }
        self.chosen(&victims, evicted.map(|evicted| evicted.ended));
        let used = self.clock;
        let entry = self.model.iter_mut().find(|e| e.id == id).expect("it is busy");
        (entry.state, entry.phase, entry.used) = (State::Parked(phase), phase, used);
    }

    fn end(&mut self, id: BindingId) {
        let expected = self.model_end(id);
        assert_eq!(self.table.end(id), expected);
    }

    /// Binds a new connection, which is busy then.
    fn taint(&mut self, client: usize, group: u32, key: u16) -> Option<BindingId> {
        let (id, number, alive) = self.client(client)?;
        self.upstreams += 1;
        let upstream = self.upstreams;
        let mut chosen = [0; 2];
        let timeout = TIMEOUTS[group as usize];
        let bound = self.table.bind(id, GroupId(group), timeout, key_of(key, &mut chosen), upstream);
        assert_eq!(bound.err(), self.refusal(alive, number, group, key));
        let made = bound.ok()?;
        let binding = made.binding;
        assert!(self.seen.insert(binding), "an id came back");
        self.ids.push(binding);
        let mut evicted = None;
        if self.find(number, group, key).is_some() {
            self.model.retain(|e| (e.client, e.group, e.key) != (number, group, key));
        } else if self.of(number).count() == SHARE {
            // The trace that came last makes room, or who has proven least.
            let trace = self.of(number).filter(|e| e.state == State::Lost).last().map(|e| e.id);
            let spare = trace.or_else(|| self.unproven(number));
            evicted = spare.and_then(|id| self.model_end(id));
            self.model.retain(|e| Some(e.id) != spare);
        }
        assert_eq!(made.evicted.map(|it| it.upstream), evicted.map(|it| it.upstream));
        let state = State::Busy;
        self.model.push(Entry {
            id: binding,
            client: number,
            group,
            key,
            state,
            upstream,
            phase: Phase::Handshaking,
            used: 0,
        });
        Some(binding)
    }

    /// The parked binding of a client that its share can do without.
    fn unproven(&self, client: u64) -> Option<BindingId> {
        let of_phase = |phase| {
            let parked = self.of(client).filter(move |e| e.state == State::Parked(phase));
            parked.min_by_key(|e| Self::deadline(e)).map(|e| e.id)
        };
        ORDER.into_iter().filter(|&phase| phase != Phase::Proven).find_map(of_phase)
    }

    /// Why a connection may not be bound.
    fn refusal(&mut self, alive: bool, client: u64, group: u32, key: u16) -> Option<Refusal> {
        let full = self.of(client).filter(|e| e.state != State::Lost).count() == SHARE
            && self.unproven(client).is_none();
        match self.find(client, group, key) {
            _ if !alive => Some(Refusal::NoClient),
            Some(e) if e.state != State::Lost => Some(Refusal::Taken),
            None if full => Some(Refusal::Share),
            _ => None,
        }
    }

    fn play(&mut self, event: Event) {
        match event {
            Event::Enter => {
                let number = self.clients.len() as u64 + 1;
                let id = self.table.enter(number, number).expect("there is memory");
                self.clients.push((id, number, true));
            }
            Event::Leave { client } => {
                let Some((id, number, _)) = self.client(client) else { return };
                let left = std::iter::from_fn(|| self.table.leave(id));
                let mut closed: Vec<u32> = left.filter(|it| !it.busy).map(|it| it.upstream).collect();
                closed.sort_unstable();
                let parked = |e: &&Entry| e.client == number && matches!(e.state, State::Parked(_));
                let mut expected: Vec<u32> = self.model.iter().filter(parked).map(|e| e.upstream).collect();
                expected.sort_unstable();
                assert_eq!(closed, expected);
                self.model.retain(|e| e.client != number);
                self.clients.iter_mut().filter(|c| c.1 == number).for_each(|c| c.2 = false);
            }
            Event::Claim { client, group, key, fits, impostor } => {
                let Some((id, number, _)) = self.client(client) else { return };
                let logged_in = |e: &Entry| e.client == number && e.phase == Phase::Proven;
                let elsewhere = self.model.iter().any(|e| e.state != State::Lost && logged_in(e));
                let expected = match self.find(number, group, key).filter(|_| !impostor) {
                    None => Err(Missed::Nothing),
                    Some(e) => match e.state {
                        State::Lost if elsewhere && e.phase != Phase::Proven => Err(Missed::Nothing),
                        State::Lost => Err(Missed::Lost),
                        State::Busy => Err(Missed::Busy),
                        State::Parked(_) if !fits => Err(Missed::Unfit(e.id, e.upstream)),
                        State::Parked(_) => {
                            e.state = State::Busy;
                            Ok(Taken { upstream: e.upstream, standing: Standing::default() })
                        }
                    },
                };
                let mut chosen = [0; 2];
                let shown = number + u64::from(impostor);
                let (group, key) = (GroupId(group), key_of(key, &mut chosen));
                let taken = match key == Key::of(key.address) {
                    true => self.table.claim_by_address(id, shown, group, key.address, |_| fits),
                    false => self.table.claim(id, shown, group, key, |_| fits),
                };
                assert_eq!(taken.ok_or_else(|| self.table.missed(id, shown, group, key)), expected);
            }
            Event::Taint { client, group, key, phase, park } => {
                if let Some(binding) = self.taint(client, group, key) {
                    if park { self.park(binding, phase) } else { self.end(binding) }
                }
            }
            Event::Crowd { client, group } => {
                for key in 0..(SHARE / 2) as u16 {
                    self.taint(client, group, 8 + key);
                }
            }
            Event::Park { binding, phase } => {
                if let Some(id) = self.id(binding) {
                    self.park(id, phase);
                }
            }
            Event::End { binding } => {
                if let Some(id) = self.id(binding) {
                    self.end(id);
                }
            }
            Event::Wait { time } => {
                self.clock += time;
                let now = self.clock;
                let parked = (0..2).flat_map(|group| self.parked(group));
                let mut due: Vec<_> =
                    parked.filter(|e| Self::deadline(e) <= now).map(|e| (e.upstream, e.id)).collect();
                while let Some(ended) = self.table.expire(now) {
                    let at = due.iter().position(|&(upstream, _)| upstream == ended.upstream);
                    let (_, id) = due.swap_remove(at.expect("it is due"));
                    assert_eq!(self.model_end(id), Some(ended));
                }
                assert_eq!(due, []);
            }
            Event::Spare => {
                let allowed = self.spared();
                let spared = self.table.spare();
                self.chosen(&allowed, spared);
            }
        }
        let first = (0..2).flat_map(|group| self.parked(group)).map(Self::deadline).min();
        assert!(first.is_none_or(|first| self.table.expire_by().is_some_and(|time| time <= first)));
        for group in 0..2 {
            let of = |state| self.model.iter().filter(move |e| e.group == group && e.state == state).count();
            let (handshaking, busy) = (of(State::Parked(Phase::Handshaking)), of(State::Busy));
            let parked = self.parked(group).count();
            assert_eq!(self.table.counts(GroupId(group)), Counts { parked, handshaking, busy });
            let (unproven, cap) = (of(State::Parked(Phase::Unproven)), CAPS[group as usize]);
            assert!(parked - handshaking - unproven <= cap && parked <= 2 * cap);
        }
        assert_eq!(self.table.clients(), self.clients.iter().filter(|c| c.2).count());
    }
}
