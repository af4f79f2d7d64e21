//! Files from one person to another: described in memory, offered, and fetched directly from who offers them.

use super::handle::{ChatFailure, ChatHandle};
use super::task::address_of;
use crate::Torrent;
use crate::disk::HashJob;
use crate::disk::create::{self, ScanOptions};
use crate::session::{AddError, AddTorrent};
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use swarm_proto::chat::{ChatError, ChatEvent, Offer, PublicKey, RequestId};
use swarm_proto::limits;
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder};
use tokio::task::spawn_blocking;

/// What is said of files before anybody has asked for them.
struct Described {
    metainfo: Metainfo,
    files: u32,
    total_length: u64,
}

impl ChatHandle {
    /// Offers a file or folder to somebody. It is hashed first, and served by this session from then on.
    ///
    /// # Errors
    /// When it cannot be read or described in a chat, and as [`swarm_proto::chat::Room::offer`].
    pub async fn offer(&self, to: PublicKey, path: impl Into<PathBuf>) -> Result<RequestId, ChatFailure> {
        let path = path.into();
        let described = spawn_blocking({
            let path = path.clone();
            move || describe(&path)
        });
        let Described { metainfo, files, total_length } = described.await.map_err(|_| ChatFailure::Crashed)??;
        let session = self.session();
        match session.add(AddTorrent::seed(metainfo.clone(), path)).await {
            // It was offered to somebody else before.
            Ok(_) | Err(AddError::Duplicate(_)) => {}
            Err(error) => return Err(ChatFailure::Add(Box::new(error))),
        }
        let listening = session.listen_address();
        let own = Some(listening.ip()).filter(|ip| !ip.is_unspecified());
        let mut addresses: Vec<IpAddr> = own.into_iter().chain(self.requests.addresses.iter().copied()).collect();
        addresses.dedup();
        let offer = Offer {
            info_hash: metainfo.info_hash(),
            name: metainfo.name().to_owned(),
            total_length,
            files,
            port: listening.port(),
            addresses,
        };
        let bytes: Bytes = metainfo.bytes().clone();
        Ok(self.ask(move |room, now, _| room.offer(now, to, offer, bytes)).await??)
    }

    /// Takes what was offered: the metainfo comes through the chat, the files directly from who offers them, into this
    /// folder. Returns when the fetch has begun.
    ///
    /// # Errors
    /// [`swarm_proto::chat::ChatError::NoSuchRequest`], [`ChatFailure::OfferLost`], and when the torrent cannot be added.
    pub async fn accept_offer(&self, id: RequestId, folder: impl Into<PathBuf>) -> Result<Torrent, ChatFailure> {
        let mut events = self.events();
        self.accept(id).await?;
        let (from, offer, metainfo) = loop {
            match events.next().await.ok_or(ChatFailure::Ended)? {
                ChatEvent::OfferReady { id: ready, from, offer, metainfo } if ready == id => {
                    break (from, offer, metainfo);
                }
                ChatEvent::OfferExpired { id: lost, .. } if lost == id => return Err(ChatFailure::OfferLost),
                _ => {}
            }
        };
        let neighbour = self.ask(move |room, _, addresses| address_of(room, addresses, &from.key)).await?;
        let mut torrent = AddTorrent::fetch(Metainfo::parse(metainfo)?, folder);
        torrent.peers = reachable(&offer, neighbour.map(|address| address.ip().to_canonical()));
        self.session().add(torrent).await.map_err(|error| ChatFailure::Add(Box::new(error)))
    }
}

/// Where to fetch from. What only this machine reaches is believed only of somebody on this machine.
fn reachable(offer: &Offer, neighbour: Option<IpAddr>) -> Vec<String> {
    let here = neighbour.is_some_and(|ip| ip.is_loopback());
    let told = offer.addresses.iter().copied().filter(|ip| here || !ip.to_canonical().is_loopback());
    let mut addresses: Vec<IpAddr> = neighbour.into_iter().chain(told).collect();
    addresses.dedup();
    addresses.into_iter().map(|ip| SocketAddr::new(ip, offer.port).to_string()).collect()
}

fn describe(path: &Path) -> Result<Described, ChatFailure> {
    let list = create::scan(path, &ScanOptions::default())?;
    let content = list.content();
    let files = if let Content::Folder(files) = &content { files.len() } else { 1 };
    let builder = MetainfoBuilder::new(list.name(), content);
    let geometry = builder.geometry()?;
    // Known before the hashing, which may take long.
    if geometry.pieces() as usize * 20 > limits::CHAT_METAINFO_LENGTH {
        return Err(ChatError::MetainfoTooLong.into());
    }
    let (count, cancel) = (|_: u64| {}, AtomicBool::new(false));
    let hashes = create::hash(&list, geometry, HashJob::new(&count, &cancel))?;
    let metainfo = Metainfo::parse(builder.build(&hashes)?)?;
    if metainfo.bytes().len() > limits::CHAT_METAINFO_LENGTH {
        return Err(ChatError::MetainfoTooLong.into());
    }
    let files = u32::try_from(files).unwrap_or(u32::MAX);
    Ok(Described { metainfo, files, total_length: geometry.total_length() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::id::InfoHash;

    #[test]
    fn only_somebody_on_this_machine_may_name_this_machine() {
        let addresses = ["127.0.0.1", "192.0.2.1", "::1", "::ffff:127.0.0.1"].map(|ip| ip.parse().unwrap()).to_vec();
        let offer =
            Offer { info_hash: InfoHash([1; 20]), name: "a".into(), total_length: 1, files: 1, port: 5, addresses };
        assert_eq!(reachable(&offer, None), ["192.0.2.1:5"]);
        let far = Some("198.51.100.7".parse().unwrap());
        assert_eq!(reachable(&offer, far), ["198.51.100.7:5", "192.0.2.1:5"]);
        let here = Some("127.0.0.1".parse().unwrap());
        assert_eq!(reachable(&offer, here)[..2], ["127.0.0.1:5", "192.0.2.1:5"]);
    }
}
