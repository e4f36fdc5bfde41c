//! Decides where a request goes whose client connection carries others beside it (HTTP/2, HTTP/3), or which answers a challenge that the
//! binding of its client did not give: over the binding, over another connection, or back to the client, which then uses HTTP/1.1.
//!
//! A request with a body that would be refused over another connection waits for its turn.
//!
//! Must never turn back a request that the client could not repeat whole, nor over another protocol than HTTP/2, nor one that
//! the origin may have executed. The exception is `anew`: a client that looks like libsoup, which repeats bodies whole and could never log in
//! over HTTP/2.

use super::challenge::{Challenge, Mark};

/// The protocol that the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.x: one request at a time.
    Http1,
    /// HTTP/2: streams, which `HTTP_1_1_REQUIRED` (RFC 9113 §7) turns back.
    Http2,
    /// HTTP/3: streams. No client was seen to repeat one over HTTP/1.1.
    Http3,
}

/// The leg of a login that a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// There are none.
    None,
    /// NTLM begins (NEGOTIATE).
    Begins,
    /// They answer a challenge of NTLM (AUTHENTICATE), with this mark where it can be told.
    Answers(Option<Mark>),
    /// A Kerberos ticket, which the origin accepts over any connection.
    Ticket,
    /// Anything else.
    Other,
}

/// The state of the client's binding when a request arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    /// Its client has no binding.
    Nothing,
    /// Nor has it, but another request of it begins a login.
    Begun,
    /// The binding carries another request.
    Busy,
    /// The binding waits.
    Waiting {
        /// The last challenge over it.
        challenge: Option<Challenge>,
        /// The last answer over it was that challenge, and its client may still be about to answer it.
        awaited: bool,
    },
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Over its client's binding, if there is one.
    Binding,
    /// Over another connection. If the origin refuses it with 401, it is turned back, where it can be.
    Apart,
    /// Back to the client, before anything is sent to the origin.
    Back,
}

/// A request that arrives.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// `ntlm_multiplexing`.
    pub multiplexing: bool,
    /// The client's protocol.
    pub protocol: Protocol,
    /// The client can repeat it whole: it has no body, nothing of an answer was sent, and a client waits for it.
    pub repeatable: bool,
    /// Its client begins the login anew with it, after challenges over other connections. It has a `Content-Length`, and its body has come whole.
    pub anew: bool,
    /// Its credentials.
    pub leg: Leg,
    /// The state of its client's binding.
    pub met: Met,
}

impl Leg {
    /// Whether a login may begin with it, by NTLM, a ticket or anything else.
    pub fn is_first(&self) -> bool {
        !matches!(self, Leg::None | Leg::Answers(_))
    }
}

impl Met {
    /// Whether an answer to a challenge might not be one to the binding's.
    pub fn can_be_mistaken(&self) -> bool {
        matches!(self, Met::Waiting { challenge: Some(Challenge { mark: Some(_), .. }), .. })
    }

    /// Whether the answer that a request is given is the last that its connection sees, because another one is the client's
    /// binding by now.
    pub fn is_taken(&self) -> bool {
        matches!(self, Met::Busy | Met::Waiting { .. })
    }
}

impl Arrival {
    /// Whether the request waits for its turn instead: it would go over another connection, where the origin refuses it unless it asks for
    /// a public page, and it has a body, so that its client may not repeat it. What has other credentials may be accepted there, and an
    /// answer to a challenge is too late already.
    pub fn waits(&self) -> bool {
        self.way() == Way::Apart
            && self.protocol != Protocol::Http1
            && !self.repeatable
            && matches!(self.leg, Leg::None | Leg::Begins)
    }

    /// Where the request goes.
    pub fn way(&self) -> Way {
        let can_turn_back = self.protocol == Protocol::Http2 && self.repeatable;
        if can_turn_back && !self.multiplexing && self.leg != Leg::None {
            return Way::Back;
        }
        if self.protocol == Protocol::Http2 && self.anew && self.leg == Leg::Begins {
            return Way::Back;
        }
        let refused = if can_turn_back { Way::Back } else { Way::Apart };
        match (self.met, self.leg) {
            (Met::Waiting { challenge: Some(challenge), .. }, Leg::Answers(mark))
                if !challenge.may_be_answered_by(mark) =>
            {
                refused
            }
            // One request at a time: what came before has been answered, or the client has given it up.
            _ if self.protocol == Protocol::Http1 => Way::Binding,

            (Met::Busy, Leg::None | Leg::Ticket) => Way::Apart,
            (Met::Busy, _) => refused,

            (Met::Begun, Leg::None) => Way::Apart,
            (Met::Begun, Leg::Begins) => refused,
            // The connection that gave the challenge is gone.
            (Met::Nothing | Met::Begun, Leg::Answers(_)) => refused,

            (Met::Waiting { awaited: true, .. }, Leg::None) => Way::Apart,
            // A login by another mechanism may come to NTLM over the same connection. One that cannot be turned back begins
            // anew: the answer to the challenge before is told from its own.
            (Met::Waiting { awaited: true, challenge: Some(Challenge { ntlm: true, .. }) }, Leg::Begins)
                if can_turn_back =>
            {
                Way::Back
            }
            _ => Way::Binding,
        }
    }
}

#[cfg(test)]
mod tests;
