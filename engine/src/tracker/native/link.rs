//! The task behind one connection to one tracker.
//!
//! Owns what the tracker has been told: the torrents, their last progress, and where their pushes go. Invariant: a torrent is
//! in the table if and only if the tracker has said yes to it and it has not been stopped since; after a break each of them is
//! told again.

use super::relay::Relays;
use super::wire::{Wire, refused};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply, PeerAddress, Reach, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::limits::NATIVE_FRAME_LENGTH;
use swarm_proto::native::{
    NativeUrl, Online, Passkey, PeerMessage, Relayed, Request, RequestId, Response, Serve, Stop, TrackerMessage,
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};

/// Requests that wait for an answer at the same time. Few enough to fit the buffers of both kernels, so that the two sides
/// can't wait for each other to read.
const WINDOW: usize = 64;
/// Silence after which the tracker is held for dead: it asks after 60 s of ours, and answers everything.
const SILENCE: Duration = Duration::from_secs(150);
/// First and last pause before another attempt to connect.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

type Answer = oneshot::Sender<Result<AnnounceReply, TrackerError>>;
type Pushed = mpsc::Sender<Vec<PeerAddress>>;

/// Where a connection goes, and as whom.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Target {
    pub(super) authority: String,
    pub(super) peer_id: PeerId,
    pub(super) port: u16,
    /// Our key there, if we have one.
    pub(super) passkey: Option<Passkey>,
}

impl Target {
    pub(super) fn new(tracker: &NativeUrl, peer_id: PeerId, port: u16) -> Self {
        Self { authority: tracker.authority(), peer_id, port, passkey: tracker.passkey.clone() }
    }

    /// Whether this is another one without its key.
    pub(super) fn is_without_key_of(&self, other: &Self) -> bool {
        self.passkey.is_none() && *self == Self { passkey: None, ..other.clone() }
    }
}

/// One announce on its way.
#[derive(Debug)]
pub(super) struct Command {
    announce: Announce,
    pushed: Pushed,
    answer: Answer,
    /// Whether a connection broke over it already. A connection may have died unnoticed, so each announce gets a second one.
    retried: bool,
}

impl Command {
    pub(super) fn new(announce: Announce, pushed: Pushed, answer: Answer) -> Self {
        Self { announce, pushed, answer, retried: false }
    }
}

/// A message for another peer on its way.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: Relayed,
    pub(super) answer: oneshot::Sender<Result<(), TrackerError>>,
}

#[derive(Debug)]
struct Torrent {
    serve: Serve,
    pushed: Pushed,
}

/// The task's state while there is no connection.
#[derive(Debug)]
pub(super) struct Link {
    target: Target,
    commands: mpsc::Receiver<Command>,
    outgoing: mpsc::Receiver<Outgoing>,
    relays: Relays,
    torrents: HashMap<InfoHash, Torrent>,
    pause: Duration,
    retry_at: Instant,
}

/// How a connection ended.
enum End {
    /// Nobody needs it any more.
    Dropped,
    /// No torrents are left.
    Idle,
    /// It broke; these announces have not been answered.
    Broken(TrackerError, Vec<Command>),
}

impl Link {
    pub(super) fn new(
        target: Target,
        commands: mpsc::Receiver<Command>,
        outgoing: mpsc::Receiver<Outgoing>,
        relays: Relays,
    ) -> Self {
        let (torrents, retry_at) = (HashMap::new(), Instant::now());
        Self { target, commands, outgoing, relays, torrents, pause: FIRST_PAUSE, retry_at }
    }

    /// Runs until all copies of the client are gone.
    pub(super) async fn run(mut self) {
        let mut waiting = Vec::new();
        loop {
            if waiting.is_empty() {
                match self.wait().await {
                    Some(command) => waiting.extend(command),
                    None => return,
                }
            }
            let (error, unanswered) = match self.connect().await {
                Err(error) => (error, std::mem::take(&mut waiting)),
                Ok(talk) => match talk.run(std::mem::take(&mut waiting)).await {
                    End::Dropped => return,
                    End::Idle => continue,
                    End::Broken(error, unanswered) => {
                        let (given_up, again): (Vec<_>, _) = unanswered.into_iter().partition(|one| one.retried);
                        waiting = again.into_iter().map(|one| Command { retried: true, ..one }).collect();
                        (error, given_up)
                    }
                },
            };
            tracing::debug!(tracker = self.target.authority, %error, torrents = self.torrents.len(), "connection lost");
            self.back_off();
            for command in unanswered {
                let _ = command.answer.send(Err(error.clone()));
            }
        }
    }

