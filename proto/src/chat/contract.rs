//! What goes into a [`Room`](super::Room) and what comes out of it: the whole interface between chat and shell.

use super::identity::{Identity, PublicKey};
use super::text::NameFault;
use crate::id::{InfoHash, PeerKey};
use crate::native::PersonName;
use bytes::Bytes;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// How a room begins.
#[derive(Clone, Debug)]
pub struct RoomConfig {
    /// The torrent whose swarm is the room.
    pub room: InfoHash,
    /// Who we are.
    pub identity: Identity,
    /// How we want to be called.
    pub name: String,
    /// Whom we know already.
    pub book: Vec<BookEntry>,
    /// Whether native trackers are asked whose the names in the room are. They learn from it how people are called.
    pub look_up_names: bool,
    /// Milliseconds since 1970 at the start. From then on the room reckons with the time that it is told.
    pub wall_ms: u64,
}

/// A message of a room: 16 bytes of the hash of its content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(pub [u8; 16]);

/// A call or an offer: 16 random bytes of whoever makes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub [u8; 16]);

macro_rules! hex {
    ($type:ty) => {
        impl fmt::Display for $type {
            /// Lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

hex!(MessageId);
hex!(RequestId);

/// What the shell must do. Taken one at a time from `poll_output()` until it returns nothing, after every input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send this payload as an `sw_chat` message.
    Send {
        /// To whom.
        neighbour: PeerKey,
        /// What.
        payload: Bytes,
    },
    /// Have a tracker hand this on to another of its peers, then call `handle_relay_done`; another comes only then, but for
    /// the goodbyes of `leave`.
    Relay {
        /// To whom.
        to: RelayPeer,
        /// What: at most [`crate::limits::NATIVE_RELAYED_LENGTH`] bytes.
        data: Bytes,
    },
    /// Ask a native tracker for whom a name is registered, then call `handle_name`; another question comes only then.
    LookUp {
        /// `HOST:PORT` of the tracker.
        tracker: Arc<str>,
        /// The name.
        name: PersonName,
    },
    /// The neighbour floods or lies: close its connection.
    Close {
        /// Which.
        neighbour: PeerKey,
    },
    /// Keep this for the next start, in place of what is kept of the key.
    Remember(BookEntry),
    /// What was kept of the key is of no use any more.
    Forget(PublicKey),
    /// Somebody takes files of ours and tells where it takes connections: dial it for this torrent, and say where
    /// ([`super::Room::tried`]). Once for each offer.
    Reach {
        /// Which offer.
        id: RequestId,
        /// Who.
        with: PublicKey,
        /// The torrent that was offered.
        info_hash: InfoHash,
        /// Where.
        reach: Reach,
    },
}

/// A peer as a native tracker tells of it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RelayPeer {
    /// `HOST:PORT` of the tracker.
    pub tracker: Arc<str>,
    /// Where the peer takes connections, as the tracker knows it.
    pub address: SocketAddr,
}

/// What asking a tracker to hand something on came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RelayOutcome {
    /// It was put with what waits for the peer.
    HandedOn,
    /// The tracker has no such peer that takes messages.
    NoSuchPeer,
    /// Too much at once, from us or for the peer.
    TooFast {
        /// The time after which the tracker takes it.
        wait: Duration,
    },
    /// The tracker is not there.
    Failed,
}

/// What a native tracker says of a name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NameOutcome {
    /// It, or a name that looks like it, is registered for this key.
    Registered(PublicKey),
    /// It is registered for nobody.
    Nobody,
    /// There is no answer.
    Failed,
}

/// What is known of a person from one start to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BookEntry {
    /// Who.
    pub key: PublicKey,
    /// The name that belongs to this key and to no other.
    pub name: String,
    /// What the user thinks of it.
    pub trust: Pinned,
}

/// What the user thinks of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Pinned {
    /// Nothing: it was the first with its name.
    #[default]
    FirstSeen,
    /// It was compared, and is right.
    Trusted,
    /// Nothing of it is shown or passed on.
    Blocked,
}

