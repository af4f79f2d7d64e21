//! The scanner: one pass, no recursion, a flat table of tokens.

use crate::limits;

/// What a scan may cost.
#[derive(Clone, Copy, Debug)]
pub struct ScanLimits {
    /// Bytes of the whole input.
    pub bytes: usize,
    /// Values and keys in it.
    pub tokens: usize,
    /// Lists and dictionaries within each other.
    pub depth: usize,
    /// Whether bytes may follow the value, as in `ut_metadata` (BEP 9) and in some metainfo files.
    pub trailing: bool,
}

impl ScanLimits {
    /// For a metainfo file; trailing bytes are seen in the wild.
    pub const METAINFO: Self = Self {
        bytes: limits::METAINFO_LENGTH,
        tokens: limits::METAINFO_TOKENS,
        depth: limits::BENCODE_DEPTH,
        trailing: true,
    };
    /// For the answer of a tracker.
    pub const TRACKER_REPLY: Self = Self {
        bytes: limits::TRACKER_REPLY_LENGTH,
        tokens: limits::TRACKER_REPLY_TOKENS,
        depth: limits::BENCODE_DEPTH,
        trailing: false,
    };
    /// For a BEP 10 message of a peer; metadata may follow its dictionary.
    pub const EXTENDED: Self =
        Self { bytes: limits::EXTENDED_LENGTH, tokens: 4_096, depth: limits::BENCODE_DEPTH, trailing: true };
}

/// What is wrong with bencoded input, and at which byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BencodeError {
    /// The input is larger than the limit (bytes).
    #[error("{length} bytes are more than the {limit} allowed")]
    TooLarge {
        /// Bytes of the input.
        length: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The input ends inside a value.
    #[error("ends too early, at byte {0}")]
    Truncated(usize),
    /// A string claims more bytes than are left.
    #[error("a string at byte {at} claims {claimed} bytes, {left} are left")]
    StringTooLong {
        /// Where the string starts.
        at: usize,
        /// Bytes claimed.
        claimed: u64,
        /// Bytes left.
        left: usize,
    },
    /// A byte that starts nothing.
    #[error("byte {0} starts no value")]
    Unexpected(usize),
    /// An integer or a length that is not one.
    #[error("bad number at byte {0}")]
    Number(usize),
    /// A dictionary key that is not a string.
    #[error("a dictionary key at byte {0} is not a string")]
    Key(usize),
    /// A dictionary key without a value.
    #[error("a dictionary ends after a key, at byte {0}")]
    MissingValue(usize),
    /// Lists and dictionaries nested too deep.
    #[error("nested deeper than {limit} at byte {at}")]
    TooDeep {
        /// Where the nesting went too far.
        at: usize,
        /// Levels allowed.
        limit: usize,
    },
    /// More values than allowed.
    #[error("more than {limit} values at byte {at}")]
    TooManyTokens {
        /// Where the count went too far.
        at: usize,
        /// Values allowed.
        limit: usize,
    },
    /// Bytes behind the value where none may be.
    #[error("bytes follow the value at byte {0}")]
    Trailing(usize),
}

/// The four kinds of bencoded values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `i…e`
    Integer,
    /// `N:…`
    Bytes,
    /// `l…e`
    List,
    /// `d…e`
    Dictionary,
}

/// One value: its raw span, and where its content starts (for a string) and which token follows it.
#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    start: u32,
    content: u32,
    end: u32,
    next: u32,
}

/// Scanned input: a value and everything in it, borrowed.
#[derive(Debug)]
pub struct Document<'a> {
    input: &'a [u8],
    tokens: Vec<Token>,
    canonical: bool,
}

/// One value of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub struct Value<'d> {
    input: &'d [u8],
    tokens: &'d [Token],
    index: usize,
}

impl<'a> Document<'a> {
    /// Checks the whole input and remembers where its values are.
    ///
    /// # Errors
    /// The first fault, with its byte offset.
    pub fn scan(input: &'a [u8], limits: &ScanLimits) -> Result<Self, BencodeError> {
        let limit = limits.bytes.min(u32::MAX as usize);
        if input.len() > limit {
            return Err(BencodeError::TooLarge { length: input.len(), limit });
        }
        let mut scanner = Scanner { input, at: 0, tokens: Vec::new(), open: Vec::new(), canonical: true };
        scanner.run(limits)?;
        if scanner.at < input.len() {
            if !limits.trailing {
                return Err(BencodeError::Trailing(scanner.at));
            }
            scanner.canonical = false;
        }
        Ok(Self { input, tokens: scanner.tokens, canonical: scanner.canonical })
    }

