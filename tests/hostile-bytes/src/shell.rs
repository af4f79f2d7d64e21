//! A shell around a swarm of which everything under way can be finished in any way, and which checks after each input
//! what must hold between any two.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, Geometry, PieceIndex};
use swarm_proto::id::{InfoHash, PeerId, PeerKey};
use swarm_proto::swarm::{Connected, Direction, DiskDone, Output, Profile, Role, Swarm, SwarmConfig, VerifyOutcome};
use swarm_proto::wire::{Message, Reserved};

pub(crate) const PIECES: u32 = 12;
const PIECE_LENGTH: u64 = 48 * 1024;
const TOTAL_LENGTH: u64 = (PIECES as u64 - 1) * PIECE_LENGTH + 17_000;
const MAX_PEERS: usize = 6;
/// What one input may call forth: every peer asked for a window, told of every piece, and refused a full queue.
const MOST_OUTPUTS: usize = 50_000;
/// An honest peer gets what it wants within this time, whatever was before.
const PATIENCE: Duration = Duration::from_secs(900);

pub(crate) struct Shell {
    pub(crate) swarm: Swarm,
    pub(crate) geometry: Geometry,
    pub(crate) now: Instant,
    pub(crate) peers: Vec<PeerKey>,
    /// What we asked for.
    pub(crate) requests: Vec<(PeerKey, Block)>,
    pub(crate) uploads: Vec<(PeerKey, Block)>,
    pub(crate) verifies: Vec<PieceIndex>,
    pub(crate) dials: Vec<SocketAddr>,
    pub(crate) announces: Vec<u64>,
    /// Whom we unchoked, and who unchoked us.
    unchoked: BTreeSet<PeerKey>,
    unchoked_us: BTreeSet<PeerKey>,
    /// Pieces that a peer gives us while it chokes us (BEP 6).
    allowed_us: BTreeSet<(PeerKey, PieceIndex)>,
    fast: BTreeSet<PeerKey>,
    /// Requests of peers with BEP 6 that have no answer yet.
    unanswered: BTreeSet<(PeerKey, Block)>,
}

pub(crate) fn config(role: Role, profile: Profile, sequential: bool) -> SwarmConfig {
    SwarmConfig {
        info_hash: InfoHash([1; 20]),
        peer_id: PeerId([5; 20]),
        listen_port: 6881,
        trackers: vec![vec!["http://tracker/announce".into()]],
        private: false,
        metadata_size: 100,
        max_peers: MAX_PEERS,
        buffer_bytes: 4 * PIECE_LENGTH,
        profile,
        role,
        sequential,
        client: "swarm".into(),
        chat: sequential,
    }
}

pub(crate) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 6881))
}

/// Time is counted from here: nothing in a run depends on when it takes place.
fn start() -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}

impl Shell {
    /// A swarm that has the pieces whose bits are set.
    pub(crate) fn new(config: SwarmConfig, have: u16) -> Self {
        let geometry = Geometry::new(TOTAL_LENGTH, PIECE_LENGTH).expect("a plain torrent");
        let mut pieces = Bitfield::empty(PIECES);
        for piece in geometry.all_pieces().filter(|piece| have >> piece.as_u32() & 1 == 1) {
            pieces.insert(piece);
        }
        let now = start();
        let swarm = Swarm::new(config, geometry, pieces, 1, now);
        let (peers, requests, uploads, verifies, dials, announces) = Default::default();
        let (unchoked, unchoked_us, allowed_us, fast, unanswered) = Default::default();
        let mut shell = Self {
            swarm,
            geometry,
            now,
            peers,
            requests,
            uploads,
            verifies,
            dials,
            announces,
            unchoked,
            unchoked_us,
            allowed_us,
            fast,
            unanswered,
        };
        shell.drain();
        shell
    }

    pub(crate) fn drain(&mut self) {
        self.swarm.check_invariants();
        let mut outputs = 0;
        while let Some(output) = self.swarm.poll_output() {
            outputs += 1;
            self.obey(output);
        }
        assert!(outputs <= MOST_OUTPUTS, "{outputs} outputs");
        let events = std::iter::from_fn(|| self.swarm.poll_event()).count();
        assert!(events <= MOST_OUTPUTS, "{events} events");
        let stats = self.swarm.stats(self.now);
        assert!(self.dials.len() <= 20 && stats.peers as usize <= MAX_PEERS && stats.known_peers <= 3_000);
        assert_eq!(stats.peers as usize, self.peers.len(), "a connection that one side has forgotten");
        assert!(stats.have_bytes <= stats.total_bytes && stats.have_pieces <= PIECES);
    }

