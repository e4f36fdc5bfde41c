//! Who owns which upstream connection: the table of one worker.
//!
//! A *client* is one client connection, a *binding* one tainted upstream connection that belongs to it, for one group
//! and one [`Key`]. The table never hands a binding to another client than the one it was made for, never holds two for
//! the same (client, group, key), and never keeps more parked bindings of a group than its cap. Ids are generational: an
//! id that outlived its binding finds nothing. The cost of an operation does not depend on the number of clients, but for
//! the logarithm of the number of client addresses when a binding is made or ends; the walk over a client's own bindings
//! grows with that client's own.
//!
//! `C` is what the caller needs to find the client connection again, `U` the upstream connection; the table stores and
//! returns them and never looks inside.

use slotmap::SlotMap;

use super::anew::Unanswered;
use super::digest::{Digest, Secret};
use super::exchange::Phase;
use super::expiry::{Ring, RingPlace};
use super::fairness::Addresses;
use super::ids::{BindingId, ClientId, GroupId, Refusal};
use super::key::{Address, BindingKey, Key};
use super::login::Logins;
use super::order::turn;

mod ending;
mod known;
mod room;
mod streams;
mod waiting;

pub use streams::BegunLogin;

/// The most bindings, and traces of lost ones, that one client connection has. Only a proxy in front that carries many
/// clients over one connection comes near it; it bounds what a client can make the worker remember, and the walk over a
/// client's own bindings.
pub const SHARE: usize = 256;

/// The longest `ntlm_key`, in bytes, of which a trace is kept when its binding ends: a client chooses how long its keys are.
const TRACED: usize = 64;

/// How often in a timeout of its group a binding that is in use moves to the end of its list. So the list is in the order of their
/// last use but for those that were used within one part of so many of the timeout.
const MOVES: u64 = 64;

/// How a group keeps parked bindings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parking {
    /// The most of them.
    pub connections: usize,
    /// Milliseconds that one may wait.
    pub timeout: u64,
}

/// A binding that a request has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken<U> {
    /// The upstream connection.
    pub upstream: U,
    /// How far the logins on it are.
    pub standing: Standing,
}

/// Why a request has not taken a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed<U> {
    /// Its client never had one, as far as the table remembers.
    Nothing,
    /// The client had one, which ended while the client connection lived on.
    Lost,
    /// The client has one that carries another request at this moment.
    Busy,
    /// The client has one that waits, but does not fit the request. It still waits.
    Unfit(BindingId, U),
}

/// How far the logins on a binding are when a request takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The last answer was a challenge.
    pub challenged: bool,
    /// The origin accepted a login that it had asked for, and no other login has begun since.
    pub proven: bool,
    /// The value of [`Logins::notes`].
    pub notes: u32,
}

/// A connection that the caller must close, and the client that it belonged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended<C, U> {
    /// The client connection.
    pub client: C,
    /// The upstream connection.
    pub upstream: U,
    /// How far its login was; `None` for a binding that was busy.
    pub phase: Option<Phase>,
    /// The client connection has other bindings of the group: a proxy in front mixes its clients there.
    pub shared: bool,
    /// Its login was not proven, and that of another binding of the client is.
    pub login_elsewhere: bool,
}

/// A connection whose client has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left<U> {
    /// The upstream connection.
    pub upstream: U,
    /// A request has it.
    pub busy: bool,
}

/// A connection that was bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made<C, U> {
    /// Its binding.
    pub binding: BindingId,
    /// The binding of the same client that ended for it.
    pub evicted: Option<Ended<C, U>>,
}

/// A binding that ended because its group was full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted<C, U> {
    /// The connections.
    pub ended: Ended<C, U>,
    /// Its client address is not the only one of the group, and has more than half of the bindings.
    pub of_most: bool,
}

/// The table.
#[derive(Debug)]
pub struct Bindings<C, U> {
    clients: SlotMap<ClientId, Client<C>>,
    bindings: SlotMap<BindingId, Binding<U>>,
    groups: Vec<Group>,
    addresses: Addresses,
    secret: Secret,
    begun: streams::Begun,
    unanswered: Unanswered,
}

