//! The table of bindings against a model that is too simple to be wrong: arbitrary sequences of events, of several
//! clients, groups and keys, with ids that are stale as often as not. Both must agree on every answer, so that a binding
//! never reaches a client it was not made for, caps hold, and the order of eviction is what the specification says.
#![allow(clippy::indexing_slicing, clippy::expect_used, reason = "a test may panic")]

use ntlm_core::bindings::{BindingId, Bindings, Claim, ClientId, Ended, GroupId, Key, Refusal};
use ntlm_core::keep::Phase;
use proptest::prelude::*;

/// What a binding or the trace of one is in the model.
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
    key: u8,
    state: State,
    upstream: u32,
    /// When it was parked last.
    used: u64,
}

#[derive(Debug, Clone)]
enum Event {
    Enter,
    Leave {
        client: usize,
    },
    Claim {
        client: usize,
        group: u32,
        key: u8,
        fits: bool,
    },
    /// A request taints a connection, and its connection is bound and parked, or lost at once.
    Taint {
        client: usize,
        group: u32,
        key: u8,
        phase: Phase,
        park: bool,
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
}

const CAPS: [usize; 2] = [2, 3];

fn event() -> impl Strategy<Value = Event> {
    let phase = prop_oneof![Just(Phase::Handshaking), Just(Phase::Established)];
    let (client, group, key) = (0..6usize, 0..2u32, 0..2u8);
    prop_oneof![
        2 => Just(Event::Enter),
        1 => client.clone().prop_map(|client| Event::Leave { client }),
        6 => (client.clone(), group.clone(), key.clone(), prop::bool::weighted(0.9))
            .prop_map(|(client, group, key, fits)| Event::Claim { client, group, key, fits }),
        6 => (client, group, key, phase.clone(), prop::bool::weighted(0.9))
            .prop_map(|(client, group, key, phase, park)| Event::Taint { client, group, key, phase, park }),
        6 => (0..40usize, phase).prop_map(|(binding, phase)| Event::Park { binding, phase }),
        2 => (0..40usize).prop_map(|binding| Event::End { binding }),
    ]
}

/// The table and its model, side by side. Client connections are named by their number.
#[derive(Default)]
struct Both {
    table: Bindings<u64, u32>,
    clients: Vec<(ClientId, u64, bool)>,
    ids: Vec<BindingId>,
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

    fn find(&mut self, client: u64, group: u32, key: u8) -> Option<&mut Entry> {
        self.model.iter_mut().find(|e| (e.client, e.group, e.key) == (client, group, key))
    }

    fn parked(&self, group: u32) -> impl Iterator<Item = &Entry> {
        self.model.iter().filter(move |e| e.group == group && matches!(e.state, State::Parked(_)))
    }

    /// What the specification evicts for one more parked binding.
    fn victim(&self, group: u32) -> Option<BindingId> {
        if self.parked(group).count() < CAPS[group as usize] {
            return None;
        }
        let oldest =
            |phase| self.parked(group).filter(|e| e.state == State::Parked(phase)).min_by_key(|e| e.used);
        oldest(Phase::Handshaking).or_else(|| oldest(Phase::Established)).map(|e| e.id)
    }

    /// The model's side of a binding's end.
    fn model_end(&mut self, id: BindingId) -> Option<Ended<u64, u32>> {
        let entry = self.model.iter_mut().find(|e| e.id == id && e.state != State::Lost)?;
        let phase = if let State::Parked(phase) = entry.state { Some(phase) } else { None };
        entry.state = State::Lost;
        Some(Ended { client: entry.client, upstream: entry.upstream, phase })
    }

    fn park(&mut self, id: BindingId, phase: Phase) {
        let busy = self.model.iter().find(|e| e.id == id && e.state == State::Busy).map(|e| e.group);
        let group = busy.unwrap_or(0);
        let expected = match busy {
            None => Err(Refusal::NoClient),
            Some(group) => Ok(self.victim(group).and_then(|victim| self.model_end(victim))),
        };
        if busy.is_some() {
            self.clock += 1;
            let used = self.clock;
            let entry = self.model.iter_mut().find(|e| e.id == id).expect("it is busy");
            (entry.state, entry.used) = (State::Parked(phase), used);
        }
        assert_eq!(self.table.park(id, phase, CAPS[group as usize]), expected);
    }

    fn end(&mut self, id: BindingId) {
        let expected = self.model_end(id);
        assert_eq!(self.table.end(id), expected);
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
                let mut closed: Vec<u32> = std::iter::from_fn(|| self.table.leave(id)).collect();
                closed.sort_unstable();
                let parked = |e: &&Entry| e.client == number && matches!(e.state, State::Parked(_));
                let mut expected: Vec<u32> = self.model.iter().filter(parked).map(|e| e.upstream).collect();
                expected.sort_unstable();
                assert_eq!(closed, expected);
                self.model.retain(|e| e.client != number);
                self.clients.iter_mut().filter(|c| c.1 == number).for_each(|c| c.2 = false);
            }
            Event::Claim { client, group, key, fits } => {
                let Some((id, number, _)) = self.client(client) else { return };
                let expected = match self.find(number, group, key) {
                    None => Claim::None,
                    Some(e) => match e.state {
                        State::Lost => Claim::Lost,
                        State::Busy => Claim::Busy,
                        State::Parked(_) if !fits => Claim::Unfit(e.id, e.upstream),
                        State::Parked(_) => {
                            e.state = State::Busy;
                            Claim::Taken(e.upstream)
                        }
                    },
                };
                let address = [key];
                let claim = self.table.claim(id, number, GroupId(group), Key { address: &address }, |_| fits);
                assert_eq!(claim, expected);
            }
            Event::Taint { client, group, key, phase, park } => {
                let Some((id, number, alive)) = self.client(client) else { return };
                self.upstreams += 1;
                let upstream = self.upstreams;
                let address = [key];
                let bound = self.table.bind(id, GroupId(group), Key { address: &address }, upstream);
                let taken = self.find(number, group, key).is_some_and(|e| e.state != State::Lost);
                match bound {
                    Err(refusal) => {
                        assert_eq!(refusal, if alive { Refusal::Taken } else { Refusal::NoClient });
                        assert!(taken || !alive);
                    }
                    Ok(binding) => {
                        assert!(alive && !taken);
                        assert!(!self.ids.contains(&binding), "an id came back");
                        self.ids.push(binding);
                        self.model.retain(|e| (e.client, e.group, e.key) != (number, group, key));
                        let state = State::Busy;
                        self.model.push(Entry {
                            id: binding,
                            client: number,
                            group,
                            key,
                            state,
                            upstream,
                            used: 0,
                        });
                        if park { self.park(binding, phase) } else { self.end(binding) }
                    }
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
        }
        for group in 0..2 {
            let parked = self.table.parked_in(GroupId(group));
            assert_eq!(parked, self.parked(group).count());
            assert!(parked <= CAPS[group as usize]);
        }
        assert_eq!(self.table.clients(), self.clients.iter().filter(|c| c.2).count());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_table_and_the_model_agree(events in prop::collection::vec(event(), 1..120)) {
        let mut both = Both::default();
        for event in events {
            both.play(event);
        }
    }
}
