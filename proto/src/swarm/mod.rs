//! A torrent as one peer sees it: a state machine, driven from outside.
//!
//! In go the `handle_…` functions and [`Swarm::command`], each with the time at which the thing happened; after any of
//! them, out come [`Swarm::poll_output`] until it is empty, [`Swarm::poll_event`] until it is empty, and then
//! [`Swarm::poll_timeout`], the one moment at which [`Swarm::handle_timeout`] must be called unless something else comes
//! first. Payload bytes never come in here: the swarm speaks of [`Block`]s, the shell holds the bytes.
//!
//! Owns every decision about peers: whom to dial, what to request, whom to serve, whom to shut out. Never blocks, never
//! reads a clock, never fails: whatever a peer, tracker or disk does is an input.

mod address_book;
mod bans;
mod choking;
mod connections;
mod contract;
mod crowding;
mod end_game;
mod fault;
mod meeting;
mod messages;
mod parole;
mod peer;
mod request_queue;
mod requests;
mod spread;
mod takeover;
#[cfg(test)]
mod tests;
mod turns;
mod uploads;
mod verification;

pub use contract::*;
pub use fault::PeerFault;
pub use meeting::meeting_hash;

use crate::announce::{AnnounceReply, Announced, Announcer, AnnouncerConfig, Totals, TrackerError};
use crate::bitfield::Bitfield;
use crate::geometry::{Block, Geometry};
use crate::id::PeerKey;
use crate::picker::{Picker, PickerConfig};
use crate::rate::RateMeter;
use crate::wire::Message;
use address_book::AddressBook;
use bans::Offender;
use choking::Choking;
use parole::Parole;
use peer::Peer;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use spread::Spread;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use turns::Turns;
use verification::Verification;

/// How often timeouts, idle connections and dials are looked after.
const TICK: Duration = Duration::from_secs(1);
/// A tick that comes so late means that the machine slept or the process was stopped.
const ASLEEP: Duration = Duration::from_secs(10);
/// Peers asked of a tracker while there is room for them.
const PEERS_WANTED: u32 = 100;

/// Whether the torrent takes part in its swarm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Running,
    Paused,
    Stopped,
}

/// Payload so far, and its rates.
struct Traffic {
    downloaded: u64,
    uploaded: u64,
    wasted: u64,
    download_rate: RateMeter,
    upload_rate: RateMeter,
    failed_pieces: u32,
    banned_peers: u32,
}

/// One torrent as one peer sees it. See the module's header for how to drive it.
pub struct Swarm {
    config: SwarmConfig,
    geometry: Geometry,
    state: State,
    picker: Picker,
    /// In boxes: the tree keeps room for about as many again as it holds.
    peers: BTreeMap<PeerKey, Box<Peer>>,
    /// The last peers that left.
    departed: VecDeque<(PeerKey, Offender)>,
    next_key: u64,
    book: AddressBook,
    /// Hosts whose choked beginners were allowed some pieces, the latest last.
    allowed_hosts: VecDeque<IpAddr>,
    announcer: Announcer,
    /// The announces of those who chat and have everything.
    meeting: Option<Announcer>,
    choking: Choking,
    spread: Spread,
    turns: Turns,
    verification: Verification,
    parole: Parole,
    traffic: Traffic,
    next_tick: Instant,
    /// When idle peers may be asked for what others were asked for, where that waits.
    ask_again_at: Option<Instant>,
    random: SmallRng,
    outputs: VecDeque<Output>,
    events: VecDeque<Event>,
}

