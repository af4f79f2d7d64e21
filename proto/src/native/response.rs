//! What the tracker says.

use super::fields::{FieldError, Fields, printable, required, scan};
use super::frame::{Frame, NativeError, Sender, encode};
use super::name::{Name, Token};
use super::peers::{address_bytes, entries, parse as parse_peers, parse_address};
use super::people::{Person, Relayed};
use super::person::Challenge;
use super::request::{RequestId, parse_name};
use crate::announce::{AnnounceReply, PeerAddress};
use crate::bencode::Item;
use crate::id::InfoHash;
use crate::limits;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A frame from the tracker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TrackerMessage {
    /// The answer to the request with this id.
    Response(RequestId, Response),
    /// `N`: the request with this id is refused; without an id, something that could not be read.
    Refused(Option<RequestId>, Refusal),
    /// `P` without an id, unasked: the peers of a torrent that this connection serves have changed.
    Push(PeerChange),
    /// `A` without an id: to be acknowledged with the same number.
    Ping(u32),
    /// `M` without an id, unasked: what another peer of a torrent has to say.
    Relayed(Relayed),
}

/// A good answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Response {
    /// `Y` to `O`.
    Online(Session),
    /// `Y` to `D`.
    Serving(Serving),
    /// `Y` to `X` and `F`.
    Done,
    /// `P`
    Peers(PeerList),
    /// `F`
    File(CatalogueFile),
    /// `L`: a page of entries, and the name behind which the next page starts, if there is one.
    List(Vec<CatalogueEntry>, Option<Name>),
    /// `A`
    Alive,
    /// `Y` to `R`: the name is the key's, and stays so for so many days without another proof.
    Registered {
        /// Days.
        lifetime_days: u32,
    },
    /// `W`
    Person(Person),
}

/// What holds as long as the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// The version that both sides speak from now on.
    pub version: u16,
    /// The address as the tracker sees it, with the port that was told: what it gives to others.
    pub address: SocketAddr,
    /// Seconds after which every torrent is to be renewed with `D`.
    pub interval_s: u32,
    /// Names the connection in the tracker's log and console.
    pub session: u64,
    /// What proofs of this connection are about, where it was asked for.
    pub challenge: Option<Challenge>,
}

/// The answer to a start or a renewal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Serving {
    /// Seconds until the next `D` for this torrent.
    pub interval_s: u32,
    /// Seeds and leechers in the swarm, and some of their addresses.
    pub list: PeerList,
    /// Owns the name that was published.
    pub token: Option<Token>,
}

/// Counts and addresses of a swarm, or of the whole tracker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerList {
    /// Seeds.
    pub complete: u32,
    /// Leechers.
    pub incomplete: u32,
    /// Addresses, in random order.
    pub peers: Vec<SocketAddr>,
}

/// Who came to a torrent, and who went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerChange {
    /// The torrent.
    pub info_hash: InfoHash,
    /// The counts after the change, and the addresses that are new.
    pub joined: PeerList,
    /// Addresses that are gone.
    pub gone: Vec<SocketAddr>,
}

/// One entry of the catalogue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueEntry {
    /// Its name, unique at this tracker.
    pub name: Name,
    /// Bytes of payload.
    pub size: u64,
    /// The torrent.
    pub info_hash: InfoHash,
    /// Seeds.
    pub complete: u32,
    /// Leechers.
    pub incomplete: u32,
}

/// An entry with everything that a fetch needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatalogueFile {
    /// The entry.
    pub entry: CatalogueEntry,
    /// The metainfo file, byte for byte as published. Its info hash is to be checked, not believed.
    pub metainfo: Bytes,
    /// Some addresses.
    pub peers: Vec<SocketAddr>,
}

/// `N`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people; printable, at most [`limits::NATIVE_TEXT_LENGTH`] characters.
    pub text: String,
    /// Seconds after which to try again; `None` where that would change nothing.
    pub retry_in_s: Option<u32>,
}

