//! A room of the engine, the app, and whoever sits in front of it, brought together.

use super::action::{Action, Outcome, TransferView};
use super::app::App;
use super::json::Json;
use super::pane::{Kind, Pane};
use super::pictures::Wrong;
use super::pictures::viewer::{Report, Viewer};
use super::plain::Plain;
use super::screen::Screen;
use super::work::{self, Fetched, Readings, Room};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::text::{printable_lines, rate};
use crate::render::{output, summary};
use crate::signals::Stop;
use crossterm::event::{Event, KeyCode, KeyModifiers};
use jiff::tz::TimeZone;
use std::collections::HashSet;
use std::io::{BufRead, Read, stdin};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use swarm_engine::{ChatEvents, State};
use swarm_proto::chat::{ChatEvent, MessageId, PublicKey, TransferEnd};
use swarm_proto::id::InfoHash;
use swarm_proto::limits;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

/// How often transfers move on the screen.
const TICK: Duration = Duration::from_millis(500);

/// From one word to a program about what is being read to the next.
const READINGS_EVERY: Duration = Duration::from_secs(1);

/// From one picture of a busy room to the next. Keys are not kept waiting for it.
const FRAME: Duration = Duration::from_millis(40);

/// Actions that wait to be carried out; whoever types faster waits.
const ACTIONS: usize = 64;

/// Lines that wait to be obeyed.
const LINES: usize = 16;

/// How the user sees the room.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Manner {
    /// On the whole terminal.
    Screen,
    /// In lines, on standard output or standard error.
    Plain(Stream),
    /// In objects, on standard output.
    Json,
}

/// Where lines go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stream {
    /// They are the result.
    Output,
    /// They accompany it.
    Error,
}

/// The face of the room, and where what is typed comes from.
enum Face {
    Screen(Box<Screen>),
    Plain { plain: Plain, stream: Stream, lines: mpsc::Receiver<String> },
    Json { json: Json, lines: mpsc::Receiver<String>, next: u64 },
}

/// Something that the user does.
enum Input {
    Terminal(Event),
    Note(String),
    Line(String),
    /// No more of it comes: the terminal is gone.
    Gone,
}

/// A room and its user.
pub(crate) struct Driver {
    app: App,
    face: Face,
    room: Room,
    events: ChatEvents,
    actions: mpsc::Sender<Action>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    fetched: mpsc::UnboundedReceiver<Fetched>,
    transfers: Vec<Fetched>,
    readings: Readings,
    /// Transfers of which the user knows that the disk refuses them.
    blocked: HashSet<InfoHash>,
    /// When programs were told how far they are.
    readings_told: Option<Instant>,
    viewer: Viewer,
    /// Something is to be shown that is not shown yet.
    dirty: bool,
    drawn: Option<Instant>,
    quits: bool,
    /// Messages that were said between the moment at which we began to listen and that at which we asked for the history.
    known: HashSet<MessageId>,
    /// People of whom the same may be said.
    met: HashSet<PublicKey>,
}

impl Driver {
    /// Enters the room.
    pub(crate) async fn new(room: Room, manner: Manner) -> Result<Self, Failure> {
        // Before anything is asked for, so that nothing is missed.
        let events = room.chat.events();
        let (actions, todo) = mpsc::channel(ACTIONS);
        let (done, outcomes) = mpsc::unbounded_channel();
        let (taken, fetched) = mpsc::unbounded_channel();
        let readings = Readings::new(room.clone(), done.clone());
        tokio::spawn(work::carry_out(room.clone(), todo, done, taken));
        let mut app = App::new(&room.title);
        app.pane = Pane::new(TimeZone::system());
        app.tells_fates = manner != Manner::Screen;
        app.listen_port = room.listen_port;
        app.album.graphics = room.graphics.filter(|_| manner == Manner::Screen);
        let face = match manner {
            Manner::Screen => Face::Screen(Box::new(Screen::take()?)),
            Manner::Plain(stream) => Face::Plain { plain: Plain::default(), stream, lines: typed_lines() },
            Manner::Json => {
                let json = Json::new(room.torrent.info_hash().to_string());
                Face::Json { json, lines: typed_lines(), next: 0 }
            }
        };
        let transfers = room.content.iter().cloned().collect();
        Ok(Self {
            app,
            face,
            room,
            events,
            actions,
            outcomes,
            fetched,
            transfers,
            readings,
            blocked: HashSet::new(),
            readings_told: None,
            // Programs look at files themselves.
            viewer: Viewer::new(manner != Manner::Json),
            dirty: true,
            drawn: None,
            quits: false,
            known: HashSet::new(),
            met: HashSet::new(),
        })
    }

