//! The lives of clients: what each does, drawn from the seed before it does any of it.
//!
//! It must never depend on what another client does, nor on an answer.

use std::fmt;

use fastrand::Rng;

use super::config::{Config, GROUPS, pick};

/// A client connection from its first byte to its last.
#[derive(Clone, Debug)]
pub(super) struct Life {
    /// Names the client connection, and its user: nobody else has either.
    pub(super) name: String,
    pub(super) http2: bool,
    pub(super) tls: bool,
    pub(super) steps: Vec<Step>,
    pub(super) end: End,
}

/// What a client does next.
#[derive(Clone, Debug)]
pub(super) enum Step {
    /// A request without credentials.
    Ask(Ask),
    /// Several requests before the first answer: pipelined, or streams side by side.
    Burst(Vec<Ask>),
    /// A login, or a part of one.
    Login(LogIn),
    /// Nothing for so many milliseconds.
    Idle(u64),
    /// Nothing until nginx ends the binding, and with it the connection.
    Outlive,
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) group: usize,
    pub(super) public: bool,
    pub(super) body: Sending,
    /// The query: how the origin answers.
    pub(super) orders: Vec<String>,
    /// No order harms the connection, or the login on it.
    pub(super) harmless: bool,
}

/// The body of a request.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sending {
    Nothing,
    Sized(usize),
    Chunked(usize),
    /// In two parts, with so many milliseconds between.
    Slowly(usize, u64),
}

/// A login.
#[derive(Clone, Debug)]
pub(super) struct LogIn {
    pub(super) ask: Ask,
    pub(super) how: How,
    pub(super) outcome: Goal,
    /// As the client's second user.
    pub(super) second: bool,
    /// Requests in all, if more than NTLM takes.
    pub(super) legs: usize,
}

/// The mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Ntlm(&'static str),
    Spnego,
    Ticket(&'static str),
}

/// How far a login goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    Whole,
    FirstLeg,
    WrongPassword,
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
    /// The life number `number` of slot `slot`.
    pub(super) fn draw(config: &Config, slot: usize, number: usize) -> Self {
        let stream = config.seed ^ (slot as u64) << 40 ^ (number as u64) << 16;
        let mut rng = Rng::with_seed(stream.wrapping_mul(0x2545_f491_4f6c_dd1d));
        let rng = &mut rng;
        let http2 = config.http2 != 0 && rng.u64(0..config.http2) == 0;
        let mut steps = Vec::new();
        if rng.u8(0..3) == 0 {
            steps.push(Step::Ask(Ask::draw(config, rng)));
        }
        let mut busy = true;
        let logs_in = rng.u8(0..10) < 7;
        for turn in 0.. {
            if logs_in && (turn == 0 || rng.u8(0..8) == 0) {
                steps.push(Step::Login(LogIn::draw(config, rng)));
                if rng.u8(0..10) == 0 {
                    // Credentials on every request.
                    let again = LogIn::draw(config, rng);
                    steps.extend(std::iter::repeat_n(Step::Login(again), rng.usize(1..4)));
                }
            }
            for _ in 0..rng.usize(1..5) {
                steps.push(Step::draw(config, rng));
            }
            busy = busy && rng.u8(0..4) != 0;
            if !busy || turn == 6 {
                break;
            }
        }
        if config.short_timeout && config.cap == 1000 && !config.capped && rng.u8(0..4) == 0 {
            let mut last = LogIn::draw(config, rng);
            last.outcome = Goal::Whole;
            steps.push(Step::Login(last));
            steps.push(Step::Outlive);
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
        Self { name: format!("s{slot}-{number}"), http2, tls, steps, end }
    }

    /// The client's users.
    pub(super) fn user(&self, second: bool) -> String {
        if second { format!("{}b", self.name) } else { self.name.clone() }
    }
}

impl Step {
    fn draw(config: &Config, rng: &mut Rng) -> Self {
        match rng.u8(0..20) {
            0 => Self::Idle(rng.u64(1..20)),
            1 if config.short_timeout => Self::Idle(rng.u64(100..400)),
            2 | 3 => Self::Burst((0..rng.usize(2..6)).map(|_| Ask::draw(config, rng)).collect()),
            _ => Self::Ask(Ask::draw(config, rng)),
        }
    }
}

