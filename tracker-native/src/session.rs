//! What a connected peer is and may do: one answer to each request.
//!
//! Owns the identity of the peer and the torrents that its connection serves. It never reads or writes the socket. Invariant:
//! when a session ends, for whatever reason, its torrents leave the store at once.

use crate::catalogue::{Candidate, CatalogueError, Entry};
use crate::hub::Subscriber;
use crate::mailbox::Mailbox;
use crate::network::Network;
use crate::registry::{ConnectedPeer, Registration};
use crate::shared::Shared;
use crate::social::RelayAllowance;
use bytes::Bytes;
use rand::seq::SliceRandom;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use swarm_proto::announce::Reach;
use swarm_proto::id::InfoHash;
use swarm_proto::limits;
use swarm_proto::native::{
    CatalogueEntry, CatalogueFile, Challenge, ListQuery, Name, Online, PeerList, Publication, Refusal, RefusalCode,
    Request, Response, Serve, Serving, Session, Stop, Token, TorrentKey, VERSION,
};
use swarm_tracker_core::{DEFAULT_PEERS, Dialect, MOST_PEERS, StoreAnnounce, StoreRefusal, StoreReply};

/// Seconds after which a peer may try again where a limit was reached.
pub(crate) const FULL_RETRY_S: u32 = 60;

/// A publication costs its reader and the disk as much as so many announces.
const PUBLICATION_COST: u32 = 10;
/// A search looks at very many names.
const SEARCH_COST: u32 = 5;

/// What happens to the connection behind an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum After {
    Continue,
    Close,
}

/// A connected peer.
#[derive(Debug)]
pub(crate) struct PeerSession {
    pub(crate) shared: Arc<Shared>,
    registration: Registration,
    pub(crate) remote: IpAddr,
    mailbox: Arc<Mailbox>,
    online: Option<OnlinePeer>,
    torrents: HashSet<InfoHash>,
    pub(crate) challenge: Option<Challenge>,
    pub(crate) relays: RelayAllowance,
}

#[derive(Clone, Debug)]
struct OnlinePeer {
    address: SocketAddr,
    subscriber: Subscriber,
}

impl PeerSession {
    pub(crate) fn new(
        shared: Arc<Shared>,
        registration: Registration,
        remote: SocketAddr,
        mailbox: Arc<Mailbox>,
    ) -> Self {
        let remote = remote.ip().to_canonical();
        let relays = RelayAllowance::new(Instant::now());
        Self { shared, registration, remote, mailbox, online: None, torrents: HashSet::new(), challenge: None, relays }
    }

    pub(crate) fn is_online(&self) -> bool {
        self.online.is_some()
    }

    /// Forgets the torrents without telling the store: the tracker closes, its swarms stay.
    pub(crate) fn leave_in_place(&mut self) {
        self.torrents.clear();
    }

    /// Answers a request, and says what comes then.
    pub(crate) async fn answer(&mut self, request: Request) -> (Result<Response, Refusal>, After) {
        if let Request::Online(online) = request {
            let answer = self.go_online(online);
            let fatal = answer.as_ref().is_err_and(|refusal| refusal.code == RefusalCode::Version);
            return (answer, if fatal { After::Close } else { After::Continue });
        }
        let Some(peer) = self.online.clone() else {
            return (Err(Refusal::new(RefusalCode::NotOnline, "O comes first")), After::Continue);
        };
        // Who has no key may say goodbye and be alive; the admin has a proof of his own.
        let free = matches!(request, Request::Offline | Request::Alive | Request::Shutdown { .. });
        if let Err(refusal) = self.check_key()
            && !free
        {
            return (Err(refused(refusal)), After::Continue);
        }
        // Torrents that are served count for themselves, once they are announced.
        let counted = !matches!(request, Request::Offline | Request::Alive | Request::Stop(_) | Request::Serve(_));
        if counted && let Err(refusal) = self.shared.store.admit(Instant::now(), self.remote, 1) {
            return (Err(refused(refusal)), After::Continue);
        }
        // Who asks for peers without joining them may be collecting addresses.
        let lists = matches!(request, Request::Peers { info_hash: Some(_), .. } | Request::File { .. });
        if lists && let Err(refusal) = self.shared.store.admit_list(Instant::now(), self.remote) {
            return (Err(refused(refusal)), After::Continue);
        }
        let answer = match request {
            Request::Offline => {
                self.end_torrents();
                return (Ok(Response::Done), After::Close);
            }
            Request::Serve(serve) => self.serve(&peer, serve).await,
            Request::Stop(stop) => self.stop(&peer, &stop),
            Request::Peers { info_hash, num_want } => Ok(Response::Peers(self.peers(&peer, info_hash, num_want))),
            Request::File { key, num_want } => self.file(&peer, &key, num_want),
            Request::List(query) => self.list(&query).await,
            Request::Register(registration) => self.register(registration),
            Request::WhoIs(query) => self.who_is(&query),
            Request::Relay(relayed) => self.relay(relayed),
            Request::Shutdown { proof } => self.shut_down(&proof),
            Request::Alive | Request::Online(_) => Ok(Response::Alive),
        };
        (answer, After::Continue)
    }

