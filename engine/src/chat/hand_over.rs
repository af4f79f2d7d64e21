//! Files from one person to another: described in memory, offered, and fetched directly from who offers them.

use super::describe::{Described, describe};
use super::handle::{ChatFailure, ChatHandle};
use super::offered::{ENDING, Hold};
use super::reading::{Reading, StopsIt};
use super::task::address_of;
use super::transfers::{Fetch, reachable};
use crate::Torrent;
use crate::session::{AddError, AddTorrent, Session};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use swarm_proto::chat::{ChatError, ChatEvent, Offer, PublicKey, Reach, RequestId};
use swarm_proto::metainfo::Metainfo;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

impl ChatHandle {
    /// Offers a file or folder to somebody. It is hashed first, and served by this session from then on until no offer
    /// of it is open any more. How it goes is told by [`ChatEvent::OfferProgress`] and [`ChatEvent::OfferEnded`]. The
    /// hashing stops when this is dropped.
    ///
    /// # Errors
    /// When it cannot be read or described in a chat, and as [`swarm_proto::chat::Room::offer`].
    pub async fn offer(&self, to: PublicKey, path: impl Into<PathBuf>) -> Result<RequestId, ChatFailure> {
        self.offer_watched(to, path, Reading::default()).await
    }

    /// [`ChatHandle::offer`], with `reading` to see how far the hashing is and to stop it.
    ///
    /// # Errors
    /// As [`ChatHandle::offer`], and [`ChatFailure::Stopped`].
    pub async fn offer_watched(
        &self,
        to: PublicKey,
        path: impl Into<PathBuf>,
        reading: Reading,
    ) -> Result<RequestId, ChatFailure> {
        self.offer_at(to, path.into(), self.reach(), reading).await
    }

    /// The same, as somebody who takes connections there.
    pub(super) async fn offer_at(
        &self,
        to: PublicKey,
        path: PathBuf,
        reach: Reach,
        reading: Reading,
    ) -> Result<RequestId, ChatFailure> {
        // What nobody will be offered is not read.
        self.ask(move |room, _, _| room.may_offer(to)).await??;
        let _stops = StopsIt(reading.clone());
        let (described, hold) = tokio::select! {
            biased;
            () = reading.stopped() => return Err(ChatFailure::Stopped),
            // A task of its own: half of it is never left behind, whoever goes.
            prepared = tokio::spawn(prepare(self.session(), path, reading.clone())) => {
                prepared.map_err(|_| ChatFailure::Crashed)??
            }
        };
        let Described { metainfo, files, total_length } = described;
        let Reach { port, addresses } = reach;
        let (info_hash, name) = (metainfo.info_hash(), metainfo.name().to_owned());
        let offer = Offer { info_hash, name, total_length, files, port, addresses };
        let bytes = metainfo.bytes().clone();
        let offered = self.ask(move |room, now, desk| {
            let id = room.offer(now, to, offer, bytes)?;
            desk.transfers.sends(id, hold);
            Ok::<_, ChatError>(id)
        });
        Ok(offered.await??)
    }

    /// Where we take connections, as far as we know.
    fn reach(&self) -> Reach {
        let listening = self.session().listen_address();
        let own = Some(listening.ip()).filter(|ip| !ip.is_unspecified());
        let mut addresses: Vec<IpAddr> = own.into_iter().chain(self.requests.addresses.iter().copied()).collect();
        addresses.dedup();
        Reach { port: listening.port(), addresses }
    }

    /// Takes what was offered: the metainfo comes through the chat, the files directly from who offers them, into this
    /// folder. Returns when the fetch has begun; what is there already of an earlier one is kept. [`ChatHandle::hang_up`]
    /// ends it.
    ///
    /// # Errors
    /// [`ChatError::NoSuchRequest`], [`ChatError::TooMany`], [`ChatFailure::OfferLost`], and when the torrent cannot be
    /// added.
    pub async fn accept_offer(&self, id: RequestId, folder: impl Into<PathBuf>) -> Result<Torrent, ChatFailure> {
        let mut events = self.events();
        let reach = self.reach();
        let accepted = self.ask(move |room, now, _| {
            room.accept(now, id)?;
            room.tell_reach(now, id, reach)
        });
        accepted.await??;
        let (from, offer, metainfo) = loop {
            match events.next().await.ok_or(ChatFailure::Ended)? {
                ChatEvent::OfferReady { id: ready, from, offer, metainfo } if ready == id => {
                    break (from, offer, metainfo);
                }
                ChatEvent::OfferExpired { id: lost, .. } if lost == id => return Err(ChatFailure::OfferLost),
                _ => {}
            }
        };
        let begun = self.fetch(id, (from.key, offer), Metainfo::parse(metainfo)?, folder.into()).await;
        if begun.is_err() {
            // Whoever offers it waits no longer.
            let _over = self.hang_up(id).await;
        }
        begun
    }

