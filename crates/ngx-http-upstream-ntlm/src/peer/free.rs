//! The end of an attempt: who owns its connection from then on.
//!
//! Must never let a tainted connection reach the balancer below, nor park one on which bytes of the ended exchange may
//! still come. Both are decided by `ntlm_core::binding::exchange`; this file gathers the facts and carries the verdict out.

use nginx_sys::{NGX_PEER_FAILED, NGX_PEER_NEXT, ngx_uint_t};
use ntlm_core::binding::digest::Digest;
use ntlm_core::binding::end::{Client, End};
use ntlm_core::binding::exchange::{Asked, Condition, Exchange, Fate, Outcome, Phase, Progress, Verdict};
use ntlm_core::binding::ids::{BindingId, Refusal};
use ntlm_core::binding::key::Key;
use ntlm_core::binding::table::{Evicted, Made};
use ntlm_core::diagnosis::Diagnosis;

use super::{BindingUse, Facts, NtlmPeer, Source};
use crate::bound::{Bound, Transport};
use crate::credentials::{Carried, may_change};
use crate::diagnose::diagnose;
use crate::log::{debug, info};
use crate::ngx::{Connection, Peer, Request, Server, Slice, Status, is_exiting, now};
use crate::stats::{Counter, Name};
use crate::worker::{count, count_end, table, with_table};
use crate::{client, idle};

impl NtlmPeer {
    /// Lets go of the connection of the present attempt. nginx closes the one that is left on the peer.
    pub(super) fn free(&self, pc: Peer, state: ngx_uint_t) {
        if state == 0
            && let Source::Binding(bound) = self.source.get()
            && self.may_wait_again(bound)
            && idle::is_prepared()
            && table()
                .is_some_and(|mut table| table.park_again(bound.binding(), now(), self.group().connections))
        {
            self.source.set(Source::Nowhere);
            pc.set_connection(None);
            idle::wait_again(bound);
            debug!(pc.log(), "parking upstream connection {} again", bound.connection().fd());
            if bound.is_rarely_used() {
                bound.connection().stop_timer();
            }
            return;
        }
        self.free_slowly(pc, state);
    }

    /// Whether the exchange over a binding was no leg of a login, the verdict is to keep the binding, and its connection is quiet.
    fn may_wait_again(&self, bound: Bound) -> bool {
        if self.has(Facts::CREDENTIALS.or(Facts::TOKEN))
            || matches!(self.u.status(), 401 | 407)
            || !bound.connection().is_quiet()
        {
            return false;
        }
        let condition = Condition {
            broken: false,
            kept_alive: self.u.is_kept_alive(),
            request_sent: self.u.is_request_sent(),
            exiting: is_exiting(),
            requests: self.carried.get(),
            age: bound.age(),
        };
        condition.is_kept_after_plain(&self.group().limits)
    }

    /// Whether there is nothing to do before the header of the response is sent to the client: a bound connection has carried a request that is
    /// no leg of a login, and nothing speaks against its next one.
    pub fn needs_no_header_work(&self) -> bool {
        let Source::Binding(bound) = self.source.get() else { return false };
        self.u.status() != 401
            && !self.has(Facts::CREDENTIALS.or(Facts::TOKEN).or(Facts::LOST))
            && !is_exiting()
            && !self.u.is_answered_from_cache()
            && !self.u.might_not_be_kept_alive(self.r)
            && self.group().limits.reached(self.carried.get(), bound.age()).is_none()
    }

    /// Does what [`NtlmPeer::free`] has to do where no bound connection can wait again at once.
    #[inline(never)]
    fn free_slowly(&self, pc: Peer, state: ngx_uint_t) {
        let outcome = match state {
            _ if state & NGX_PEER_FAILED as ngx_uint_t != 0 => Outcome::Failed,
            _ if state & NGX_PEER_NEXT as ngx_uint_t != 0 => Outcome::Next,
            _ => Outcome::Done,
        };
        match self.source.replace(Source::Nowhere) {
            Source::Binding(bound) => self.free_bound(pc, bound, outcome),
            Source::Original => self.free_original(pc, state, outcome),
            // The balancer was not asked, so it is not told.
            Source::Nowhere => {}
        }
    }

