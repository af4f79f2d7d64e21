//! `share`: metainfo, trackers, a page that hands the metainfo out, and a seed, in one command.

use super::chat;
use super::content::{self, Described};
use super::tracker::bind_failure;
use super::transfer::{self, Party, Telling, Until};
use crate::address::{in_url, reachable};
use crate::args::transfer::ShareArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::Screen;
use crate::render::json::What;
use crate::render::output;
use crate::share_page::{self, SharePage};
use crate::signals::Stop;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use swarm_engine::{AddTorrent, Session};
use swarm_proto::metainfo::{Metainfo, MetainfoBuilder};
use swarm_tracker_core::{Maintenance, Store, StoreConfig};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig};
use swarm_tracker_native::{Config, NativeTracker};

/// The trackers of a share, over one store.
struct Trackers {
    http: HttpTracker,
    native: NativeTracker,
    _maintenance: Maintenance,
}

/// Shares until the user ends it.
pub(crate) async fn run(arguments: &ShareArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    transfer::telling_failures(&arguments.transfer, share(arguments, screen, stop)).await
}

async fn share(arguments: &ShareArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let session = transfer::open(&arguments.transfer, &screen)?;
    let mut trackers = bind(arguments)?;
    let room = chat::beside(&session, &arguments.chat, 1)?;
    let described = content::describe(&arguments.path, &arguments.content, &screen, stop).await?;
    let host = host(arguments, &session, &screen);
    let described = announced(described, arguments, &host, &session, &trackers);
    let metainfo = Metainfo::parse(described.metainfo()?).or_exit(Exit::Metainfo)?;
    described.remember(&arguments.path, metainfo.clone(), stop).await?;

    let file_name = format!("{}.meta", metainfo.name());
    let port = trackers.http.local_addr().port();
    let url = format!("http://{host}:{port}/{}", share_page::path_element(&file_name));
    let command = format!("swarm fetch {url}");
    let page = SharePage { file_name, metainfo: metainfo.bytes().clone(), command: command.clone() };
    trackers.http.set_pages(page.pages());
    // Dropped at the end of this function, and the trackers with it.
    let mut serving = tokio::task::JoinSet::new();
    let Trackers { http, native, _maintenance } = trackers;
    serving.spawn(http.serve(std::future::pending()));
    serving.spawn(async { drop(native.serve(std::future::pending()).await) });

    let telling = Telling::from(&arguments.transfer);
    let mut party = Party::new(session, Until::Stopped, telling, screen.clone());
    let torrent = AddTorrent {
        chat: room,
        trackers: arguments.transfer.trackers.clone(),
        peers: arguments.transfer.peers.iter().map(ToString::to_string).collect(),
        ..AddTorrent::seed(metainfo, &arguments.path)
    };
    party.add(torrent).await?;
    match telling {
        Telling::Json => party.tell(Some(0), What::Shared { command: &command, url: &url })?,
        Telling::Text | Telling::Nothing => screen.suspend(|| output::result(&command))?,
    }
    let hint = format!("{command} --chat");
    chat::run_beside(party, Path::new("."), &arguments.chat, (&arguments.transfer, Some(&hint)), stop).await
}

/// Opens the ports of the trackers, on the address that the seed listens on.
fn bind(arguments: &ShareArguments) -> Result<Trackers, Failure> {
    let ip = arguments.transfer.listen.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), |listen| listen.ip());
    let store = Arc::new(Store::new(StoreConfig { seed: rand::random(), ..StoreConfig::default() }, Instant::now()));
    let listen = vec![SocketAddr::new(ip, arguments.http_port)];
    // The page is for those who were told of it, not for web sites that lead a browser here under a name of theirs.
    let names = Some(arguments.address.iter().cloned().collect());
    let config = HttpTrackerConfig { listen, names, ..HttpTrackerConfig::default() };
    let http = HttpTracker::bind(config, Arc::clone(&store));
    let native = NativeTracker::bind(Config::new(SocketAddr::new(ip, 0)), Arc::clone(&store)).map_err(bind_failure)?;
    let _maintenance = Maintenance::start(store, None).or_exit(Exit::Other)?;
    Ok(Trackers { http: http.or_exit(Exit::Network)?, native, _maintenance })
}

/// The address to print, as it stands in a URL. One that other machines may not reach is worth a word.
fn host(arguments: &ShareArguments, session: &Session, screen: &Screen) -> String {
    if let Some(host) = &arguments.address {
        return host.clone();
    }
    let found = reachable(session.listen_address().ip());
    if found.doubtful {
        let address = found.address;
        screen.note(&format!("swarm: other machines may not reach {address}; say with --address what they can"));
    }
    in_url(found.address)
}

/// The same torrent with its trackers, and with this machine as a peer for those that cannot reach them.
fn announced(
    described: Described,
    arguments: &ShareArguments,
    host: &str,
    session: &Session,
    trackers: &Trackers,
) -> Described {
    let http = format!("http://{host}:{}/announce", trackers.http.local_addr().port());
    let native = format!("native://{host}:{}", trackers.native.local_addr().port());
    let named = arguments.transfer.trackers.iter().cloned();
    let builder = MetainfoBuilder {
        trackers: [http, native].into_iter().chain(named).map(|url| vec![url]).collect(),
        peers: vec![format!("{host}:{}", session.listen_address().port())],
        ..described.builder
    };
    Described { builder, ..described }
}
