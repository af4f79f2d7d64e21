//! Neighbours behind a tracker: peers whom we cannot reach, and who cannot reach us.
//!
//! A native tracker hands messages of one peer on to another. Where there is no connection to a peer of such a tracker, some
//! time after we heard of it, a link is opened over the tracker: for the room it is one more neighbour, of whom less is
//! taken. Owns whom to ask, whom to answer, what goes into a packet and when it goes. Links are few, packets go one at a
//! time and slower than a tracker takes them, and nothing but answers of the same size is sent to anybody who has not
//! shown that it gets them.

mod link;
pub(super) mod packet;

use super::bucket::{Bucket, Rate};
use super::contract::{Output, RelayOutcome, RelayPeer};
use super::frame::Frame;
use super::{Room, flood};
use crate::id::PeerKey;
use crate::limits;
use bytes::Bytes;
use link::{Link, State};
use packet::{LinkId, Packet};
use rand::RngExt;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Keys of neighbours behind a tracker have this bit; the shell's own keys never have.
const RELAYED: u64 = 1 << 63;
/// How long a peer may take to be connected to us before it is asked over the tracker.
const GRACE: Duration = Duration::from_secs(10);
/// The same, once a dial has failed: it may still reach us.
const GRACE_UNREACHABLE: Duration = Duration::from_secs(3);
/// Before whoever has not answered is asked again; doubles each time.
const AGAIN: Duration = Duration::from_secs(60);
/// At most so often.
const SELDOM: u32 = 5;
/// Links that we open while few are connected to us: three at random each bind any number of peers together.
const OPENED: usize = 3;
/// Links that we open while [`WELL_CONNECTED`] are: enough to bind one island to the others.
const OPENED_IF_CONNECTED: usize = 2;
const WELL_CONNECTED: usize = 4;
/// Links that others open to us.
const ACCEPTED: usize = 6;
/// What we have the tracker hand on: half of what it takes of one connection, which is that of other torrents too.
const PACKETS: Rate = Rate { burst: 12, milli_per_s: 5_000 };
/// Answers to whoever has no link with us.
const STRANGERS: Rate = Rate { burst: 8, milli_per_s: 500 };
/// Links that others open: each costs a presence and perhaps a history, so nobody gets that again and again.
const ACCEPTS: Rate = Rate { burst: 8, milli_per_s: 50 };
/// What waits to be sent to strangers.
const ANSWERS: usize = 16;
/// Frames are collected for so long before a packet goes.
const COLLECT: Duration = Duration::from_millis(20);
/// How long we send nothing after the tracker could not be reached.
const PAUSE: Duration = Duration::from_secs(5);
/// How often a packet is sent again that came too fast.
const RESENDS: u32 = 3;
/// Peers of trackers that are remembered.
const CANDIDATES: usize = 256;
/// How long nobody is linked to an address that flooded or lied.
const SHUT_OUT: Duration = Duration::from_secs(600);
/// Neighbours behind a tracker to whom a new message is sent at once; the others are told that it is there, and ask.
const EAGER: usize = 2;

/// Whether a neighbour is one behind a tracker.
pub(super) fn is_relayed(neighbour: PeerKey) -> bool {
    neighbour.0 & RELAYED != 0
}

/// A peer of a tracker.
struct Candidate {
    tracker: Arc<str>,
    /// Not to be asked before.
    due: Instant,
    tries: u32,
    shut_out: bool,
}

/// A packet that the tracker is being asked to hand on.
struct Sending {
    to: RelayPeer,
    data: Bytes,
    tries: u32,
}

/// All links, and whom to link to.
pub(super) struct Relay {
    candidates: BTreeMap<SocketAddr, Candidate>,
    /// Where those who are connected to us take connections.
    direct: BTreeMap<PeerKey, SocketAddr>,
    links: BTreeMap<PeerKey, Link>,
    next_key: u64,
    /// When the first of those who may be asked is due: found out when one of them changes, not after everything that comes.
    opens: Option<Instant>,
    packets: Bucket,
    strangers: Bucket,
    accepts: Bucket,
    answers: VecDeque<(RelayPeer, Packet)>,
    sending: Option<Sending>,
    /// A packet that came too fast.
    again: Option<Sending>,
    /// Nothing is sent before.
    not_before: Instant,
    /// The link that was served last.
    turn: PeerKey,
}