    /// Waits for an announce, or for the time to connect again. `None` when all copies of the client are gone.
    async fn wait(&mut self) -> Option<Option<Command>> {
        loop {
            self.torrents.retain(|_, torrent| !torrent.pushed.is_closed());
            tokio::select! {
                command = self.commands.recv() => {
                    let command = command?;
                    if command.announce.event != AnnounceEvent::Stopped {
                        return Some(Some(command));
                    }
                    // The end of the connection has stopped it already.
                    self.torrents.remove(&command.announce.info_hash);
                    let _ = command.answer.send(Ok(AnnounceReply::default()));
                }
                Some(Outgoing { answer, .. }) = self.outgoing.recv() => {
                    let _ = answer.send(Err(TrackerError::Unreachable("there is no connection to the tracker".into())));
                }
                () = sleep_until(self.retry_at), if !self.torrents.is_empty() => return Some(None),
            }
        }
    }

    async fn connect(&mut self) -> Result<Talk<'_>, TrackerError> {
        let mut wire = Wire::connect(&self.target.authority, NATIVE_FRAME_LENGTH).await?;
        let passkey = self.target.passkey.clone();
        let online = Online { relay: true, passkey, ..Online::new(self.target.peer_id, self.target.port) };
        let session = wire.introduce(online).await?;
        tracing::debug!(tracker = self.target.authority, address = %session.address, "online");
        let external_ip = session.address.ip();
        Ok(Talk { link: self, wire, external_ip, queue: VecDeque::new(), pending: HashMap::new(), next: 1 })
    }

    /// The next attempt comes later than the last one did, and not at the same time as those of everybody else.
    fn back_off(&mut self) {
        self.retry_at = Instant::now() + self.pause.mul_f64(rand::random_range(0.5..1.0));
        self.pause = (self.pause * 2).min(LAST_PAUSE);
    }
}

/// What is done with an answer.
#[derive(Debug)]
enum Pending {
    Announce(Command),
    /// A torrent that is told again after a break; nobody waits.
    Again(InfoHash),
    Stop(Option<Command>),
    Relay(oneshot::Sender<Result<(), TrackerError>>),
}

/// The task's state while there is a connection.
struct Talk<'a> {
    link: &'a mut Link,
    wire: Wire,
    external_ip: IpAddr,
    queue: VecDeque<(Request, Pending)>,
    pending: HashMap<RequestId, Pending>,
    next: u32,
}

