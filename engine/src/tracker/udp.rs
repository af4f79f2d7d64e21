//! The client of UDP trackers (BEP 15, 41).
//!
//! Owns a socket for each address of a tracker that has been asked within the last minute, in a task that ends by itself.
//! Decides nothing of what is sent when: [`swarm_proto::announce::udp::Dialogue`] does.
//!
//! A tracker that has addresses of both families is asked over both, since it learns our address, and tells those of
//! others, of the family that it is asked by.

mod link;
#[cfg(test)]
mod tests;

use link::{Command, Link};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use swarm_proto::announce::http::ScrapeEntry;
use swarm_proto::announce::udp::{Answer, Family, Subject, UdpUrl};
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply, Reach, TrackerError};
use swarm_proto::id::InfoHash;
use tokio::net::lookup_host;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// How long the first good answer waits for that of the other family.
const GRACE: Duration = Duration::from_secs(1);
/// Addresses of one family that are tried, one after the other, if nobody can be asked there.
const ADDRESSES: usize = 4;
/// Questions that wait for one task; more wait in their callers.
const QUEUED_COMMANDS: usize = 256;

/// A client of all UDP trackers; copies share their sockets, which end with the last of them.
#[derive(Clone, Debug, Default)]
pub struct UdpTracker {
    links: Arc<Mutex<HashMap<SocketAddr, mpsc::Sender<Command>>>>,
}

impl UdpTracker {
    /// A client; nothing is opened before the first announce.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces once to the tracker at `url`, over IPv4 and IPv6 if it has both, and waits for the answer at most for
    /// `limit`. Has the peers of both answers.
    ///
    /// Loopback peers are left out of an answer that does not come from this machine.
    ///
    /// # Errors
    /// [`TrackerError`]; that of one family only if the other has no answer either.
    pub async fn announce(
        &self,
        url: &str,
        announce: &Announce,
        limit: Duration,
    ) -> Result<AnnounceReply, TrackerError> {
        let deadline = Instant::now() + limit;
        let url: UdpUrl = url.parse()?;
        let addresses = resolve(&url, deadline, limit).await?;
        self.announce_at(&addresses, announce, url.url_data, deadline, limit).await
    }

    async fn announce_at(
        &self,
        addresses: &[SocketAddr],
        announce: &Announce,
        url_data: String,
        deadline: Instant,
        limit: Duration,
    ) -> Result<AnnounceReply, TrackerError> {
        let subject = Subject::Announce { announce: announce.clone(), url_data };
        // A peer that leaves is to be forgotten by both families; otherwise the first peers shall not wait for long.
        let grace = if announce.event == AnnounceEvent::Stopped { limit } else { GRACE };
        let over = |family| self.announce_over(family, addresses, &subject, deadline, limit);
        merge(both(over(Family::V4), over(Family::V6), grace).await)
    }

