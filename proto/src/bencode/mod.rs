//! Bencoding (BEP 3): the one scanner that every byte from a peer, tracker or file passes first, and the encoder.
//!
//! [`Document::scan`] is iterative and borrows: it bounds size, depth and number of tokens before anything is
//! allocated by them, knows the raw span of every value (the info hash is taken over one), and says whether the input
//! was canonical. Where types are wanted, `serde_bencode` reads what has passed; it has no recursion limit itself.

mod encode;
mod scan;

pub use encode::Item;
pub use scan::{BencodeError, Document, Kind, ScanLimits, Value};
