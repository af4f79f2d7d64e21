//! The query of an announce, written and read.

use crate::announce::{Announce, AnnounceEvent, TrackerError};
use crate::id::{HASH_LENGTH, InfoHash, PeerId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use url::Url;

/// Bytes of a query that a server reads: a real announce takes some 300.
const QUERY_LENGTH: usize = 8 * 1024;
/// Bytes of a `tracker id` that are kept and sent back.
pub(super) const TRACKER_ID_LENGTH: usize = 256;
/// All but the unreserved characters of RFC 3986 is escaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How the asker wants the peers of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PeerForm {
    /// 6 or 18 bytes a peer (BEP 23, BEP 7); also for those who do not say.
    #[default]
    Compact,
    /// A dictionary a peer (BEP 3), asked for with `compact=0`.
    Dictionary,
    /// As [`PeerForm::Dictionary`], with `no_peer_id=1`.
    DictionaryWithoutIds,
}

/// An announce as a server reads it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnnounce {
    /// What the dialects share. `left` is `u64::MAX` where the asker does not know it.
    pub announce: Announce,
    /// How to answer.
    pub form: PeerForm,
    /// The address that the asker claims to have; believe it from nobody but a neighbour.
    pub ip: Option<IpAddr>,
}

/// What is wrong with a query; the text is fit for `failure reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum QueryError {
    /// A parameter that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A parameter with a value that cannot be.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// More bytes than any announce needs.
    #[error("the query is too long")]
    TooLong,
    /// More hashes than one scrape may name.
    #[error("too many hashes in one scrape")]
    TooManyHashes,
}

/// The URL of one announce: `base` with the parameters behind it, a query that it has already kept.
///
/// # Errors
/// [`TrackerError::Unsupported`] if `base` is not an `http` or `https` URL with a host.
pub fn announce_url(base: &str, announce: &Announce) -> Result<String, TrackerError> {
    let mut url = http_url(base)?.to_string();
    url.push(match (url.contains('?'), url.ends_with(['?', '&'])) {
        (false, _) => '?',
        (true, false) => '&',
        (true, true) => return Ok(append(url, announce)),
    });
    Ok(append(url, announce))
}

/// Reads an `http` or `https` URL, without its fragment.
pub(super) fn http_url(base: &str) -> Result<Url, TrackerError> {
    let unsupported = || TrackerError::Unsupported(base.into());
    let mut url = Url::parse(base).map_err(|_| unsupported())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(unsupported());
    }
    url.set_fragment(None);
    Ok(url)
}

fn append(mut url: String, announce: &Announce) -> String {
    let Announce { port, uploaded, downloaded, left, key, .. } = announce;
    let info_hash = percent_encode(&announce.info_hash.0, ESCAPED);
    let peer_id = percent_encode(&announce.peer_id.0, ESCAPED);
    // Writing to a String cannot fail.
    let _ = write!(url, "info_hash={info_hash}&peer_id={peer_id}&port={port}&uploaded={uploaded}");
    let _ = write!(url, "&downloaded={downloaded}&left={left}&compact=1&key={key:08X}");
    if let Some(event) = event_name(announce.event) {
        let _ = write!(url, "&event={event}");
    }
    if let Some(num_want) = announce.num_want {
        let _ = write!(url, "&numwant={num_want}");
    }
    if let Some(id) = &announce.tracker_id {
        let _ = write!(url, "&trackerid={}", percent_encode(id, ESCAPED));
    }
    url
}

fn event_name(event: AnnounceEvent) -> Option<&'static str> {
    match event {
        AnnounceEvent::Regular => None,
        AnnounceEvent::Started => Some("started"),
        AnnounceEvent::Completed => Some("completed"),
        AnnounceEvent::Stopped => Some("stopped"),
    }
}

/// The parameters of a query in their order, escapes resolved. A `+` stays a `+`: hashes are raw bytes, not form data.
pub(super) fn parameters(query: &str) -> Result<impl Iterator<Item = (&str, Cow<'_, [u8]>)>, QueryError> {
    if query.len() > QUERY_LENGTH {
        return Err(QueryError::TooLong);
    }
    Ok(query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        Some((name, percent_decode_str(value).into()))
    }))
}

/// Reads the query of an announce, what stands behind the `?`, still escaped.
///
/// Order does not matter; of duplicates the first counts; unknown parameters and events are ignored; counts that make
/// no sense are read as unknown.
///
/// # Errors
/// A missing or malformed `info_hash`, `peer_id` or `port`, or a query that is too long.
pub fn parse_query(query: &str) -> Result<HttpAnnounce, QueryError> {
    let mut raw = RawQuery::default();
    for (name, value) in parameters(query)? {
        if let Some(slot) = raw.slot(name) {
            slot.get_or_insert(value);
        }
    }
    raw.interpret()
}

