//! What a peer says.

use super::VERSION;
use super::fields::{FieldError, Fields, printable, required, scan};
use super::frame::{Frame, NativeError, Sender, encode};
use super::name::{Name, Token};
use super::passkey::Passkey;
use super::people::{PersonQuery, Registration, Relayed, parse_flag};
use crate::announce::{Announce, AnnounceEvent};
use crate::bencode::{Item, Value};
use crate::id::{InfoHash, PeerId};
use crate::limits;
use bytes::Bytes;

/// Pairs an answer with its request; chosen by the peer, which should not use one twice while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RequestId(pub u32);

/// A frame from a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerMessage {
    /// Something that is answered, under the same id.
    Request(RequestId, Request),
    /// `A` without an id: the answer to the tracker's own `A`; it carries that one's number.
    Acknowledge(u32),
}

/// What a peer asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// `O`: the first request of a connection.
    Online(Online),
    /// `F`: all torrents of this connection stop, and it ends.
    Offline,
    /// `D`: start or renew serving a torrent, publish it, or both.
    Serve(Serve),
    /// `X`: stop serving a torrent, or take a name out of the catalogue.
    Stop(Stop),
    /// `P`: peers of a torrent, or of the whole tracker.
    Peers {
        /// The torrent; the whole tracker where there is none.
        info_hash: Option<InfoHash>,
        /// Peers wanted; the tracker decides where there is none.
        num_want: Option<u32>,
    },
    /// `G`: an entry of the catalogue with its metainfo.
    File {
        /// Which one.
        key: TorrentKey,
        /// Peers wanted with it; the tracker decides where there is none.
        num_want: Option<u32>,
    },
    /// `L`: a page of the catalogue, in the order of the names' bytes.
    List(ListQuery),
    /// `A` with an id: answered at once.
    Alive,
    /// `R`: a name for a key, or no longer.
    Register(Registration),
    /// `W`: who has a name or a key.
    WhoIs(PersonQuery),
    /// `M`: a message for another peer of a torrent, who cannot be reached otherwise.
    Relay(Relayed),
    /// `S`: the tracker shall close.
    Shutdown {
        /// See [`shutdown_proof`](super::shutdown_proof).
        proof: [u8; 32],
    },
}

/// Who a peer is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Online {
    /// How the peer calls itself.
    pub peer_id: PeerId,
    /// The TCP port on which it takes connections; 0 for one that takes none, such as a reader of the catalogue.
    pub port: u16,
    /// The highest version of the protocol that it speaks.
    pub version: u16,
    /// The lowest one.
    pub lowest_version: u16,
    /// Name and version of the program, for the tracker's log; made printable.
    pub client: Option<String>,
    /// It wants a challenge to prove something with.
    pub challenge: bool,
    /// It takes messages that the tracker relays.
    pub relay: bool,
    /// Its key, for a tracker that is private.
    pub passkey: Option<Passkey>,
}

impl Online {
    /// A peer that speaks this version of the protocol, and wants nothing more.
    pub fn new(peer_id: PeerId, port: u16) -> Self {
        let (version, lowest_version) = (VERSION, VERSION);
        Self { peer_id, port, version, lowest_version, client: None, challenge: false, relay: false, passkey: None }
    }
}

/// Which entries of the catalogue are wanted; all of them by default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ListQuery {
    /// Only names that start with this.
    pub prefix: String,
    /// Only names with this in them, in upper or lower case; see [`ListQuery::contains`].
    pub contains: String,
    /// Only names behind this one: the `next` of the page before.
    pub after: Option<Name>,
    /// Entries wanted; the tracker decides where there is none.
    pub limit: Option<u32>,
}

impl ListQuery {
    /// Whether a name starts with the prefix and has the text in it.
    pub fn matches(&self, name: &Name) -> bool {
        name.as_str().starts_with(&self.prefix)
            && (self.contains.is_empty() || fold(name.as_str()).contains(&fold(&self.contains)))
    }
}

