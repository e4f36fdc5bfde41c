//! Who owns which upstream connection: the table of one worker.
//!
//! A *client* is one client connection, a *binding* one tainted upstream connection that belongs to it, for one group
//! and one [`Key`]. The table never hands a binding to another client than the one it was made for, never holds two for
//! the same (client, group, key), and never keeps more parked bindings of a group than its cap. Ids are generational: an
//! id that outlived its binding finds nothing. Every operation costs the same at any number of clients; only the walk
//! over a client's own bindings grows, with that client's own.
//!
//! `C` is what the caller needs to find the client connection again, `U` the upstream connection; the table stores and
//! returns them and never looks inside.

use slotmap::{SlotMap, new_key_type};

use crate::keep::Phase;
use crate::login::Login;
use crate::token::Mechanism;

new_key_type! {
    /// Names a client connection for as long as it lives.
    pub struct ClientId;
    /// Names a binding for as long as it lives.
    pub struct BindingId;
}

/// Numbers the upstream group that a binding belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupId(pub u32);

/// The most bindings, and traces of lost ones, that one client connection has. Only a proxy in front that carries many
/// clients over one connection comes near it; it bounds what a client can make the worker remember, and the walk over a
/// client's own bindings.
pub const SHARE: usize = 256;

/// The longest `ntlm_key`, in bytes, of which a trace is kept when its binding ends: a client chooses how long its keys are.
const TRACED: usize = 64;

/// What a request must show, beside its client connection and group, to be given a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key<'a> {
    /// The client's address in text, as the request has it.
    pub address: &'a [u8],
    /// What `ntlm_key` is for the request; empty without one.
    pub chosen: &'a [u8],
}

/// The answer to a client that asks for its binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim<U> {
    /// It never had one, as far as the table remembers.
    None,
    /// It had one, which ended while the client connection lived on.
    Lost,
    /// It has one that carries another request at this moment.
    Busy,
    /// It has one that waits, but does not fit the request. It still waits.
    Unfit(BindingId, U),
    /// It has this one, which is busy until [`Bindings::park`] or [`Bindings::end`].
    Taken(U),
}

/// A connection that the caller must close, and the client that it belonged to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended<C, U> {
    /// The client connection.
    pub client: C,
    /// The upstream connection.
    pub upstream: U,
    /// How far its authentication had come; `None` for a binding that was busy.
    pub phase: Option<Phase>,
}

/// Why a connection was not bound. The caller closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The client has another binding for this group and key.
    Taken,
    /// The client has [`SHARE`] bindings for other groups and keys.
    Share,
    /// The client connection is gone.
    NoClient,
    /// There was no memory.
    NoMemory,
}

impl Refusal {
    /// The reason in an operator's words.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Taken => "the client connection has another one",
            Refusal::Share => "the client connection has too many",
            Refusal::NoClient => "the client connection is gone",
            Refusal::NoMemory => "there is no memory",
        }
    }
}