/// What to make of somebody's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// The first with this name; nobody has compared the fingerprint.
    FirstSeen,
    /// The user has compared the fingerprint.
    Trusted,
    /// The name, or one that looks like it, belongs to another key: it was the first with it here, or it is registered for it at
    /// the torrent's tracker.
    NameConflict,
    /// The user wants to hear nothing.
    Blocked,
}

/// Somebody in the room. Names are safe for a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Person {
    /// Who.
    pub key: PublicKey,
    /// The name, with the beginning of the fingerprint behind it where the name belongs to another key.
    pub name: String,
    /// In the room now, as far as we hear.
    pub here: bool,
    /// What to make of the name.
    pub trust: Trust,
    /// A neighbour of ours, as far as we can tell.
    pub direct: bool,
    /// The native tracker of the torrent says that the name is registered for this key. False of names that mix alphabets.
    pub registered: bool,
    /// It is us.
    pub me: bool,
}

/// A message to the room. Name and text are safe for a terminal; the text may have line feeds and tabs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChatMessage {
    /// Its id.
    pub id: MessageId,
    /// Who said it.
    pub author: PublicKey,
    /// The author's name, as in [`Person::name`].
    pub name: String,
    /// What was said.
    pub text: String,
    /// By the author's clock: milliseconds since 1970.
    pub time_ms: u64,
    /// We have said it.
    pub own: bool,
    /// It came behind time: from before we were here, or from behind a partition.
    pub past: bool,
    /// Something that its author had seen before has not come, and is waited for no longer.
    pub gap: bool,
}

/// Files that somebody wants to hand over. The name is safe for a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Name of the file or folder.
    pub name: String,
    /// Bytes of all files.
    pub total_length: u64,
    /// Number of files.
    pub files: u32,
    /// The TCP port on which its sender takes connections.
    pub port: u16,
    /// Where its sender is reached, as far as it knows.
    pub addresses: Vec<IpAddr>,
}

/// Where somebody takes connections.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Reach {
    /// The TCP port.
    pub port: u16,
    /// Addresses, as far as their owner knows them.
    pub addresses: Vec<IpAddr>,
}

/// How far somebody is with files that were offered to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferState {
    /// Looking at what is there already.
    Checking,
    /// There is no connection.
    Waiting,
    /// Connected, and not complete.
    Fetching,
    /// Everything is there, and verified.
    Complete,
    /// It wants no more of them.
    GivenUp,
}

/// Files on their way from one person to another, after an offer was accepted. The name is safe for a terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// The offer.
    pub id: RequestId,
    /// The other side.
    pub with: Person,
    /// We hand them over; otherwise we fetch them.
    pub ours: bool,
    /// Name of the file or folder.
    pub name: String,
    /// Bytes that whoever fetches has, and has verified, as far as it has said so.
    pub have_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// How it ended with files that were accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransferEnd {
    /// Whoever fetched has all of them.
    Complete,
    /// Whoever fetched wants no more of them.
    GivenUp,
    /// Whoever offered them has taken them back.
    Withdrawn,
    /// The other side left the room, or does not answer any more.
    Lost,
}

/// How a call ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallEnd {
    /// The other side hung up, or we did.
    HungUp,
    /// The other side left the room or does not answer any more.
    Lost,
}

/// What becomes of a direct message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryState {
    /// On its way.
    Sent,
    /// The other side has it.
    Delivered,
    /// The other side does not answer; nobody knows whether it has it.
    Failed,
}

