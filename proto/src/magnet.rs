//! Magnet links (BEP 9, BEP 53): a torrent in one line.
//!
//! Owns writing and reading them. Never fetches anything. What is read is bounded, and what is written is plain ASCII.

use crate::id::{HASH_LENGTH, InfoHash};
use crate::limits;
use crate::metainfo::{Metainfo, plain_url};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;

/// Everything but the unreserved characters of RFC 3986.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// As [`RESERVED`], but the colon of `host:port` stays.
const RESERVED_IN_ADDRESS: &AsciiSet = &RESERVED.remove(b':').remove(b'[').remove(b']');

/// A link to a torrent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Magnet {
    /// `xt`
    pub info_hash: InfoHash,
    /// `dn`: the name to show.
    pub name: Option<String>,
    /// `xl`: bytes of the torrent.
    pub length: Option<u64>,
    /// `tr`: announce URLs.
    pub trackers: Vec<String>,
    /// `x.pe`: addresses of peers, `host:port`.
    pub peers: Vec<String>,
    /// `ws`: URLs of web seeds.
    pub web_seeds: Vec<String>,
}

/// Why a text is no link to a torrent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MagnetError {
    /// More than [`limits::MAGNET_LENGTH`].
    #[error("a magnet link of {0} bytes is longer than {max}", max = limits::MAGNET_LENGTH)]
    TooLong(usize),
    /// Another scheme, or none.
    #[error("a magnet link starts with `magnet:?`")]
    Scheme,
    /// No `xt=urn:btih:`.
    #[error("the magnet link has no `xt=urn:btih:` with an info hash")]
    NoInfoHash,
    /// Only `xt=urn:btmh:` (BEP 52).
    #[error("a magnet link of BitTorrent v2 only (BEP 52), which is not supported")]
    Version2Only,
    /// An info hash that is none.
    #[error("the info hash in the magnet link is neither 40 hexadecimal nor 32 base32 digits")]
    InfoHash,
}

impl From<&Metainfo> for Magnet {
    fn from(metainfo: &Metainfo) -> Self {
        Self {
            info_hash: metainfo.info_hash(),
            name: Some(metainfo.name().to_owned()),
            length: Some(metainfo.geometry().total_length()),
            trackers: metainfo.trackers().concat(),
            peers: metainfo.peers().to_vec(),
            web_seeds: metainfo.web_seeds().to_vec(),
        }
    }
}

impl fmt::Display for Magnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "magnet:?xt=urn:btih:{}", self.info_hash)?;
        if let Some(name) = &self.name {
            write!(f, "&dn={}", utf8_percent_encode(name, RESERVED))?;
        }
        if let Some(length) = self.length {
            write!(f, "&xl={length}")?;
        }
        let lists = [
            ("tr", &self.trackers, RESERVED),
            ("x.pe", &self.peers, RESERVED_IN_ADDRESS),
            ("ws", &self.web_seeds, RESERVED),
        ];
        for (key, values, reserved) in lists {
            for value in values {
                write!(f, "&{key}={}", utf8_percent_encode(value, reserved))?;
            }
        }
        Ok(())
    }
}

impl FromStr for Magnet {
    type Err = MagnetError;

    /// Reads a link. Unknown fields are passed over; so are values that are not UTF-8, and more than there may be.
    fn from_str(text: &str) -> Result<Self, MagnetError> {
        let text = text.trim();
        if text.len() > limits::MAGNET_LENGTH {
            return Err(MagnetError::TooLong(text.len()));
        }
        let (scheme, query) = text.split_once('?').ok_or(MagnetError::Scheme)?;
        if !scheme.eq_ignore_ascii_case("magnet:") {
            return Err(MagnetError::Scheme);
        }
        let mut magnet = Self {
            info_hash: info_hash(query)?,
            name: None,
            length: None,
            trackers: Vec::new(),
            peers: Vec::new(),
            web_seeds: Vec::new(),
        };
        fields(query).for_each(|(key, value)| magnet.take(key, &value));
        Ok(magnet)
    }
}

impl Magnet {
    fn take(&mut self, key: &str, value: &str) {
        let push = |list: &mut Vec<String>, value: &str, limit: usize| {
            let value = value.to_owned();
            if list.len() < limit && !value.is_empty() && value.len() <= limits::URL_LENGTH && !list.contains(&value) {
                list.push(value);
            }
        };
        match key {
            "dn" => self.name = self.name.take().or_else(|| Some(crate::path::printable(value.as_bytes()))),
            "xl" => self.length = self.length.or_else(|| value.parse().ok()),
            "tr" => push(&mut self.trackers, &plain_url(value).unwrap_or_default(), limits::TRACKERS),
            "x.pe" => push(&mut self.peers, value, limits::METAINFO_PEERS),
            "ws" => push(&mut self.web_seeds, value, limits::TRACKERS),
            _ => {}
        }
    }
}

