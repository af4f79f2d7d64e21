//! What the shell fetches and serves in the background.

use super::terminal::Printer;
use crate::args::metainfo::ContentArguments;
use crate::args::tracker::ShellArguments;
use crate::args::values::PieceLength;
use crate::commands::content;
use crate::commands::source;
use crate::commands::transfer::usable_state;
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::Screen;
use crate::render::text;
use crate::signals::Stop;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use swarm_engine::{AddError, AddTorrent, Listen, Session, SessionConfig, Torrent};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::NativeUrl;
use tokio::task::JoinSet;

/// How often progress is looked at.
const TICK: Duration = Duration::from_secs(1);
/// Progress is told whenever so many more hundredths are there.
const STEP: u64 = 10;

/// A torrent of this shell.
struct Transfer {
    entry: NativeUrl,
    torrent: Torrent,
    served: bool,
}

/// The session, opened when it is needed, and its torrents.
pub(super) struct Transfers {
    listen: Option<SocketAddr>,
    output: PathBuf,
    printer: Printer,
    session: Option<Session>,
    all: Vec<Transfer>,
    /// One for each file that is fetched; ends with how that went.
    fetching: JoinSet<Exit>,
}

/// A file or folder as a torrent of this tracker.
pub(super) async fn describe(path: &Path, tracker: &NativeUrl, stop: &mut Stop) -> Result<Metainfo, Failure> {
    let usual = ContentArguments {
        piece_length: PieceLength::Automatic,
        private: false,
        comment: None,
        source: None,
        hidden: false,
        exclude: Vec::new(),
    };
    let mut described = content::describe(path, &usual, &Screen::silent(), stop).await?;
    // Without our key: others will read it, and have their own.
    described.builder.trackers = vec![vec![format!("native://{}", tracker.authority())]];
    let metainfo = Metainfo::parse(described.metainfo()?).or_exit(Exit::Metainfo)?;
    described.remember(path, metainfo.clone(), stop).await?;
    Ok(metainfo)
}

impl Transfers {
    pub(super) fn new(arguments: &ShellArguments, printer: Printer) -> Self {
        let ShellArguments { listen, output, .. } = arguments;
        let (output, all) = (output.clone(), Vec::new());
        Self { listen: *listen, output, printer, session: None, all, fetching: JoinSet::new() }
    }

    /// Starts a torrent; `None` where it runs already.
    async fn add(&mut self, entry: &NativeUrl, torrent: AddTorrent, served: bool) -> Result<Option<Torrent>, Failure> {
        if self.session.is_none() {
            let usual = SessionConfig::default();
            let listen = self.listen.map_or(usual.listen, Listen::Address);
            let config = SessionConfig { listen, state_folder: usable_state(&Screen::silent()), ..usual };
            self.session = Some(Session::new(config).or_exit(Exit::Network)?);
        }
        let Some(session) = &self.session else { return Ok(None) };
        let tracker = NativeUrl { name: None, ..entry.clone() }.to_string();
        match session.add(AddTorrent { trackers: vec![tracker], ..torrent }).await {
            Ok(torrent) => {
                self.all.push(Transfer { entry: entry.clone(), torrent: torrent.clone(), served });
                Ok(Some(torrent))
            }
            Err(AddError::Duplicate(_)) => Ok(None),
            Err(error) => {
                let exit = if matches!(error, AddError::Disk(_)) { Exit::Disk } else { Exit::Other };
                Err(Failure { exit, error: error.into() })
            }
        }
    }

    /// Fetches an entry; what comes of it is told when it is known.
    pub(super) async fn get(&mut self, entry: &NativeUrl) -> Result<(), Failure> {
        let metainfo = source::load(&entry.to_string()).await?;
        let (name, total) = (text::printable(metainfo.name()), metainfo.geometry().total_length());
        match self.add(entry, AddTorrent::fetch(metainfo, &self.output), false).await? {
            None => self.printer.print(&format!("{name}: is fetched or served already")),
            Some(torrent) => {
                self.printer.print(&format!("{name}: {} to fetch", text::bytes(total)))?;
                self.fetching.spawn(follow(torrent, name, total, self.printer.clone()));
                Ok(())
            }
        }
    }

