//! SIGHUP: options, lists and certificates are read again, and no peer is lost.
//!
//! What has a fault stays as it was, and the log says so. Owns the comparison between what was and what is wanted: options
//! that mean something only at the start are named, and left.

use super::{Named, config, settings, typed};
use crate::args::tracker::TrackerArguments;
use crate::exit::Failure;
use crate::signals::Stop;
use std::path::PathBuf;
use std::sync::Arc;
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::HttpHandle;

/// What is brought up to date.
pub(super) struct Reload {
    /// The file of the options, if there is one.
    pub(super) config: Option<PathBuf>,
    /// The options of the start.
    pub(super) begun: Named,
    pub(super) store: Arc<Store>,
    /// Whose certificates are read again.
    pub(super) http: Option<HttpHandle>,
}

/// Ends with its handle.
pub(super) struct Reloading(tokio::task::JoinHandle<()>);

impl Drop for Reloading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The options that count at the start only.
pub(super) fn fixed(arguments: &TrackerArguments) -> Named {
    let TrackerArguments { http, udp, native, tls, proxies, datagrams, service, .. } = arguments;
    vec![
        ("http", format!("{http:?}")),
        ("udp", format!("{udp:?}")),
        ("native", format!("{native:?}")),
        ("tls, tls-cert or tls-key", format!("{tls:?}")),
        ("proxy or proxy-header", format!("{proxies:?}")),
        ("udp-key", format!("{datagrams:?}")),
        ("state", format!("{:?}", service.state)),
        ("user", format!("{:?}", service.user)),
        ("allow, deny or keys", format!("{:?}", (&service.allow, &service.deny, &service.keys))),
        ("store", format!("{:?}", service.store)),
        ("admin-token-file", format!("{:?}", service.admin_token_file)),
        ("log-json", format!("{:?}", service.log_json)),
    ]
}

/// The options that count at once.
pub(super) fn adjustable(arguments: &TrackerArguments) -> Named {
    let service = &arguments.service;
    vec![
        ("max-torrents", format!("{:?}", service.max_torrents)),
        ("max-peers", format!("{:?}", service.max_peers)),
        ("interval", format!("{:?}", service.interval)),
    ]
}

impl Reload {
    /// From now on SIGHUP asks for this, and no longer for the end.
    pub(super) fn on_hang_up(self, stop: &Stop) -> Result<Reloading, Failure> {
        let mut asked = stop.take_hang_ups()?;
        Ok(Reloading(tokio::spawn(async move {
            while asked.changed().await.is_ok() {
                self.options();
                self.lists();
                self.certificates();
            }
        })))
    }

    fn options(&self) {
        let Some(path) = &self.config else { return };
        let arguments = match config::with_file(&typed(), path) {
            Ok(arguments) => arguments,
            Err(failure) => {
                return tracing::error!(error = %failure.error, "the options stay as they are");
            }
        };
        for ((name, was), (_, wanted)) in self.begun.iter().zip(fixed(&arguments)) {
            if *was != wanted {
                tracing::warn!(option = name, "takes effect only when the tracker is started again");
            }
        }
        let access = self.store.config().access.clone();
        self.store.reconfigure(StoreConfig { access, ..settings::store(&arguments.service) });
        tracing::info!(file = %path.display(), "options read again");
    }

    fn lists(&self) {
        let Some(access) = self.store.config().access.clone() else { return };
        match access.reload() {
            Ok(counts) => tracing::info!(?counts, "lists read again"),
            Err(error) => tracing::error!(%error, "the lists stay as they are"),
        }
    }

    fn certificates(&self) {
        let Some(http) = &self.http else { return };
        if let Err(error) = http.reload_certificates() {
            tracing::error!(%error, "the certificates stay as they are");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Arguments;
    use clap::CommandFactory;

    #[test]
    fn every_option_of_a_file_is_either_fixed_or_taken_over() {
        let file = std::path::Path::new("FILE");
        let arguments =
            config::with_text(&["swarm", "tracker", "--config", "FILE"].map(Into::into), file, "http = ':1'").unwrap();
        let named: Vec<_> = fixed(&arguments).into_iter().chain(adjustable(&arguments)).map(|(name, _)| name).collect();
        let named: Vec<&str> =
            named.iter().flat_map(|names| names.split([',', ' '])).filter(|it| *it != "or").collect();
        let mut definition = Arguments::command();
        definition.build();
        let options = definition.find_subcommand("tracker").unwrap().get_arguments().filter_map(|it| it.get_long());
        let options: Vec<&str> = options.filter(|name| !config::NOT_IN_A_FILE.contains(name)).collect();
        assert!(options.len() > 15, "{options:?}");
        for option in options {
            assert_eq!(named.iter().filter(|name| **name == option).count(), 1, "{option}");
        }
    }
}
