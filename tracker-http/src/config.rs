//! What an operator decides.

use crate::proxy::Proxies;
use crate::routes::Page;
use crate::tls::TlsConfig;
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use swarm_tracker_core::Watched;

/// Where a tracker listens, whom it believes, and what it serves beside.
#[derive(Clone, Debug)]
pub struct HttpTrackerConfig {
    /// Addresses to listen at; port 0 takes a free one. `[::]` takes IPv4 too, unless an IPv4 address of the same port
    /// is in the list.
    pub listen: Vec<SocketAddr>,
    /// Where to speak TLS; `None` for nowhere.
    pub tls: Option<TlsConfig>,
    /// Threads, each with a socket at every address, among which the kernel spreads connections; `None` to serve within the
    /// runtime that [`serve`](crate::HttpTracker::serve) is called in.
    pub threads: Option<NonZeroUsize>,
    /// Connections at most; more wait in the system's queue.
    pub max_connections: usize,
    /// Connections at most from one IPv4 address or IPv6 /64; more are closed at once. Loopback and trusted proxies are
    /// exempt.
    pub max_connections_per_network: usize,
    /// More pages by their decoded paths, such as `/NAME.meta`; one at `/` replaces the page for people.
    pub pages: HashMap<String, Page>,
    /// Names under which the pages are served beside addresses, `localhost` and names that only a local network has;
    /// `None` for any. With a list, no web page elsewhere can read ours by a name of its own that leads here.
    pub names: Option<Vec<String>>,
    /// Whether the parameter `ip` counts.
    pub ip_parameter: IpParameter,
    /// Reverse proxies whose word on the asker's address is taken.
    pub proxies: Proxies,
    /// Parts of the tracker whose numbers and problems are shown beside our own.
    pub watching: Watching,
    /// Answer the usual requests without a framework. Off, hyper serves all of them, with the same answers: for comparison.
    pub fast_path: bool,
}

/// Other parts of the tracker.
#[derive(Clone, Default)]
pub struct Watching(pub Vec<Arc<dyn Watched>>);

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} parts", self.0.len())
    }
}

/// Whether a peer may name another address than the one that it asks from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IpParameter {
    /// No: `ip` is ignored.
    #[default]
    Ignored,
    /// A peer on this machine or in a private network may name an address of a private network, as one behind a
    /// network address translation within the house must.
    Private,
}

impl Default for HttpTrackerConfig {
    /// A free loopback port in the caller's runtime, 4,096 connections, 256 of them from one network, no pages; nobody is
    /// believed any address but that of the connection.
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 0).into()],
            tls: None,
            threads: None,
            max_connections: 4_096,
            max_connections_per_network: 256,
            pages: HashMap::new(),
            names: None,
            ip_parameter: IpParameter::Ignored,
            proxies: Proxies::default(),
            watching: Watching::default(),
            fast_path: true,
        }
    }
}
