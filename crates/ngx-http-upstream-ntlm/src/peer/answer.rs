//! What the header of a response to the client must say and do, before it is sent.

use ntlm_core::binding::end::{Client, End};
use ntlm_core::binding::exchange::{Condition, Exchange, Fate};
use ntlm_core::diagnosis::Diagnosis;

use super::{Facts, NtlmPeer, Source};
use crate::diagnose::diagnose;
use crate::ngx::is_exiting;

/// What nginx may announce of the end of a client connection because the worker exits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Announce {
    /// What it does by itself.
    Everything,
    /// Nothing: clients give a login up whose challenge comes with `Connection: close`, and begin it anew where the
    /// connection just ends.
    Nothing,
}

impl NtlmPeer {
    /// Whether there is nothing to do before the header of the response is sent to the client.
    pub fn is_indifferent(&self) -> bool {
        matches!(self.source.get(), Source::Original)
            && !self.has(Facts::CREDENTIALS.or(Facts::TOKEN).or(Facts::LOST))
    }

    /// The header of the response is about to be sent to the client. A client that takes its connection for authenticated is
    /// told to open another one where that is over.
    pub fn on_response_header(&self) -> Announce {
        let bound = match self.source.get() {
            Source::Binding(bound) => Some(bound),
            Source::Original => None,
            Source::Nowhere => {
                // No attempt gave this response: the client is left without what its credentials were for.
                if self.has(Facts::LOST) {
                    self.dismiss_client();
                }
                return Announce::Everything;
            }
        };
        let exchange = self.foreseen(bound);
        if !exchange.is_tainted() {
            if exchange.lost {
                self.dismiss_client();
            }
            return Announce::Everything;
        }
        self.u.forbid_storing();
        let unauthorized = exchange.credentials && matches!(exchange.status, 401 | 407);
        if unauthorized
            && exchange.token
            && self.r.is_http1()
            && !self.r.is_client_kept_alive()
            && !exchange.guarded
        {
            diagnose(self.r.log(), self.group(), Diagnosis::ClientKeepaliveOff);
        }
        let kept_alive = if exchange.from_cache {
            !self.u.is_answered_stale()
        } else {
            !self.u.will_not_be_kept_alive(self.r)
        };
        let condition = Condition { kept_alive, ..exchange.condition };
        let verdict = Exchange { condition, ..exchange }.verdict(&self.group().limits);
        let challenge = unauthorized && exchange.token && !exchange.guarded && self.r.is_http1();
        if challenge && is_exiting() && matches!(verdict.connection, Fate::Close(End::Exiting)) {
            return Announce::Nothing;
        }
        if verdict.client == Client::Leaves {
            self.dismiss_client();
        }
        if challenge && self.r.is_client_kept_through_exit() {
            Announce::Nothing
        } else {
            Announce::Everything
        }
    }
}
