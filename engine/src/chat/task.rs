//! The task that owns a room.

use super::ChatOptions;
use super::book::{Change, ChatBook};
use super::events;
use super::handle::{ChatFailure, Request, Requests};
use super::relay::{RelayAs, RelayWay};
use super::transfers::{Transfers, reachable};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use swarm_proto::chat::{ChatEvent, Output, PublicKey, Room, RoomConfig};
use swarm_proto::id::{InfoHash, PeerKey};
use tokio::sync::{broadcast, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep_until};

/// Payloads that may wait for the room; more are dropped, and asked for again by whoever misses them.
const INPUTS: usize = 1_024;
/// Payloads that may wait for the torrent. When it is slow, the room waits.
const OUTPUTS: usize = 1_024;
/// Requests of users that may wait.
const REQUESTS: usize = 64;
/// Changes to the list of known people are written together after this time.
const SAVE_AFTER: Duration = Duration::from_millis(500);

/// What the torrent tells the room.
#[derive(Debug)]
pub(crate) enum ChatInput {
    /// A neighbour takes chat messages, and connections at the second address.
    Up(PeerKey, SocketAddr, Option<SocketAddr>),
    /// It is gone.
    Down(PeerKey),
    /// It has sent something.
    Payload(PeerKey, Bytes),
    /// A dial has brought no connection.
    Unreachable(SocketAddr),
    /// The torrent is about to stop.
    Goodbye,
}

/// What the room has the torrent do.
#[derive(Debug)]
pub(crate) enum ChatOutput {
    /// Send this.
    Send(PeerKey, Bytes),
    /// Close the connection of a neighbour that floods or lies.
    Close(PeerKey),
}

/// The torrent's end of the room.
pub(crate) struct ChatPort {
    inputs: mpsc::Sender<ChatInput>,
    pub(crate) outputs: mpsc::Receiver<ChatOutput>,
    /// Neighbours that came or went while the queue was full: these must not be lost.
    backlog: Vec<ChatInput>,
    /// Whether there are neighbours behind trackers.
    relayed: Arc<AtomicBool>,
}

impl ChatPort {
    /// Whether there are neighbours of whom the torrent knows nothing: those behind trackers.
    pub(crate) fn has_relayed(&self) -> bool {
        self.relayed.load(Ordering::Relaxed)
    }

    /// Tells the room something, without waiting.
    pub(crate) fn tell(&mut self, input: ChatInput) {
        self.flush();
        if !self.backlog.is_empty() || self.inputs.capacity() == 0 {
            if !matches!(input, ChatInput::Payload(..) | ChatInput::Unreachable(_)) {
                self.backlog.push(input);
            }
            return;
        }
        // Fails only when the room has ended.
        let _ = self.inputs.try_send(input);
    }

    /// Passes on what had to wait.
    pub(crate) fn flush(&mut self) {
        let room = self.inputs.capacity().min(self.backlog.len());
        for input in self.backlog.drain(..room) {
            let _ = self.inputs.try_send(input);
        }
    }
}

/// A room that was not started yet, and its ends.
pub(crate) struct Chatting {
    pub(crate) port: ChatPort,
    pub(crate) requests: Requests,
    pub(crate) task: ChatTask,
}

/// The task to be.
pub(crate) struct ChatTask {
    room: Room,
    book: Option<PathBuf>,
    changes: Vec<Change>,
    save_at: Option<Instant>,
    saving: Option<JoinHandle<()>>,
    desk: Desk,
    relay: RelayWay,
    relayed: Arc<AtomicBool>,
    inputs: mpsc::Receiver<ChatInput>,
    outputs: mpsc::Sender<ChatOutput>,
    requests: mpsc::Receiver<Request>,
    events: broadcast::Sender<ChatEvent>,
}

/// Makes the room of a torrent, which native trackers know as this peer. Reads the list of known people.
pub(crate) async fn open(room: InfoHash, options: &ChatOptions, own: RelayAs) -> Result<Chatting, ChatFailure> {
    // Before the first announce, so that nobody of whom a tracker tells is missed.
    let relay = RelayWay::new(own, room, options.identity.clone());
    let book = match options.book.clone() {
        Some(path) => spawn_blocking(move || ChatBook::open(&path)).await.map_err(|_| ChatFailure::Crashed)??.entries(),
        None => Vec::new(),
    };
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let config = RoomConfig {
        room,
        identity: options.identity.clone(),
        name: options.name.clone(),
        book,
        look_up_names: options.look_up_names,
        wall_ms: u64::try_from(wall_ms).unwrap_or(u64::MAX),
    };
    let room = Room::new(config, rand::random(), now())?;
    let (input_sender, inputs) = mpsc::channel(INPUTS);
    let (outputs, output_queue) = mpsc::channel(OUTPUTS);
    let (request_sender, requests) = mpsc::channel(REQUESTS);
    let events = events::channel();
    let relayed = Arc::new(AtomicBool::new(false));
    let task = ChatTask {
        room,
        book: options.book.clone(),
        changes: Vec::new(),
        save_at: None,
        saving: None,
        desk: Desk::default(),
        relay,
        relayed: Arc::clone(&relayed),
        inputs,
        outputs,
        requests,
        events: events.clone(),
    };
    let port = ChatPort { inputs: input_sender, outputs: output_queue, backlog: Vec::new(), relayed };
    let requests = Requests::new(request_sender, &events, options.identity.public(), options.addresses.clone());
    Ok(Chatting { port, requests, task })
}