impl Relay {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            candidates: BTreeMap::new(),
            direct: BTreeMap::new(),
            links: BTreeMap::new(),
            next_key: RELAYED,
            opens: None,
            packets: Bucket::new(PACKETS, now),
            strangers: Bucket::new(STRANGERS, now),
            accepts: Bucket::new(ACCEPTS, now),
            answers: VecDeque::new(),
            sending: None,
            again: None,
            not_before: now,
            turn: PeerKey(RELAYED),
        }
    }

    fn link_to(&self, peer: &RelayPeer) -> Option<PeerKey> {
        self.links.iter().find(|(_, link)| link.to == *peer).map(|(key, _)| *key)
    }

    fn is_direct(&self, address: SocketAddr) -> bool {
        self.direct.values().any(|known| *known == address)
    }

    fn is_linked(&self, address: SocketAddr) -> bool {
        self.links.values().any(|link| link.to.address == address)
    }

    /// Links that are up.
    pub(super) fn up(&self) -> usize {
        self.links.values().filter(|link| link.state == State::Up).count()
    }

    fn most_opened(&self) -> usize {
        if self.direct.len() >= WELL_CONNECTED { OPENED_IF_CONNECTED } else { OPENED }
    }

    fn may_open(&self) -> bool {
        self.links.values().filter(|link| link.asked).count() < self.most_opened()
    }

    fn may_ask(&self, address: SocketAddr) -> bool {
        !self.is_direct(address) && !self.is_linked(address)
    }

    fn is_shut_out(&self, now: Instant, address: SocketAddr) -> bool {
        self.candidates.get(&address).is_some_and(|known| known.shut_out && now < known.due)
    }

    /// Learns of a peer, or hears of it again.
    fn add(&mut self, now: Instant, tracker: &Arc<str>, address: SocketAddr) {
        if let Some(known) = self.candidates.get_mut(&address) {
            if !known.shut_out || now >= known.due {
                let tries = if known.shut_out { 0 } else { known.tries };
                let due = known.due.min(now + GRACE);
                *known = Candidate { tracker: tracker.clone(), due, tries, shut_out: false };
            }
            return;
        }
        if self.candidates.len() >= CANDIDATES {
            let worst =
                self.candidates.iter().filter(|(_, known)| !known.shut_out).max_by_key(|(_, known)| known.tries);
            let Some(worst) = worst.filter(|(_, known)| known.tries > 0).map(|(address, _)| *address) else { return };
            self.candidates.remove(&worst);
        }
        let candidate = Candidate { tracker: tracker.clone(), due: now + GRACE, tries: 0, shut_out: false };
        self.candidates.insert(address, candidate);
    }

    fn answer(&mut self, now: Instant, to: RelayPeer, packet: Packet) {
        if self.answers.len() < ANSWERS && self.strangers.take(now) {
            self.answers.push_back((to, packet));
        }
    }

    /// The link whose turn it is, of those that have something to send.
    fn next_link(&self, now: Instant) -> Option<PeerKey> {
        let ready = |link: &Link| match link.state {
            State::Up => link.has_frames() || now >= link.speaks(),
            State::Opening => link.asked && link.theirs.is_none() && now >= link.speaks(),
            State::Condemned => false,
        };
        let ready = || self.links.iter().filter(|(_, link)| ready(link)).map(|(key, _)| *key);
        ready().find(|key| *key > self.turn).or_else(|| ready().next())
    }

    /// The next packet to send.
    fn next_packet(&mut self, now: Instant) -> Option<Sending> {
        if let Some(again) = self.again.take() {
            return Some(again);
        }
        if let Some((to, packet)) = self.answers.pop_front() {
            return Some(Sending { to, data: packet.encode(), tries: 0 });
        }
        let key = self.next_link(now)?;
        self.turn = key;
        let link = self.links.get_mut(&key)?;
        link.sends(now);
        let packet = if link.state == State::Up { link.next_packet()? } else { Packet::Hello { mine: link.ours } };
        Some(Sending { to: link.to.clone(), data: packet.encode(), tries: 0 })
    }

    fn has_something_to_send(&self, now: Instant) -> bool {
        self.again.is_some() || !self.answers.is_empty() || self.next_link(now).is_some()
    }

    /// When something is to be done.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waits = self.again.is_some() || !self.answers.is_empty() || self.links.values().any(Link::has_frames);
        let send = (waits && self.sending.is_none()).then_some(self.not_before);
        let opens = self.opens.filter(|_| self.may_open());
        let links = self.links.values().map(|link| match self.sending {
            // Whatever is due to be sent has to wait.
            Some(_) => link.ends(),
            None => link.ends().min(link.speaks().max(self.not_before)),
        });
        links.chain(send).chain(opens).min()
    }

    /// Peers, links or connections have changed.
    fn find_opens(&mut self) {
        self.opens = self.first_to_open();
    }

    fn first_to_open(&self) -> Option<Instant> {
        let links = self.links.values().map(|link| link.to.address);
        let taken: HashSet<SocketAddr> = self.direct.values().copied().chain(links).collect();
        let waiting = self.candidates.iter().filter(|(address, _)| !taken.contains(address));
        waiting.map(|(_, known)| known.due).min()
    }

    pub(super) fn check_invariants(&self) {
        assert!(self.links.len() <= OPENED + ACCEPTED, "{} links", self.links.len());
        assert!(self.candidates.len() <= CANDIDATES + OPENED + ACCEPTED, "{} candidates", self.candidates.len());
        assert!(self.answers.len() <= ANSWERS, "{} answers", self.answers.len());
        assert_eq!(self.opens, self.first_to_open(), "the first of those who may be asked");
        self.links.values().for_each(Link::check_invariants);
    }
}

