//! The lives of clients: what each does, drawn from the seed before it does any of it.
//!
//! It must never depend on what another client does, nor on an answer.

use std::fmt;

use fastrand::Rng;

use super::ask::{Ask, Door, KEYLESS, Sending, x_client};
use super::config::{Config, Front, PLAIN, pick};
use crate::client::Scheme;

/// A client connection from its first byte to its last.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Names the client connection, and its first user; unique in a run.
    pub(super) name: String,
    pub(super) over: Over,
    pub(super) tls: bool,
    /// Where it connects from, if that matters.
    pub(super) source: Option<String>,
    /// Its logins, requests and connection may be ended for others.
    pub(super) stranger: bool,
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
}

/// The protocol of a client connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    Http1,
    Http2,
    Http3,
}

/// One step of a life.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A request without credentials.
    Ask(Ask),
    /// Several requests before the first answer: pipelined, or streams side by side.
    Burst(Vec<Ask>),
    /// A login, or a part of one.
    Login(LogIn),
    /// The first leg of a login so many times, each over a connection of its own; the last step of a life.
    Anew(LogIn, usize),
    /// Nothing for so many milliseconds.
    Idle(u64),
    /// Nothing until nginx ends the binding, and with it the connection.
    Outlive,
}

/// A login.
#[derive(Clone, Debug)]
pub(super) struct LogIn {
    pub(super) ask: Ask,
    pub(super) how: How,
    pub(super) outcome: Goal,
    /// As the second name of the user.
    pub(super) second: bool,
    /// Requests in all, if more than NTLM takes.
    pub(super) legs: usize,
    /// The white space between the scheme and its token.
    pub(super) space: &'static str,
    /// Each leg asks for a page of its own.
    pub(super) wanders: bool,
}

/// The mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Ntlm(&'static str),
    Spnego,
    Ticket(&'static str),
}

impl How {
    /// The scheme of a login in legs.
    pub(super) fn scheme(self) -> Scheme {
        match self {
            Self::Ntlm(spelling) | Self::Ticket(spelling) => spelling.into(),
            Self::Spnego => Scheme::spnego(),
        }
    }
}

/// How far a login goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Whole,
    FirstLeg,
    WrongPassword,
    /// The last leg bears a made-up name, and goes to a page that looks at no credentials.
    Forged,
}

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Close,
    Reset,
    /// By FIN or RST with half a request head sent.
    MidHead(bool),
    /// With half a body sent.
    MidBody(bool),
    /// While the origin takes its time.
    Waiting(bool),
    /// While the response arrives.
    MidResponse(bool),
}

impl Life {
    /// A life in slot `slot` where there is no crowd.
    pub(super) fn draw(config: &Config, slot: usize, name: String, rng: &mut Rng) -> Self {
        let users = if config.front.is_some() && rng.bool() { rng.usize(2..4) } else { 1 };
        let http2 = config.http2 != 0 && rng.u64(0..config.http2) == 0;
        let mut steps = Vec::new();
        if rng.u8(0..3) == 0 {
            steps.push(Step::Ask(Ask::draw(config, users, rng)));
        }
        let mut busy = !config.mass || slot.is_multiple_of(4);
        let logs_in = rng.u8(0..10) < 7;
        for turn in 0.. {
            if logs_in && (turn == 0 || rng.u8(0..8) == 0) {
                steps.push(Step::Login(LogIn::draw(config, users, rng)));
                if rng.u8(0..10) == 0 {
                    // Credentials on every request.
                    let again = LogIn::draw(config, users, rng);
                    steps.extend(std::iter::repeat_n(Step::Login(again), rng.usize(1..4)));
                }
            }
            for _ in 0..rng.usize(1..5) {
                steps.push(Step::draw(config, users, rng));
            }
            busy = busy && rng.u8(0..4) != 0;
            if !busy || turn == 6 {
                break;
            }
        }
        let outlives = config.short_timeout && config.cap == 1000 && !config.capped;
        if outlives && (rng.u8(0..4) == 0 || (config.mass && !slot.is_multiple_of(4))) {
            // Side by side, where users have bindings of their own over one connection.
            let users = if config.front == Some(Front::Key) { 4 } else { 1 };
            for who in 0..users {
                let mut last = LogIn::draw(config, 1, rng);
                last.outcome = Goal::Whole;
                last.ask.who = who;
                last.ask.group = rng.usize(..config.groups);
                steps.push(Step::Login(last));
            }
            steps.push(Step::Outlive);
        }
        // This client opens up to six connections. Where `worker_connections` are scarce, nginx has room for one a client.
        if http2 && !config.tight && rng.u8(0..6) == 0 {
            let mut login = LogIn::simple(rng.usize(..config.groups), 0);
            login.how = pick(rng, &[How::Ntlm("NTLM"), How::Ntlm("Negotiate"), How::Spnego]);
            login.ask.body = pick(
                rng,
                &[Sending::Sized(700), Sending::Sized(9000), Sending::Nothing, Sending::Chunked(700)],
            );
            steps.push(Step::Anew(login, rng.usize(3..7)));
        }
        let reset = rng.bool();
        let end = match rng.u8(0..10) {
            0..=3 => End::Close,
            4 | 5 => End::Reset,
            6 => End::MidHead(reset),
            7 => End::MidBody(reset),
            8 => End::Waiting(reset),
            _ => End::MidResponse(reset),
        };
        let tls = config.tls != 0 && rng.u64(0..config.tls) == 0;
        let over = match http2 {
            true => Over::Http2,
            false if config.http3 && rng.u8(0..4) == 0 => Over::Http3,
            false => Over::Http1,
        };
        Self { name, over, tls, source: None, stranger: false, steps, end }
    }

