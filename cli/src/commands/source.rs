//! Where metainfo comes from.

use crate::exit::{Exit, Failure, OrExit};
use crate::render::text::printable;
use swarm_engine::source::{SourceError, load_metainfo};
use swarm_proto::metainfo::Metainfo;

/// Loads and reads a metainfo file: a path, a URL, or a name in a catalogue.
pub(crate) async fn load(source: &str) -> Result<Metainfo, Failure> {
    let bytes = load_metainfo(source).await.map_err(|error| {
        let exit = if matches!(error, SourceError::Scheme(_)) { Exit::Usage } else { Exit::Metainfo };
        Failure { exit, error: error.into() }
    })?;
    Metainfo::parse(bytes).or_exit_while(Exit::Metainfo, printable(source))
}