impl Room {
    /// A native tracker has told of these peers of the torrent, or of none: from now on names are looked up there.
    pub fn handle_peers(&mut self, now: Instant, tracker: &Arc<str>, peers: &[SocketAddr]) {
        self.note_tracker(tracker);
        for address in peers.iter().filter(|address| address.port() != 0) {
            self.relay.add(now, tracker, canonical(*address));
        }
        self.relay.find_opens();
    }

    /// A dial has brought no connection.
    pub fn handle_unreachable(&mut self, now: Instant, address: SocketAddr) {
        if let Some(known) = self.relay.candidates.get_mut(&canonical(address))
            && known.tries == 0
            && !known.shut_out
        {
            known.due = known.due.min(now + GRACE_UNREACHABLE);
            self.relay.find_opens();
        }
    }

    /// A neighbour takes connections at this address: it needs no tracker to reach us.
    pub fn handle_address(&mut self, now: Instant, neighbour: PeerKey, address: SocketAddr) {
        let address = canonical(address);
        if is_relayed(neighbour) || !self.neighbours.contains_key(&neighbour) {
            return;
        }
        self.relay.direct.insert(neighbour, address);
        let needless = self.relay.links.iter().filter(|(_, link)| link.to.address == address);
        let needless: Vec<PeerKey> = needless.map(|(key, _)| *key).collect();
        for key in needless {
            self.end_link(now, key, true);
        }
        self.relay.find_opens();
    }

    /// A connection is gone: if it does not come back, its peer is asked over the tracker.
    pub(super) fn direct_left(&mut self, now: Instant, neighbour: PeerKey) {
        let Some(address) = self.relay.direct.remove(&neighbour) else { return };
        if let Some(known) = self.relay.candidates.get_mut(&address)
            && !known.shut_out
        {
            (known.due, known.tries) = (now + GRACE, 0);
        }
        self.relay.find_opens();
    }

    /// A tracker has handed on what another peer sent.
    pub fn handle_relayed(&mut self, now: Instant, from: &RelayPeer, data: &Bytes) {
        let from = RelayPeer { tracker: from.tracker.clone(), address: canonical(from.address) };
        if self.left || self.relay.is_shut_out(now, from.address) {
            self.stats.rate_limited += u64::from(!self.left);
            return;
        }
        let key = self.relay.link_to(&from);
        if let Some(link) = key.and_then(|key| self.relay.links.get_mut(&key))
            && !link.hears(now)
        {
            self.stats.rate_limited += 1;
            return;
        }
        match Packet::decode(data) {
            Some(Packet::Hello { mine }) => self.take_hello(now, from, mine),
            Some(Packet::Welcome { yours, mine }) => self.take_welcome(now, key, yours, mine),
            Some(Packet::Frames { yours, number, parts }) => {
                let known = |link: &&mut Link| link.ours == yours && link.theirs.is_some();
                let Some(link) = key.and_then(|key| self.relay.links.get_mut(&key)).filter(known) else {
                    // It has a link of which we know nothing, from before a restart perhaps.
                    return self.relay.answer(now, from, Packet::End { id: yours });
                };
                let frames = link.take_parts(number, parts);
                if let Some(key) = key {
                    self.link_is_up(now, key);
                    self.take_frames(now, key, frames);
                }
            }
            Some(Packet::End { id }) => {
                let known = key.filter(|key| {
                    self.relay.links.get(key).is_some_and(|link| link.ours == id || link.theirs == Some(id))
                });
                if let Some(key) = known {
                    self.end_link(now, key, false);
                }
            }
            None => self.stats.malformed += 1,
        }
    }