    /// Frees the connection of the client's binding.
    fn free_bound(&self, pc: Peer, bound: Bound, outcome: Outcome) {
        let unauthorized = matches!(self.u.status(), 401 | 407);
        let exchange = self.exchange(Some(bound.connection()), Some(bound), outcome);
        let verdict = exchange.verdict(&self.group().limits);
        if exchange.credentials {
            self.note_login(&verdict);
        }
        if unauthorized && exchange.token {
            self.note_challenge();
        } else if unauthorized || exchange.credentials {
            // The answer is no challenge, so there is none to answer any more. That holds for credentials that the module cannot read, too.
            with_table(|table| table.end_challenge(bound.binding()));
        }
        let end = match verdict.connection {
            Fate::Keep(phase) => {
                let is_leg = exchange.credentials || exchange.token || unauthorized;
                let kept = if is_leg {
                    self.keep_after_leg(bound, phase, verdict.progress)
                } else {
                    self.keep(bound, phase)
                };
                match kept {
                    Ok(()) => {
                        pc.set_connection(None);
                        return;
                    }
                    Err(end) => end,
                }
            }
            Fate::Close(end) => end,
            Fate::PassOn => End::Broken,
        };
        // The table only forgets it: nginx closes what is left on the peer, and no pool is to keep it.
        self.u.forbid_keepalive();
        let end = self.seen_from_client(end);
        count_end(bound, end);
        with_table(|table| table.end(bound.binding()));
        if outcome == Outcome::Failed {
            self.lose();
        }
        self.note(Facts::LOST);
        self.after_end(bound.connection(), end, &exchange);
        // nginx may go on to a server that the balancer chooses, after one attempt fewer than the balancer allows.
        if outcome == Outcome::Failed && self.init_original() == Status::OK {
            self.forget_binding();
            self.u.limit_tries();
            pc.charge_try();
        }
    }

    /// Forgets what was noted about the binding that failed, since the request goes on over another connection.
    fn forget_binding(&self) {
        self.binding.set(BindingId::default());
        self.facts.set(self.facts.get().without(Facts::CHALLENGED.or(Facts::PROVEN)));
        self.carried.set(0);
        self.notes.set(None);
        self.login.set(None);
    }

    /// Frees a connection that the balancer gave.
    fn free_original(&self, pc: Peer, state: ngx_uint_t, outcome: Outcome) {
        if may_change() && Carried::by(self.r, self.u).any() {
            self.note(Facts::CREDENTIALS);
        }
        let c = pc.connection();
        let exchange = self.exchange(c, None, outcome);
        let verdict = exchange.verdict(&self.group().limits);
        if verdict.connection == Fate::PassOn {
            self.free_below(pc, state);
            return;
        }
        let end = match (c, verdict.connection) {
            (Some(c), Fate::Keep(phase)) => self.bind(pc, c, phase, &verdict).err(),
            (_, Fate::Close(end)) => Some(end),
            _ => None,
        };
        self.note_login(&verdict);
        if exchange.credentials {
            self.note_unanswered(&exchange);
        }
        if exchange.token && matches!(exchange.status, 401 | 407) {
            self.note_challenge();
        }
        // No pool below may keep it: `u->keepalive` is cleared, and the balancer is told without a connection.
        self.u.forbid_keepalive();
        pc.set_connection(None);
        self.free_below(pc, state);
        if let (Some(c), Some(end)) = (c, end) {
            pc.set_connection(Some(c));
            self.after_end(c, end, &exchange);
        }
    }

    /// `pc->free` of the balancer.
    fn free_below(&self, pc: Peer, state: ngx_uint_t) {
        if let Some(original) = self.original() {
            original.free(pc, state);
        }
    }