    /// Asks for the counts of these torrents, in their order; those beyond 74 are left out.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub async fn scrape(
        &self,
        url: &str,
        hashes: &[InfoHash],
        limit: Duration,
    ) -> Result<Vec<(InfoHash, ScrapeEntry)>, TrackerError> {
        let deadline = Instant::now() + limit;
        let addresses = resolve(&url.parse()?, deadline, limit).await?;
        match self.ask_one_of(&addresses, &Subject::Scrape(hashes.to_vec()), deadline, limit).await? {
            (Answer::Scraped(entries), _) => Ok(hashes.iter().copied().zip(entries).collect()),
            (Answer::Announced(_), _) => Err(TrackerError::Malformed("it answers something else".into())),
        }
    }

    /// `None` if the tracker has no address of this family.
    async fn announce_over(
        &self,
        family: Family,
        addresses: &[SocketAddr],
        subject: &Subject,
        deadline: Instant,
        limit: Duration,
    ) -> Outcome {
        let of_family = addresses.iter().copied().filter(|address| Family::of(address.ip()) == family);
        let of_family: Vec<SocketAddr> = of_family.take(ADDRESSES).collect();
        if of_family.is_empty() {
            return None;
        }
        Some(match self.ask_one_of(&of_family, subject, deadline, limit).await {
            Ok((Answer::Announced(reply), tracker)) => Ok(believable(reply, tracker)),
            Ok((Answer::Scraped(_), _)) => Err(TrackerError::Malformed("it answers something else".into())),
            Err(error) => Err(error),
        })
    }

    /// Asks the first of these addresses where somebody can be asked.
    async fn ask_one_of(
        &self,
        addresses: &[SocketAddr],
        subject: &Subject,
        deadline: Instant,
        limit: Duration,
    ) -> Result<(Answer, SocketAddr), TrackerError> {
        let mut outcome = Err(no_address());
        for &address in addresses {
            let asked = timeout_at(deadline, self.ask(address, subject.clone(), deadline)).await;
            outcome = match asked.unwrap_or(Err(TrackerError::TimedOut(limit))) {
                // Of the time that the caller gave some went to the resolver.
                Err(TrackerError::TimedOut(_)) => Err(TrackerError::TimedOut(limit)),
                asked => asked.map(|answer| (answer, address)),
            };
            if !matches!(outcome, Err(TrackerError::Unreachable(_))) {
                break;
            }
        }
        outcome
    }

    async fn ask(&self, address: SocketAddr, subject: Subject, deadline: Instant) -> Result<Answer, TrackerError> {
        let (answer, answered) = oneshot::channel();
        let mut command = Command { subject, deadline, answer };
        loop {
            match self.link(address)?.send(command).await {
                Ok(()) => break,
                // Its minute was just over.
                Err(mpsc::error::SendError(unsent)) => command = unsent,
            }
        }
        answered.await.unwrap_or_else(|_| Err(TrackerError::Unreachable("the socket's task has ended".into())))
    }

    fn link(&self, address: SocketAddr) -> Result<mpsc::Sender<Command>, TrackerError> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = links.get(&address).filter(|link| !link.is_closed()) {
            return Ok(link.clone());
        }
        let (link, commands) = mpsc::channel(QUEUED_COMMANDS);
        tokio::spawn(Link::open(address, commands)?.run());
        links.retain(|_, link| !link.is_closed());
        links.insert(address, link.clone());
        Ok(link)
    }
}

/// The addresses of a tracker, in the order in which the system prefers them.
async fn resolve(url: &UdpUrl, deadline: Instant, limit: Duration) -> Result<Vec<SocketAddr>, TrackerError> {
    let unreachable = |problem: &str| TrackerError::Unreachable(format!("no connection to {}: {problem}", url.host));
    let found = timeout_at(deadline, lookup_host(url.authority())).await;
    let found = found.map_err(|_| TrackerError::TimedOut(limit))?.map_err(|error| unreachable(&error.to_string()))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found.filter(|address| !address.ip().is_multicast()) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() { Err(unreachable("it has no address")) } else { Ok(addresses) }
}

/// What a tracker elsewhere can know: no peer on this machine.
fn believable(mut reply: AnnounceReply, tracker: SocketAddr) -> AnnounceReply {
    if Reach::of(tracker.ip()) > Reach::Loopback {
        reply.peers.retain(|peer| Reach::of(peer.address.ip()) > Reach::Loopback);
    }
    reply
}

/// What came of asking over one family, if there was anybody to ask.
type Outcome = Option<Result<AnnounceReply, TrackerError>>;

/// The outcomes of both; only one if that is good and the other not there within `grace`.
async fn both(
    one: impl Future<Output = Outcome> + Send,
    two: impl Future<Output = Outcome> + Send,
    grace: Duration,
) -> [Outcome; 2] {
    let (mut one, mut two) = (pin!(one), pin!(two));
    let (first, other): (_, Pin<&mut (dyn Future<Output = Outcome> + Send)>) = tokio::select! {
        first = &mut one => (first, two),
        first = &mut two => (first, one),
    };
    let second = match &first {
        Some(Ok(_)) => timeout(grace, other).await.unwrap_or(None),
        _ => other.await,
    };
    [first, second]
}

/// One answer of those of both families. Without any, the error that says most.
fn merge(outcomes: [Outcome; 2]) -> Result<AnnounceReply, TrackerError> {
    match outcomes {
        [Some(Ok(mut one)), Some(Ok(two))] => {
            one.interval = one.interval.max(two.interval);
            (one.complete, one.incomplete) = (one.complete.max(two.complete), one.incomplete.max(two.incomplete));
            one.peers.extend(two.peers);
            Ok(one)
        }
        [Some(Ok(reply)), _] | [_, Some(Ok(reply))] => Ok(reply),
        // Many machines have no way out over one of the families; that is no news.
        [Some(Err(TrackerError::Unreachable(_))), Some(Err(error))]
        | [Some(Err(error)), _]
        | [None, Some(Err(error))] => Err(error),
        [None, None] => Err(no_address()),
    }
}

fn no_address() -> TrackerError {
    TrackerError::Unreachable("it has no address".into())
}
