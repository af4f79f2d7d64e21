//! Connections are dialled, accepted, broken; hosts come and go.

use crate::conduct::{Departure, Leave};
use crate::host::Life;
use crate::interference::{Action, Target};
use crate::link::nanos;
use crate::observation::RecordKind;
use crate::queue::Moment;
use crate::transfer::{End, EndIndex};
use crate::world::{FIRST_ADDRESS, Happening, HostIndex, World};
use rand::RngExt;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::id::PeerId;
use swarm_proto::swarm::{Command, Connected, Direction};
use swarm_proto::wire::Reserved;

/// How long a dial without an answer takes to fail, as in the engine.
const DIAL_TIMEOUT: Moment = 10_000_000_000;

impl World {
    /// A swarm wants a connection: one round trip for TCP, half of one for the handshake to get there.
    pub(crate) fn dial(&mut self, from: HostIndex, address: SocketAddr) {
        let action = self.interferences.pass(Target::Dial);
        let target = self.addresses.get(&address).copied();
        let silent = |world: &Self, to: HostIndex| {
            let [link, other] = [from, to].map(|host| &world.hosts[host].config.link);
            let vanished = world.hosts[to].life == Life::Gone && world.hosts[to].config.departure == Departure::Vanish;
            let parted = world.network.is_cut(from, to) || world.network.parted_until(world.now, link, other).is_some();
            vanished || parted || !other.reachable
        };
        let Some(to) = target.filter(|&to| action != Some(Action::Drop) && !silent(self, to)) else {
            self.queue.push(self.now + DIAL_TIMEOUT, Happening::DialFailed { host: from, address });
            return;
        };
        let delay = self.network.delay(&self.hosts[from].config.link, &self.hosts[to].config.link);
        if !self.hosts[to].is_here() || action == Some(Action::Fail) {
            self.queue.push(self.now + 2 * delay, Happening::DialFailed { host: from, address });
            return;
        }
        let late = if let Some(Action::Delay(late)) = action { nanos(late) } else { 0 };
        self.queue.push(self.now + 3 * delay + late, Happening::Dialled { from, to, address });
    }

    pub(crate) fn dial_failed(&mut self, host: HostIndex, address: SocketAddr) {
        if self.hosts[host].is_here() {
            self.record(RecordKind::DialFailed, host, None, None, 0);
            let (swarm, now) = self.swarm_now(host);
            swarm.handle_connect_failed(now, address);
            self.drain(host);
        }
    }

    /// The handshake of a dialling host has come: the accepting side decides, and answers.
    pub(crate) fn dialled(&mut self, from: HostIndex, to: HostIndex, address: SocketAddr) {
        let delay = self.network.delay(&self.hosts[from].config.link, &self.hosts[to].config.link);
        if !self.hosts[from].is_here() {
            return;
        }
        // The port of an outgoing connection is any.
        let port = 32_768 + u16::try_from(self.ends.len() % 28_000).unwrap_or(0);
        let source = SocketAddr::new(self.hosts[from].address.ip(), port);
        let incoming = self.connected(from, to, source, Direction::Incoming);
        let now = self.instant();
        let there = self.hosts[to].is_here() && self.hosts[to].address == address;
        let accepted = there.then(|| self.hosts[to].swarm.handle_connected(now, incoming));
        let Some(Ok(key)) = accepted else {
            self.queue.push(self.now + delay, Happening::DialFailed { host: from, address });
            if there {
                self.drain(to);
            }
            return;
        };
        self.record(RecordKind::Dialled, to, Some(from), None, 0);
        let index = u32::try_from(self.ends.len()).expect("fewer than four billion connections");
        let (ours, theirs) = (EndIndex(index), EndIndex(index + 1));
        self.ends.push(End::new(from, None));
        self.ends.push(End::new(to, Some(key)));
        self.hosts[to].ends.insert(key, theirs);
        self.queue.push(self.now + delay, Happening::Accepted { end: ours, address });
        self.plan_break(ours);
        self.greet(to, theirs);
        self.drain(to);
    }

    fn plan_break(&mut self, end: EndIndex) {
        let [one, other] = [end, end.other()].map(|end| self.hosts[self.ends[end.get()].host].config.link);
        for mean in [one.mean_connection_life, other.mean_connection_life].into_iter().flatten() {
            let life = mean.mul_f64(-(1.0 - self.random.random::<f64>()).ln());
            self.queue.push(self.now + nanos(life), Happening::Broken { end });
        }
    }

    fn connected(&self, of: HostIndex, at: HostIndex, address: SocketAddr, direction: Direction) -> Connected {
        let [a, b] = [of, at].map(|host| self.hosts[host].config.reserved);
        let reserved = Reserved { fast: a.fast && b.fast, extended: a.extended && b.extended };
        Connected { address, direction, peer_id: peer_id(of), reserved }
    }