#[derive(Debug)]
struct Client<C> {
    /// The connection number: lets a caller's stale id be told from a live one even if ids were ever to repeat.
    number: u64,
    connection: C,
    /// Head of the list of this client's bindings and of the traces of lost ones.
    first: Option<BindingId>,
}

#[derive(Debug)]
struct Binding<U> {
    owner: ClientId,
    group: GroupId,
    state: State,
    /// The phase it was parked in last.
    phase: Phase,
    /// The origin accepted a login that it had asked for, and no other login has begun since.
    proven: bool,
    key: BindingKey,
    upstream: U,
    next_of_client: Option<BindingId>,
    /// The binding is in the list of its address and phase. A busy one stays there until it is parked, ends, or an eviction passes it.
    linked: bool,
    /// The deadline that it had when it joined the list, in its lower half. Where the two differ, it has been used since.
    deadline_in_list: u32,
    /// Its neighbours there.
    older: Option<BindingId>,
    newer: Option<BindingId>,
    /// The time, on the caller's clock, at which it has been parked long enough.
    deadline: u64,
    place: RingPlace,
    logins: Logins,
}

// A waiting client takes as much, and what is told of its login.
const _: () = assert!(size_of::<Binding<usize>>() <= 136 && size_of::<Client<usize>>() <= 24);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Parked,
    Busy,
    Lost,
}

impl State {
    fn is_live(self) -> bool {
        self != State::Lost
    }
}

#[derive(Debug, Default)]
struct Group {
    timeout: u64,
    busy: usize,
    /// In each phase.
    parked: [usize; Phase::COUNT],
    ring: Ring,
}

impl Group {
    fn parked(&self) -> usize {
        self.parked.iter().sum()
    }

    fn parked_in(&self, phase: Phase) -> usize {
        self.parked.get(phase as usize).copied().unwrap_or_default()
    }

    /// Counts one more parked binding of this phase.
    fn add_parked(&mut self, phase: Phase) {
        if let Some(count) = self.parked.get_mut(phase as usize) {
            *count += 1;
        }
    }

    /// Counts one parked binding of this phase less.
    fn remove_parked(&mut self, phase: Phase) {
        if let Some(count) = self.parked.get_mut(phase as usize) {
            *count -= 1;
        }
    }
}

/// How many bindings a group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those that wait.
    pub parked: usize,
    /// Those of them whose last answer was a 401.
    pub handshaking: usize,
    /// Those that carry a request.
    pub busy: usize,
}

impl<U> Binding<U> {
    fn is_for(&self, group: GroupId, key: &Key<'_>) -> bool {
        self.group == group && self.key.is(key)
    }
}

impl<C: Copy, U: Copy> Default for Bindings<C, U> {
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Copy, U: Copy> Bindings<C, U> {
    /// An empty table.
    pub fn new() -> Self {
        Bindings {
            clients: SlotMap::with_key(),
            bindings: SlotMap::with_key(),
            groups: Vec::new(),
            addresses: Addresses::default(),
            secret: Secret::default(),
            begun: streams::Begun::default(),
            unanswered: Unanswered::default(),
        }
    }

    /// The digest by which this table compares what a client sent.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        self.secret.digest(parts)
    }

    /// Enters a client connection with its number. The caller calls [`Bindings::leave`] when it closes.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`].
    pub fn enter(&mut self, number: u64, connection: C) -> Result<ClientId, Refusal> {
        self.clients.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        Ok(self.clients.insert(Client { number, connection, first: None }))
    }

    /// Gives a request the binding that its client has for a group and key, if it waits and `fits`. It is busy until
    /// [`Bindings::park`] or [`Bindings::end`]. An id whose connection number is another one has nothing.
    pub fn claim(
        &mut self,
        client: ClientId,
        number: u64,
        group: GroupId,
        key: Key<'_>,
        fits: impl FnOnce(U) -> bool,
    ) -> Option<Taken<U>> {
        self.claim_of(client, number, group, |kept| kept.is(&key), fits)
    }

