//! What a user holds of a room.

use super::ChatFileError;
use super::events::ChatEvents;
use super::task::Desk;
use crate::disk::DiskError;
use crate::session::{AddError, Inner, Session};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;
use swarm_proto::chat::{ChatError, ChatEvent, ChatMessage, ChatStats, MessageId, Person, PublicKey, RequestId, Room};
use swarm_proto::metainfo::MetainfoError;
use tokio::sync::{broadcast, mpsc, oneshot};

type Work = Box<dyn FnOnce(&mut Room, Instant, &mut Desk) + Send>;

/// Something to be done with the room.
pub(super) struct Request(pub(super) Work);

/// Why something in a chat cannot be done.
#[derive(Debug, thiserror::Error)]
pub enum ChatFailure {
    /// The room refuses.
    #[error(transparent)]
    Chat(#[from] ChatError),
    /// The torrent has ended, and the room with it.
    #[error("the room has ended")]
    Ended,
    /// A file of the chat.
    #[error(transparent)]
    File(#[from] ChatFileError),
    /// What is to be handed over cannot be read.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The user does not want it to be handed over any more.
    #[error("stopped before it was offered")]
    Stopped,
    /// No torrent can be made of it.
    #[error(transparent)]
    Metainfo(#[from] MetainfoError),
    /// What is to be handed over is not any more what it was when it was read.
    #[error("{} has changed while it was read: offer it again when nobody writes to it", .0.display())]
    Changed(PathBuf),
    /// What is to be handed over cannot be served, for this reason.
    #[error("{0}")]
    NotServed(String),
    /// The torrent of an offer cannot be added.
    #[error(transparent)]
    Add(Box<AddError>),
    /// The other side broke off, took the offer back, or described something else.
    #[error("the offer came to nothing: it was taken back, or broke off")]
    OfferLost,
    /// A fault of this program.
    #[error("a fault of this program: please report it with the log")]
    Crashed,
}

/// The way to a room, without the session.
#[derive(Clone)]
pub(crate) struct Requests {
    sender: mpsc::Sender<Request>,
    events: broadcast::WeakSender<ChatEvent>,
    pub(super) key: PublicKey,
    pub(super) addresses: Vec<IpAddr>,
}

impl Requests {
    pub(super) fn new(
        sender: mpsc::Sender<Request>,
        events: &broadcast::Sender<ChatEvent>,
        key: PublicKey,
        addresses: Vec<IpAddr>,
    ) -> Self {
        Self { sender, events: events.downgrade(), key, addresses }
    }
}

/// A room. Got from [`crate::Torrent::chat`]; cheap to clone. Keeps its session alive.
#[derive(Clone)]
pub struct ChatHandle {
    pub(super) requests: Requests,
    session: Arc<Inner>,
}

impl ChatHandle {
    pub(crate) fn new(requests: Requests, session: Arc<Inner>) -> Self {
        Self { requests, session }
    }

    pub(super) fn session(&self) -> Session {
        Session::of(Arc::clone(&self.session))
    }

    /// Everything that happens from now on. A reader that falls more than 2,048 events behind loses the oldest ones
    /// ([`ChatEvent::Missed`]); the engine never waits for it.
    pub fn events(&self) -> ChatEvents {
        // Of a room that has ended nothing is to be heard any more.
        let sender = self.requests.events.upgrade().unwrap_or_else(super::events::channel);
        ChatEvents::new(sender.subscribe())
    }

    /// Our key.
    pub fn key(&self) -> PublicKey {
        self.requests.key
    }

    /// Who we are in the room.
    ///
    /// # Errors
    /// [`ChatFailure::Ended`].
    pub async fn me(&self) -> Result<Person, ChatFailure> {
        self.ask(|room, _, _| room.myself()).await
    }

    /// Everybody who is or was in the room, us first.
    ///
    /// # Errors
    /// [`ChatFailure::Ended`].
    pub async fn people(&self) -> Result<Vec<Person>, ChatFailure> {
        self.ask(|room, _, _| room.people()).await
    }

    /// What is kept of what was said, the oldest first.
    ///
    /// # Errors
    /// [`ChatFailure::Ended`].
    pub async fn history(&self) -> Result<Vec<ChatMessage>, ChatFailure> {
        self.ask(|room, _, _| room.messages()).await
    }

    /// What has been counted, and how many neighbours chat.
    ///
    /// # Errors
    /// [`ChatFailure::Ended`].
    pub async fn stats(&self) -> Result<(ChatStats, usize), ChatFailure> {
        self.ask(|room, _, _| (room.stats(), room.neighbours())).await
    }

    /// Says something to everybody.
    ///
    /// # Errors
    /// As [`Room::say`].
    pub async fn say(&self, text: impl Into<String>) -> Result<MessageId, ChatFailure> {
        let text = text.into();
        Ok(self.ask(move |room, now, _| room.say(now, &text)).await??)
    }

    /// Takes another name.
    ///
    /// # Errors
    /// As [`Room::rename`].
    pub async fn rename(&self, name: impl Into<String>) -> Result<(), ChatFailure> {
        let name = name.into();
        Ok(self.ask(move |room, now, _| room.rename(now, &name)).await??)
    }

    /// Asks somebody for a talk; the answer comes as an event.
    ///
    /// # Errors
    /// As [`Room::call`].
    pub async fn call(&self, to: PublicKey) -> Result<RequestId, ChatFailure> {
        Ok(self.ask(move |room, now, _| room.call(now, to)).await??)
    }

    /// Says yes to exactly this call. For offers see [`ChatHandle::accept_offer`].
    ///
    /// # Errors
    /// As [`Room::accept`].
    pub async fn accept(&self, id: RequestId) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, now, _| room.accept(now, id)).await??)
    }

