//! The one socket on which a session takes connections for all its torrents.
//!
//! Owns the listening socket, the handshakes under way on it and the table that finds a torrent by info hash. Bounds the
//! handshakes, in all and by network; newcomers take the places of the oldest, so that nobody can hold the door shut.
//! Never ends because `accept` fails: it pauses and goes on.

use crate::connection::handshake::{self, HandshakeFailure};
use crate::disk::fault;
use crate::supervise::caught;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use swarm_proto::announce::network_of;
use swarm_proto::id::InfoHash;
use swarm_proto::swarm::{Connected, Direction};
use swarm_proto::wire::Handshake;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// Ports that are tried when none is named: those that BitTorrent has used from its beginning, and some more.
pub const DEFAULT_PORTS: RangeInclusive<u16> = 6881..=6999;
/// Handshakes under way with one host. A swarm on one machine opens many at once, and each takes milliseconds.
const HALF_OPEN_PER_HOST: usize = 64;
/// How long no connection is accepted after the system refused one (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);
/// How long a newcomer waits for its torrent.
const ARRIVAL_PATIENCE: Duration = Duration::from_secs(2);
const BACKLOG: i32 = 1_024;

/// Where a session takes connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listen {
    /// On this address; port 0 lets the system choose. `[::]` takes IPv4 too.
    Address(SocketAddr),
    /// On every address, on the first free port of these.
    Ports(RangeInclusive<u16>),
}

impl Default for Listen {
    fn default() -> Self {
        Self::Ports(DEFAULT_PORTS)
    }
}

/// A socket behind its handshake, on its way to its torrent.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The socket; nothing behind the handshake has been read.
    pub(crate) stream: TcpStream,
    /// What the handshake said.
    pub(crate) connected: Connected,
}

/// Which torrents take connections.
#[derive(Default)]
pub(crate) struct Doors {
    table: Mutex<HashMap<InfoHash, Door>>,
}

struct Door {
    ours: Handshake,
    arrivals: mpsc::Sender<Arrival>,
}

impl Doors {
    /// Lets connections for the torrent of this handshake in, until what is returned is dropped. Nothing if one of that
    /// name is open already.
    pub(crate) fn open(self: &Arc<Self>, ours: Handshake, arrivals: mpsc::Sender<Arrival>) -> Option<OpenDoor> {
        match self.lock().entry(ours.info_hash) {
            Entry::Occupied(_) => return None,
            Entry::Vacant(entry) => entry.insert(Door { ours, arrivals }),
        };
        Some(OpenDoor { doors: Arc::clone(self), info_hash: ours.info_hash })
    }

