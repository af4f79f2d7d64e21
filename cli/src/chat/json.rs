//! The lines of `--json` for a room: one object a line, whose `event` says what it is. `docs/chat.md` lists them.

use super::action::Outcome;
use super::app::App;
use super::reading::Reading;
use crate::exit::Failure;
use crate::render::output;
use serde::Serialize;
use std::path::Path;
use swarm_proto::chat::{
    CallEnd, ChatEvent, DeliveryState, Person, PublicKey, RequestId, Transfer, TransferEnd, TransferState, Trust,
};

/// One line.
#[derive(Serialize, Debug)]
struct Line<'a> {
    torrent: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

/// Somebody.
#[derive(Serialize, Debug)]
struct Who {
    key: String,
    fingerprint: String,
    name: String,
    here: bool,
    trust: &'static str,
    registered: bool,
    me: bool,
}

/// Files on their way.
#[derive(Serialize, Debug)]
struct Files<'a> {
    request: String,
    number: Option<u32>,
    key: String,
    name: &'a str,
    have_bytes: u64,
    total_bytes: u64,
    state: &'static str,
}

/// What has been read of something.
#[derive(Serialize, Debug)]
struct Read {
    done_bytes: u64,
    total_bytes: Option<u64>,
}

/// What happened.
#[derive(Serialize, Debug)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(clippy::enum_variant_names, reason = "so are the events called, among those of other commands")]
enum What<'a> {
    ChatEntered {
        name: &'a str,
        key: String,
        fingerprint: String,
        listen_port: u16,
    },
    ChatFile {
        name: &'a str,
        folder: String,
    },
    ChatMessage {
        id: String,
        key: String,
        fingerprint: String,
        name: &'a str,
        text: &'a str,
        time_ms: u64,
        own: bool,
        past: bool,
        gap: bool,
    },
    ChatHeard {
        id: String,
        neighbours: u32,
    },
    ChatJoined {
        person: Who,
    },
    ChatLeft {
        person: Who,
        silent: bool,
    },
    ChatRenamed {
        person: Who,
        before: &'a str,
    },
    ChatMuted {
        person: Who,
        hidden: u32,
    },
    ChatNameConflict {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        like: Option<&'a str>,
        pinned: String,
        now: String,
    },
    ChatNameRegistered {
        person: Who,
        tracker: &'a str,
    },
    ChatNameOfAnother {
        person: Who,
        name: &'a str,
        owner: String,
        tracker: &'a str,
    },
    ChatRinging {
        request: String,
    },
    ChatCallRequested {
        request: String,
        number: Option<u32>,
        person: Who,
    },
    ChatCallEstablished {
        request: String,
        number: Option<u32>,
        person: Who,
    },
    ChatCallDeclined {
        request: String,
        person: Who,
    },
    ChatCallExpired {
        request: String,
        person: Who,
    },
    ChatCallEnded {
        request: String,
        person: Who,
        why: &'static str,
    },
    ChatDirect {
        request: String,
        person: Who,
        number: u64,
        text: &'a str,
        time_ms: u64,
    },
    ChatDirectState {
        request: String,
        number: u64,
        state: &'static str,
    },
    ChatOffer {
        request: String,
        number: Option<u32>,
        person: Who,
        info_hash: String,
        name: &'a str,
        total_bytes: u64,
        files: u32,
    },
    ChatOfferAccepted {
        request: String,
        person: Who,
    },
    ChatOfferDeclined {
        request: String,
        person: Who,
    },
    ChatOfferExpired {
        request: String,
        person: Who,
    },
    ChatSending(Files<'a>),
    ChatReceiving(Files<'a>),
    ChatStuck {
        request: String,
        number: Option<u32>,
        key: String,
        name: &'a str,
        sending: bool,
        tried: Vec<String>,
        message: String,
    },
    ChatSilent {
        request: String,
        number: Option<u32>,
        key: String,
        name: &'a str,
        sending: bool,
        silent: bool,
    },
    ChatReading {
        number: u32,
        key: String,
        path: &'a str,
        #[serde(flatten)]
        read: Option<Read>,
        state: &'static str,
    },
    ChatMissed {
        events: u64,
    },
    ChatCalling {
        request: String,
        number: Option<u32>,
        key: String,
    },
    ChatOffering {
        request: String,
        number: Option<u32>,
        key: String,
        path: &'a str,
    },
    ChatTold {
        request: String,
        number: u64,
        text: &'a str,
    },
    ChatPeers {
        people: Vec<Who>,
    },
    ChatDone {
        message: &'a str,
    },
    ChatFailed {
        message: &'a str,
    },
}

/// Writes lines about one room.
#[derive(Debug)]
pub(crate) struct Json {
    torrent: String,
}

impl Json {
    /// About the room of this torrent.
    pub(crate) fn new(torrent: String) -> Self {
        Self { torrent }
    }

    /// We are in the room.
    pub(crate) fn entered(&self, me: &Person, listen_port: u16) -> Result<(), Failure> {
        let (key, fingerprint) = named(&me.key);
        self.tell(What::ChatEntered { name: &me.name, key, fingerprint, listen_port })
    }

    /// Files that were handed over are here.
    pub(crate) fn file(&self, name: &str, folder: &Path) -> Result<(), Failure> {
        self.tell(What::ChatFile { name, folder: folder.to_string_lossy().into_owned() })
    }

    /// Something has happened, and the app knows it.
    pub(crate) fn event(&self, event: &ChatEvent, app: &App) -> Result<(), Failure> {
        What::of(event, app).map_or(Ok(()), |what| self.tell(what))
    }

    /// Something has come of what was asked for, and the app knows it.
    pub(crate) fn outcome(&self, outcome: &Outcome, app: &App) -> Result<(), Failure> {
        let number = |id: &RequestId| app.requests.get(*id).map(|request| request.number);
        self.tell(match outcome {
            Outcome::Called { to, id } => {
                What::ChatCalling { request: id.to_string(), number: number(id), key: to.to_string() }
            }
            Outcome::NotOffered { number, to, path, why } => {
                let state = if why.is_some() { "failed" } else { "stopped" };
                self.tell(What::ChatReading { number: *number, key: to.to_string(), path, read: None, state })?;
                let text = app.pane.since(0).last().map(|line| line.text.join("\n")).unwrap_or_default();
                return if why.is_some() { self.failed(&text) } else { self.done(&text) };
            }
            Outcome::Offered { to, id, path, .. } => {
                What::ChatOffering { request: id.to_string(), number: number(id), key: to.to_string(), path }
            }
            Outcome::Told { id, number, text } => What::ChatTold { request: id.to_string(), number: *number, text },
            Outcome::Closed { text, .. } | Outcome::Fetching { text, .. } | Outcome::Done(text) => {
                What::ChatDone { message: text }
            }
            Outcome::NotCalled { why, .. } | Outcome::Failed(why) => What::ChatFailed { message: why },
        })
    }

    /// So far is what is read to be offered.
    pub(crate) fn reading(&self, reading: &Reading) -> Result<(), Failure> {
        let Reading { number, to, path, progress, .. } = reading;
        let read = Read {
            done_bytes: progress.map_or(0, |progress| progress.done_bytes),
            total_bytes: progress.map(|progress| progress.total_bytes),
        };
        let (key, read) = (to.to_string(), Some(read));
        self.tell(What::ChatReading { number: *number, key, path, read, state: "reading" })
    }

    /// What was typed cannot be done.
    pub(crate) fn failed(&self, message: &str) -> Result<(), Failure> {
        self.tell(What::ChatFailed { message })
    }

    /// Something for people, which has no event of its own.
    pub(crate) fn done(&self, message: &str) -> Result<(), Failure> {
        self.tell(What::ChatDone { message })
    }

    /// Everybody.
    pub(crate) fn people(&self, people: &[Person]) -> Result<(), Failure> {
        self.tell(What::ChatPeers { people: people.iter().map(Who::of).collect() })
    }

    fn tell(&self, what: What<'_>) -> Result<(), Failure> {
        output::json(&Line { torrent: &self.torrent, what })
    }
}

impl Who {
    fn of(person: &Person) -> Self {
        let trust = match person.trust {
            Trust::FirstSeen => "first_seen",
            Trust::Trusted => "trusted",
            Trust::NameConflict => "name_conflict",
            Trust::Blocked => "blocked",
        };
        let (key, fingerprint) = named(&person.key);
        Self {
            key,
            fingerprint,
            name: person.name.clone(),
            here: person.here,
            trust,
            registered: person.registered,
            me: person.me,
        }
    }
}

fn named(key: &PublicKey) -> (String, String) {
    (key.to_string(), key.fingerprint())
}

impl<'a> Files<'a> {
    fn of(transfer: &'a Transfer, number: Option<u32>, state: &'static str) -> Self {
        Self {
            request: transfer.id.to_string(),
            number,
            key: transfer.with.key.to_string(),
            name: &transfer.name,
            have_bytes: transfer.have_bytes,
            total_bytes: transfer.total_bytes,
            state,
        }
    }
}

fn state_name(state: TransferState) -> &'static str {
    match state {
        TransferState::Checking => "checking",
        TransferState::Waiting => "waiting",
        TransferState::Fetching => "fetching",
        TransferState::Complete => "complete",
        TransferState::GivenUp => "given_up",
    }
}

