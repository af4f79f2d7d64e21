//! What can be asked of a world, and what it keeps count of for that.

use crate::host::Life;
use crate::observation::{HostObservation, Observation, Record, RecordKind};
use crate::world::{FIRST_ADDRESS, HostIndex, World};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use swarm_proto::geometry::{Geometry, PieceIndex};
use swarm_proto::swarm::{Event, Swarm, SwarmStats};
use swarm_proto::wire::Message;

impl World {
    /// Now, as the swarms are told it.
    pub(crate) fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    /// A host's swarm, and what time to tell it.
    pub(crate) fn swarm_now(&mut self, host: HostIndex) -> (&mut Swarm, Instant) {
        let now = self.instant();
        (&mut self.hosts[host].swarm, now)
    }

    /// Time since the beginning.
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now)
    }

    /// Lengths of the torrent and its pieces.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Number of things that have happened.
    pub fn happenings(&self) -> u64 {
        self.happenings
    }

    /// Number of hosts that there ever were or will be.
    pub fn host_count(&self) -> usize {
        self.hosts.len()
    }

    /// When the host had every piece.
    pub fn completed(&self, host: HostIndex) -> Option<Duration> {
        self.hosts[host].completed.map(Duration::from_nanos)
    }

    /// The last completion, if every host that is not gone is complete.
    pub fn last_completion(&self) -> Option<Duration> {
        let staying = self.hosts.iter().filter(|host| host.life != Life::Gone);
        staying.map(|host| host.completed).max().flatten().map(Duration::from_nanos)
    }

    /// When the hosts that did not begin with everything had one whole copy among them for the first time.
    pub fn full_copy(&self) -> Option<Duration> {
        self.full_copy.map(Duration::from_nanos)
    }

    /// The host that has this address or had it before.
    pub fn host_at(&self, ip: IpAddr) -> Option<HostIndex> {
        let IpAddr::V4(ip) = ip.to_canonical() else { return None };
        let number = u32::from(ip).checked_sub(FIRST_ADDRESS)?;
        self.homes.get(number as usize).copied()
    }

    /// The swarm of a host.
    pub fn swarm(&self, host: HostIndex) -> &Swarm {
        &self.hosts[host].swarm
    }

    /// Sums and rates of a host's swarm now.
    pub fn stats(&self, host: HostIndex) -> SwarmStats {
        self.hosts[host].swarm.stats(self.instant())
    }

    /// Most messages and blocks that ever waited on one connection, and most outputs that one input ever called forth.
    pub fn peaks(&self) -> [usize; 2] {
        [self.most_waiting, self.most_outputs]
    }

    /// What a host's swarm told, with the time of each.
    pub fn events(&self, host: HostIndex) -> &[(Duration, Event)] {
        &self.hosts[host].events
    }

    /// Payload received by all hosts, and how much of it was of no use. Bytes.
    pub fn traffic(&self) -> (u64, u64) {
        let stats = self.hosts.iter().map(|host| host.swarm.stats(self.instant()));
        stats.fold((0, 0), |(down, waste), stats| (down + stats.downloaded, waste + stats.wasted))
    }

    /// A hash over everything that has happened so far: two runs with the same digest were the same.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }

    /// The world as it is now.
    pub fn observe(&self) -> Observation {
        let hosts = (0..self.hosts.len()).map(|host| self.observation_of(host)).collect();
        Observation { at: self.elapsed(), hosts, availability: self.availability.clone() }
    }

    /// A host as it is now.
    pub fn observation_of(&self, number: HostIndex) -> HostObservation {
        let host = &self.hosts[number];
        let stats = host.swarm.stats(self.instant());
        HostObservation {
            host: number,
            class: host.config.class,
            seed: host.config.seed,
            conduct: host.config.conduct,
            gives: host.config.conduct.gives(),
            uplink: host.config.link.uplink,
            downlink: host.config.link.downlink,
            present: host.is_here(),
            arrived: Duration::from_nanos(host.arrived),
            completed: host.completed.map(Duration::from_nanos),
            left: host.left.map(Duration::from_nanos),
            have: stats.have_pieces,
            downloaded: stats.downloaded,
            uploaded: stats.uploaded,
            wasted: stats.wasted,
            connections: stats.peers,
        }
    }

    /// A host has one more piece.
    pub(crate) fn gained(&mut self, host: HostIndex, piece: PieceIndex) {
        self.availability[piece.as_usize()] += 1;
        if !self.hosts[host].config.seed && self.spread.insert(piece) && self.spread.is_full() {
            self.full_copy = Some(self.now);
        }
    }

    /// A host has lost pieces.
    pub(crate) fn lost(&mut self, host: HostIndex, pieces: &[PieceIndex]) {
        for piece in pieces {
            self.availability[piece.as_usize()] -= 1;
        }
        if self.hosts[host].completed.take().is_some() {
            self.unfinished += 1;
        }
    }

    /// A host comes with its pieces, or goes with them.
    pub(crate) fn count_pieces_of(&mut self, host: HostIndex, comes: bool) {
        let have = self.hosts[host].swarm.have();
        for piece in have.iter() {
            let count = &mut self.availability[piece as usize];
            *count = if comes { *count + 1 } else { *count - 1 };
        }
    }

    /// Notes one thing that happened.
    pub(crate) fn record(
        &mut self,
        kind: RecordKind,
        host: HostIndex,
        peer: Option<HostIndex>,
        piece: Option<PieceIndex>,
        bytes: u32,
    ) {
        let piece = piece.map(PieceIndex::as_u32);
        self.digest.add(self.now);
        self.digest.add((kind as u64) << 56 ^ (host as u64) << 28 ^ peer.map_or(0, |peer| peer as u64 + 1));
        self.digest.add(u64::from(bytes) << 32 ^ piece.map_or(0, |piece| u64::from(piece) + 1));
        if let Some(recorder) = &mut self.recorder {
            recorder(&Record { at: Duration::from_nanos(self.now), kind, host, peer, piece, bytes });
        }
    }

    /// Notes a message.
    pub(crate) fn record_message(&mut self, host: HostIndex, peer: HostIndex, message: &Message) {
        let mut add = |id: u64, numbers: [u32; 3]| {
            self.digest.add(id);
            numbers.into_iter().for_each(|number| self.digest.add(number.into()));
            matches!(id, 4 | 6 | 8 | 13 | 16 | 17).then_some(numbers[0])
        };
        let piece = match message {
            Message::KeepAlive => add(100, [0; 3]),
            Message::Choke => add(0, [0; 3]),
            Message::Unchoke => add(1, [0; 3]),
            Message::Interested => add(2, [0; 3]),
            Message::NotInterested => add(3, [0; 3]),
            Message::Have(piece) => add(4, [*piece, 0, 0]),
            Message::Request(index, begin, length) => add(6, [*index, *begin, *length]),
            Message::Cancel(index, begin, length) => add(8, [*index, *begin, *length]),
            Message::Port(port) => add(9, [u32::from(*port), 0, 0]),
            Message::Suggest(piece) => add(13, [*piece, 0, 0]),
            Message::HaveAll => add(14, [0; 3]),
            Message::HaveNone => add(15, [0; 3]),
            Message::Reject(index, begin, length) => add(16, [*index, *begin, *length]),
            Message::AllowedFast(piece) => add(17, [*piece, 0, 0]),
            Message::Unknown(id) => add(101, [u32::from(*id), 0, 0]),
            Message::Bitfield(bytes) | Message::Extended(_, bytes) => {
                self.digest.add_bytes(bytes);
                None
            }
        };
        let piece = piece.and_then(|piece| self.geometry.piece(piece));
        self.record(RecordKind::Message, host, Some(peer), piece, 0);
    }
}
