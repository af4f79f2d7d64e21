//! The tracker as a whole: its sockets, the threads that serve them, and how it ends.

use crate::accept::{Door, keep_accepting};
use crate::config::HttpTrackerConfig;
use crate::connection::{self, SHUTDOWN_GRACE};
use crate::listen::listen;
use crate::places::Places;
use crate::routes::{Page, Routes};
use crate::tls::Tls;
use socket2::SockRef;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::JoinHandle;
use swarm_tracker_core::Store;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

/// A tracker that listens, and answers as soon as it is told to [`serve`](HttpTracker::serve).
#[derive(Debug)]
pub struct HttpTracker {
    listeners: Listeners,
    threads: bool,
    addresses: Vec<SocketAddr>,
    tls_addresses: Vec<SocketAddr>,
    handle: HttpHandle,
    places: Places,
}

/// A socket, and what is spoken there before HTTP.
#[derive(Debug)]
struct Listener {
    socket: TcpListener,
    tls: Option<Arc<Tls>>,
}

/// For each thread, its sockets.
#[derive(Debug)]
struct Listeners(Vec<Vec<Listener>>);

impl Listeners {
    /// Gives each thread a share of the sockets that somebody else has opened; their addresses.
    fn take_over(&mut self, open: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
        for open in open {
            open.set_nonblocking(true)?;
            SockRef::from(open).set_tcp_nodelay(true)?;
            let mut share =
                |thread: &mut Vec<_>| open.try_clone().map(|socket| thread.push(Listener { socket, tls: None }));
            self.0.iter_mut().try_for_each(&mut share)?;
        }
        open.iter().map(TcpListener::local_addr).collect()
    }

    /// Opens a socket for each thread at these addresses; what they have become.
    fn open(&mut self, addresses: &[SocketAddr], tls: Option<&Arc<Tls>>) -> io::Result<Vec<SocketAddr>> {
        let threads = NonZeroUsize::new(self.0.len()).unwrap_or(NonZeroUsize::MIN);
        let mut bound = Vec::with_capacity(addresses.len());
        for &address in addresses {
            let sockets = listen(address, addresses, threads)?;
            bound.extend(sockets.first().map(TcpListener::local_addr).transpose()?);
            for (thread, socket) in self.0.iter_mut().zip(sockets) {
                thread.push(Listener { socket, tls: tls.cloned() });
            }
        }
        Ok(bound)
    }
}

impl HttpTracker {
    /// Opens the sockets, and reads the certificate where there is TLS.
    ///
    /// # Errors
    /// An address is not ours or in use, a file of the certificate is no good (named in the error), or there is no address.
    pub fn bind(config: HttpTrackerConfig, store: Arc<Store>) -> io::Result<Self> {
        Self::bind_beside(config, &[], store)
    }

    /// Takes over listeners that somebody else has opened, and opens those of the configuration beside them.
    ///
    /// # Errors
    /// As [`HttpTracker::bind`]; without an address in the configuration only if nothing is taken over either.
    pub fn bind_beside(config: HttpTrackerConfig, open: &[TcpListener], store: Arc<Store>) -> io::Result<Self> {
        let threads = config.threads.unwrap_or(NonZeroUsize::MIN);
        let mut listeners = Listeners((0..threads.get()).map(|_| Vec::new()).collect());
        let mut addresses = listeners.take_over(open)?;
        addresses.extend(listeners.open(&config.listen, None)?);
        let (tls, tls_addresses) = match &config.tls {
            Some(files) => {
                let tls = Arc::new(Tls::new(files.clone())?);
                let addresses = listeners.open(&files.listen, Some(&tls))?;
                (Some(tls), addresses)
            }
            None => (None, Vec::new()),
        };
        let count = addresses.len() + tls_addresses.len();
        if count == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no address to listen at"));
        }
        // Each listener holds the room for the connection that it waits for.
        let capacity = config.max_connections.max(threads.get() * count);
        let places = Places::new(capacity, config.max_connections_per_network);
        let threads = config.threads.is_some();
        let handle = HttpHandle { routes: Arc::new(Routes::new(store, config)), tls };
        Ok(Self { listeners, threads, addresses, tls_addresses, handle, places })
    }

    /// The first address at which it listens, with the port that it got; one without TLS if there is one.
    pub fn local_addr(&self) -> SocketAddr {
        self.addresses.first().or(self.tls_addresses.first()).copied().unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// All addresses at which it listens without TLS.
    pub fn local_addrs(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// All addresses at which it listens for TLS.
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        &self.tls_addresses
    }

    /// Serves these pages in place of [`HttpTrackerConfig::pages`]: for those that name the port, which is known only now. To
    /// be called before [`HttpTracker::handle`].
    pub fn set_pages(&mut self, pages: HashMap<String, Page>) {
        if let Some(routes) = Arc::get_mut(&mut self.handle.routes) {
            routes.set_pages(pages);
        }
    }

    /// What can be told to the tracker while it serves.
    pub fn handle(&self) -> HttpHandle {
        self.handle.clone()
    }

    /// Answers until `shutdown` is ready; then requests under way have three seconds to end. Dropping the future ends
    /// everything at once. To be called within a tokio runtime.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) {
        let places = self.places.clone();
        let routes = Arc::clone(&self.handle.routes);
        let mut serving = self.start();
        shutdown.await;
        routes.watch.drain();
        serving.stop_accepting();
        let ended = timeout(SHUTDOWN_GRACE, places.all_free()).await;
        if ended.is_err() {
            tracing::debug!("connections were cut off by the shutdown");
        }
    }

    fn start(self) -> Serving {
        let (stop, stopped) = watch::channel(());
        let mut serving = Serving { stop: Some(stop), accepting: Vec::new(), threads: Vec::new() };
        for (number, listeners) in self.listeners.0.into_iter().enumerate() {
            let routes = Arc::clone(&self.handle.routes);
            let door = Door { routes, places: self.places.clone(), stopped: stopped.clone() };
            if self.threads {
                let builder = std::thread::Builder::new().name(format!("http tracker {number}"));
                match builder.spawn(move || serve_on_this_thread(listeners, &door)) {
                    Ok(thread) => serving.threads.push(thread),
                    // Its sockets are closed, and the kernel gives their connections to the others.
                    Err(error) => tracing::error!(%error, "cannot start a thread of the HTTP tracker"),
                }
            } else {
                serving.accepting = accept_at(listeners, &door);
            }
        }
        serving
    }
}

