//! Who is connected.
//!
//! Owns the table of connections and the bounds on their number. An entry lives as long as its [`Registration`], which the
//! connection's task holds: whatever ends the task, the entry goes.

use crate::config::Limits;
use crate::network::Network;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::id::PeerId;

/// One connection, for as long as the tracker runs: never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct ConnectionKey(pub(crate) u64);

/// A connected peer, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectedPeer {
    /// Names the connection in the log.
    pub session: u64,
    /// Its IP address and the port on which it listens; port 0 takes no connections.
    pub address: SocketAddr,
    /// How it calls itself.
    pub peer_id: PeerId,
    /// Its program, if it told that; printable.
    pub client: Option<String>,
    /// How many torrents it serves.
    pub torrents: usize,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    connections: HashMap<ConnectionKey, Option<ConnectedPeer>>,
    by_network: HashMap<Network, usize>,
}

/// The table of connections.
#[derive(Debug)]
pub(crate) struct Registry {
    table: Mutex<Table>,
    limits: Limits,
}

/// A place in the table.
#[derive(Debug)]
pub(crate) struct Registration {
    registry: Arc<Registry>,
    key: ConnectionKey,
    network: Network,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { table: Mutex::default(), limits }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from this address, unless there are too many.
    pub(crate) fn register(self: &Arc<Self>, remote: SocketAddr) -> Option<Registration> {
        let network = Network::of(remote.ip());
        let mut table = self.table();
        let from_network = table.by_network.get(&network).copied().unwrap_or(0);
        if table.connections.len() >= self.limits.connections || from_network >= self.limits.connections_per_network {
            return None;
        }
        table.by_network.insert(network, from_network + 1);
        let key = ConnectionKey(table.next);
        table.next += 1;
        table.connections.insert(key, None);
        Some(Registration { registry: Arc::clone(self), key, network })
    }

    /// Peers that are online, in the order in which they came.
    pub(crate) fn peers(&self) -> Vec<ConnectedPeer> {
        let mut rows: Vec<_> =
            self.table().connections.iter().filter_map(|(key, peer)| Some((*key, peer.clone()?))).collect();
        rows.sort_unstable_by_key(|(key, _)| *key);
        rows.into_iter().map(|(_, peer)| peer).collect()
    }

    /// Addresses of the peers that take connections, each once.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let table = self.table();
        let online = table.connections.values().flatten().map(|peer| peer.address);
        let mut addresses: Vec<_> = online.filter(|address| address.port() != 0).collect();
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    }

    /// Connections, those included that are not online yet.
    pub(crate) fn connections(&self) -> usize {
        self.table().connections.len()
    }
}

impl Registration {
    pub(crate) fn key(&self) -> ConnectionKey {
        self.key
    }

    pub(crate) fn online(&self, peer: ConnectedPeer) {
        self.registry.table().connections.insert(self.key, Some(peer));
    }

    pub(crate) fn serves(&self, torrents: usize) {
        if let Some(Some(peer)) = self.registry.table().connections.get_mut(&self.key) {
            peer.torrents = torrents;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut table = self.registry.table();
        table.connections.remove(&self.key);
        if let Some(count) = table.by_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                table.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_bounded_in_all_and_by_network() {
        let limits = Limits { connections: 3, connections_per_network: 2, ..Limits::default() };
        let registry = Arc::new(Registry::new(limits));
        let register = |ip: &str| registry.register(SocketAddr::new(ip.parse().unwrap(), 1));
        let first = register("192.0.2.1").unwrap();
        let second = register("192.0.2.1").unwrap();
        assert!(register("192.0.2.1").is_none());
        let third = register("192.0.2.2").unwrap();
        assert!(register("192.0.2.3").is_none());
        drop(first);
        let fourth = register("192.0.2.1").unwrap();
        assert!(fourth.key() > third.key() && third.key() > second.key());
        drop((second, third, fourth));
        assert_eq!((registry.connections(), registry.table().by_network.len()), (0, 0));
    }
}