    fn obey(&mut self, output: Output) {
        match output {
            Output::Send { peer, message } => {
                assert!(self.peers.contains(&peer), "{message:?} to a connection that is gone");
                self.sent(peer, &message);
            }
            Output::Upload { peer, block } => {
                assert!(self.peers.contains(&peer), "an upload to a connection that is gone");
                assert!(self.swarm.have().has(block.piece()), "an upload of what we lack");
                self.answered(peer, block, "an upload");
                self.uploads.push((peer, block));
            }
            Output::Close { peer, .. } => self.gone(peer),
            Output::Dial { address } => self.dials.push(address),
            Output::Verify { piece, .. } => {
                assert!(!self.verifies.contains(&piece), "a piece is verified twice at once");
                self.verifies.push(piece);
            }
            Output::Forget { .. } | Output::ForgetBlock { .. } | Output::ChatUp { .. } | Output::Chat { .. } => {}
            Output::Announce(job) => self.announces.push(job.id),
        }
    }

    fn sent(&mut self, peer: PeerKey, message: &Message) {
        let mut bytes = Vec::new();
        message.encode_to(&mut bytes);
        assert!(bytes.len() <= 64 * 1024);
        let block = |(piece, begin, length)| {
            self.geometry.wire_block(piece, begin, length).unwrap_or_else(|| panic!("we send {message:?}"))
        };
        match *message {
            Message::Request(piece, begin, length) => {
                let block = block((piece, begin, length));
                let allowed = self.unchoked_us.contains(&peer) || self.allowed_us.contains(&(peer, block.piece()));
                assert!(allowed, "a request to a peer that chokes us");
                assert!(!self.swarm.have().has(block.piece()), "a request for what we have");
                self.requests.push((peer, block));
            }
            Message::Reject(piece, begin, length) => {
                let block = block((piece, begin, length));
                assert!(self.fast.contains(&peer), "a reject to a peer without BEP 6");
                self.answered(peer, block, "a reject");
            }
            Message::Unchoke => _ = self.unchoked.insert(peer),
            Message::Choke => _ = self.unchoked.remove(&peer),
            Message::HaveAll | Message::HaveNone | Message::Suggest(_) | Message::AllowedFast(_) => {
                assert!(self.fast.contains(&peer), "{message:?} to a peer without BEP 6");
            }
            _ => {}
        }
    }

    /// BEP 6: a request gets one answer, and nothing else does.
    fn answered(&mut self, peer: PeerKey, block: Block, by: &str) {
        let asked = self.unanswered.remove(&(peer, block));
        assert!(asked || !self.fast.contains(&peer), "{by} of {block:?}, which was not requested");
    }

    pub(crate) fn gone(&mut self, peer: PeerKey) {
        self.peers.retain(|key| *key != peer);
        self.requests.retain(|(key, _)| *key != peer);
        self.uploads.retain(|(key, _)| *key != peer);
        self.unchoked.remove(&peer);
        self.unchoked_us.remove(&peer);
        self.allowed_us.retain(|(key, _)| *key != peer);
        self.fast.remove(&peer);
        self.unanswered.retain(|(key, _)| *key != peer);
    }

    pub(crate) fn connect(
        &mut self,
        address: SocketAddr,
        number: u8,
        direction: Direction,
        reserved: Reserved,
    ) -> Option<PeerKey> {
        let connected = Connected { address, direction, peer_id: PeerId([number; 20]), reserved };
        let key = self.swarm.handle_connected(self.now, connected).ok();
        self.peers.extend(key);
        self.fast.extend(key.filter(|_| reserved.fast));
        self.drain();
        key
    }

    /// A peer says something.
    pub(crate) fn say(&mut self, peer: PeerKey, message: Message) {
        if !self.peers.contains(&peer) {
            return;
        }
        match message {
            Message::Unchoke => _ = self.unchoked_us.insert(peer),
            Message::Choke => _ = self.unchoked_us.remove(&peer),
            Message::AllowedFast(piece) => {
                self.allowed_us.extend(self.geometry.piece(piece).map(|piece| (peer, piece)));
            }
            Message::Request(piece, begin, length) if self.fast.contains(&peer) => {
                self.unanswered.extend(self.geometry.wire_block(piece, begin, length).map(|block| (peer, block)));
            }
            _ => {}
        }
        self.swarm.handle_message(self.now, peer, message);
        self.drain();
    }

    /// A block comes, asked for or not.
    pub(crate) fn block(&mut self, peer: PeerKey, block: Block) {
        if self.peers.contains(&peer) {
            let _ = self.swarm.handle_block(self.now, peer, block);
            self.drain();
        }
    }