    /// Serves what was just published, in place of what was served under that name.
    pub(super) async fn serve(&mut self, entry: &NativeUrl, metainfo: Metainfo, path: &Path) -> Result<(), Failure> {
        let info_hash = metainfo.info_hash();
        let old = self.all.iter().filter(|one| one.served && one.entry == *entry);
        if old.clone().any(|one| one.torrent.info_hash() == info_hash && !one.torrent.status().state.has_ended()) {
            return Ok(());
        }
        drop(old);
        self.stop_serving(entry);
        self.add(entry, AddTorrent::seed(metainfo, path), true).await.map(drop)
    }

    /// Ends what is served under a name.
    pub(super) fn stop_serving(&mut self, entry: &NativeUrl) {
        for one in self.all.extract_if(.., |one| one.served && one.entry == *entry) {
            tokio::spawn(async move { one.torrent.stop().await });
        }
    }

    /// A line for each transfer.
    pub(super) fn show(&self) -> Result<(), Failure> {
        for Transfer { entry, torrent, served } in &self.all {
            let status = torrent.status();
            let stats = status.stats;
            let what = match (served, status.complete) {
                (true, _) => "served".to_owned(),
                (false, true) => "fetched, and served".to_owned(),
                (false, false) => progress(stats.have_bytes, stats.total_bytes, stats.download_rate),
            };
            self.printer.print(&format!("{entry}: {what}, {} sent", text::bytes(stats.uploaded)))?;
        }
        self.printer.print(&text::count(self.all.len() as u64, "transfer"))
    }

    /// Waits until everything is fetched, or the user wants an end; says how the last one failed that did.
    pub(super) async fn wait(&mut self, stop: &mut Stop) -> Option<Exit> {
        let mut failed = None;
        loop {
            tokio::select! {
                ended = self.fetching.join_next() => match ended {
                    Some(Ok(Exit::Done)) => {}
                    Some(Ok(exit)) => failed = Some(exit),
                    Some(Err(_)) => failed = Some(Exit::Other),
                    None => return failed,
                },
                () = stop.requested() => return Some(Exit::Interrupted),
            }
        }
    }

    /// Says goodbye to everybody.
    pub(super) async fn end(mut self) {
        self.fetching.abort_all();
        self.all.clear();
        if let Some(session) = self.session.take() {
            session.shutdown().await;
        }
    }
}

/// Tells of the progress of a fetch, and of its end.
async fn follow(torrent: Torrent, name: String, total: u64, printer: Printer) -> Exit {
    let began = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    let mut told = 0;
    let mut complete = std::pin::pin!(torrent.wait_complete());
    loop {
        tokio::select! {
            outcome = &mut complete => {
                let failure = match outcome {
                    Ok(()) => {
                        let (size, time) = (text::bytes(total), text::duration(began.elapsed()));
                        return match printer.print(&format!("{name}: done, {size} in {time}")) {
                            Ok(()) => Exit::Done,
                            Err(failure) => failure.exit,
                        };
                    }
                    Err(error) => Failure { exit: Exit::Other, error: anyhow::Error::new(error).context(name) },
                };
                printer.complain(&failure);
                return failure.exit;
            }
            _ = tick.tick() => {
                let stats = torrent.status().stats;
                let hundredths = stats.have_bytes.saturating_mul(100) / total.max(1);
                if hundredths >= told + STEP {
                    told = hundredths;
                    drop(printer.print(&format!("{name}: {}", progress(stats.have_bytes, total, stats.download_rate))));
                }
            }
        }
    }
}

fn progress(have: u64, total: u64, rate: u64) -> String {
    let hundredths = have.saturating_mul(100) / total.max(1);
    format!("{hundredths} % of {}, {}", text::bytes(total), text::rate(rate))
}
