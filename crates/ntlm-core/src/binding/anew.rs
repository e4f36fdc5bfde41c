//! Notices clients that answer no challenge, and begin the login of the same request anew over another connection each time: such a login
//! never ends. libsoup does so with a POST over HTTP/2.
//!
//! Such a client opens each connection only after the challenge before. Of two clients that log in beside each other, the first has usually
//! answered when the second is challenged.
//!
//! Must never hold more than a fixed number of requests, whatever clients send.

use super::challenge::LEG;
use super::digest::Digest;

/// Requests that are watched at a time. A new one replaces the one whose digest has the same place.
const WATCHED: usize = 64;
/// After so many challenges, in a row and unanswered, the next leg begins the login anew. A client that is killed in the middle of a login
/// leaves one challenge unanswered, so one is not enough.
const ENOUGH: u32 = 2;

/// A client connection that begins with the first leg of a login.
#[derive(Debug, Clone, Copy)]
pub struct FirstLeg {
    /// Of the user and the target.
    pub target: Digest,
    /// Of the user, the target, and all fields that are equal in the legs of a login.
    pub header: Digest,
    /// The connection's number. nginx counts upwards.
    pub number: u64,
}

/// The requests that have been challenged, and not answered yet.
#[derive(Debug)]
pub(super) struct Unanswered {
    watched: [Watched; WATCHED],
    /// When any of them was challenged last.
    last: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    target: Digest,
    header: Digest,
    /// How often in a row.
    times: u32,
    /// When it was challenged last, on the caller's clock in milliseconds.
    at: u64,
    /// The number of the newest connection at that time.
    newest: u64,
}

impl Default for Unanswered {
    fn default() -> Self {
        Unanswered { watched: [Watched::default(); WATCHED], last: None }
    }
}

impl Unanswered {
    /// Notes that the leg was given a challenge at the time `now`, when the newest connection had the number `newest`. It counts where its
    /// connection is newer than the challenge before, which was given within [`LEG`].
    pub(super) fn challenge(&mut self, leg: FirstLeg, newest: u64, now: u64) {
        self.last = Some(now);
        let FirstLeg { target, header, .. } = leg;
        let Some(watched) = self.place(header) else { return };
        if !watched.is_fresh(header, now) {
            *watched = Watched { target, header, times: 1, at: now, newest };
        } else if leg.number > watched.newest {
            *watched = Watched { times: watched.times + 1, at: now, newest, ..*watched };
        }
    }

    /// Whether the client begins the login anew with a leg that arrives at the time `now`. If so, the count begins again.
    pub(super) fn begins_anew(&mut self, leg: FirstLeg, now: u64) -> bool {
        let place = self.place(leg.header);
        let Some(watched) = place.filter(|watched| watched.is_fresh(leg.header, now)) else { return false };
        let anew = leg.number > watched.newest && watched.times >= ENOUGH;
        if anew {
            *watched = Watched::default();
        }
        anew
    }

    /// Whether there is any that counts at the time `now`.
    pub(super) fn is_used(&self, now: u64) -> bool {
        self.last.is_some_and(|last| now.saturating_sub(last) <= LEG)
    }

    /// Notes that a request to this target arrived with an answer to a challenge. Between the legs of a login a client may change the fields.
    pub(super) fn answer(&mut self, target: Digest) {
        for watched in self.watched.iter_mut().filter(|watched| watched.target == target) {
            *watched = Watched::default();
        }
    }

    fn place(&mut self, header: Digest) -> Option<&mut Watched> {
        let [first, ..] = header.to_bytes();
        self.watched.get_mut(usize::from(first) % WATCHED)
    }
}

impl Watched {
    fn is_fresh(&self, header: Digest, now: u64) -> bool {
        self.header == header && now.saturating_sub(self.at) <= LEG
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Secret;
    use super::*;

    fn request(number: u32) -> Digest {
        static SECRET: std::sync::LazyLock<Secret> = std::sync::LazyLock::new(Secret::default);
        SECRET.digest(&[&number.to_ne_bytes()])
    }

    fn leg() -> FirstLeg {
        FirstLeg { target: request(0), header: request(0), number: 1 }
    }

    /// A client that begins anew: each connection is newer than the challenge before.
    struct Anew {
        unanswered: Unanswered,
        newest: u64,
    }

    impl Anew {
        fn new() -> Self {
            Anew { unanswered: Unanswered::default(), newest: 0 }
        }

        fn next(&mut self, request: Digest) -> FirstLeg {
            self.newest += 1;
            FirstLeg { target: request, header: request, number: self.newest }
        }

        /// Whether the next leg begins anew; if not, it is given a challenge.
        fn leg(&mut self, request: Digest, now: u64) -> bool {
            let leg = self.next(request);
            let anew = self.unanswered.begins_anew(leg, now);
            if !anew {
                self.unanswered.challenge(leg, self.newest, now);
            }
            anew
        }
    }

    #[test]
    fn third_of_legs_in_a_row_begins_anew() {
        let mut client = Anew::new();
        let anew: Vec<_> = (0..9).map(|turn| client.leg(request(0), turn * LEG)).collect();
        assert_eq!(anew, [false, false, true].repeat(3));
    }

    #[test]
    fn clients_beside_each_other_do_not_begin_anew() {
        let mut unanswered = Unanswered::default();
        for number in 1..=100 {
            let leg = FirstLeg { number, ..leg() };
            assert!(!unanswered.begins_anew(leg, 0), "{number}");
            unanswered.challenge(leg, 100, 0);
        }
        // Newer than the first challenge, and older than the second.
        let mut leg = FirstLeg { number: 101, ..leg() };
        unanswered.challenge(leg, 102, 0);
        leg.number = 102;
        assert!(!unanswered.begins_anew(leg, 0));
        leg.number = 103;
        assert!(unanswered.begins_anew(leg, 0));
    }

    #[test]
    fn an_answer_begins_the_count_anew() {
        let mut unanswered = Unanswered::default();
        for number in 1..100 {
            let leg = FirstLeg { target: request(0), header: request(1), number };
            assert!(!unanswered.begins_anew(leg, 0), "{number}");
            unanswered.challenge(leg, number, 0);
            if number % 2 == 0 {
                // With other fields.
                unanswered.answer(request(0));
            }
        }
    }

    #[test]
    fn a_pause_begins_the_count_anew() {
        let mut client = Anew::new();
        assert!((0..20).all(|turn| !client.leg(request(0), turn * (LEG + 1))));
    }

    #[test]
    fn a_pause_leaves_none_to_ask_for() {
        let mut unanswered = Unanswered::default();
        assert!(!unanswered.is_used(0));
        unanswered.challenge(leg(), 1, 10);
        assert!(unanswered.is_used(10 + LEG) && !unanswered.is_used(11 + LEG));
    }

    #[test]
    fn requests_are_told_apart() {
        let mut client = Anew::new();
        for number in 0..1000 {
            assert!((0..2).all(|_| !client.leg(request(number), 0)), "request {number}");
        }
    }

    #[test]
    fn an_answer_to_another_request_changes_nothing() {
        let mut client = Anew::new();
        let anew: Vec<_> = (0..3)
            .map(|_| {
                (1..1000).for_each(|other| client.unanswered.answer(request(other)));
                client.leg(request(0), 0)
            })
            .collect();
        assert_eq!(anew, [false, false, true]);
    }
}
