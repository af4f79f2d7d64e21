//! The query of an announce, written and read.

use crate::announce::{Announce, AnnounceEvent, TrackerError};
use crate::id::{HASH_LENGTH, InfoHash, PeerId};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
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

/// The parameters of a query in their order, by their names and values as they came, still escaped.
pub(super) fn parameters(query: &[u8]) -> Result<impl Iterator<Item = (&[u8], &[u8])>, QueryError> {
    if query.len() > QUERY_LENGTH {
        return Err(QueryError::TooLong);
    }
    Ok(query.split(|&byte| byte == b'&').filter_map(|pair| {
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        Some((pair.get(..equals)?, pair.get(equals + 1..)?))
    }))
}

/// Whether this is that name, escaped or not.
pub(super) fn is_name(written: &[u8], name: &[u8]) -> bool {
    written == name || written.contains(&b'%') && Short::of(Some(written)).bytes() == name
}

/// The bytes that a value stands for. A `+` stays a `+`, since hashes are raw bytes and not form data; a `%` without two
/// hexadecimal digits behind it stays a `%`.
fn unescaped(value: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = value;
    std::iter::from_fn(move || {
        let (&first, behind) = rest.split_first()?;
        rest = behind;
        if first == b'%'
            && let [high, low, behind @ ..] = rest
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = behind;
            return Some(high << 4 | low);
        }
        Some(first)
    })
}

/// The value of a hexadecimal digit, either case.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Reads the query of an announce, what stands behind the `?`, still escaped. Takes memory for a `trackerid` only.
///
/// Order does not matter; of duplicates the first counts; unknown parameters and events are ignored; counts that make
/// no sense are read as unknown.
///
/// # Errors
/// A missing or malformed `info_hash`, `peer_id` or `port`, or a query that is too long.
pub fn parse_query(query: impl AsRef<[u8]>) -> Result<HttpAnnounce, QueryError> {
    let mut raw = RawQuery::default();
    for (name, value) in parameters(query.as_ref())? {
        if let Some(slot) = raw.slot(name) {
            slot.get_or_insert(value);
        } else if name.contains(&b'%') {
            // Hardly anybody writes names so, yet they mean the same.
            raw.slot(Short::of(Some(name)).bytes()).map(|slot| slot.get_or_insert(value));
        }
    }
    raw.interpret()
}

/// The parameters that mean something here, as they came.
#[derive(Default)]
struct RawQuery<'q> {
    info_hash: Option<&'q [u8]>,
    peer_id: Option<&'q [u8]>,
    port: Option<&'q [u8]>,
    uploaded: Option<&'q [u8]>,
    downloaded: Option<&'q [u8]>,
    left: Option<&'q [u8]>,
    event: Option<&'q [u8]>,
    num_want: Option<&'q [u8]>,
    compact: Option<&'q [u8]>,
    no_peer_id: Option<&'q [u8]>,
    key: Option<&'q [u8]>,
    tracker_id: Option<&'q [u8]>,
    ip: Option<&'q [u8]>,
}

impl<'q> RawQuery<'q> {
    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<&'q [u8]>> {
        Some(match name {
            b"info_hash" => &mut self.info_hash,
            b"peer_id" => &mut self.peer_id,
            b"port" => &mut self.port,
            b"uploaded" => &mut self.uploaded,
            b"downloaded" => &mut self.downloaded,
            b"left" => &mut self.left,
            b"event" => &mut self.event,
            b"numwant" => &mut self.num_want,
            b"compact" => &mut self.compact,
            b"no_peer_id" => &mut self.no_peer_id,
            b"key" => &mut self.key,
            b"trackerid" => &mut self.tracker_id,
            b"ip" => &mut self.ip,
            _ => return None,
        })
    }

    fn interpret(self) -> Result<HttpAnnounce, QueryError> {
        let announce = Announce {
            info_hash: InfoHash(twenty_bytes(self.info_hash, "info_hash")?),
            peer_id: PeerId(twenty_bytes(self.peer_id, "peer_id")?),
            port: port(self.port)?,
            uploaded: number(self.uploaded).unwrap_or(0),
            downloaded: number(self.downloaded).unwrap_or(0),
            left: number(self.left).unwrap_or(u64::MAX),
            event: match Short::of(self.event).bytes() {
                b"started" => AnnounceEvent::Started,
                b"completed" => AnnounceEvent::Completed,
                b"stopped" => AnnounceEvent::Stopped,
                _ => AnnounceEvent::Regular,
            },
            num_want: number(self.num_want).map(|wanted| u32::try_from(wanted).unwrap_or(u32::MAX)),
            key: Short::of(self.key).text().and_then(|key| u32::from_str_radix(key, 16).ok()).unwrap_or(0),
            tracker_id: self.tracker_id.and_then(tracker_id),
        };
        let (compact, no_peer_id) = (Short::of(self.compact), Short::of(self.no_peer_id));
        let form = match (compact.bytes(), no_peer_id.bytes()) {
            (b"0", b"1") => PeerForm::DictionaryWithoutIds,
            (b"0", _) => PeerForm::Dictionary,
            _ => PeerForm::Compact,
        };
        let ip = Short::of(self.ip).text().and_then(|ip| ip.parse().ok());
        Ok(HttpAnnounce { announce, form, ip })
    }
}