/// The table.
#[derive(Debug)]
pub struct Bindings<C, U> {
    clients: SlotMap<ClientId, Client<C>>,
    bindings: SlotMap<BindingId, Binding<U>>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Client<C> {
    /// The connection number: lets a caller's stale id be told from a live one even if ids were ever to repeat.
    number: u64,
    connection: C,
    /// Bindings and traces in the list.
    count: usize,
    /// Head of the list of this client's bindings and of the traces of lost ones.
    first: Option<BindingId>,
}

#[derive(Debug)]
struct Binding<U> {
    owner: ClientId,
    group: GroupId,
    address: Vec<u8>,
    chosen: Vec<u8>,
    state: State<U>,
    next_of_client: Option<BindingId>,
    /// Neighbours in the LRU list of its phase, while parked.
    older: Option<BindingId>,
    newer: Option<BindingId>,
    /// The time, on the caller's clock, at which it has been parked long enough.
    deadline: u64,
    login: Option<Login>,
    /// What the legs of a login that is not over told of its mechanism.
    mechanism: Option<Mechanism>,
    challenged: bool,
    /// Who was logged in before the login that goes on.
    former: Option<Login>,
    /// Counts what was noted of logins.
    notes: u32,
}

#[derive(Debug)]
enum State<U> {
    Parked(Phase, U),
    Busy(U),
    Lost,
}

#[derive(Debug, Default)]
struct Group {
    parked: usize,
    busy: usize,
    /// Of those parked.
    in_handshake: usize,
    handshaking: Lru,
    established: Lru,
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

/// The ends of a list through `Binding::{older, newer}`.
#[derive(Debug, Default, Clone, Copy)]
struct Lru {
    oldest: Option<BindingId>,
    newest: Option<BindingId>,
}

impl Group {
    fn lru(&mut self, phase: Phase) -> &mut Lru {
        match phase {
            Phase::Handshaking => &mut self.handshaking,
            Phase::Established => &mut self.established,
        }
    }
}

impl<U> Binding<U> {
    #[inline(always)]
    fn is_for(&self, group: GroupId, key: Key<'_>) -> bool {
        self.group == group && are_equal(&self.address, key.address) && are_equal(&self.chosen, key.chosen)
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
        Bindings { clients: SlotMap::with_key(), bindings: SlotMap::with_key(), groups: Vec::new() }
    }

    /// Enters a client connection with its number. The caller calls [`Bindings::leave`] when it closes.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoMemory`].
    pub fn enter(&mut self, number: u64, connection: C) -> Result<ClientId, Refusal> {
        self.clients.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        Ok(self.clients.insert(Client { number, connection, count: 0, first: None }))
    }

    /// Takes one of a leaving client's parked connections out of the table, until there is none; then forgets the
    /// client. Call it until it returns `None`, and close what it returns. What is busy at that time is forgotten too,
    /// so that its request finds a stale id and closes it.
    pub fn leave(&mut self, id: ClientId) -> Option<U> {
        while let Some(binding) = self.clients.get(id).and_then(|client| client.first) {
            let parked = self.forget(binding);
            if parked.is_some() {
                return parked;
            }
        }
        self.clients.remove(id);
        None
    }

    /// Gives a request the binding that its client has for a group and key, if it waits and `fits`. An id whose
    /// connection number is another one has nothing.
    #[inline(always)]
    pub fn claim(
        &mut self,
        client: ClientId,
        number: u64,
        group: GroupId,
        key: Key<'_>,
        fits: impl FnOnce(U) -> bool,
    ) -> Claim<U> {
        let owner = self.clients.get(client).filter(|owner| owner.number == number);
        let Some((id, binding)) = owner.and_then(|owner| self.search(owner, group, key)) else {
            return Claim::None;
        };
        match binding.state {
            State::Lost => Claim::Lost,
            State::Busy(_) => Claim::Busy,
            State::Parked(_, upstream) if !fits(upstream) => Claim::Unfit(id, upstream),
            State::Parked(_, upstream) => {
                self.unlink_parked(id, State::Busy(upstream));
                Claim::Taken(upstream)
            }
        }
    }

    #[inline(always)]
    fn search(&self, owner: &Client<C>, group: GroupId, key: Key<'_>) -> Option<(BindingId, &Binding<U>)> {
        let mut next = owner.first;
        while let Some(id) = next {
            let binding = self.bindings.get(id)?;
            if binding.is_for(group, key) {
                return Some((id, binding));
            }
            next = binding.next_of_client;
        }
        None
    }

    /// The trace of a lost binding of this client, if there is one.
    fn any_trace(&self, owner: &Client<C>) -> Option<BindingId> {
        let mut next = owner.first;
        while let Some(id) = next {
            let binding = self.bindings.get(id)?;
            if matches!(binding.state, State::Lost) {
                return Some(id);
            }
            next = binding.next_of_client;
        }
        None
    }

