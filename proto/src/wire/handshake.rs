//! The first 68 bytes of a connection (BEP 3).

use crate::id::{InfoHash, PeerId};

/// Bytes of a handshake.
pub const HANDSHAKE_LENGTH: usize = 68;
const PROTOCOL: &[u8; 20] = b"\x13BitTorrent protocol";

/// The eight reserved bytes: what a peer can do beyond BEP 3.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Reserved {
    /// BEP 6, the fast extension.
    pub fast: bool,
    /// BEP 10, the extension protocol.
    pub extended: bool,
}

/// What each side says first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// The torrent that the connection is about.
    pub info_hash: InfoHash,
    /// Who speaks.
    pub peer_id: PeerId,
    /// What it can do.
    pub reserved: Reserved,
}

/// The other side does not speak BitTorrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a BitTorrent handshake")]
pub struct HandshakeError;

impl Handshake {
    /// The 68 bytes.
    pub fn encode(&self) -> [u8; HANDSHAKE_LENGTH] {
        let mut reserved = [0u8; 8];
        reserved[5] |= if self.reserved.extended { 0x10 } else { 0 };
        reserved[7] |= if self.reserved.fast { 0x04 } else { 0 };
        let mut out = [0; HANDSHAKE_LENGTH];
        let parts = PROTOCOL.iter().chain(&reserved).chain(&self.info_hash.0).chain(&self.peer_id.0);
        out.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
        out
    }

    /// Reads the 68 bytes.
    ///
    /// # Errors
    /// When the protocol name is another one.
    pub fn decode(bytes: &[u8; HANDSHAKE_LENGTH]) -> Result<Self, HandshakeError> {
        let (protocol, rest) = bytes.split_at(20);
        let (reserved, rest) = rest.split_at(8);
        let (info_hash, peer_id) = rest.split_at(20);
        if protocol != PROTOCOL {
            return Err(HandshakeError);
        }
        let bit = |index: usize, mask: u8| reserved.get(index).is_some_and(|byte| byte & mask != 0);
        Ok(Self {
            info_hash: InfoHash::from_slice(info_hash).ok_or(HandshakeError)?,
            peer_id: PeerId::from_slice(peer_id).ok_or(HandshakeError)?,
            reserved: Reserved { extended: bit(5, 0x10), fast: bit(7, 0x04) },
        })
    }

    /// Whether these first bytes can still become a handshake; lets a shell hang up on the first wrong byte.
    pub fn may_begin_with(bytes: &[u8]) -> bool {
        bytes.iter().zip(PROTOCOL).all(|(got, wanted)| got == wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_hex() {
        let reserved = Reserved { fast: true, extended: true };
        let handshake = Handshake { info_hash: InfoHash([1; 20]), peer_id: PeerId([2; 20]), reserved };
        let bytes = handshake.encode();
        assert_eq!(&bytes[..28], b"\x13BitTorrent protocol\0\0\0\0\0\x10\0\x04");
        assert_eq!(Handshake::decode(&bytes), Ok(handshake));
        for wrong in 0..20 {
            let mut bytes = bytes;
            bytes[wrong] ^= 1;
            assert_eq!(Handshake::decode(&bytes), Err(HandshakeError));
            assert!(!Handshake::may_begin_with(&bytes[..=wrong]) && Handshake::may_begin_with(&bytes[..wrong]));
        }
    }
}
