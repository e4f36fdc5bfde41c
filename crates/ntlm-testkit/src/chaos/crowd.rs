//! Lives in a crowd: few users who hold proven logins, each at an address of its own, and strangers who fill the groups
//! beside them.
//!
//! It must never have more users than `ntlm N` has room for.

use fastrand::Rng;

use super::ask::{Ask, Door};
use super::config::{Config, Crowd, Front, pick};
use super::life::{End, How, Life, LogIn, Over, Step};

/// Every fourth slot is a user's, up to this one.
const USERS: usize = 8;

/// Credentials that prove nothing.
const JUNK: [&str; 4] = ["NTLM x", "Negotiate x", "NTLM TlRMTVNTUAABAAAAAAAAAA==", "Negotiate"];

/// One life in a slot of the crowd.
pub(super) fn draw(config: &Config, kind: Crowd, slot: usize, name: String, rng: &mut Rng) -> Life {
    let stranger = !slot.is_multiple_of(4) || slot / 4 >= USERS;
    let steps = match kind {
        _ if !stranger => user(config, rng),
        Crowd::Hog => hog(config, rng),
        Crowd::OneAddress | Crowd::ManyAddresses => forger(config, rng),
    };
    let source = match kind {
        _ if !stranger => format!("127.3.{}.1", slot % 250),
        Crowd::ManyAddresses => format!("127.2.{}.{}", slot % 250, rng.u8(1..250)),
        Crowd::OneAddress | Crowd::Hog => "127.0.0.66".to_owned(),
    };
    let tls = config.tls != 0 && rng.u64(0..config.tls) == 0;
    let end = pick(rng, &[End::Close, End::Reset]);
    Life { name, over: Over::Http1, tls, source: Some(source), stranger, steps, end }
}

/// Logs in to one group, and asks now and then: the others have the time to fill the group in between. If there is another group, that has no part
/// in it but to be asked whether the client may.
fn user(config: &Config, rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut login = LogIn::simple(0, 0);
    if config.groups > 1 {
        login.ask.door = Door::Checked;
    }
    if rng.u8(0..3) == 0 {
        // One leg, proven by the token of the answer.
        login.how = How::Ticket("Negotiate");
    }
    steps.push(Step::Login(login));
    for _ in 0..rng.usize(6..12) {
        steps.push(Step::Idle(rng.u64(10..60)));
        steps.push(Step::Ask(Ask::simple(0, 0)));
    }
    steps
}

/// Logs in for real, and stays.
fn hog(config: &Config, rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    for group in 0..config.groups {
        steps.push(Step::Login(LogIn::simple(group, 0)));
    }
    for _ in 0..4 {
        steps.push(Step::Idle(rng.u64(5..40)));
        steps.push(Step::Ask(Ask::simple(rng.usize(..config.groups), 0)));
    }
    steps
}

/// Sends junk to pages that answer 401, 200 and 404, under many keys where there are keys, and stays.
fn forger(config: &Config, rng: &mut Rng) -> Vec<Step> {
    let mut steps = Vec::new();
    for number in 0..rng.usize(2..8) {
        let who = if config.front == Some(Front::Key) { number } else { 0 };
        let mut ask = Ask::simple(rng.usize(..config.groups), who);
        ask.odd = Some(pick(rng, &JUNK));
        ask.harmless = false;
        match rng.u8(0..4) {
            0 => {}
            1 => {
                ask.public = true;
                ask.orders.extend(["ignore".to_owned(), "status=404".to_owned()]);
            }
            _ => {
                ask.public = true;
                ask.orders.push("ignore".to_owned());
            }
        }
        steps.push(Step::Ask(ask));
        steps.push(Step::Idle(rng.u64(1..12)));
    }
    steps
}