impl Ask {
    fn draw(config: &Config, rng: &mut Rng) -> Self {
        let mut orders = Vec::new();
        let mut harmless = true;
        if rng.u8(0..6) == 0 {
            orders.push(format!("delay={}", rng.u64(1..12)));
        }
        if rng.u8(0..8) == 0 {
            orders.push("chunked".to_owned());
        }
        match rng.u8(0..12) {
            0 => orders.push(format!("size={}", rng.usize(1..200_000))),
            1 => orders.push(format!("status={}", pick(rng, &[204, 302, 304, 403, 404, 500, 503]))),
            _ => {}
        }
        let mut body = match rng.u8(0..10) {
            0 => Sending::Sized(rng.usize(0..40_000)),
            1 => Sending::Chunked(rng.usize(1..40_000)),
            2 => Sending::Slowly(rng.usize(2..2_000), rng.u64(1..10)),
            _ => Sending::Nothing,
        };
        if config.faults && rng.u8(0..8) == 0 {
            harmless = false;
            let fault = pick(
                rng,
                &[
                    "close=after",
                    "close=header",
                    "close=mid",
                    "close=read",
                    "rst=read",
                    "extra=0",
                    "extra=3",
                    "early",
                    "logout",
                    "persist=no",
                    "http10",
                    "delimit=close",
                    "token_without_auth",
                    "close=challenge",
                    "mutual",
                    "delay_body=5",
                ],
            );
            orders.push(fault.to_owned());
            if fault == "early" {
                body = Sending::Sized(rng.usize(1..300_000));
            }
        }
        Self { group: rng.usize(..config.groups), public: rng.u8(0..3) == 0, body, orders, harmless }
    }

    /// Path and query, with a part that no other request has.
    pub(super) fn target(&self, unique: &str) -> String {
        let public = if self.public { "/public" } else { "" };
        let mut target = format!("{public}/{}/{unique}", GROUPS[self.group]);
        for (index, order) in self.orders.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(order);
        }
        target
    }

    /// The value of an order, such as the size of the answer.
    pub(super) fn ordered(&self, name: &str) -> Option<&str> {
        self.orders.iter().find_map(|order| {
            let (key, value) = order.split_once('=').unwrap_or((order, ""));
            (key == name).then_some(value)
        })
    }
}

impl LogIn {
    fn draw(config: &Config, rng: &mut Rng) -> Self {
        let mut ask = Ask::draw(config, rng);
        ask.public = rng.u8(0..6) == 0;
        if let Sending::Slowly(..) = ask.body {
            ask.body = Sending::Nothing;
        }
        let how = match rng.u8(0..10) {
            0..=3 => How::Ntlm("NTLM"),
            4 => How::Ntlm("ntlm"),
            5 => How::Ntlm("Negotiate"),
            6 | 7 => How::Spnego,
            _ => How::Ticket(pick(rng, &["Negotiate", "Kerberos", "NEGOTIATE", "Nego2"])),
        };
        if matches!(how, How::Ticket(_)) && rng.bool() {
            ask.orders.push("nomutual".to_owned());
        }
        let outcome = match rng.u8(0..10) {
            0 => Goal::FirstLeg,
            1 => Goal::WrongPassword,
            _ => Goal::Whole,
        };
        let legs = if !matches!(how, How::Ticket(_)) && rng.u8(0..10) == 0 { rng.usize(4..7) } else { 3 };
        if legs > 3 {
            ask.orders.push(format!("legs={legs}"));
        }
        Self { ask, how, outcome, second: rng.u8(0..6) == 0, legs }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (http, tls) =
            (if self.http2 { "HTTP/2" } else { "HTTP/1.1" }, if self.tls { " and TLS" } else { "" });
        writeln!(f, "client {} over {http}{tls}:", self.name)?;
        for step in &self.steps {
            match step {
                Step::Ask(ask) => writeln!(f, "  ask {ask}")?,
                Step::Burst(asks) => {
                    let asks: Vec<String> = asks.iter().map(ToString::to_string).collect();
                    writeln!(f, "  at once: {}", asks.join(" | "))?;
                }
                Step::Login(login) => {
                    let LogIn { ask, how, outcome, second, legs } = login;
                    let user = if *second { " as the second user" } else { "" };
                    writeln!(f, "  log in by {how:?}{user}, {outcome:?}, {legs} legs, {ask}")?;
                }
                Step::Idle(time) => writeln!(f, "  idle for {time} ms")?,
                Step::Outlive => writeln!(f, "  idle until the binding ends")?,
            }
        }
        writeln!(f, "  end: {:?}", self.end)
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target("…"))?;
        match self.body {
            Sending::Nothing => Ok(()),
            body => write!(f, " {body:?}"),
        }
    }
}
