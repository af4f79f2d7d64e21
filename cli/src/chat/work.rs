//! What the user wants done is done here, one thing after the other, so that what is said first is heard first.

use super::action::{Action, Outcome};
use super::pictures::terminal::Graphics;
use std::path::PathBuf;
use std::time::Duration;
use swarm_engine::{ChatFailure, ChatHandle, ReadProgress, Reading, Torrent};
use swarm_proto::chat::{ChatError, PublicKey, RequestId};
use tokio::sync::mpsc;

/// A room of the engine, and where files go that are handed over in it.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) chat: ChatHandle,
    pub(crate) torrent: Torrent,
    pub(crate) title: String,
    pub(crate) downloads: PathBuf,
    /// The files of the torrent itself, if they are fetched or served.
    pub(crate) content: Option<Fetched>,
    /// A command by which others come too.
    pub(crate) hint: Option<String>,
    /// How the terminal takes pictures, if it does.
    pub(crate) graphics: Option<Graphics>,
    /// Where we take connections.
    pub(crate) listen_port: u16,
}

/// Files that come or go.
#[derive(Clone)]
pub(crate) struct Fetched {
    pub(crate) torrent: Torrent,
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// The user knows that they are here.
    pub(crate) told: bool,
    /// The offer by which they come.
    pub(crate) offer: Option<RequestId>,
}

type Done = mpsc::UnboundedSender<Outcome>;

/// Carries out actions until there are no more.
pub(crate) async fn carry_out(
    room: Room,
    mut todo: mpsc::Receiver<Action>,
    done: Done,
    fetched: mpsc::UnboundedSender<Fetched>,
) {
    while let Some(action) = todo.recv().await {
        let (room, tell) = (room.clone(), done.clone());
        match action {
            // What reads a disk or waits for others keeps nobody else waiting.
            Action::AcceptOffer { id, files } => drop(tokio::spawn(fetch(room, id, files, tell, fetched.clone()))),
            action => {
                let outcome = carry_out_one(&room, action).await;
                // Nobody is told who has gone.
                let _gone = outcome.map(|outcome| tell.send(outcome));
            }
        }
    }
}

async fn carry_out_one(room: &Room, action: Action) -> Option<Outcome> {
    let chat = &room.chat;
    Some(match action {
        Action::Say(text) => failed(&say(chat, &text).await.err()?),
        Action::Call(to) => match chat.call(to).await {
            Ok(id) => Outcome::Called { to, id },
            Err(error) => Outcome::NotCalled { to, why: error.to_string() },
        },
        Action::Accept(id) => gone(id, chat.accept(id).await.err()?),
        Action::Decline(id) => closed(id, chat.decline(id).await, "you said no"),
        Action::HangUp(id) => closed(id, chat.hang_up(id).await, "you have ended it"),
        Action::Tell { id, text } => match chat.tell(id, text.as_str()).await {
            Ok(number) => Outcome::Told { id, number, text },
            Err(error) => Outcome::Failed(format!("{error}; NOT sent: {text}")),
        },
        Action::Rename(name) => failed(&chat.rename(name).await.err()?),
        Action::Block(key) => {
            judged(chat, key, chat.block(key).await, "is blocked: nothing of this person is shown or passed on").await
        }
        Action::Unblock(key) => judged(chat, key, chat.unblock(key).await, "is no longer blocked").await,
        Action::Trust(key) => {
            judged(chat, key, chat.trust(key).await, "is trusted: the name belongs to this key").await
        }
        Action::Connect(peer) => {
            let text = format!("trying {peer}");
            room.torrent.add_hosts(vec![peer.to_string()]).await;
            Outcome::Done(text)
        }
        // Carried out elsewhere.
        Action::Offer { .. } | Action::StopReading(_) | Action::AcceptOffer { .. } | Action::Quit => return None,
    })
}

