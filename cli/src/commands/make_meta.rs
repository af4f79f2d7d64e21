//! `make-meta`: a metainfo file of a file or folder.

use super::content::{self, Described};
use crate::args::metainfo::MakeMetaArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::Screen;
use crate::render::{output, text};
use crate::signals::Stop;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use swarm_proto::metainfo::{Metainfo, MetainfoBuilder};

/// Hashes the content and writes the file.
pub(crate) async fn run(arguments: &MakeMetaArguments, screen: &Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let described = content::describe(&arguments.path, &arguments.content, screen, stop).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let single = arguments.trackers.iter().map(|url| vec![url.clone()]);
    let builder = MetainfoBuilder {
        trackers: single.chain(arguments.tiers.iter().map(|tier| tier.0.clone())).collect(),
        web_seeds: arguments.web_seeds.clone(),
        peers: arguments.peers.iter().map(ToString::to_string).collect(),
        creation_date: (!arguments.no_date).then_some(now),
        ..described.builder
    };
    let described = Described { builder, ..described };
    let path = arguments.output.clone().unwrap_or_else(|| default_output(&described.builder.name));
    write(&path, &described, arguments.force)?;
    let metainfo = Metainfo::parse(described.metainfo()?).or_exit(Exit::Metainfo)?;
    if !arguments.quiet {
        report(&path, &metainfo)?;
    }
    described.remember(&arguments.path, metainfo, stop).await?;
    Ok(Exit::Done)
}

/// The name with `.meta` behind it, in the current folder.
fn default_output(name: &str) -> PathBuf {
    PathBuf::from(format!("{name}.meta"))
}

/// Writes the metainfo completely or not at all. A file of the same content but for its date may be replaced.
fn write(path: &Path, described: &Described, force: bool) -> Result<(), Failure> {
    let bytes = described.metainfo()?;
    match fs::read(path) {
        Ok(existing) if !force && !differs_in_date_only(&existing, described)? => {
            let reason = "exists and is another one; move it away, name another with -o, or use --force";
            return Err(Failure::new(Exit::Disk, format!("{}: {reason}", path.display())));
        }
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).or_exit_while(Exit::Disk, path.display())?,
        _ => {}
    }
    replace(path, &bytes).or_exit_while(Exit::Disk, path.display())
}

/// Whether the existing file is what would be written, had it been written on that file's date.
fn differs_in_date_only(existing: &[u8], described: &Described) -> Result<bool, Failure> {
    let Ok(read) = Metainfo::parse(existing.to_vec()) else { return Ok(false) };
    let creation_date = read.creation_date().and_then(|date| u64::try_from(date).ok());
    let builder = MetainfoBuilder { creation_date, ..described.builder.clone() };
    Ok(builder.build(&described.hashes).or_exit(Exit::Metainfo)? == existing)
}

/// Writes beside the file and renames, so that nobody ever sees half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut draft = OsString::from(".");
    draft.push(path.file_name().ok_or(ErrorKind::InvalidFilename)?);
    draft.push(format!(".{}", std::process::id()));
    let draft = path.with_file_name(draft);
    let written = File::create_new(&draft).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, path)
    });
    if written.is_err() {
        let _nothing_more_to_do = fs::remove_file(&draft);
    }
    written
}

/// Tells the info hash and what became of the content: the result, on one line.
fn report(path: &Path, metainfo: &Metainfo) -> Result<(), Failure> {
    let geometry = metainfo.geometry();
    let pieces = text::count(u64::from(geometry.pieces()), "piece");
    let files = text::count(metainfo.layout().file_count() as u64, "file");
    let path = text::printable(&path.to_string_lossy());
    output::result(&format!(
        "{} {path} ({} in {files}, {pieces} of {})",
        metainfo.info_hash(),
        text::bytes(geometry.total_length()),
        text::round_bytes(u64::from(geometry.piece_length())),
    ))
}
