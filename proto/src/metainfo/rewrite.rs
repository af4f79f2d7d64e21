//! Changes of what stands outside of `info`.

use super::{Metainfo, PEERS_KEY};
use crate::bencode::{Document, Item, ScanLimits};
use std::collections::BTreeMap;

/// What to change. A field that is `None` stays as it is; an empty list or text takes the key away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// Announce URLs by tier: `announce` and `announce-list` (BEP 12).
    pub trackers: Option<Vec<Vec<String>>>,
    /// `url-list` (BEP 19).
    pub web_seeds: Option<Vec<String>>,
    /// Addresses of peers, `host:port` (see [`PEERS_KEY`]).
    pub peers: Option<Vec<String>>,
    /// `comment`
    pub comment: Option<String>,
    /// `created by`
    pub created_by: Option<String>,
}

/// The entries of the outermost dictionary by key.
pub(super) type Entries = BTreeMap<Vec<u8>, Item>;

impl Metainfo {
    /// The file with some changes. `info` and every key that is not named here stay byte for byte; the keys around them
    /// come out sorted, of duplicates the first stays, and bytes behind the dictionary are gone.
    pub fn rewrite(&self, changes: &Rewrite) -> Vec<u8> {
        let mut entries = Entries::new();
        // This scan has succeeded once, when the value was made.
        if let Ok(document) = Document::scan(&self.bytes, &ScanLimits::METAINFO) {
            for (key, value) in document.root().entries().into_iter().flatten() {
                entries.entry(key.to_vec()).or_insert_with(|| Item::Raw(value.raw().to_vec()));
            }
        }
        changes.apply(&mut entries);
        Item::Dictionary(entries).encode()
    }
}

impl Rewrite {
    /// Puts the changes in.
    pub(super) fn apply(&self, entries: &mut Entries) {
        if let Some(tiers) = &self.trackers {
            set_trackers(entries, tiers);
        }
        if let Some(urls) = &self.web_seeds {
            set(entries, b"url-list", (!urls.is_empty()).then(|| strings(urls)));
        }
        if let Some(peers) = &self.peers {
            set(entries, PEERS_KEY, (!peers.is_empty()).then(|| strings(peers)));
        }
        for (key, text) in [("comment", &self.comment), ("created by", &self.created_by)] {
            if let Some(text) = text {
                set(entries, key.as_bytes(), (!text.is_empty()).then(|| Item::from(text.as_str())));
                entries.remove(format!("{key}.utf-8").as_bytes());
            }
        }
    }
}

/// BEP 12: `announce` for clients that know no tiers, and `announce-list` only where there is more than one URL.
fn set_trackers(entries: &mut Entries, tiers: &[Vec<String>]) {
    let tiers: Vec<&Vec<String>> = tiers.iter().filter(|tier| !tier.is_empty()).collect();
    let first = tiers.first().and_then(|tier| tier.first());
    set(entries, b"announce", first.map(|url| Item::from(url.as_str())));
    let is_list = tiers.iter().map(|tier| tier.len()).sum::<usize>() > 1;
    let list = is_list.then(|| Item::List(tiers.into_iter().map(|tier| strings(tier)).collect()));
    set(entries, b"announce-list", list);
}

fn set(entries: &mut Entries, key: &[u8], item: Option<Item>) {
    match item {
        Some(item) => entries.insert(key.to_vec(), item),
        None => entries.remove(key),
    };
}

fn strings(texts: &[String]) -> Item {
    Item::List(texts.iter().map(|text| Item::from(text.as_str())).collect())
}