    /// The answer to a dialling host's handshake has come.
    pub(crate) fn accepted(&mut self, end: EndIndex, address: SocketAddr) {
        let [host, peer] = [end, end.other()].map(|end| self.ends[end.get()].host);
        if !self.hosts[host].is_here() {
            return;
        }
        if !self.ends[end.get()].open {
            return self.dial_failed(host, address);
        }
        let outgoing = self.connected(peer, host, address, Direction::Outgoing);
        let (swarm, now) = self.swarm_now(host);
        match swarm.handle_connected(now, outgoing) {
            Ok(key) => {
                self.record(RecordKind::Connected, host, Some(peer), None, 0);
                self.ends[end.get()].key = Some(key);
                self.hosts[host].ends.insert(key, end);
                self.greet(host, end);
                match self.interferences.pass(Target::Connection) {
                    Some(Action::Delay(after)) => self.queue.push(self.now + nanos(after), Happening::Broken { end }),
                    Some(_) => self.break_connection(end),
                    None => {}
                }
            }
            Err(_) => {
                self.ends[end.get()].close();
                self.send_close(end);
            }
        }
        self.drain(host);
    }

    /// A connection breaks: both sides hear of it at the next moment, and what was under way is lost.
    pub(crate) fn break_connection(&mut self, end: EndIndex) {
        for end in [end, end.other()] {
            self.ends[end.get()].waiting.clear();
            self.queue.push(self.now, Happening::Closed { to: end });
        }
    }

    /// An end learns that its connection is gone.
    pub(crate) fn closed(&mut self, to: EndIndex) {
        let end = &mut self.ends[to.get()];
        let (host, was_open) = (end.host, end.open);
        end.close();
        let Some(key) = end.key.filter(|_| was_open) else { return };
        let peer = self.ends[to.other().get()].host;
        self.record(RecordKind::Closed, host, Some(peer), None, 0);
        self.hosts[host].ends.remove(&key);
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_closed(now, key);
        self.drain(host);
    }

    /// A host comes up.
    pub(crate) fn arrive(&mut self, host: HostIndex) {
        let state = &mut self.hosts[host];
        if state.life != Life::Coming {
            return;
        }
        state.life = Life::Here;
        if let Leave::After(time) = state.config.leave {
            self.queue.push(self.now + nanos(time), Happening::Leave { host });
        }
        if self.hosts[host].swarm.is_complete()
            && let Leave::Completed { linger } = self.hosts[host].config.leave
        {
            self.queue.push(self.now + nanos(linger), Happening::Leave { host });
        }
        self.count_pieces_of(host, true);
        self.record(RecordKind::Arrived, host, None, None, 0);
        let (swarm, now) = self.swarm_now(host);
        swarm.handle_timeout(now);
        self.drain(host);
    }

    /// A host goes, in its way.
    pub(crate) fn depart(&mut self, host: HostIndex, departure: Departure) {
        if !self.hosts[host].is_here() {
            return self.never_comes(host);
        }
        self.record(RecordKind::Left, host, None, None, 0);
        if departure == Departure::Goodbye {
            let (swarm, now) = self.swarm_now(host);
            swarm.command(now, Command::Stop);
            self.drain(host);
        }
        self.count_pieces_of(host, false);
        let state = &mut self.hosts[host];
        state.config.departure = departure;
        state.life = Life::Gone;
        state.left = Some(self.now);
        if state.completed.is_none() {
            self.unfinished -= 1;
        }
        for (_, end) in std::mem::take(&mut self.hosts[host].ends) {
            self.ends[end.get()].close();
            if departure != Departure::Vanish {
                self.send_close(end);
            }
        }
    }

    fn never_comes(&mut self, host: HostIndex) {
        let state = &mut self.hosts[host];
        if state.life == Life::Coming {
            (state.life, state.left) = (Life::Gone, Some(self.now));
            if state.completed.is_none() {
                self.unfinished -= 1;
            }
        }
    }

    /// A host has another address from now on: its connections are gone, the tracker knows the old one.
    pub(crate) fn rehome(&mut self, host: HostIndex) {
        if !self.hosts[host].is_here() {
            return;
        }
        let old = self.hosts[host].address;
        self.addresses.remove(&old);
        let address = self.new_address(host);
        self.hosts[host].address = address;
        self.record(RecordKind::Moved, host, None, None, 0);
        let ends: Vec<EndIndex> = self.hosts[host].ends.values().copied().collect();
        ends.into_iter().for_each(|end| self.break_connection(end));
    }

    /// The next address that nobody has had, for this host.
    pub(crate) fn new_address(&mut self, host: HostIndex) -> SocketAddr {
        self.homes.push(host);
        let number = u32::try_from(self.homes.len()).expect("fewer than four billion addresses");
        let address = SocketAddr::from(((FIRST_ADDRESS + number - 1).to_be_bytes(), 6881));
        self.addresses.insert(address, host);
        address
    }

    /// A host goes after this time.
    pub fn leave(&mut self, host: HostIndex, at: Duration, departure: Departure) {
        self.hosts[host].config.departure = departure;
        self.queue.push(nanos(at), Happening::Leave { host });
    }
}

/// The peer id of a host.
pub(crate) fn peer_id(host: HostIndex) -> PeerId {
    let mut random = [0; 12];
    random[4..].copy_from_slice(&(host as u64 + 1).to_be_bytes());
    PeerId::new(random)
}