    /// The user `who`, by the first name or the second.
    pub(super) fn user(&self, who: usize, second: bool) -> String {
        let name = match who {
            KEYLESS => format!("{}k", self.name),
            who => x_client(&self.name, who),
        };
        if second { format!("{name}b") } else { name }
    }

    /// The field that tells nginx, or should, that a request is of the user `who`.
    pub(super) fn told_apart_by(&self, config: &Config, who: usize) -> Option<(&'static str, String)> {
        let address = || format!("10.0.{}.{}", self.name.len(), who);
        match config.front? {
            _ if who == KEYLESS => None,
            Front::Key => Some(("X-Session", x_client(&self.name, who))),
            // The first user is a browser that has no proxy in front.
            _ if who == 0 => None,
            Front::RealIp => Some(("X-Forwarded-For", address())),
            Front::Field("Forwarded") => Some(("Forwarded", format!("for={}", address()))),
            Front::Field(field) => Some((field, address())),
        }
    }
}

impl Step {
    fn draw(config: &Config, users: usize, rng: &mut Rng) -> Self {
        match rng.u8(0..20) {
            0 => Self::Idle(rng.u64(1..20)),
            1 if config.short_timeout => Self::Idle(rng.u64(100..400)),
            2 | 3 => Self::Burst((0..rng.usize(2..6)).map(|_| Ask::draw(config, users, rng)).collect()),
            _ => Self::Ask(Ask::draw(config, users, rng)),
        }
    }
}

impl LogIn {
    pub(super) fn draw(config: &Config, users: usize, rng: &mut Rng) -> Self {
        let mut ask = Ask::draw(config, users, rng);
        if ask.cached || ask.odd.is_some() {
            ask = Ask::simple(ask.group, ask.who);
        }
        ask.public = rng.u8(0..6) == 0;
        if let Sending::Slowly(..) = ask.body {
            ask.body = Sending::Nothing;
        }
        let mut how = match rng.u8(0..10) {
            0..=2 => How::Ntlm("NTLM"),
            3 => How::Ntlm(pick(rng, &["nTlM", "Ntlm"])),
            4 => How::Ntlm("ntlm"),
            5 => How::Ntlm("Negotiate"),
            6 | 7 => How::Spnego,
            _ => How::Ticket(pick(rng, &["Negotiate", "Kerberos", "NEGOTIATE", "Nego2"])),
        };
        if ask.group == PLAIN && rng.bool() {
            // No other login comes to its end there.
            how = How::Ticket("Negotiate");
        }
        if matches!(how, How::Ticket(_)) && rng.bool() {
            ask.orders.push("nomutual".to_owned());
        }
        let outcome = match rng.u8(0..20) {
            0 | 1 => Goal::FirstLeg,
            2 | 3 => Goal::WrongPassword,
            4 if matches!(how, How::Ntlm(_)) && ask.door == Door::Straight => Goal::Forged,
            _ => Goal::Whole,
        };
        let legs = if !matches!(how, How::Ticket(_)) && rng.u8(0..10) == 0 { rng.usize(4..7) } else { 3 };
        if legs > 3 {
            ask.orders.push(format!("legs={legs}"));
        }
        let space = pick(rng, &[" ", " ", " ", "\t", "   ", " \t "]);
        Self { ask, how, outcome, second: rng.u8(0..6) == 0, legs, space, wanders: rng.u8(0..4) == 0 }
    }

    /// Three legs of NTLM, with nothing unusual about them.
    pub(super) fn simple(group: usize, who: usize) -> Self {
        let (how, outcome) = (How::Ntlm("NTLM"), Goal::Whole);
        let ask = Ask::simple(group, who);
        Self { ask, how, outcome, second: false, legs: 3, space: " ", wanders: false }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, over, source, .. } = self;
        let tls = if self.tls { " and TLS" } else { "" };
        write!(f, "client {name} over {over:?}{tls}")?;
        if let Some(source) = source {
            write!(f, " from {source}")?;
        }
        writeln!(f, ":")?;
        for step in &self.steps {
            match step {
                Step::Ask(ask) => writeln!(f, "  ask {ask}")?,
                Step::Burst(asks) => {
                    let asks: Vec<String> = asks.iter().map(ToString::to_string).collect();
                    writeln!(f, "  at once: {}", asks.join(" | "))?;
                }
                Step::Login(login) => {
                    let LogIn { ask, how, outcome, second, legs, space, wanders } = login;
                    let user = if *second { " by the second name" } else { "" };
                    let pages = if *wanders { ", each for another page" } else { "" };
                    let field = ask.door.field();
                    writeln!(
                        f,
                        "  log in by {how:?}{user}, {outcome:?}, {legs} legs in {field}{pages}, {space:?}, {ask}"
                    )?;
                }
                Step::Anew(login, times) => writeln!(
                    f,
                    "  begin to log in by {:?} over {times} connections, {}",
                    login.how, login.ask
                )?,
                Step::Idle(time) => writeln!(f, "  idle for {time} ms")?,
                Step::Outlive => writeln!(f, "  idle until the binding ends")?,
            }
        }
        writeln!(f, "  end: {:?}", self.end)
    }
}
