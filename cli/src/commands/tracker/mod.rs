//! `tracker`: one store, one to three dialects, and a console for those who sit at it.

mod bind;
mod config;
mod inherited;
mod privileges;
mod readable;
mod reload;
mod settings;
mod top;

use crate::address::announce_address;
use crate::args::tracker::{Backing, Dialect, ServiceArguments, TrackerArguments, UdpArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::log::{self, Form, Usual};
use crate::render::bars::Screen;
use crate::render::output;
use crate::signals::Stop;
use anyhow::Context;
pub(crate) use bind::bind_failure;
use inherited::Inherited;
use reload::Reload;
use std::ffi::OsString;
use std::io::{IsTerminal, stdin, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use swarm_tracker_core::{Maintenance, Store, StoreConfig};
use swarm_tracker_http::HttpTracker;
use swarm_tracker_native::{Console, ConsoleReply, NativeTracker};
use swarm_tracker_redis::{RedisConfig, RedisStore};
use swarm_tracker_udp::UdpTracker;
use tokio::sync::{mpsc, watch};

/// Lines typed ahead.
const TYPED: usize = 16;

/// Options by name, each as text to compare.
type Named = Vec<(&'static str, String)>;

/// The dialects to serve, each where it listens.
#[derive(Clone, Debug, Default)]
struct Listening {
    http: Vec<SocketAddr>,
    udp: Vec<SocketAddr>,
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
    if let Some(Dialect::Top(arguments)) = &arguments.dialect {
        return top::run(arguments, stop).await;
    }
    let from_file = arguments.config.as_deref().map(|path| config::with_file(&typed(), path)).transpose()?;
    let arguments = from_file.as_ref().unwrap_or(arguments);
    let inherited = Inherited::take()?;
    let (listening, service) = asked_for(arguments);
    let speaks_native = listening.native.is_some() || inherited.native.is_some();
    let at_terminal = speaks_native && stdin().is_terminal() && stdout().is_terminal();
    // Whoever sits at the console asks for the log with `cat`; lines in between would tear what is typed.
    let form = if service.log_json { Form::Json } else { Form::Text };
    let log = log::start(Usual::Info, verbose, form, (!at_terminal).then(Screen::silent).as_ref());

    let user = service.user.as_deref().map(privileges::find).transpose()?;
    service.state.as_deref().map(settings::require_folder).transpose()?;
    let config = StoreConfig { access: settings::access(service)?, ..settings::store(service) };
    let store = Arc::new(Store::new(config, Instant::now()));
    let redis = match &service.store {
        Some(Backing::Redis(address)) => {
            Some(RedisStore::attach(RedisConfig::new(address.clone()), &store).or_exit(Exit::Usage)?)
        }
        Some(Backing::Memory) | None => None,
    };
    let servers = bind::all(arguments, &listening, inherited, (&store, redis.as_ref()))?;
    if let Some(user) = &user {
        privileges::drop_to(user)?;
        readable::warn(&user.name, arguments);
    }
    if let Some(path) = &service.state {
        let loaded = store.load(Instant::now(), path).or_exit(Exit::Disk)?;
        if loaded.torrents > 0 {
            tracing::info!(torrents = loaded.torrents, peers = loaded.peers, "state of an earlier run taken over");
        }
    }
    announce(&servers)?;
    let console = servers.native.as_ref().filter(|_| at_terminal).map(|native| Console::new(native.handle(), log));
    let reload = Reload {
        config: arguments.config.clone(),
        begun: reload::fixed(arguments),
        store: Arc::clone(&store),
        http: servers.http.as_ref().map(HttpTracker::handle),
    };
    // The end of a terminal is the end of a tracker whose console is on it.
    let _reloading = (!at_terminal).then(|| reload.on_hang_up(stop)).transpose()?;
    let maintenance = Maintenance::start(store, service.state.clone()).or_exit(Exit::Other)?;
    let outcome = serve(servers, console, stop).await;
    // Saves the state.
    drop(maintenance);
    outcome.map(|()| Exit::Done)
}

/// Every option and the store's, where this was typed and `text` stands in the file at `path`.
///
/// # Errors
/// One of the two has a fault.
pub(crate) fn options(typed: &[OsString], path: &Path, text: &str) -> Result<(Named, StoreConfig), Failure> {
    let arguments = config::with_text(typed, path, text)?;
    let named = reload::fixed(&arguments).into_iter().chain(reload::adjustable(&arguments));
    Ok((named.collect(), settings::store(asked_for(&arguments).1)))
}

/// The words of the command line.
fn typed() -> Vec<OsString> {
    std::env::args_os().collect()
}

/// Where to speak what, and the options for all of it.
fn asked_for(arguments: &TrackerArguments) -> (Listening, &ServiceArguments) {
    let nowhere = Listening::default();
    match &arguments.dialect {
        Some(Dialect::Http(only)) => (Listening { http: vec![only.listen], ..nowhere }, &only.service),
        Some(Dialect::Udp(UdpArguments { dialect: only, .. })) => {
            (Listening { udp: vec![only.listen], ..nowhere }, &only.service)
        }
        Some(Dialect::Native(only)) => (Listening { native: Some(only.listen), ..nowhere }, &only.service),
        Some(Dialect::Top(_)) | None => {
            let TrackerArguments { http, udp, native, .. } = arguments;
            (Listening { http: http.clone(), udp: udp.clone(), native: *native }, &arguments.service)
        }
    }
}

/// Prints the announce URLs, once all of them are good.
fn announce(servers: &Servers) -> Result<(), Failure> {
    for address in servers.http.iter().flat_map(HttpTracker::local_addrs) {
        output::result(&format!("http://{}/announce", announce_address(*address)))?;
    }
    for address in servers.http.iter().flat_map(HttpTracker::tls_addrs) {
        output::result(&format!("https://{}/announce", announce_address(*address)))?;
    }
    for address in servers.udp.iter().flat_map(UdpTracker::local_addrs) {
        output::result(&format!("udp://{}/announce", announce_address(*address)))?;
    }
    if let Some(native) = &servers.native {
        output::result(&format!("native://{}", announce_address(native.local_addr())))?;
    }
    Ok(())
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
            Some(native) => {
                let served = native.serve(closed()).await;
                // Its admin may have closed it, and with it all of the tracker.
                close.send_replace(true);
                served.or_exit(Exit::Disk)
            }
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
