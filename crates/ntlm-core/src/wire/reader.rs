//! A cursor over bytes from outside.
//!
//! It must never look past the end of them, whatever the lengths inside claim, and never panic or allocate.

/// Bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Nothing is left.
    pub(crate) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The next `count` bytes; `None`, and nothing consumed, if there are fewer.
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    /// The next two bytes, the low one first.
    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.array()?))
    }

    /// The next four bytes, the low one first.
    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    /// The next element in DER (X.690 §8.1, §10.1): its tag, which must be a single octet, and its content.
    ///
    /// Of an element that claims to be longer than what is there, the content is what is there: so the start of a token
    /// can be read without the rest. The indefinite length is no DER, and lengths beyond 32 bits are refused.
    pub(crate) fn element(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = self.u8()?;
        let length = match self.u8()? {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x84 => {
                let octets = self.take(usize::from(long & 0x7f))?;
                octets.iter().fold(0, |length: usize, &octet| length << 8 | usize::from(octet))
            }
            _ => return None,
        };
        let content = self.take(length.min(self.0.len()))?;
        Some((tag, content))
    }

    /// The content of the next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element().filter(|&(found, _)| found == tag).map(|(_, content)| content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_their_low_byte_first() {
        let mut reader = Reader::new(&[1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((reader.u8(), reader.u16(), reader.u32()), (Some(1), Some(0x0302), Some(0x0706_0504)));
        assert!(reader.is_empty());
        assert_eq!((reader.u8(), reader.u16(), reader.u32(), reader.take(1)), (None, None, None, None));
    }

    #[test]
    fn length_has_up_to_four_octets() {
        for (bytes, expected) in [
            (&[4, 2, 7, 8, 9][..], Some((4, &[7, 8][..]))),
            (&[4, 0], Some((4, &[]))),
            (&[4, 0x81, 2, 7, 8], Some((4, &[7, 8]))),
            (&[4, 0x84, 0, 0, 0, 1, 7, 8], Some((4, &[7]))),
            (&[4, 0x80, 7, 0, 0], None),
            (&[4, 0x85, 0, 0, 0, 0, 1, 7], None),
            (&[4, 0xff], None),
            (&[4, 0x82, 1], None),
            (&[4], None),
            (&[], None),
        ] {
            assert_eq!(Reader::new(bytes).element(), expected, "{bytes:?}");
        }
    }

    #[test]
    fn an_element_ends_where_the_bytes_end() {
        assert_eq!(Reader::new(&[4, 5, 7, 8]).element(), Some((4, &[7, 8][..])));
        assert_eq!(Reader::new(&[4, 0x84, 0xff, 0xff, 0xff, 0xff, 7]).element(), Some((4, &[7][..])));
    }
}
