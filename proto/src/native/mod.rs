//! The native tracker protocol: opcode frames over TCP, with a catalogue of named torrents and pushed peers.
//!
//! Owns the codec that the tracker and its clients share: [`decode`] cuts frames out of a stream, [`PeerMessage`] and
//! [`TrackerMessage`] are what the two sides say, [`NativeUrl`] is how a tracker or an entry of it is written. It never
//! decides what an answer is: that is the server's. `docs/native-protocol.md` specifies all of it; a test replays the
//! document's examples, so the two cannot drift apart.
//!
//! Invariant: no length from the wire is allocated or waited for before it has passed the bound of its opcode.

mod fields;
mod frame;
mod name;
mod passkey;
mod peers;
mod people;
mod person;
mod request;
mod response;
#[cfg(test)]
mod tests;
mod url;

pub use frame::{Consequence, Decoded, Frame, HEADER_LENGTH, NativeError, Sender, decode, frame_length_limit};
pub use name::{Name, NameError, Token};
pub use passkey::{Passkey, PasskeyError};
pub use people::{Person, PersonQuery, Registration, Relayed};
pub use person::{Challenge, Claim, PersonKey, PersonName, shutdown_proof};
pub use request::{ListQuery, Online, PeerMessage, Publication, Request, RequestId, Serve, Stop, TorrentKey, fold};
pub use response::{
    CatalogueEntry, CatalogueFile, PeerChange, PeerList, Refusal, RefusalCode, Response, Serving, Session,
    TrackerMessage,
};
pub use url::{DEFAULT_PORT, NativeUrl, NativeUrlError};

/// The version of the protocol that this crate speaks, the highest and the lowest.
pub const VERSION: u16 = 1;
