//! What is on the way: blocks wait for the uplink, take their time on it, cross the network, and pass the downlink.
//!
//! An uplink sends one block at a time, one connection after the other. Messages of a connection keep their place among
//! its blocks but take no time. A sender hears at once when the downlink of the other side has more on the way than fits
//! its path, and serves other connections meanwhile, as TCP would have it after a round trip.

use crate::conduct::Conduct;
use crate::interference::{Action, Target};
use crate::link::{UNLIMITED, nanos, transfer_time};
use crate::observation::RecordKind;
use crate::queue::Moment;
use crate::world::{Happening, HostIndex, World};
use rand::RngExt;
use std::collections::VecDeque;
use swarm_proto::geometry::Block;
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::BlockVerdict;
use swarm_proto::wire::Message;

/// What a downlink may have on the way beyond its bandwidth-delay product: so much time...
const QUEUE_AHEAD: Moment = 50_000_000;
/// ...and so many bytes.
const QUEUE_BYTES: u64 = 64 * 1024;

/// One end of a connection; that of the other side has the same number but for the last bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct EndIndex(pub(crate) u32);

impl EndIndex {
    pub(crate) fn other(self) -> Self {
        Self(self.0 ^ 1)
    }

    pub(crate) fn get(self) -> usize {
        self.0 as usize
    }
}

/// What waits to be sent.
pub(crate) enum Item {
    Message(Message),
    Block(Block),
}

/// One end of a connection, and what goes out of it.
pub(crate) struct End {
    pub(crate) host: HostIndex,
    /// What the host's swarm calls the connection, once it has taken it.
    pub(crate) key: Option<PeerKey>,
    pub(crate) open: bool,
    pub(crate) waiting: VecDeque<Item>,
    /// It stands in the ring of its uplink or waits for the downlink of the other side.
    in_ring: bool,
    /// A block of it is on the uplink.
    on_wire: bool,
    /// Nothing sent later may arrive before.
    last_arrival: Moment,
    /// Blocks that have come and wait in the downlink.
    in_downlink: u32,
    /// Messages may be taken from then on: they wait for the blocks before them.
    messages_from: Moment,
}

impl End {
    pub(crate) fn new(host: HostIndex, key: Option<PeerKey>) -> Self {
        Self {
            host,
            key,
            open: true,
            waiting: VecDeque::new(),
            in_ring: false,
            on_wire: false,
            last_arrival: 0,
            in_downlink: 0,
            messages_from: 0,
        }
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
        self.waiting.clear();
    }
}

/// Whose turn it is on the way out of a host.
#[derive(Default)]
pub(crate) struct Uplink {
    ring: VecDeque<EndIndex>,
    busy: bool,
}

/// The way into a host.
#[derive(Default)]
pub(crate) struct Downlink {
    free_at: Moment,
    /// Bytes that are on their way to it.
    on_the_way: u64,
    /// Ends of other hosts that may not send before some of that has arrived.
    held: VecDeque<EndIndex>,
}

impl World {
    /// Puts something on a connection, behind what waits there.
    pub(crate) fn send(&mut self, from: EndIndex, item: Item) {
        let end = &mut self.ends[from.get()];
        if !end.open {
            return;
        }
        match item {
            Item::Message(message) if end.waiting.is_empty() && !end.on_wire => self.send_message(from, message),
            item => {
                end.waiting.push_back(item);
                let waiting = end.waiting.len();
                if waiting > self.most_waiting && !self.floods(from) && !self.floods(from.other()) {
                    self.most_waiting = waiting;
                }
                self.want_uplink(from);
            }
        }
    }

    /// Whether the host at this end floods: what it says, and what answers it, waits here without bound, where the engine
    /// would stop reading.
    fn floods(&self, end: EndIndex) -> bool {
        matches!(self.hosts[self.ends[end.get()].host].config.conduct, Conduct::Flood { .. })
    }

    fn want_uplink(&mut self, from: EndIndex) {
        let end = &mut self.ends[from.get()];
        if !end.in_ring && !end.on_wire && !end.waiting.is_empty() {
            end.in_ring = true;
            let host = end.host;
            self.hosts[host].uplink.ring.push_back(from);
            self.serve_uplink(host);
        }
    }