fn end_name(end: TransferEnd) -> &'static str {
    match end {
        TransferEnd::Complete => "complete",
        TransferEnd::GivenUp => "given_up",
        TransferEnd::Withdrawn => "withdrawn",
        TransferEnd::Lost => "lost",
    }
}

impl<'a> What<'a> {
    fn of(event: &'a ChatEvent, app: &App) -> Option<Self> {
        let number = |id: &RequestId| app.requests.get(*id).map(|request| request.number);
        Some(match event {
            ChatEvent::Message(message) => {
                let (key, fingerprint) = named(&message.author);
                let (id, name, text) = (message.id.to_string(), message.name.as_str(), message.text.as_str());
                let (time_ms, own, past, gap) = (message.time_ms, message.own, message.past, message.gap);
                Self::ChatMessage { id, key, fingerprint, name, text, time_ms, own, past, gap }
            }
            ChatEvent::Heard { id, neighbours } => Self::ChatHeard { id: id.to_string(), neighbours: *neighbours },
            ChatEvent::Joined(person) => Self::ChatJoined { person: Who::of(person) },
            ChatEvent::Left { person, silent } => Self::ChatLeft { person: Who::of(person), silent: *silent },
            ChatEvent::Renamed { person, before } => Self::ChatRenamed { person: Who::of(person), before },
            ChatEvent::Muted { person, hidden } => Self::ChatMuted { person: Who::of(person), hidden: *hidden },
            ChatEvent::NameChangedKey { name, like, pinned, now } => {
                let (like, pinned, now) = (like.as_deref(), pinned.to_string(), now.to_string());
                Self::ChatNameConflict { name, like, pinned, now }
            }
            ChatEvent::OfferReceived { id, from, offer } => Self::ChatOffer {
                request: id.to_string(),
                number: number(id),
                person: Who::of(from),
                info_hash: offer.info_hash.to_string(),
                name: &offer.name,
                total_bytes: offer.total_length,
                files: offer.files,
            },
            ChatEvent::OfferReady { .. } => return None,
            ChatEvent::OfferProgress { transfer, state } => {
                Self::ChatSending(Files::of(transfer, number(&transfer.id), state_name(*state)))
            }
            ChatEvent::OfferEnded { transfer, end } => {
                let files = Files::of(transfer, number(&transfer.id), end_name(*end));
                if transfer.ours { Self::ChatSending(files) } else { Self::ChatReceiving(files) }
            }
            ChatEvent::OfferStuck { transfer, tried } => Self::ChatStuck {
                request: transfer.id.to_string(),
                number: number(&transfer.id),
                key: transfer.with.key.to_string(),
                name: &transfer.name,
                sending: transfer.ours,
                tried: tried.iter().map(ToString::to_string).collect(),
                message: app.stuck(transfer, tried),
            },
            ChatEvent::OfferSilent { transfer, silent } => Self::ChatSilent {
                request: transfer.id.to_string(),
                number: number(&transfer.id),
                key: transfer.with.key.to_string(),
                name: &transfer.name,
                sending: transfer.ours,
                silent: *silent,
            },
            ChatEvent::Missed(events) => Self::ChatMissed { events: *events },
            other => return Self::of_call(other, number),
        })
    }