    /// Binds a connection to the client of this request, and parks it.
    fn bind(&self, pc: Peer, c: Connection, phase: Phase, verdict: &Verdict) -> Result<(), End> {
        let owner = self.r.client_connection();
        let id = client::find_or_enter(owner)?;
        let transport = Transport::of(self.r, self.u).ok_or(End::UnknownWay)?;
        let bound = Bound::new(c, Server::of(pc), transport, self.group, self.r.is_http1());
        let bound = bound.ok_or(End::NoMemory)?;
        let group = self.group();
        let made = self.with_key(|key| {
            let mut table = table().ok_or(Refusal::NoMemory)?;
            let made = table.bind(id, group.id, group.timeout, key, bound)?;
            Ok((made, table.has_another_address(id, group.id, key)))
        });
        let (Made { binding, evicted }, mixed) = made.ok_or(End::NoKey)?.map_err(end_of)?;
        if let Some(ended) = evicted {
            idle::close(ended, End::MadeRoom);
        }
        bound.set_binding(binding);
        self.binding.set(binding);
        self.binding_use.set(BindingUse::Bound);
        self.carried.set(bound.carried());
        count(bound, Counter::Bound);
        if let Some(slot) = group.slot {
            let of_server = || Some(Name::of_server(pc.name().as_bytes()));
            let name = if group.by_server { self.with_key(|key| Name::of(key.site)) } else { of_server() };
            if let Some(name) = name {
                bound.set_number(slot.sites().count(&name));
            }
        }
        if mixed {
            diagnose(pc.log(), group, Diagnosis::MixedClients);
        }
        debug!(pc.log(), "binding upstream connection {} to client connection {}", c.fd(), owner.number());
        self.keep_after_leg(bound, phase, verdict.progress).inspect_err(|&end| {
            count_end(bound, end);
            with_table(|table| table.end(binding));
        })
    }

    /// Lets a busy binding wait for the next request, and closes another one if the group is full. `progress` is what the exchange
    /// of a leg made of the login.
    fn keep_after_leg(&self, bound: Bound, phase: Phase, progress: Progress) -> Result<(), End> {
        with_table(|table| table.set_progress(bound.binding(), progress));
        self.keep(bound, phase)
    }

    /// Lets a busy binding wait for the next request, and closes another one if the group is full.
    fn keep(&self, bound: Bound, phase: Phase) -> Result<(), End> {
        if !bound.connection().quieten() {
            return Err(End::Unwatched);
        }
        let (binding, group) = (bound.binding(), self.group());
        if with_table(|table| table.is_full(group.id, group.connections)) == Some(true) {
            self.make_room(binding, phase);
        }
        let parked = with_table(|table| table.park(binding, phase, now())).ok_or(End::NoMemory)?;
        let expire_by = parked.map_err(end_of)?;
        debug!(self.r.log(), "parking upstream connection {}, {phase:?}", bound.connection().fd());
        idle::wait(bound, expire_by);
        Ok(())
    }

    /// Closes a connection because the group is full.
    #[cold]
    fn make_room(&self, newcomer: BindingId, phase: Phase) {
        let evicted = with_table(|table| table.evict(newcomer, phase, self.group().connections)).flatten();
        let Some(Evicted { ended, of_most }) = evicted else { return };
        // The lines name the client that loses it.
        let (log, group) = (ended.client.log(), self.group());
        let line = if group.by_server { "proxy_ntlm on connections=" } else { "ntlm " };
        info!(
            log,
            "bound upstream connection {} is closed, \"{line}{}\" is reached",
            ended.upstream.connection().fd(),
            group.connections
        );
        if ended.phase == Some(Phase::Proven) {
            diagnose(log, group, if of_most { Diagnosis::OneAddress } else { Diagnosis::TooSmall });
        }
        idle::close(ended, End::Evicted);
    }

    /// What is known of the exchange over the connection that is let go of.
    fn exchange(&self, c: Option<Connection>, bound: Option<Bound>, outcome: Outcome) -> Exchange {
        let foreseen = self.foreseen(bound);
        let condition = Condition {
            broken: c.is_none_or(Connection::is_broken),
            kept_alive: self.u.is_kept_alive(),
            request_sent: self.u.is_request_sent(),
            ..foreseen.condition
        };
        let delivered = foreseen.delivered && self.r.is_header_sent();
        Exchange { outcome, condition, delivered, ..foreseen }
    }

