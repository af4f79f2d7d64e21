//! `verify`: whether files on disk are what a metainfo file says.

use super::transfer::unless_stopped;
use super::{content, source};
use crate::args::metainfo::VerifyArguments;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::Screen;
use crate::render::{output, text};
use crate::signals::Stop;
use crate::state;
use serde::Serialize;
use std::fmt::Write as _;
use swarm_engine::disk::{self, DiskError, Storage, VerifyReport};
use swarm_proto::layout::FileIndex;
use swarm_proto::metainfo::Metainfo;

/// What is known of a file that has a part of a wrong piece, while another file has the rest.
const SHARING: &str = "shares a bad piece";

/// The outcome as `--json` prints it.
#[derive(Serialize, Debug)]
struct Outcome<'a> {
    ok: bool,
    info_hash: String,
    pieces: u32,
    bad_pieces: Vec<u32>,
    bad_files: Vec<BadFile<'a>>,
}

/// A file that is not as it should be.
#[derive(Serialize, Debug)]
struct BadFile<'a> {
    path: &'a str,
    reason: &'static str,
}

/// Hashes everything and names what is wrong.
pub(crate) async fn run(arguments: &VerifyArguments, screen: &Screen, stop: &mut Stop) -> Result<Exit, Failure> {
    let metainfo = unless_stopped(stop, source::load(&arguments.source)).await?;
    let bar = screen.bar(metainfo.name(), metainfo.geometry().total_length());
    let (path, read) = (arguments.path.clone(), metainfo.clone());
    let work = move || {
        let storage = Storage::open_seed(&path, read.layout().clone(), Default::default())?;
        let report = content::with_progress(&bar, |job| disk::verify(&storage, &read, job))?;
        if report.is_complete()
            && let Err(error) = state::remember_verified(&storage, &read)
        {
            tracing::info!("no resume record: {error}");
        }
        Ok::<_, DiskError>(report)
    };
    let report = stop.abandon(work).await?.or_exit(Exit::Disk)?;
    let outcome = Outcome::new(&metainfo, &report);
    match arguments.json {
        true => output::json(&outcome)?,
        false if outcome.ok && arguments.quiet => {}
        false => output::result(&outcome.text())?,
    }
    Ok(if outcome.ok { Exit::Done } else { Exit::Mismatch })
}

impl<'a> Outcome<'a> {
    fn new(metainfo: &'a Metainfo, report: &VerifyReport) -> Self {
        let bad = |files: &[FileIndex], reason| -> Vec<BadFile<'a>> {
            let path = |&index: &FileIndex| metainfo.layout().file(index).and_then(|file| file.path());
            files.iter().filter_map(path).map(|path| BadFile { path, reason }).collect()
        };
        let mut bad_files = bad(&report.missing_files, "missing");
        bad_files.extend(bad(&report.wrong_lengths, "wrong length"));
        for (files, reason) in [(&report.damaged_files, "damaged"), (&report.sharing_files, SHARING)] {
            let others = files.iter().filter(|index| !report.wrong_lengths.contains(index)).copied();
            bad_files.extend(bad(&others.collect::<Vec<_>>(), reason));
        }
        bad_files.sort_by_key(|file| file.path);
        Self {
            ok: report.is_complete(),
            info_hash: metainfo.info_hash().to_string(),
            pieces: metainfo.geometry().pieces(),
            bad_pieces: report.bad_pieces.iter().map(|piece| piece.as_u32()).collect(),
            bad_files,
        }
    }

    /// For people: the verdict, the pieces as ranges, one line a file.
    fn text(&self) -> String {
        if self.ok {
            return format!("all right: {}", text::count(u64::from(self.pieces), "piece"));
        }
        let bad = self.bad_pieces.len();
        let mut lines = format!("missing or wrong: {bad} of {}", text::count(u64::from(self.pieces), "piece"));
        if bad > 0 {
            let _infallible = write!(lines, " ({})", ranges(&self.bad_pieces));
        }
        for file in &self.bad_files {
            let _infallible = write!(lines, "\n{:19} {}", file.reason, text::printable(file.path));
        }
        lines
    }
}

/// Ascending numbers with runs drawn together: `1, 4-7, 9`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|left, right| left.checked_add(1) == Some(*right));
    let run = |run: &[u32]| match run {
        [first, .., last] => format!("{first}-{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    };
    runs.map(run).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_drawn_together() {
        assert_eq!(ranges(&[1, 4, 5, 6, 7, 9, 10]), "1, 4-7, 9-10");
        assert_eq!(ranges(&[u32::MAX]), u32::MAX.to_string());
        assert_eq!(ranges(&[]), "");
    }
}