/// The reason of a refusal, by number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RefusalCode {
    /// 1: a body that breaks a rule.
    Malformed,
    /// 2: an opcode that this version does not know.
    UnknownOpcode,
    /// 3: a length that the opcode cannot have. The connection closes.
    FrameLength,
    /// 4: no version in common. The connection closes.
    Version,
    /// 5: `O` comes first.
    NotOnline,
    /// 6: `O` comes once.
    AlreadyOnline,
    /// 7: no such torrent or name.
    NotFound,
    /// 8: the name belongs to another token.
    NotOwner,
    /// 9: a metainfo that is not one, or is another torrent's.
    BadMetainfo,
    /// 10: a peer that takes no connections cannot serve.
    NoPort,
    /// 11: a limit of the tracker is reached.
    Full,
    /// 12: a deadline has passed. The connection closes.
    Deadline,
    /// 13: the tracker is closing. The connection closes.
    Closing,
    /// 14: a proof that does not hold, or no challenge was asked for.
    BadProof,
    /// 15: not allowed at this tracker.
    NotAllowed,
    /// A later version's code.
    Other(u16),
}

impl RefusalCode {
    /// The number on the wire.
    pub fn number(self) -> u16 {
        match self {
            Self::Malformed => 1,
            Self::UnknownOpcode => 2,
            Self::FrameLength => 3,
            Self::Version => 4,
            Self::NotOnline => 5,
            Self::AlreadyOnline => 6,
            Self::NotFound => 7,
            Self::NotOwner => 8,
            Self::BadMetainfo => 9,
            Self::NoPort => 10,
            Self::Full => 11,
            Self::Deadline => 12,
            Self::Closing => 13,
            Self::BadProof => 14,
            Self::NotAllowed => 15,
            Self::Other(number) => number,
        }
    }

    /// The code of a number.
    pub fn from_number(number: u16) -> Self {
        match number {
            1 => Self::Malformed,
            2 => Self::UnknownOpcode,
            3 => Self::FrameLength,
            4 => Self::Version,
            5 => Self::NotOnline,
            6 => Self::AlreadyOnline,
            7 => Self::NotFound,
            8 => Self::NotOwner,
            9 => Self::BadMetainfo,
            10 => Self::NoPort,
            11 => Self::Full,
            12 => Self::Deadline,
            13 => Self::Closing,
            14 => Self::BadProof,
            15 => Self::NotAllowed,
            other => Self::Other(other),
        }
    }
}

impl Refusal {
    /// A refusal that stands; the text is made printable and cut.
    pub fn new(code: RefusalCode, text: &str) -> Self {
        Self { code, text: printable(text), retry_in_s: None }
    }

    /// A refusal of now: the same may work after so many seconds.
    pub fn retry_in(self, seconds: u32) -> Self {
        Self { retry_in_s: Some(seconds), ..self }
    }
}

impl Serving {
    /// The answer in the form that all dialects share; `external_ip` is from the [`Session`].
    pub fn into_announce_reply(self, external_ip: IpAddr) -> AnnounceReply {
        let address = |address| PeerAddress { address, peer_id: None };
        AnnounceReply {
            interval: Duration::from_secs(self.interval_s.into()),
            complete: Some(self.list.complete),
            incomplete: Some(self.list.incomplete),
            peers: self.list.peers.into_iter().map(address).collect(),
            external_ip: Some(external_ip),
            ..AnnounceReply::default()
        }
    }
}

const PEERS: [&str; 2] = ["peers", "peers6"];
const GONE: [&str; 2] = ["gone", "gone6"];

