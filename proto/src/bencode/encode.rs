//! The encoder: canonical by construction, since a dictionary is a sorted map.

use std::collections::BTreeMap;

/// A value to encode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// `i…e`
    Integer(i128),
    /// `N:…`
    Bytes(Vec<u8>),
    /// `l…e`
    List(Vec<Item>),
    /// `d…e`, keys sorted as raw bytes.
    Dictionary(BTreeMap<Vec<u8>, Item>),
    /// A value that is encoded already, taken over byte for byte.
    Raw(Vec<u8>),
}

impl Item {
    /// A dictionary of these entries; of equal keys the last stays.
    pub fn dictionary<K: Into<Vec<u8>>>(entries: impl IntoIterator<Item = (K, Item)>) -> Self {
        Self::Dictionary(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }

    /// The bencoded form.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the bencoded form. The depth of recursion is that of the value, which our own code made.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        match self {
            Self::Integer(value) => out.extend_from_slice(format!("i{value}e").as_bytes()),
            Self::Bytes(bytes) => encode_bytes(bytes, out),
            Self::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.encode_to(out));
                out.push(b'e');
            }
            Self::Dictionary(entries) => {
                out.push(b'd');
                for (key, value) in entries {
                    encode_bytes(key, out);
                    value.encode_to(out);
                }
                out.push(b'e');
            }
            Self::Raw(raw) => out.extend_from_slice(raw),
        }
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    out.extend_from_slice(bytes);
}

macro_rules! from_integer {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Item {
            fn from(value: $integer) -> Self {
                Self::Integer(i128::from(value))
            }
        }
    )*};
}
from_integer!(u8, u16, u32, u64, i32, i64);

impl From<&[u8]> for Item {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl From<&str> for Item {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl From<Vec<Item>> for Item {
    fn from(items: Vec<Item>) -> Self {
        Self::List(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bencode::{Document, ScanLimits};
    use proptest::prelude::*;

    fn items() -> impl Strategy<Value = Item> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Item::from),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Item::Bytes),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Item::List),
                prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..6), inner, 0..6)
                    .prop_map(Item::Dictionary),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_scans_as_canonical(item in items()) {
            let bytes = item.encode();
            let document = Document::scan(&bytes, &ScanLimits::TRACKER_REPLY).unwrap();
            prop_assert!(document.is_canonical());
            prop_assert_eq!(document.root().raw(), bytes.as_slice());
        }

        #[test]
        fn no_bytes_panic_the_scanner(bytes in prop::collection::vec(prop::sample::select(b"dlie0123:-a".to_vec()), 0..200)) {
            if let Ok(document) = Document::scan(&bytes, &ScanLimits::METAINFO) {
                let mut open = vec![document.root()];
                while let Some(value) = open.pop() {
                    prop_assert!(!value.raw().is_empty());
                    open.extend(value.items().into_iter().flatten());
                    open.extend(value.entries().into_iter().flatten().map(|(_, value)| value));
                }
            }
        }
    }
}