    /// Binds a connection that a request of this client tainted. It is busy; [`Bindings::park`] follows.
    ///
    /// # Errors
    ///
    /// The caller closes the connection; the table is as it was.
    pub fn bind(
        &mut self,
        client: ClientId,
        group: GroupId,
        key: Key<'_>,
        upstream: U,
    ) -> Result<BindingId, Refusal> {
        let owner = self.clients.get(client).ok_or(Refusal::NoClient)?;
        let trace = match self.search(owner, group, key) {
            Some((id, Binding { state: State::Lost, .. })) => Some(id),
            Some(_) => return Err(Refusal::Taken),
            None if owner.count < SHARE => None,
            None => Some(self.any_trace(owner).ok_or(Refusal::Share)?),
        };
        let (address, chosen) = (copied(key.address)?, copied(key.chosen)?);
        self.make_group(group)?;
        self.bindings.try_reserve(1).map_err(|_| Refusal::NoMemory)?;
        if let Some(trace) = trace {
            self.forget(trace);
        }
        let Some(owner) = self.clients.get_mut(client) else { return Err(Refusal::NoClient) };
        owner.count += 1;
        let id = self.bindings.insert(Binding {
            owner: client,
            group,
            address,
            chosen,
            state: State::Busy(upstream),
            next_of_client: owner.first,
            older: None,
            newer: None,
            deadline: 0,
            login: None,
            mechanism: None,
            challenged: false,
            former: None,
            notes: 0,
        });
        owner.first = Some(id);
        if let Some(group) = group_in(&mut self.groups, group) {
            group.busy += 1;
        }
        Ok(id)
    }

    /// Parks a busy binding as the most recently used of its phase. Where the group already has `cap` parked ones, one
    /// of them ends for it: the least recently used that is handshaking, else the least recently used established one.
    /// It may wait until `deadline`, on the caller's clock; deadlines of a group do not go back.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoClient`] when the id is stale, because its client has left: the caller closes the connection.
    #[inline(always)]
    pub fn park(
        &mut self,
        id: BindingId,
        phase: Phase,
        cap: usize,
        deadline: u64,
    ) -> Result<Option<Ended<C, U>>, Refusal> {
        if self.link_parked(id, phase, cap, deadline)? { Ok(None) } else { self.replace(id, phase, deadline) }
    }

    /// Parks a busy binding of a group that is full in another's place.
    #[inline(never)]
    fn replace(
        &mut self,
        id: BindingId,
        phase: Phase,
        deadline: u64,
    ) -> Result<Option<Ended<C, U>>, Refusal> {
        let group = self.bindings.get(id).and_then(|binding| self.group(binding.group));
        let oldest = group.and_then(|group| group.handshaking.oldest.or(group.established.oldest));
        let evicted = oldest.and_then(|oldest| self.end(oldest));
        self.link_parked(id, phase, usize::MAX, deadline)?;
        Ok(evicted)
    }

    /// Ends a binding, parked or busy, while its client connection lives on, and remembers that it was lost.
    pub fn end(&mut self, id: BindingId) -> Option<Ended<C, U>> {
        let binding = self.bindings.get_mut(id)?;
        let owner = binding.owner;
        let (upstream, phase) = match binding.state {
            State::Parked(phase, upstream) => {
                self.unlink_parked(id, State::Lost);
                (upstream, Some(phase))
            }
            State::Busy(upstream) => {
                binding.state = State::Lost;
                let group = binding.group;
                self.busy_no_more(group);
                (upstream, None)
            }
            State::Lost => return None,
        };
        if self.bindings.get(id).is_some_and(|binding| binding.chosen.len() > TRACED) {
            self.forget(id);
        }
        let client = self.clients.get(owner)?.connection;
        Some(Ended { client, upstream, phase })
    }

    /// Ends the parked binding that can be spared best when connections run short: the least recently used that is
    /// handshaking, else the least recently used established one, of the group that has most parked.
    pub fn spare(&mut self) -> Option<Ended<C, U>> {
        let oldest = |oldest: fn(&Group) -> Option<BindingId>| {
            let groups = self.groups.iter().filter_map(|group| Some((group.parked, oldest(group)?)));
            groups.max_by_key(|&(parked, _)| parked).map(|(_, id)| id)
        };
        let id =
            oldest(|group| group.handshaking.oldest).or_else(|| oldest(|group| group.established.oldest))?;
        self.end(id)
    }