    /// Runs until the user leaves, or the room ends.
    pub(crate) async fn run(mut self, stop: &mut Stop) -> Result<(), Failure> {
        self.greet().await?;
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.quits {
            self.app.now_ms = now_ms();
            let late = self.until_next_frame();
            tokio::select! {
                event = self.events.next() => match event {
                    Some(event) => self.take(event).await?,
                    None => break,
                },
                input = self.face.input() => self.obey(input).await?,
                Some(outcome) = self.outcomes.recv() => self.settle(outcome).await?,
                Some(fetched) = self.fetched.recv() => self.fetches(fetched),
                report = self.viewer.next() => self.see(report),
                _ = tick.tick() => self.look()?,
                () = tokio::time::sleep(late), if self.dirty => {}
                () = stop.requested() => break,
            }
            self.dirty = true;
            self.show()?;
        }
        // Nobody waits for what does not answer any more.
        let _left = tokio::time::timeout(Duration::from_secs(1), self.room.chat.leave()).await;
        Ok(())
    }

    /// What has come of looking at a file.
    fn see(&mut self, report: Report) {
        match report {
            Report::Found(found) => self.app.found(found),
            Report::Painted { number, art } => self.app.album.painted(number, art),
        }
    }

    fn until_next_frame(&self) -> Duration {
        self.drawn.map_or(Duration::ZERO, |drawn| FRAME.saturating_sub(drawn.elapsed()))
    }

    /// What was said before we came, and how to get help.
    async fn greet(&mut self) -> Result<(), Failure> {
        self.app.now_ms = now_ms();
        self.refresh().await;
        if let Face::Json { json, .. } = &self.face {
            let me = self.room.chat.me().await.or_exit(Exit::Other)?;
            json.entered(&me, self.room.listen_port)?;
        } else {
            let key = self.room.chat.key().fingerprint();
            self.app.note(Kind::Notice, &format!("your fingerprint is {key}; /help lists the commands"));
            if let Some(hint) = &self.room.hint {
                self.app.note(Kind::Notice, &format!("others come with: {hint}"));
            }
        }
        for person in self.room.chat.people().await.or_exit(Exit::Other)? {
            let key = person.key;
            if person.here && !person.me {
                self.take(ChatEvent::Joined(person)).await?;
                self.met.insert(key);
            }
        }
        for message in self.room.chat.history().await.or_exit(Exit::Other)? {
            let id = message.id;
            self.take(ChatEvent::Message(message)).await?;
            self.known.insert(id);
        }
        self.show()
    }

    /// Whether this was told when we came.
    fn is_known(&mut self, event: &ChatEvent) -> bool {
        match event {
            ChatEvent::Message(message) => self.known.remove(&message.id),
            ChatEvent::Joined(person) => self.met.remove(&person.key),
            ChatEvent::Left { person, .. } => {
                self.met.remove(&person.key);
                false
            }
            _ => false,
        }
    }

    async fn take(&mut self, event: ChatEvent) -> Result<(), Failure> {
        if self.is_known(&event) {
            return Ok(());
        }
        if let ChatEvent::OfferReady { metainfo, .. } = &event {
            self.viewer.accepted(metainfo);
        }
        let changes_people =
            !matches!(event, ChatEvent::Message(_) | ChatEvent::Heard { .. } | ChatEvent::OfferProgress { .. });
        let of_files = matches!(
            event,
            ChatEvent::OfferStuck { .. } | ChatEvent::OfferSilent { .. } | ChatEvent::OfferEnded { .. }
        );
        // What is over has no number any more.
        if let (Face::Json { json, .. }, true) = (&self.face, of_files) {
            json.event(&event, &self.app)?;
        }
        let failed = self.failure_of(&event);
        let actions = self.app.take(event.clone());
        match &mut self.face {
            Face::Json { next, .. } if of_files => *next = self.app.pane.next_number(),
            Face::Json { json, .. } => json.event(&event, &self.app)?,
            _ => {}
        }
        if let ChatEvent::OfferEnded { transfer, end: TransferEnd::GivenUp | TransferEnd::Withdrawn } = &event {
            self.transfers.iter_mut().filter(|it| it.offer == Some(transfer.id)).for_each(|it| it.told = true);
        }
        if let Some(failed) = failed {
            self.app.note(Kind::Failure, &failed);
        }
        if changes_people {
            self.refresh().await;
        }
        self.perform(actions).await
    }