    /// [`Bindings::claim`] of a request that brings nothing but its client's address.
    pub fn claim_by_address(
        &mut self,
        client: ClientId,
        number: u64,
        group: GroupId,
        address: Address,
        fits: impl FnOnce(U) -> bool,
    ) -> Option<Taken<U>> {
        self.claim_of(client, number, group, |kept| kept.is_address(address), fits)
    }

    #[inline(always)]
    fn claim_of(
        &mut self,
        client: ClientId,
        number: u64,
        group: GroupId,
        is_of: impl Fn(&BindingKey) -> bool,
        fits: impl FnOnce(U) -> bool,
    ) -> Option<Taken<U>> {
        let owner = self.clients.get(client).filter(|owner| owner.number == number)?;
        let mut next = owner.first;
        loop {
            let binding = self.bindings.get_mut(next?)?;
            if binding.group != group || !is_of(&binding.key) {
                next = binding.next_of_client;
                continue;
            }
            if binding.state != State::Parked || !fits(binding.upstream) {
                return None;
            }
            let group = group_in(&mut self.groups, group)?;
            group.remove_parked(binding.phase);
            group.busy += 1;
            binding.state = State::Busy;
            let Logins { challenged, notes, .. } = binding.logins;
            let standing = Standing { challenged, proven: binding.proven, notes };
            return Some(Taken { upstream: binding.upstream, standing });
        }
    }

    fn search(&self, owner: &Client<C>, group: GroupId, key: Key<'_>) -> Option<(BindingId, &Binding<U>)> {
        self.of_client(owner).find(|(_, binding)| binding.is_for(group, &key))
    }

    /// A client's bindings and traces, the youngest first.
    fn of_client(&self, owner: &Client<C>) -> impl Iterator<Item = (BindingId, &Binding<U>)> {
        let mut next = owner.first;
        core::iter::from_fn(move || {
            let id = next?;
            let binding = self.bindings.get(id)?;
            next = binding.next_of_client;
            Some((id, binding))
        })
    }

    /// The binding or trace that a client with [`SHARE`] of them loses for another one: a trace, else by `order.rs` one that waits and whose
    /// login is not proven.
    fn spare_of_client(&self, owner: &Client<C>) -> Option<BindingId> {
        let rank = |binding: &Binding<U>| match binding.state {
            State::Lost => Some((None, 0)),
            State::Parked if binding.phase != Phase::Proven => Some((turn(binding.phase), binding.deadline)),
            _ => None,
        };
        let ranked = self.of_client(owner).filter_map(|(id, binding)| Some((rank(binding)?, id)));
        ranked.min_by_key(|&(rank, _)| rank).map(|(_, id)| id)
    }

    /// Binds a connection that a request of this client tainted. It is busy; [`Bindings::park`] follows. The first binding
    /// of a group says how long all of them may wait.
    ///
    /// # Errors
    ///
    /// The caller closes the connection; the table is as it was.
    pub fn bind(
        &mut self,
        client: ClientId,
        group: GroupId,
        timeout: u64,
        key: Key<'_>,
        upstream: U,
    ) -> Result<Made<C, U>, Refusal> {
        let owner = self.clients.get(client).ok_or(Refusal::NoClient)?;
        let trace = match self.search(owner, group, key) {
            Some((id, Binding { state: State::Lost, .. })) => Some(id),
            Some(_) => return Err(Refusal::Taken),
            None if self.of_client(owner).count() < SHARE => None,
            None => Some(self.spare_of_client(owner).ok_or(Refusal::Share)?),
        };
        let kept = BindingKey::copy(key)?;
        self.make_group(group, timeout)?;
        self.bindings.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        self.addresses.add(group, key.address.source())?;
        let mut evicted = None;
        if let Some(trace) = trace {
            evicted = self.end(trace);
            self.forget(trace);
        }
        let Some(owner) = self.clients.get_mut(client) else { return Err(Refusal::NoClient) };
        let id = self.bindings.insert(Binding {
            owner: client,
            group,
            state: State::Busy,
            phase: Phase::Handshaking,
            proven: false,
            key: kept,
            upstream,
            next_of_client: owner.first,
            linked: false,
            deadline_in_list: 0,
            older: None,
            newer: None,
            deadline: 0,
            place: RingPlace::default(),
            logins: Logins::default(),
        });
        owner.first = Some(id);
        if let Some(group) = group_in(&mut self.groups, group) {
            group.busy += 1;
        }
        Ok(Made { binding: id, evicted })
    }

