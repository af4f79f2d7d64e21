//! Hosts, links, trackers and one clock.
//!
//! A world is built by adding hosts, and then run. Everything that happens stands in one queue; taking the next thing
//! from it and doing it is a step. Whatever is left to chance comes from one generator.

use crate::disk::{DiskState, Fate};
use crate::host::{Host, HostConfig, Life};
use crate::interference::{Action, Interference, Interferences, Passed, Target};
use crate::link::{Group, Network, nanos};
use crate::observation::{Digest, Record, RecordKind};
use crate::queue::{Moment, Queue};
use crate::shell::Shell;
use crate::tracker::Tracker;
use crate::transfer::{Downlink, End, EndIndex, Uplink};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::bitfield::Bitfield;
use swarm_proto::geometry::{Block, Geometry, PieceIndex};
use swarm_proto::id::{InfoHash, PeerKey};
use swarm_proto::swarm::{AnnounceJob, Command, DiskDone, PeerSource, Profile, Role, Swarm, SwarmConfig};
use swarm_proto::wire::Message;

/// Number of a host in its world.
pub type HostIndex = usize;

/// Time from one host to another unless something else is said.
const LATENCY: Duration = Duration::from_millis(1);
/// The first address is 10.0.0.1.
pub(crate) const FIRST_ADDRESS: u32 = 0x0a00_0001;

/// What can be due.
pub(crate) enum Happening {
    Arrive {
        host: HostIndex,
    },
    Leave {
        host: HostIndex,
    },
    Rehome {
        host: HostIndex,
    },
    Wake {
        host: HostIndex,
    },
    Dialled {
        from: HostIndex,
        to: HostIndex,
        address: SocketAddr,
    },
    DialFailed {
        host: HostIndex,
        address: SocketAddr,
    },
    Accepted {
        end: EndIndex,
        address: SocketAddr,
    },
    Broken {
        end: EndIndex,
    },
    Message {
        to: EndIndex,
        message: Message,
    },
    /// A message that has waited for the blocks before it.
    HeldMessage {
        to: EndIndex,
        message: Message,
    },
    Sent {
        from: EndIndex,
        block: Block,
    },
    Entered {
        to: EndIndex,
        block: Block,
        wrong: bool,
    },
    Passed {
        to: EndIndex,
        block: Block,
        wrong: bool,
    },
    Closed {
        to: EndIndex,
    },
    Reunited {
        from: EndIndex,
    },
    Flood {
        end: EndIndex,
    },
    Verified {
        host: HostIndex,
        piece: PieceIndex,
        digests: bool,
        fate: Fate,
    },
    ReadFailed {
        host: HostIndex,
        peer: PeerKey,
        block: Block,
    },
    Announce {
        host: HostIndex,
        tracker: usize,
        action: Option<Action>,
        job: Box<AnnounceJob>,
    },
    Announced {
        host: HostIndex,
        id: u64,
        answer: Box<Result<AnnounceReply, TrackerError>>,
    },
}

/// Hears of everything that happens.
pub type Recorder = Box<dyn FnMut(&Record)>;

/// Hosts, links, trackers and one clock.
pub struct World {
    pub(crate) hosts: Vec<Host>,
    pub(crate) ends: Vec<End>,
    pub(crate) addresses: BTreeMap<SocketAddr, HostIndex>,
    /// Whose each address was, in the order in which they were given out.
    pub(crate) homes: Vec<HostIndex>,
    pub(crate) trackers: Vec<Tracker>,
    pub(crate) network: Network,
    pub(crate) interferences: Interferences,
    pub(crate) geometry: Geometry,
    pub(crate) start: Instant,
    pub(crate) now: Moment,
    pub(crate) queue: Queue<Happening>,
    pub(crate) random: SmallRng,
    profile: Profile,
    /// Hosts that are not gone and lack pieces.
    pub(crate) unfinished: usize,
    /// For each piece, the hosts that are there and have it.
    pub(crate) availability: Vec<u32>,
    /// The pieces that some host which did not begin with them has had.
    pub(crate) spread: Bitfield,
    pub(crate) full_copy: Option<Moment>,
    pub(crate) happenings: u64,
    pub(crate) digest: Digest,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) keeps_events: bool,
    pub(crate) checking: bool,
    /// Most messages and blocks that ever waited on one connection, but for those of peers that flood.
    pub(crate) most_waiting: usize,
    /// Most outputs that one input ever called forth.
    pub(crate) most_outputs: usize,
}

