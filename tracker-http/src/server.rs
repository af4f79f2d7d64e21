//! Sockets and connections: how many, for how long, and how they end.

use crate::places::{Place, Places};
use crate::routes::{Page, Routes};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use swarm_tracker_core::Store;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// A request's head must be here in this time; also the longest silence of a connection that is kept alive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// No connection lives longer, whatever its other end does or does not read.
const CONNECTION_LIFETIME: Duration = Duration::from_secs(5 * 60);
/// How long requests under way may take to end at a shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(3);
/// Bytes of a connection's buffer, and so of the largest head.
const BUFFER_LENGTH: usize = 8 * 1024;
/// Headers of a request: clients send fewer than ten.
const HEADERS: usize = 64;
/// Pause after the system could not give us another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const BACKLOG: i32 = 1_024;

/// Where a tracker listens, and what it serves beside.
#[derive(Clone, Debug)]
pub struct HttpTrackerConfig {
    /// Addresses to listen at; port 0 takes a free one. `[::]` takes IPv4 too, unless an IPv4 address of the same port
    /// is in the list.
    pub listen: Vec<SocketAddr>,
    /// Connections at most; more wait in the system's queue.
    pub max_connections: usize,
    /// Connections at most from one IPv4 address or IPv6 /64; more are closed at once. Loopback is exempt.
    pub max_connections_per_network: usize,
    /// More pages by their decoded paths, such as `/NAME.meta`; one at `/` replaces the page for people.
    pub pages: HashMap<String, Page>,
    /// Names under which the pages are served beside addresses, `localhost` and names that only a local network has;
    /// `None` for any. With a list, no web page elsewhere can read ours by a name of its own that leads here.
    pub names: Option<Vec<String>>,
}

impl Default for HttpTrackerConfig {
    /// A free loopback port, 4,096 connections, 256 of them from one network, no pages.
    fn default() -> Self {
        Self {
            listen: vec![([127, 0, 0, 1], 0).into()],
            max_connections: 4_096,
            max_connections_per_network: 256,
            pages: HashMap::new(),
            names: None,
        }
    }
}

/// A tracker that listens, and answers as soon as it is told to [`serve`](HttpTracker::serve).
#[derive(Debug)]
pub struct HttpTracker {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    routes: Arc<Routes>,
    places: Places,
}

impl HttpTracker {
    /// Opens the sockets. To be called within a tokio runtime.
    ///
    /// # Errors
    /// An address is not ours or in use (named in the error), or there is none in the list.
    pub fn bind(config: HttpTrackerConfig, store: Arc<Store>) -> io::Result<Self> {
        let listeners: Vec<TcpListener> =
            config.listen.iter().map(|&address| listen(address, &config.listen)).collect::<Result<_, _>>()?;
        let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen at"));
        }
        // Each listener holds the room for the connection that it waits for.
        let capacity = config.max_connections.max(listeners.len());
        let places = Places::new(capacity, config.max_connections_per_network);
        Ok(Self { listeners, addresses, routes: Arc::new(Routes::new(store, config.pages, config.names)), places })
    }

    /// The first address at which it listens, with the port that it got.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// All addresses at which it listens.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves these pages in place of [`HttpTrackerConfig::pages`]: for those that name the port, which is known only now.
    pub fn set_pages(&mut self, pages: HashMap<String, Page>) {
        if let Some(routes) = Arc::get_mut(&mut self.routes) {
            routes.set_pages(pages);
        }
    }

    /// Answers until `shutdown` is ready; then requests under way have three seconds to end. Dropping the future ends
    /// everything at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let (stop, stopped) = watch::channel(());
        let accepting: Vec<_> = self
            .listeners
            .into_iter()
            .map(|listener| {
                let task = keep_accepting(listener, Arc::clone(&self.routes), self.places.clone(), stopped.clone());
                AbortOnDrop(tokio::spawn(task))
            })
            .collect();
        shutdown.await;
        drop(accepting);
        drop(stop);
        let ended = timeout(SHUTDOWN_GRACE, self.places.all_free()).await;
        if ended.is_err() {
            tracing::debug!("connections were cut off by the shutdown");
        }
    }
}

/// A task that ends with its handle.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn listen(address: SocketAddr, all: &[SocketAddr]) -> io::Result<TcpListener> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            let beside = all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
            socket.set_only_v6(beside)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; choose another address or port"))
    })
}

/// Accepts connections, and goes on if that panics.
async fn keep_accepting(listener: TcpListener, routes: Arc<Routes>, places: Places, stopped: watch::Receiver<()>) {
    let (listener, mut accepting) = (Arc::new(listener), JoinSet::new());
    loop {
        accepting.spawn(accept(Arc::clone(&listener), Arc::clone(&routes), places.clone(), stopped.clone()));
        match accepting.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!("accepting connections failed by a fault of this program; it goes on");
                sleep(ACCEPT_PAUSE).await;
            }
            _ => return,
        }
    }
}

async fn accept(listener: Arc<TcpListener>, routes: Arc<Routes>, places: Places, stopped: watch::Receiver<()>) {
    while let Some(room) = places.free().await {
        match listener.accept().await {
            Ok((stream, address)) => {
                if let Some(place) = places.take(room, address.ip()) {
                    tokio::spawn(serve_connection(stream, address, Arc::clone(&routes), place, stopped.clone()));
                } else {
                    tracing::debug!(%address, "too many connections from there");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(
    stream: TcpStream,
    address: SocketAddr,
    routes: Arc<Routes>,
    _place: Place,
    mut stopped: watch::Receiver<()>,
) {
    let ip = address.ip().to_canonical();
    // Answers are small and whole; nothing is gained by holding them back.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let response = routes.respond(ip, &request);
        async { Ok::<Response<Full<Bytes>>, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_LENGTH)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = timeout(CONNECTION_LIFETIME, connection.as_mut()) => ended.unwrap_or(Ok(())),
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            timeout(SHUTDOWN_GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%address, %error, "connection ended");
    }
}
