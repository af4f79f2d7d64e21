//! A file or folder as a torrent to be: what `make-meta` and `share` have in common.

use crate::args::metainfo::ContentArguments;
use crate::args::values::PieceLength;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::{Bar, Screen};
use crate::render::text::printable;
use crate::signals::Stop;
use crate::state;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use swarm_engine::disk::create::{self, FileList, HiddenFiles, ScanOptions};
use swarm_engine::disk::{HashJob, Stamp};
use swarm_proto::id::HASH_LENGTH;
use swarm_proto::metainfo::{Metainfo, MetainfoBuilder};

/// A torrent to be: all that its metainfo needs.
#[derive(Debug)]
pub(crate) struct Described {
    /// Everything but the hashes.
    pub(crate) builder: MetainfoBuilder,
    /// One for each piece.
    pub(crate) hashes: Vec<[u8; HASH_LENGTH]>,
    /// What each file was when it was hashed.
    pub(crate) stamps: Vec<Stamp>,
}

impl Described {
    /// The metainfo file.
    pub(crate) fn metainfo(&self) -> Result<Vec<u8>, Failure> {
        self.builder.build(&self.hashes).or_exit(Exit::Metainfo)
    }

    /// Spares the seed of this torrent another look at all data. That it can't is no reason to fail.
    pub(crate) async fn remember(self, path: &Path, metainfo: Metainfo, stop: &mut Stop) -> Result<(), Failure> {
        let path = path.to_owned();
        let record = move || state::remember_hashed(&path, &metainfo, &self.stamps);
        if let Err(error) = stop.abandon(record).await? {
            tracing::info!("no resume record: {error}");
        }
        Ok(())
    }
}

/// Lists and hashes what is at `path`, with a bar; tells what was left out unasked.
pub(crate) async fn describe(
    path: &Path,
    arguments: &ContentArguments,
    screen: &Screen,
    stop: &mut Stop,
) -> Result<Described, Failure> {
    let hidden = if arguments.hidden { HiddenFiles::Include } else { HiddenFiles::Skip };
    let options = ScanOptions { hidden, exclude: create::exclusions(&arguments.exclude).or_exit(Exit::Usage)? };
    let path = path.to_owned();
    let list = stop.abandon(move || create::scan(&path, &options)).await?.or_exit(Exit::Disk)?;
    for skipped in list.skipped() {
        screen.note(&format!("swarm: {} {}", printable(&skipped.path.to_string_lossy()), skipped.reason));
    }
    let builder = builder(&list, arguments);
    let geometry = builder.geometry().or_exit(Exit::Metainfo)?;
    let stamps = list.stamps().to_vec();
    let bar = screen.bar(list.name(), geometry.total_length());
    let work = move || with_progress(&bar, |job| create::hash(&list, geometry, job));
    let hashes = stop.abandon(work).await?.or_exit(Exit::Disk)?;
    Ok(Described { builder, hashes, stamps })
}

/// Runs a job on every core that moves a bar.
pub(crate) fn with_progress<T>(bar: &Bar, work: impl FnOnce(HashJob<'_>) -> T) -> T {
    let done = AtomicU64::new(0);
    let progress = |bytes| bar.hashed(done.fetch_add(bytes, Ordering::Relaxed) + bytes);
    // A signal abandons the thread and ends the process.
    let cancel = AtomicBool::new(false);
    work(HashJob::new(&progress, &cancel))
}

/// What the options say, without what concerns the way to the content: trackers, peers, web seeds.
fn builder(list: &FileList, arguments: &ContentArguments) -> MetainfoBuilder {
    let automatic = MetainfoBuilder::new(list.name(), list.content());
    MetainfoBuilder {
        piece_length: match arguments.piece_length {
            PieceLength::Automatic => automatic.piece_length,
            PieceLength::Bytes(bytes) => bytes,
        },
        private: arguments.private,
        source: arguments.source.clone(),
        comment: arguments.comment.clone(),
        ..automatic
    }
}