    /// The outermost value.
    pub fn root(&self) -> Value<'_> {
        Value { input: self.input, tokens: &self.tokens, index: 0 }
    }

    /// Whether keys are sorted and unique, numbers minimal, and nothing follows the value.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// The bytes behind the value.
    pub fn trailing(&self) -> &'a [u8] {
        let end = self.tokens.first().map_or(0, |token| token.end as usize);
        self.input.get(end..).unwrap_or_default()
    }
}

/// A list or dictionary that has not ended yet.
struct Open {
    token: usize,
    dictionary: bool,
    awaits_value: bool,
    last_key: Option<(usize, usize)>,
}

struct Scanner<'a> {
    input: &'a [u8],
    at: usize,
    tokens: Vec<Token>,
    open: Vec<Open>,
    canonical: bool,
}

impl Scanner<'_> {
    fn run(&mut self, limits: &ScanLimits) -> Result<(), BencodeError> {
        loop {
            let start = self.at;
            let byte = *self.input.get(start).ok_or(BencodeError::Truncated(start))?;
            if byte == b'e' && !self.open.is_empty() {
                self.close(start)?;
            } else {
                self.expect_place(start, byte)?;
                if self.tokens.len() >= limits.tokens {
                    return Err(BencodeError::TooManyTokens { at: start, limit: limits.tokens });
                }
                self.value(start, byte, limits)?;
            }
            if self.open.is_empty() {
                return Ok(());
            }
        }
    }

    /// Keys must be strings.
    fn expect_place(&self, start: usize, byte: u8) -> Result<(), BencodeError> {
        match self.open.last() {
            Some(open) if open.dictionary && !open.awaits_value && !byte.is_ascii_digit() => {
                Err(BencodeError::Key(start))
            }
            _ => Ok(()),
        }
    }

    fn value(&mut self, start: usize, byte: u8, limits: &ScanLimits) -> Result<(), BencodeError> {
        match byte {
            b'i' => {
                self.integer(start)?;
                self.push(Kind::Integer, start, start + 1);
                self.value_done();
            }
            b'0'..=b'9' => {
                let content = self.string(start)?;
                self.push(Kind::Bytes, start, content);
                self.key_or_value_done(content);
            }
            b'l' | b'd' => {
                if self.open.len() >= limits.depth {
                    return Err(BencodeError::TooDeep { at: start, limit: limits.depth });
                }
                let dictionary = byte == b'd';
                let token = self.tokens.len();
                self.at = start + 1;
                self.push(if dictionary { Kind::Dictionary } else { Kind::List }, start, start + 1);
                self.open.push(Open { token, dictionary, awaits_value: false, last_key: None });
            }
            _ => return Err(BencodeError::Unexpected(start)),
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "scan() refuses inputs beyond u32, and tokens are fewer")]
    fn push(&mut self, kind: Kind, start: usize, content: usize) {
        let next = self.tokens.len() as u32 + 1;
        self.tokens.push(Token { kind, start: start as u32, content: content as u32, end: self.at as u32, next });
    }

    #[expect(clippy::cast_possible_truncation, reason = "scan() refuses inputs beyond u32, and tokens are fewer")]
    fn close(&mut self, start: usize) -> Result<(), BencodeError> {
        let Some(open) = self.open.pop() else { return Err(BencodeError::Unexpected(start)) };
        if open.awaits_value {
            return Err(BencodeError::MissingValue(start));
        }
        self.at = start + 1;
        let next = self.tokens.len() as u32;
        if let Some(token) = self.tokens.get_mut(open.token) {
            token.end = self.at as u32;
            token.next = next;
        }
        self.value_done();
        Ok(())
    }

    fn value_done(&mut self) {
        if let Some(open) = self.open.last_mut() {
            open.awaits_value = false;
        }
    }

    fn key_or_value_done(&mut self, content: usize) {
        let Some(open) = self.open.last_mut() else { return };
        if !open.dictionary || open.awaits_value {
            open.awaits_value = false;
            return;
        }
        open.awaits_value = true;
        let span = |(from, to): (usize, usize)| self.input.get(from..to);
        let key = (content, self.at);
        if open.last_key.is_some_and(|last| span(last) >= span(key)) {
            self.canonical = false;
        }
        open.last_key = Some(key);
    }

    /// `i`, an optional minus, digits, `e`.
    fn integer(&mut self, start: usize) -> Result<(), BencodeError> {
        let negative = self.input.get(start + 1) == Some(&b'-');
        let first = start + 1 + usize::from(negative);
        let (digits, _) = self.digits(first)?;
        if self.input.get(first + digits) != Some(&b'e') {
            return Err(self.truncated_or(first + digits, BencodeError::Number(start)));
        }
        let leading_zero = self.input.get(first) == Some(&b'0');
        if leading_zero && (digits > 1 || negative) {
            self.canonical = false;
        }
        self.at = first + digits + 1;
        Ok(())
    }

    /// Digits, a colon, that many bytes. Returns where the bytes start.
    fn string(&mut self, start: usize) -> Result<usize, BencodeError> {
        let (digits, claimed) = self.digits(start)?;
        if self.input.get(start + digits) != Some(&b':') {
            return Err(self.truncated_or(start + digits, BencodeError::Number(start)));
        }
        if digits > 1 && self.input.get(start) == Some(&b'0') {
            self.canonical = false;
        }
        let content = start + digits + 1;
        let left = self.input.len() - content;
        let length = usize::try_from(claimed).ok().filter(|&length| length <= left);
        self.at = content + length.ok_or(BencodeError::StringTooLong { at: start, claimed, left })?;
        Ok(content)
    }

    /// The run of 1 to 20 digits at `start`: how many, and their value as far as it fits 64 bits.
    fn digits(&self, start: usize) -> Result<(usize, u64), BencodeError> {
        let rest = self.input.get(start..).unwrap_or_default();
        let digits = rest.iter().take(21).take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 20 {
            return Err(self.truncated_or(start + digits, BencodeError::Number(start)));
        }
        let value = rest
            .iter()
            .take(digits)
            .fold(0u64, |value, digit| value.saturating_mul(10).saturating_add(u64::from(digit.saturating_sub(b'0'))));
        Ok((digits, value))
    }

    fn truncated_or(&self, at: usize, error: BencodeError) -> BencodeError {
        if at >= self.input.len() { BencodeError::Truncated(self.input.len()) } else { error }
    }
}