    async fn fetch(
        &self,
        id: RequestId,
        (from, offer): (PublicKey, Offer),
        metainfo: Metainfo,
        folder: PathBuf,
    ) -> Result<Torrent, ChatFailure> {
        let reach = Reach { port: offer.port, addresses: offer.addresses };
        let tried = self.ask(move |room, _, desk| {
            let addresses = reachable(&reach, address_of(room, &desk.addresses, &from), &desk.addresses);
            room.tried(id, addresses.clone());
            addresses
        });
        let torrent = self.add_fetch(only_files(&metainfo)?, tried.await?, &folder).await?;
        let fetch = Fetch { torrent: torrent.background(), folder };
        let begun = self.ask(move |room, now, desk| desk.transfers.fetches(room, now, id, fetch));
        if begun.await? { Ok(torrent) } else { Err(ChatFailure::OfferLost) }
    }

    /// Fetches into the folder, or goes on with what another offer has begun there.
    async fn add_fetch(
        &self,
        metainfo: Metainfo,
        peers: Vec<SocketAddr>,
        folder: &Path,
    ) -> Result<Torrent, ChatFailure> {
        let info_hash = metainfo.info_hash();
        loop {
            let mut torrent = AddTorrent::fetch(metainfo.clone(), folder);
            torrent.peers = peers.iter().map(SocketAddr::to_string).collect();
            let duplicate = match self.session().add(torrent).await {
                Err(AddError::Duplicate(duplicate)) => ChatFailure::Add(Box::new(AddError::Duplicate(duplicate))),
                added => return added.map_err(|error| ChatFailure::Add(Box::new(error))),
            };
            let Some(fetch) = self.ask(move |_, _, desk| desk.transfers.fetched(info_hash)).await? else {
                return Err(duplicate);
            };
            if !fetch.torrent.is_ending() {
                if fetch.folder == folder {
                    fetch.torrent.add_peers(peers);
                    return fetch.torrent.upgrade().ok_or(ChatFailure::Ended);
                }
                fetch.torrent.stop();
            }
            if timeout(ENDING, fetch.torrent.wait_ended()).await.is_err() {
                return Err(duplicate);
            }
        }
    }
}

/// Reads and serves what is to be offered.
async fn prepare(session: Session, path: PathBuf, reading: Reading) -> Result<(Described, Hold), ChatFailure> {
    let described = spawn_blocking({
        let (path, state_folder) = (path.clone(), session.state_folder().map(Path::to_owned));
        let reading = reading.clone();
        move || describe(&path, state_folder.as_deref(), &reading)
    });
    let described = described.await.map_err(|_| ChatFailure::Crashed)??;
    let hold = session.offered().serve(&session, described.metainfo.clone(), path, &reading).await?;
    Ok((described, hold))
}

/// The files and nothing else: what a stranger's metainfo says of trackers, web seeds and peers is not asked for.
fn only_files(metainfo: &Metainfo) -> Result<Metainfo, ChatFailure> {
    Ok(Metainfo::parse([b"d4:info".as_slice(), metainfo.info_bytes(), b"e"].concat())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::metainfo::{Content, MetainfoBuilder};

    #[test]
    fn nothing_but_the_files_is_taken_from_a_stranger() {
        let mut builder = MetainfoBuilder::new("film", Content::SingleFile { length: 5 });
        builder.trackers = vec![vec!["http://tracker.example/announce".to_owned()]];
        builder.web_seeds = vec!["http://router.example/reboot".to_owned()];
        builder.peers = vec!["192.0.2.1:25".to_owned()];
        let whole = Metainfo::parse(builder.build(&[[7; 20]]).unwrap()).unwrap();
        assert!(!whole.trackers().is_empty() && !whole.web_seeds().is_empty() && !whole.peers().is_empty());
        let files = only_files(&whole).unwrap();
        assert_eq!(files.info_hash(), whole.info_hash());
        assert!(files.trackers().is_empty() && files.web_seeds().is_empty() && files.peers().is_empty());
    }
}