/// A tracker from the outside, while it serves or without sockets of its own.
#[derive(Clone, Debug)]
pub struct HttpHandle {
    routes: Arc<Routes>,
    tls: Option<Arc<Tls>>,
}

impl HttpHandle {
    /// A tracker without sockets of its own; what the configuration says of them does not matter.
    pub fn new(config: HttpTrackerConfig, store: Arc<Store>) -> Self {
        Self { routes: Arc::new(Routes::new(store, config)), tls: None }
    }

    /// Reads certificate and key again, for the connections that come from now on. Those that are there, and the tickets of
    /// clients that will come back, stay good. Does nothing without TLS.
    ///
    /// # Errors
    /// A file is no good (it is named); then the certificate stays what it is.
    pub fn reload_certificates(&self) -> io::Result<()> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.reload())
    }

    /// Serves one connection from `address` to its end. The bounds on the number of connections do not hold for it.
    pub async fn serve_connection<S>(&self, stream: S, address: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (_stop, stopped) = watch::channel(());
        connection::serve(stream, self.routes.answers.origin(address), Arc::clone(&self.routes), stopped).await;
    }
}

/// What runs while a tracker serves; all of it ends when this is dropped.
struct Serving {
    stop: Option<watch::Sender<()>>,
    accepting: Vec<AbortOnDrop>,
    threads: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Lets no more connections in, and tells those that are there to come to an end.
    fn stop_accepting(&mut self) {
        self.accepting.clear();
        if let Some(stop) = &self.stop {
            stop.send_replace(());
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.clear();
        // That nobody can say it any more tells the threads to end.
        self.stop.take();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the HTTP tracker has panicked");
            }
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

fn accept_at(listeners: Vec<Listener>, door: &Door) -> Vec<AbortOnDrop> {
    let accepting = listeners.into_iter().filter_map(|Listener { socket, tls }| {
        let socket = tokio::net::TcpListener::from_std(socket);
        let socket = socket.inspect_err(|error| tracing::error!(%error, "cannot wait for connections")).ok()?;
        Some(AbortOnDrop(tokio::spawn(keep_accepting(socket, tls, door.clone()))))
    });
    accepting.collect()
}

/// Accepts until it is told to stop, and serves what came until it is told to end.
fn serve_on_this_thread(listeners: Vec<Listener>, door: &Door) {
    // Before a thread sleeps, those who are to bring it work may run: where all cores are busy, it finds several requests when it
    // wakes, instead of one (17 % less processor time each, 19 % more of them); where a core is free, this is next to nothing.
    let builder = &mut tokio::runtime::Builder::new_current_thread();
    let runtime = match builder.enable_all().on_thread_park(std::thread::yield_now).build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(%error, "cannot start a thread of the HTTP tracker"),
    };
    runtime.block_on(async {
        let mut stopped = door.stopped.clone();
        let accepting = accept_at(listeners, door);
        if stopped.changed().await.is_ok() {
            drop(accepting);
            while stopped.changed().await.is_ok() {}
        }
    });
}