    fn go_online(&mut self, online: Online) -> Result<Response, Refusal> {
        if self.online.is_some() {
            return Err(Refusal::new(RefusalCode::AlreadyOnline, "O comes once"));
        }
        let version = online.version.min(VERSION);
        if version == 0 || online.lowest_version > version {
            let text = format!("this tracker speaks version {VERSION}");
            return Err(Refusal::new(RefusalCode::Version, &text));
        }
        let address = SocketAddr::new(self.remote, online.port);
        let session = rand::random();
        tracing::debug!(%address, peer = %online.peer_id, session = format_args!("{session:016x}"), "online");
        let Online { peer_id, client, challenge, relay, passkey, .. } = online;
        self.registration.online(ConnectedPeer { session, address, peer_id, client, torrents: 0 });
        let connection = self.registration.key();
        let subscriber = Subscriber { connection, peer_id, mailbox: Arc::clone(&self.mailbox), relay, passkey };
        self.challenge = challenge.then(|| Challenge(rand::random()));
        self.online = Some(OnlinePeer { address, subscriber });
        Ok(Response::Online(Session {
            version,
            address,
            interval_s: self.shared.interval_s(),
            session,
            challenge: self.challenge,
        }))
    }

    async fn serve(&mut self, peer: &OnlinePeer, serve: Serve) -> Result<Response, Refusal> {
        let serves = peer.address.port() != 0;
        if serve.publication.is_some() {
            self.shared.store.admit(Instant::now(), self.remote, PUBLICATION_COST).map_err(refused)?;
        }
        if !serves && serve.publication.is_none() {
            return Err(Refusal::new(RefusalCode::NoPort, "a peer that takes no connections cannot serve"));
        }
        let room = self.torrents.len() < self.shared.config.limits.torrents_per_connection;
        if serves && !room && !self.torrents.contains(&serve.info_hash) {
            return Err(Refusal::new(RefusalCode::Full, "as many torrents as a connection may serve"));
        }
        let token = match serve.publication {
            Some(publication) => Some(self.publish(serve.info_hash, publication).await?),
            None => None,
        };
        let announce = StoreAnnounce {
            info_hash: serve.info_hash,
            peer_id: peer.subscriber.peer_id,
            address: peer.address,
            left: serve.left,
            event: serve.event,
            num_want: serve.num_want,
            dialect: Dialect::Native,
            passkey: peer.subscriber.key(),
        };
        let reply = if serves { self.announce(&announce, &peer.subscriber)? } else { self.choose(peer, &announce) };
        Ok(Response::Serving(Serving { interval_s: self.shared.interval_s(), list: list(reply), token }))
    }

    fn announce(&mut self, announce: &StoreAnnounce<'_>, subscriber: &Subscriber) -> Result<StoreReply, Refusal> {
        let reply = self.shared.hub.serve(announce, subscriber).map_err(refused)?;
        self.torrents.insert(announce.info_hash);
        self.registration.serves(self.torrents.len());
        Ok(reply)
    }

    fn choose(&self, peer: &OnlinePeer, asked: &StoreAnnounce<'_>) -> StoreReply {
        self.shared.choose(&asked.info_hash, peer, asked.num_want)
    }

    async fn publish(&self, info_hash: InfoHash, publication: Publication) -> Result<Token, Refusal> {
        let Publication { name, metainfo, token } = publication;
        let refused = |error: CatalogueError| error.refusal();
        let candidate = self.shared.read_metainfo(metainfo, name, info_hash).await.map_err(refused)?;
        let name = candidate.name.clone();
        let token = token.unwrap_or_else(|| Token::new(rand::random()));
        self.shared.catalogue().publish(candidate, token, Network::of(self.remote)).map_err(refused)?;
        self.shared.catalogue_changed.notify_one();
        tracing::info!(%name, %info_hash, by = %self.remote, "published");
        Ok(token)
    }

    fn stop(&mut self, peer: &OnlinePeer, stop: &Stop) -> Result<Response, Refusal> {
        match stop {
            Stop::Torrent(info_hash) => {
                if !self.torrents.remove(info_hash) {
                    return Err(Refusal::new(RefusalCode::NotFound, "this connection does not serve that torrent"));
                }
                self.shared.hub.stop(*info_hash, peer.address, peer.subscriber.connection);
                self.registration.serves(self.torrents.len());
            }
            Stop::Name(name, token) => {
                self.shared.catalogue().remove(name, *token).map_err(|error| error.refusal())?;
                self.shared.catalogue_changed.notify_one();
                tracing::info!(%name, by = %self.remote, "unpublished");
            }
        }
        Ok(Response::Done)
    }

