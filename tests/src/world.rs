//! The simulated world: swarms on one virtual clock, with links that have a rate and a latency.
//!
//! Drives [`Swarm`]s as a shell would, without sockets, files or real time; everything follows from one seed. Payload
//! leaves a host through its uplink, shared fairly among its connections, and arrives after the latency; control messages
//! only take the latency. A piece is right unless a host is told to send wrong bytes.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use swarm_proto::announce::{AnnounceReply, PeerAddress};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, Geometry, PieceIndex};
use swarm_proto::id::{InfoHash, PeerId, PeerKey};
use swarm_proto::swarm::{
    BlockVerdict, Command, Connected, Direction, DiskDone, Event, Output, PeerSource, Profile, Role, Swarm,
    SwarmConfig, VerifyOutcome,
};
use swarm_proto::wire::{Message, Reserved};

/// Number of a host in its world.
pub type HostIndex = usize;

/// How a host behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Conduct {
    /// Follows the protocol.
    #[default]
    Honest,
    /// Sends wrong bytes in every block.
    Corrupt,
    /// Takes requests and sends nothing.
    Stall,
    /// Takes what it gets and never serves anybody.
    FreeRide,
}

/// What a host is.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// Whether it begins with every piece.
    pub seed: bool,
    /// Bytes a second that leave it.
    pub uplink: u64,
    /// How it behaves.
    pub conduct: Conduct,
    /// BEP 6 and BEP 10.
    pub reserved: Reserved,
}

impl HostConfig {
    /// An honest leecher with this uplink in bytes a second.
    pub fn leecher(uplink: u64) -> Self {
        let reserved = Reserved { fast: true, extended: true };
        Self { seed: false, uplink, conduct: Conduct::Honest, reserved }
    }

    /// An honest seed with this uplink in bytes a second.
    pub fn seed(uplink: u64) -> Self {
        Self { seed: true, ..Self::leecher(uplink) }
    }
}

struct Host {
    swarm: Swarm,
    config: HostConfig,
    address: SocketAddr,
    /// The other end of each connection.
    links: BTreeMap<PeerKey, (HostIndex, PeerKey)>,
    /// Blocks that wait for the uplink, one queue a connection, served in turn.
    waiting: VecDeque<(PeerKey, VecDeque<Block>)>,
    sending: bool,
    /// Blocks of begun pieces that came wrong.
    wrong: BTreeMap<PieceIndex, Vec<usize>>,
    wake: Option<Instant>,
    events: Vec<(Duration, Event)>,
    completed: Option<Duration>,
    /// Gone from the world.
    gone: bool,
}

enum Happening {
    Start(HostIndex),
    Leave(HostIndex),
    Wake(HostIndex),
    Dial { from: HostIndex, to: SocketAddr },
    Message { to: HostIndex, key: PeerKey, message: Message },
    Sent { from: HostIndex, key: PeerKey, block: Block },
    Arrived { to: HostIndex, key: PeerKey, block: Block, wrong: bool },
    Closed { to: HostIndex, key: PeerKey },
    Verified { host: HostIndex, piece: PieceIndex, digests: bool },
    Announced { host: HostIndex, id: u64 },
}

struct Scheduled {
    at: Instant,
    order: u64,
    what: Happening,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl Eq for Scheduled {}
impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Hosts, links and one clock.
pub struct World {
    hosts: Vec<Host>,
    geometry: Geometry,
    start: Instant,
    now: Instant,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    random: SmallRng,
    latency: Duration,
    profile: Profile,
    /// Pairs of hosts that cannot connect to each other.
    cuts: Vec<[HostIndex; 2]>,
    /// Check the invariants of the host concerned after each step: slow, for small worlds.
    pub checking: bool,
}

impl World {
    /// An empty world for one torrent.
    pub fn new(geometry: Geometry, latency: Duration, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            hosts: Vec::new(),
            geometry,
            start,
            now: start,
            queue: BinaryHeap::new(),
            order: 0,
            random: SmallRng::seed_from_u64(seed),
            latency,
            profile: Profile::Public,
            cuts: Vec::new(),
            checking: false,
        }
    }

    /// The profile of hosts added from now on.
    pub fn set_profile(&mut self, profile: Profile) {
        self.profile = profile;
    }

