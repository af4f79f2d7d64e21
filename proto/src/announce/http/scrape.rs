//! Scrape (BEP 48), written and read.

use super::query::{QueryError, http_url, is_name, parameters, twenty_bytes};
use super::reply::check_refusal;
use super::scan;
use crate::announce::TrackerError;
use crate::bencode::{Item, Value};
use crate::id::InfoHash;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

/// Torrents that one scrape may name: as many as fit one datagram of BEP 15, so that all dialects agree.
pub const SCRAPE_HASHES: usize = 74;

/// What a scrape says of one torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScrapeEntry {
    /// Seeds in the swarm.
    pub complete: u32,
    /// Leechers in the swarm.
    pub incomplete: u32,
    /// Peers that have completed the torrent so far.
    pub downloaded: u32,
}

/// The URL of a scrape of these torrents (at most [`SCRAPE_HASHES`], the others are left out).
///
/// `None` if the tracker has no scrape: the last element of its announce URL's path does not start with `announce`.
pub fn scrape_url(base: &str, hashes: &[InfoHash]) -> Option<String> {
    let mut url = http_url(base).ok()?;
    let (folder, page) = url.path().rsplit_once('/')?;
    let path = format!("{folder}/scrape{}", page.strip_prefix("announce")?);
    url.set_path(&path);
    let escape = |hash: &InfoHash| format!("info_hash={}", percent_encode(&hash.0, NON_ALPHANUMERIC));
    let named: Vec<String> = hashes.iter().take(SCRAPE_HASHES).map(escape).collect();
    let query = url.query().filter(|query| !query.is_empty()).map(str::to_owned).into_iter().chain(named);
    let query = query.collect::<Vec<_>>().join("&");
    url.set_query(Some(&query));
    Some(url.to_string())
}

/// Reads the query of a scrape.
///
/// # Errors
/// No hash at all (nobody gets the whole tracker), a malformed one, or more than [`SCRAPE_HASHES`].
pub fn parse_scrape_query(query: impl AsRef<[u8]>) -> Result<Vec<InfoHash>, QueryError> {
    let mut hashes = Vec::new();
    for (_, value) in parameters(query.as_ref())?.filter(|(name, _)| is_name(name, b"info_hash")) {
        if hashes.len() == SCRAPE_HASHES {
            return Err(QueryError::TooManyHashes);
        }
        hashes.push(InfoHash(twenty_bytes(Some(value), "info_hash")?));
    }
    if hashes.is_empty() { Err(QueryError::Missing("info_hash")) } else { Ok(hashes) }
}

/// Bencodes the answer to a scrape.
pub fn encode_scrape(entries: &[(InfoHash, ScrapeEntry)]) -> Vec<u8> {
    let files = entries.iter().map(|(hash, entry)| {
        let counts = [
            ("complete", entry.complete.into()),
            ("downloaded", entry.downloaded.into()),
            ("incomplete", entry.incomplete.into()),
        ];
        (hash.0, Item::dictionary(counts))
    });
    Item::dictionary([("files", Item::dictionary(files))]).encode()
}

/// Reads the answer to a scrape; torrents beyond [`SCRAPE_HASHES`] and malformed names are left out.
///
/// # Errors
/// [`TrackerError::Refused`] for a `failure reason`, [`TrackerError::Malformed`] for what is no answer.
pub fn parse_scrape(body: &[u8]) -> Result<Vec<(InfoHash, ScrapeEntry)>, TrackerError> {
    let document = scan(body)?;
    let root = document.root();
    check_refusal(root)?;
    let files = root.get(b"files").and_then(|files| files.entries());
    let files = files.ok_or_else(|| TrackerError::Malformed("it has no files".into()))?;
    Ok(files
        .filter_map(|(name, value)| Some((InfoHash::from_slice(name)?, entry(value))))
        .take(SCRAPE_HASHES)
        .collect())
}

fn entry(value: Value<'_>) -> ScrapeEntry {
    let count = |key: &[u8]| {
        let count = value.get(key).and_then(|count| count.as_u64()).unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    ScrapeEntry { complete: count(b"complete"), incomplete: count(b"incomplete"), downloaded: count(b"downloaded") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InfoHash = InfoHash([b'a'; 20]);
    const B: InfoHash = InfoHash([0xff; 20]);

    #[test]
    fn the_url_follows_the_announce_url() {
        let url = |base| scrape_url(base, &[A]);
        let hash = "info_hash=aaaaaaaaaaaaaaaaaaaa";
        assert_eq!(url("http://t/announce"), Some(format!("http://t/scrape?{hash}")));
        assert_eq!(url("http://t/x/announce.php?k=1"), Some(format!("http://t/x/scrape.php?k=1&{hash}")));
        assert_eq!(url("http://t/a"), None);
        assert_eq!(url("http://t/announce?x2%0644"), Some(format!("http://t/scrape?x2%0644&{hash}")));
        assert_eq!(url("http://t/x/y?announce/announce"), None);
        assert_eq!(url("udp://t/announce"), None);
    }

    #[test]
    fn queries_are_read_and_bounded() {
        let written = scrape_url("http://t/announce", &[A, B]).unwrap();
        assert_eq!(parse_scrape_query(written.split_once('?').unwrap().1), Ok(vec![A, B]));
        assert_eq!(parse_scrape_query(""), Err(QueryError::Missing("info_hash")));
        assert_eq!(parse_scrape_query("info_hash=a"), Err(QueryError::Invalid("info_hash")));
        let many = vec!["info_hash=aaaaaaaaaaaaaaaaaaaa"; SCRAPE_HASHES + 1].join("&");
        assert_eq!(parse_scrape_query(&many), Err(QueryError::TooManyHashes));
    }

    #[test]
    fn answers_are_read_again() {
        let entries = [(A, ScrapeEntry { complete: 1, incomplete: 2, downloaded: 3 }), (B, ScrapeEntry::default())];
        let body = encode_scrape(&entries);
        assert!(body.starts_with(b"d5:filesd20:aaaaaaaaaaaaaaaaaaaad8:completei1e10:downloadedi3e10:incompletei2ee"));
        assert_eq!(parse_scrape(&body), Ok(entries.to_vec()));
        assert!(matches!(parse_scrape(b"de"), Err(TrackerError::Malformed(_))));
        assert!(matches!(parse_scrape(b"d14:failure reason2:noe"), Err(TrackerError::Refused { .. })));
        assert_eq!(parse_scrape(b"d5:filesd1:ai1eee"), Ok(Vec::new()));
    }
}