impl<'d> Value<'d> {
    fn token(&self) -> Option<&'d Token> {
        self.tokens.get(self.index)
    }

    fn of_kind(&self, kind: Kind) -> Option<&'d Token> {
        self.token().filter(|token| token.kind == kind)
    }

    /// What kind of value this is.
    pub fn kind(&self) -> Kind {
        self.token().map_or(Kind::Bytes, |token| token.kind)
    }

    /// The bytes of the value as they stand in the input, frame included.
    pub fn raw(&self) -> &'d [u8] {
        let span = self.token().map(|token| token.start as usize..token.end as usize);
        span.and_then(|span| self.input.get(span)).unwrap_or_default()
    }

    /// Offset of the value in the input.
    pub fn offset(&self) -> usize {
        self.token().map_or(0, |token| token.start as usize)
    }

    /// The content of a string.
    pub fn as_bytes(&self) -> Option<&'d [u8]> {
        let token = self.of_kind(Kind::Bytes)?;
        self.input.get(token.content as usize..token.end as usize)
    }

    /// The content of a string that is UTF-8.
    pub fn as_str(&self) -> Option<&'d str> {
        std::str::from_utf8(self.as_bytes()?).ok()
    }

    /// An integer that fits 64 bits with a sign.
    pub fn as_i64(&self) -> Option<i64> {
        self.digits()?.parse().ok()
    }

    /// An integer that fits 64 bits without a sign.
    pub fn as_u64(&self) -> Option<u64> {
        self.digits()?.parse().ok()
    }

    fn digits(&self) -> Option<&'d str> {
        let token = self.of_kind(Kind::Integer)?;
        let digits = self.input.get(token.content as usize..(token.end as usize).checked_sub(1)?)?;
        std::str::from_utf8(digits).ok()
    }

    /// The values of a list.
    pub fn items(&self) -> Option<impl Iterator<Item = Value<'d>> + use<'d>> {
        self.of_kind(Kind::List).map(|_| self.children())
    }

    /// The keys and values of a dictionary, in the order of the input, duplicates included.
    pub fn entries(&self) -> Option<impl Iterator<Item = (&'d [u8], Value<'d>)> + use<'d>> {
        self.of_kind(Kind::Dictionary)?;
        let mut children = self.children();
        Some(std::iter::from_fn(move || {
            let key = children.next()?.as_bytes()?;
            Some((key, children.next()?))
        }))
    }

    /// The value of a key of a dictionary; of duplicate keys the first, as libtorrent reads them.
    pub fn get(&self, key: &[u8]) -> Option<Value<'d>> {
        self.entries()?.find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn children(&self) -> impl Iterator<Item = Value<'d>> + use<'d> {
        let parent = *self;
        let end = parent.token().map_or(0, |token| token.next as usize);
        let mut index = parent.index + 1;
        std::iter::from_fn(move || {
            if index >= end {
                return None;
            }
            let child = Value { index, ..parent };
            index = child.token()?.next as usize;
            Some(child)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: ScanLimits = ScanLimits { bytes: 1 << 20, tokens: 1_000, depth: 100, trailing: false };

    fn fault(input: &[u8]) -> BencodeError {
        Document::scan(input, &STRICT).unwrap_err()
    }

    #[test]
    fn reads_what_is_there() {
        let document = Document::scan(b"d1:ai-42e1:bl3:cowi7ee1:cd0:0:ee", &STRICT).unwrap();
        let root = document.root();
        assert!(document.is_canonical());
        assert_eq!(root.get(b"a").unwrap().as_i64(), Some(-42));
        assert_eq!(root.get(b"a").unwrap().as_u64(), None);
        let list: Vec<_> = root.get(b"b").unwrap().items().unwrap().collect();
        assert_eq!(list[0].as_str(), Some("cow"));
        assert_eq!(list[1].as_u64(), Some(7));
        assert_eq!(root.get(b"c").unwrap().raw(), b"d0:0:e");
        assert!(root.get(b"d").is_none());
        assert_eq!(root.entries().unwrap().count(), 3);
        assert_eq!(root.raw().len(), 32);
    }

    #[test]
    fn every_cut_is_an_error() {
        let whole = b"d1:ai-42e1:bl3:cowi7ee1:cd0:0:ee";
        for end in 0..whole.len() {
            assert!(Document::scan(&whole[..end], &STRICT).is_err(), "{end}");
        }
    }

    #[test]
    fn hostile_inputs_are_named() {
        assert_eq!(fault(&vec![b'l'; 100_000]), BencodeError::TooDeep { at: 100, limit: 100 });
        assert_eq!(fault(b"99000000000:x"), BencodeError::StringTooLong { at: 0, claimed: 99_000_000_000, left: 1 });
        assert_eq!(
            fault(b"99999999999999999999:x").to_string(),
            "a string at byte 0 claims 18446744073709551615 bytes, 1 are left"
        );
        assert_eq!(fault(b"d1:a"), BencodeError::Truncated(4));
        assert_eq!(fault(b"d1:ae"), BencodeError::MissingValue(4));
        assert_eq!(fault(b"di1ei2ee"), BencodeError::Key(1));
        assert_eq!(fault(b"i+5e"), BencodeError::Number(1));
        assert_eq!(fault(b"ie"), BencodeError::Number(1));
        assert_eq!(fault(b"i-e"), BencodeError::Number(2));
        assert_eq!(fault(b"i5"), BencodeError::Truncated(2));
        assert_eq!(fault(&[b'1'; 30]), BencodeError::Number(0));
        assert_eq!(fault(b"x"), BencodeError::Unexpected(0));
        assert_eq!(fault(b"e"), BencodeError::Unexpected(0));
        assert_eq!(fault(b"i1ei2e"), BencodeError::Trailing(3));
        assert_eq!(
            fault(&[b"l".as_slice(), &b"i1e".repeat(2_000), b"e"].concat()),
            BencodeError::TooManyTokens { at: 2_998, limit: 1_000 }
        );
    }

    #[test]
    fn what_is_tolerated_is_not_canonical() {
        for input in [b"i-0e".as_slice(), b"i05e", b"03:cow", b"d1:bi1e1:ai2ee", b"d1:ai1e1:ai2ee"] {
            assert!(!Document::scan(input, &STRICT).unwrap().is_canonical(), "{input:?}");
        }
        let trailing = Document::scan(b"i1exy", &ScanLimits { trailing: true, ..STRICT }).unwrap();
        assert_eq!((trailing.is_canonical(), trailing.trailing()), (false, b"xy".as_slice()));
        let twice = Document::scan(b"d1:ai1e1:ai2ee", &STRICT).unwrap();
        assert_eq!(twice.root().get(b"a").unwrap().as_i64(), Some(1));
        assert_eq!(Document::scan(b"i18446744073709551615e", &STRICT).unwrap().root().as_u64(), Some(u64::MAX));
        assert_eq!(Document::scan(b"i99999999999999999999e", &STRICT).unwrap().root().as_u64(), None);
    }
}
