//! Digests of what clients send, compared in place of the bytes themselves.
//!
//! The digests are keyed with randomness of the process: a client cannot choose bytes whose digest is another's.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// The digest of some byte strings; equal for equal strings in equal order, and otherwise different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Digest([u64; 2]);

impl Digest {
    /// Stands for the absence of any string.
    pub const NONE: Self = Digest([0; 2]);

    /// The digest as a string of its own, to go into another digest.
    pub fn to_bytes(self) -> [u8; 16] {
        let [[a, b, c, d, e, f, g, h], [i, j, k, l, m, n, o, p]] = self.0.map(u64::to_ne_bytes);
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }
}

/// The key of the digests of a process.
#[derive(Debug)]
pub struct Secret([RandomState; 2]);

impl Default for Secret {
    fn default() -> Self {
        Secret([RandomState::new(), RandomState::new()])
    }
}

impl Secret {
    /// The digest of `parts`.
    pub fn digest(&self, parts: &[&[u8]]) -> Digest {
        Digest(self.0.each_ref().map(|key| {
            let mut hasher = key.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_strings_have_equal_digests() {
        let secret = Secret::default();
        assert_eq!(secret.digest(&[b"GET", b"/"]), secret.digest(&[b"GET", b"/"]));
    }

    #[test]
    fn other_strings_have_other_digests() {
        let secret = Secret::default();
        let one = secret.digest(&[b"GET", b"/a"]);
        for other in
            [&[b"GE" as &[u8], b"T/a"][..], &[b"GET", b"/b"], &[b"GET/a"], &[b"GET", b"/a", b""], &[]]
        {
            assert_ne!(secret.digest(other), one, "{other:?}");
        }
        assert_ne!(Secret::default().digest(&[b"GET", b"/a"]), one);
        assert_ne!(one, Digest::NONE);
    }

    #[test]
    fn other_digests_have_other_bytes() {
        let secret = Secret::default();
        let bytes = |text: &[u8]| secret.digest(&[text]).to_bytes();
        assert_eq!(bytes(b"a"), bytes(b"a"));
        assert_ne!(bytes(b"a"), bytes(b"b"));
        assert_ne!(bytes(b"a"), Digest::NONE.to_bytes());
    }
}
