//! What `seed`, `fetch` and `share` have in common: a session, its torrents, what the user sees of them, and the end.
//!
//! Owns the loop that waits for events, the clock and the user. Decides only when a torrent has done its part; how it
//! does that is the engine's.

use crate::args::transfer::{Profile, TransferArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::bars::{Bar, Screen};
use crate::render::json::{Line, What};
use crate::render::{output, story, summary, text};
use crate::signals::{Stop, interrupted};
use crate::state;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use swarm_engine::{AddError, AddTorrent, Listen, Session, SessionConfig, State, Torrent, TorrentEvent, TorrentStatus};
use swarm_proto::geometry::Geometry;
use swarm_proto::swarm::{Event, SwarmStats};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// How often bars move and conditions are looked at.
const TICK: Duration = Duration::from_millis(250);

/// For a torrent to say what has come of it, when the user ends it.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Ticks from one `progress` line to the next.
const TICKS_PER_LINE: u32 = 4;

/// Events of all torrents that may wait for the screen.
const EVENTS: usize = 256;

/// How long a loop that was asked to stop may hang in writing to somebody who does not read.
const STUCK: Duration = Duration::from_secs(3);

/// When the process ends after that, whoever is stuck; the session needs less.
const LAST_MOMENT: Duration = Duration::from_secs(10);

/// When a torrent has done its part.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Until {
    /// Never; the user ends it.
    Stopped,
    /// Everything is verified and on disk.
    Complete,
    /// It has been complete for this time, or has sent so many times its length, whichever comes first.
    Served {
        /// Time since the completion.
        time: Option<Duration>,
        /// Bytes sent for each byte of the torrent.
        ratio: Option<f64>,
    },
}

/// How the user is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Telling {
    /// Bars on a terminal, and a closing line.
    Text,
    /// A line of JSON an event.
    Json,
    /// Errors only.
    Nothing,
}

impl From<&TransferArguments> for Telling {
    fn from(arguments: &TransferArguments) -> Self {
        match (arguments.json, arguments.quiet) {
            (true, _) => Self::Json,
            (false, true) => Self::Nothing,
            (false, false) => Self::Text,
        }
    }
}

/// Opens the port, with everything as the options say.
pub(crate) fn open(arguments: &TransferArguments, screen: &Screen) -> Result<Session, Failure> {
    let usual = SessionConfig::default();
    let config = SessionConfig {
        listen: arguments.listen.map_or(usual.listen, Listen::Address),
        max_peers: arguments.max_peers.map_or(usual.max_peers, |most| most as usize),
        upload_limit: arguments.up_limit,
        download_limit: arguments.down_limit,
        profile: match arguments.profile {
            Profile::Public => swarm_proto::swarm::Profile::Public,
            Profile::Lan => swarm_proto::swarm::Profile::Lan,
        },
        state_folder: usable_state(screen),
        ..usual
    };
    Session::new(config).or_exit(Exit::Network)
}

/// The folder of resume records, made if it is not there. Going without is better than not going.
pub(super) fn usable_state(screen: &Screen) -> Option<PathBuf> {
    let folder = state::resume_folder()?;
    match DirBuilder::new().recursive(true).mode(0o700).create(&folder) {
        Ok(()) => Some(folder),
        Err(error) => {
            let place = folder.display();
            screen.note(&format!("swarm: no resume records in {place}: {error}; each start checks all data"));
            None
        }
    }
}

/// A session with its torrents, and what the user sees of them.
pub(crate) struct Party {
    session: Session,
    until: Until,
    give_up: Option<Duration>,
    telling: Telling,
    screen: Screen,
    transfers: Vec<Transfer>,
    /// How torrents that could not be added end the process.
    refused: Vec<Exit>,
    events: mpsc::Receiver<(usize, TorrentEvent)>,
    sender: mpsc::Sender<(usize, TorrentEvent)>,
}

/// One torrent.
struct Transfer {
    torrent: Torrent,
    name: String,
    geometry: Geometry,
    bar: Bar,
    started: Instant,
    completed: Option<Instant>,
    /// The last tick found it complete.
    seen_complete: bool,
    /// When something last arrived, as far as a clock that gives up is concerned.
    received: (Instant, u64),
    /// The last trouble, so that it is told once.
    complaint: Option<String>,
    trackers: Trackers,
    outcome: Option<Exit>,
}

