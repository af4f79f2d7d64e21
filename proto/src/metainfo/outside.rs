//! The fields outside of `info`. None of them can make a torrent unusable: what is wrong here is left out.

use super::parse::{read, read_text};
use super::types::Node;
use super::{Outside, PEERS_KEY};
use crate::bencode::Value;
use crate::limits;
use std::collections::HashSet;

/// Reads all of them from the outermost dictionary.
pub(super) fn read_outside(root: &Value<'_>) -> Outside {
    let text = |key: &[u8], plain: &[u8]| root.get(key).or_else(|| root.get(plain)).and_then(|value| read_text(&value));
    Outside {
        trackers: trackers(root),
        web_seeds: root.get(b"url-list").map(|value| one_or_many(&value)).unwrap_or_default(),
        nodes: root.get(b"nodes").map(|value| nodes(&value)).unwrap_or_default(),
        peers: root.get(PEERS_KEY).map(|value| peers(&value)).unwrap_or_default(),
        comment: text(b"comment.utf-8", b"comment"),
        created_by: text(b"created by.utf-8", b"created by"),
        creation_date: root.get(b"creation date").and_then(|value| creation_date(&value)),
    }
}

/// BEP 12: where `announce-list` names any tracker, `announce` does not count.
fn trackers(root: &Value<'_>) -> Vec<Vec<String>> {
    let mut known = HashSet::new();
    let mut tiers = Vec::new();
    let list = root.get(b"announce-list");
    for tier in list.iter().filter_map(Value::items).flatten() {
        let urls: Vec<String> = candidates(&tier).filter(|url| take_new(&mut known, url)).collect();
        if !urls.is_empty() {
            tiers.push(urls);
        }
    }
    if tiers.is_empty() {
        tiers.extend(root.get(b"announce").and_then(|value| url(&value)).map(|url| vec![url]));
    }
    tiers
}

/// The URLs of a list, or a URL that stands alone.
fn candidates<'d>(value: &Value<'d>) -> impl Iterator<Item = String> + use<'d> {
    let alone = url(value);
    alone.into_iter().chain(value.items().into_iter().flatten().filter_map(|item| url(&item)))
}

/// Whether the URL was not seen yet and there is room for one more. Scheme and host do not know case.
fn take_new(known: &mut HashSet<String>, url: &str) -> bool {
    let host_end = url.find("://").and_then(|at| url.get(at + 3..)?.find('/').map(|slash| at + 3 + slash));
    let (authority, path) = url.split_at_checked(host_end.unwrap_or(url.len())).unwrap_or((url, ""));
    known.len() < limits::TRACKERS && known.insert(format!("{}{path}", authority.to_lowercase()))
}

/// A string that may be a URL.
fn url(value: &Value<'_>) -> Option<String> {
    let text: String = value.as_bytes().filter(|bytes| bytes.len() <= limits::URL_LENGTH).and_then(|_| read(value))?;
    plain_url(&text)
}

/// A text that may be a URL: of sane length, without white space or control characters, and in ASCII. A name in another
/// script may look like one that is trusted, so it is written as it is resolved (`xn--…`).
pub(crate) fn plain_url(text: &str) -> Option<String> {
    let text = text.trim();
    let is_plain = !text.is_empty() && !text.contains(|c: char| c.is_control() || c.is_whitespace());
    if !is_plain || text.len() > limits::URL_LENGTH {
        return None;
    }
    if text.is_ascii() { Some(text.to_owned()) } else { url::Url::parse(text).ok().map(String::from) }
}

/// BEP 19: one URL or a list of them.
fn one_or_many(value: &Value<'_>) -> Vec<String> {
    let mut known = HashSet::new();
    candidates(value).filter(|url| take_new(&mut known, url)).collect()
}

/// BEP 5: a list of lists of host and port.
fn nodes(value: &Value<'_>) -> Vec<Node> {
    let node = |value: Value<'_>| {
        let (host, port): (String, u16) = read(&value)?;
        is_host(&host).then_some(Node { host, port })
    };
    value.items().into_iter().flatten().filter_map(node).take(limits::METAINFO_PEERS).collect()
}

fn peers(value: &Value<'_>) -> Vec<String> {
    let peer = |value: Value<'_>| {
        let text = value.as_str()?;
        let (host, port) = text.rsplit_once(':')?;
        (is_host(host) && port.parse::<u16>().is_ok_and(|port| port != 0)).then(|| text.to_owned())
    };
    value.items().into_iter().flatten().filter_map(peer).take(limits::METAINFO_PEERS).collect()
}

/// A name or an address, brackets included: at most the 253 bytes of a DNS name.
fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | '@' | '?' | '#');
    (1..=253).contains(&host.len()) && host.chars().all(plain)
}

/// An integer, or one that was written as a string.
fn creation_date(value: &Value<'_>) -> Option<i64> {
    read::<i64>(value).or_else(|| read::<String>(value)?.trim().parse().ok())
}
