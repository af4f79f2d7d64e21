//! `fetch`: what metainfo describes, from peers to disk.

use super::transfer::{self, Party, Telling, Until, unless_stopped};
use super::{chat, source};
use crate::args::transfer::FetchArguments;
use crate::exit::{Exit, Failure};
use crate::render::bars::Screen;
use crate::render::text;
use crate::signals::Stop;
use swarm_engine::disk::{Allocation, ForeignFiles};
use swarm_engine::{AddTorrent, FetchOptions, Order, Purpose, Verify};
use swarm_proto::metainfo::Metainfo;

/// Fetches, and serves afterwards if that was asked for.
pub(crate) async fn run(arguments: &FetchArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    transfer::telling_failures(&arguments.transfer, fetch(arguments, screen, stop)).await
}

async fn fetch(arguments: &FetchArguments, screen: Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let telling = Telling::from(&arguments.transfer);
    let mut metainfos = Vec::new();
    for source in &arguments.sources {
        let metainfo = unless_stopped(stop, source::load(source)).await?;
        if telling == Telling::Text {
            tell_renamed(&metainfo, &screen);
        }
        metainfos.push((source::trackers(source, &arguments.transfer.trackers), metainfo));
    }
    let session = transfer::open(&arguments.transfer, &screen)?;
    let room = chat::beside(&session, &arguments.chat, metainfos.len())?;
    let mut party = Party::new(session, until(arguments), telling, screen).give_up_after(arguments.give_up);
    for (trackers, metainfo) in metainfos {
        let torrent = AddTorrent {
            purpose: Purpose::Fetch(options(arguments)),
            chat: room.clone(),
            verify: if arguments.verify_first { Verify::Everything } else { Verify::Changed },
            trackers,
            peers: arguments.transfer.peers.iter().map(ToString::to_string).collect(),
            ..AddTorrent::fetch(metainfo, &arguments.output)
        };
        unless_stopped(stop, party.add(torrent)).await?;
    }
    chat::run_beside(party, &arguments.output, &arguments.chat, (&arguments.transfer, None), stop).await
}

/// Nothing is dropped for its name, but what lands on disk is called otherwise than its maker meant.
fn tell_renamed(metainfo: &Metainfo, screen: &Screen) {
    let files = metainfo.layout().files().filter(|(_, file)| file.is_renamed()).count() as u64;
    if files > 0 {
        let (name, files) = (metainfo.name(), text::count(files, "file"));
        screen
            .note(&format!("swarm: {name}: safe names for {files}, since those in the metainfo are unsafe or collide"));
    }
}

/// When the fetch is over.
fn until(arguments: &FetchArguments) -> Until {
    match (arguments.seed_time, arguments.seed_ratio) {
        // Who talks stays.
        (None, None) if arguments.seed_after || arguments.chat.chat => Until::Served { time: None, ratio: None },
        (None, None) => Until::Complete,
        (time, ratio) => Until::Served { time, ratio },
    }
}

fn options(arguments: &FetchArguments) -> FetchOptions {
    FetchOptions {
        foreign_files: if arguments.overwrite { ForeignFiles::Overwrite } else { ForeignFiles::Refuse },
        allocation: if arguments.preallocate { Allocation::Full } else { Allocation::Sparse },
        order: if arguments.sequential { Order::Sequential } else { Order::RarestFirst },
    }
}
