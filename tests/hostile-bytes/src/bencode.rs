//! The scanner and the encoder.

use swarm_proto::bencode::{Document, Item, Kind, ScanLimits, Value};

const TIGHT: ScanLimits = ScanLimits { bytes: 4_096, tokens: 64, depth: 5, trailing: false };

/// Whatever passes the scanner stands in the input where it says, keeps to the limits, and is canonical exactly if the
/// encoder writes the same bytes.
pub fn bencode(bytes: &[u8]) {
    let mut accepted = Vec::new();
    for limits in [ScanLimits::METAINFO, ScanLimits::TRACKER_REPLY, ScanLimits::EXTENDED, TIGHT] {
        match Document::scan(bytes, &limits) {
            Ok(document) => {
                check_document(bytes, &document, &limits);
                accepted.push(document.root().raw().len());
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    assert!(accepted.windows(2).all(|pair| pair[0] == pair[1]), "the limits decide where the value ends");
}

fn check_document(bytes: &[u8], document: &Document<'_>, limits: &ScanLimits) {
    let root = document.root();
    assert_eq!(root.offset(), 0);
    assert_eq!([root.raw(), document.trailing()].concat(), bytes);
    assert!(limits.trailing || document.trailing().is_empty());
    let mut tokens = 0;
    let item = item(bytes, root, limits.depth, &mut tokens);
    assert!(tokens <= limits.tokens && bytes.len() <= limits.bytes);
    let encoded = item.encode();
    assert_eq!(document.is_canonical(), encoded == bytes, "canonical, or not");
    let again = Document::scan(&encoded, limits).expect("what is encoded scans");
    assert!(again.is_canonical());
    let cut = root.raw().len() - 1;
    for end in [cut, cut / 2, cut / 3] {
        assert!(Document::scan(&bytes[..end], limits).is_err(), "a value cut at {end}");
    }
}

/// A value as an item; of duplicate keys the first.
fn item(bytes: &[u8], value: Value<'_>, depth: usize, tokens: &mut usize) -> Item {
    *tokens += 1;
    let raw = value.raw();
    assert_eq!(bytes.get(value.offset()..value.offset() + raw.len()), Some(raw));
    match value.kind() {
        Kind::Integer => {
            let digits = std::str::from_utf8(&raw[1..raw.len() - 1]).expect("digits");
            let number: i128 = digits.parse().expect("at most 20 digits");
            assert_eq!(value.as_i64(), i64::try_from(number).ok());
            assert_eq!(
                value.as_u64().map(i128::from),
                u64::try_from(number).ok().filter(|_| !digits.starts_with('-')).map(i128::from)
            );
            Item::Integer(number)
        }
        Kind::Bytes => {
            let content = value.as_bytes().expect("a string");
            assert!(raw.ends_with(content) && value.as_i64().is_none() && value.items().is_none());
            Item::Bytes(content.to_vec())
        }
        Kind::List => {
            assert!(depth > 0);
            let items: Vec<Value<'_>> = value.items().expect("a list").collect();
            check_inside(value, &items);
            Item::List(items.into_iter().map(|inner| item(bytes, inner, depth - 1, tokens)).collect())
        }
        Kind::Dictionary => {
            assert!(depth > 0);
            let entries: Vec<(&[u8], Value<'_>)> = value.entries().expect("a dictionary").collect();
            *tokens += entries.len();
            check_inside(value, &entries.iter().map(|(_, inner)| *inner).collect::<Vec<_>>());
            if let Some((key, _)) = entries.last() {
                let first = entries.iter().find(|(name, _)| name == key).map(|(_, inner)| inner.offset());
                assert_eq!(value.get(key).map(|inner| inner.offset()), first, "the first of equal keys counts");
            }
            let known = entries.into_iter().rev().map(|(key, inner)| (key, item(bytes, inner, depth - 1, tokens)));
            Item::dictionary(known)
        }
    }
}

/// Children lie one behind the other in their parent.
fn check_inside(parent: Value<'_>, children: &[Value<'_>]) {
    let mut at = parent.offset() + 1;
    for child in children {
        assert!(child.offset() >= at, "children overlap");
        at = child.offset() + child.raw().len();
    }
    assert!(at < parent.offset() + parent.raw().len(), "a child reaches beyond its parent");
}
