//! The servers of a group, in memory that the workers share: the first few by name, the others together. Written to when a
//! connection is bound, and when its server ends it.
//!
//! Must never grow, since clients may choose the names that `proxy_ntlm` reaches; nor be written to by a request that a binding
//! serves.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use core::sync::atomic::{Ordering::Acquire, Ordering::Release};

use ntlm_core::binding::key as asked;

/// Servers that are shown by name.
const NAMED: usize = 16;
/// The longest name; of longer ones it is the beginning.
const LONGEST: usize = 96;
/// The length of a name that is being written.
const WRITTEN: u32 = u32::MAX;

/// The servers.
#[repr(C)]
pub struct Sites {
    named: [Site; NAMED],
    /// Bindings made to others.
    others: AtomicU64,
}

#[repr(C)]
struct Site {
    bound: AtomicU64,
    /// Bindings that the server ended.
    ended: AtomicU64,
    /// Bindings that the server ended in the middle of a request; they are among `ended` too.
    failed: AtomicU64,
    /// 0 where the place is free.
    length: AtomicU32,
    name: [AtomicU8; LONGEST],
}

/// The number of a server in [`Sites`]: that of its place, or more than there are.
#[derive(Clone, Copy, Debug)]
pub struct Number(u8);

impl Number {
    /// A server that is not shown by name.
    pub const OTHER: Number = Number(u8::MAX);
}

/// The numbers that `ntlm_status` shows of a server.
#[derive(Clone, Copy)]
pub struct Counted {
    /// Bindings made to it.
    pub bound: u64,
    /// Bindings that the server ended.
    pub ended: u64,
    /// Bindings that the server ended in the middle of a request; they are among `ended` too.
    pub failed: u64,
}

/// A name of a server, as it is shown.
pub struct Name {
    bytes: [u8; LONGEST],
    length: usize,
}

impl Name {
    /// That of a server as a URL names it.
    pub fn of(site: asked::Site<'_>) -> Self {
        let asked::Site { tls, host, port } = site;
        let mut name = Name { bytes: [0; LONGEST], length: 0 };
        name.push(if tls { b"https://" } else { b"http://" });
        if host.first() == Some(&b'/') {
            name.push(b"unix:");
        }
        name.push(host);
        if port != 0 {
            let _ = fmt::Write::write_fmt(&mut name, format_args!(":{port}"));
        }
        name
    }

    /// That of a server of a group, as `$upstream_addr` shows it.
    pub fn of_server(text: &[u8]) -> Self {
        let mut name = Name { bytes: [0; LONGEST], length: 0 };
        name.push(text);
        name
    }

    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if let Some(place) = self.bytes.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
        }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Write for Name {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Site {
    fn name(&self) -> Option<Name> {
        let length = self.length.load(Acquire);
        let mut name = Name { bytes: [0; LONGEST], length: 0 };
        for byte in self.name.iter().take(if length == WRITTEN { 0 } else { length as usize }) {
            name.push(&[byte.load(Relaxed)]);
        }
        (name.length != 0).then_some(name)
    }

    /// Takes a free place for a name.
    fn take(&self, name: &[u8]) -> bool {
        if self.length.compare_exchange(0, WRITTEN, Acquire, Relaxed).is_err() {
            return false;
        }
        for (mine, &other) in self.name.iter().zip(name) {
            mine.store(other, Relaxed);
        }
        self.length.store(u32::try_from(name.len()).unwrap_or(0), Release);
        true
    }
}

impl Sites {
    /// Counts a binding to a server, and gives the server's number.
    pub fn count(&self, name: &Name) -> Number {
        let name = name.as_bytes();
        let known =
            self.named.iter().position(|site| site.name().is_some_and(|mine| mine.as_bytes() == name));
        let place = known.or_else(|| self.named.iter().position(|site| site.take(name)));
        let site = place.and_then(|place| self.named.get(place));
        site.map_or(&self.others, |site| &site.bound).fetch_add(1, Relaxed);
        place.and_then(|place| u8::try_from(place).ok()).map_or(Number::OTHER, Number)
    }

    /// Counts a binding that its server ended: in the middle of a request, or not.
    pub fn count_end(&self, server: Number, failed: bool) {
        if let Some(site) = self.named.get(usize::from(server.0)) {
            site.ended.fetch_add(1, Relaxed);
            site.failed.fetch_add(u64::from(failed), Relaxed);
        }
    }

    /// Calls `show` with each server and what was counted of it.
    pub fn each(&self, mut show: impl FnMut(&Name, Counted) -> fmt::Result) -> fmt::Result {
        for site in &self.named {
            if let Some(name) = site.name() {
                let [bound, ended, failed] =
                    [&site.bound, &site.ended, &site.failed].map(|number| number.load(Relaxed));
                show(&name, Counted { bound, ended, failed })?;
            }
        }
        Ok(())
    }

    /// Bindings made to servers that are not shown by name.
    pub fn others(&self) -> u64 {
        self.others.load(Relaxed)
    }

    /// Forgets all of them.
    pub fn reset(&self) {
        self.others.store(0, Relaxed);
        for site in &self.named {
            for number in [&site.bound, &site.ended, &site.failed] {
                number.store(0, Relaxed);
            }
            site.length.store(0, Release);
        }
    }
}