/// What the trackers of a torrent have said so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trackers {
    /// Nothing.
    Silent,
    /// At least one has answered as it should: the failures of others matter little.
    Answered,
}

impl Transfer {
    /// As the engine tells it; what it cannot know before the first look at the disk is filled in.
    fn status(&self) -> TorrentStatus {
        let mut status = self.torrent.status();
        (status.stats.total_bytes, status.stats.total_pieces) = (self.geometry.total_length(), self.geometry.pieces());
        status
    }
}

impl Party {
    /// Without torrents yet.
    pub(crate) fn new(session: Session, until: Until, telling: Telling, screen: Screen) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        Self {
            session,
            until,
            give_up: None,
            telling,
            screen,
            transfers: Vec::new(),
            refused: Vec::new(),
            events,
            sender,
        }
    }

    /// A fetch that receives nothing for so long fails.
    pub(crate) fn give_up_after(mut self, give_up: Option<Duration>) -> Self {
        self.give_up = give_up;
        self
    }

    /// Starts a torrent. One that cannot be added does not keep the others from running; the end remembers it.
    pub(crate) async fn add(&mut self, torrent: AddTorrent) -> Result<(), Failure> {
        let name = torrent.metainfo.name().to_owned();
        let geometry = torrent.metainfo.geometry();
        let torrent = match self.session.add(torrent).await {
            Ok(torrent) => torrent,
            Err(error) => return self.refused(&name, error),
        };
        let index = self.transfers.len();
        let (sender, mut events) = (self.sender.clone(), torrent.events());
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                if sender.send((index, event)).await.is_err() {
                    return;
                }
            }
        });
        let (total_bytes, total_pieces) = (geometry.total_length(), geometry.pieces());
        let now = Instant::now();
        self.transfers.push(Transfer {
            torrent,
            bar: self.screen.bar(&name, total_bytes),
            name,
            geometry,
            started: now,
            completed: None,
            seen_complete: false,
            received: (now, 0),
            complaint: None,
            trackers: Trackers::Silent,
            outcome: None,
        });
        let (name, listen_port) = (self.name(index).to_owned(), self.session.listen_address().port());
        self.tell(Some(index), What::Added { name: &name, total_bytes, total_pieces, listen_port })
    }

    /// The first torrent and its name.
    pub(crate) fn first(&self) -> Option<(Torrent, String)> {
        self.transfers.first().map(|transfer| (transfer.torrent.clone(), transfer.name.clone()))
    }

    /// Where connections are taken.
    pub(crate) fn listen_port(&self) -> u16 {
        self.session.listen_address().port()
    }

    /// Runs until every torrent has done its part or the user stops it; then says goodbye.
    pub(crate) async fn run(mut self, stop: &mut Stop) -> Result<Exit, Failure> {
        let guard = tokio::spawn(end_if_stuck(self.session.clone(), stop.clone()));
        let ended = self.wait(stop).await;
        let (screen, telling) = (self.screen.clone(), self.telling);
        let left: Vec<usize> = (0..self.transfers.len()).filter(|&index| self.is_running(index)).collect();
        let interrupted_early = self.until != Until::Stopped && left.iter().any(|&index| !self.status(index).complete);
        for transfer in left.iter().filter_map(|&index| self.transfers.get(index)) {
            // What has not answered by then is told of as it stood last.
            let _ = tokio::time::timeout(LAST_LOOK, transfer.torrent.status_now()).await;
        }
        let summaries: Result<Vec<()>, Failure> = left.into_iter().map(|index| self.close(index)).collect();
        let mut outcomes = std::mem::take(&mut self.refused);
        outcomes.extend(self.transfers.iter().filter_map(|transfer| transfer.outcome));
        self.transfers.clear();
        self.session.shutdown().await;
        guard.abort();
        ended?;
        match outcomes.into_iter().find(|&exit| exit != Exit::Done) {
            Some(exit) => Ok(exit),
            None if interrupted_early && telling == Telling::Text => {
                screen.note("swarm: interrupted; run the same command to go on");
                Ok(Exit::Interrupted)
            }
            None if interrupted_early => Ok(Exit::Interrupted),
            None => summaries.map(|_| Exit::Done),
        }
    }

    /// Returns when every torrent has done its part, or the user wants an end.
    async fn wait(&mut self, stop: &mut Stop) -> Result<(), Failure> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        while (0..self.transfers.len()).any(|index| self.is_running(index)) {
            let told = tokio::select! {
                Some((index, event)) = self.events.recv() => self.take(index, &event),
                _ = tick.tick() => {
                    ticks = ticks.wrapping_add(1);
                    self.tick(ticks % TICKS_PER_LINE == 1)
                }
                () = stop.requested() => return Ok(()),
            };
            match told {
                // Nobody reads any more: as good as Ctrl-C.
                Err(failure) if failure.exit == Exit::Done => return Ok(()),
                told => told?,
            }
        }
        Ok(())
    }

    /// Tells an event, and sees whether it is the end.
    fn take(&mut self, index: usize, event: &TorrentEvent) -> Result<(), Failure> {
        if !self.is_running(index) {
            return Ok(());
        }
        if let Some(line) = story::line(event) {
            tracing::info!("{}: {line}", self.name(index));
        }
        if let Some(what) = What::of(event) {
            self.tell(Some(index), what)?;
        }
        match event {
            TorrentEvent::DiskError { text } | TorrentEvent::Failed { text } => self.complain(index, text)?,
            TorrentEvent::StateChanged(State::Downloading | State::Seeding) => self.checked(index)?,
            TorrentEvent::Finished => self.completed(index)?,
            TorrentEvent::Swarm(event) => self.take_from_tracker(index, event)?,
            _ => {}
        }
        self.look(index)
    }

    /// Tells of trackers what may explain why nothing comes.
    fn take_from_tracker(&mut self, index: usize, event: &Event) -> Result<(), Failure> {
        let lonely = self.status(index).stats.peers == 0;
        let Some(transfer) = self.transfers.get_mut(index) else { return Ok(()) };
        let silent = transfer.trackers == Trackers::Silent;
        let trouble = match event {
            Event::TrackerReplied { url, warning, .. } => {
                transfer.trackers = Trackers::Answered;
                warning.as_ref().map(|warning| format!("{url} says: {warning}"))
            }
            Event::TrackerFailed { url, error, .. } if silent && lonely => Some(format!("{url}: {error}")),
            _ => None,
        };
        match trouble {
            Some(trouble) if self.telling == Telling::Text => self.complain(index, &trouble),
            _ => Ok(()),
        }
    }

    /// Moves the bars and looks at all conditions; `line` says whether it is time for a line of progress.
    fn tick(&mut self, line: bool) -> Result<(), Failure> {
        for index in 0..self.transfers.len() {
            if !self.is_running(index) {
                continue;
            }
            let status = self.status(index);
            if line {
                self.tell(Some(index), What::Progress((&status.stats).into()))?;
            }
            let Some(transfer) = self.transfers.get_mut(index) else { continue };
            transfer.bar.show(status.stats.have_bytes, remark(&status));
            // The event says so first, unless so many came that it was lost.
            if std::mem::replace(&mut transfer.seen_complete, status.complete) && status.complete {
                self.completed(index)?;
            }
            self.look(index)?;
        }
        Ok(())
    }

    /// Sees whether a torrent has done its part, or never will.
    fn look(&mut self, index: usize) -> Result<(), Failure> {
        if !self.is_running(index) {
            return Ok(());
        }
        let status = self.status(index);
        let completed = self.transfers.get(index).and_then(|transfer| transfer.completed);
        let served = match (self.until, completed) {
            (Until::Stopped, _) | (_, None) => false,
            (Until::Complete, Some(_)) => true,
            (Until::Served { time, ratio }, Some(completed)) => {
                time.is_some_and(|time| completed.elapsed() >= time)
                    || ratio.is_some_and(|ratio| summary::ratio(&status.stats) >= ratio)
            }
        };
        match () {
            () if served => self.end(index, Exit::Done),
            () if status.state.has_ended() => {
                self.complain(index, status.error.as_deref().unwrap_or("ended by itself"))?;
                self.end(index, exit_of(status.state))
            }
            () if self.is_hopeless(index, &status) => {
                let given = text::duration(self.give_up.unwrap_or_default());
                let (why, exit) = match (status.state, &status.error) {
                    (State::Blocked, Some(error)) => (error.clone(), Exit::Disk),
                    _ => (peers(&status.stats), Exit::NoPeers),
                };
                self.complain(index, &format!("gave up: nothing came for {given} ({why})"))?;
                self.end(index, exit)
            }
            () => Ok(()),
        }
    }

    /// Whether nothing has come for as long as the user waits.
    fn is_hopeless(&mut self, index: usize, status: &TorrentStatus) -> bool {
        let (Some(give_up), Some(transfer)) = (self.give_up, self.transfers.get_mut(index)) else { return false };
        let waits = matches!(status.state, State::Downloading | State::Blocked) && !status.complete;
        if !waits || status.stats.downloaded != transfer.received.1 {
            transfer.received = (Instant::now(), status.stats.downloaded);
        }
        transfer.received.0.elapsed() >= give_up
    }

    /// What is on disk has been looked at: a seed with holes is worth a word, one of nothing but holes is an error.
    fn checked(&mut self, index: usize) -> Result<(), Failure> {
        let stats = self.status(index).stats;
        let missing = stats.total_pieces.saturating_sub(stats.have_pieces);
        if self.until != Until::Stopped || missing == 0 || self.status(index).complete {
            return Ok(());
        }
        let pieces = text::count(u64::from(missing), "piece");
        if stats.have_pieces == 0 {
            self.complain(index, &format!("all {pieces} missing or wrong: this is not the content of the metainfo"))?;
            return self.end(index, Exit::Mismatch);
        }
        self.complain(index, &format!("{pieces} of {} missing or wrong; serving the others", stats.total_pieces))
    }

    /// Everything is there. Told once, and only if anything had to come.
    fn completed(&mut self, index: usize) -> Result<(), Failure> {
        let Some(transfer) = self.transfers.get_mut(index).filter(|transfer| transfer.completed.is_none()) else {
            return Ok(());
        };
        transfer.completed = Some(Instant::now());
        let (stats, time) = (transfer.status().stats, transfer.started.elapsed());
        let mean_rate = text::mean_rate(stats.downloaded, time);
        let (downloaded, wasted, time_s) = (stats.downloaded, stats.wasted, time.as_secs_f64());
        self.tell(Some(index), What::Completed { downloaded, wasted, time_s, mean_rate })
    }

    /// A torrent is over while others may go on.
    fn end(&mut self, index: usize, outcome: Exit) -> Result<(), Failure> {
        let Some(transfer) = self.transfers.get_mut(index).filter(|transfer| transfer.outcome.is_none()) else {
            return Ok(());
        };
        transfer.outcome = Some(outcome);
        let torrent = transfer.torrent.clone();
        tokio::spawn(async move { torrent.stop().await });
        self.close(index)
    }

    /// The last words on a torrent.
    fn close(&mut self, index: usize) -> Result<(), Failure> {
        let Some(transfer) = self.transfers.get_mut(index) else { return Ok(()) };
        let stats = transfer.status().stats;
        let time = transfer.completed.unwrap_or_else(Instant::now).saturating_duration_since(transfer.started);
        let whole = transfer.started.elapsed();
        transfer.bar.clear();
        if self.telling == Telling::Text {
            self.screen.note(&summary::closing(&transfer.name, &stats, time, whole));
        }
        self.tell(Some(index), What::Progress((&stats).into()))?;
        let mean_rate = text::mean_rate(stats.downloaded, time);
        let SwarmStats { downloaded, uploaded, wasted, .. } = stats;
        self.tell(Some(index), What::Summary { downloaded, uploaded, wasted, time_s: time.as_secs_f64(), mean_rate })
    }

    /// Tells the user of trouble with one torrent, the same trouble once.
    fn complain(&mut self, index: usize, trouble: &str) -> Result<(), Failure> {
        let Some(transfer) = self.transfers.get_mut(index) else { return Ok(()) };
        if transfer.complaint.as_deref() == Some(trouble) {
            return Ok(());
        }
        transfer.complaint = Some(trouble.to_owned());
        self.screen.note(&format!("swarm: {}: {}", text::printable(&transfer.name), text::printable(trouble)));
        self.tell(Some(index), What::Trouble { message: trouble })
    }

    /// Writes a line of JSON, if the user wants such.
    pub(crate) fn tell(&self, index: Option<usize>, what: What<'_>) -> Result<(), Failure> {
        if self.telling != Telling::Json {
            return Ok(());
        }
        let transfer = index.and_then(|index| self.transfers.get(index));
        output::json(&Line { torrent: transfer.map(|transfer| transfer.torrent.info_hash().to_string()), what })
    }

    /// Tells why a torrent could not be added.
    fn refused(&mut self, name: &str, error: AddError) -> Result<(), Failure> {
        let exit = match error {
            AddError::Duplicate(_) => Exit::Usage,
            AddError::Disk(_) | AddError::Chat(_) => Exit::Disk,
            AddError::Crashed | AddError::Ended => Exit::Other,
        };
        self.refused.push(exit);
        let message = format!("{name}: {error}");
        self.screen.note(&format!("swarm: {}", text::printable(&message)));
        self.tell(None, What::Error { message, exit_code: exit.code() })
    }

    fn name(&self, index: usize) -> &str {
        self.transfers.get(index).map_or("", |transfer| transfer.name.as_str())
    }

    fn status(&self, index: usize) -> TorrentStatus {
        self.transfers.get(index).map(Transfer::status).unwrap_or_default()
    }

    fn is_running(&self, index: usize) -> bool {
        self.transfers.get(index).is_some_and(|transfer| transfer.outcome.is_none())
    }
}

