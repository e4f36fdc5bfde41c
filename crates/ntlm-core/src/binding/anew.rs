//! Notices clients that answer no challenge, and begin the login of the same request anew over another connection each time: such a login
//! never ends. libsoup does so with a POST over HTTP/2.
//!
//! Must never hold more than a fixed number of requests, whatever clients send.

use super::challenge::LEG;
use super::digest::Digest;

/// Requests that are watched at a time. A new one replaces the one whose digest has the same place.
const WATCHED: usize = 64;
/// How many challenges to the same request, in a row and unanswered, make a diagnosis. Where as many clients of one address send the same
/// request at the same moment, it is wrong.
const MANY: u32 = 5;

/// The requests that have been challenged, and not answered yet.
#[derive(Debug)]
pub(super) struct Unanswered([Watched; WATCHED]);

#[derive(Debug, Clone, Copy, Default)]
struct Watched {
    request: Digest,
    /// How often in a row.
    times: u32,
    /// When it was challenged last, on the caller's clock in milliseconds.
    at: u64,
}

impl Default for Unanswered {
    fn default() -> Self {
        Unanswered([Watched::default(); WATCHED])
    }
}

impl Unanswered {
    /// Notes that a request was given a challenge, as the first one of its client connection, at the time `now`. True at the [`MANY`]th in a row
    /// and only then: each within [`LEG`] of the one before, and none answered.
    pub(super) fn challenge(&mut self, request: Digest, now: u64) -> bool {
        let Some(watched) = self.place(request) else { return false };
        let goes_on = watched.request == request && now.saturating_sub(watched.at) <= LEG;
        let times = if goes_on { watched.times + 1 } else { 1 };
        *watched = Watched { request, times, at: now };
        times == MANY
    }

    /// Whether there is any.
    pub(super) fn is_used(&self) -> bool {
        self.0.iter().any(|watched| watched.times != 0)
    }

    /// Notes that a request was sent with an answer to a challenge.
    pub(super) fn answer(&mut self, request: Digest) {
        if let Some(watched) = self.place(request).filter(|watched| watched.request == request) {
            *watched = Watched::default();
        }
    }

    fn place(&mut self, request: Digest) -> Option<&mut Watched> {
        let [first, ..] = request.to_bytes();
        self.0.get_mut(usize::from(first) % WATCHED)
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Secret;
    use super::*;

    fn request(number: u8) -> Digest {
        Secret::default().digest(&[&[number]])
    }

    #[test]
    fn many_challenges_without_an_answer_are_told_once() {
        let (mut unanswered, post) = (Unanswered::default(), request(0));
        let told: Vec<bool> = (0..21).map(|turn| unanswered.challenge(post, turn * 100)).collect();
        assert_eq!(told.iter().position(|&told| told), Some(4));
        assert_eq!(told.iter().filter(|&&told| told).count(), 1);
    }

    #[test]
    fn an_answer_begins_the_count_anew() {
        let (mut unanswered, post) = (Unanswered::default(), request(0));
        for _ in 0..20 {
            for _ in 0..4 {
                assert!(!unanswered.challenge(post, 0));
            }
            unanswered.answer(post);
        }
    }

    #[test]
    fn a_pause_begins_the_count_anew() {
        let (mut unanswered, post) = (Unanswered::default(), request(0));
        assert!((0..20).all(|turn| !unanswered.challenge(post, turn * (LEG + 1))));
    }

    #[test]
    fn requests_are_told_apart() {
        let secret = Secret::default();
        let mut unanswered = Unanswered::default();
        for number in 0..1000u32 {
            let request = secret.digest(&[&number.to_ne_bytes()]);
            assert!((0..4).all(|_| !unanswered.challenge(request, 0)), "request {number}");
        }
    }

    #[test]
    fn an_answer_to_another_request_changes_nothing() {
        let secret = Secret::default();
        let (mut unanswered, post) = (Unanswered::default(), secret.digest(&[b"post"]));
        let others = (0..1000u32).map(|number| secret.digest(&[&number.to_ne_bytes()]));
        let told: Vec<bool> = (0..5)
            .map(|_| {
                others.clone().for_each(|other| unanswered.answer(other));
                unanswered.challenge(post, 0)
            })
            .collect();
        assert_eq!(told, [false, false, false, false, true]);
    }
}