    /// Why files that we fetch are given up, if it was not the user who did.
    fn failure_of(&self, event: &ChatEvent) -> Option<String> {
        let ChatEvent::OfferEnded { transfer, end: TransferEnd::GivenUp } = event else { return None };
        let fetched = self.transfers.iter().find(|it| it.offer == Some(transfer.id))?;
        fetched.torrent.status().error.map(|why| format!("{}: {why}", fetched.name))
    }

    async fn settle(&mut self, outcome: Outcome) -> Result<(), Failure> {
        let actions = self.app.settle(outcome.clone());
        if let Outcome::Offered { number, .. } | Outcome::NotOffered { number, .. } = &outcome {
            self.readings.end(*number);
        }
        if let Outcome::Offered { path, .. } = &outcome {
            self.viewer.offered(path, work::expanded(path));
        }
        if let Face::Json { json, next, .. } = &mut self.face {
            json.outcome(&outcome, &self.app)?;
            *next = self.app.pane.next_number();
        }
        self.refresh().await;
        self.perform(actions).await
    }

    async fn obey(&mut self, input: Input) -> Result<(), Failure> {
        let actions = match input {
            Input::Terminal(Event::Key(key)) => {
                // Whoever sees a torn screen asks for another one.
                if let (Face::Screen(screen), KeyCode::Char('l'), KeyModifiers::CONTROL) =
                    (&mut self.face, key.code, key.modifiers)
                {
                    screen.forget();
                }
                self.drawn = None;
                self.app.key(key)
            }
            Input::Terminal(Event::Paste(text)) => {
                self.app.paste(&text);
                Vec::new()
            }
            Input::Terminal(Event::Resize(..)) => {
                // Where a picture is after that, terminals do not agree.
                if let (Face::Screen(screen), true) = (&mut self.face, self.app.album.is_open()) {
                    screen.forget();
                }
                Vec::new()
            }
            Input::Terminal(_) => Vec::new(),
            Input::Note(note) => {
                self.app.note(Kind::Failure, &note);
                Vec::new()
            }
            Input::Line(line) => self.obey_line(&line)?,
            Input::Gone => vec![Action::Quit],
        };
        self.perform(actions).await
    }

    /// A line from a pipe. What it says to people is no event of its own, but for the list of those who are here.
    fn obey_line(&mut self, line: &str) -> Result<Vec<Action>, Failure> {
        let before = self.app.pane.next_number();
        let actions = self.app.line(line);
        let Face::Json { json, next, .. } = &mut self.face else { return Ok(actions) };
        if line.trim() == "/peers" {
            json.people(&self.app.people)?;
        } else {
            for line in self.app.pane.since(before) {
                let text = line.text.join("\n");
                if line.kind == Kind::Failure { json.failed(&text)? } else { json.done(&text)? }
            }
        }
        *next = self.app.pane.next_number();
        Ok(actions)
    }

    async fn perform(&mut self, actions: Vec<Action>) -> Result<(), Failure> {
        for action in actions {
            match action {
                Action::Quit => self.quits = true,
                Action::Offer { number, to, path } => {
                    self.readings.begin(number, to, path);
                    self.look_at_readings(true)?;
                }
                Action::StopReading(number) => self.readings.stop(number),
                action => self.actions.send(action).await.or_exit(Exit::Other)?,
            }
        }
        Ok(())
    }

    async fn refresh(&mut self) {
        // A room that has ended says so itself.
        if let Ok(people) = self.room.chat.people().await {
            self.app.set_people(people);
        }
    }

    /// Files that were handed over are on their way; or are so again.
    fn fetches(&mut self, fetched: Fetched) {
        self.transfers.retain(|other| other.torrent.info_hash() != fetched.torrent.info_hash());
        self.blocked.remove(&fetched.torrent.info_hash());
        self.transfers.push(fetched);
    }

    /// How far is what is read to be offered. Programs are told once a second, and when there is a new one.
    fn look_at_readings(&mut self, new: bool) -> Result<(), Failure> {
        for (number, progress) in self.readings.progress() {
            self.app.has_read(number, progress);
        }
        let Face::Json { json, .. } = &self.face else { return Ok(()) };
        if new || self.readings_told.is_none_or(|told| told.elapsed() >= READINGS_EVERY) {
            self.readings_told = Some(Instant::now());
            self.app.requests.readings().iter().try_for_each(|reading| json.reading(reading))?;
        }
        Ok(())
    }

