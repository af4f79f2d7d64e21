//! Addresses in a body: strings of 6 bytes a peer (IPv4, port) and of 18 (IPv6, port), both big endian.

use super::fields::{FieldError, Fields};
use crate::bencode::Item;
use crate::limits;
use std::net::{IpAddr, SocketAddr};

const V4_LENGTH: usize = 6;
const V6_LENGTH: usize = 18;

/// One address, 6 or 18 bytes. An IPv4 address in IPv6 clothes is written as IPv4.
pub(super) fn address_bytes(address: SocketAddr) -> Vec<u8> {
    let port = address.port().to_be_bytes();
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => [&ip.octets()[..], &port].concat(),
        IpAddr::V6(ip) => [&ip.octets()[..], &port].concat(),
    }
}

/// Reads what [`address_bytes`] writes.
pub(super) fn parse_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip = match ip.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(ip).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(ip).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_be_bytes(*port)))
}

/// The two entries for a list of peers, at most [`limits::NATIVE_PEERS`] of each family; an empty one is left out.
pub(super) fn entries(
    keys: [&'static str; 2],
    peers: &[SocketAddr],
) -> impl Iterator<Item = (&'static str, Item)> + use<> {
    let family = |length: usize| {
        let addresses = peers.iter().map(|&peer| address_bytes(peer)).filter(|bytes| bytes.len() == length);
        addresses.take(limits::NATIVE_PEERS).flatten().collect::<Vec<u8>>()
    };
    let both = [family(V4_LENGTH), family(V6_LENGTH)];
    keys.into_iter().zip(both).filter(|(_, bytes)| !bytes.is_empty()).map(|(key, bytes)| (key, Item::Bytes(bytes)))
}

/// Reads the two entries; port 0 takes no connections and is left out.
pub(super) fn parse(fields: Fields<'_>, keys: [&'static str; 2]) -> Result<Vec<SocketAddr>, FieldError> {
    let mut peers = Vec::new();
    for (key, length) in keys.into_iter().zip([V4_LENGTH, V6_LENGTH]) {
        let expected = format!("a string of at most {} times {length} bytes", limits::NATIVE_PEERS);
        let whole = |bytes: &&[u8]| bytes.len().is_multiple_of(length) && bytes.len() / length <= limits::NATIVE_PEERS;
        let bytes = fields.read(key, &expected, |value| value.as_bytes().filter(whole))?.unwrap_or_default();
        peers.extend(bytes.chunks_exact(length).filter_map(parse_address).filter(|peer| peer.port() != 0));
    }
    Ok(peers)
}
