//! Clients of trackers, one a dialect, behind one call. The scheme of the announce URL picks the dialect.

pub mod http;
pub mod native;
pub mod udp;

use http::HttpTracker;
use native::NativeTracker;
use std::time::Duration;
use swarm_proto::announce::http::{SCRAPE_HASHES, ScrapeEntry};
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::id::InfoHash;
use swarm_proto::native::PeerList;
use swarm_proto::swarm::AnnounceJob;
use tokio::sync::mpsc::Sender;
use udp::UdpTracker;

const MASK: &str = "***";

/// The clients of all dialects; cheap to copy. Connections that a dialect keeps end with the last copy.
#[derive(Clone, Debug, Default)]
pub struct Trackers {
    http: HttpTracker,
    native: NativeTracker,
    udp: UdpTracker,
}

/// What a tracker counts of one torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Seeds.
    pub complete: u32,
    /// Leechers.
    pub incomplete: u32,
    /// How often it was completed; a native tracker does not say.
    pub downloaded: Option<u32>,
}

impl Trackers {
    /// Clients; nothing is opened before the first announce.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user has named these announce URLs: where they lead is not for us to judge (see [`HttpTracker::trust`]).
    pub fn trust(&self, urls: &[String]) {
        self.http.trust(urls);
    }

    /// The client of native trackers, for what they do beside announces.
    pub fn native(&self) -> &NativeTracker {
        &self.native
    }

    /// Asks a tracker for the counts of any number of torrents, as many at a time as a question holds: BEP 48 over HTTP, BEP 15 over
    /// UDP. The answer has them in the order of the question; what a tracker left out is missing. `timeout` is for each
    /// question.
    ///
    /// # Errors
    /// [`TrackerError`]; `Unsupported` for a URL whose scheme belongs to no dialect, and for a tracker without scrape.
    pub async fn scrape(&self, url: &str, hashes: &[InfoHash], timeout: Duration) -> Result<Vec<Counts>, TrackerError> {
        let mut found = Vec::new();
        for part in hashes.chunks(SCRAPE_HASHES) {
            let mut entries = match scheme(url).as_deref() {
                Some("http" | "https") => told(self.http.scrape(url, part, timeout).await?),
                Some("udp") => told(self.udp.scrape(url, part, timeout).await?),
                Some("native") => {
                    let lists = native::scrape(&native::parse(url)?, part, timeout).await?;
                    let counts = |(&info_hash, list): (&InfoHash, PeerList)| {
                        let PeerList { complete, incomplete, .. } = list;
                        Counts { info_hash, complete, incomplete, downloaded: None }
                    };
                    part.iter().zip(lists).map(counts).collect()
                }
                _ => return Err(TrackerError::Unsupported(url.to_owned())),
            };
            // An answer over HTTP comes in the order of the hashes, and may hold what nobody asked for.
            entries.sort_by_key(|entry| part.iter().position(|hash| *hash == entry.info_hash));
            found.extend(entries.into_iter().filter(|entry| part.contains(&entry.info_hash)));
        }
        Ok(found)
    }

    /// Makes one announce. Peers that a tracker tells of later, unasked, come over `pushed`.
    ///
    /// # Errors
    /// [`TrackerError`]; `Unsupported` for a URL whose scheme belongs to no dialect.
    pub async fn announce(
        &self,
        job: &AnnounceJob,
        pushed: &Sender<Vec<PeerAddress>>,
    ) -> Result<AnnounceReply, TrackerError> {
        match scheme(&job.url).as_deref() {
            Some("http" | "https") => self.http.announce(&job.url, &job.announce, job.timeout).await,
            Some("udp") => self.udp.announce(&job.url, &job.announce, job.timeout).await,
            Some("native") => self.native.announce(job, pushed).await,
            _ => Err(TrackerError::Unsupported(job.url.clone())),
        }
    }
}

/// A URL for logs: what may be a key, in its path, its query or in front of its host, is masked.
pub fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return MASK.to_owned() };
    let (address, query) = rest.split_once(['?', '#']).map_or((rest, ""), |(address, _)| (address, "?***"));
    let mut parts = address.split('/');
    let authority = parts.next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let path: String = parts
        .map(|part| if part.is_empty() || part == "announce" { part } else { MASK })
        .fold(String::new(), |path, part| path + "/" + part);
    format!("{scheme}://{host}{path}{query}")
}

fn scheme(url: &str) -> Option<String> {
    url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase())
}

fn told(entries: Vec<(InfoHash, ScrapeEntry)>) -> Vec<Counts> {
    let counts = |(info_hash, entry): (InfoHash, ScrapeEntry)| {
        let ScrapeEntry { complete, incomplete, downloaded } = entry;
        Counts { info_hash, complete, incomplete, downloaded: Some(downloaded) }
    };
    entries.into_iter().map(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_key_is_left_in_a_log() {
        for (url, told) in [
            ("http://h:6969/announce", "http://h:6969/announce"),
            ("https://me:word@h/KEY/announce?passkey=KEY#KEY", "https://h/***/announce?***"),
            ("http://h?KEY/announce", "http://h?***"),
            ("udp://[::1]:1/announce/KEY", "udp://[::1]:1/announce/***"),
            ("native://h:1/KEY/", "native://h:1/***/"),
            ("KEY", "***"),
        ] {
            assert_eq!(masked(url), told);
        }
    }
}