impl TrackerMessage {
    /// Reads a frame from the tracker.
    ///
    /// # Errors
    /// The rule that it breaks. An unknown opcode may come from a later version and is to be passed over; anything else
    /// means that the tracker cannot be relied on.
    pub fn parse(frame: &Frame<'_>) -> Result<Self, NativeError> {
        if !frame.is_known(Sender::Tracker) {
            return Err(NativeError::unknown_opcode(frame));
        }
        let document = scan(frame.body).map_err(|error| NativeError::malformed(None, &error))?;
        let fields = Fields(document.root());
        let id = fields.request_id().map_err(|error| NativeError::malformed(None, &error))?;
        let message = match (frame.opcode, id) {
            (b'Y', Some(id)) => parse_yes(fields).map(|response| Self::Response(id, response)),
            (b'P', Some(id)) => parse_list(fields).map(|list| Self::Response(id, Response::Peers(list))),
            (b'F', Some(id)) => parse_file(fields).map(|file| Self::Response(id, Response::File(file))),
            (b'L', Some(id)) => parse_page(fields).map(|response| Self::Response(id, response)),
            (b'A', Some(id)) => Ok(Self::Response(id, Response::Alive)),
            (b'W', Some(id)) => Person::parse(fields).map(|person| Self::Response(id, Response::Person(person))),
            (b'M', None) => Relayed::parse(fields, "from").map(Self::Relayed),
            (b'N', id) => parse_refusal(fields).map(|refusal| Self::Refused(id, refusal)),
            (b'P', None) => parse_change(fields).map(Self::Push),
            (b'A', None) => fields.number("ping").and_then(|ping| required("ping", ping)).map(Self::Ping),
            (b'Y' | b'F' | b'L' | b'W', None) => Err(FieldError::Missing("id")),
            _ => return Err(NativeError::unknown_opcode(frame)),
        };
        message.map_err(|error| NativeError::malformed(id, &error))
    }

    /// The bytes of the frame.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Response(id, response) => response.encode(*id),
            Self::Refused(id, refusal) => {
                let code = refusal.code.number();
                let mut body = vec![("code", code.into()), ("text", printable(&refusal.text).as_str().into())];
                body.extend(id.map(|id| ("id", id.0.into())));
                body.extend(refusal.retry_in_s.map(|seconds| ("retry_in", seconds.into())));
                encode(b'N', body)
            }
            Self::Push(change) => {
                let mut body = vec![("info_hash", Item::from(&change.info_hash.0[..]))];
                body.extend(list_entries(&change.joined));
                body.extend(entries(GONE, &change.gone));
                encode(b'P', body)
            }
            Self::Ping(ping) => encode(b'A', vec![("ping", Item::from(*ping))]),
            Self::Relayed(relayed) => encode(b'M', relayed.entries("from")),
        }
    }
}

impl Response {
    fn encode(&self, id: RequestId) -> Vec<u8> {
        let mut body = vec![("id", Item::from(id.0))];
        let opcode = match self {
            Self::Online(session) => {
                body.push(("version", session.version.into()));
                body.push(("address", Item::Bytes(address_bytes(session.address))));
                body.push(("interval", session.interval_s.into()));
                body.push(("session", Item::from(&session.session.to_be_bytes()[..])));
                body.extend(session.challenge.map(|challenge| ("challenge", Item::from(&challenge.0[..]))));
                b'Y'
            }
            Self::Serving(serving) => {
                body.push(("interval", serving.interval_s.into()));
                body.extend(list_entries(&serving.list));
                body.extend(serving.token.map(|token| ("token", Item::from(&token.as_bytes()[..]))));
                b'Y'
            }
            Self::Done => b'Y',
            Self::Peers(list) => {
                body.extend(list_entries(list));
                b'P'
            }
            Self::File(file) => {
                body.extend(entry_entries(&file.entry));
                body.push(("metainfo", Item::from(&file.metainfo[..])));
                body.extend(entries(PEERS, &file.peers));
                b'F'
            }
            Self::List(page, next) => {
                let page = page.iter().take(limits::NATIVE_PAGE);
                body.push(("entries", Item::List(page.map(|entry| Item::dictionary(entry_entries(entry))).collect())));
                body.extend(next.as_ref().map(|next| ("next", next.as_str().into())));
                b'L'
            }
            Self::Alive => b'A',
            Self::Registered { lifetime_days } => {
                body.push(("lifetime_days", (*lifetime_days).into()));
                b'Y'
            }
            Self::Person(person) => {
                body.extend(person.entries());
                b'W'
            }
        };
        encode(opcode, body)
    }
}