    /// Adds a host that comes up after this time.
    pub fn add(&mut self, config: HostConfig, after: Duration) -> HostIndex {
        let index = self.hosts.len();
        let number = u32::try_from(index + 1).expect("a small world");
        let address = SocketAddr::from(((0x0a00_0000 + number).to_be_bytes(), 6881));
        let pieces = self.geometry.pieces();
        let have = if config.seed { Bitfield::full(pieces) } else { Bitfield::empty(pieces) };
        let mut random = [0; 12];
        random[8..].copy_from_slice(&number.to_be_bytes());
        let swarm_config = SwarmConfig {
            info_hash: InfoHash([7; 20]),
            peer_id: PeerId::new(random),
            listen_port: 6881,
            trackers: vec![vec!["http://tracker/announce".into()]],
            private: false,
            metadata_size: 0,
            max_peers: 60,
            buffer_bytes: 64 << 20,
            profile: self.profile,
            role: Role::Fetch,
            sequential: false,
            client: "swarm".into(),
        };
        let at = self.now + after;
        let swarm = Swarm::new(swarm_config, self.geometry, have, self.random.random(), at);
        self.hosts.push(Host {
            swarm,
            completed: config.seed.then_some(Duration::ZERO),
            config,
            address,
            links: BTreeMap::new(),
            waiting: VecDeque::new(),
            sending: false,
            wrong: BTreeMap::new(),
            wake: None,
            events: Vec::new(),
            gone: false,
        });
        self.schedule(at, Happening::Start(index));
        index
    }

    /// Takes a host away at this time, without a goodbye.
    pub fn leave(&mut self, host: HostIndex, after: Duration) {
        self.schedule(self.start + after, Happening::Leave(host));
    }

    /// From now on these two cannot connect to each other, whoever dials.
    pub fn cut(&mut self, one: HostIndex, other: HostIndex) {
        self.cuts.push([one, other]);
    }

    fn schedule(&mut self, at: Instant, what: Happening) {
        self.order += 1;
        self.queue.push(Reverse(Scheduled { at, order: self.order, what }));
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.now.duration_since(self.start)
    }

    /// Runs until every leecher that is still there is complete, or the time is over. True if all are complete.
    pub fn run(&mut self, limit: Duration) -> bool {
        while self.hosts.iter().any(|host| !host.gone && host.completed.is_none()) {
            let Some(Reverse(next)) = self.queue.pop() else { return false };
            if next.at.duration_since(self.start) > limit {
                return false;
            }
            self.now = self.now.max(next.at);
            self.step(next.what);
        }
        true
    }

    /// When the host had every piece.
    pub fn completed(&self, host: HostIndex) -> Option<Duration> {
        self.hosts[host].completed
    }

    /// The last completion.
    pub fn last_completion(&self) -> Option<Duration> {
        self.hosts.iter().filter(|host| !host.gone).map(|host| host.completed).max().flatten()
    }

    /// The swarm of a host.
    pub fn swarm(&self, host: HostIndex) -> &Swarm {
        &self.hosts[host].swarm
    }

    /// What a host's swarm told, with the time of each.
    pub fn events(&self, host: HostIndex) -> &[(Duration, Event)] {
        &self.hosts[host].events
    }

    /// Payload received by all hosts, and how much of it was of no use. Bytes.
    pub fn traffic(&self) -> (u64, u64) {
        let stats = self.hosts.iter().map(|host| host.swarm.stats(self.now));
        stats.fold((0, 0), |(down, waste), stats| (down + stats.downloaded, waste + stats.wasted))
    }

    fn step(&mut self, what: Happening) {
        let now = self.now;
        let host = match what {
            Happening::Start(host) | Happening::Wake(host) => {
                self.hosts[host].wake = None;
                self.hosts[host].swarm.handle_timeout(now);
                host
            }
            Happening::Leave(host) => return self.take_away(host),
            Happening::Dial { from, to } => return self.dial(from, to),
            Happening::Message { to, key, message } => {
                self.hosts[to].swarm.handle_message(now, key, message);
                to
            }
            Happening::Sent { from, key, block } => return self.sent(from, key, block),
            Happening::Arrived { to, key, block, wrong } => {
                if self.hosts[to].swarm.handle_block(now, key, block) == BlockVerdict::Keep && wrong {
                    self.hosts[to].wrong.entry(block.piece()).or_default().push(block.ordinal());
                }
                to
            }
            Happening::Closed { to, key } => {
                self.hosts[to].links.remove(&key);
                self.hosts[to].swarm.handle_closed(now, key);
                to
            }
            Happening::Verified { host, piece, digests } => {
                self.verified(host, piece, digests);
                host
            }
            Happening::Announced { host, id } => {
                let reply = self.announce_reply(host);
                self.hosts[host].swarm.handle_announced(now, id, Ok(reply));
                host
            }
        };
        self.drain(host);
    }