/// How the end of a torrent that its user did not ask for ends the process.
fn exit_of(state: State) -> Exit {
    if state == State::Crashed { Exit::Other } else { Exit::Disk }
}

/// Ends the session and then the process although its loop does not come back: somebody holds our output and reads nothing
/// of it. The loop may hang there as long as it likes, the transfers go on beside it, but a request to stop is obeyed.
async fn end_if_stuck(session: Session, mut stop: Stop) {
    stop.requested().await;
    tokio::time::sleep(STUCK).await;
    session.shutdown().await;
    tokio::time::sleep(LAST_MOMENT).await;
    crate::chat::screen::restore();
    std::process::exit(i32::from(Exit::Interrupted.code()));
}

/// What stands behind the bar.
fn remark(status: &TorrentStatus) -> String {
    match (status.state, &status.error) {
        (State::Checking, _) => "checking".to_owned(),
        (State::Blocked, Some(error)) => text::shortened(error, 100),
        _ => summary::remark(&status.stats),
    }
}

/// How many peers there are, and how many might be.
fn peers(stats: &SwarmStats) -> String {
    format!("{} connected, {} known", text::count(u64::from(stats.peers), "peer"), stats.known_peers)
}

/// Runs a command; with `--json`, a failure is an event too. Whoever closes the pipe wants an end, as by Ctrl-C.
pub(crate) async fn telling_failures(
    arguments: &TransferArguments,
    command: impl Future<Output = Result<Exit, Failure>>,
) -> Result<Exit, Failure> {
    match command.await {
        Err(failure) if failure.exit == Exit::Done => Ok(Exit::Interrupted),
        Err(failure) if arguments.json => {
            let (message, exit_code) = (output::causes(&failure.error), failure.exit.code());
            output::json(&Line { torrent: None, what: What::Error { message, exit_code } })?;
            Err(failure)
        }
        outcome => outcome,
    }
}

/// Waits for a step of the preparation, such as loading a metainfo, unless the user ends it.
pub(crate) async fn unless_stopped<T>(
    stop: &mut Stop,
    step: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    tokio::select! {
        done = step => done,
        () = stop.requested() => Err(interrupted()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_ours_is_not_blamed_on_the_disk() {
        assert_eq!([State::Failed, State::Stopped, State::Crashed].map(exit_of), [Exit::Disk, Exit::Disk, Exit::Other]);
    }
}