/// A short value with its escapes resolved, on the stack. One that is longer than any that means something is empty, as is
/// one that is not there.
struct Short {
    bytes: [u8; Self::LENGTH],
    length: usize,
}

impl Short {
    /// An IPv6 address takes 39 bytes, a number 20.
    const LENGTH: usize = 48;

    fn of(value: Option<&[u8]>) -> Self {
        let mut short = Self { bytes: [0; Self::LENGTH], length: 0 };
        for byte in unescaped(value.unwrap_or_default()) {
            let Some(slot) = short.bytes.get_mut(short.length) else { return Self { length: 0, ..short } };
            *slot = byte;
            short.length += 1;
        }
        short
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes()).ok()
    }
}

fn tracker_id(value: &[u8]) -> Option<Vec<u8>> {
    let id: Vec<u8> = unescaped(value).take(TRACKER_ID_LENGTH + 1).collect();
    (id.len() <= TRACKER_ID_LENGTH).then_some(id)
}

pub(super) fn twenty_bytes(value: Option<&[u8]>, name: &'static str) -> Result<[u8; HASH_LENGTH], QueryError> {
    let mut bytes = unescaped(value.ok_or(QueryError::Missing(name))?);
    let mut array = [0; HASH_LENGTH];
    for slot in &mut array {
        *slot = bytes.next().ok_or(QueryError::Invalid(name))?;
    }
    bytes.next().map_or(Ok(array), |_| Err(QueryError::Invalid(name)))
}

/// A decimal number; negative ones and those beyond 64 bits are none.
fn number(value: Option<&[u8]>) -> Option<u64> {
    let digits = value?;
    // What nearly everybody sends, without a detour: it cannot overflow, and has no escapes.
    if (1..=19).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) {
        return Some(digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0')));
    }
    Short::of(value).text()?.parse().ok()
}

/// Nobody can be reached at port 0.
fn port(value: Option<&[u8]>) -> Result<u16, QueryError> {
    value.ok_or(QueryError::Missing("port"))?;
    let port = number(value).and_then(|port| u16::try_from(port).ok());
    port.filter(|&port| port != 0).ok_or(QueryError::Invalid("port"))
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
        let read = |more: &str| parse_query(format!("{base}{more}")).unwrap();
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

    #[test]
    fn every_byte_may_be_escaped_in_either_case_or_stand_for_itself() {
        for byte in 0..=u8::MAX {
            for escaped in [format!("%{byte:02x}"), format!("%{byte:02X}")] {
                let query = format!("info_hash={}&peer_id={}&port=%36881", escaped.repeat(20), escaped.repeat(20));
                let read = parse_query(&query).unwrap().announce;
                assert_eq!((read.info_hash.0, read.peer_id.0, read.port), ([byte; 20], [byte; 20], 6881), "{query}");
            }
            let plain = [b"info_hash=".as_slice(), &[byte; 20], b"&peer_id=", &[byte; 20], b"&port=1"].concat();
            let read = parse_query(&plain).map(|read| read.announce.info_hash.0);
            // A `&` ends the value; no other byte is special, `=` and `+` included.
            let expected = if byte == b'&' { Err(QueryError::Invalid("info_hash")) } else { Ok([byte; 20]) };
            assert_eq!(read, expected, "{byte}");
        }
    }

    #[test]
    fn names_may_be_escaped_too() {
        let hash = "a".repeat(20);
        let read =
            parse_query(format!("info%5fhash={hash}&%70eer_i%64={hash}&p%6Frt=1&port=2&%6ceft=3&left=4")).unwrap();
        assert_eq!((read.announce.info_hash.0, read.announce.port, read.announce.left), ([b'a'; 20], 1, 3));
        let long = "%70".repeat(1_000);
        for other in ["p%6rt=1", "%50ort=1", "port%3d1", "p%25%36%46rt=1", &format!("{long}=1"), "%=1"] {
            let read = parse_query(format!("info_hash={hash}&peer_id={hash}&{other}"));
            assert_eq!(read, Err(QueryError::Missing("port")), "{other}");
        }
    }

    #[test]
    fn over_long_values_are_unknown() {
        let base = format!("info_hash={0}&peer_id={0}", "a".repeat(20));
        let long = "0".repeat(Short::LENGTH + 1);
        let read = |more: &str| parse_query(format!("{base}&port=1{more}")).unwrap().announce;
        assert_eq!(read(&format!("&left={long}")).left, u64::MAX);
        assert_eq!(read(&format!("&numwant={long}")).num_want, None);
        assert_eq!(read(&format!("&event=started{long}")).event, AnnounceEvent::Regular);
        assert_eq!(read(&format!("&left={}7", "0".repeat(40))).left, 7);
        assert_eq!(parse_query(format!("{base}&port={long}1")), Err(QueryError::Invalid("port")));
    }

    proptest! {
        /// The crate `percent-encoding` says what escapes mean.
        #[test]
        fn escapes_mean_what_they_do_elsewhere(value in "[%0-9a-gA-G+ &=]{0,40}") {
            let expected: Vec<u8> = percent_encoding::percent_decode_str(&value).collect();
            prop_assert_eq!(unescaped(value.as_bytes()).collect::<Vec<_>>(), expected);
        }

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