    fn peers(&self, peer: &OnlinePeer, info_hash: Option<InfoHash>, num_want: Option<u32>) -> PeerList {
        if let Some(info_hash) = info_hash {
            return list(self.shared.choose(&info_hash, peer, num_want));
        }
        let mut peers = self.shared.registry.addresses();
        peers.retain(|other| *other != peer.address && Reach::of(other.ip()) >= Reach::of(self.remote));
        peers.shuffle(&mut rand::rng());
        peers.truncate(num_want.map_or(DEFAULT_PEERS, |wanted| MOST_PEERS.min(wanted as usize)));
        let stats = self.shared.store.stats();
        let count = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
        let leechers = stats.peers.saturating_sub(stats.seeds);
        PeerList { complete: count(stats.seeds), incomplete: count(leechers), peers }
    }

    fn file(&self, peer: &OnlinePeer, key: &TorrentKey, num_want: Option<u32>) -> Result<Response, Refusal> {
        let found = {
            let catalogue = self.shared.catalogue();
            match key {
                TorrentKey::Name(name) => catalogue.by_name(name).map(|entry| (name.clone(), entry.clone())),
                TorrentKey::InfoHash(hash) => {
                    catalogue.by_info_hash(*hash).map(|(name, entry)| (name.clone(), entry.clone()))
                }
            }
        };
        let Some((name, Entry { info_hash, size, metainfo, .. })) = found else {
            return Err(Refusal::new(RefusalCode::NotFound, "nothing of that name or info hash in the catalogue"));
        };
        let reply = self.shared.choose(&info_hash, peer, num_want);
        let (complete, incomplete) = (reply.complete, reply.incomplete);
        let entry = CatalogueEntry { name, size, info_hash, complete, incomplete };
        Ok(Response::File(CatalogueFile { entry, metainfo, peers: list(reply).peers }))
    }

    async fn list(&self, query: &ListQuery) -> Result<Response, Refusal> {
        let limit = query.limit.map_or(limits::NATIVE_PAGE, |limit| limits::NATIVE_PAGE.min(limit as usize));
        self.shared.counters().lists.add(1);
        if !query.contains.is_empty() {
            self.shared.counters().searches.add(1);
            self.shared.store.admit(Instant::now(), self.remote, SEARCH_COST - 1).map_err(refused)?;
            let (page, next) = self.shared.search(query, limit).await;
            return Ok(Response::List(page, next));
        }
        let (page, more) = self.shared.page(&query.prefix, query.after.as_ref(), limit);
        let next = page.last().filter(|_| more).map(|entry| entry.name.clone());
        Ok(Response::List(page, next))
    }

    /// Whether the peer may use this tracker. The torrents of one whose key is good no longer stop at once.
    pub(crate) fn check_key(&mut self) -> Result<(), StoreRefusal> {
        let Some(peer) = &self.online else { return Ok(()) };
        let checked = self.shared.store.check_key(peer.subscriber.key());
        if let Err(refusal) = &checked
            && !self.torrents.is_empty()
        {
            tracing::debug!(address = %peer.address, %refusal, "torrents stop");
            self.end_torrents();
            self.registration.serves(0);
        }
        checked
    }

    /// The address under which this connection serves a torrent, if it does.
    pub(crate) fn serving(&self, info_hash: &InfoHash) -> Option<SocketAddr> {
        let peer = self.online.as_ref().filter(|_| self.torrents.contains(info_hash))?;
        Some(peer.address)
    }

    fn end_torrents(&mut self) {
        let Some(peer) = &self.online else { return };
        for info_hash in self.torrents.drain() {
            self.shared.hub.stop(info_hash, peer.address, peer.subscriber.connection);
        }
    }
}

impl Drop for PeerSession {
    fn drop(&mut self) {
        self.end_torrents();
    }
}

pub(crate) fn refused(refusal: StoreRefusal) -> Refusal {
    match refusal {
        StoreRefusal::NotTracked | StoreRefusal::NoKey | StoreRefusal::UnknownKey => {
            Refusal::new(RefusalCode::NotAllowed, refusal.text())
        }
        StoreRefusal::Full | StoreRefusal::TooOften { .. } | StoreRefusal::KeyLimit => {
            Refusal::new(RefusalCode::Full, refusal.text()).retry_in(FULL_RETRY_S)
        }
    }
}

fn list(reply: StoreReply) -> PeerList {
    let peers = reply.peers.into_iter().map(|peer| peer.address).collect();
    PeerList { complete: reply.complete, incomplete: reply.incomplete, peers }
}

impl Shared {
    /// Peers of a torrent for somebody who does not join it.
    fn choose(&self, info_hash: &InfoHash, peer: &OnlinePeer, num_want: Option<u32>) -> StoreReply {
        let OnlinePeer { address, subscriber } = peer;
        self.store.choose(info_hash, *address, &subscriber.peer_id, num_want, subscriber.key())
    }

    /// Reads a metainfo on a thread of its own, few at a time: what it takes is a multiple of its size.
    pub(crate) async fn read_metainfo(
        &self,
        metainfo: Bytes,
        name: Option<Name>,
        told: InfoHash,
    ) -> Result<Candidate, CatalogueError> {
        let _permit = self.metainfo_readers.acquire().await;
        let read = tokio::task::spawn_blocking(move || Candidate::read(metainfo, name, told)).await;
        read.unwrap_or_else(|_| Err(CatalogueError::Metainfo("the tracker failed over it".into())))
    }
}
