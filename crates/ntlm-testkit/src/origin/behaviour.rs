//! The query parameters by which one request orders how it is answered.
//!
//! They are listed at [`super::Origin`]. An unknown parameter is ignored; a value that is no number never goes unnoticed.

use std::time::Duration;

/// When the connection is closed, other than by agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// With the challenge, saying so.
    Challenge,
    /// After the challenge, without a word.
    Silent,
    /// After the complete answer, without a word.
    After,
    /// After the complete answer, saying so.
    Header,
    /// Half way through the body.
    Mid,
    /// When the request has been read, unanswered.
    Read,
    /// As [`Self::Read`], for every request on a connection but the first.
    Reused,
}

/// How the end of the body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Length,
    Chunked,
    Close,
}

#[derive(Debug)]
pub(super) struct Behaviour {
    pub(super) status: Option<u16>,
    pub(super) size: Option<usize>,
    pub(super) framing: Framing,
    pub(super) http10: bool,
    pub(super) delay: Option<Duration>,
    pub(super) delay_body: Option<Duration>,
    pub(super) gate: Option<String>,
    pub(super) gate_body: Option<String>,
    pub(super) close: Option<Close>,
    pub(super) reset: Option<Close>,
    pub(super) early: bool,
    pub(super) extra: Option<Duration>,
    pub(super) legs: u64,
    pub(super) mutual: bool,
    pub(super) nomutual: bool,
    pub(super) token_without_auth: bool,
    pub(super) proxy: bool,
    pub(super) ignore: bool,
    pub(super) persist: bool,
    pub(super) logout: bool,
    pub(super) alike: bool,
    pub(super) bearer: bool,
    pub(super) odd: bool,
    pub(super) upgrade: bool,
    pub(super) websocket: bool,
    /// Ordered by [`super::Builder::gateway`].
    pub(super) gateway: bool,
    pub(super) fields: Vec<(String, String)>,
}

impl Behaviour {
    pub(super) fn of(target: &str) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let find = |name: &str| {
            query.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (key == name).then_some(value)
            })
        };
        let number = |name: &str| {
            find(name).map(|value| {
                value.parse::<u64>().unwrap_or_else(|_| panic!("?{name}= wants a number, not \"{value}\""))
            })
        };
        let is = |name: &str| find(name).is_some();
        let close = |name: &str| {
            find(name).map(|value| match value {
                "challenge" => Close::Challenge,
                "silent" => Close::Silent,
                "after" => Close::After,
                "header" => Close::Header,
                "mid" => Close::Mid,
                "read" => Close::Read,
                "reused" => Close::Reused,
                other => panic!("?{name}= does not know \"{other}\""),
            })
        };
        Self {
            status: number("status").map(|status| status as u16),
            size: number("size").map(|size| size as usize),
            framing: if is("chunked") {
                Framing::Chunked
            } else if find("delimit") == Some("close") {
                Framing::Close
            } else {
                Framing::Length
            },
            http10: is("http10"),
            delay: number("delay").map(Duration::from_millis),
            delay_body: number("delay_body").map(Duration::from_millis),
            gate: find("gate").map(str::to_owned),
            gate_body: find("gate_body").map(str::to_owned),
            close: close("close"),
            reset: close("rst"),
            early: is("early"),
            extra: find("extra").map(|value| Duration::from_millis(value.parse().unwrap_or(20))),
            legs: number("legs").unwrap_or(3),
            mutual: is("mutual"),
            nomutual: is("nomutual"),
            token_without_auth: is("token_without_auth"),
            proxy: is("proxy"),
            ignore: is("ignore"),
            persist: find("persist") != Some("no"),
            logout: is("logout"),
            alike: is("alike"),
            bearer: is("bearer"),
            odd: is("odd"),
            upgrade: is("upgrade"),
            websocket: is("websocket"),
            gateway: false,
            fields: query
                .split('&')
                .filter_map(|pair| pair.strip_prefix("field=")?.split_once(':'))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }
}
