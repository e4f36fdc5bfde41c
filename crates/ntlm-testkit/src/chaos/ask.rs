//! One request of a plan: where it goes, how it is answered, whose it is, and what credentials look like in it.
//!
//! It must never depend on what was answered before.

use std::fmt;

use fastrand::Rng;

use super::config::{Config, Front, GROUPS, PLAIN, pick};

/// The user of a client connection who sends nothing by which `ntlm_key` could tell that user from others.
pub(super) const KEYLESS: usize = usize::MAX;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) group: usize,
    /// Which user of the client connection: a number, or [`KEYLESS`].
    pub(super) who: usize,
    pub(super) public: bool,
    /// nginx may answer out of its cache.
    pub(super) cached: bool,
    pub(super) door: Door,
    pub(super) body: Sending,
    /// The query: how the origin answers.
    pub(super) orders: Vec<String>,
    /// Credentials that are no login.
    pub(super) odd: Option<&'static str>,
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

impl Sending {
    /// Whether there is nothing in it, so that nginx may turn the request back.
    pub(super) fn is_empty(self) -> bool {
        matches!(self, Self::Nothing | Self::Sized(0))
    }
}

/// The way that credentials take to the origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The client's `Authorization`.
    Straight,
    /// `X-Auth`, which the location makes an `Authorization` of.
    Put,
    /// The client's `Proxy-Authorization`; the origin answers 407.
    Proxied,
    /// `X-Auth`, which the location makes a `Proxy-Authorization` of.
    PutProxied,
    /// The path, with line ends in it, which the location puts into a field.
    LineEnds,
    /// The client's `Authorization`, which goes to the other group first: that is asked whether the client may (`auth_request`), and ignores it.
    Checked,
}

impl Door {
    /// The field that the client sends.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Straight | Self::Checked => "Authorization",
            Self::Proxied => "Proxy-Authorization",
            Self::Put | Self::PutProxied | Self::LineEnds => "X-Auth",
        }
    }

    fn path(self) -> &'static str {
        match self {
            Self::Straight | Self::Proxied => "",
            Self::Put => "put/",
            Self::PutProxied => "put407/",
            Self::LineEnds => "ends/",
            Self::Checked => "checked/",
        }
    }
}

/// Values that are no login: of schemes that bind a connection, and of schemes that do not.
const BINDING: [&str; 6] =
    ["CredSSP TlRM", "Kerberos\tTlRM", "nEgOtIaTe", "NTLM   TlRM", "NTLM", "Negotiate \t TlRM"];
const OTHER: [&str; 5] = ["NTLMx TlRM", "Negotiated TlRM", "Bearer", "Bearer TlRM", "Basic TlRMOk5UTE0="];

/// Orders that ruin an answer, or the login on its connection.
const FAULTS: [&str; 18] = [
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
    "token_without_auth&odd",
    "close=challenge",
    "mutual",
    "delay_body=5",
    "bearer",
];

impl Ask {
    /// A request of one of so many users.
    pub(super) fn draw(config: &Config, users: usize, rng: &mut Rng) -> Self {
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
            let fault = pick(rng, &FAULTS);
            orders.push(fault.to_owned());
            if fault == "early" {
                body = Sending::Sized(rng.usize(1..300_000));
            }
        }
        let group = rng.usize(..config.groups);
        let public = rng.u8(0..3) == 0;
        let mut who = rng.usize(..users);
        let door = match rng.u8(0..8) {
            _ if !config.doors => Door::Straight,
            0 | 1 => Door::Put,
            2 => Door::Proxied,
            3 => Door::PutProxied,
            4 => Door::LineEnds,
            5 if config.groups > 1 => Door::Checked,
            _ => Door::Straight,
        };
        if matches!(door, Door::Proxied | Door::PutProxied) {
            orders.push("proxy".to_owned());
        }
        let odd = match rng.u8(0..40) {
            0 => Some(pick(rng, &OTHER)),
            1 => {
                harmless = false;
                Some(pick(rng, &BINDING))
            }
            _ => None,
        };
        let group = if config.plain && rng.u8(0..3) == 0 && door != Door::Checked { PLAIN } else { group };
        if config.front == Some(Front::Key) && rng.u8(0..8) == 0 {
            who = KEYLESS;
        }
        let ask = Self { group, who, public, cached: false, door, body, orders, odd, harmless };
        if config.cached && rng.u8(0..6) == 0 { ask.of_cached_pages() } else { ask }
    }

    /// The request turned to the public pages that nginx keeps in its cache.
    fn of_cached_pages(self) -> Self {
        let (public, cached, harmless) = (true, true, true);
        let (door, body, odd, orders) = (Door::Straight, Sending::Nothing, None, Vec::new());
        Self { public, cached, door, body, orders, odd, harmless, ..self }
    }

    /// A request that asks for nothing unusual.
    pub(super) fn simple(group: usize, who: usize) -> Self {
        let (door, body) = (Door::Straight, Sending::Nothing);
        let (public, cached, orders, odd) = (false, false, Vec::new(), None);
        Self { group, who, public, cached, door, body, orders, odd, harmless: true }
    }

    /// The group that is asked whether the client may.
    pub(super) fn checked_by(&self) -> Option<usize> {
        (self.door == Door::Checked).then(|| 1 - self.group)
    }

    /// Path and query, with a part that no other request has, but to the pages that nginx keeps.
    pub(super) fn target(&self, unique: &str) -> String {
        let public = if self.public { "/public" } else { "" };
        let group = GROUPS[self.group];
        if self.cached {
            let page = unique.bytes().map(u32::from).sum::<u32>() % 7;
            return format!("/public/cached/{group}/{page}");
        }
        let mut target = format!("{public}/{}{group}/{unique}", self.door.path());
        for (index, order) in self.orders.iter().enumerate() {
            target.push(if index == 0 { '?' } else { '&' });
            target.push_str(order);
        }
        target
    }

    /// The target of the request with these credentials.
    pub(super) fn with_credentials(&self, target: &str, value: &str) -> String {
        if self.door != Door::LineEnds {
            return target.to_owned();
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let field = format!("\r\nAuthorization: {value}\r\nX-Rest: ");
        let encoded = field.bytes().map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        });
        let question = if query.is_empty() { "" } else { "?" };
        format!("{path}{}{question}{query}", encoded.collect::<String>())
    }

    /// The value of an order, such as the size of the answer.
    pub(super) fn ordered(&self, name: &str) -> Option<&str> {
        self.orders.iter().flat_map(|orders| orders.split('&')).find_map(|order| {
            let (key, value) = order.split_once('=').unwrap_or((order, ""));
            (key == name).then_some(value)
        })
    }
}

/// The name of user `who` of the client `name` in `X-Client`: the user of that name owns the connections it taints.
pub(super) fn x_client(name: &str, who: usize) -> String {
    match who {
        0 => name.to_owned(),
        KEYLESS => format!("{name}~"),
        who => format!("{name}.{who}"),
    }
}

/// The request came from a user without a key.
pub(super) fn is_keyless(x_client: &str) -> bool {
    x_client.ends_with('~')
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.target("…"))?;
        match self.who {
            0 => {}
            KEYLESS => write!(f, " without a key")?,
            who => write!(f, " as user {who}")?,
        }
        if let Some(odd) = self.odd {
            write!(f, " with {}: {odd:?}", self.door.field())?;
        }
        match self.body {
            Sending::Nothing => Ok(()),
            body => write!(f, " {body:?}"),
        }
    }
}
