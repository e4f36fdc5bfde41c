//! A client that begins its login anew over another connection of HTTP/2 each time, as libsoup does with a POST.
//!
//! This client must never answer a challenge that came over HTTP/2.

use super::{Gone, Life, Living, LogIn, Lost, Over, Sending, Step, Wire, count, live, refuses};
use crate::client::Login;

/// The challenges to one request that a client has to leave unanswered before nginx may turn it back.
const ENOUGH: usize = 2;

impl Living<'_> {
    /// Sends the first leg of a login so many times, each time over a connection of its own, and goes on over HTTP/1.1 when nginx asks for it.
    pub(super) async fn begin_anew(&mut self, login: &LogIn, times: usize) -> Result<(), Gone> {
        let LogIn { ask, how, .. } = login;
        let (target, user) = (self.target(ask), self.life.user(ask.who, false));
        let judge = &self.world.judge;
        let client = Some(self.life.name.as_str());
        let mut challenges = 0;
        // libsoup leaves them open.
        let mut left = Vec::new();
        for _ in 0..times {
            let first = Login::new(how.scheme(), &user, "").first();
            let request = self.request(ask, &target).header(ask.door.field(), &first);
            match self.wire.exchange(request, None).await {
                Ok(response) => {
                    self.look(ask, &target, &response);
                    challenges += usize::from(refuses(response.status));
                }
                Err(Lost::TurnedBack) => {
                    count(&judge.counts.turned_back);
                    let may = challenges >= ENOUGH && !matches!(ask.body, Sending::Chunked(_));
                    if !may && !ask.body.is_empty() {
                        judge.find("answers", format!("{target} was turned back"), client, None);
                    }
                    let name = format!("{}h", self.life.name);
                    let steps = vec![Step::Login(login.clone())];
                    let life = Life { name, over: Over::Http1, steps, ..self.life.clone() };
                    Box::pin(live(self.world, &life)).await;
                    return Err(Gone);
                }
                Err(Lost::Gone(error)) => {
                    count(&judge.counts.unanswered);
                    if self.world.config.is_strict() {
                        judge.find("answers", format!("no answer to {target}: {error}"), client, None);
                    }
                    return Err(Gone);
                }
            }
            let Ok(wire) = Wire::connect(&self.world.doors, self.life).await else { return Err(Gone) };
            left.push(std::mem::replace(&mut self.wire, wire));
        }
        Err(Gone)
    }
}
