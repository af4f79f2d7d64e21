//! `tracker`: one store, one to three dialects, and a console for those who sit at it.

use crate::address::announce_address;
use crate::args::tracker::{DatagramArguments, Dialect, ServiceArguments, TrackerArguments, UdpArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::log::{self, Form, Usual};
use crate::render::bars::Screen;
use crate::render::output;
use crate::signals::Stop;
use anyhow::Context;
use std::io::{IsTerminal, stdin, stdout};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use swarm_tracker_core::{Maintenance, Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use swarm_tracker_native::{BindError, Config, Console, ConsoleReply, NativeTracker};
use swarm_tracker_udp::{Key, UdpTracker, UdpTrackerConfig};
use tokio::sync::{mpsc, watch};

/// Lines typed ahead.
const TYPED: usize = 16;

/// The dialects to serve, each where it listens.
#[derive(Clone, Copy, Debug, Default)]
struct Listening {
    http: Option<SocketAddr>,
    udp: Option<SocketAddr>,
    native: Option<SocketAddr>,
}

/// The dialects that are spoken.
#[derive(Debug)]
struct Servers {
    http: Option<HttpTracker>,
    udp: Option<UdpTracker>,
    native: Option<NativeTracker>,
}

/// Serves until the user ends it.
pub(crate) async fn run(arguments: &TrackerArguments, verbose: u8, stop: &mut Stop) -> Result<Exit, Failure> {
    let (listening, service) = asked_for(arguments);
    let form = if service.log_json { Form::Json } else { Form::Text };
    let at_terminal = listening.native.is_some() && stdin().is_terminal() && stdout().is_terminal();
    // Whoever sits at the console asks for the log with `cat`; lines in between would tear what is typed.
    let log = log::start(Usual::Info, verbose, form, (!at_terminal).then(Screen::silent).as_ref());

    let store = Arc::new(Store::new(store_config(service), Instant::now()));
    if let Some(path) = &service.state {
        require_folder(path)?;
        let loaded = store.load(Instant::now(), path).or_exit(Exit::Disk)?;
        if loaded.torrents > 0 {
            tracing::info!(torrents = loaded.torrents, peers = loaded.peers, "state of an earlier run taken over");
        }
    }
    let servers = Servers {
        http: listening.http.map(|address| bind_http(address, &store)).transpose()?,
        udp: listening.udp.map(|address| bind_udp(address, datagrams(arguments), &store)).transpose()?,
        native: listening.native.map(|address| bind_native(address, service, &store)).transpose()?,
    };
    announce(&servers)?;
    let console = servers.native.as_ref().filter(|_| at_terminal).map(|native| Console::new(native.handle(), log));
    let maintenance = Maintenance::start(store, service.state.clone()).or_exit(Exit::Other)?;
    let outcome = serve(servers, console, stop).await;
    // Saves the state.
    drop(maintenance);
    outcome.map(|()| Exit::Done)
}

/// Where to speak what, and the options for all of it.
fn asked_for(arguments: &TrackerArguments) -> (Listening, &ServiceArguments) {
    let nowhere = Listening::default();
    match &arguments.dialect {
        Some(Dialect::Http(only)) => (Listening { http: Some(only.listen), ..nowhere }, &only.service),
        Some(Dialect::Udp(UdpArguments { dialect: only, .. })) => {
            (Listening { udp: Some(only.listen), ..nowhere }, &only.service)
        }
        Some(Dialect::Native(only)) => (Listening { native: Some(only.listen), ..nowhere }, &only.service),
        None => {
            let &TrackerArguments { http, udp, native, .. } = arguments;
            (Listening { http, udp, native }, &arguments.service)
        }
    }
}

fn datagrams(arguments: &TrackerArguments) -> &DatagramArguments {
    match &arguments.dialect {
        Some(Dialect::Udp(only)) => &only.datagrams,
        _ => &arguments.datagrams,
    }
}

/// The state is saved much later: that its folder is not there is better told at once.
fn require_folder(state: &Path) -> Result<(), Failure> {
    let folder = state.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = || format!("cannot keep state in {}: no such folder; make it first", folder.display());
    if folder.is_dir() { Ok(()) } else { Err(Failure::new(Exit::Disk, problem())) }
}

/// Bounds and times as the options say. Peers are forgotten when they have missed two announces.
fn store_config(service: &ServiceArguments) -> StoreConfig {
    let usual = StoreConfig::default();
    let interval = service.interval.unwrap_or(usual.interval);
    StoreConfig {
        max_torrents: service.max_torrents.unwrap_or(usual.max_torrents),
        max_peers: service.max_peers.unwrap_or(usual.max_peers),
        interval,
        min_interval: usual.min_interval.min(interval),
        peer_ttl: usual.peer_ttl.max(interval.saturating_mul(2)),
        rates: usual.rates,
        seed: rand::random(),
    }
}

fn bind_http(address: SocketAddr, store: &Arc<Store>) -> Result<HttpTracker, Failure> {
    let threads = Some(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let config = HttpTrackerConfig { listen: vec![address], threads, ..HttpTrackerConfig::default() };
    let tracker = HttpTracker::bind(config, Arc::clone(store)).or_exit(Exit::Network)?;
    tracing::info!(address = %tracker.local_addr(), "HTTP tracker listens");
    Ok(tracker)
}

fn bind_udp(address: SocketAddr, options: &DatagramArguments, store: &Arc<Store>) -> Result<UdpTracker, Failure> {
    let key = options.udp_key.as_deref().map(read_key).transpose()?;
    let config = UdpTrackerConfig { listen: vec![address], key, ..UdpTrackerConfig::default() };
    let tracker = UdpTracker::bind(config, Arc::clone(store)).or_exit(Exit::Network)?;
    tracing::info!(address = %tracker.local_addr(), "UDP tracker listens");
    Ok(tracker)
}

/// Reads a key of 32 hexadecimal digits.
fn read_key(path: &Path) -> Result<Key, Failure> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    Key::from_hex(text.or_exit(Exit::Disk)?.trim()).ok_or_else(|| {
        let problem = format!(
            "{} is no key: 32 hexadecimal digits are one, as 'openssl rand -hex 16' makes them",
            path.display()
        );
        Failure::new(Exit::Usage, problem)
    })
}

fn bind_native(address: SocketAddr, service: &ServiceArguments, store: &Arc<Store>) -> Result<NativeTracker, Failure> {
    let config = Config { catalogue_file: service.state.as_deref().map(catalogue_file), ..Config::new(address) };
    NativeTracker::bind(config, Arc::clone(store)).map_err(bind_failure)
}

/// Prints the announce URLs, once all of them are good.
fn announce(servers: &Servers) -> Result<(), Failure> {
    if let Some(http) = &servers.http {
        output::result(&format!("http://{}/announce", announce_address(http.local_addr())))?;
    }
    if let Some(udp) = &servers.udp {
        output::result(&format!("udp://{}/announce", announce_address(udp.local_addr())))?;
    }
    if let Some(native) = &servers.native {
        output::result(&format!("native://{}", announce_address(native.local_addr())))?;
    }
    Ok(())
}

/// How a native tracker that cannot start ends the process.
pub(crate) fn bind_failure(error: BindError) -> Failure {
    let exit = if matches!(error, BindError::Listen { .. }) { Exit::Network } else { Exit::Disk };
    Failure { exit, error: error.into() }
}

/// The catalogue is kept beside the peers: `FILE.catalogue`.
fn catalogue_file(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".catalogue");
    PathBuf::from(name)
}

/// Serves until the user says at the console or by a signal that it is enough.
async fn serve(servers: Servers, console: Option<Console>, stop: &mut Stop) -> Result<(), Failure> {
    let Servers { http, udp, native } = servers;
    let (close, closing) = watch::channel(false);
    let closed = || {
        let mut closing = closing.clone();
        // An error says that nobody is left who could close: that is closed as well.
        async move { drop(closing.wait_for(|&closing| closing).await) }
    };
    let serve_http = async {
        if let Some(http) = http {
            http.serve(closed()).await;
        }
    };
    let serve_udp = async {
        match udp {
            Some(udp) => {
                let served = udp.serve(closed()).await;
                if served.is_err() {
                    close.send_replace(true);
                }
                served.context("cannot serve UDP").or_exit(Exit::Other)
            }
            None => Ok(()),
        }
    };
    let serve_native = async {
        match native {
            Some(native) => native.serve(closed()).await.or_exit(Exit::Disk),
            None => Ok(()),
        }
    };
    let wait = async {
        tokio::select! {
            () = stop.requested() => {}
            () = converse(console) => {}
            () = closed() => {}
        }
        close.send_replace(true);
    };
    let ((), answered, saved, ()) = tokio::join!(serve_http, serve_udp, serve_native, wait);
    answered.and(saved)
}

/// Reads commands until one says that it is enough. Without a console, or at the end of its input, waits for ever.
async fn converse(console: Option<Console>) {
    if let Some(console) = console {
        let (sender, mut typed) = mpsc::channel(TYPED);
        // Reading a terminal cannot be given up, so that thread ends with the process.
        std::thread::spawn(move || {
            let lines = stdin().lines().map_while(Result::ok);
            lines.take_while(|line| sender.blocking_send(line.clone()).is_ok()).for_each(drop);
        });
        output::note("a console: type 'help'");
        while let Some(line) = typed.recv().await {
            let answered = match console.run(&line) {
                ConsoleReply::Text(text) if text.is_empty() => Ok(()),
                ConsoleReply::Text(text) => output::result(text.trim_end()),
                ConsoleReply::Exit => return,
            };
            if answered.is_err() {
                break;
            }
        }
    }
    std::future::pending().await
}
