//! Requests that clients send at the same time before anything is counted: they leave the heap of a proxy as it is in a worker that has
//! served for a while.
//!
//! A worker that has just started has its free memory in one piece, and glibc's allocator takes the fewest instructions there. In a worker that
//! serves several requests at once, the memory that a client keeps lies between that of requests that are over. If the clients did not ask
//! beforehand, only logins would leave the heap so, and the bench would compare an NGINX that has served logins with an NGINX that has served no
//! request.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use fastrand::Rng;

use crate::exchange::{Client, Size};

/// Requests at a time.
pub const AT_ONCE: usize = 8;

/// Visitors that come, beside the clients that will be counted.
const VISITORS: usize = 100;

/// Requests that each client sends, those of its login not counted.
const ASKS: usize = 2;

/// The visitors of one proxy.
pub struct Visits {
    /// Visitors that stay, and wait.
    _stayed: Vec<Client>,
    /// The visitors that there were.
    pub count: usize,
}

/// A client that sends its requests now.
struct Guest {
    client: Client,
    /// The second request of its login, if that is still to be sent.
    leg: Option<Vec<u8>>,
    asked: usize,
    /// The bench counts requests of this client later.
    is_resident: bool,
}

/// Lets `residents`, which have logged in if there are `legs`, and visitors of a proxy ask for `sizes` at random, several at once. Visitors
/// log in where there are `legs`; most leave. The same `past` lets them do the same.
pub fn mingle(
    address: SocketAddr,
    legs: Option<&[Vec<u8>; 2]>,
    sizes: &[Size],
    past: u64,
    residents: &mut Vec<Client>,
) -> Result<Visits> {
    let mut random = Rng::with_seed(past);
    let mut places: [Option<Guest>; AT_ONCE] = Default::default();
    let mut waiting = std::mem::take(residents).into_iter();
    let (mut count, mut stayed) = (0, Vec::new());
    while waiting.len() > 0 || count < VISITORS || places.iter().any(Option::is_some) {
        let request = random.choice(sizes).map_or_else(Vec::new, |size| size.request());
        let Some(place) = random.choice(&mut places) else { continue };
        if let Some(guest) = place.take() {
            match guest.go_on(&request)? {
                Turn::Goes(guest) => *place = Some(guest),
                Turn::Over(client, true) => residents.push(client),
                Turn::Over(client, false) => {
                    if stayed.len() < AT_ONCE && random.bool() {
                        stayed.push(client);
                    }
                }
            }
        } else if random.usize(..waiting.len() + VISITORS - count + 1) < waiting.len() {
            *place = waiting.next().map(|client| Guest::resident(client, &request)).transpose()?;
        } else if count < VISITORS {
            count += 1;
            *place = Some(Guest::visitor(address, legs, &request)?);
        }
    }
    Ok(Visits { _stayed: stayed, count })
}

enum Turn {
    /// The client has sent its next request.
    Goes(Guest),
    /// The client has sent its last request. The flag is [`Guest::is_resident`].
    Over(Client, bool),
}

impl Guest {
    fn resident(mut client: Client, request: &[u8]) -> Result<Self> {
        client.send(request)?;
        Ok(Self { client, leg: None, asked: 1, is_resident: true })
    }

    fn visitor(address: SocketAddr, legs: Option<&[Vec<u8>; 2]>, request: &[u8]) -> Result<Self> {
        let mut client = Client::connect(address)?;
        let (first, leg) = match legs {
            Some([first, last]) => (first.as_slice(), Some(last.clone())),
            None => (request, None),
        };
        client.send(first)?;
        Ok(Self { client, leg, asked: 0, is_resident: false })
    }

    /// Reads the answer to its last request, and sends the next one unless it has asked enough.
    fn go_on(mut self, request: &[u8]) -> Result<Turn> {
        let (status, expected) = (self.client.answered()?, if self.leg.is_some() { 401 } else { 200 });
        ensure!(status == expected, "an answer is {status} in place of {expected}");
        match self.leg.take() {
            Some(leg) => self.client.send(&leg)?,
            None if self.asked == ASKS => return Ok(Turn::Over(self.client, self.is_resident)),
            None => {
                self.client.send(request)?;
                self.asked += 1;
            }
        }
        Ok(Turn::Goes(self))
    }
}