/// A text in lower case, character by character: what a search of the catalogue compares. What surrounds a character does not
/// matter, so a part of a text is folded to a part of the folded text.
pub fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Progress of one torrent, as in an announce (BEP 3), and perhaps its publication.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Serve {
    /// The torrent.
    pub info_hash: InfoHash,
    /// Bytes of payload sent in this run.
    pub uploaded: u64,
    /// Bytes of payload received in this run.
    pub downloaded: u64,
    /// Bytes that the peer still lacks; 0 for a seed.
    pub left: u64,
    /// Never [`AnnounceEvent::Stopped`], which is a [`Stop`].
    pub event: AnnounceEvent,
    /// Peers wanted in the answer; the tracker decides where there is none.
    pub num_want: Option<u32>,
    /// What to put into the catalogue.
    pub publication: Option<Publication>,
}

/// A torrent for the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publication {
    /// The name; the one in the metainfo where there is none.
    pub name: Option<Name>,
    /// The metainfo file, at most [`limits::NATIVE_METAINFO_LENGTH`] bytes.
    pub metainfo: Bytes,
    /// For a name that is taken: the token that owns it. For a free one: the token that shall own it.
    pub token: Option<Token>,
}

/// What to stop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Serving a torrent.
    Torrent(InfoHash),
    /// Publishing a name that this token owns.
    Name(Name, Token),
}

/// How an entry of the catalogue is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TorrentKey {
    /// By its name.
    Name(Name),
    /// By its info hash; of several names the first.
    InfoHash(InfoHash),
}

impl Serve {
    /// What an announce says in this dialect. A stopped one is a [`Stop`].
    pub fn from_announce(announce: &Announce) -> Self {
        Self {
            info_hash: announce.info_hash,
            uploaded: announce.uploaded,
            downloaded: announce.downloaded,
            left: announce.left,
            event: announce.event,
            num_want: announce.num_want,
            publication: None,
        }
    }
}

impl PeerMessage {
    /// Reads a frame from a peer.
    ///
    /// # Errors
    /// The rule that it breaks; always with [`Consequence::Answer`](super::Consequence::Answer), since the frame is whole.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, NativeError> {
        if !frame.is_known(Sender::Peer) {
            return Err(NativeError::unknown_opcode(frame));
        }
        let document = scan(frame.body).map_err(|error| NativeError::malformed(None, &error))?;
        let fields = Fields(document.root());
        let id = fields.request_id().map_err(|error| NativeError::malformed(None, &error))?;
        let malformed = |error: FieldError| NativeError::malformed(id, &error);
        let request = match frame.opcode {
            b'O' => parse_online(fields).map(Request::Online),
            b'F' => Ok(Request::Offline),
            b'D' => parse_serve(fields).map(Request::Serve),
            b'X' => parse_stop(fields).map(Request::Stop),
            b'P' => parse_peers(fields),
            b'G' => parse_file(fields),
            b'L' => parse_list(fields),
            b'A' if id.is_none() => {
                let ping = fields.number("ping").and_then(|ping| required("ping", ping)).map_err(malformed)?;
                return Ok(Self::Acknowledge(ping));
            }
            b'A' => Ok(Request::Alive),
            b'R' => Registration::parse(fields).map(Request::Register),
            b'W' => PersonQuery::parse(fields).map(Request::WhoIs),
            b'M' => Relayed::parse(fields, "to").map(Request::Relay),
            b'S' => fields
                .array("proof")
                .and_then(|proof| required("proof", proof))
                .map(|proof| Request::Shutdown { proof }),
            _ => return Err(NativeError::unknown_opcode(frame)),
        };
        let id_there = required("id", id).map_err(malformed)?;
        Ok(Self::Request(id_there, request.map_err(malformed)?))
    }

    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Acknowledge(ping) => encode(b'A', vec![("ping", Item::from(*ping))]),
            Self::Request(id, request) => request.encode(*id),
        }
    }
}