    /// Why nothing comes although somebody sends: told once, for the disk is tried again and again.
    fn look_at_disks(&mut self) {
        for fetched in &self.transfers {
            let status = fetched.torrent.status();
            if let (State::Blocked, Some(why)) = (status.state, status.error)
                && self.blocked.insert(fetched.torrent.info_hash())
            {
                self.app.note(Kind::Failure, &format!("{}: {why}; it goes on once that is mended", fetched.name));
            }
        }
    }

    /// Looks at the transfers; what is complete is told once.
    fn look(&mut self) -> Result<(), Failure> {
        self.look_at_readings(false)?;
        self.look_at_disks();
        let mut views = Vec::new();
        for fetched in &mut self.transfers {
            let status = fetched.torrent.status();
            let ended = status.state.has_ended();
            if std::mem::replace(&mut fetched.told, status.complete || ended) {
                // Told before.
            } else if status.complete {
                self.app.note(Kind::Notice, &format!("{} is here, in {}", fetched.name, fetched.folder.display()));
                self.viewer.complete(fetched.torrent.info_hash(), &fetched.folder);
                if let Face::Json { json, .. } = &self.face {
                    json.file(&fetched.name, &fetched.folder)?;
                }
            } else if ended {
                let why = status.error.clone().unwrap_or_else(|| "it was stopped".to_owned());
                self.app.note(Kind::Failure, &format!("{}: {why}", fetched.name));
            }
            let (have_bytes, total_bytes) = (status.stats.have_bytes, status.stats.total_bytes);
            let remark = match status.state {
                State::Downloading => rate(status.stats.download_rate),
                State::Seeding => format!("up {}", rate(status.stats.upload_rate)),
                State::Blocked => "blocked".to_owned(),
                _ => summary::remark(&status.stats),
            };
            views.push(TransferView { name: fetched.name.clone(), have_bytes, total_bytes, remark });
        }
        self.app.transfers = views;
        self.transfers.retain(|it| it.offer.is_none() || !it.torrent.status().state.has_ended());
        if self.viewer.is_stuck() {
            self.app.album.give_up(Wrong::TooSlow);
        }
        Ok(())
    }

    /// Shows what has changed.
    fn show(&mut self) -> Result<(), Failure> {
        match &mut self.face {
            Face::Screen(screen) => {
                if self.dirty && self.drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
                    screen.draw(&mut self.app).or_exit_while(Exit::Other, "terminal")?;
                    (self.dirty, self.drawn) = (false, Some(Instant::now()));
                    self.viewer.follow(&self.app.album, Screen::cell);
                }
                Ok(())
            }
            Face::Plain { plain, stream, .. } => plain.news(&self.app).into_iter().try_for_each(|line| match stream {
                Stream::Output => output::result(&printable_lines(&line)),
                Stream::Error => {
                    output::note(&line);
                    Ok(())
                }
            }),
            Face::Json { json, next, .. } => {
                // Failures that come by themselves, such as of a transfer.
                let news: Vec<(Kind, String)> =
                    self.app.pane.since(*next).map(|line| (line.kind, line.text.join("\n"))).collect();
                *next = self.app.pane.next_number();
                let mut failures = news.into_iter().filter(|(kind, _)| *kind == Kind::Failure);
                failures.try_for_each(|(_, text)| json.failed(&text))
            }
        }
    }
}

impl Face {
    async fn input(&mut self) -> Input {
        let line = match self {
            Self::Screen(screen) => {
                tokio::select! {
                    event = screen.events.recv() => return event.map_or(Input::Gone, Input::Terminal),
                    Some(note) = screen.notes.recv() => return Input::Note(note),
                }
            }
            Self::Plain { lines, .. } | Self::Json { lines, .. } => lines.recv().await,
        };
        match line {
            Some(line) => Input::Line(line),
            // The end of what is typed is not the end of what is heard.
            None => std::future::pending().await,
        }
    }
}

/// The lines of standard input, read by a thread that may wait. Longer ones than can be said are cut.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        let mut input = stdin().lock();
        let limit = limits::CHAT_MESSAGE_LENGTH as u64;
        loop {
            let mut line = Vec::new();
            match input.by_ref().take(limit).read_until(b'\n', &mut line) {
                Ok(read) if read > 0 => {}
                _ => return,
            }
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if sender.blocking_send(text).is_err() {
                return;
            }
        }
    });
    lines
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
