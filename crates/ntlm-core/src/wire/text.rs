//! Names out of NTLMSSP messages, and how they are shown to people.
//!
//! The bytes come from the network: nothing shown may end a log line, hide what follows, or be longer than asked for.

use core::fmt::{self, Write as _};

/// A name as the message carries it: UTF-16LE or the sender's OEM character set (MS-NLMP §2.2).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Text<'a> {
    bytes: &'a [u8],
    unicode: bool,
}

impl<'a> Text<'a> {
    /// Bytes in UTF-16LE.
    pub fn unicode(bytes: &'a [u8]) -> Self {
        Self { bytes, unicode: true }
    }

    /// Bytes in the sender's OEM character set, which no message names. ASCII is the same in all of them; others are
    /// taken for UTF-8, which is what clients outside of Windows send.
    pub fn oem(bytes: &'a [u8]) -> Self {
        Self { bytes, unicode: false }
    }

    /// There is no name.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The characters; U+FFFD for what is none, such as an unpaired surrogate or half of a UTF-16 unit.
    pub fn chars(self) -> impl Iterator<Item = char> + Clone + 'a {
        let (wide, narrow): (&[u8], &[u8]) = if self.unicode { (self.bytes, &[]) } else { (&[], self.bytes) };
        let units = wide.chunks(2).map(|unit| match *unit {
            [low, high] => u16::from_le_bytes([low, high]),
            // A lone surrogate stands for the half unit: it decodes to U+FFFD.
            _ => 0xdc00,
        });
        let wide = char::decode_utf16(units).map(|char| char.unwrap_or(char::REPLACEMENT_CHARACTER));
        let narrow = narrow.utf8_chunks().flat_map(|chunk| {
            let invalid = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
            chunk.valid().chars().chain(invalid)
        });
        wide.chain(narrow)
    }

    /// The name for a log, a variable or a page: UTF-8, control characters written as `\x0A`, those that turn the
    /// direction of writing or part lines as `\u202E`, and at most `limit` bytes, with `…` at the end where it was cut.
    pub fn shown(self, limit: usize) -> Shown<'a> {
        Shown { text: self, limit }
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.shown(256))
    }
}

/// See [`Text::shown`].
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    text: Text<'a>,
    limit: usize,
}

const CUT: char = '…';

impl Shown<'_> {
    /// The bytes that `Display` writes.
    pub fn len(&self) -> usize {
        let mut length = Length(0);
        // Counting cannot fail.
        let _ = write!(length, "{self}");
        length.0
    }

    /// There is no name.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    fn pieces(&self) -> impl Iterator<Item = Piece> + Clone {
        self.text.chars().map(Piece::of)
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut room = self.limit;
        let fits = self.pieces().all(|piece| match room.checked_sub(piece.len()) {
            Some(rest) => {
                room = rest;
                true
            }
            None => false,
        });
        if fits {
            return self.pieces().try_for_each(|piece| piece.write(f));
        }
        let Some(mut room) = self.limit.checked_sub(CUT.len_utf8()) else { return Ok(()) };
        for piece in self.pieces() {
            let Some(rest) = room.checked_sub(piece.len()) else { break };
            piece.write(f)?;
            room = rest;
        }
        f.write_char(CUT)
    }
}

/// One character as it is shown.
#[derive(Clone, Copy)]
enum Piece {
    Plain(char),
    /// `\x0A`
    Control(u32),
    /// `\u202E`
    Format(u32),
}

impl Piece {
    fn of(char: char) -> Self {
        match char {
            _ if char.is_control() => Self::Control(char.into()),
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                Self::Format(char.into())
            }
            _ => Self::Plain(char),
        }
    }

    fn len(self) -> usize {
        match self {
            Self::Plain(char) => char.len_utf8(),
            Self::Control(_) => r"\x0A".len(),
            Self::Format(_) => r"\u202E".len(),
        }
    }

    fn write(self, out: &mut impl fmt::Write) -> fmt::Result {
        match self {
            Self::Plain(char) => out.write_char(char),
            Self::Control(code) => write!(out, "\\x{code:02X}"),
            Self::Format(code) => write!(out, "\\u{code:04X}"),
        }
    }
}

struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn names_are_shown_as_they_are() {
        for name in ["alice", "Zoë", "Ωμέγα", "用户", "🦀", "alice@corp.example", "CORP\\alice", "a b"]
        {
            assert_eq!(Text::unicode(&utf16(name)).shown(64).to_string(), name);
            assert_eq!(Text::oem(name.as_bytes()).shown(64).to_string(), name);
        }
    }

    #[test]
    fn shown_text_stays_on_its_line() {
        let hostile = "a\nb\r\t\0\u{1b}[2J\u{7f}\u{85}\u{2028}\u{202e}\u{2066}\u{200f}";
        let shown = r"a\x0Ab\x0D\x09\x00\x1B[2J\x7F\x85\u2028\u202E\u2066\u200F";
        assert_eq!(Text::unicode(&utf16(hostile)).shown(256).to_string(), shown);
        assert_eq!(Text::oem(hostile.as_bytes()).shown(256).to_string(), shown);
        assert_eq!(format!("{:?}", Text::oem(b"a\n")), "\"a\\x0A\"");
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        for (bytes, shown) in [
            (&[0x00, 0xd8, b'a', 0][..], "\u{fffd}a"),
            (&[0x00, 0xdc, b'a', 0], "\u{fffd}a"),
            (&[b'a', 0, 0x00, 0xd8], "a\u{fffd}"),
            (&[b'a', 0, b'b'], "a\u{fffd}"),
            (&[0x3d, 0xd8, 0x00, 0xde], "😀"),
        ] {
            assert_eq!(Text::unicode(bytes).shown(64).to_string(), shown);
        }
        assert_eq!(Text::oem(&[b'Z', b'o', 0xeb, b'!']).shown(64).to_string(), "Zo\u{fffd}!");
    }

    #[test]
    fn what_is_too_long_is_cut_between_characters() {
        let name = Text::oem(b"alice");
        assert_eq!(name.shown(5).to_string(), "alice");
        assert_eq!(name.shown(4).to_string(), "a…");
        assert_eq!(name.shown(3).to_string(), "…");
        assert_eq!(name.shown(2).to_string(), "");
        // Neither half an escape nor half a character.
        assert_eq!(Text::oem(b"a\nbcd").shown(7).to_string(), "a…");
        assert_eq!(Text::oem("aéééé".as_bytes()).shown(7).to_string(), "aé…");
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_line_within_the_limit(bytes: Vec<u8>, unicode: bool, limit in 0_usize..80) {
            let text = if unicode { Text::unicode(&bytes) } else { Text::oem(&bytes) };
            let shown = text.shown(limit);
            let written = shown.to_string();
            prop_assert!(written.len() <= limit);
            prop_assert_eq!(shown.len(), written.len());
            prop_assert!(!written.chars().any(char::is_control));
        }
    }
}