    /// When something that leaves now arrives at the other side.
    fn arrival(&mut self, from: EndIndex, late: Moment) -> Moment {
        let [one, other] = [from, from.other()].map(|end| self.ends[end.get()].host);
        let [link, their_link] = [one, other].map(|host| &self.hosts[host].config.link);
        let delay = self.network.delay_of_one(link, their_link, &mut self.random) + late;
        let departure = self.network.parted_until(self.now, link, their_link).unwrap_or(self.now);
        let end = &mut self.ends[from.get()];
        end.last_arrival = end.last_arrival.max(departure + delay);
        end.last_arrival
    }

    pub(crate) fn send_message(&mut self, from: EndIndex, message: Message) {
        let action = self.interferences.pass(Target::Message);
        if matches!(action, Some(Action::Cut | Action::Drop)) {
            return self.break_connection(from);
        }
        let late = if let Some(Action::Delay(late)) = action { nanos(late) } else { 0 };
        let at = self.arrival(from, late);
        if action == Some(Action::Duplicate) {
            self.queue.push(at, Happening::Message { to: from.other(), message: message.clone() });
        }
        self.queue.push(at, Happening::Message { to: from.other(), message });
    }

    /// The connection ends for the other side once everything before has arrived.
    pub(crate) fn send_close(&mut self, from: EndIndex) {
        let at = self.arrival(from, 0);
        self.queue.push(at, Happening::Closed { to: from.other() });
    }

    /// Puts the next block on the wire, one connection after the other.
    pub(crate) fn serve_uplink(&mut self, host: HostIndex) {
        while !self.hosts[host].uplink.busy {
            let Some(from) = self.hosts[host].uplink.ring.pop_front() else { return };
            self.flush_messages(from);
            let Some(Item::Block(block)) = self.ends[from.get()].waiting.front() else {
                self.ends[from.get()].in_ring = false;
                continue;
            };
            let block = *block;
            if !self.is_way_free(from) {
                continue;
            }
            let to = self.ends[from.other().get()].host;
            self.hosts[to].downlink.on_the_way += u64::from(block.length());
            let end = &mut self.ends[from.get()];
            end.waiting.pop_front();
            (end.in_ring, end.on_wire) = (false, true);
            let state = &mut self.hosts[host];
            state.uplink.busy = true;
            let time = transfer_time(block.length(), state.config.link.uplink);
            self.queue.push(self.now + time, Happening::Sent { from, block });
        }
    }

    /// Messages at the front go at once.
    fn flush_messages(&mut self, from: EndIndex) {
        while let Some(Item::Message(_)) = self.ends[from.get()].waiting.front() {
            if let Some(Item::Message(message)) = self.ends[from.get()].waiting.pop_front() {
                self.send_message(from, message);
            }
        }
    }

    /// Whether a block can be sent now; if not, the end is put aside until it can.
    fn is_way_free(&mut self, from: EndIndex) -> bool {
        let [one, other] = [from, from.other()].map(|end| self.ends[end.get()].host);
        let [link, their_link] = [one, other].map(|host| &self.hosts[host].config.link);
        if let Some(until) = self.network.parted_until(self.now, link, their_link) {
            self.queue.push(until, Happening::Reunited { from });
            return false;
        }
        let rate = their_link.downlink;
        if rate == UNLIMITED {
            return true;
        }
        let time = self.network.delay(link, their_link) + QUEUE_AHEAD;
        let room = u64::try_from(u128::from(rate) * u128::from(time) / 1_000_000_000).unwrap_or(u64::MAX);
        let downlink = &mut self.hosts[other].downlink;
        let free = downlink.on_the_way < room + QUEUE_BYTES;
        if !free {
            downlink.held.push_back(from);
        }
        free
    }

    /// An end that was put aside gets its turn again.
    pub(crate) fn rejoin_ring(&mut self, from: EndIndex) {
        let end = &self.ends[from.get()];
        if end.in_ring {
            let host = end.host;
            self.hosts[host].uplink.ring.push_back(from);
            self.serve_uplink(host);
        }
    }

