//! Every way a tainted upstream connection ends, in one place: its text for the log, who ended it, what it means for the
//! client.
//!
//! Nothing else closes a binding. Of a group that the module does not stand before, since another module made it while requests are served,
//! the header filter has nginx close what carried credentials (`close_if_unwatched`); no end names that.

/// Why a tainted upstream connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    // After a request: exchange.rs decides.
    /// Its group has no `ntlm`, and the guard closes what is tainted.
    Guarded,
    /// Its request is one that no client waits for (`mirror`, `post_action`, the update of a cache), and it is not bound yet.
    Background,
    /// A cached answer took the place of the server's, and it is not bound yet.
    Cached,
    /// The exchange over it failed, or the connection did, or TLS waits for something on it.
    Broken,
    /// nginx asks the next server instead of passing this answer on (`proxy_next_upstream http_404`).
    AnotherServer,
    /// It carried `ntlm_requests` requests, and its last answer is no 401 or 407.
    RequestCap,
    /// It was bound for longer than `ntlm_time`, and its last answer is no 401 or 407.
    TimeCap,
    /// The server answered before nginx had sent the whole request.
    RequestUnsent,
    /// The server closes it, or its response was not read to the end; or the client never sees the challenge that came over it, because
    /// its stream is turned back to HTTP/1.1.
    NotKeptAlive,
    /// The worker is exiting, and its client connection ends with it. (It ends bindings that wait, too: idle.rs.)
    Exiting,
    /// `ntlm_key` is empty for its request, or cannot be evaluated.
    NoKey,

    // Where it is to be kept, but cannot be bound or parked.
    /// Its client has another binding for the group and key (table.rs).
    Taken,
    /// Its client has as many bindings as one client connection may have, all of them busy or proven (table.rs).
    Share,
    /// Its client connection is gone (table.rs).
    NoClient,
    /// There was no memory (table.rs, and the module's client.rs and peer/free.rs).
    NoMemory,
    /// The settings that it was made with cannot be evaluated (peer/free.rs).
    UnknownWay,
    /// nginx cannot register its read event (peer/free.rs). (It ends bindings that wait, too: idle.rs.)
    Unwatched,

    // While it waits: the module's idle.rs decides; of `ClientLeft` client.rs (and, after a request, peer/free.rs), of `Evicted`
    // peer/free.rs, of `MadeRoom` table.rs, and of `AnotherTransport` peer/key.rs when the next request comes.
    /// The server closed it while it was parked.
    ServerClosed,
    /// The server sent data that no request asked for.
    UnsolicitedData,
    /// Its client connection closed.
    ClientLeft,
    /// It was parked for `ntlm_timeout`.
    Timeout,
    /// `ntlm N` was reached and this one was the first to go.
    Evicted,
    /// Its client connection has a newer binding, and had as many as one may have; its own login was not proven. Its client stays, since
    /// others share the connection.
    MadeRoom,
    /// `worker_connections` ran short and this one was the first to go.
    Shortage,
    /// The next request of its client uses other transport settings. Its client stays if that request has credentials.
    AnotherTransport,
}

/// The counter of the end of a binding. An end by the server counts as one by the client where the client had given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// The client connection closed.
    Client,
    /// The server closed the connection, or its answer demanded it.
    Server,
    /// `ntlm_timeout`.
    Timeout,
    /// `ntlm N`.
    Eviction,
    /// A shortage of `worker_connections`.
    Shortage,
    /// `ntlm_requests` or `ntlm_time`.
    Cap,
    /// Anything else.
    Other,
}

impl EndedBy {
    /// All of them, in the order they are shown in.
    pub const ALL: [EndedBy; 7] = [
        EndedBy::Client,
        EndedBy::Server,
        EndedBy::Timeout,
        EndedBy::Eviction,
        EndedBy::Shortage,
        EndedBy::Cap,
        EndedBy::Other,
    ];

    /// The name in the status.
    pub fn name(self) -> &'static str {
        match self {
            EndedBy::Client => "client",
            EndedBy::Server => "server",
            EndedBy::Timeout => "timeout",
            EndedBy::Eviction => "evicted",
            EndedBy::Shortage => "shortage",
            EndedBy::Cap => "capped",
            EndedBy::Other => "other",
        }
    }
}

/// The consequence of an end for the client connection.
///
/// After a request it is the one that stands in the table, with four exceptions. A client stays where its request has credentials and goes on to
/// the next server, where no client waits for the request, where it gets another answer than this one and proved no login here
/// (`Exchange::client_after`), and where other users share its connection (`Bindings::is_shared`). Of a binding that waited, `mirrored` in idle.rs
/// decides, whatever stands here: its client leaves unless others share the connection, or its login is proven over another binding and not over
/// this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// The client goes on as before: its login, if it has one, is on another connection.
    Stays,
    /// The client takes its connection for authenticated, or for one on which its login goes on, and has to open another one. Over HTTP/1.x
    /// its connection is closed: at once if it has no request, else after the response, which says `Connection: close` if its header is not
    /// out yet. Over HTTP/2 and HTTP/3 it is closed only if it has no request.
    Leaves,
}

