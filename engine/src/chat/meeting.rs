//! Rooms without files.

use swarm_proto::metainfo::{Content, MetainfoBuilder, MetainfoError};

/// A tiny metainfo to hand around: its swarm is the room. It has one empty file of this name, and 16 random bytes that set
/// it apart from all others of its name. Trackers and peers are added as to any other metainfo.
///
/// # Errors
/// When the name cannot be that of a file.
pub fn make_room(name: &str) -> Result<MetainfoBuilder, MetainfoError> {
    let random: u128 = rand::random();
    let mut builder = MetainfoBuilder::new(name, Content::SingleFile { length: 0 });
    builder.source = Some(format!("swarm room {random:032x}"));
    builder.comment = Some("a room to chat in: swarm chat".to_owned());
    builder.build(&[])?;
    Ok(builder)
}