    /// Ends a parked binding whose deadline has come. Call it until it returns `None`.
    pub fn expire(&mut self, now: u64) -> Option<Ended<C, U>> {
        let (deadline, id) = self.next_to_expire()?;
        if deadline <= now { self.end(id) } else { None }
    }

    /// The earliest deadline of what is parked.
    pub fn next_deadline(&self) -> Option<u64> {
        self.next_to_expire().map(|(deadline, _)| deadline)
    }

    /// Deadlines of a group do not go back, so the least recently used of each list has its earliest.
    fn next_to_expire(&self) -> Option<(u64, BindingId)> {
        let oldest =
            self.groups.iter().flat_map(|group| [group.handshaking.oldest, group.established.oldest]);
        let deadlines = oldest.flatten().filter_map(|id| Some((self.bindings.get(id)?.deadline, id)));
        deadlines.min_by_key(|&(deadline, _)| deadline)
    }

    /// Notes who is logged in over a binding; `None` while nobody is, with what is known of the mechanism of a login that
    /// goes on, and whether its last answer was a challenge. True when another user was logged in before.
    pub fn set_login(
        &mut self,
        id: BindingId,
        login: Option<Login>,
        mechanism: Option<Mechanism>,
        challenged: bool,
    ) -> bool {
        let Some(binding) = self.bindings.get_mut(id) else { return false };
        binding.mechanism = mechanism;
        binding.challenged = challenged;
        binding.notes = binding.notes.wrapping_add(1);
        let before = binding.login.take().or(binding.former.take());
        let Some(login) = login else {
            binding.former = before;
            return false;
        };
        let another = before.is_some_and(|before| before.is_another_user(&login));
        binding.login = Some(login);
        another
    }

    /// Who is logged in over a binding, or was when it ended.
    pub fn login(&self, id: BindingId) -> Option<&Login> {
        self.bindings.get(id)?.login.as_ref()
    }

    /// Whether a login goes on over a binding: its last answer was a challenge.
    pub fn is_challenged(&self, id: BindingId) -> bool {
        self.bindings.get(id).is_some_and(|binding| binding.challenged)
    }

    /// How often something was noted of the logins over a binding: where it is what it was, so is who is logged in.
    pub fn notes(&self, id: BindingId) -> Option<u32> {
        Some(self.bindings.get(id)?.notes)
    }

    /// What is known of the mechanism of a login that goes on.
    pub fn mechanism(&self, id: BindingId) -> Option<Mechanism> {
        self.bindings.get(id)?.mechanism
    }

    /// The bindings of a group.
    pub fn counts(&self, group: GroupId) -> Counts {
        self.group(group).map_or(Counts::default(), |group| Counts {
            parked: group.parked,
            handshaking: group.in_handshake,
            busy: group.busy,
        })
    }

    /// Whether a client has a binding for this group and chosen key, or the trace of one, under another address.
    pub fn has_another_address(&self, client: ClientId, group: GroupId, key: Key<'_>) -> bool {
        let mut next = self.clients.get(client).and_then(|client| client.first);
        while let Some(binding) = next.and_then(|id| self.bindings.get(id)) {
            if binding.group == group && binding.chosen == key.chosen && binding.address != key.address {
                return true;
            }
            next = binding.next_of_client;
        }
        false
    }

    /// Client connections in the table.
    pub fn clients(&self) -> usize {
        self.clients.len()
    }

    /// Removes a binding, or the trace of one, altogether. Returns the connection that was parked.
    fn forget(&mut self, id: BindingId) -> Option<U> {
        let parked = match self.bindings.get(id)?.state {
            State::Parked(_, upstream) => {
                self.unlink_parked(id, State::Lost);
                Some(upstream)
            }
            State::Busy(_) => {
                let group = self.bindings.get(id)?.group;
                self.busy_no_more(group);
                None
            }
            State::Lost => None,
        };
        let binding = self.bindings.remove(id)?;
        let owner = self.clients.get_mut(binding.owner)?;
        owner.count -= 1;
        if owner.first == Some(id) {
            owner.first = binding.next_of_client;
        } else {
            let mut next = owner.first;
            while let Some(before) = next.and_then(|id| self.bindings.get_mut(id)) {
                if before.next_of_client == Some(id) {
                    before.next_of_client = binding.next_of_client;
                    break;
                }
                next = before.next_of_client;
            }
        }
        parked
    }

