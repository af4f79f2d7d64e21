//! What goes on of a transfer that broke off, and until when: real torrents, and a clock that the tests turn.

use super::*;
use crate::chat::describe::describe;
use crate::chat::reading::Reading;
use crate::{AddTorrent, Listen, Session, SessionConfig};
use std::fs;
use swarm_proto::chat::{Identity, Person, RoomConfig, Transfer, Trust};
use swarm_proto::metainfo::Metainfo;
use tempfile::TempDir;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);
const MOMENT: Duration = Duration::from_millis(1);

/// A session whose torrents may receive so many bytes a second.
fn session(folder: &TempDir, download_limit: Option<u64>) -> Session {
    let listen = Listen::Address(SocketAddr::from(([127, 0, 0, 1], 0)));
    let state_folder = Some(folder.path().join("state"));
    Session::new(SessionConfig { listen, state_folder, download_limit, ..SessionConfig::default() }).unwrap()
}

/// What one session hands over, and what is decided about it.
struct Desk {
    folder: TempDir,
    session: Session,
    metainfo: Metainfo,
    transfers: Transfers,
    room: Room,
    start: Instant,
}

impl Desk {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let session = session(&folder, None);
        fs::write(folder.path().join("film"), vec![7; 3_000_000]).unwrap();
        let described = describe(&folder.path().join("film"), session.state_folder(), &Reading::default()).unwrap();
        let (start, identity) = (Instant::now(), Identity::from_secret([1; 32]));
        let (room, name) = (InfoHash([1; 20]), "anna".to_owned());
        let config = RoomConfig { room, identity, name, book: Vec::new(), look_up_names: true, wall_ms: 0 };
        let room = Room::new(config, [1; 32], start).unwrap();
        Self { folder, session, metainfo: described.metainfo, transfers: Transfers::default(), room, start }
    }

    /// An offer of it.
    async fn sends(&mut self, at: u8) -> Background {
        let (path, reading) = (self.folder.path().join("film"), Reading::default());
        let hold = self.session.offered().serve(&self.session, self.metainfo.clone(), path, &reading).await.unwrap();
        let torrent = hold.torrent.clone();
        self.transfers.sends(RequestId([at; 16]), hold);
        torrent
    }

    fn ends(&mut self, at: u8, end: TransferEnd) {
        self.transfers.take(&ChatEvent::OfferEnded { transfer: transfer(at), end });
    }

    /// Looks at it all, so long after the start.
    fn look(&mut self, after: Duration) {
        self.transfers.look(&mut self.room, self.start + after);
    }
}

fn transfer(at: u8) -> Transfer {
    let key = Identity::from_secret([2; 32]).public();
    let (name, trust) = ("bo".to_owned(), Trust::FirstSeen);
    let with = Person { key, name, here: true, trust, direct: true, registered: false, me: false };
    Transfer { id: RequestId([at; 16]), with, ours: true, name: "film".to_owned(), have_bytes: 0, total_bytes: 1 }
}

/// Somebody who fetches it slowly, and stays connected.
async fn fetcher(desk: &Desk, folder: &TempDir) -> (Session, Background) {
    let session = session(folder, Some(50_000));
    let mut add = AddTorrent::fetch(desk.metainfo.clone(), folder.path());
    add.peers = vec![desk.session.listen_address().to_string()];
    let torrent = session.add(add).await.unwrap();
    (session, torrent.background())
}

async fn connected(torrent: &Background, is: bool) {
    let so = async {
        while (torrent.status().stats.peers > 0) != is {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, so).await.expect("in time");
}

async fn ended(torrent: &Background) {
    timeout(PATIENCE, torrent.wait_ended()).await.expect("in time");
}

/// What is served, and its offer has broken off just now; whoever fetches it stays connected.
async fn broken_off() -> (Desk, Background, (TempDir, Session, Background)) {
    let mut desk = Desk::new();
    let served = desk.sends(1).await;
    let folder = TempDir::new().unwrap();
    let (session, fetch) = fetcher(&desk, &folder).await;
    connected(&served, true).await;
    desk.ends(1, TransferEnd::Lost);
    desk.look(Duration::ZERO);
    (desk, served, (folder, session, fetch))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_broke_off_is_served_for_half_a_minute_and_then_to_nobody() {
    let (mut desk, served, _there) = broken_off().await;
    desk.look(LINGER - MOMENT);
    assert!(!served.is_ending() && served.status().stats.peers > 0 && desk.transfers.look_at().is_some());
    desk.look(LINGER);
    assert!(served.is_ending(), "whoever stays connected is not served for it");
    ended(&served).await;
    assert!(desk.transfers.look_at().is_none(), "there is nothing to look at any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_again_in_time_loses_no_connection_and_other_offers_nothing_at_all() {
    let (mut desk, served, _there) = broken_off().await;
    desk.look(LINGER / 2);
    assert_eq!(desk.sends(2).await.info_hash(), served.info_hash());
    desk.sends(3).await;
    desk.look(LINGER);
    desk.look(LINGER * 100);
    assert!(!served.is_ending() && served.status().stats.peers > 0, "there are offers that need it");
    // The second breaks off, and the third is over: the time of the second runs from its own end.
    desk.ends(2, TransferEnd::Lost);
    desk.ends(3, TransferEnd::Complete);
    desk.look(LINGER * 100);
    desk.look(LINGER * 101 - MOMENT);
    assert!(!served.is_ending());
    desk.look(LINGER * 101);
    ended(&served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_back_is_served_no_more_at_once() {
    for end in [TransferEnd::Withdrawn, TransferEnd::GivenUp, TransferEnd::Complete] {
        let mut desk = Desk::new();
        let served = desk.sends(1).await;
        desk.ends(1, end);
        assert!(served.is_ending(), "{end:?}");
        ended(&served).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_fetched_goes_on_while_somebody_sends_and_half_a_minute_longer() {
    let desk = Desk::new();
    let seed = AddTorrent::seed(desk.metainfo.clone(), desk.folder.path().join("film"));
    let seed = desk.session.add(seed).await.unwrap();
    let folder = TempDir::new().unwrap();
    let (_there, fetch) = fetcher(&desk, &folder).await;
    connected(&fetch, true).await;
    let mut other = Desk::new();
    other.transfers.fetching.insert(RequestId([1; 16]), fetch.clone());
    other.ends(1, TransferEnd::Lost);
    for minutes in 0..10 {
        other.look(Duration::from_secs(60) * minutes);
    }
    assert!(!fetch.is_ending(), "it comes");
    seed.stop().await;
    connected(&fetch, false).await;
    let gone = Duration::from_secs(600);
    other.look(gone);
    other.look(gone + LINGER - MOMENT);
    assert!(!fetch.is_ending());
    // Another offer of the same files is accepted, and breaks off as well.
    other.transfers.fetching.insert(RequestId([2; 16]), fetch.clone());
    other.look(gone + LINGER);
    assert!(!fetch.is_ending(), "it is wanted again");
    other.ends(2, TransferEnd::Lost);
    other.look(gone * 2);
    other.look(gone * 2 + LINGER);
    assert!(fetch.is_ending());
    ended(&fetch).await;
    assert!(other.transfers.look_at().is_none());
}