    pub(crate) fn verified(&mut self, piece: PieceIndex, kind: u8) {
        let blocks = self.geometry.blocks_of(piece);
        let digests = |byte: u8| vec![[byte; 20]; blocks];
        let outcome = match kind % 8 {
            0..=4 => VerifyOutcome::Written { digests: digests(0) },
            5 => VerifyOutcome::Mismatch { digests: digests(kind) },
            6 => VerifyOutcome::WriteFailed,
            _ => VerifyOutcome::Aborted,
        };
        self.swarm.handle_disk(self.now, DiskDone::Verified { piece, outcome });
        self.drain();
    }

    pub(crate) fn uploaded(&mut self, peer: PeerKey, block: Block) {
        self.swarm.handle_uploaded(self.now, peer, block);
        self.drain();
    }

    /// Time passes; every deadline is kept, and none comes again and again.
    pub(crate) fn wait(&mut self, time: Duration) {
        let until = self.now + time;
        let (mut spins, mut wakes) = (0, 0);
        while let Some(at) = self.swarm.poll_timeout().filter(|at| *at <= until) {
            spins = if at > self.now { 0 } else { spins + 1 };
            wakes += 1;
            assert!(spins < 20, "the deadline stays in the past");
            if wakes > 30 {
                // The machine sleeps through the rest of it.
                self.now = until;
            }
            self.now = self.now.max(at);
            self.swarm.handle_timeout(self.now);
            self.drain();
        }
        self.now = until;
    }

    /// From now on the disk works, and the sockets take what they are given.
    pub(crate) fn settle(&mut self) {
        while let Some(piece) = self.verifies.pop() {
            self.verified(piece, 0);
        }
        while let Some((peer, block)) = self.uploads.pop() {
            self.uploaded(peer, block);
        }
        while let Some(address) = self.dials.pop() {
            self.swarm.handle_connect_failed(self.now, address);
            self.drain();
        }
    }

    /// Once the sockets have taken everything, each request has its answer (BEP 6).
    pub(crate) fn check_everything_answered(&mut self) {
        for _ in 0..60 {
            self.settle();
            if self.unanswered.is_empty() {
                return;
            }
            self.wait(Duration::from_millis(500));
        }
        panic!("no answer: {:?}", self.unanswered);
    }

    /// An honest peer connects, as often as it takes, and says this.
    fn honest(&mut self, peer: &mut Option<PeerKey>, number: u8, greeting: &[Message]) -> Option<PeerKey> {
        if peer.is_none_or(|key| !self.peers.contains(&key)) {
            let reserved = Reserved { fast: number.is_multiple_of(2), extended: true };
            *peer = self.connect(address(number), number, Direction::Incoming, reserved);
            for message in greeting {
                if let Some(key) = *peer {
                    self.say(key, message.clone());
                }
            }
        }
        *peer
    }

    /// An honest seed makes us complete.
    pub(crate) fn complete_from_honest_seed(&mut self, number: u8) {
        let start = self.now;
        let mut seed = None;
        while !self.swarm.is_complete() {
            assert!(self.now - start < PATIENCE, "never complete: {:?}", self.swarm.stats(self.now));
            self.settle();
            let greeting = [Message::Bitfield(Bitfield::full(PIECES).to_wire().into()), Message::Unchoke];
            if let Some(key) = self.honest(&mut seed, number, &greeting) {
                let (asked, others) = std::mem::take(&mut self.requests).into_iter().partition(|(of, _)| *of == key);
                self.requests = others;
                for (key, block) in asked {
                    self.block(key, block);
                }
            }
            self.settle();
            self.wait(Duration::from_millis(500));
        }
    }

    /// An honest leecher gets every piece from us.
    pub(crate) fn serve_honest_leecher(&mut self, number: u8) {
        let start = self.now;
        let (mut leecher, mut next, mut asked) = (None, 0, false);
        while next < PIECES {
            assert!(self.now - start < PATIENCE, "piece {next} is not served");
            let was = leecher;
            if let Some(key) = self.honest(&mut leecher, number, &[Message::Interested]) {
                asked &= was == leecher;
                if self.unchoked.contains(&key) && !asked {
                    self.say(key, Message::Request(next, 0, 16_384));
                    asked = true;
                }
                asked &= self.unchoked.contains(&key);
                if self.uploads.iter().any(|(to, block)| *to == key && block.piece().as_u32() == next) {
                    (next, asked) = (next + 1, false);
                }
            }
            self.settle();
            self.wait(Duration::from_millis(500));
        }
    }
}
