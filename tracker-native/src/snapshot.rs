//! The catalogue on disk: written atomically, checked before it is believed.
//!
//! A [`Sealed`] file. Numbers are big endian. Per entry: length of the name (2), name, SHA-1 of the owner's token (20), the
//! publishing network as IPv6 (16; IPv4 mapped), length of the metainfo (4), metainfo. Info hash and size are read from the
//! metainfo again.

use crate::catalogue::{Catalogue, Entry, OwnerDigest, folded};
use crate::config::Limits;
use crate::network::Network;
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Deref;
use std::path::Path;
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::Name;
use swarm_tracker_core::{Sealed, SnapshotError, Writer};

/// Bytes of an entry besides name and metainfo, and room for the longest name.
const ENTRY_OVERHEAD: u64 = 512;

/// Entries that are taken under one hold of the catalogue: some 100 µs.
const SLICE: usize = 500;

/// What is to be saved; cheap to take, since the metainfo is shared. The catalogue is held for short times only, and may change
/// in between: then it is saved again.
pub(crate) fn rows<C: Deref<Target = Catalogue>>(catalogue: impl Fn() -> C) -> Vec<(Name, Entry)> {
    let mut rows: Vec<(Name, Entry)> = Vec::new();
    loop {
        let catalogue = catalogue();
        let (page, more) = catalogue.page("", rows.last().map(|(name, _)| name), SLICE);
        let page: Vec<_> = page.into_iter().map(|(name, entry)| (name.clone(), entry.clone())).collect();
        drop(catalogue);
        rows.extend(page);
        if !more {
            return rows;
        }
    }
}

/// Writes the entries to `path`: first to a new file beside it, which then takes its place.
pub(crate) fn save(rows: &[(Name, Entry)], path: &Path) -> Result<(), SnapshotError> {
    sealed(0).write(path, |writer| rows.iter().try_for_each(|(name, entry)| write_entry(name, entry, writer)))
}

fn write_entry(name: &Name, entry: &Entry, writer: &mut Writer) -> io::Result<()> {
    let name = name.as_str().as_bytes();
    let network = match entry.publisher.address() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    writer.put(&u16::try_from(name.len()).unwrap_or(u16::MAX).to_be_bytes())?;
    writer.put(name)?;
    writer.put(&entry.owner.0)?;
    writer.put(&network.octets())?;
    writer.put(&u32::try_from(entry.metainfo.len()).unwrap_or(u32::MAX).to_be_bytes())?;
    writer.put(&entry.metainfo)
}

/// Reads the catalogue at `path`; an empty one if there is no such file.
pub(crate) fn load(path: &Path, limits: Limits) -> Result<Catalogue, SnapshotError> {
    let largest = limits.catalogue_bytes + ENTRY_OVERHEAD * limits.names as u64;
    let mut catalogue = Catalogue::new(limits);
    let rows = sealed(largest).read(path, decode)?.unwrap_or_default();
    rows.into_iter().for_each(|(name, entry)| catalogue.insert(name, entry));
    Ok(catalogue)
}

fn sealed(largest: u64) -> Sealed {
    Sealed { magic: b"swarm catalogue\x01", largest }
}

fn decode(mut rest: &[u8]) -> Result<Vec<(Name, Entry)>, &'static str> {
    let mut rows = Vec::new();
    while !rest.is_empty() {
        rows.push(decode_entry(&mut rest)?);
    }
    Ok(rows)
}

fn decode_entry(rest: &mut &[u8]) -> Result<(Name, Entry), &'static str> {
    let length = u16::from_be_bytes(array(rest)?);
    let name = take(rest, length.into())?;
    let name = std::str::from_utf8(name).ok().and_then(|name| Name::new(name).ok()).ok_or("a bad name")?;
    let owner = OwnerDigest(array(rest)?);
    let publisher = Network::of(Ipv6Addr::from(array::<16>(rest)?).into());
    let length = u32::from_be_bytes(array(rest)?) as usize;
    // A copy, so that an entry that is replaced later does not keep the whole file in memory.
    let metainfo = Bytes::copy_from_slice(take(rest, length)?);
    let parsed = Metainfo::parse(metainfo.clone()).map_err(|_| "a bad metainfo")?;
    let (info_hash, size) = (parsed.info_hash(), parsed.geometry().total_length());
    let folded = folded(&name);
    Ok((name, Entry { info_hash, size, metainfo, owner, publisher, folded }))
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], &'static str> {
    let (head, tail) = rest.split_at_checked(length).ok_or("it ends inside an entry")?;
    *rest = tail;
    Ok(head)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], &'static str> {
    take(rest, N)?.try_into().map_err(|_| "it ends inside an entry")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::candidate;
    use std::fs;
    use swarm_proto::native::Token;

    const OWNER: Token = Token::new([7; 16]);

    fn saved(path: &Path) {
        let mut catalogue = Catalogue::new(Limits::default());
        for (name, ip) in [("a", "192.0.2.1"), ("ü b", "2001:db8::1")] {
            catalogue.publish(candidate(name, 5), OWNER, Network::of(ip.parse().unwrap())).unwrap();
        }
        save(&rows(|| &catalogue), path).unwrap();
    }

    #[test]
    fn names_and_their_owners_survive() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue");
        assert_eq!(load(&path, Limits::default()).unwrap().len(), 0);
        saved(&path);
        let mut catalogue = load(&path, Limits::default()).unwrap();
        let name = Name::new("ü b").unwrap();
        let entry = catalogue.by_name(&name).unwrap();
        assert_eq!((entry.size, entry.info_hash), (5, candidate("ü b", 5).info_hash));
        assert_eq!(entry.publisher, Network::of("2001:db8::2".parse().unwrap()));
        assert!(catalogue.remove(&name, Token::new([8; 16])).is_err());
        assert!(catalogue.remove(&name, OWNER).is_ok());
        assert!(!std::fs::read(&path).unwrap().windows(16).any(|window| window == OWNER.as_bytes()));
    }

    #[test]
    fn any_cut_or_changed_byte_is_noticed_and_the_file_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalogue");
        saved(&path);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            for bytes in [&whole[..at], &changed] {
                fs::write(&path, bytes).unwrap();
                let Err(SnapshotError::Damaged { aside, .. }) = load(&path, Limits::default()) else { panic!("{at}") };
                assert_eq!(fs::read(aside).unwrap(), bytes);
                assert!(!path.exists());
            }
        }
    }
}