    fn verified(&mut self, host: HostIndex, piece: PieceIndex, digests: bool) {
        let wrong = self.hosts[host].wrong.remove(&piece);
        let blocks = self.geometry.blocks_of(piece);
        let digest = |ordinal: usize| {
            let bad = wrong.as_ref().is_some_and(|wrong| wrong.contains(&ordinal));
            [u8::from(bad); 20]
        };
        let all: Vec<_> = (0..blocks).map(digest).collect();
        let outcome = match wrong {
            Some(_) => VerifyOutcome::Mismatch { digests: all },
            None => VerifyOutcome::Written { digests: if digests { all } else { Vec::new() } },
        };
        self.hosts[host].swarm.handle_disk(self.now, DiskDone::Verified { piece, outcome });
    }

    fn announce_reply(&self, host: HostIndex) -> AnnounceReply {
        let others = self.hosts.iter().enumerate().filter(|(index, other)| *index != host && !other.gone);
        let up = others.filter(|(_, other)| other.wake.is_some() || !other.links.is_empty());
        let peers = up.map(|(_, other)| PeerAddress { address: other.address, peer_id: None }).take(50).collect();
        AnnounceReply { interval: Duration::from_secs(1_800), peers, ..AnnounceReply::default() }
    }

    fn take_away(&mut self, host: HostIndex) {
        self.hosts[host].gone = true;
        for (_, (other, key)) in std::mem::take(&mut self.hosts[host].links) {
            self.schedule(self.now + self.latency, Happening::Closed { to: other, key });
        }
    }

    fn dial(&mut self, from: HostIndex, to: SocketAddr) {
        let now = self.now;
        let target = self.hosts.iter().position(|host| host.address == to && !host.gone);
        let cut = |target| self.cuts.contains(&[from, target]) || self.cuts.contains(&[target, from]);
        if let Some(target) = target.filter(|target| !cut(*target))
            && !self.hosts[from].gone
        {
            self.connect(from, target);
        } else {
            self.hosts[from].swarm.handle_connect_failed(now, to);
        }
        self.drain(from);
        if let Some(target) = target {
            self.drain(target);
        }
    }

    fn connect(&mut self, from: HostIndex, to: HostIndex) {
        let now = self.now;
        let connected = |host: &Host, direction| Connected {
            address: host.address,
            direction,
            peer_id: PeerId::new({
                let mut random = [0; 12];
                let std::net::IpAddr::V4(ip) = host.address.ip() else { unreachable!("only IPv4 here") };
                random[8..].copy_from_slice(&(u32::from(ip) - 0x0a00_0000).to_be_bytes());
                random
            }),
            reserved: host.config.reserved,
        };
        let both = |a: Reserved, b: Reserved| Reserved { fast: a.fast && b.fast, extended: a.extended && b.extended };
        let common = both(self.hosts[from].config.reserved, self.hosts[to].config.reserved);
        let mut outgoing = connected(&self.hosts[to], Direction::Outgoing);
        let mut incoming = connected(&self.hosts[from], Direction::Incoming);
        outgoing.reserved = common;
        incoming.reserved = common;
        // The accepting side answers the handshake first; either may refuse.
        let Ok(theirs) = self.hosts[to].swarm.handle_connected(now, incoming) else {
            self.hosts[from].swarm.handle_connect_failed(now, outgoing.address);
            return;
        };
        match self.hosts[from].swarm.handle_connected(now, outgoing) {
            Ok(ours) => {
                self.hosts[from].links.insert(ours, (to, theirs));
                self.hosts[to].links.insert(theirs, (from, ours));
            }
            Err(_) => self.hosts[to].swarm.handle_closed(now, theirs),
        }
    }