impl World {
    /// An empty world for one torrent: hosts are one millisecond apart, there is one tracker, and everything that
    /// is left to chance follows from the seed.
    pub fn new(geometry: Geometry, seed: u64) -> Self {
        let start = Instant::now();
        let mut random = SmallRng::seed_from_u64(seed);
        Self {
            hosts: Vec::new(),
            ends: Vec::new(),
            addresses: BTreeMap::new(),
            homes: Vec::new(),
            trackers: vec![Tracker::new(random.random(), start)],
            network: Network::new(LATENCY),
            interferences: Interferences::default(),
            geometry,
            start,
            now: 0,
            queue: Queue::new(),
            random,
            profile: Profile::Public,
            unfinished: 0,
            availability: vec![0; geometry.pieces() as usize],
            spread: Bitfield::empty(geometry.pieces()),
            full_copy: None,
            happenings: 0,
            digest: Digest::new(seed),
            recorder: None,
            keeps_events: true,
            checking: false,
            most_waiting: 0,
            most_outputs: 0,
        }
    }

    /// With this time, one way, between any two hosts and to the trackers.
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.network.latency = latency;
        self
    }

    /// With this time between hosts of these two groups instead.
    pub fn with_latency_between(mut self, one: Group, other: Group, latency: Duration) -> Self {
        self.network.set_latency_between(one, other, latency);
        self
    }

    /// With this profile for the hosts added from now on.
    pub fn with_profile(mut self, profile: Profile) -> Self {
        self.profile = profile;
        self
    }

    /// With so many trackers, each a tier of its own, for the hosts added from now on.
    pub fn with_trackers(mut self, count: usize) -> Self {
        self.trackers = (0..count).map(|_| Tracker::new(self.random.random(), self.start)).collect();
        self
    }

    /// With the invariants of a swarm checked after each step that it takes: slow, for small worlds.
    pub fn with_checking(mut self) -> Self {
        self.checking = true;
        self
    }

    /// Without keeping what the swarms tell: for large worlds. [`World::events`] stays empty.
    pub fn without_events(mut self) -> Self {
        self.keeps_events = false;
        self
    }

    /// With somebody who hears of everything that happens.
    pub fn with_recorder(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// With this going wrong. May be said more than once.
    ///
    /// # Panics
    /// When the action means nothing for the target; see [`Target::actions`].
    pub fn with_interference(mut self, interference: Interference) -> Self {
        self.interferences.plan(interference);
        self
    }

    /// How often the world has come to a target so far, and whether what was planned for it was reached.
    pub fn passed(&self, target: Target) -> Passed {
        self.interferences.passed(target)
    }

    /// Adds a host that comes up at this time from now.
    pub fn add(&mut self, config: HostConfig, after: Duration) -> HostIndex {
        let index = self.hosts.len();
        let pieces = self.geometry.pieces();
        let have = if config.seed { Bitfield::full(pieces) } else { Bitfield::empty(pieces) };
        let swarm_config = SwarmConfig {
            info_hash: InfoHash([7; 20]),
            peer_id: crate::connections::peer_id(index),
            listen_port: 6881,
            trackers: (0..self.trackers.len()).map(|number| vec![Tracker::url(number)]).collect(),
            private: false,
            metadata_size: 0,
            max_peers: config.max_peers,
            buffer_bytes: config.buffer_bytes,
            profile: self.profile,
            role: Role::Fetch,
            sequential: false,
            client: "swarm".into(),
            chat: false,
        };
        let arrived = self.now + nanos(after);
        let at = self.start + Duration::from_nanos(arrived);
        let swarm = Swarm::new(swarm_config, self.geometry, have, self.random.random(), at);
        let address = self.new_address(index);
        let completed = swarm.is_complete().then_some(arrived);
        self.unfinished += usize::from(completed.is_none());
        self.hosts.push(Host {
            swarm,
            config,
            address,
            life: Life::Coming,
            arrived,
            completed,
            left: None,
            ends: BTreeMap::new(),
            uplink: Uplink::default(),
            downlink: Downlink::default(),
            disk: DiskState::default(),
            sent_bytes: 0,
            wrong: BTreeMap::new(),
            shell: Shell::default(),
            wake: None,
            events: Vec::new(),
        });
        self.queue.push(arrived, Happening::Arrive { host: index });
        index
    }

    /// From now on these two cannot connect to each other, whoever dials.
    pub fn cut(&mut self, one: HostIndex, other: HostIndex) {
        self.network.cut(one, other);
    }

    /// Between these times nothing passes between the two groups: connections stay, silent, and what was sent arrives
    /// afterwards, if the connection is still wanted then.
    pub fn partition(&mut self, one: Group, other: Group, times: Range<Duration>) {
        self.network.partition(one, other, nanos(times.start), nanos(times.end));
    }

    /// Between these times a tracker refuses connections.
    pub fn tracker_down(&mut self, tracker: usize, times: Range<Duration>) {
        self.trackers[tracker].set_down(nanos(times.start)..nanos(times.end));
    }

    /// A host gets another address at this time; its connections break.
    pub fn rehome_at(&mut self, host: HostIndex, at: Duration) {
        self.queue.push(nanos(at), Happening::Rehome { host });
    }

    /// Tells a host's swarm something that its user wants.
    pub fn command(&mut self, host: HostIndex, command: Command) {
        let (swarm, now) = self.swarm_now(host);
        swarm.command(now, command);
        self.drain(host);
    }

    /// Tells a host's swarm that pieces have vanished from its disk.
    pub fn lose(&mut self, host: HostIndex, pieces: Vec<PieceIndex>) {
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_disk(now, DiskDone::Lost { pieces });
        self.drain(host);
    }

    /// Makes a host know another.
    pub fn introduce(&mut self, host: HostIndex, other: HostIndex) {
        let peer = PeerAddress { address: self.hosts[other].address, peer_id: None };
        self.command(host, Command::AddPeers(vec![peer], PeerSource::User));
    }

    /// Runs until every leecher that is not gone is complete, or the time is over. True if all are complete.
    pub fn run(&mut self, limit: Duration) -> bool {
        let limit = nanos(limit);
        while self.unfinished > 0 {
            if self.queue.next_at().is_none_or(|at| at > limit) {
                return false;
            }
            self.step();
        }
        true
    }

    /// Runs up to this time, whoever is complete. False if nothing is left to happen.
    pub fn run_until(&mut self, time: Duration) -> bool {
        let until = nanos(time);
        while let Some(at) = self.queue.next_at() {
            if at > until {
                self.now = self.now.max(until);
                return true;
            }
            self.step();
        }
        self.now = self.now.max(until);
        false
    }

    /// Whether every leecher that is not gone is complete.
    pub fn is_done(&self) -> bool {
        self.unfinished == 0
    }

    /// Does the next thing; false if there is none.
    pub fn step(&mut self) -> bool {
        let Some((at, what)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        self.happenings += 1;
        self.happen(what);
        true
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Arrive { host } => self.arrive(host),
            Happening::Leave { host } => self.depart(host, self.hosts[host].config.departure),
            Happening::Rehome { host } => self.rehome(host),
            Happening::Wake { host } => self.wake(host),
            Happening::Dialled { from, to, address } => self.dialled(from, to, address),
            Happening::DialFailed { host, address } => self.dial_failed(host, address),
            Happening::Accepted { end, address } => self.accepted(end, address),
            Happening::Broken { end } => self.break_connection(end),
            Happening::Message { to, message } => match self.held_until(to) {
                Some(at) => self.queue.push(at, Happening::HeldMessage { to, message }),
                None => self.message(to, message),
            },
            Happening::HeldMessage { to, message } => self.message(to, message),
            Happening::Sent { from, block } => self.sent(from, block),
            Happening::Entered { to, block, wrong } => self.entered(to, block, wrong),
            Happening::Passed { to, block, wrong } => self.passed_downlink(to, block, wrong),
            Happening::Closed { to } => self.closed(to),
            Happening::Reunited { from } => self.rejoin_ring(from),
            Happening::Flood { end } => self.flood(end),
            Happening::Verified { host, piece, digests, fate } => self.verified(host, piece, digests, fate),
            Happening::ReadFailed { host, peer, block } => {
                let (swarm, now) = self.swarm_now(host);
                swarm.handle_disk(now, DiskDone::ReadFailed { peer, block });
                self.drain(host);
            }
            Happening::Announce { host, tracker, action, job } => self.announced(host, tracker, action, &job),
            Happening::Announced { host, id, answer } => self.answered(host, id, *answer),
        }
    }

    fn wake(&mut self, host: HostIndex) {
        if self.hosts[host].wake != Some(self.now) || !self.hosts[host].is_here() {
            return;
        }
        self.hosts[host].wake = None;
        match self.interferences.pass(Target::Timeout) {
            Some(Action::Delay(late)) => {
                let at = self.now + nanos(late);
                self.hosts[host].wake = Some(at);
                return self.queue.push(at, Happening::Wake { host });
            }
            Some(Action::Duplicate) => {
                let (swarm, now) = self.swarm_now(host);
                swarm.handle_timeout(now);
            }
            _ => {}
        }
        self.record(RecordKind::Timeout, host, None, None, 0);
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_timeout(now);
        self.drain(host);
    }
}
