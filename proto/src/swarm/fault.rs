//! The rules of the wire and what breaking each one costs.

/// A rule that a peer broke. The connection is closed with the rule named in the log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum PeerFault {
    /// A message whose length cannot be (BEP 3).
    #[error("message {0} of an impossible length")]
    Length(u8),
    /// A piece number that the torrent does not have.
    #[error("piece {0} does not exist")]
    NoSuchPiece(u32),
    /// A block outside its piece, empty, or larger than 128 KiB.
    #[error("block {1}+{2} of piece {0} does not exist")]
    NoSuchBlock(u32, u32, u32),
    /// A bitfield with spare bits set (BEP 3).
    #[error("malformed bitfield")]
    Bitfield,
    /// A bitfield, `have all` or `have none` again and again (BEP 3 and BEP 6 allow one).
    #[error("one bitfield after the other")]
    TooManyBitfields,
    /// A fast-extension message without the fast extension (BEP 6).
    #[error("a fast-extension message without the extension")]
    FastNotNegotiated,
    /// An extension message without the extension protocol (BEP 10).
    #[error("an extension message without the extension protocol")]
    ExtensionsNotNegotiated,
    /// An extension message that does not parse (BEP 10).
    #[error("malformed extension message")]
    Extension,
    /// A block of another length or at another offset than any that we ask for.
    #[error("a block that nobody asks for")]
    OddBlock,
    /// More blocks, or rejects (BEP 6), than could have been asked for.
    #[error("floods us with answers to what was not requested")]
    Unrequested,
    /// Requests for more than we said we would take, for what we lack, or while choked, again and again.
    #[error("floods us with requests")]
    RequestFlood,
    /// Every request rejected, again and again (BEP 6).
    #[error("rejects every request")]
    RejectsEverything,
    /// Takes requests, never answers.
    #[error("takes requests and never answers")]
    NeverAnswers,
    /// Floods the chat, or passes on what nobody has signed.
    #[error("floods the chat or forges in it")]
    Chat,
    /// A block of a piece that did not match its hash came from this peer.
    #[error("sent corrupt data")]
    CorruptData,
}