    /// Does what a host's swarm wants.
    fn drain(&mut self, host: HostIndex) {
        if self.hosts[host].gone {
            return;
        }
        while let Some(output) = self.hosts[host].swarm.poll_output() {
            self.carry_out(host, output);
        }
        let elapsed = self.elapsed();
        let state = &mut self.hosts[host];
        while let Some(event) = state.swarm.poll_event() {
            if event == Event::Completed {
                state.completed = Some(elapsed);
            }
            state.events.push((elapsed, event));
        }
        if self.checking {
            state.swarm.check_invariants();
        }
        let next = state.swarm.poll_timeout();
        if let Some(at) = next
            && state.wake.is_none_or(|wake| at < wake)
        {
            state.wake = Some(at);
            self.schedule(at.max(self.now), Happening::Wake(host));
        }
    }

    fn carry_out(&mut self, host: HostIndex, output: Output) {
        let soon = self.now + self.latency;
        match output {
            Output::Send { peer, message } => {
                let serves = matches!(message, Message::Unchoke | Message::AllowedFast(_));
                if serves && self.hosts[host].config.conduct == Conduct::FreeRide {
                    return;
                }
                if let Some(&(to, key)) = self.hosts[host].links.get(&peer) {
                    self.schedule(soon, Happening::Message { to, key, message });
                }
            }
            Output::Upload { peer, block } => self.upload(host, peer, block),
            Output::Close { peer, .. } => {
                let state = &mut self.hosts[host];
                state.waiting.retain(|(key, _)| *key != peer);
                if let Some((to, key)) = state.links.remove(&peer) {
                    self.schedule(soon, Happening::Closed { to, key });
                }
            }
            Output::Dial { address } => self.schedule(soon + self.latency, Happening::Dial { from: host, to: address }),
            Output::Verify { piece, digests } => {
                let at = self.now + Duration::from_millis(1);
                self.schedule(at, Happening::Verified { host, piece, digests });
            }
            Output::Forget { piece } => {
                self.hosts[host].wrong.remove(&piece);
            }
            Output::Announce(job) => self.schedule(soon + self.latency, Happening::Announced { host, id: job.id }),
        }
    }

    fn upload(&mut self, host: HostIndex, peer: PeerKey, block: Block) {
        let state = &mut self.hosts[host];
        if state.config.conduct == Conduct::Stall {
            return;
        }
        match state.waiting.iter_mut().find(|(key, _)| *key == peer) {
            Some((_, queue)) => queue.push_back(block),
            None => state.waiting.push_back((peer, VecDeque::from([block]))),
        }
        self.serve_uplink(host);
    }

    /// Puts the next block on the wire, one connection after the other.
    fn serve_uplink(&mut self, host: HostIndex) {
        let state = &mut self.hosts[host];
        if state.sending {
            return;
        }
        let Some((key, mut queue)) = state.waiting.pop_front() else { return };
        let Some(block) = queue.pop_front() else { return };
        if !queue.is_empty() {
            state.waiting.push_back((key, queue));
        }
        state.sending = true;
        let nanos = u64::from(block.length()) * 1_000_000_000 / state.config.uplink.max(1);
        self.schedule(self.now + Duration::from_nanos(nanos), Happening::Sent { from: host, key, block });
    }

    fn sent(&mut self, from: HostIndex, key: PeerKey, block: Block) {
        let state = &mut self.hosts[from];
        state.sending = false;
        if state.gone {
            return;
        }
        let wrong = state.config.conduct == Conduct::Corrupt;
        if let Some(&(to, theirs)) = state.links.get(&key) {
            self.schedule(self.now + self.latency, Happening::Arrived { to, key: theirs, block, wrong });
        }
        self.hosts[from].swarm.handle_uploaded(self.now, key, block);
        self.serve_uplink(from);
        self.drain(from);
    }

    /// Tells a host's swarm something that its user wants.
    pub fn command(&mut self, host: HostIndex, command: Command) {
        self.hosts[host].swarm.command(self.now, command);
        self.drain(host);
    }

    /// Makes a host know another.
    pub fn introduce(&mut self, host: HostIndex, other: HostIndex) {
        let peer = PeerAddress { address: self.hosts[other].address, peer_id: None };
        self.command(host, Command::AddPeers(vec![peer], PeerSource::User));
    }
}