    fn take_frames(&mut self, now: Instant, key: PeerKey, frames: Option<Vec<Bytes>>) {
        let Some(frames) = frames else { return self.blame_malformed(key) };
        for frame in frames {
            self.handle_payload(now, key, &frame);
        }
    }

    /// Somebody asks for a link: yes, unless we have enough.
    fn take_hello(&mut self, now: Instant, from: RelayPeer, theirs: LinkId) {
        let mut key = self.relay.link_to(&from);
        let restarted = |link: &Link| link.theirs.is_some_and(|known| known != theirs);
        let old = key.filter(|key| self.relay.links.get(key).is_some_and(restarted));
        if (key.is_none() || old.is_some()) && !self.relay.accepts.take(now) {
            self.stats.rate_limited += 1;
            return;
        }
        if let Some(old) = old {
            self.end_link(now, old, false);
            key = None;
        }
        let accepted = self.relay.links.values().filter(|link| !link.asked).count();
        if key.is_none() && (accepted >= ACCEPTED || self.relay.is_linked(from.address)) {
            return self.relay.answer(now, from, Packet::End { id: theirs });
        }
        let key = key.unwrap_or_else(|| self.new_link(now, from.clone(), false));
        let Some(link) = self.relay.links.get_mut(&key) else { return };
        link.theirs = Some(theirs);
        let welcome = Packet::Welcome { yours: theirs, mine: link.ours };
        self.relay.answer(now, from, welcome);
    }

    fn take_welcome(&mut self, now: Instant, key: Option<PeerKey>, yours: LinkId, mine: LinkId) {
        let Some(key) = key else { return };
        let Some(link) = self.relay.links.get_mut(&key) else { return };
        if link.ours != yours || link.state == State::Up && link.theirs != Some(mine) {
            return;
        }
        link.theirs = Some(mine);
        self.link_is_up(now, key);
    }

    fn new_link(&mut self, now: Instant, to: RelayPeer, asked: bool) -> PeerKey {
        let key = PeerKey(self.relay.next_key);
        self.relay.next_key += 1;
        self.relay.links.insert(key, Link::new(now, to, self.random.random(), asked));
        self.relay.find_opens();
        key
    }

    /// The other side has our id: from now on it is a neighbour.
    fn link_is_up(&mut self, now: Instant, key: PeerKey) {
        let Some(link) = self.relay.links.get_mut(&key).filter(|link| link.state == State::Opening) else { return };
        link.state = State::Up;
        link.sends(now);
        let address = link.to.address;
        if let Some(known) = self.relay.candidates.get_mut(&address) {
            known.tries = 0;
        }
        self.handle_connected_from(now, key, address.ip());
    }

    /// Ends a link, and says so if that helps.
    fn end_link(&mut self, now: Instant, key: PeerKey, say: bool) {
        let Some(link) = self.relay.links.remove(&key) else { return };
        let address = link.to.address;
        let shut_out = link.state == State::Condemned;
        if let Some(id) = link.theirs.filter(|_| say) {
            self.relay.answer(now, link.to.clone(), Packet::End { id });
        }
        if shut_out {
            let tracker = link.to.tracker;
            let candidate = Candidate { tracker, due: now + SHUT_OUT, tries: 0, shut_out };
            self.relay.candidates.insert(address, candidate);
        } else if let Some(known) = self.relay.candidates.get_mut(&address) {
            known.due = now + AGAIN.saturating_mul(1 << known.tries.min(SELDOM));
            known.tries = known.tries.saturating_add(1);
        }
        self.relay.find_opens();
        if link.state != State::Opening {
            self.handle_closed(now, key);
        }
    }

    /// A neighbour floods or lies.
    pub(super) fn condemn(&mut self, neighbour: PeerKey) {
        if let Some(link) = self.relay.links.get_mut(&neighbour) {
            link.state = State::Condemned;
        }
    }

