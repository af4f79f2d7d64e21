//! Opening the sockets of every dialect.

use super::inherited::Inherited;
use super::{Listening, Servers, asked_for};
use crate::args::tls::TlsArguments;
use crate::args::tracker::{DatagramArguments, Dialect, ProxyArguments, ServiceArguments, TrackerArguments};
use crate::exit::{Exit, Failure, OrExit};
use anyhow::Context;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use swarm_tracker_core::{Store, Watched};
use swarm_tracker_http::{HttpTracker, HttpTrackerConfig, Proxies, TlsConfig, Watching};
use swarm_tracker_native::{AdminToken, BindError, Config, NativeTracker};
use swarm_tracker_redis::RedisStore;
use swarm_tracker_udp::{Key, UdpTracker, UdpTrackerConfig};

/// Opens what was asked for, and takes over what is open already.
pub(super) fn all(
    arguments: &TrackerArguments,
    listening: &Listening,
    inherited: Inherited,
    (store, redis): (&Arc<Store>, Option<&Arc<RedisStore>>),
) -> Result<Servers, Failure> {
    let (_, service) = asked_for(arguments);
    let Inherited { http, udp, native } = inherited;
    let listen_http = not_open_yet(&listening.http, http.iter().map(TcpListener::local_addr));
    let listen_udp = not_open_yet(&listening.udp, udp.iter().map(UdpSocket::local_addr));
    let udp = match listen_udp.is_empty() && udp.is_empty() {
        true => None,
        false => Some(bind_udp(listen_udp, &udp, datagrams(arguments), store)?),
    };
    let native = match (native, listening.native) {
        (Some(open), _) => Some(NativeTracker::bind_to(
            native_config(open.local_addr().or_exit(Exit::Network)?, service)?,
            open,
            Arc::clone(store),
        )),
        (None, Some(address)) => Some(NativeTracker::bind(native_config(address, service)?, Arc::clone(store))),
        (None, None) => None,
    };
    let native = native.transpose().map_err(bind_failure)?;
    let tls = arguments.dialect.is_none().then(|| tls(&arguments.tls)).flatten();
    let http = match listen_http.is_empty() && http.is_empty() && tls.is_none() {
        true => None,
        false => {
            let watched = udp.iter().map(|udp| Arc::new(udp.counters()) as Arc<dyn Watched>);
            let watched = watched.chain(native.iter().map(|native| Arc::new(native.handle()) as Arc<dyn Watched>));
            let watched = watched.chain(redis.map(|redis| Arc::clone(redis) as Arc<dyn Watched>));
            let config = HttpTrackerConfig {
                listen: listen_http,
                tls,
                watching: Watching(watched.collect()),
                ..http_config(&arguments.proxies)
            };
            Some(bind_http(config, &http, store)?)
        }
    };
    if http.is_none() && udp.is_none() && native.is_none() {
        let problem = "nowhere to listen: name an address with 'http', 'udp' or 'native'";
        return Err(Failure::new(Exit::Usage, problem));
    }
    Ok(Servers { http, udp, native })
}

/// The addresses that were asked for, but for those that an inherited socket has: they could not be opened twice.
fn not_open_yet(asked: &[SocketAddr], open: impl Iterator<Item = std::io::Result<SocketAddr>>) -> Vec<SocketAddr> {
    let open: Vec<SocketAddr> = open.filter_map(Result::ok).collect();
    asked.iter().copied().filter(|address| !open.contains(address)).collect()
}

fn datagrams(arguments: &TrackerArguments) -> &DatagramArguments {
    match &arguments.dialect {
        Some(Dialect::Udp(only)) => &only.datagrams,
        _ => &arguments.datagrams,
    }
}

/// Where TLS is spoken, if anywhere.
fn tls(arguments: &TlsArguments) -> Option<TlsConfig> {
    let TlsArguments { tls, tls_cert, tls_key } = arguments;
    let (certificate, key) = tls_cert.clone().zip(tls_key.clone())?;
    Some(TlsConfig { listen: tls.clone(), certificate, key })
}

fn http_config(proxies: &ProxyArguments) -> HttpTrackerConfig {
    let threads = Some(std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
    let mut trusted = Proxies { trusted: proxies.proxy.clone(), ..Proxies::default() };
    if let Some(header) = &proxies.proxy_header {
        trusted.header.clone_from(header);
    }
    HttpTrackerConfig { threads, proxies: trusted, ..HttpTrackerConfig::default() }
}

fn bind_http(config: HttpTrackerConfig, open: &[TcpListener], store: &Arc<Store>) -> Result<HttpTracker, Failure> {
    let tracker = HttpTracker::bind_beside(config, open, Arc::clone(store)).map_err(|error| {
        // Data that is no good can only be that of a certificate.
        let exit = if error.kind() == std::io::ErrorKind::InvalidData { Exit::Disk } else { Exit::Network };
        Failure { exit, error: error.into() }
    })?;
    tracker.local_addrs().iter().for_each(|address| tracing::info!(%address, "HTTP tracker listens"));
    tracker.tls_addrs().iter().for_each(|address| tracing::info!(%address, "HTTP tracker listens for TLS"));
    Ok(tracker)
}

fn bind_udp(
    listen: Vec<SocketAddr>,
    open: &[UdpSocket],
    options: &DatagramArguments,
    store: &Arc<Store>,
) -> Result<UdpTracker, Failure> {
    let key = options.udp_key.as_deref().map(read_key).transpose()?;
    let config = UdpTrackerConfig { listen, key, ..UdpTrackerConfig::default() };
    let tracker = UdpTracker::bind_beside(config, open, Arc::clone(store)).or_exit(Exit::Network)?;
    tracker.local_addrs().iter().for_each(|address| tracing::info!(%address, "UDP tracker listens"));
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

fn native_config(address: SocketAddr, service: &ServiceArguments) -> Result<Config, Failure> {
    Ok(Config {
        catalogue_file: service.state.as_deref().map(|state| beside(state, ".catalogue")),
        people_file: service.state.as_deref().map(|state| beside(state, ".people")),
        admin_token: service.admin_token_file.as_deref().map(read_admin_token).transpose()?,
        ..Config::new(address)
    })
}

/// Reads the token of the admin; white space around it does not count.
pub(crate) fn read_admin_token(path: &Path) -> Result<AdminToken, Failure> {
    let text = std::fs::read(path).with_context(|| format!("cannot read {}", path.display())).or_exit(Exit::Disk)?;
    AdminToken::new(text.trim_ascii()).ok_or_else(|| {
        let (path, least) = (path.display(), AdminToken::SHORTEST);
        let problem = format!("{path} is no token: {least} bytes at the least, as 'openssl rand -hex 16' makes them");
        Failure::new(Exit::Usage, problem)
    })
}

/// How a native tracker that cannot start ends the process.
pub(crate) fn bind_failure(error: BindError) -> Failure {
    let exit = if matches!(error, BindError::Listen { .. }) { Exit::Network } else { Exit::Disk };
    Failure { exit, error: error.into() }
}

/// What the native tracker keeps stands beside the peers: `FILE.catalogue`, `FILE.people`.
fn beside(state: &Path, ending: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
