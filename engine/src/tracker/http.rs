//! The client of HTTP trackers (BEP 3, 7, 23, 24, 31, 48).
//!
//! Sends what [`swarm_proto::announce::http`] has written and reads what came with it. Decides nothing about when and
//! where.

use crate::web::{Fetched, Web, WebError};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use swarm_proto::announce::http::{ScrapeEntry, announce_url, parse_reply, parse_scrape, scrape_url};
use swarm_proto::announce::{Announce, AnnounceReply, Reach, TrackerError};
use swarm_proto::id::InfoHash;
use swarm_proto::limits;
use url::Url;

/// The lengths of a key in a path: shorter ones are words that other services understand.
const KEY_LENGTHS: std::ops::RangeInclusive<usize> = 16..=64;

/// A client of all HTTP trackers; cheap to copy.
#[derive(Clone, Debug, Default)]
pub struct HttpTracker {
    web: Web,
    named: Named,
}

/// The announce URLs that the user has named.
#[derive(Clone, Default)]
struct Named(Arc<RwLock<HashSet<String>>>);

impl HttpTracker {
    /// A client; nothing is opened before the first announce.
    pub fn new() -> Self {
        Self::default()
    }

    /// The user has named these announce URLs: they are asked on this machine too, whatever their paths. For this client
    /// and all its copies.
    pub fn trust(&self, urls: &[String]) {
        self.named.0.write().unwrap_or_else(PoisonError::into_inner).extend(urls.iter().cloned());
    }

    /// Announces once to the tracker at `url` and waits for the answer at most for `timeout`.
    ///
    /// Loopback peers are left out of an answer that does not come from this machine.
    ///
    /// # Errors
    /// [`TrackerError`], also for a URL on this machine that does not look like a tracker's, unless the user has named it
    /// ([`HttpTracker::trust`]): no metainfo shall make us talk to other services here.
    pub async fn announce(
        &self,
        url: &str,
        announce: &Announce,
        timeout: Duration,
    ) -> Result<AnnounceReply, TrackerError> {
        let fetched = self.get(&announce_url(url, announce)?, self.least_reach(url)?, timeout).await?;
        let mut reply = read(&fetched, parse_reply)?;
        if fetched.remote.is_some_and(|remote| reach(&remote) > Reach::Loopback) {
            reply.peers.retain(|peer| reach(&peer.address) > Reach::Loopback);
        }
        Ok(reply)
    }

    /// Asks for the counts of these torrents.
    ///
    /// # Errors
    /// [`TrackerError`]; `Unsupported` if the tracker has no scrape (BEP 48).
    pub async fn scrape(
        &self,
        url: &str,
        hashes: &[InfoHash],
        timeout: Duration,
    ) -> Result<Vec<(InfoHash, ScrapeEntry)>, TrackerError> {
        let least = self.least_reach(url)?;
        let url = scrape_url(url, hashes).ok_or_else(|| TrackerError::Unsupported(format!("a scrape of {url}")))?;
        let fetched = self.get(&url, least, timeout).await?;
        read(&fetched, parse_scrape)
    }

    /// A page beside the announces of the tracker at `url`, such as `stats`; its body. For people who name the tracker
    /// themselves: it may be on this machine.
    ///
    /// # Errors
    /// [`TrackerError`]; `Failed` for a status that is no success.
    pub async fn page(&self, url: &str, page: &str, timeout: Duration) -> Result<Vec<u8>, TrackerError> {
        let wrong = |_| TrackerError::Unsupported(url.into());
        let mut url = Url::parse(url).map_err(wrong)?;
        url.set_query(None);
        url.set_path(page);
        let fetched = self.get(url.as_str(), Reach::Loopback, timeout).await?;
        match fetched.status.is_success() {
            true => Ok(fetched.body.to_vec()),
            false => Err(TrackerError::Failed(format!("HTTP status {}", fetched.status))),
        }
    }

    /// How far the server behind an announce URL must reach.
    fn least_reach(&self, url: &str) -> Result<Reach, TrackerError> {
        if self.named.0.read().unwrap_or_else(PoisonError::into_inner).contains(url) {
            return Ok(Reach::Loopback);
        }
        let parsed = Url::parse(url).map_err(|_| TrackerError::Unsupported(url.into()))?;
        Ok(if is_announce(parsed.path()) { Reach::Loopback } else { Reach::Private })
    }

