//! The console of a tracker that was started on a terminal: a line in, text out.
//!
//! Owns the commands. It never reads or writes a terminal, and its text is safe for one: names and client names have no
//! control characters in them.

use crate::log_ring::LogRing;
use crate::server::Handle;
use std::fmt::Write;
use swarm_proto::native::CatalogueEntry;

/// Log lines that `cat` shows where no number is given.
const DEFAULT_LOG_LINES: usize = 20;
/// Rows that `flist` and `plist` show at most.
const ROWS: usize = 1_000;

const HELP: &str = "\
flist [PREFIX]  the catalogue: name, bytes, seeds, leechers, info hash
plist           the peers that are online: address, torrents, client, session
cat [N]         the last N lines of the log (20)
exitnow         close the tracker
help            this text
";

/// What comes of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ConsoleReply {
    /// To be shown; ends with a line break unless it is empty.
    Text(String),
    /// The tracker is to close.
    Exit,
}

/// The commands, over a running tracker and its log.
#[derive(Clone, Debug)]
pub struct Console {
    tracker: Handle,
    log: LogRing,
}

impl Console {
    /// A console for this tracker; `log` is what the log writes to.
    pub fn new(tracker: Handle, log: LogRing) -> Self {
        Self { tracker, log }
    }

    /// Does what a line says. A line that says nothing known gets a text that says what there is.
    pub fn run(&self, line: &str) -> ConsoleReply {
        let (command, argument) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        ConsoleReply::Text(match (command, argument.trim()) {
            ("", _) => String::new(),
            ("flist", prefix) => self.catalogue(prefix),
            ("plist", "") => self.peers(),
            ("cat", "") => self.last_lines(DEFAULT_LOG_LINES),
            ("cat", count) => match count.parse() {
                Ok(count) => self.last_lines(count),
                Err(_) => format!("cat takes a number of lines, not {count:?}\n"),
            },
            ("exitnow", "") => return ConsoleReply::Exit,
            ("help", _) => HELP.to_owned(),
            _ => format!("unknown command {:?}; help lists them\n", line.trim()),
        })
    }

    fn catalogue(&self, prefix: &str) -> String {
        let (page, more) = self.tracker.list(prefix, None, ROWS);
        let width = page.iter().map(|entry| entry.name.as_str().chars().count()).max().unwrap_or(0).min(60);
        let mut text = String::new();
        for CatalogueEntry { name, size, info_hash, complete, incomplete } in &page {
            let _ = writeln!(text, "{:<width$} {size:>15} {complete:>5} {incomplete:>5}  {info_hash}", name.as_str());
        }
        let shown = if more { format!("the first {} of ", page.len()) } else { String::new() };
        let _ = writeln!(text, "{shown}{}", count(self.tracker.names() as u64, "name"));
        text
    }

    fn peers(&self) -> String {
        let peers = self.tracker.peers();
        let mut text = String::new();
        for peer in peers.iter().take(ROWS) {
            let client = peer.client.clone().unwrap_or_else(|| peer.peer_id.to_string());
            let address = peer.address.to_string();
            let _ = writeln!(text, "{address:<22} {:>6}  {client}  {:016x}", peer.torrents, peer.session);
        }
        let stats = self.tracker.stats();
        let _ = writeln!(
            text,
            "{} online, {} in all swarms, of them {}",
            count(peers.len() as u64, "peer"),
            stats.peers,
            count(stats.seeds, "seed")
        );
        text
    }

    fn last_lines(&self, count: usize) -> String {
        self.log.last(count).into_iter().fold(String::new(), |text, line| text + &line + "\n")
    }
}

/// A number with its noun: `1 peer`, `2 peers`.
fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