/// Keys and decoded values. Keys may be numbered to set them apart, as `tr.1`.
fn fields(query: &str) -> impl Iterator<Item = (&str, String)> {
    query.split('&').filter_map(|field| {
        let (key, value) = field.split_once('=')?;
        let key = match key.rsplit_once('.') {
            Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => key,
        };
        // A plus is a space in forms, and magnet links are written by those who take them for one.
        let value = percent_decode_str(&value.replace('+', " ")).decode_utf8().ok()?.into_owned();
        Some((key, value))
    })
}

fn info_hash(query: &str) -> Result<InfoHash, MagnetError> {
    let mut missing = MagnetError::NoInfoHash;
    for (_, topic) in fields(query).filter(|(key, _)| *key == "xt") {
        let (urn, digits) = topic.rsplit_once(':').unwrap_or_default();
        match urn.to_ascii_lowercase().as_str() {
            "urn:btih" => return InfoHash::from_hex(digits).or_else(|| base32(digits)).ok_or(MagnetError::InfoHash),
            "urn:btmh" => missing = MagnetError::Version2Only,
            _ => {}
        }
    }
    Err(missing)
}

/// 32 digits of RFC 4648, either case.
fn base32(digits: &str) -> Option<InfoHash> {
    let mut hash = [0u8; HASH_LENGTH];
    if digits.len() != 32 {
        return None;
    }
    // Eight digits of five bits are five bytes.
    for (bytes, digits) in hash.chunks_exact_mut(5).zip(digits.as_bytes().chunks_exact(8)) {
        let mut group = 0u64;
        for digit in digits {
            let value = match digit {
                b'A'..=b'Z' => digit - b'A',
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return None,
            };
            group = group << 5 | u64::from(value);
        }
        let [_, _, _, group @ ..] = group.to_be_bytes();
        bytes.copy_from_slice(&group);
    }
    Some(InfoHash(hash))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEX: &str = "c12fe1c06bba254a9dc9f519b335aa7c1367a88a";

    #[test]
    fn writes_what_clients_read() {
        let magnet = Magnet {
            info_hash: InfoHash::from_hex(HEX).unwrap(),
            name: Some("a b&ü".into()),
            length: Some(5),
            trackers: vec!["http://t:80/announce?k=1".into()],
            peers: vec!["[::1]:6881".into()],
            web_seeds: vec!["http://w/".into()],
        };
        assert_eq!(
            magnet.to_string(),
            format!(
                "magnet:?xt=urn:btih:{HEX}&dn=a%20b%26%C3%BC&xl=5&tr=http%3A%2F%2Ft%3A80%2Fannounce%3Fk%3D1\
                 &x.pe=[::1]:6881&ws=http%3A%2F%2Fw%2F"
            )
        );
        assert_eq!(magnet.to_string().parse(), Ok(magnet));
    }

    #[test]
    fn reads_base32_and_what_is_odd() {
        let magnet: Magnet =
            "MAGNET:?dn=a+b&xt=urn:sha1:x&xt=urn:btih:YEX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK&tr.1=http://a/&tr.2=http://a/&junk&=&so=1"
                .parse()
                .unwrap();
        assert_eq!(magnet.info_hash.to_string(), HEX);
        assert_eq!(magnet.name.as_deref(), Some("a b"));
        assert_eq!(magnet.trackers, ["http://a/"]);
    }

    #[test]
    fn what_is_no_link_is_named() {
        let fault = |text: &str| text.parse::<Magnet>().unwrap_err();
        assert_eq!(fault("http://a/?xt=urn:btih:"), MagnetError::Scheme);
        assert_eq!(fault("magnet:"), MagnetError::Scheme);
        assert_eq!(fault("magnet:?dn=a"), MagnetError::NoInfoHash);
        assert_eq!(fault("magnet:?xt=urn:btmh:1220aa"), MagnetError::Version2Only);
        assert_eq!(fault("magnet:?xt=urn:btih:aa"), MagnetError::InfoHash);
        assert_eq!(fault("magnet:?xt=urn:btih:1EX6DQDLXISUVHOJ6UM3GNNKPQJWPKEK"), MagnetError::InfoHash);
        assert_eq!(fault(&format!("magnet:?dn={}", "a".repeat(100_000))), MagnetError::TooLong(100_011));
    }

    #[test]
    fn lists_are_bounded() {
        let trackers: String = (0..1_000).map(|number| format!("&tr=http://{number}/")).collect();
        let magnet: Magnet = format!("magnet:?xt=urn:btih:{HEX}{trackers}").parse().unwrap();
        assert_eq!(magnet.trackers.len(), limits::TRACKERS);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(magnet:\\?)?(xt=urn:btih:[a-zA-Z2-7]{30,41}|&|=|%|tr|\\.|[0-9]|\\PC){0,20}") {
            if let Ok(magnet) = text.parse::<Magnet>() {
                prop_assert!(magnet.to_string().is_ascii());
            }
        }
    }
}