impl Request {
    fn opcode(&self) -> u8 {
        match self {
            Self::Online(_) => b'O',
            Self::Offline => b'F',
            Self::Serve(_) => b'D',
            Self::Stop(_) => b'X',
            Self::Peers { .. } => b'P',
            Self::File { .. } => b'G',
            Self::List(_) => b'L',
            Self::Alive => b'A',
            Self::Register(_) => b'R',
            Self::WhoIs(_) => b'W',
            Self::Relay(_) => b'M',
            Self::Shutdown { .. } => b'S',
        }
    }

    fn encode(&self, id: RequestId) -> Vec<u8> {
        let mut entries = vec![("id", Item::from(id.0))];
        let mut put = |key, value: Option<Item>| entries.extend(value.map(|value| (key, value)));
        let hash = |hash: &InfoHash| Some(Item::from(&hash.0[..]));
        match self {
            Self::Online(online) => encode_online(online, put),
            Self::Serve(serve) => encode_serve(serve, put),
            Self::Stop(Stop::Torrent(info_hash)) => put("info_hash", hash(info_hash)),
            Self::Stop(Stop::Name(name, token)) => {
                put("name", Some(name.as_str().into()));
                put("token", Some(Item::from(&token.as_bytes()[..])));
            }
            Self::Peers { info_hash, num_want } => {
                put("info_hash", info_hash.as_ref().and_then(hash));
                put("num_want", num_want.map(Item::from));
            }
            Self::File { key, num_want } => {
                match key {
                    TorrentKey::Name(name) => put("name", Some(name.as_str().into())),
                    TorrentKey::InfoHash(info_hash) => put("info_hash", hash(info_hash)),
                }
                put("num_want", num_want.map(Item::from));
            }
            Self::List(ListQuery { prefix, contains, after, limit }) => {
                put("prefix", (!prefix.is_empty()).then(|| prefix.as_str().into()));
                put("contains", (!contains.is_empty()).then(|| contains.as_str().into()));
                put("after", after.as_ref().map(|after| after.as_str().into()));
                put("limit", limit.map(Item::from));
            }
            Self::Register(registration) => entries.extend(registration.entries()),
            Self::WhoIs(query) => entries.extend(query.entries()),
            Self::Relay(relayed) => entries.extend(relayed.entries("to")),
            Self::Shutdown { proof } => put("proof", Some(Item::from(&proof[..]))),
            Self::Offline | Self::Alive => {}
        }
        encode(self.opcode(), entries)
    }
}

