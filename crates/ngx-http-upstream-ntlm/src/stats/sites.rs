//! The servers that a line `proxy_ntlm` reaches, in memory that the workers share: the first few by name, the others together.
//!
//! Must never grow: clients may choose the names.

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use core::sync::atomic::{Ordering::Acquire, Ordering::Release};

use ntlm_core::binding::key as asked;

/// Servers that are shown by name.
const NAMED: usize = 8;
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
    /// 0 where the place is free.
    length: AtomicU32,
    name: [AtomicU8; LONGEST],
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
    /// Counts a binding to a server.
    pub fn count(&self, name: &Name) {
        let name = name.as_bytes();
        let known = self.named.iter().find(|site| site.name().is_some_and(|mine| mine.as_bytes() == name));
        let place = known.or_else(|| self.named.iter().find(|site| site.take(name)));
        place.map_or(&self.others, |site| &site.bound).fetch_add(1, Relaxed);
    }

    /// Calls `show` with each server and the bindings made to it.
    pub fn each(&self, mut show: impl FnMut(&Name, u64) -> fmt::Result) -> fmt::Result {
        for site in &self.named {
            if let Some(name) = site.name() {
                show(&name, site.bound.load(Relaxed))?;
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
            site.bound.store(0, Relaxed);
            site.length.store(0, Release);
        }
    }
}