    fn of_call(event: &'a ChatEvent, number: impl Fn(&RequestId) -> Option<u32>) -> Option<Self> {
        Some(match event {
            ChatEvent::Ringing { id } => Self::ChatRinging { request: id.to_string() },
            ChatEvent::CallRequested { id, from } => {
                Self::ChatCallRequested { request: id.to_string(), number: number(id), person: Who::of(from) }
            }
            ChatEvent::CallEstablished { id, with } => {
                Self::ChatCallEstablished { request: id.to_string(), number: number(id), person: Who::of(with) }
            }
            ChatEvent::CallDeclined { id, with } => {
                Self::ChatCallDeclined { request: id.to_string(), person: Who::of(with) }
            }
            ChatEvent::CallExpired { id, with } => {
                Self::ChatCallExpired { request: id.to_string(), person: Who::of(with) }
            }
            ChatEvent::CallEnded { id, with, why } => {
                let why = if *why == CallEnd::HungUp { "hung_up" } else { "lost" };
                Self::ChatCallEnded { request: id.to_string(), person: Who::of(with), why }
            }
            ChatEvent::NameRegistered { person, tracker } => {
                Self::ChatNameRegistered { person: Who::of(person), tracker }
            }
            ChatEvent::NameOfAnother { person, name, owner, tracker } => {
                Self::ChatNameOfAnother { person: Who::of(person), name, owner: owner.to_string(), tracker }
            }
            ChatEvent::DirectMessage { id, from, number, text, time_ms } => Self::ChatDirect {
                request: id.to_string(),
                person: Who::of(from),
                number: *number,
                text,
                time_ms: *time_ms,
            },
            ChatEvent::DirectState { id, number, state } => {
                let state = match state {
                    DeliveryState::Sent => "sent",
                    DeliveryState::Delivered => "delivered",
                    DeliveryState::Failed => "failed",
                };
                Self::ChatDirectState { request: id.to_string(), number: *number, state }
            }
            ChatEvent::OfferAccepted { id, with } => {
                Self::ChatOfferAccepted { request: id.to_string(), person: Who::of(with) }
            }
            ChatEvent::OfferDeclined { id, with } => {
                Self::ChatOfferDeclined { request: id.to_string(), person: Who::of(with) }
            }
            ChatEvent::OfferExpired { id, with } => {
                Self::ChatOfferExpired { request: id.to_string(), person: Who::of(with) }
            }
            _ => return None,
        })
    }
}