struct Row {
    text: &'static str,
    by: EndedBy,
    client: Client,
}

const fn row(text: &'static str, by: EndedBy, client: Client) -> Row {
    Row { text, by, client }
}

impl End {
    /// Every end.
    pub const ALL: [End; 25] = [
        End::Guarded,
        End::Background,
        End::Cached,
        End::Broken,
        End::AnotherServer,
        End::RequestCap,
        End::TimeCap,
        End::RequestUnsent,
        End::NotKeptAlive,
        End::Exiting,
        End::NoKey,
        End::Taken,
        End::Share,
        End::NoClient,
        End::NoMemory,
        End::UnknownWay,
        End::Unwatched,
        End::ServerClosed,
        End::UnsolicitedData,
        End::ClientLeft,
        End::Timeout,
        End::Evicted,
        End::MadeRoom,
        End::Shortage,
        End::AnotherTransport,
    ];

    fn row(self) -> Row {
        use Client::{Leaves, Stays};
        use EndedBy::{Cap, Eviction, Other, Server};
        match self {
            End::Broken => row("the exchange with the server failed", Server, Leaves),
            End::NotKeptAlive => row("the server closes it, or the response is incomplete", Server, Leaves),
            End::RequestUnsent => row("the server answered before the request was sent", Server, Leaves),
            End::AnotherServer => row("the request goes on to the next server", Other, Leaves),
            End::ServerClosed => row("the server closed it", Server, Leaves),
            End::UnsolicitedData => row("the server sent data without a request", Server, Leaves),
            End::ClientLeft => row("its client connection closed", EndedBy::Client, Leaves),
            End::Timeout => row("\"ntlm_timeout\" passed", EndedBy::Timeout, Leaves),
            End::Evicted => row("\"ntlm\" connections are used up", Eviction, Leaves),
            End::Shortage => row("\"worker_connections\" run short", EndedBy::Shortage, Leaves),
            End::RequestCap => row("\"ntlm_requests\" is reached", Cap, Leaves),
            End::TimeCap => row("\"ntlm_time\" is reached", Cap, Leaves),
            End::Exiting => row("the worker is exiting", Other, Leaves),
            End::AnotherTransport => row("the request goes another way to its server", Other, Leaves),
            End::Background => row("no client waits for its request", Other, Stays),
            End::Cached => row("a cached answer replaced the server's", Other, Stays),
            End::NoKey => row("\"ntlm_key\" is empty or cannot be evaluated", Other, Stays),
            End::Taken => row("the client connection has another one", Other, Stays),
            End::Share => row("the client connection has too many", Other, Stays),
            End::NoClient => row("the client connection is gone", Other, Leaves),
            End::NoMemory => row("there is no memory", Other, Leaves),
            End::UnknownWay => row("its settings cannot be evaluated", Other, Leaves),
            End::MadeRoom => row("its client connection has a newer one", Other, Stays),
            End::Unwatched => row("nginx cannot register its read event", Other, Leaves),
            End::Guarded => row("its upstream has no \"ntlm\" directive", Other, Stays),
        }
    }

    /// The reason, to stand behind "upstream connection N is closed, ".
    pub fn text(self) -> &'static str {
        self.row().text
    }

    /// Its counter.
    pub fn by(self) -> EndedBy {
        self.row().by
    }

    /// Its consequence for the client connection.
    pub fn client(self) -> Client {
        self.row().client
    }

    /// Whether an operator is told at `info`: of the limits that the operator set, and of settings that do not fit.
    pub fn is_limit(self) -> bool {
        matches!(self.by(), EndedBy::Eviction | EndedBy::Shortage | EndedBy::Cap)
            || self == End::AnotherTransport
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_a_text_of_its_own() {
        for (index, end) in End::ALL.into_iter().enumerate() {
            assert_eq!(end as usize, index);
            assert!(End::ALL.into_iter().all(|other| other == end || other.text() != end.text()), "{end:?}");
        }
    }

    #[test]
    fn operators_can_look_up_each_end() {
        let docs = include_str!("../../../../docs/diagnoses.md");
        for end in End::ALL {
            let row = format!(
                "| `{}` | {} | {} |",
                end.text(),
                end.by().name(),
                match end.client() {
                    Client::Stays => "stays",
                    Client::Leaves => "closes",
                }
            );
            assert!(docs.contains(&row), "docs/diagnoses.md has no row {row}");
        }
    }

    #[test]
    fn each_counter_has_its_place() {
        for (index, by) in EndedBy::ALL.into_iter().enumerate() {
            assert_eq!(by as usize, index);
        }
    }

    #[test]
    fn each_counter_has_a_name_of_its_own() {
        let names = EndedBy::ALL.map(EndedBy::name);
        assert_eq!(names, ["client", "server", "timeout", "evicted", "shortage", "capped", "other"]);
    }

    #[test]
    fn operators_are_told_of_their_own_limits() {
        let limits: Vec<End> = End::ALL.into_iter().filter(|end| end.is_limit()).collect();
        let told = [End::RequestCap, End::TimeCap, End::Evicted, End::Shortage, End::AnotherTransport];
        assert_eq!(limits, told);
    }
}
