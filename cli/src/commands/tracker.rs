//! `tracker`: one store, one or two dialects, and a console for those who sit at it.

use crate::address::announce_address;
use crate::args::tracker::{Dialect, ServiceArguments, TrackerArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::log::{self, Form, Usual};
use crate::render::bars::Screen;
use crate::render::output;
use crate::signals::Stop;
use std::io::{IsTerminal, stdin, stdout};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use swarm_tracker_core::{Maintenance, Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use swarm_tracker_native::{BindError, Config, Console, ConsoleReply, NativeTracker};
use tokio::sync::{mpsc, watch};

/// Lines typed ahead.
const TYPED: usize = 16;

/// The dialects to serve, each where it listens.
#[derive(Clone, Copy, Debug)]
struct Listening {
    http: Option<SocketAddr>,
    native: Option<SocketAddr>,
}

/// Serves until the user ends it.
pub(crate) async fn run(arguments: &TrackerArguments, verbose: u8, stop: &mut Stop) -> Result<Exit, Failure> {
    let (listening, service) = match &arguments.dialect {
        Some(Dialect::Http(only)) => (Listening { http: Some(only.listen), native: None }, &only.service),
        Some(Dialect::Native(only)) => (Listening { http: None, native: Some(only.listen) }, &only.service),
        None => (Listening { http: arguments.http, native: arguments.native }, &arguments.service),
    };
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
    let http = listening.http.map(|address| bind_http(address, &store)).transpose()?;
    let native = listening.native.map(|address| bind_native(address, service, &store)).transpose()?;
    announce(http.as_ref(), native.as_ref())?;
    let console = native.as_ref().filter(|_| at_terminal).map(|native| Console::new(native.handle(), log));
    let maintenance = Maintenance::start(store, service.state.clone()).or_exit(Exit::Other)?;
    let outcome = serve(http, native, console, stop).await;
    // Saves the state.
    drop(maintenance);
    outcome.map(|()| Exit::Done)
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
    let config = HttpTrackerConfig { listen: vec![address], ..HttpTrackerConfig::default() };
    let tracker = HttpTracker::bind(config, Arc::clone(store)).or_exit(Exit::Network)?;
    tracing::info!(address = %tracker.local_addr(), "HTTP tracker listens");
    Ok(tracker)
}

fn bind_native(address: SocketAddr, service: &ServiceArguments, store: &Arc<Store>) -> Result<NativeTracker, Failure> {
    let config = Config { catalogue_file: service.state.as_deref().map(catalogue_file), ..Config::new(address) };
    NativeTracker::bind(config, Arc::clone(store)).map_err(bind_failure)
}

/// Prints the announce URLs, once all of them are good.
fn announce(http: Option<&HttpTracker>, native: Option<&NativeTracker>) -> Result<(), Failure> {
    if let Some(http) = http {
        output::result(&format!("http://{}/announce", announce_address(http.local_addr())))?;
    }
    if let Some(native) = native {
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
async fn serve(
    http: Option<HttpTracker>,
    native: Option<NativeTracker>,
    console: Option<Console>,
    stop: &mut Stop,
) -> Result<(), Failure> {
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
        }
        close.send_replace(true);
    };
    let ((), saved, ()) = tokio::join!(serve_http, serve_native, wait);
    saved
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