fn encode_online(online: &Online, mut put: impl FnMut(&'static str, Option<Item>)) {
    put("peer_id", Some(Item::from(&online.peer_id.0[..])));
    put("port", Some(online.port.into()));
    put("version", Some(online.version.into()));
    put("lowest_version", (online.lowest_version != online.version).then(|| online.lowest_version.into()));
    put("client", online.client.as_deref().map(|client| printable(client).as_str().into()));
    put("challenge", online.challenge.then(|| 1_u32.into()));
    put("relay", online.relay.then(|| 1_u32.into()));
    put("passkey", online.passkey.as_ref().map(|passkey| passkey.as_str().into()));
}

fn encode_serve(serve: &Serve, mut put: impl FnMut(&'static str, Option<Item>)) {
    put("info_hash", Some(Item::from(&serve.info_hash.0[..])));
    put("uploaded", Some(serve.uploaded.into()));
    put("downloaded", Some(serve.downloaded.into()));
    put("left", Some(serve.left.into()));
    put(
        "event",
        match serve.event {
            AnnounceEvent::Started => Some("started".into()),
            AnnounceEvent::Completed => Some("completed".into()),
            AnnounceEvent::Regular | AnnounceEvent::Stopped => None,
        },
    );
    put("num_want", serve.num_want.map(Item::from));
    if let Some(publication) = &serve.publication {
        put("name", publication.name.as_ref().map(|name| name.as_str().into()));
        put("metainfo", Some(Item::from(&publication.metainfo[..])));
        put("token", publication.token.map(|token| Item::from(&token.as_bytes()[..])));
    }
}

fn parse_online(fields: Fields<'_>) -> Result<Online, FieldError> {
    let version = required("version", fields.number("version")?)?;
    let expected = format!("1 to {} letters, digits and -_.~", limits::PASSKEY_LENGTH);
    let passkey = |value: Value<'_>| value.as_str()?.parse().ok();
    Ok(Online {
        peer_id: PeerId(required("peer_id", fields.hash("peer_id")?)?),
        port: required("port", fields.number("port")?)?,
        version,
        lowest_version: fields.number("lowest_version")?.unwrap_or(version),
        client: fields.text("client")?.map(printable),
        challenge: parse_flag(fields, "challenge")?,
        relay: parse_flag(fields, "relay")?,
        passkey: fields.read("passkey", &expected, passkey)?,
    })
}

fn parse_serve(fields: Fields<'_>) -> Result<Serve, FieldError> {
    let event = fields.read("event", "started or completed", |value| match value.as_bytes()? {
        b"started" => Some(AnnounceEvent::Started),
        b"completed" => Some(AnnounceEvent::Completed),
        _ => None,
    })?;
    let expected = format!("a string of 1 to {} bytes", limits::NATIVE_METAINFO_LENGTH);
    let fits = |bytes: &&[u8]| (1..=limits::NATIVE_METAINFO_LENGTH).contains(&bytes.len());
    let metainfo = fields.read("metainfo", &expected, |value| value.as_bytes().filter(fits))?;
    let (name, token) = (parse_name(fields, "name")?, fields.array("token")?.map(Token::new));
    let publication = metainfo.map(|metainfo| Publication { name, metainfo: Bytes::copy_from_slice(metainfo), token });
    Ok(Serve {
        info_hash: InfoHash(required("info_hash", fields.hash("info_hash")?)?),
        uploaded: fields.number("uploaded")?.unwrap_or(0),
        downloaded: fields.number("downloaded")?.unwrap_or(0),
        left: required("left", fields.number("left")?)?,
        event: event.unwrap_or_default(),
        num_want: fields.number("num_want")?,
        publication,
    })
}

fn parse_stop(fields: Fields<'_>) -> Result<Stop, FieldError> {
    if let Some(name) = parse_name(fields, "name")? {
        return Ok(Stop::Name(name, Token::new(required("token", fields.array("token")?)?)));
    }
    Ok(Stop::Torrent(InfoHash(required("info_hash", fields.hash("info_hash")?)?)))
}

fn parse_peers(fields: Fields<'_>) -> Result<Request, FieldError> {
    let info_hash = fields.hash("info_hash")?.map(InfoHash);
    Ok(Request::Peers { info_hash, num_want: fields.number("num_want")? })
}

fn parse_file(fields: Fields<'_>) -> Result<Request, FieldError> {
    let key = match parse_name(fields, "name")? {
        Some(name) => TorrentKey::Name(name),
        None => TorrentKey::InfoHash(InfoHash(required("name or info_hash", fields.hash("info_hash")?)?)),
    };
    Ok(Request::File { key, num_want: fields.number("num_want")? })
}

fn parse_list(fields: Fields<'_>) -> Result<Request, FieldError> {
    let expected = format!("UTF-8 text of at most {} bytes", limits::NATIVE_NAME_LENGTH);
    let fits = |text: &&str| text.len() <= limits::NATIVE_NAME_LENGTH;
    let text =
        |key| Ok(fields.read(key, &expected, |value| value.as_str().filter(fits))?.unwrap_or_default().to_owned());
    let (prefix, contains) = (text("prefix")?, text("contains")?);
    Ok(Request::List(ListQuery {
        prefix,
        contains,
        after: parse_name(fields, "after")?,
        limit: fields.number("limit")?,
    }))
}

pub(super) fn parse_name(fields: Fields<'_>, key: &'static str) -> Result<Option<Name>, FieldError> {
    let Some(text) = fields.text(key)? else { return Ok(None) };
    Name::new(text).map(Some).map_err(|error| FieldError::Wrong { key, expected: format!("a name: {error}") })
}
