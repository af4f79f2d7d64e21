//! The HTTP dialect (BEP 3, 7, 23, 24, 31, 48) in pure form: URLs, queries and bencoded bodies, for clients and
//! servers.
//!
//! Owns the translation between [`Announce`](super::Announce), [`AnnounceReply`](super::AnnounceReply) and bytes. Never
//! sends anything. What comes from the other side is untrusted: every list and text has a bound, and every fault is an
//! error that says what is wrong.

mod query;
mod reply;
mod scrape;
mod write;

pub use query::{HttpAnnounce, PeerForm, QueryError, announce_url, parse_query};
pub use reply::{encode_failure, encode_reply, parse_reply};
pub use scrape::{SCRAPE_HASHES, ScrapeEntry, encode_scrape, parse_scrape, parse_scrape_query, scrape_url};
pub use write::{ReplyHead, decimal, write_failure, write_reply};

use super::TrackerError;
use crate::bencode::{Document, ScanLimits};

/// Some trackers end their answer with a line feed.
const LIMITS: ScanLimits = ScanLimits { trailing: true, ..ScanLimits::TRACKER_REPLY };

/// Scans an answer and names the usual things that are none.
fn scan(body: &[u8]) -> Result<Document<'_>, TrackerError> {
    let malformed = |text: &str| Err(TrackerError::Malformed(text.into()));
    match body.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => malformed("it is empty"),
        Some(b'<') => malformed("it is HTML, not bencoding; is this the announce URL?"),
        Some(b'd') => Document::scan(body, &LIMITS).map_err(|fault| TrackerError::Malformed(fault.to_string())),
        Some(_) => malformed("it is not a bencoded dictionary"),
    }
}