impl Talk<'_> {
    async fn run(mut self, commands: Vec<Command>) -> End {
        let announced = |info_hash| commands.iter().any(|command| command.announce.info_hash == info_hash);
        for (&info_hash, torrent) in self.link.torrents.iter().filter(|(info_hash, _)| !announced(**info_hash)) {
            let serve = Serve { event: AnnounceEvent::Regular, num_want: None, ..torrent.serve.clone() };
            self.queue.push_back((Request::Serve(serve), Pending::Again(info_hash)));
        }
        commands.into_iter().for_each(|command| self.take(command));
        match self.talk().await {
            Ok(end) => end,
            Err(error) => {
                let queued = self.queue.into_iter().map(|(_, pending)| pending);
                let unanswered = self.pending.into_values().chain(queued).filter_map(|pending| match pending {
                    Pending::Announce(command) => Some(command),
                    Pending::Stop(Some(command)) => {
                        // The end of the connection stops it as well.
                        let _ = command.answer.send(Ok(AnnounceReply::default()));
                        None
                    }
                    Pending::Again(_) | Pending::Stop(None) | Pending::Relay(_) => None,
                });
                End::Broken(error, unanswered.collect())
            }
        }
    }

    async fn talk(&mut self) -> Result<End, TrackerError> {
        let mut heard = Instant::now();
        loop {
            while self.pending.len() < WINDOW
                && let Some((request, pending)) = self.queue.pop_front()
            {
                self.ask(request, pending).await?;
            }
            if self.pending.is_empty() && self.link.torrents.is_empty() {
                self.ask(Request::Offline, Pending::Stop(None)).await?;
                return Ok(End::Idle);
            }
            tokio::select! {
                message = self.wire.receive() => {
                    heard = Instant::now();
                    self.handle(message?).await?;
                }
                command = self.link.commands.recv() => match command {
                    Some(command) => self.take(command),
                    None => return Ok(End::Dropped),
                },
                Some(Outgoing { message, answer }) = self.link.outgoing.recv() => {
                    self.queue.push_back((Request::Relay(message), Pending::Relay(answer)));
                }
                () = sleep_until(heard + SILENCE) => return Err(TrackerError::TimedOut(SILENCE)),
            }
        }
    }

    fn take(&mut self, command: Command) {
        let info_hash = command.announce.info_hash;
        let asked = if command.announce.event == AnnounceEvent::Stopped {
            // From now on nothing is to be told again, whatever becomes of the answer.
            self.link.torrents.remove(&info_hash);
            (Request::Stop(Stop::Torrent(info_hash)), Pending::Stop(Some(command)))
        } else {
            (Request::Serve(Serve::from_announce(&command.announce)), Pending::Announce(command))
        };
        self.queue.push_back(asked);
    }

    async fn ask(&mut self, request: Request, pending: Pending) -> Result<(), TrackerError> {
        let id = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        self.pending.insert(id, pending);
        self.wire.send(&PeerMessage::Request(id, request)).await
    }

    async fn handle(&mut self, message: TrackerMessage) -> Result<(), TrackerError> {
        match message {
            TrackerMessage::Ping(ping) => return self.wire.send(&PeerMessage::Acknowledge(ping)).await,
            TrackerMessage::Relayed(message) => self.link.relays.hand_on(&self.link.target.authority, message),
            TrackerMessage::Push(change) => self.push(change.info_hash, &change.joined.peers),
            TrackerMessage::Refused(None, refusal) => return Err(refused(refusal)),
            TrackerMessage::Refused(Some(id), refusal) => {
                if let Some(pending) = self.pending.remove(&id) {
                    self.refuse(pending, refused(refusal));
                }
            }
            TrackerMessage::Response(id, response) => {
                if let Some(pending) = self.pending.remove(&id) {
                    return self.answer(pending, response);
                }
            }
        }
        Ok(())
    }

    fn answer(&mut self, pending: Pending, response: Response) -> Result<(), TrackerError> {
        match (pending, response) {
            (Pending::Announce(command), Response::Serving(serving)) => {
                self.link.pause = FIRST_PAUSE;
                let Command { announce, pushed, answer, .. } = command;
                let torrent = Torrent { serve: Serve::from_announce(&announce), pushed };
                self.link.relays.told(&self.link.target.authority, announce.info_hash, &serving.list.peers);
                self.link.torrents.insert(announce.info_hash, torrent);
                let mut reply = serving.into_announce_reply(self.external_ip);
                reply.peers.retain(|peer| is_ours_to_dial(self.wire.reach(), peer.address));
                let _ = answer.send(Ok(reply));
            }
            (Pending::Again(info_hash), Response::Serving(serving)) => {
                self.link.pause = FIRST_PAUSE;
                self.push(info_hash, &serving.list.peers);
            }
            (Pending::Stop(command), Response::Done) => {
                if let Some(command) = command {
                    let _ = command.answer.send(Ok(AnnounceReply::default()));
                }
            }
            (Pending::Relay(answer), Response::Done) => {
                let _ = answer.send(Ok(()));
            }
            (pending, _) => {
                let error = TrackerError::Malformed("an answer to another request".into());
                self.refuse(pending, error.clone());
                return Err(error);
            }
        }
        Ok(())
    }

    fn refuse(&mut self, pending: Pending, error: TrackerError) {
        match pending {
            Pending::Announce(command) => {
                self.link.torrents.remove(&command.announce.info_hash);
                let _ = command.answer.send(Err(error));
            }
            Pending::Again(info_hash) => {
                tracing::debug!(%info_hash, %error, "torrent not taken again");
                self.link.torrents.remove(&info_hash);
            }
            // It is not served, which is what was wanted.
            Pending::Stop(Some(command)) => {
                let _ = command.answer.send(Ok(AnnounceReply::default()));
            }
            Pending::Stop(None) => {}
            Pending::Relay(answer) => {
                let _ = answer.send(Err(error));
            }
        }
    }

    /// Passes peers on to their torrent, as far as it has room; stops one that nobody listens for.
    fn push(&mut self, info_hash: InfoHash, peers: &[SocketAddr]) {
        let Some(torrent) = self.link.torrents.get(&info_hash) else { return };
        self.link.relays.told(&self.link.target.authority, info_hash, peers);
        let reach = self.wire.reach();
        let dialled = peers.iter().filter(|&&address| is_ours_to_dial(reach, address));
        let peers: Vec<_> = dialled.map(|&address| PeerAddress { address, peer_id: None }).collect();
        let closed = if peers.is_empty() {
            torrent.pushed.is_closed()
        } else {
            matches!(torrent.pushed.try_send(peers), Err(TrySendError::Closed(_)))
        };
        if closed {
            self.link.torrents.remove(&info_hash);
            self.queue.push_back((Request::Stop(Stop::Torrent(info_hash)), Pending::Stop(None)));
        }
    }
}

/// Whether we connect to a peer of which a tracker with this reach tells: nobody elsewhere sends us to this machine's own
/// services.
fn is_ours_to_dial(tracker: Reach, peer: SocketAddr) -> bool {
    tracker == Reach::Loopback || Reach::of(peer.ip()) > Reach::Loopback
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracker_elsewhere_cannot_point_at_this_machine() {
        let peer = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (tracker, address, good) in [
            (Reach::Global, "127.0.0.1:22", false),
            (Reach::Private, "[::1]:22", false),
            (Reach::Private, "0.0.0.0:22", false),
            (Reach::Loopback, "127.0.0.1:22", true),
            (Reach::Global, "192.168.1.1:22", true),
            (Reach::Global, "192.0.2.1:22", true),
        ] {
            assert_eq!(is_ours_to_dial(tracker, peer(address)), good, "{tracker:?} {address}");
        }
    }
}
