//! The two 20-byte names of BEP 3: the info hash of a torrent and the id of a peer.

use std::fmt;

/// Length in bytes of an info hash, a piece hash and a peer id.
pub const HASH_LENGTH: usize = 20;

/// SHA-1 over the original bytes of a metainfo's `info` value (BEP 3); names a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InfoHash(pub [u8; HASH_LENGTH]);

/// The 20 bytes by which a peer calls itself (BEP 3, BEP 20).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub [u8; HASH_LENGTH]);

/// One connection of one swarm, for as long as the swarm lives: keys are never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct PeerKey(pub u64);

impl InfoHash {
    /// Reads 40 hexadecimal digits, either case.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 2 * HASH_LENGTH {
            return None;
        }
        let mut hash = [0; HASH_LENGTH];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let [high, low] = pair else { return None };
            let value = (*high as char).to_digit(16)? << 4 | (*low as char).to_digit(16)?;
            *byte = u8::try_from(value).ok()?;
        }
        Some(Self(hash))
    }

    /// Takes exactly 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl PeerId {
    /// The client prefix of this engine (BEP 20, Azureus style).
    pub const PREFIX: &'static [u8; 8] = b"-SW0100-";

    /// A peer id of this client; `random` fills the twelve bytes behind the prefix.
    pub fn new(random: [u8; 12]) -> Self {
        let mut id = [0; HASH_LENGTH];
        for (to, from) in id.iter_mut().zip(Self::PREFIX.iter().chain(&random)) {
            *to = *from;
        }
        Self(id)
    }

    /// Takes exactly 20 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for InfoHash {
    /// 40 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for InfoHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PeerId {
    /// Printable bytes as they are, all others as `.`: safe for a terminal and a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|&byte| {
            let shown = if byte.is_ascii_graphic() { byte as char } else { '.' };
            write!(f, "{shown}")
        })
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_round_trips_and_refuses_the_rest() {
        let hash = InfoHash([0xab; 20]);
        assert_eq!(InfoHash::from_hex(&hash.to_string()), Some(hash));
        assert_eq!(InfoHash::from_hex(&hash.to_string().to_uppercase()), Some(hash));
        assert_eq!(InfoHash::from_hex("ab"), None);
        assert_eq!(InfoHash::from_hex(&"+1".repeat(20)), None);
    }

    #[test]
    fn peer_id_is_safe_to_print() {
        assert_eq!(PeerId::new(*b"\x1b[2Jabc\0\xff~ .").to_string(), "-SW0100-.[2Jabc..~..");
    }
}
