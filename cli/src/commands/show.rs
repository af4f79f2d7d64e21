//! `show`: everything that is in a metainfo file.

use super::source;
use crate::args::metainfo::ShowArguments;
use crate::exit::{Exit, Failure};
use crate::render::{output, text};
use serde::Serialize;
use std::fmt::Write as _;
use swarm_proto::layout::{FileKind, LayoutFile, LayoutForm};
use swarm_proto::magnet::Magnet;
use swarm_proto::metainfo::Metainfo;

/// Width of the column of labels.
const LABEL_WIDTH: usize = 13;

/// A metainfo file as `show --json` prints it. Lengths in bytes.
#[derive(Serialize, Debug)]
struct Shown<'a> {
    name: &'a str,
    info_hash: String,
    magnet: String,
    folder: bool,
    total_length: u64,
    piece_length: u32,
    pieces: u32,
    private: bool,
    source: Option<&'a str>,
    comment: Option<&'a str>,
    created_by: Option<&'a str>,
    creation_date: Option<i64>,
    canonical: bool,
    trackers: &'a [Vec<String>],
    web_seeds: &'a [String],
    peers: &'a [String],
    nodes: Vec<String>,
    files: Vec<ShownFile<'a>>,
}

/// One file of the torrent, in the order of the pieces.
#[derive(Serialize, Debug)]
struct ShownFile<'a> {
    /// Below the target folder; none for padding and links, which are never made.
    path: Option<&'a str>,
    /// As the metainfo has it, where that differs and is harmless to name.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_path: Option<&'a str>,
    /// Whether the metainfo has another path, harmless or not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    renamed: bool,
    length: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    executable: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    hidden: bool,
}

/// Prints it.
pub(crate) async fn run(arguments: &ShowArguments) -> Result<Exit, Failure> {
    let metainfo = source::load(&arguments.source).await?;
    let shown = Shown::new(&metainfo);
    if arguments.json {
        output::json(&shown)?
    } else {
        output::result(&shown.text())?
    }
    Ok(Exit::Done)
}

impl<'a> Shown<'a> {
    fn new(metainfo: &'a Metainfo) -> Self {
        let geometry = metainfo.geometry();
        Self {
            name: metainfo.name(),
            info_hash: metainfo.info_hash().to_string(),
            magnet: Magnet::from(metainfo).to_string(),
            folder: metainfo.layout().form() == LayoutForm::Folder,
            total_length: geometry.total_length(),
            piece_length: geometry.piece_length(),
            pieces: geometry.pieces(),
            private: metainfo.is_private(),
            source: metainfo.source(),
            comment: metainfo.comment(),
            created_by: metainfo.created_by(),
            creation_date: metainfo.creation_date(),
            canonical: metainfo.is_canonical(),
            trackers: metainfo.trackers(),
            web_seeds: metainfo.web_seeds(),
            peers: metainfo.peers(),
            nodes: metainfo.nodes().iter().map(|node| format!("{}:{}", node.host, node.port)).collect(),
            files: metainfo.layout().files().map(|(_, file)| ShownFile::new(file)).collect(),
        }
    }

    /// For people: one line a fact, then one line a file.
    fn text(&self) -> String {
        let mut lines = Lines::default();
        lines.add("Name", self.name);
        lines.add("Info hash", &self.info_hash);
        lines.add("Magnet", &self.magnet);
        let files = self.files.iter().filter(|file| file.path.is_some()).count() as u64;
        let size = format!("{} ({} bytes)", text::bytes(self.total_length), self.total_length);
        lines.add("Size", &format!("{size} in {}", text::count(files, "file")));
        let pieces = text::count(u64::from(self.pieces), "piece");
        lines.add("Pieces", &format!("{pieces} of {}", text::round_bytes(u64::from(self.piece_length))));
        lines.add("Private", if self.private { "yes (peers from the trackers only)" } else { "no" });
        let date = self.creation_date.and_then(|date| u64::try_from(date).ok()).map(text::moment);
        let facts = [("Source", self.source), ("Comment", self.comment), ("Created by", self.created_by)];
        for (label, fact) in facts.into_iter().chain([("Created", date.as_deref())]) {
            fact.into_iter().for_each(|fact| lines.add(label, fact));
        }
        if !self.canonical {
            lines.add("Remark", "not in canonical form; other clients may compute another info hash");
        }
        for (number, tier) in (1..).zip(self.trackers) {
            tier.iter().for_each(|url| lines.add(&format!("Tracker {number}"), url));
        }
        self.web_seeds.iter().for_each(|url| lines.add("Web seed", url));
        self.peers.iter().for_each(|peer| lines.add("Peer", peer));
        self.nodes.iter().for_each(|node| lines.add("DHT node", node));
        for file in &self.files {
            let path = file.path.map_or_else(|| format!("({})", file.kind), str::to_owned);
            let remark = match (file.original_path, file.renamed) {
                (Some(original), _) => format!("  (in the metainfo: {original})"),
                (None, true) => "  (unsafe in the metainfo, or taken: renamed)".to_owned(),
                (None, false) => String::new(),
            };
            lines.add("File", &format!("{:>9}  {path}{remark}", text::bytes(file.length)));
        }
        lines.text.trim_end().to_owned()
    }
}

impl<'a> ShownFile<'a> {
    fn new(file: &'a LayoutFile) -> Self {
        let kind = match file.kind() {
            FileKind::Regular => "file",
            FileKind::Padding => "padding",
            FileKind::Symlink => "symbolic link",
        };
        let (executable, hidden) = (file.is_executable(), file.is_hidden());
        let (path, original_path) = (file.path(), file.original_path());
        Self { path, original_path, renamed: file.is_renamed(), length: file.length(), kind, executable, hidden }
    }
}

/// Lines of a label and a fact.
#[derive(Default)]
struct Lines {
    text: String,
}

impl Lines {
    fn add(&mut self, label: &str, fact: &str) {
        let _infallible = writeln!(self.text, "{label:LABEL_WIDTH$}{}", text::printable(fact));
    }
}
