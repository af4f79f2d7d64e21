//! Where metainfo comes from.

use crate::exit::{Exit, Failure, OrExit};
use crate::render::text::printable;
use swarm_engine::source::{SourceError, load_metainfo};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::NativeUrl;

/// Loads and reads a metainfo file: a path, a URL, or a name in a catalogue.
pub(crate) async fn load(source: &str) -> Result<Metainfo, Failure> {
    let bytes = load_metainfo(source).await.map_err(|error| {
        let exit = if matches!(error, SourceError::Scheme(_)) { Exit::Usage } else { Exit::Metainfo };
        Failure { exit, error: error.into() }
    })?;
    Metainfo::parse(bytes).or_exit_while(Exit::Metainfo, printable(source))
}

/// The trackers to ask beside those in the metainfo: `named`, and a private one by the key with which the metainfo came from it.
pub(crate) fn trackers(source: &str, named: &[String]) -> Vec<String> {
    let catalogue = source.parse::<NativeUrl>().ok().filter(|entry| entry.passkey.is_some());
    let keyed = catalogue.map(|entry| NativeUrl { name: None, ..entry }.to_string());
    let unknown = keyed.filter(|url| !named.contains(url));
    named.iter().cloned().chain(unknown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_tracker_is_asked_by_the_key_of_the_source() {
        let named = ["http://a/announce".to_owned()];
        assert_eq!(trackers("native://h:1/key/a.iso", &named), ["http://a/announce", "native://h:1/key/"]);
        assert_eq!(trackers("native://h:1/key/a.iso", &["native://h:1/key/".to_owned()]), ["native://h:1/key/"]);
        for open in ["native://h:1/a.iso", "a.meta", "http://h/a.meta"] {
            assert_eq!(trackers(open, &named), named);
        }
    }
}
