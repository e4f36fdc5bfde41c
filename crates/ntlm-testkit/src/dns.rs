//! A DNS server with names of the test's own, for `resolver`.
//!
//! It must never answer for a name that the test has not told it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::background::runtime;

/// The names that every server knows: what ends so is 127.0.0.1.
const LOCAL: &str = ".local.test";

/// A server on a free port of 127.0.0.1. It ends when it is dropped.
#[derive(Debug)]
pub struct Dns {
    address: SocketAddr,
    told: Arc<Mutex<Told>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Told {
    names: HashMap<String, Vec<Ipv4Addr>>,
    questions: usize,
}

impl Dns {
    /// Starts one; panics if it cannot listen.
    pub async fn start() -> Self {
        let told = Arc::<Mutex<Told>>::default();
        let (answers, (sender, receiver)) = (told.clone(), tokio::sync::oneshot::channel());
        let task = runtime().spawn(async move {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a free port of 127.0.0.1");
            let _ = sender.send(socket.local_addr().expect("the address of a socket"));
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let answer = answers.lock().unwrap().answer(&buffer[..length]);
                if let Some(answer) = answer {
                    let _ = socket.send_to(&answer, from).await;
                }
            }
        });
        Self { address: receiver.await.expect("a DNS server"), told, task }
    }

    /// The address for the directive `resolver`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Lets a name have these addresses from now on.
    pub fn set(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an IPv4 address")).collect();
        self.told.lock().unwrap().names.insert(name.to_owned(), addresses);
    }

    /// Questions for addresses so far.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.told.lock().unwrap().questions
    }

    /// Answers no more.
    pub fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Told {
    /// The answer to a query with one question (RFC 1035 section 4); `None` for what is none.
    fn answer(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let (mut name, mut at) = (String::new(), 12);
        while let length @ 1.. = usize::from(*query.get(at)?) {
            let label = std::str::from_utf8(query.get(at + 1..at + 1 + length)?).ok()?;
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&label.to_lowercase());
            at += 1 + length;
        }
        let kind = query.get(at + 1..at + 3)?;
        let question = query.get(12..at + 5)?;
        let mut addresses = match self.names.get(&name) {
            Some(addresses) => Some(addresses.clone()),
            None if name.ends_with(LOCAL) => Some(vec![Ipv4Addr::LOCALHOST]),
            None => None,
        };
        if kind == [0, 1] {
            self.questions += 1;
        } else if let Some(addresses) = &mut addresses {
            addresses.clear();
        }
        // A response, authoritative, with recursion; 3: there is no such name.
        let code = if addresses.is_some() { 0 } else { 3 };
        let addresses = addresses.unwrap_or_default();
        let mut answer = query[..2].to_vec();
        answer.extend([0x85, 0x80 | code, 0, 1, 0, u8::try_from(addresses.len()).ok()?, 0, 0, 0, 0]);
        answer.extend(question);
        for address in addresses {
            // The name of the question, an address of the Internet, for a second.
            answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4]);
            answer.extend(address.octets());
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 8, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn known_name_has_its_addresses() {
        let mut told = Told::default();
        told.names
            .insert("app.test".to_owned(), vec!["127.0.0.2".parse().unwrap(), "127.0.0.3".parse().unwrap()]);
        let answer = told.answer(&query("App.test", 1)).unwrap();
        assert_eq!(answer[..8], [7, 8, 0x85, 0x80, 0, 1, 0, 2]);
        assert!(answer.ends_with(&[127, 0, 0, 3]));
        assert_eq!(told.answer(&query("app.test", 28)).unwrap()[6..8], [0, 0]);
        assert_eq!(told.questions, 1);
    }

    #[test]
    fn other_names_are_unknown() {
        let mut told = Told::default();
        assert_eq!(told.answer(&query("app.test", 1)).unwrap()[3], 0x83);
        assert_eq!(told.answer(&query("x.local.test", 1)).unwrap()[3], 0x80);
        assert_eq!(told.answer(b"short"), None);
    }
}
