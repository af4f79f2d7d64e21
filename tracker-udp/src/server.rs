//! Sockets: where, and how many on each port.

use crate::connection_id::{ConnectionIds, Key};
use crate::counters::UdpCounters;
use crate::responder::Responder;
use crate::worker::Workers;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroUsize;
use std::sync::Arc;
use swarm_tracker_core::Store;

/// Bytes that may wait in a socket; the system may allow less. A burst of 10,000 announces.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where a tracker listens, and how.
#[derive(Clone, Debug)]
pub struct UdpTrackerConfig {
    /// Addresses to listen at; port 0 takes a free one. `[::]` takes IPv4 too, unless an IPv4 address of the same port
    /// is in the list.
    pub listen: Vec<SocketAddr>,
    /// Threads for each address; `None` for one a core.
    pub workers: Option<NonZeroUsize>,
    /// The secret behind connection ids: the same for nodes behind one address, `None` for one of its own.
    pub key: Option<Key>,
}

impl Default for UdpTrackerConfig {
    /// A free loopback port, a thread a core, a key of its own.
    fn default() -> Self {
        Self { listen: vec![([127, 0, 0, 1], 0).into()], workers: None, key: None }
    }
}

/// A tracker that listens, and answers as soon as it is told to [`serve`](UdpTracker::serve).
#[derive(Debug)]
pub struct UdpTracker {
    sockets: Vec<UdpSocket>,
    addresses: Vec<SocketAddr>,
    responder: Responder,
    counters: UdpCounters,
}

impl UdpTracker {
    /// Opens the sockets.
    ///
    /// # Errors
    /// An address is not ours or in use (named in the error), or there is none in the list.
    pub fn bind(config: UdpTrackerConfig, store: Arc<Store>) -> io::Result<Self> {
        Self::bind_beside(config, &[], store)
    }

    /// Takes over sockets that somebody else has opened, and opens those of the configuration beside them.
    ///
    /// # Errors
    /// As [`UdpTracker::bind`]; without an address in the configuration only if nothing is taken over either.
    pub fn bind_beside(config: UdpTrackerConfig, open: &[UdpSocket], store: Arc<Store>) -> io::Result<Self> {
        let workers = config.workers.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN);
        let (mut sockets, mut addresses) = (Vec::new(), Vec::new());
        for open in open {
            // There is one, for all threads: the kernel gives each datagram to one of them.
            addresses.push(open.local_addr()?);
            (0..workers.get()).try_for_each(|_| open.try_clone().map(|socket| sockets.push(socket)))?;
        }
        for &address in &config.listen {
            let (opened, bound) = listen(address, &config.listen, workers).map_err(|error| {
                let text = format!("cannot listen on {address} over UDP: {error}; choose another address or port");
                io::Error::new(error.kind(), text)
            })?;
            sockets.extend(opened);
            addresses.push(bound);
        }
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen at"));
        }
        let ids = ConnectionIds::new(&config.key.unwrap_or_else(Key::random));
        Ok(Self { sockets, addresses, responder: Responder::new(store, ids), counters: UdpCounters::default() })
    }

    /// The first address at which it listens, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// All addresses at which it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The counts of what comes in; they go on counting behind [`UdpTracker::serve`].
    pub fn counters(&self) -> UdpCounters {
        self.counters.clone()
    }

    /// Answers until `shutdown` is ready. Dropping the future ends it too. Either waits for the answers that are being
    /// written, which takes no noticeable time.
    ///
    /// # Errors
    /// The threads could not be started.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let _workers = Workers::start(self.sockets, &self.responder, &self.counters)?;
        shutdown.await;
        Ok(())
    }
}

/// Opens so many sockets on one port, among which the kernel spreads those who ask.
///
/// The first is bound as if it were alone: where somebody else has the port, this fails, and does not take half of his
/// datagrams.
fn listen(address: SocketAddr, all: &[SocketAddr], workers: NonZeroUsize) -> io::Result<(Vec<UdpSocket>, SocketAddr)> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        if address.is_ipv6() {
            let beside = all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            socket.set_only_v6(beside)?;
        }
        if let Err(error) = socket.set_recv_buffer_size(RECEIVE_BUFFER) {
            tracing::debug!(%error, "the buffer of a socket stays as it is");
        }
        Ok::<_, io::Error>(socket)
    };
    let first = open()?;
    first.bind(&address.into())?;
    first.set_reuse_port(true)?;
    let first = UdpSocket::from(first);
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..workers.get() {
        let socket = open()?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        sockets.push(socket.into());
    }
    Ok((sockets, bound))
}