impl Swarm {
    /// A swarm that has these pieces already. `seed` decides everything random in it.
    pub fn new(config: SwarmConfig, geometry: Geometry, have: Bitfield, seed: u64, now: Instant) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let announcer = AnnouncerConfig {
            tiers: config.trackers.clone(),
            info_hash: config.info_hash,
            peer_id: config.peer_id,
            port: config.listen_port,
            key: random.random(),
            seed: random.random(),
        };
        let picker = PickerConfig { sequential: config.sequential, buffer_bytes: config.buffer_bytes };
        let mut swarm = Self {
            announcer: Announcer::new(announcer, now),
            meeting: None,
            picker: Picker::new(geometry, &have, picker, random.random()),
            choking: Choking::new(config.profile, now),
            spread: Spread::new(geometry.pieces()),
            turns: Turns::default(),
            verification: Verification::new(now),
            parole: Parole::default(),
            traffic: Traffic {
                downloaded: 0,
                uploaded: 0,
                wasted: 0,
                download_rate: RateMeter::new(peer::RATE_WINDOW),
                upload_rate: RateMeter::new(peer::RATE_WINDOW),
                failed_pieces: 0,
                banned_peers: 0,
            },
            config,
            geometry,
            state: State::Running,
            peers: BTreeMap::new(),
            departed: VecDeque::new(),
            next_key: 0,
            book: AddressBook::new(),
            allowed_hosts: VecDeque::new(),
            next_tick: now,
            ask_again_at: None,
            random,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
        };
        swarm.poll_announcer(now);
        swarm
    }

    /// The answer to [`Output::Announce`].
    pub fn handle_announced(&mut self, now: Instant, id: u64, reply: Result<AnnounceReply, TrackerError>) {
        if meeting::is_meeting(id) {
            self.handle_met(now, id, reply);
            self.dial_due(now);
            return self.poll_announcer(now);
        }
        match self.announcer.handle_reply(now, id, reply) {
            Some(Announced::Replied { url, reply }) => {
                let (peers, warning) = (reply.peers.len(), reply.warning);
                self.events.push_back(Event::TrackerReplied { url, peers, warning });
                for peer in reply.peers {
                    self.learn(now, peer, PeerSource::Tracker);
                }
            }
            Some(Announced::Failed { url, error, retry_in }) => {
                self.events.push_back(Event::TrackerFailed { url, error: error.to_string(), retry_in });
            }
            None => {}
        }
        self.dial_due(now);
        self.poll_announcer(now);
    }

    /// The moment of [`Swarm::poll_timeout`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now >= self.next_tick {
            if now.duration_since(self.next_tick) >= ASLEEP {
                self.wake_up(now);
            }
            self.next_tick = now + TICK;
            if self.state == State::Running {
                self.retry_writes(now);
                self.picker.tick();
                self.check_peers(now);
                self.disown_departed(now);
                self.choke_round(now);
                self.request_from_all(now);
                self.give_turns(now);
                self.dial_due(now);
                self.ask_for_peers_if_lonely(now);
            }
        }
        self.ask_again(now);
        self.poll_announcer(now);
    }

    /// Time that we slept through is not held against the peers: nobody is silent or late because we did not listen.
    fn wake_up(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            peer.last_received = now;
            peer.download.forgive(now);
        }
    }

    /// What the user asks.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::AddPeers(peers, source) => {
                for peer in peers {
                    self.learn(now, peer, source);
                }
                self.dial_due(now);
            }
            Command::AddTrackers(urls) => {
                for url in urls {
                    self.announcer.add_tracker(now, url.clone());
                    self.add_to_meeting(now, url);
                }
            }
            Command::Pause if self.state == State::Running => self.halt(now, State::Paused),
            Command::Resume if self.state == State::Paused => {
                self.state = State::Running;
                self.announcer.resume(now);
                self.meeting.iter_mut().for_each(|meeting| meeting.resume(now));
                self.next_tick = now;
            }
            Command::Stop if self.state != State::Stopped => self.halt(now, State::Stopped),
            Command::Pause | Command::Resume | Command::Stop => {}
        }
        self.poll_announcer(now);
    }

    fn halt(&mut self, now: Instant, state: State) {
        let keys: Vec<PeerKey> = self.peers.keys().copied().collect();
        for key in keys {
            self.close(now, key, CloseReason::Stopped);
        }
        self.state = state;
        self.announcer.stop(now);
        self.meeting.iter_mut().for_each(|meeting| meeting.stop(now));
    }

    /// The next thing for the shell to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing for the user to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Swarm::handle_timeout`] unless another input comes first.
    pub fn poll_timeout(&self) -> Option<Instant> {
        // Alone, we look out for a tracker that may be asked again.
        let busy = !self.peers.is_empty() || !self.wants_nothing();
        let tick = match self.state {
            State::Running if busy => Some(self.next_tick),
            State::Running => self.book.next_due().map(|due| due.max(self.next_tick)),
            State::Paused | State::Stopped => None,
        };
        let meeting = self.meeting.as_ref().and_then(Announcer::poll_timeout);
        let again = self.ask_again_at.filter(|_| self.state == State::Running);
        tick.into_iter().chain(self.announcer.poll_timeout()).chain(meeting).chain(again).min()
    }

    /// The pieces that are verified and on disk.
    pub fn have(&self) -> &Bitfield {
        self.picker.have()
    }

    /// Whether every piece is verified and on disk.
    pub fn is_complete(&self) -> bool {
        self.picker.is_complete()
    }

    /// Whether we shall never ask anybody for anything (BEP 21), as far as we know.
    fn wants_nothing(&self) -> bool {
        self.is_complete() || self.config.role == Role::Seed
    }

    /// Whether the swarm was stopped and has nothing left to say to any tracker.
    pub fn is_stopped(&self) -> bool {
        let idle = self.announcer.is_idle() && self.meeting.as_ref().is_none_or(Announcer::is_idle);
        self.state == State::Stopped && idle
    }

    fn poll_announcer(&mut self, now: Instant) {
        let left = self.geometry.total_length() - self.have_bytes();
        // In a room without files everybody would be a seed, and trackers tell seeds of leechers only.
        let left = if self.config.chat && self.geometry.total_length() == 0 { 1 } else { left };
        let totals = Totals { uploaded: self.traffic.uploaded, downloaded: self.traffic.downloaded, left };
        let wanted = if self.peers.len() < self.config.max_peers { PEERS_WANTED } else { 0 };
        while let Some(job) = self.announcer.poll(now, &totals, wanted) {
            self.outputs.push_back(Output::Announce(job));
        }
        self.poll_meeting(now);
    }

    /// While a download has no peers at all, the tracker may be asked again as early as it allows.
    fn ask_for_peers_if_lonely(&mut self, now: Instant) {
        if !self.wants_nothing() && self.peers.is_empty() && self.book.dialling() == 0 {
            self.announcer.hungry(now);
        }
    }

    /// Bytes of the pieces that we have.
    fn have_bytes(&self) -> u64 {
        let have = self.picker.have();
        let Some(last) = self.geometry.pieces().checked_sub(1).and_then(|last| self.geometry.piece(last)) else {
            return 0;
        };
        let whole = u64::from(have.count()) * u64::from(self.geometry.piece_length());
        let short = u64::from(self.geometry.piece_length() - self.geometry.length_of(last));
        if have.has(last) { whole - short } else { whole }
    }

    /// Sums and rates now.
    pub fn stats(&self, now: Instant) -> SwarmStats {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        SwarmStats {
            downloaded: self.traffic.downloaded,
            uploaded: self.traffic.uploaded,
            wasted: self.traffic.wasted,
            download_rate: self.traffic.download_rate.rate(now),
            upload_rate: self.traffic.upload_rate.rate(now),
            have_bytes: self.have_bytes(),
            total_bytes: self.geometry.total_length(),
            have_pieces: self.have().count(),
            total_pieces: self.geometry.pieces(),
            peers: count(self.peers.len()),
            seeds: count(self.peers.values().filter(|peer| peer.is_seed()).count()),
            known_peers: count(self.book.len()),
            failed_pieces: self.traffic.failed_pieces,
            banned_peers: self.traffic.banned_peers,
        }
    }

    /// Every connection now.
    pub fn peers(&self, now: Instant) -> Vec<PeerSnapshot> {
        let snapshot = |key: PeerKey, peer: &Peer| PeerSnapshot {
            key,
            address: peer.address,
            peer_id: peer.peer_id,
            client: peer.extension.client.clone(),
            direction: peer.direction,
            pieces: peer.has.count(),
            download_rate: peer.download.rate.rate(now),
            upload_rate: peer.upload.rate.rate(now),
            downloaded: peer.download.bytes,
            uploaded: peer.upload.bytes,
            unchoked_by_peer: !peer.download.choked,
            interested: peer.download.interested,
            unchoked: !peer.upload.choked,
            peer_interested: peer.upload.interested,
            requests: u32::try_from(peer.download.requests.len()).unwrap_or(u32::MAX),
            since: peer.since,
        };
        self.peers.iter().map(|(key, peer)| snapshot(*key, peer)).collect()
    }

    /// Asserts what must hold between any two inputs. For tests and the simulation.
    ///
    /// # Panics
    /// When something does not hold.
    pub fn check_invariants(&self) {
        self.picker.check_invariants();
        for (key, peer) in &self.peers {
            let lacking = peer.has.iter().filter_map(|index| self.geometry.piece(index));
            let useful = lacking.filter(|piece| !self.have().has(*piece)).count();
            assert_eq!(peer.useful as usize, useful, "{key:?}: count of useful pieces");
            let wanted = peer.useful > 0 && self.config.role == Role::Fetch;
            assert_eq!(peer.download.interested, wanted, "{key:?}: interest");
            for pending in &peer.download.requests {
                assert!(
                    self.picker.is_requested_from(pending.block, *key),
                    "{key:?}: {pending:?} unknown to the picker"
                );
            }
            assert!(peer.upload.requests.len() <= crate::limits::INCOMING_REQUESTS, "{key:?}: upload queue");
            peer.upload.requests.check_invariants();
            assert!(!peer.upload.choked || !peer.upload.optimistic, "{key:?}: an optimistic choke");
        }
        self.check_turns();
        assert!(self.state == State::Running || self.peers.is_empty(), "peers of a halted torrent");
    }

    /// Sends a control message.
    fn send(&mut self, now: Instant, key: PeerKey, message: Message) {
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.last_sent = now;
            self.outputs.push_back(Output::Send { peer: key, message });
        }
    }

    /// Counts payload that was of no use.
    fn waste(&mut self, block: Block) {
        self.traffic.wasted += u64::from(block.length());
    }
}