/// What a user may want to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChatEvent {
    /// A message to the room: each once, and behind all that its author had seen.
    Message(ChatMessage),
    /// Neighbours have a message of ours: so many by now.
    Heard {
        /// Which.
        id: MessageId,
        /// How many.
        neighbours: u32,
    },
    /// Somebody is in the room.
    Joined(Person),
    /// Somebody is no longer in the room.
    Left {
        /// Who.
        person: Person,
        /// Without a word.
        silent: bool,
    },
    /// Somebody has another name now.
    Renamed {
        /// Who, with the new name.
        person: Person,
        /// The name before.
        before: String,
    },
    /// Somebody said far more than anybody can read, and is not listened to for a while.
    Muted {
        /// Who.
        person: Person,
        /// How many of the messages that were told before are part of that flood: the last ones of this person.
        hidden: u32,
    },
    /// Somebody uses a name that belongs to another key, or one that looks like it: this is another person, or the same with
    /// another key.
    NameChangedKey {
        /// The name.
        name: String,
        /// The name of that other key, where it is another one that looks like this.
        like: Option<String>,
        /// The key to which it belongs.
        pinned: PublicKey,
        /// The key that uses it now.
        now: PublicKey,
    },
    /// Somebody's name is registered for its key at the native tracker of the torrent.
    NameRegistered {
        /// Who.
        person: Person,
        /// `HOST:PORT` of the tracker.
        tracker: Arc<str>,
    },
    /// Somebody, perhaps ourselves, uses a name that is registered for another key at the native tracker of the torrent, or that
    /// looks like one.
    NameOfAnother {
        /// Who.
        person: Person,
        /// The name.
        name: String,
        /// The key for which it is registered.
        owner: PublicKey,
        /// `HOST:PORT` of the tracker.
        tracker: Arc<str>,
    },
    /// The other side's program has our request.
    Ringing {
        /// Which.
        id: RequestId,
    },
    /// Somebody wants to talk; to be answered within 60 s.
    CallRequested {
        /// Which call.
        id: RequestId,
        /// Who.
        from: Person,
    },
    /// The call stands.
    CallEstablished {
        /// Which.
        id: RequestId,
        /// With whom.
        with: Person,
    },
    /// The other side does not want to talk, or is busy.
    CallDeclined {
        /// Which.
        id: RequestId,
        /// Who.
        with: Person,
    },
    /// The call was not answered in time, or taken back.
    CallExpired {
        /// Which.
        id: RequestId,
        /// With whom.
        with: Person,
    },
    /// A call that stood is over.
    CallEnded {
        /// Which.
        id: RequestId,
        /// With whom.
        with: Person,
        /// How.
        why: CallEnd,
    },
    /// Something was said in a call.
    DirectMessage {
        /// In which.
        id: RequestId,
        /// Who.
        from: Person,
        /// Numbers grow within a call and side.
        number: u64,
        /// Safe for a terminal; may have line feeds and tabs.
        text: String,
        /// By the author's clock: milliseconds since 1970.
        time_ms: u64,
    },
    /// What became of something that we said in a call.
    DirectState {
        /// In which.
        id: RequestId,
        /// What.
        number: u64,
        /// What became of it.
        state: DeliveryState,
    },
    /// Somebody offers files; to be answered within 10 minutes.
    OfferReceived {
        /// Which offer.
        id: RequestId,
        /// Who.
        from: Person,
        /// What.
        offer: Offer,
    },
    /// The other side takes the files.
    OfferAccepted {
        /// Which offer.
        id: RequestId,
        /// Who.
        with: Person,
    },
    /// The other side does not want the files.
    OfferDeclined {
        /// Which offer.
        id: RequestId,
        /// Who.
        with: Person,
    },
    /// The offer was not answered in time, taken back, or broke off before the metainfo was here.
    OfferExpired {
        /// Which offer.
        id: RequestId,
        /// With whom.
        with: Person,
    },
    /// The metainfo of files that we took is here, and is the one that was offered.
    OfferReady {
        /// Which offer.
        id: RequestId,
        /// Who offered it.
        from: Person,
        /// What was offered.
        offer: Offer,
        /// The metainfo.
        metainfo: Bytes,
    },
    /// Somebody who takes files of ours says how far it is. The state is none of the last two. Once a second at most.
    OfferProgress {
        /// Which files, and how much of them is there.
        transfer: Transfer,
        /// What the other side is doing.
        state: TransferState,
    },
    /// Files that were accepted do not come, for there is no connection for 20 s. It goes on trying. Once for each offer.
    OfferStuck {
        /// Which files.
        transfer: Transfer,
        /// Where this side has tried to connect to the other one.
        tried: Vec<SocketAddr>,
    },
    /// Nothing has come over the channel of files that were accepted for 30 s, or something comes again. The files
    /// themselves need no channel; it is given up a minute and a half after something went unanswered.
    OfferSilent {
        /// Which files.
        transfer: Transfer,
        /// Whether the other side is silent.
        silent: bool,
    },
    /// It is over with files that were accepted. Once for each offer, and on both sides.
    OfferEnded {
        /// Which files, and how much of them is there.
        transfer: Transfer,
        /// How.
        end: TransferEnd,
    },
    /// The reader was too slow, and has lost so many events. Only the engine says this.
    Missed(u64),
}

