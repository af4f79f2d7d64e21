//! `room`: a tiny metainfo to hand around, whose swarm is a room.

use super::make_meta::replace;
use crate::args::chat::RoomArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::{output, text};
use std::path::PathBuf;
use swarm_engine::chat::make_room;
use swarm_proto::metainfo::Metainfo;

/// Writes the file.
pub(crate) fn run(arguments: &RoomArguments) -> Result<Exit, Failure> {
    let mut builder = make_room(&arguments.name).or_exit_while(Exit::Usage, "this name")?;
    let single = arguments.trackers.iter().map(|url| vec![url.clone()]);
    builder.trackers = single.chain(arguments.tiers.iter().map(|tier| tier.0.clone())).collect();
    builder.peers = arguments.peers.iter().map(ToString::to_string).collect();
    let bytes = builder.build(&[]).or_exit_while(Exit::Usage, "this room")?;
    let metainfo = Metainfo::parse(bytes.clone()).or_exit(Exit::Metainfo)?;
    let path = arguments.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.meta", metainfo.name())));
    // Another room of this name has other people in it.
    if path.exists() && !arguments.force {
        let reason = "exists; move it away, name another with -o, or use --force";
        return Err(Failure::new(Exit::Disk, format!("{}: {reason}", path.display())));
    }
    replace(&path, &bytes).or_exit_while(Exit::Disk, path.display())?;
    if !arguments.quiet {
        let shown = text::printable(&path.to_string_lossy());
        output::result(&format!("{} {shown}", metainfo.info_hash()))?;
    }
    Ok(Exit::Done)
}
