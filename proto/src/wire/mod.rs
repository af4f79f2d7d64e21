//! The bytes between peers (BEP 3, 6, 10): handshake, messages, extension messages. Codecs only; what a message means
//! is decided in [`crate::swarm`]. Payload never enters: a `piece` message ends here at its 13-byte header.

mod extension;
mod handshake;
mod message;

pub use extension::{EXTENDED_HANDSHAKE_ID, ExtendedHandshake, ExtensionIds, dont_have_payload, parse_dont_have};
pub use handshake::{HANDSHAKE_LENGTH, Handshake, HandshakeError, Reserved};
pub use message::{BadLength, Decoded, Frame, FrameLimits, Message, PIECE_HEADER_LENGTH, decode};