    async fn get(&self, url: &str, least: Reach, timeout: Duration) -> Result<Fetched, TrackerError> {
        let get = self.web.get(url, least, limits::TRACKER_REPLY_LENGTH);
        let fetched = tokio::time::timeout(timeout, get).await.map_err(|_| TrackerError::TimedOut(timeout))?;
        fetched.map_err(|error| match error {
            WebError::Transfer(_) | WebError::Inwards(_) => TrackerError::Unreachable(error.to_string()),
            other => TrackerError::Malformed(other.to_string()),
        })
    }
}

fn reach(address: &SocketAddr) -> Reach {
    Reach::of(address.ip())
}

/// Reads the body; of an error status only a refusal in proper form is believed.
fn read<T>(fetched: &Fetched, parse: impl Fn(&[u8]) -> Result<T, TrackerError>) -> Result<T, TrackerError> {
    match parse(&fetched.body) {
        Err(TrackerError::Refused { reason, retry_in }) => Err(TrackerError::Refused { reason, retry_in }),
        _ if !fetched.status.is_success() => Err(TrackerError::Failed(format!("HTTP status {}", fetched.status))),
        parsed => parsed,
    }
}

/// Whether on this machine a tracker stands at this path, whatever name in the URL resolves to it: at `/announce…`, or with
/// a key at `/KEY/announce`. Many servers take `/admin/delete/announce` for `/admin/delete`, so a key is one segment, long,
/// and no word: it has digits and letters.
fn is_announce(path: &str) -> bool {
    let key = path.strip_suffix("/announce").and_then(|front| front.strip_prefix('/'));
    path.starts_with("/announce") || key.is_some_and(is_key)
}

fn is_key(segment: &str) -> bool {
    KEY_LENGTHS.contains(&segment.len())
        && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        && segment.bytes().any(|byte| byte.is_ascii_digit())
        && segment.bytes().any(|byte| byte.is_ascii_alphabetic())
}