    /// Has a frame sent over a tracker.
    pub(super) fn send_relayed(&mut self, neighbour: PeerKey, frame: Bytes) {
        let Some(link) = self.relay.links.get_mut(&neighbour) else { return };
        if !link.enqueue(frame) {
            self.stats.relay_dropped += 1;
        }
    }

    /// What the shell's asking the tracker to hand on the last [`Output::Relay`] came to. The next one comes only then.
    pub fn handle_relay_done(&mut self, now: Instant, outcome: RelayOutcome) {
        let Some(sending) = self.relay.sending.take() else { return };
        match outcome {
            RelayOutcome::HandedOn => self.stats.relayed_packets += 1,
            RelayOutcome::TooFast { wait } => {
                self.relay.not_before = self.relay.not_before.max(now + wait.min(PAUSE));
                if sending.tries < RESENDS {
                    self.relay.again = Some(Sending { tries: sending.tries + 1, ..sending });
                }
            }
            RelayOutcome::NoSuchPeer => {
                if let Some(key) = self.relay.link_to(&sending.to) {
                    self.end_link(now, key, false);
                }
                // The tracker tells of it again if it comes back.
                self.relay.candidates.retain(|address, known| known.shut_out || *address != sending.to.address);
                self.relay.find_opens();
            }
            RelayOutcome::Failed => self.relay.not_before = self.relay.not_before.max(now + PAUSE),
        }
        self.drive_relay(now);
    }

    /// Opens, ends and sends what is due.
    pub(super) fn drive_relay(&mut self, now: Instant) {
        if self.left {
            return;
        }
        let over = self.relay.links.iter().filter(|(_, link)| link.is_over(now)).map(|(key, _)| *key);
        for key in over.collect::<Vec<_>>() {
            self.end_link(now, key, true);
        }
        while self.relay.may_open() && self.open_one(now) {}
        self.send_packet(now);
    }

    /// Asks somebody at random of those whose time has come.
    fn open_one(&mut self, now: Instant) -> bool {
        let may = |(address, known): &(&SocketAddr, &Candidate)| known.due <= now && self.relay.may_ask(**address);
        let due: Vec<SocketAddr> = self.relay.candidates.iter().filter(may).map(|(address, _)| *address).collect();
        if due.is_empty() {
            return false;
        }
        let Some(address) = due.get(self.random.random_range(0..due.len())).copied() else { return false };
        let Some(known) = self.relay.candidates.get_mut(&address) else { return false };
        known.shut_out = false;
        let to = RelayPeer { tracker: known.tracker.clone(), address };
        self.new_link(now, to, true);
        true
    }

    fn send_packet(&mut self, now: Instant) {
        if self.relay.sending.is_some() || now < self.relay.not_before || !self.relay.has_something_to_send(now) {
            return;
        }
        if !self.relay.packets.take(now) {
            self.relay.not_before = now + self.relay.packets.wait(now).max(COLLECT);
            return;
        }
        self.relay.not_before = now + COLLECT;
        if let Some(sending) = self.relay.next_packet(now) {
            self.outputs.push_back(Output::Relay { to: sending.to.clone(), data: sending.data.clone() });
            self.relay.sending = Some(sending);
        }
    }

    /// The last words over each link, without waiting for the turn of any.
    pub(super) fn say_goodbye_over_trackers(&mut self, presence: &Bytes) {
        let goodbye = Frame::Push { hops: limits::CHAT_HOPS, message: presence.clone() }.encode();
        let mut last = Vec::new();
        for link in self.relay.links.values_mut().filter(|link| link.state == State::Up) {
            link.clear();
            link.enqueue(goodbye.clone());
            last.extend(link.next_packet().map(|packet| (link.to.clone(), packet.encode())));
        }
        self.outputs.extend(last.into_iter().map(|(to, data)| Output::Relay { to, data }));
    }

    /// Takes a few at random: of those behind a tracker [`EAGER`], for each costs the tracker two messages.
    pub(super) fn choose(&mut self, from: &mut Vec<PeerKey>) -> Vec<PeerKey> {
        let (mut relayed, direct) = from.drain(..).partition::<Vec<_>, _>(|key| is_relayed(*key));
        *from = direct;
        let mut chosen = flood::take_at_random(&mut relayed, EAGER, &mut self.random);
        let others = limits::CHAT_EAGER - chosen.len();
        chosen.extend(flood::take_at_random(from, others, &mut self.random));
        from.extend(relayed);
        chosen
    }
}

/// One address has one form.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
