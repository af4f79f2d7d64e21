//! Who gives way when all places are taken.
//!
//! While there is room, anybody may take it, be it a whole class behind one router. When there is none, a newcomer takes
//! the place of a connection that is of no use; of one that has never moved a byte; or of one from a host or a network
//! that holds more than its share. So whoever opens many connections, keeps them alive and moves nothing shuts nobody out.

use super::Swarm;
use super::peer::Peer;
use crate::announce::{Reach, network_of};
use crate::id::PeerKey;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// A connection of no use to either side may be dropped for a newcomer after this time.
const USELESS_GRACE: Duration = Duration::from_secs(20);
/// A connection over which no payload has ever gone, in either direction, may be dropped for a newcomer after this time:
/// two turns of the optimistic slot. Interest and keep-alives cost nothing, so they prove nothing.
const IDLE_GRACE: Duration = Duration::from_secs(60);
/// One host may keep a fourth of all places when others want them too, and one network a half.
const HOST_PART: usize = 4;
const NETWORK_PART: usize = 2;

impl Swarm {
    /// The connection that gives way to a newcomer from `ip`, if one should.
    pub(super) fn gives_way(&self, now: Instant, ip: IpAddr) -> Option<PeerKey> {
        self.useless(now).or_else(|| self.idle(now, ip)).or_else(|| self.of_the_crowd(ip))
    }

    /// The connection that has been of no use to either side for the longest time.
    fn useless(&self, now: Instant) -> Option<PeerKey> {
        let useless = self.peers.iter().filter(|(_, peer)| {
            let since = now.duration_since(peer.since);
            since >= USELESS_GRACE
                && !peer.extension.chats
                && (peer.is_useless() || now.duration_since(peer.last_received) >= USELESS_GRACE * 2)
        });
        useless.min_by_key(|(_, peer)| (peer.last_received, peer.since)).map(|(key, _)| *key)
    }

    /// The oldest connection that never moved anything, of the host that has the most connections. A host does not get
    /// more places that way than its share.
    fn idle(&self, now: Instant, newcomer: IpAddr) -> Option<PeerKey> {
        if self.count(newcomer, host) >= self.share(HOST_PART)
            || self.count(newcomer, network) >= self.share(NETWORK_PART)
        {
            return None;
        }
        let idle = self.peers.iter().filter(|(_, peer)| {
            now.duration_since(peer.since) >= IDLE_GRACE && peer.download.bytes == 0 && peer.upload.bytes == 0
        });
        let most = |peer: &Peer| std::cmp::Reverse(self.count(peer.address.ip(), host));
        idle.min_by_key(|(_, peer)| (most(peer), peer.since)).map(|(key, _)| *key)
    }

    /// The least active connection of a host or network that holds more than its share, for a newcomer from another.
    fn of_the_crowd(&self, newcomer: IpAddr) -> Option<PeerKey> {
        let least_active = |unit: fn(IpAddr) -> Option<IpAddr>, part: usize| {
            let share = self.share(part);
            let is_crowd = |ip: IpAddr| unit(ip) != unit(newcomer) && self.count(ip, unit) > share;
            let crowd = self.peers.iter().filter(|(_, peer)| is_crowd(peer.address.ip()));
            crowd.min_by_key(|(_, peer)| (peer.download.bytes + peer.upload.bytes, peer.since)).map(|(key, _)| *key)
        };
        least_active(host, HOST_PART).or_else(|| least_active(network, NETWORK_PART))
    }

    fn share(&self, part: usize) -> usize {
        (self.config.max_peers / part).max(1)
    }

    /// Connections from the same place as `ip`; 0 where places do not count.
    fn count(&self, ip: IpAddr, unit: fn(IpAddr) -> Option<IpAddr>) -> usize {
        let Some(place) = unit(ip) else { return 0 };
        self.peers.values().filter(|peer| unit(peer.address.ip()) == Some(place)).count()
    }
}

/// Whoever has one address: an IPv4 address or an IPv6 /64. A network of one's own is trusted, and knows no shares.
fn host(ip: IpAddr) -> Option<IpAddr> {
    (Reach::of(ip) == Reach::Global).then(|| network_of(ip))
}

/// Who can easily have many addresses: an IPv4 /24, an IPv6 /48.
fn network(ip: IpAddr) -> Option<IpAddr> {
    host(ip).map(|host| match host {
        IpAddr::V4(ip) => Ipv4Addr::from_bits(ip.to_bits() & !0xff).into(),
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> 48)).into(),
    })
}

/// Whether two connections under one peer id are those of one peer. Ids are known to everybody in the swarm: whoever comes
/// from another host of the internet with the id of an honest peer must not keep that one out.
pub(super) fn may_be_one_peer(one: IpAddr, other: IpAddr) -> bool {
    match (host(one), host(other)) {
        (Some(one), Some(other)) => one == other,
        _ => true,
    }
}