    /// Says no to exactly this call or offer.
    ///
    /// # Errors
    /// As [`Room::decline`].
    pub async fn decline(&self, id: RequestId) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, now, _| room.decline(now, id)).await??)
    }

    /// Ends a call, or takes back a call or an offer of ours. Files of ours are served to nobody any more unless they were
    /// offered to others too; of files that we fetch stays what is there.
    ///
    /// # Errors
    /// As [`Room::hang_up`].
    pub async fn hang_up(&self, id: RequestId) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, now, _| room.hang_up(now, id)).await??)
    }

    /// Says something in a call; what becomes of it comes as [`ChatEvent::DirectState`] with this number.
    ///
    /// # Errors
    /// As [`Room::tell`].
    pub async fn tell(&self, id: RequestId, text: impl Into<String>) -> Result<u64, ChatFailure> {
        let text = text.into();
        Ok(self.ask(move |room, now, _| room.tell(now, id, &text)).await??)
    }

    /// Nothing of this person is shown or passed on from now on.
    ///
    /// # Errors
    /// As [`Room::block`].
    pub async fn block(&self, key: PublicKey) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, now, _| room.block(now, key)).await??)
    }

    /// The person is listened to again.
    ///
    /// # Errors
    /// As [`Room::unblock`].
    pub async fn unblock(&self, key: PublicKey) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, _, _| room.unblock(key)).await??)
    }

    /// The key was compared, and is right.
    ///
    /// # Errors
    /// As [`Room::trust`].
    pub async fn trust(&self, key: PublicKey) -> Result<(), ChatFailure> {
        Ok(self.ask(move |room, _, _| room.trust(key)).await??)
    }

    /// Says goodbye, for ever. The torrent does so too when it stops.
    ///
    /// # Errors
    /// [`ChatFailure::Ended`].
    pub async fn leave(&self) -> Result<(), ChatFailure> {
        self.ask(|room, now, _| room.leave(now)).await
    }

    /// Has the task do something with the room, and waits for what comes of it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Room, Instant, &mut Desk) -> T + Send + 'static,
    ) -> Result<T, ChatFailure> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |room, now, desk| {
            // Fails only when the asker has gone.
            let _ = answer.send(work(room, now, desk));
        });
        self.requests.sender.send(Request(work)).await.map_err(|_| ChatFailure::Ended)?;
        answered.await.map_err(|_| ChatFailure::Ended)
    }
}

impl fmt::Debug for ChatHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChatHandle").field(&self.requests.key).finish()
    }
}