/// The parameters that mean something here, as they came.
#[derive(Default)]
struct RawQuery<'q> {
    info_hash: Option<Cow<'q, [u8]>>,
    peer_id: Option<Cow<'q, [u8]>>,
    port: Option<Cow<'q, [u8]>>,
    uploaded: Option<Cow<'q, [u8]>>,
    downloaded: Option<Cow<'q, [u8]>>,
    left: Option<Cow<'q, [u8]>>,
    event: Option<Cow<'q, [u8]>>,
    num_want: Option<Cow<'q, [u8]>>,
    compact: Option<Cow<'q, [u8]>>,
    no_peer_id: Option<Cow<'q, [u8]>>,
    key: Option<Cow<'q, [u8]>>,
    tracker_id: Option<Cow<'q, [u8]>>,
    ip: Option<Cow<'q, [u8]>>,
}

impl<'q> RawQuery<'q> {
    fn slot(&mut self, name: &str) -> Option<&mut Option<Cow<'q, [u8]>>> {
        Some(match name {
            "info_hash" => &mut self.info_hash,
            "peer_id" => &mut self.peer_id,
            "port" => &mut self.port,
            "uploaded" => &mut self.uploaded,
            "downloaded" => &mut self.downloaded,
            "left" => &mut self.left,
            "event" => &mut self.event,
            "numwant" => &mut self.num_want,
            "compact" => &mut self.compact,
            "no_peer_id" => &mut self.no_peer_id,
            "key" => &mut self.key,
            "trackerid" => &mut self.tracker_id,
            "ip" => &mut self.ip,
            _ => return None,
        })
    }

    fn interpret(self) -> Result<HttpAnnounce, QueryError> {
        let announce = Announce {
            info_hash: InfoHash(twenty_bytes(self.info_hash.as_deref(), "info_hash")?),
            peer_id: PeerId(twenty_bytes(self.peer_id.as_deref(), "peer_id")?),
            port: port(self.port.as_deref())?,
            uploaded: number(self.uploaded.as_deref()).unwrap_or(0),
            downloaded: number(self.downloaded.as_deref()).unwrap_or(0),
            left: number(self.left.as_deref()).unwrap_or(u64::MAX),
            event: match self.event.as_deref() {
                Some(b"started") => AnnounceEvent::Started,
                Some(b"completed") => AnnounceEvent::Completed,
                Some(b"stopped") => AnnounceEvent::Stopped,
                _ => AnnounceEvent::Regular,
            },
            num_want: number(self.num_want.as_deref()).map(|wanted| u32::try_from(wanted).unwrap_or(u32::MAX)),
            key: text(self.key.as_deref()).and_then(|key| u32::from_str_radix(key, 16).ok()).unwrap_or(0),
            tracker_id: self.tracker_id.map(Cow::into_owned).filter(|id| id.len() <= TRACKER_ID_LENGTH),
        };
        let form = match (self.compact.as_deref(), self.no_peer_id.as_deref()) {
            (Some(b"0"), Some(b"1")) => PeerForm::DictionaryWithoutIds,
            (Some(b"0"), _) => PeerForm::Dictionary,
            _ => PeerForm::Compact,
        };
        let ip = text(self.ip.as_deref()).and_then(|ip| ip.parse().ok());
        Ok(HttpAnnounce { announce, form, ip })
    }
}

pub(super) fn twenty_bytes(value: Option<&[u8]>, name: &'static str) -> Result<[u8; HASH_LENGTH], QueryError> {
    value.ok_or(QueryError::Missing(name))?.try_into().map_err(|_| QueryError::Invalid(name))
}

fn text(value: Option<&[u8]>) -> Option<&str> {
    std::str::from_utf8(value?).ok()
}

/// A decimal number; negative ones and those beyond 64 bits are none.
fn number(value: Option<&[u8]>) -> Option<u64> {
    text(value)?.parse().ok()
}