    pub(crate) fn sent(&mut self, from: EndIndex, block: Block) {
        let host = self.ends[from.get()].host;
        self.hosts[host].uplink.busy = false;
        self.ends[from.get()].on_wire = false;
        let action = self.interferences.pass(Target::Block);
        if matches!(action, Some(Action::Cut | Action::Drop)) {
            self.break_connection(from);
        }
        if !self.ends[from.get()].open || !self.hosts[host].is_here() {
            self.off_the_way(from.other(), block);
            return self.serve_uplink(host);
        }
        self.hosts[host].sent_bytes += u64::from(block.length());
        let peer = self.ends[from.other().get()].host;
        self.record(RecordKind::BlockSent, host, Some(peer), Some(block.piece()), block.length());
        let wrong = action == Some(Action::Corrupt) || self.is_corrupted(host);
        let late = if let Some(Action::Delay(late)) = action { nanos(late) } else { 0 };
        let at = self.arrival(from, late);
        if action == Some(Action::Duplicate) {
            self.hosts[peer].downlink.on_the_way += u64::from(block.length());
            self.queue.push(at, Happening::Entered { to: from.other(), block, wrong });
        }
        self.queue.push(at, Happening::Entered { to: from.other(), block, wrong });
        if let Some(key) = self.ends[from.get()].key {
            let (swarm, now) = self.swarm_now(host);
            swarm.handle_uploaded(now, key, block);
        }
        self.flush_messages(from);
        self.want_uplink(from);
        self.serve_uplink(host);
        self.after_upload(host);
        self.drain(host);
    }

    fn is_corrupted(&mut self, host: HostIndex) -> bool {
        match self.hosts[host].config.conduct {
            Conduct::Corrupt { one_in } => one_in <= 1 || self.random.random_range(0..one_in) == 0,
            _ => false,
        }
    }

    /// A block has come to the downlink.
    pub(crate) fn entered(&mut self, to: EndIndex, block: Block, wrong: bool) {
        let host = self.ends[to.get()].host;
        let rate = self.hosts[host].config.link.downlink;
        if rate == UNLIMITED {
            return self.block_arrived(to, block, wrong);
        }
        let slower = rate < self.hosts[self.ends[to.other().get()].host].config.link.uplink;
        let downlink = &mut self.hosts[host].downlink;
        let waits = downlink.free_at > self.now;
        downlink.free_at = downlink.free_at.max(self.now) + transfer_time(block.length(), rate);
        if !waits && !slower {
            // Nothing before it: its bytes have passed as they came out of the uplink of the other side.
            return self.block_arrived(to, block, wrong);
        }
        self.ends[to.get()].in_downlink += 1;
        let at = self.hosts[host].downlink.free_at;
        self.queue.push(at, Happening::Passed { to, block, wrong });
    }

    /// A block has passed the downlink.
    pub(crate) fn passed_downlink(&mut self, to: EndIndex, block: Block, wrong: bool) {
        self.ends[to.get()].in_downlink -= 1;
        self.block_arrived(to, block, wrong);
    }

    /// Bytes that are no longer on their way to a host; others may send for them.
    fn off_the_way(&mut self, to: EndIndex, block: Block) {
        let host = self.ends[to.get()].host;
        let downlink = &mut self.hosts[host].downlink;
        downlink.on_the_way -= u64::from(block.length());
        if let Some(held) = downlink.held.pop_front() {
            self.rejoin_ring(held);
        }
    }

    fn block_arrived(&mut self, to: EndIndex, block: Block, wrong: bool) {
        self.off_the_way(to, block);
        let end = &self.ends[to.get()];
        let (host, Some(key)) = (end.host, end.key.filter(|_| end.open)) else { return };
        let peer = self.ends[to.other().get()].host;
        self.record(RecordKind::Block, host, Some(peer), Some(block.piece()), block.length());
        let now = self.instant();
        let state = &mut self.hosts[host];
        let keep = state.swarm.handle_block(now, key, block) == BlockVerdict::Keep;
        if keep && wrong {
            state.wrong.entry(block.piece()).or_default().push(block.ordinal());
        }
        if keep && self.checking {
            self.hosts[host].shell.keep(block);
        }
        self.drain(host);
    }

    /// A message or the end of a connection waits for the blocks that came before it. When it may be taken.
    pub(crate) fn held_until(&mut self, to: EndIndex) -> Option<Moment> {
        let end = &mut self.ends[to.get()];
        if end.in_downlink > 0 {
            end.messages_from = end.messages_from.max(self.hosts[end.host].downlink.free_at);
        }
        Some(end.messages_from).filter(|&from| from > self.now)
    }
}
