//! How many connections there may be: in all, and from one network.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use swarm_proto::announce::network_of;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The open connections by network.
type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Room for connections. The whole waits when it is full; a network that takes too much of it is turned away.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    counts: Counts,
    capacity: u32,
    of_one: usize,
}

/// One connection's place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _permit: OwnedSemaphorePermit,
    network: Option<IpAddr>,
    counts: Counts,
}

impl Places {
    /// Room for `capacity` connections, `of_one` of them from one network.
    pub(crate) fn new(capacity: usize, of_one: usize) -> Self {
        let capacity = u32::try_from(capacity.clamp(1, 1 << 20)).unwrap_or(u32::MAX);
        Self { all: Arc::new(Semaphore::new(capacity as usize)), counts: Counts::default(), capacity, of_one }
    }

    /// Waits until there is room for one more.
    pub(crate) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Gives the room to a connection from `ip`, unless its network has too many.
    ///
    /// This machine and trusted proxies may take all: they bring everybody from there.
    pub(crate) fn take(&self, permit: OwnedSemaphorePermit, ip: IpAddr, proxy: bool) -> Option<Place> {
        let exempt = proxy || ip.to_canonical().is_loopback();
        let network = (!exempt).then(|| network_of(ip));
        if let Some(network) = network {
            let mut counts = lock(&self.counts);
            let count = counts.entry(network).or_default();
            if *count >= self.of_one {
                return None;
            }
            *count += 1;
        }
        Some(Place { _permit: permit, network, counts: Arc::clone(&self.counts) })
    }

    /// Waits until all connections have ended.
    pub(crate) async fn all_free(&self) {
        drop(self.all.acquire_many(self.capacity).await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(network) = self.network else { return };
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&network);
            }
        }
    }
}

fn lock(counts: &Counts) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn take(places: &Places, ip: &str) -> Option<Place> {
        let permit = places.free().await.unwrap();
        places.take(permit, ip.parse().unwrap(), false)
    }

    #[tokio::test]
    async fn one_network_cannot_take_all() {
        let places = Places::new(10, 2);
        let first = take(&places, "192.0.2.1").await;
        let second = take(&places, "::ffff:192.0.2.1").await;
        assert!(first.is_some() && second.is_some());
        assert!(take(&places, "192.0.2.1").await.is_none());
        assert!(take(&places, "192.0.2.2").await.is_some());
        drop(first);
        assert!(take(&places, "192.0.2.1").await.is_some());
        let neighbours = [take(&places, "2001:db8::1").await, take(&places, "2001:db8::2").await];
        assert!(neighbours.iter().all(Option::is_some));
        assert!(take(&places, "2001:db8:0:0:9::3").await.is_none());
        assert!(take(&places, "2001:db8:0:1::3").await.is_some());
        drop((second, neighbours));
        assert!(lock(&places.counts).is_empty());
    }

    #[tokio::test]
    async fn a_trusted_proxy_brings_everybody() {
        let places = Places::new(3, 1);
        let ip = "192.0.2.1".parse().unwrap();
        let mut taken = Vec::new();
        for proxy in [true, true, false] {
            let permit = places.free().await.unwrap();
            taken.extend(places.take(permit, ip, proxy));
        }
        assert_eq!(taken.len(), 3, "those of a proxy do not count for its network");
        drop(taken);
        assert!(lock(&places.counts).is_empty());
    }

    #[tokio::test]
    async fn this_machine_may_and_all_come_back() {
        let places = Places::new(3, 1);
        let taken = [take(&places, "127.0.0.1").await, take(&places, "::1").await, take(&places, "127.0.0.1").await];
        assert!(taken.iter().all(Option::is_some));
        assert_eq!(places.all.available_permits(), 0);
        drop(taken);
        places.all_free().await;
    }
}