    /// What is known of an exchange before it is over. It is expected to end well.
    pub(super) fn foreseen(&self, bound: Option<Bound>) -> Exchange {
        let (status, credentials) = (self.u.status(), self.has(Facts::CREDENTIALS));
        Exchange {
            guarded: self.group().is_guarded(),
            bound: bound.is_some(),
            lost: self.has(Facts::LOST),
            credentials,
            // A bound request has a client that waits.
            background: bound.is_none() && self.r.is_background(),
            delivered: self.r.is_main(),
            keyed: self.is_keyed(),
            asked: if credentials || matches!(status, 401 | 407) {
                self.login_asked_for()
            } else {
                Asked::default()
            },
            status,
            offer: self.has(Facts::OFFER),
            token: self.has(Facts::TOKEN),
            from_cache: self.u.is_answered_from_cache(),
            outcome: Outcome::Done,
            condition: Condition {
                broken: false,
                kept_alive: true,
                request_sent: true,
                exiting: is_exiting() && !self.r.is_client_kept_through_exit(),
                requests: bound.map_or(1, Bound::carried),
                age: bound.map_or(0, Bound::age),
            },
            progress: with_table(|table| table.progress(self.binding.get())).unwrap_or_default(),
        }
    }

    fn login_asked_for(&self) -> Asked {
        let sent = self.u.target();
        asked(self.r, if sent.as_bytes().is_empty() { self.r.unparsed_uri() } else { sent })
    }

    /// A server that closes after the client has left does so because of the client.
    fn seen_from_client(&self, end: End) -> End {
        let by_server = matches!(end, End::Broken | End::NotKeptAlive | End::RequestUnsent);
        if by_server && self.r.connection().is_given_up() { End::ClientLeft } else { end }
    }

    /// A tainted connection is about to be closed: tells the client, the log and the operator.
    fn after_end(&self, c: Connection, end: End, exchange: &Exchange) {
        let log = self.r.log();
        if end.is_limit() {
            info!(log, "bound upstream connection {} is closed, {}", c.fd(), end.text());
        } else {
            debug!(log, "upstream connection {} is closed, {}", c.fd(), end.text());
        }
        let replaced = self.r.replaces(self.u, exchange.status);
        if let Some(diagnosis) = exchange.diagnosis(end, replaced)
            && !self.r.connection().is_given_up()
        {
            diagnose(log, self.group(), diagnosis);
        }
        if exchange.client_after(end) == Client::Leaves {
            self.dismiss_client();
        }
    }

    /// Makes nginx close the client connection after the response, unless other clients of a proxy in front go on over it.
    pub(super) fn dismiss_client(&self) {
        let Some(id) = client::find(self.r.client_connection()) else {
            return self.r.close_client_after_response();
        };
        let (group, own) = (self.group().id, self.binding.get());
        let is_shared = |key: Option<Key<'_>>| with_table(|table| table.is_shared(id, group, own, key));
        let shared = self.with_key(|key| is_shared(Some(key))).unwrap_or_else(|| is_shared(None));
        if shared != Some(true) {
            self.r.close_client_after_response();
        }
    }
}

/// Digests of what the client asks for. `target` is of the host, of path and query, and of the method unless it is GET, HEAD, POST or PUT: clients
/// change between these within a login, and servers may answer an OPTIONS without one. `header` is of all this, the method, and the fields that do
/// not differ between the legs of a login.
pub(super) fn asked(r: Request, target: Slice) -> Asked {
    let (host, method) = (r.host(), r.method_name());
    let field = r.host_field().unwrap_or(Slice::EMPTY);
    let plain = if r.is_plain_method() { Slice::EMPTY } else { method };
    let digest = |parts: &[&[u8]]| with_table(|table| table.digest(parts)).unwrap_or(Digest::NONE);
    let target = digest(&[&plain, &host, &field, &target].map(Slice::as_bytes));
    let mut header = digest(&[method.as_bytes(), &target.to_bytes()]);
    r.each_header(|name, value| {
        if !is_of_one_leg(name.as_bytes()) {
            header = digest(&[&header.to_bytes(), name.as_bytes(), value.as_bytes()]);
        }
    });
    Asked { target, header }
}

/// Whether a field of a request differs between the legs of a login.
fn is_of_one_leg(name: &[u8]) -> bool {
    [b"authorization".as_slice(), b"proxy-authorization", b"cookie"]
        .iter()
        .any(|field| field.eq_ignore_ascii_case(name))
}

/// Why a refused connection is closed.
fn end_of(refusal: Refusal) -> End {
    match refusal {
        Refusal::Taken => End::Taken,
        Refusal::Share => End::Share,
        Refusal::NoClient => End::NoClient,
        Refusal::NoMemory => End::NoMemory,
    }
}
