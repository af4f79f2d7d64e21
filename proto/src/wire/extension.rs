//! BEP 10: the extension handshake and the small extension messages (BEP 21, BEP 54).

use crate::bencode::{Document, Item, Kind, ScanLimits, Value};
use crate::geometry::PieceIndex;
use crate::path::is_deceptive;
use std::net::IpAddr;

/// The number under which the extension handshake itself travels.
pub const EXTENDED_HANDSHAKE_ID: u8 = 0;

/// Numbers by which a peer wants to receive each extension message; `None` where it does not know one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ExtensionIds {
    /// `lt_donthave` (BEP 54).
    pub dont_have: Option<u8>,
    /// `sw_chat` (`docs/chat-protocol.md`).
    pub chat: Option<u8>,
}

impl ExtensionIds {
    /// The numbers that we give out.
    pub const OURS: Self = Self { dont_have: Some(1), chat: None };
    /// As [`ExtensionIds::OURS`], in a torrent in which we chat.
    pub const OURS_WITH_CHAT: Self = Self { dont_have: Some(1), chat: Some(2) };
}

/// What each side tells of itself behind the handshake (BEP 10, 21, 9).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExtendedHandshake {
    /// `m`
    pub ids: ExtensionIds,
    /// `v`: client name and version; made printable, at most 64 characters.
    pub client: Option<String>,
    /// `p`: the port on which the sender listens.
    pub listen_port: Option<u16>,
    /// `reqq`: requests that the sender takes before it drops some.
    pub request_queue: Option<u32>,
    /// `yourip`: our address as the sender sees it.
    pub your_ip: Option<IpAddr>,
    /// `metadata_size`: bytes of the info dictionary (BEP 9).
    pub metadata_size: Option<u32>,
    /// `upload_only` (BEP 21).
    pub upload_only: bool,
}

impl ExtendedHandshake {
    /// The payload of the extension message.
    pub fn encode(&self) -> Vec<u8> {
        let ids = [("lt_donthave", self.ids.dont_have), ("sw_chat", self.ids.chat)];
        let ids = ids.into_iter().filter_map(|(name, id)| id.map(|id| (name, Item::from(id))));
        let ip = self.your_ip.map(|ip| match ip {
            IpAddr::V4(ip) => Item::from(ip.octets().as_slice()),
            IpAddr::V6(ip) => Item::from(ip.octets().as_slice()),
        });
        let entries = [
            Some(("m", Item::dictionary(ids))),
            self.client.as_deref().map(|client| ("v", Item::from(client))),
            self.listen_port.map(|port| ("p", Item::from(port))),
            self.request_queue.map(|queue| ("reqq", Item::from(queue))),
            ip.map(|ip| ("yourip", ip)),
            self.metadata_size.map(|size| ("metadata_size", Item::from(size))),
            self.upload_only.then(|| ("upload_only", Item::from(1u8))),
        ];
        Item::dictionary(entries.into_iter().flatten()).encode()
    }

    /// Reads a payload; a field of the wrong type or range counts as absent.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let document = Document::scan(payload, &ScanLimits::EXTENDED).ok()?;
        let root = document.root();
        if root.kind() != Kind::Dictionary {
            return None;
        }
        Some(Self {
            ids: root.get(b"m").map(|m| parse_ids(&m)).unwrap_or_default(),
            client: root.get(b"v").and_then(|v| v.as_bytes()).map(printable),
            listen_port: number(&root, b"p").filter(|&port| port != 0),
            request_queue: number(&root, b"reqq"),
            your_ip: root.get(b"yourip").and_then(|ip| parse_ip(ip.as_bytes()?)),
            metadata_size: number(&root, b"metadata_size"),
            upload_only: root.get(b"upload_only").and_then(|value| value.as_i64()).is_some_and(|value| value != 0),
        })
    }
}

fn number<T: TryFrom<u64>>(root: &Value<'_>, key: &[u8]) -> Option<T> {
    root.get(key)?.as_u64()?.try_into().ok()
}

/// A number of 0 means that the extension is switched off.
fn parse_ids(m: &Value<'_>) -> ExtensionIds {
    let id = |name: &[u8]| number(m, name).filter(|&id| id != 0);
    ExtensionIds { dont_have: id(b"lt_donthave"), chat: id(b"sw_chat") }
}

fn parse_ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn printable(bytes: &[u8]) -> String {
    let safe = |c: char| if is_deceptive(c) || c.is_whitespace() && c != ' ' { '.' } else { c };
    String::from_utf8_lossy(bytes).chars().take(64).map(safe).collect()
}

/// The payload of `lt_donthave` (BEP 54).
pub fn dont_have_payload(piece: PieceIndex) -> [u8; 4] {
    piece.as_u32().to_be_bytes()
}

/// Reads the payload of `lt_donthave` (BEP 54).
pub fn parse_dont_have(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let handshake = ExtendedHandshake {
            ids: ExtensionIds::OURS,
            client: Some("swarm 0.1.0".into()),
            listen_port: Some(6881),
            request_queue: Some(2_000),
            your_ip: Some([127, 0, 0, 1].into()),
            metadata_size: Some(1_234),
            upload_only: true,
        };
        assert_eq!(ExtendedHandshake::parse(&handshake.encode()), Some(handshake.clone()));
        let chatting = ExtendedHandshake { ids: ExtensionIds::OURS_WITH_CHAT, ..handshake.clone() };
        assert_eq!(ExtendedHandshake::parse(&chatting.encode()), Some(chatting));
        assert!(!handshake.encode().windows(7).any(|word| word == b"sw_chat"), "unless we chat, nothing tells of it");
        let empty = ExtendedHandshake::default();
        assert_eq!(empty.encode(), b"d1:mdee");
        assert_eq!(ExtendedHandshake::parse(b"d1:mdee"), Some(empty));
    }

    #[test]
    fn hostile_fields_count_as_absent() {
        let parsed = ExtendedHandshake::parse(
            b"d1:md11:lt_donthavei999ee13:metadata_sizei-1e1:pi70000e4:reqq3:abc1:v7:a\x1b\n\xff\xe2\x80\xae6:yourip3:abce",
        );
        let client = Some("a..\u{fffd}.".to_string());
        assert_eq!(parsed, Some(ExtendedHandshake { client, ..ExtendedHandshake::default() }));
        assert_eq!(ExtendedHandshake::parse(b"le"), None);
        assert_eq!(ExtendedHandshake::parse(&vec![b'l'; 60_000]), None);
    }
}