impl ChatTask {
    /// Runs the room until the torrent has ended.
    pub(crate) async fn run(mut self) {
        loop {
            if self.carry_out().await.is_err() {
                break;
            }
            let (due, save_at) = (self.room.poll_timeout().map(Instant::from_std), self.save_at);
            let look_at = self.desk.transfers.look_at();
            tokio::select! {
                input = self.inputs.recv() => match input {
                    Some(input) => self.take_input(input),
                    None => break,
                },
                step = self.relay.next() => {
                    step.tell(&mut self.room, now());
                    self.relayed.store(self.room.relayed_neighbours() > 0, Ordering::Relaxed);
                }
                Some(request) = self.requests.recv() => (request.0)(&mut self.room, now(), &mut self.desk),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.room.handle_timeout(now());
                }
                () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() => {
                    self.desk.transfers.look(&mut self.room, now());
                }
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => self.save().await,
            }
        }
        self.room.leave(now());
        // Nobody is left to send to; what happened is still told, and what is known kept.
        let _ = self.carry_out().await;
        self.save().await;
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
    }

    fn take_input(&mut self, input: ChatInput) {
        match input {
            ChatInput::Up(peer, address, reachable) => {
                self.desk.addresses.insert(peer, address);
                self.room.handle_connected_from(now(), peer, address.ip());
                if let Some(reachable) = reachable {
                    self.room.handle_address(now(), peer, reachable);
                }
            }
            ChatInput::Down(peer) => {
                self.desk.addresses.remove(&peer);
                self.room.handle_closed(now(), peer);
            }
            ChatInput::Payload(peer, payload) => self.room.handle_payload(now(), peer, &payload),
            ChatInput::Unreachable(address) => self.room.handle_unreachable(now(), address),
            ChatInput::Goodbye => self.room.leave(now()),
        }
        #[cfg(debug_assertions)]
        self.room.check_invariants();
    }

    /// Does everything that the room has to say now; an error when the torrent has ended.
    async fn carry_out(&mut self) -> Result<(), ()> {
        let mut ended = false;
        while let Some(output) = self.room.poll_output() {
            match output {
                Output::Send { neighbour, payload } => {
                    ended |= self.outputs.send(ChatOutput::Send(neighbour, payload)).await.is_err();
                }
                Output::Relay { to, data } => self.relay.send(to, data),
                Output::LookUp { tracker, name } => self.relay.look_up(&tracker, name),
                Output::Close { neighbour } => {
                    ended |= self.outputs.send(ChatOutput::Close(neighbour)).await.is_err();
                }
                Output::Remember(entry) => self.change(Change::Remember(entry)),
                Output::Forget(key) => self.change(Change::Forget(key)),
                Output::Reach { id, with, info_hash: _, reach } => {
                    let neighbour = address_of(&self.room, &self.desk.addresses, &with);
                    let addresses = reachable(&reach, neighbour, &self.desk.addresses);
                    self.desk.transfers.dial(id, &addresses);
                    self.room.tried(id, addresses);
                }
            }
        }
        while let Some(event) = self.room.poll_event() {
            self.desk.transfers.take(&event);
            // Fails only when nobody listens.
            let _ = self.events.send(event);
        }
        if ended { Err(()) } else { Ok(()) }
    }

    fn change(&mut self, change: Change) {
        if self.book.is_some() {
            self.changes.push(change);
            self.save_at.get_or_insert_with(|| Instant::now() + SAVE_AFTER);
        }
    }

    /// Writes the changes, one after the other.
    async fn save(&mut self) {
        self.save_at = None;
        let Some(path) = self.book.clone().filter(|_| !self.changes.is_empty()) else { return };
        if let Some(saving) = self.saving.take() {
            let _ = saving.await;
        }
        let changes = std::mem::take(&mut self.changes);
        self.saving = Some(spawn_blocking(move || {
            if let Err(error) = ChatBook::apply(&path, changes) {
                tracing::warn!(%error, "who is known is not remembered");
            }
        }));
    }
}

/// What the task keeps beside the room, for requests.
#[derive(Default)]
pub(super) struct Desk {
    /// Addresses of neighbours.
    pub(super) addresses: Addresses,
    pub(super) transfers: Transfers,
}

/// Addresses of neighbours.
pub(super) type Addresses = HashMap<PeerKey, SocketAddr>;

/// The address of somebody who is a neighbour, as far as one can tell.
pub(super) fn address_of(room: &Room, addresses: &Addresses, key: &PublicKey) -> Option<SocketAddr> {
    room.neighbour_of(key).and_then(|peer| addresses.get(&peer)).copied()
}

/// The time as the room wants it; follows a paused clock in tests.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