    /// Whether a group has so many parked bindings.
    pub fn is_full(&self, group: GroupId, connections: usize) -> bool {
        self.group(group).is_some_and(|group| group.parked() >= connections)
    }

    /// Parks a busy binding as the most recently used of its address and phase, from `now` on. Where the group is full
    /// ([`Bindings::is_full`]), [`Bindings::evict`] comes before. Returns the time by which the caller calls [`Bindings::expire`]; `None` where an earlier call has said it.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoClient`] when the id is stale, because its client has left: the caller closes the connection.
    pub fn park(&mut self, id: BindingId, phase: Phase, now: u64) -> Result<Option<u64>, Refusal> {
        let Some(binding) = self.bindings.get_mut(id).filter(|binding| binding.state == State::Busy) else {
            return Err(Refusal::NoClient);
        };
        let Some(group) = group_in(&mut self.groups, binding.group) else { return Err(Refusal::NoClient) };
        group.busy -= 1;
        group.add_parked(phase);
        if binding.logins.has_last() {
            binding.logins.end_request(phase);
        }
        binding.state = State::Parked;
        let deadline = now + group.timeout;
        binding.deadline = deadline;
        let in_ring = binding.place.slot.is_some();
        let used = since(binding.deadline_in_list, deadline);
        if !binding.linked || binding.phase != phase || u64::from(used) > group.timeout / MOVES {
            self.move_last(id, phase);
        }
        Ok(if in_ring { None } else { self.join_ring(id, deadline, now) })
    }

    /// Parks a busy binding in the phase that it was parked in before. Does nothing and returns false where there is more to do, so that the caller has
    /// [`Bindings::park`] do it: the group is full, the login goes on or has just ended, or the binding has to move in its list, as it does now and then.
    pub fn park_again(&mut self, id: BindingId, now: u64, connections: usize) -> bool {
        let Some(binding) = self.bindings.get_mut(id) else { return false };
        let Some(group) = group_in(&mut self.groups, binding.group) else { return false };
        let deadline = now + group.timeout;
        let used = since(binding.deadline_in_list, deadline);
        let is_as_before = binding.state == State::Busy
            && binding.linked
            && binding.phase != Phase::Handshaking
            && !binding.logins.has_last()
            && u64::from(used) <= group.timeout / MOVES;
        if !is_as_before || group.parked() >= connections {
            return false;
        }
        group.busy -= 1;
        group.add_parked(binding.phase);
        binding.state = State::Parked;
        binding.deadline = deadline;
        true
    }

    fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(usize::try_from(id.0).ok()?)
    }

    fn make_group(&mut self, id: GroupId, timeout: u64) -> Result<(), Refusal> {
        let index = usize::try_from(id.0).map_err(|_| Refusal::NoMemory)?;
        if let Some(missing) = (index + 1).checked_sub(self.groups.len()) {
            self.groups.try_reserve(missing).map_err(|_| Refusal::NoMemory)?;
            self.groups.resize_with(self.groups.len() + missing, Group::default);
        }
        self.addresses.make_group(index)?;
        let group = group_in(&mut self.groups, id).ok_or(Refusal::NoMemory)?;
        group.timeout = timeout;
        group.ring.set_up(timeout)
    }
}

/// The lower half of a time.
fn lower_half(time: u64) -> u32 {
    u32::try_from(time & u64::from(u32::MAX)).unwrap_or(0)
}

/// Milliseconds from one time to another one, less than 49 days later.
fn since(earlier: u32, time: u64) -> u32 {
    lower_half(time).wrapping_sub(earlier)
}

fn group_in(groups: &mut [Group], id: GroupId) -> Option<&mut Group> {
    groups.get_mut(usize::try_from(id.0).ok()?)
}

#[cfg(test)]
mod tests;