    /// Number of torrents.
    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    fn find(&self, info_hash: InfoHash) -> Option<(Handshake, mpsc::Sender<Arrival>)> {
        self.lock().get(&info_hash).map(|door| (door.ours, door.arrivals.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InfoHash, Door>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A torrent's entry in the table, for as long as it lives: whatever ends the torrent, the entry goes.
pub(crate) struct OpenDoor {
    doors: Arc<Doors>,
    info_hash: InfoHash,
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        self.doors.lock().remove(&self.info_hash);
    }
}

/// Opens the listening socket.
///
/// # Errors
/// When the address or every port of the range is taken or not allowed.
pub(crate) fn bind(listen: &Listen) -> io::Result<TcpListener> {
    match listen {
        Listen::Address(address) => bind_to(*address),
        Listen::Ports(ports) => {
            let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
            for port in ports.clone() {
                match bind_everywhere(port) {
                    Ok(listener) => return Ok(listener),
                    Err(error) => last = error,
                }
            }
            Err(last)
        }
    }
}

/// IPv6 and IPv4 on one socket, or IPv4 alone where the machine has no IPv6.
fn bind_everywhere(port: u16) -> io::Result<TcpListener> {
    let both = bind_to((Ipv6Addr::UNSPECIFIED, port).into());
    both.or_else(|error| match error.kind() {
        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
        _ => bind_to((Ipv4Addr::UNSPECIFIED, port).into()),
    })
}

fn bind_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // A port whose last connections are still dying is free again at once.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(StdListener::from(socket))
}

/// Accepts connections and hands them to their torrents, until dropped. At most `half_open` handshakes are under way, and
/// at most about as many connections wait behind theirs for their torrents. A panic costs those that are under way.
pub(crate) async fn serve(listener: TcpListener, doors: Arc<Doors>, half_open: usize) {
    while caught(accept(&listener, &doors, half_open)).await.is_err() {
        tracing::error!("taking connections failed by a fault of this program; it goes on");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn accept(listener: &TcpListener, doors: &Arc<Doors>, half_open: usize) -> Infallible {
    let mut places = HalfOpen { places: VecDeque::new(), most: half_open };
    let (mut handshakes, mut waiting) = (JoinSet::new(), JoinSet::new());
    loop {
        tokio::select! {
            accepted = listener.accept(), if waiting.len() < half_open => match accepted {
                Ok((stream, address)) => {
                    fault::visit(fault::Place::Listener);
                    let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                    let network = network_of(address.ip());
                    places.make_room(network);
                    let task = handshakes.spawn(shake_hands(stream, address, Arc::clone(doors)));
                    places.places.push_back(Place { network, task });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections for a moment");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(done) = handshakes.join_next() => hand_over(done, &mut waiting),
            Some(_) = waiting.join_next() => {}
        }
        while let Some(done) = handshakes.try_join_next() {
            hand_over(done, &mut waiting);
        }
    }
}

/// A newcomer behind its handshake, and the way to its torrent.
type Admitted = (mpsc::Sender<Arrival>, Arrival);

async fn shake_hands(mut stream: TcpStream, address: SocketAddr, doors: Arc<Doors>) -> Option<Admitted> {
    let find = |theirs: &Handshake| doors.find(theirs.info_hash);
    match handshake::accept(&mut stream, find).await {
        Ok((arrivals, theirs)) => {
            let Handshake { peer_id, reserved, .. } = theirs;
            let connected = Connected { address, direction: Direction::Incoming, peer_id, reserved };
            return Some((arrivals, Arrival { stream, connected }));
        }
        Err(failure @ (HandshakeFailure::Protocol(_) | HandshakeFailure::WrongTorrent(_))) => {
            tracing::debug!(%address, %failure, "connection refused");
        }
        Err(failure) => tracing::trace!(%address, %failure, "no handshake"),
    }
    None
}

/// Brings a newcomer to its torrent, which takes them one by one in a rush. One that is too busy for long does not need more.
fn hand_over(done: Result<Option<Admitted>, JoinError>, waiting: &mut JoinSet<()>) {
    let Ok(Some((arrivals, arrival))) = done else { return };
    let Err(TrySendError::Full(arrival)) = arrivals.try_send(arrival) else { return };
    waiting.spawn(async move {
        let address = arrival.connected.address;
        if arrivals.send_timeout(arrival, ARRIVAL_PATIENCE).await.is_err() {
            tracing::debug!(%address, "connection dropped: the torrent is busy or gone");
        }
    });
}

/// Handshakes under way, the oldest first.
///
/// When there are too many, the oldest makes room for the newcomer: an honest peer needs a round trip for its handshake,
/// and whoever only holds places holds them for ever shorter the more of them come.
struct HalfOpen {
    places: VecDeque<Place>,
    most: usize,
}

/// One handshake under way.
struct Place {
    network: IpAddr,
    task: AbortHandle,
}

impl HalfOpen {
    /// Makes room for one more from this network.
    fn make_room(&mut self, network: IpAddr) {
        self.places.retain(|place| !place.task.is_finished());
        let of_network = || self.places.iter().filter(|place| place.network == network);
        let victim = if of_network().count() >= HALF_OPEN_PER_HOST {
            self.places.iter().position(|place| place.network == network)
        } else {
            (self.places.len() >= self.most).then_some(0)
        };
        if let Some(place) = victim.and_then(|oldest| self.places.remove(oldest)) {
            tracing::debug!(network = %place.network, "a handshake gives way to a newcomer");
            place.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::id::PeerId;

    const HASH: InfoHash = InfoHash([7; 20]);

    fn ours(id: u8) -> Handshake {
        handshake::ours(HASH, PeerId([id; 20]))
    }

    #[tokio::test]
    async fn a_connection_finds_its_torrent_over_both_families() {
        let listener = bind(&Listen::Ports(0..=0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let doors = Arc::new(Doors::default());
        let (sender, mut arrivals) = mpsc::channel(4);
        let door = doors.open(ours(1), sender.clone()).unwrap();
        assert!(doors.open(ours(1), sender).is_none());
        let server = tokio::spawn(serve(listener, Arc::clone(&doors), 8));
        let (_stream, theirs) = handshake::dial((Ipv4Addr::LOCALHOST, port).into(), ours(2)).await.unwrap();
        assert_eq!(theirs, ours(1));
        let arrival = arrivals.recv().await.unwrap();
        assert_eq!(arrival.connected.peer_id, PeerId([2; 20]));
        assert!(arrival.connected.address.is_ipv4(), "mapped addresses are written as what they are");
        assert_eq!(arrival.connected.direction, Direction::Incoming);
        drop(door);
        assert!(handshake::dial((Ipv4Addr::LOCALHOST, port).into(), ours(2)).await.is_err());
        server.abort();
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error_or_passed_over() {
        let first = bind(&Listen::Address((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
        let taken = first.local_addr().unwrap();
        assert_eq!(bind(&Listen::Address(taken)).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(&Listen::Ports(taken.port()..=taken.port())).is_err());
    }

    #[tokio::test]
    async fn the_oldest_handshake_makes_room_first_of_its_own_network_then_of_all() {
        const MOST: usize = 200;
        let (mut half_open, mut tasks) = (HalfOpen { places: VecDeque::new(), most: MOST }, JoinSet::new());
        let network = |number: u32| IpAddr::from(Ipv4Addr::from(number));
        let mut enter = |number: u32| {
            half_open.make_room(network(number));
            let task = tasks.spawn(std::future::pending::<()>());
            half_open.places.push_back(Place { network: network(number), task });
            half_open.places.iter().map(|place| place.network).collect::<Vec<_>>()
        };
        enter(1);
        for _ in 0..HALF_OPEN_PER_HOST * 2 {
            enter(2);
        }
        let places = enter(3);
        assert_eq!(places.iter().filter(|place| **place == network(2)).count(), HALF_OPEN_PER_HOST);
        assert!(places.contains(&network(1)) && places.contains(&network(3)));
        let places = (100..300).map(&mut enter).last().unwrap();
        assert_eq!(places.len(), MOST);
        assert!(!places.contains(&network(1)), "the oldest of all is gone");
    }
}