/// What it holds are keys.
impl std::fmt::Debug for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::tests::{ok, redirect, server};
    use swarm_proto::id::PeerId;

    const SOON: Duration = Duration::from_secs(10);

    fn announce() -> Announce {
        Announce { num_want: Some(50), key: 1, ..Announce::new(InfoHash([0xf0; 20]), PeerId([1; 20]), 6881, 5) }
    }

    async fn ask(answer: Vec<u8>) -> Result<AnnounceReply, TrackerError> {
        let address = server(move |_| answer.clone()).await;
        HttpTracker::new().announce(&format!("http://{address}/announce"), &announce(), SOON).await
    }

    #[tokio::test]
    async fn an_announce_arrives_and_is_answered() {
        let address = server(|target| {
            assert!(target.starts_with("/announce?k=1&info_hash=%F0%F0%F0"), "{target}");
            ok(b"d8:intervali900e5:peers6:\x7f\x00\x00\x01\x1a\xe1e")
        })
        .await;
        let reply =
            HttpTracker::new().announce(&format!("http://{address}/announce?k=1"), &announce(), SOON).await.unwrap();
        assert_eq!(reply.interval, Duration::from_secs(900));
        assert_eq!(reply.peers[0].address, "127.0.0.1:6881".parse().unwrap(), "from this machine it may be loopback");
    }

    #[tokio::test]
    async fn a_scrape_is_answered() {
        let address = server(|target| {
            assert!(target.starts_with("/scrape?info_hash=%F0"), "{target}");
            ok([b"d5:filesd20:".as_slice(), &[0xf0; 20], b"d8:completei3eeee"].concat())
        })
        .await;
        let tracker = HttpTracker::new();
        let hashes = [InfoHash([0xf0; 20])];
        let scraped = tracker.scrape(&format!("http://{address}/announce"), &hashes, SOON).await.unwrap();
        assert_eq!((scraped[0].0, scraped[0].1.complete), (hashes[0], 3));
        let none = tracker.scrape(&format!("http://{address}/a"), &hashes, SOON).await;
        assert!(matches!(none, Err(TrackerError::Unsupported(_))));
    }

    #[tokio::test]
    async fn bad_trackers_are_named() {
        let malformed = |text: &str| Err(TrackerError::Malformed(text.into()));
        assert_eq!(
            ask(ok("<html>Log in to the Wi-Fi")).await,
            malformed("it is HTML, not bencoding; is this the announce URL?")
        );
        let status =
            |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{body}").into_bytes();
        let failed = |text: &str| Err(TrackerError::Failed(text.into()));
        assert_eq!(
            ask(status("500 Internal Server Error", "oops")).await,
            failed("HTTP status 500 Internal Server Error")
        );
        assert_eq!(ask(status("404 Not Found", "d5:peers0:e")).await, failed("HTTP status 404 Not Found"));
        let refused = TrackerError::Refused { reason: "no".into(), retry_in: None };
        assert_eq!(ask(status("403 Forbidden", "d14:failure reason2:noe")).await, Err(refused));
        assert_eq!(ask(redirect("/announce")).await, malformed("it redirects more than 5 times"));
        assert_eq!(ask(redirect("file:///etc/passwd")).await, malformed("it is not an http or https URL"));
        let ten_megabytes = ask(ok(vec![b'x'; 10_000_000])).await;
        assert_eq!(ten_megabytes, malformed("the answer is larger than 524288 bytes"));
        assert!(matches!(ask(Vec::new()).await, Err(TrackerError::Unreachable(_))));
        assert!(matches!(ask(b"220 mail ready\r\n".to_vec()).await, Err(TrackerError::Unreachable(_))));
    }

    #[tokio::test]
    async fn silence_times_out() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/announce", silent.local_addr().unwrap());
        let short = Duration::from_millis(50);
        let asked = HttpTracker::new().announce(&url, &announce(), short).await;
        assert_eq!(asked, Err(TrackerError::TimedOut(short)));
    }

    #[tokio::test]
    async fn local_services_are_left_alone() {
        let local =
            ["http://127.0.0.1:1/admin", "http://localhost/", "http://[::1]/", "http://0/x", "http://127.1/scrape"];
        for url in local {
            let asked = HttpTracker::new().announce(url, &announce(), SOON).await.unwrap_err().to_string();
            assert!(asked.ends_with("which only this machine or network can reach; refused"), "{asked}");
        }
        let tracker = HttpTracker::new();
        let reach = |path: &str| tracker.least_reach(&format!("http://127.0.0.1{path}"));
        let key = "5f3ac0de5f3ac0de";
        for hidden in ["/admin/delete/announce", "/x?/announce", "//announce", "/%61nnounce", "/announce/../x"] {
            assert_eq!(reach(hidden), Ok(Reach::Private), "{hidden}");
        }
        // Too short, words, numbers, escapes, more than one segment, and what is not exactly `announce`.
        for key in [
            "shutdown",
            "5f3ac0d",
            "delete-everything-now",
            "1234567890123456",
            "5f3ac0de5f3ac0d.",
            "%35f3ac0de5f3ac0de",
        ] {
            assert_eq!(reach(&format!("/{key}/announce")), Ok(Reach::Private), "{key}");
        }
        let long = "a1".repeat(32);
        for path in [format!("/{key}/{key}/announce"), format!("/{key}/announce.php"), format!("/{long}0/announce")] {
            assert_eq!(reach(&path), Ok(Reach::Private), "{path}");
        }
        for path in
            ["/announce.php?x=/y", "/announce/5f3a", &format!("/{key}/announce?x"), &format!("/{long}/announce")]
        {
            assert_eq!(reach(path), Ok(Reach::Loopback), "{path}");
        }
        assert_eq!(tracker.least_reach("http://10.0.0.1/x"), Ok(Reach::Private));
    }

    #[tokio::test]
    async fn what_the_user_has_named_is_asked_on_this_machine() {
        let address = server(|target| {
            assert!(target.starts_with("/bob/announce?info_hash=") || target.starts_with("/bob/scrape?"), "{target}");
            ok(b"d5:filesd20:\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0\xf0d8:completei3eee8:intervali900e5:peers0:e")
        })
        .await;
        let (url, other) = (format!("http://{address}/bob/announce"), format!("http://{address}/eve/announce"));
        let tracker = HttpTracker::new();
        assert!(matches!(tracker.announce(&url, &announce(), SOON).await, Err(TrackerError::Unreachable(_))));
        tracker.clone().trust(std::slice::from_ref(&url));
        assert!(tracker.announce(&url, &announce(), SOON).await.is_ok());
        assert!(tracker.scrape(&url, &[InfoHash([0xf0; 20])], SOON).await.is_ok());
        assert!(matches!(tracker.announce(&other, &announce(), SOON).await, Err(TrackerError::Unreachable(_))));
        assert!(!format!("{tracker:?}").contains("bob"));
    }
}
