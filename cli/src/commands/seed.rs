//! `seed`: serves what is on disk.

use super::transfer::{self, Party, Telling, Until, unless_stopped};
use super::{chat, source};
use crate::args::transfer::SeedArguments;
use crate::exit::{Exit, Failure};
use crate::render::bars::Screen;
use crate::signals::Stop;
use std::path::{Path, PathBuf};
use swarm_engine::{AddTorrent, Verify};

/// Serves until the user ends it.
pub(crate) async fn run(arguments: &SeedArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    transfer::telling_failures(&arguments.transfer, seed(arguments, screen, stop)).await
}

async fn seed(arguments: &SeedArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let mut torrents = Vec::new();
    for source in &arguments.sources {
        let metainfo = unless_stopped(stop, source::load(source)).await?;
        let folder = match &arguments.path {
            Some(path) => path.clone(),
            None => find(source, metainfo.name())?,
        };
        torrents.push(AddTorrent {
            verify: if arguments.verify_first { Verify::Everything } else { Verify::Changed },
            trackers: source::trackers(source, &arguments.transfer.trackers),
            peers: arguments.transfer.peers.iter().map(ToString::to_string).collect(),
            ..AddTorrent::seed(metainfo, folder)
        });
    }
    let session = transfer::open(&arguments.transfer, &screen)?;
    let room = chat::beside(&session, &arguments.chat, torrents.len())?;
    let mut party = Party::new(session, Until::Stopped, Telling::from(&arguments.transfer), screen);
    for torrent in torrents {
        unless_stopped(stop, party.add(AddTorrent { chat: room.clone(), ..torrent })).await?;
    }
    chat::run_beside(party, Path::new("."), &arguments.chat, (&arguments.transfer, None), stop).await
}

/// The folder that contains the content: the current one, or that of the metainfo file.
fn find(source: &str, name: &str) -> Result<PathBuf, Failure> {
    let beside = Path::new(source).parent().filter(|_| Path::new(source).is_file()).map(Path::to_owned);
    let folders: Vec<PathBuf> = std::iter::once(PathBuf::from(".")).chain(beside).collect();
    let found = folders.into_iter().find(|folder| folder.join(name).exists());
    found.ok_or_else(|| {
        let places = "neither in the current folder nor beside the metainfo file";
        Failure::new(Exit::Disk, format!("{name} is {places}; say with --path where it is"))
    })
}