    fn group(&self, id: GroupId) -> Option<&Group> {
        self.groups.get(usize::try_from(id.0).ok()?)
    }

    fn busy_no_more(&mut self, id: GroupId) {
        if let Some(group) = group_in(&mut self.groups, id) {
            group.busy -= 1;
        }
    }

    fn make_group(&mut self, id: GroupId) -> Result<(), Refusal> {
        let index = usize::try_from(id.0).map_err(|_| Refusal::NoMemory)?;
        if let Some(missing) = (index + 1).checked_sub(self.groups.len()) {
            self.groups.try_reserve(missing).map_err(|_| Refusal::NoMemory)?;
            self.groups.resize_with(self.groups.len() + missing, Group::default);
        }
        Ok(())
    }

    /// Puts a busy binding at the new end of its LRU list. False, and nothing happens, where its group has `cap` parked ones.
    #[inline(always)]
    fn link_parked(
        &mut self,
        id: BindingId,
        phase: Phase,
        cap: usize,
        deadline: u64,
    ) -> Result<bool, Refusal> {
        let Some(binding) = self.bindings.get_mut(id) else { return Err(Refusal::NoClient) };
        let State::Busy(upstream) = binding.state else { return Err(Refusal::NoClient) };
        let Some(group) = group_in(&mut self.groups, binding.group) else { return Err(Refusal::NoClient) };
        if group.parked >= cap {
            return Ok(false);
        }
        group.parked += 1;
        group.busy -= 1;
        group.in_handshake += usize::from(phase == Phase::Handshaking);
        let lru = group.lru(phase);
        let older = lru.newest.replace(id);
        binding.state = State::Parked(phase, upstream);
        binding.older = older;
        binding.newer = None;
        binding.deadline = deadline;
        match older {
            None => lru.oldest = Some(id),
            Some(older) => {
                if let Some(older) = self.bindings.get_mut(older) {
                    older.newer = Some(id);
                }
            }
        }
        Ok(true)
    }

    /// Takes a parked binding out of its LRU list, into another state. Nothing happens to one that is not parked.
    #[inline]
    fn unlink_parked(&mut self, id: BindingId, state: State<U>) {
        let Some(binding) = self.bindings.get_mut(id) else { return };
        let State::Parked(phase, _) = binding.state else { return };
        let busy = matches!(state, State::Busy(_));
        binding.state = state;
        let (group, older, newer) = (binding.group, binding.older, binding.newer);
        if let Some(older) = older.and_then(|older| self.bindings.get_mut(older)) {
            older.newer = newer;
        }
        if let Some(newer) = newer.and_then(|newer| self.bindings.get_mut(newer)) {
            newer.older = older;
        }
        let Some(group) = group_in(&mut self.groups, group) else { return };
        group.parked -= 1;
        group.busy += usize::from(busy);
        group.in_handshake -= usize::from(phase == Phase::Handshaking);
        let lru = group.lru(phase);
        if older.is_none() {
            lru.oldest = newer;
        }
        if newer.is_none() {
            lru.newest = older;
        }
    }
}

fn group_in(groups: &mut [Group], id: GroupId) -> Option<&mut Group> {
    groups.get_mut(usize::try_from(id.0).ok()?)
}

/// `==`, without a call for what is as long as addresses are.
#[inline(always)]
fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len()
        && match one.len() {
            0 => true,
            8..=16 => {
                one.first_chunk::<8>() == other.first_chunk() && one.last_chunk::<8>() == other.last_chunk()
            }
            _ => one == other,
        }
}

fn copied(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Refusal::NoMemory)?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

#[cfg(test)]
mod tests;
