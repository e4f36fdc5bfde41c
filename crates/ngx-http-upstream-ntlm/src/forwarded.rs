//! The fields by which a proxy in front names its client: requests that differ in them are of different clients.

use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ntlm_core::binding::digest::Digest;

use crate::ngx::Request;
use crate::worker::with_table;

/// The names of the fields.
const FIELDS: [&[u8]; 3] = [b"x-forwarded-for", b"forwarded", b"x-real-ip"];

/// A client of this worker has sent one of them. Only from then on they are looked for, request by request.
static EXPECTED: AtomicBool = AtomicBool::new(false);

/// Notes that clients send these fields.
pub fn expect() {
    EXPECTED.store(true, Relaxed);
}

/// The digest of these fields of a request; [`Digest::NONE`] where it has none.
pub fn digest(r: Request) -> Digest {
    let mut digest = Digest::NONE;
    if EXPECTED.load(Relaxed) {
        for name in FIELDS {
            r.each_field(name, |value| {
                let before = digest.to_bytes();
                let parts: [&[u8]; 3] = [&before, name, value.as_bytes()];
                digest = with_table(|table| table.digest(&parts)).unwrap_or(digest);
            });
        }
    }
    digest
}