/// What the user thinks of somebody now, by name and fingerprint.
async fn judged(chat: &ChatHandle, key: PublicKey, done: Result<(), ChatFailure>, text: &str) -> Outcome {
    if let Err(error) = done {
        return failed(&error);
    }
    let people = chat.people().await.unwrap_or_default();
    let name = people.iter().find(|person| person.key == key).map(|person| person.name.as_str());
    let who = name.map_or_else(|| key.fingerprint(), |name| format!("{name} ({})", key.fingerprint()));
    Outcome::Done(format!("{who} {text}"))
}

/// Says it as soon as nobody takes it for a flood, as when a file is piped in.
async fn say(chat: &ChatHandle, text: &str) -> Result<(), ChatFailure> {
    loop {
        match chat.say(text).await {
            Err(ChatFailure::Chat(ChatError::TooFast { wait })) => {
                tokio::time::sleep(wait.max(Duration::from_millis(10))).await;
            }
            said => return said.map(drop),
        }
    }
}

/// What is read to be offered, beside everything else: neither waits for the other. Ends with whoever holds it.
pub(crate) struct Readings {
    room: Room,
    done: Done,
    open: Vec<(u32, Reading)>,
}

impl Readings {
    pub(crate) fn new(room: Room, done: Done) -> Self {
        Self { room, done, open: Vec::new() }
    }

    /// Reads and offers something.
    pub(crate) fn begin(&mut self, number: u32, to: PublicKey, path: String) {
        let reading = Reading::default();
        self.open.push((number, reading.clone()));
        tokio::spawn(offer(self.room.clone(), (number, to, path), reading, self.done.clone()));
    }

    /// Stops one. What comes of it comes as an outcome, as ever.
    pub(crate) fn stop(&self, number: u32) {
        self.open.iter().filter(|(other, _)| *other == number).for_each(|(_, reading)| reading.stop());
    }

    /// Something has come of one.
    pub(crate) fn end(&mut self, number: u32) {
        self.open.retain(|(other, _)| *other != number);
    }

    /// How far each is, by its number.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (u32, Option<ReadProgress>)> {
        self.open.iter().map(|(number, reading)| (*number, reading.progress()))
    }
}

impl Drop for Readings {
    fn drop(&mut self) {
        self.open.iter().for_each(|(_, reading)| reading.stop());
    }
}

async fn offer(room: Room, (number, to, path): (u32, PublicKey, String), reading: Reading, done: Done) {
    let not = |path, why| Outcome::NotOffered { number, to, path, why };
    let outcome = match room.chat.offer_watched(to, expanded(&path), reading).await {
        Ok(id) => Outcome::Offered { number, to, id, path },
        Err(ChatFailure::Stopped) => not(path, None),
        Err(error) => not(path, Some(error.to_string())),
    };
    let _gone = done.send(outcome);
}

async fn fetch(room: Room, id: RequestId, files: String, done: Done, fetched: mpsc::UnboundedSender<Fetched>) {
    match room.chat.accept_offer(id, room.downloads.clone()).await {
        Ok(torrent) => {
            let text = format!("{files} is being fetched into {}", room.downloads.display());
            let fetch = Fetched { torrent, name: files, folder: room.downloads, told: false, offer: Some(id) };
            let _gone = fetched.send(fetch);
            let _gone = done.send(Outcome::Fetching { id, text });
        }
        Err(error) => {
            let _gone = done.send(gone(id, error));
        }
    }
}

/// `~` as a shell would read it, for here is none.
pub(super) fn expanded(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(path),
    }
}

fn failed(error: &ChatFailure) -> Outcome {
    Outcome::Failed(error.to_string())
}

/// A request of which nothing came is open no longer.
fn gone(id: RequestId, error: ChatFailure) -> Outcome {
    Outcome::Closed { id, text: error.to_string() }
}

fn closed(id: RequestId, done: Result<(), ChatFailure>, text: &str) -> Outcome {
    Outcome::Closed { id, text: done.err().map_or_else(|| text.to_owned(), |error| error.to_string()) }
}