/// Why something can't be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChatError {
    /// Nothing to say.
    #[error("there is nothing to say")]
    Empty,
    /// Longer than [`crate::limits::CHAT_TEXT_LENGTH`].
    #[error("a message may have {limit} bytes; this one has {length}: say it in several")]
    TooLong {
        /// Bytes.
        length: usize,
        /// Bytes at most.
        limit: usize,
    },
    /// Others would take it for a flood.
    #[error("so many messages at once would count as a flood: wait {} s", .wait.as_secs().max(1))]
    TooFast {
        /// For how long to wait.
        wait: Duration,
    },
    /// A name that cannot be.
    #[error(transparent)]
    BadName(#[from] NameFault),
    /// Nobody with this key is in the room.
    #[error("this person is not here now")]
    Unknown,
    /// The user has blocked the key.
    #[error("this person is blocked: unblock first")]
    Blocked,
    /// It is one's own key.
    #[error("that is you")]
    Myself,
    /// A call with this person is under way or waits for an answer.
    #[error("a call with this person is under way already")]
    Busy,
    /// Too many calls and offers.
    #[error("too many calls and offers are open: end one first")]
    TooMany,
    /// It was answered, taken back, is too old, or never was.
    #[error("no such request is open: it was answered or taken back, or is too old")]
    NoSuchRequest,
    /// The metainfo is longer than [`crate::limits::CHAT_METAINFO_LENGTH`].
    #[error(
        "some 6,000 files and 10 TB can be handed over in a chat: make one archive of more files, or hand around a metainfo file"
    )]
    MetainfoTooLong,
    /// We have left the room.
    #[error("the room was left")]
    Ended,
}

/// What has been counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChatStats {
    /// Messages to the room that were shown, own ones too.
    pub delivered: u64,
    /// Messages that were shown although something before them is missing.
    pub gaps: u64,
    /// Messages that came again over another way.
    pub duplicates: u64,
    /// Messages that the same neighbour sent again, or that are older than what is remembered.
    pub replayed: u64,
    /// Messages that their author has not signed.
    pub forged: u64,
    /// Frames and messages that are none.
    pub malformed: u64,
    /// Messages of authors, and frames of neighbours, above their rate.
    pub rate_limited: u64,
    /// Messages of blocked people.
    pub blocked: u64,
    /// Messages that nobody had asked for.
    pub unasked: u64,
    /// Authors who are not listened to for a while because they flooded.
    pub muted: u64,
    /// Whole messages that were sent to neighbours, whoever wrote them.
    pub sent: u64,
    /// Of these, messages between two others that were passed on.
    pub relayed_direct: u64,
    /// Frames of any kind that were sent.
    pub frames: u64,
    /// Packets that a tracker has handed on to neighbours behind it.
    pub relayed_packets: u64,
    /// Frames for such neighbours that were dropped, for too much waited.
    pub relay_dropped: u64,
}