/// Nobody can be reached at port 0.
fn port(value: Option<&[u8]>) -> Result<u16, QueryError> {
    value.ok_or(QueryError::Missing("port"))?;
    text(value).and_then(|port| port.parse().ok()).filter(|&port| port != 0).ok_or(QueryError::Invalid("port"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash(*b"\x00 &=%+/?#~\xff\x80abcdefgh"),
            peer_id: PeerId::new(*b"\x01-._~1234567"),
            port: 6881,
            uploaded: 1,
            downloaded: 2,
            left: u64::MAX - 1,
            event: AnnounceEvent::Started,
            num_want: Some(80),
            key: 0xab,
            tracker_id: Some(b"a&b\xff".to_vec()),
        }
    }

    fn query_of(url: &str) -> &str {
        url.split_once('?').unwrap().1
    }

    #[test]
    fn the_url_is_as_bep_3_says() {
        let url = announce_url("http://t.example:80/announce#x", &announce()).unwrap();
        let hash = "%00%20%26%3D%25%2B%2F%3F%23~%FF%80abcdefgh";
        assert_eq!(
            url,
            format!(
                "http://t.example/announce?info_hash={hash}&peer_id=-SW0100-%01-._~1234567&port=6881&uploaded=1\
                 &downloaded=2&left=18446744073709551614&compact=1&key=000000AB&event=started&numwant=80\
                 &trackerid=a%26b%FF"
            )
        );
    }

    #[test]
    fn a_query_in_the_base_is_kept() {
        let url = |base| announce_url(base, &announce()).unwrap();
        assert!(url("http://t/a?passkey=1").starts_with("http://t/a?passkey=1&info_hash="));
        assert!(url("http://t/a?").starts_with("http://t/a?info_hash="));
        assert!(url("http://t/a?p&").starts_with("http://t/a?p&info_hash="));
        assert!(url("https://[::1]:8/a").starts_with("https://[::1]:8/a?info_hash="));
        for base in ["udp://t:1/announce", "file:///etc/passwd", "http://", "announce", "", "native://a:1"] {
            assert_eq!(announce_url(base, &announce()), Err(TrackerError::Unsupported(base.into())));
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let url = announce_url("http://t/announce", &announce()).unwrap();
        let read = parse_query(query_of(&url)).unwrap();
        assert_eq!(read, HttpAnnounce { announce: announce(), form: PeerForm::Compact, ip: None });
    }

    #[test]
    fn real_queries_are_read() {
        let hash = "%aB%Cd".repeat(10);
        let base = format!("info_hash={hash}&peer_id=-TR3000-abcdefghijkl&port=51413");
        let minimal = parse_query(&base).unwrap();
        assert_eq!(minimal.announce.info_hash, InfoHash::from_hex(&"abcd".repeat(10)).unwrap());
        assert_eq!((minimal.announce.left, minimal.announce.num_want), (u64::MAX, None));
        assert_eq!(minimal.form, PeerForm::Compact);
        let read = |more: &str| parse_query(&format!("{base}{more}")).unwrap();
        assert_eq!(read("&numwant=-1").announce.num_want, None);
        assert_eq!(read("&numwant=99999999999").announce.num_want, Some(u32::MAX));
        assert_eq!(read("&numwant=0").announce.num_want, Some(0));
        assert_eq!(read("&left=-1&uploaded=x&downloaded=").announce.left, u64::MAX);
        assert_eq!(read("&left=99999999999999999999").announce.left, u64::MAX);
        assert_eq!(read("&left=0&left=5").announce.left, 0, "the first counts");
        assert_eq!(read("&event=paused&&x&=y&port=1").announce.event, AnnounceEvent::Regular);
        assert_eq!(read("&event=stopped").announce.event, AnnounceEvent::Stopped);
        assert_eq!(read("&compact=0").form, PeerForm::Dictionary);
        assert_eq!(read("&compact=0&no_peer_id=1").form, PeerForm::DictionaryWithoutIds);
        assert_eq!(read("&ip=%3a%3A1").ip, Some("::1".parse().unwrap()));
        assert_eq!(read("&ip=example.com").ip, None);
        assert_eq!(read("&key=not-hex").announce.key, 0);
        assert_eq!(read(&format!("&trackerid={}", "x".repeat(300))).announce.tracker_id, None);
    }

    #[test]
    fn faults_are_named() {
        let hash = "a".repeat(20);
        let fault = |query: &str| parse_query(query).unwrap_err();
        assert_eq!(fault(""), QueryError::Missing("info_hash"));
        assert_eq!(fault("info_hash"), QueryError::Missing("info_hash"));
        assert_eq!(fault("info_hash=%zz"), QueryError::Invalid("info_hash"));
        assert_eq!(fault(&format!("info_hash={hash}a")), QueryError::Invalid("info_hash"));
        assert_eq!(fault(&format!("info_hash={hash}")), QueryError::Missing("peer_id"));
        let with_port = |port: &str| fault(&format!("info_hash={hash}&peer_id={hash}&port={port}"));
        for port in ["", "0", "70000", "-1", "6881x", "%ff"] {
            assert_eq!(with_port(port), QueryError::Invalid("port"), "{port}");
        }
        assert_eq!(fault(&format!("info_hash={hash}&peer_id={hash}")), QueryError::Missing("port"));
        assert_eq!(fault(&"x".repeat(QUERY_LENGTH + 1)), QueryError::TooLong);
        assert_eq!(QueryError::Missing("port").to_string(), "port is missing");
    }

    proptest! {
        #[test]
        fn any_hash_survives(hash: [u8; 20], id: [u8; 20], port in 1u16.., left: u64) {
            let announce = Announce { info_hash: InfoHash(hash), peer_id: PeerId(id), port, left, ..announce() };
            let url = announce_url("http://t/announce?x=1", &announce).unwrap();
            prop_assert_eq!(parse_query(query_of(&url)).unwrap().announce, announce);
        }

        #[test]
        fn no_query_panics(query in "[a-z_=&%0-9+]{0,200}") {
            let _ = parse_query(&query);
        }
    }
}