fn list_entries(list: &PeerList) -> impl Iterator<Item = (&'static str, Item)> + use<> {
    let counts = [("complete", list.complete.into()), ("incomplete", list.incomplete.into())];
    counts.into_iter().chain(entries(PEERS, &list.peers))
}

fn entry_entries(entry: &CatalogueEntry) -> [(&'static str, Item); 5] {
    [
        ("name", entry.name.as_str().into()),
        ("size", entry.size.into()),
        ("info_hash", Item::from(&entry.info_hash.0[..])),
        ("complete", entry.complete.into()),
        ("incomplete", entry.incomplete.into()),
    ]
}

/// Which request a `Y` answers shows in its keys: `session` is in that to `O`, `interval` in that to `D`, `lifetime_days` in
/// that to `R`.
fn parse_yes(fields: Fields<'_>) -> Result<Response, FieldError> {
    let interval_s = fields.number("interval")?;
    if let Some(session) = fields.array("session")? {
        let address = fields.read("address", "6 or 18 bytes", |value| parse_address(value.as_bytes()?))?;
        return Ok(Response::Online(Session {
            version: required("version", fields.number("version")?)?,
            address: required("address", address)?,
            interval_s: required("interval", interval_s)?,
            session: u64::from_be_bytes(session),
            challenge: fields.array("challenge")?.map(Challenge),
        }));
    }
    let Some(interval_s) = interval_s else {
        let lifetime_days = fields.number("lifetime_days")?;
        return Ok(lifetime_days.map_or(Response::Done, |lifetime_days| Response::Registered { lifetime_days }));
    };
    let token = fields.array("token")?.map(Token::new);
    Ok(Response::Serving(Serving { interval_s, list: parse_list(fields)?, token }))
}

fn parse_list(fields: Fields<'_>) -> Result<PeerList, FieldError> {
    Ok(PeerList {
        complete: fields.number("complete")?.unwrap_or(0),
        incomplete: fields.number("incomplete")?.unwrap_or(0),
        peers: parse_peers(fields, PEERS)?,
    })
}

fn parse_change(fields: Fields<'_>) -> Result<PeerChange, FieldError> {
    Ok(PeerChange {
        info_hash: InfoHash(required("info_hash", fields.hash("info_hash")?)?),
        joined: parse_list(fields)?,
        gone: parse_peers(fields, GONE)?,
    })
}

fn parse_entry(fields: Fields<'_>) -> Result<CatalogueEntry, FieldError> {
    Ok(CatalogueEntry {
        name: required("name", parse_name(fields, "name")?)?,
        size: required("size", fields.number("size")?)?,
        info_hash: InfoHash(required("info_hash", fields.hash("info_hash")?)?),
        complete: fields.number("complete")?.unwrap_or(0),
        incomplete: fields.number("incomplete")?.unwrap_or(0),
    })
}

fn parse_file(fields: Fields<'_>) -> Result<CatalogueFile, FieldError> {
    Ok(CatalogueFile {
        entry: parse_entry(fields)?,
        metainfo: Bytes::copy_from_slice(required("metainfo", fields.bytes("metainfo")?)?),
        peers: parse_peers(fields, PEERS)?,
    })
}

fn parse_page(fields: Fields<'_>) -> Result<Response, FieldError> {
    let page = fields.list("entries")?.into_iter().take(limits::NATIVE_PAGE);
    let page = page.map(|entry| parse_entry(Fields(entry))).collect::<Result<_, _>>()?;
    Ok(Response::List(page, parse_name(fields, "next")?))
}

fn parse_refusal(fields: Fields<'_>) -> Result<Refusal, FieldError> {
    let code = RefusalCode::from_number(required("code", fields.number("code")?)?);
    let refusal = Refusal::new(code, fields.text("text")?.unwrap_or_default());
    Ok(Refusal { retry_in_s: fields.number("retry_in")?, ..refusal })
}
