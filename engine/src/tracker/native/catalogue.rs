//! The catalogue of a native tracker: a short connection for each question.

use super::wire::{Wire, refused};
use bytes::Bytes;
use std::time::Duration;
use swarm_proto::announce::{AnnounceEvent, TrackerError};
use swarm_proto::id::InfoHash;
use swarm_proto::limits::{NATIVE_FRAME_LENGTH, NATIVE_METAINFO_LENGTH, NATIVE_PEERS};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::native::{
    CatalogueEntry, CatalogueFile, ListQuery, Name, NativeUrl, PeerList, PeerMessage, Publication, Refusal, Request,
    RequestId, Response, Serve, Stop, Token, TorrentKey, TrackerMessage,
};
use tokio::time::timeout;

/// For a question and its answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// For one with a metainfo in it.
const METAINFO_TIMEOUT: Duration = Duration::from_secs(300);

/// A page of the catalogue: entries that match, and what to give as `after` for the next page. A page may be empty and yet
/// not the last one.
///
/// # Errors
/// [`TrackerError`].
pub async fn list(tracker: &NativeUrl, query: ListQuery) -> Result<(Vec<CatalogueEntry>, Option<Name>), TrackerError> {
    Listing::open(tracker, query).await?.page().await
}

/// Pages through the catalogue over one connection, which ends with it.
#[derive(Debug)]
pub struct Listing {
    wire: Wire,
    query: ListQuery,
    next: u32,
    done: bool,
}

impl Listing {
    /// Connects.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub async fn open(tracker: &NativeUrl, query: ListQuery) -> Result<Self, TrackerError> {
        Ok(Self { wire: Wire::open(tracker, NATIVE_FRAME_LENGTH).await?, query, next: 1, done: false })
    }

    /// The entries of the next page, perhaps none; `None` behind the last page.
    ///
    /// # Errors
    /// [`TrackerError`].
    pub async fn next(&mut self) -> Result<Option<Vec<CatalogueEntry>>, TrackerError> {
        if self.done {
            return Ok(None);
        }
        let (entries, next) = self.page().await?;
        // A tracker that does not go forward would be asked for ever.
        self.done = next.is_none() || next <= self.query.after;
        self.query.after = next;
        Ok(Some(entries))
    }

    async fn page(&mut self) -> Result<(Vec<CatalogueEntry>, Option<Name>), TrackerError> {
        let id = RequestId(self.next);
        self.next = self.next.wrapping_add(1);
        let asked = converse(&mut self.wire, id, Request::List(self.query.clone()));
        let answer = timeout(TIMEOUT, asked).await;
        match answer.unwrap_or(Err(TrackerError::TimedOut(TIMEOUT)))? {
            Response::List(mut entries, next) => {
                // A tracker that knows nothing of `contains` lists all.
                entries.retain(|entry| self.query.matches(&entry.name));
                Ok((entries, next))
            }
            _ => Err(odd_answer()),
        }
    }
}

/// Publishes a metainfo under the name in `tracker`, or its own where that has none. Returns the token that owns the name, for
/// replacing and unpublishing it: `token`, if that is given, else one made here.
///
/// # Errors
/// [`TrackerError`]; `Malformed` for a metainfo that is not one or too large, before anything is sent.
pub async fn publish(tracker: &NativeUrl, metainfo: Bytes, token: Option<Token>) -> Result<Token, TrackerError> {
    if metainfo.len() > NATIVE_METAINFO_LENGTH {
        return Err(TrackerError::Malformed(format!("a metainfo over {NATIVE_METAINFO_LENGTH} bytes for a catalogue")));
    }
    let info_hash = info_hash_of(&metainfo)?;
    // Made here and not by the tracker, so that an answer that is lost does not lose the name.
    let token = token.unwrap_or_else(|| Token::new(rand::random()));
    let publication = Publication { name: tracker.name.clone(), metainfo, token: Some(token) };
    let serve = Serve {
        info_hash,
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: AnnounceEvent::Regular,
        num_want: Some(0),
        publication: Some(publication),
    };
    match ask(tracker, Request::Serve(serve), METAINFO_TIMEOUT).await? {
        Response::Serving(serving) => serving.token.ok_or_else(odd_answer),
        _ => Err(odd_answer()),
    }
}

/// Takes the name in `tracker` out of the catalogue.
///
/// # Errors
/// [`TrackerError`]; `Refused` if there is no such name, or it is not this token's.
pub async fn unpublish(tracker: &NativeUrl, token: Token) -> Result<(), TrackerError> {
    match ask(tracker, Request::Stop(Stop::Name(name_in(tracker)?, token)), TIMEOUT).await? {
        Response::Done => Ok(()),
        _ => Err(odd_answer()),
    }
}

/// Peers of a torrent, or of the whole tracker, with the counts of seeds and leechers.
///
/// # Errors
/// [`TrackerError`].
pub async fn peers(tracker: &NativeUrl, info_hash: Option<InfoHash>) -> Result<PeerList, TrackerError> {
    let num_want = u32::try_from(NATIVE_PEERS).ok();
    match ask(tracker, Request::Peers { info_hash, num_want }, TIMEOUT).await? {
        Response::Peers(list) => Ok(list),
        _ => Err(odd_answer()),
    }
}

/// The entry with the name in `tracker`: its metainfo, which has been checked to be of the torrent that the entry tells, and some
/// of its peers.
///
/// # Errors
/// [`TrackerError`]; `Refused` if there is no such name.
pub async fn fetch_file(tracker: &NativeUrl) -> Result<CatalogueFile, TrackerError> {
    let key = TorrentKey::Name(name_in(tracker)?);
    match ask(tracker, Request::File { key, num_want: None }, METAINFO_TIMEOUT).await? {
        Response::File(file) if info_hash_of(&file.metainfo)? == file.entry.info_hash => Ok(file),
        Response::File(_) => Err(TrackerError::Malformed("a metainfo of another torrent".into())),
        _ => Err(odd_answer()),
    }
}

/// The metainfo of the entry with the name in `tracker`, as [`fetch_file`] does.
///
/// # Errors
/// [`TrackerError`]; `Refused` if there is no such name.
pub async fn fetch_metainfo(tracker: &NativeUrl) -> Result<Bytes, TrackerError> {
    fetch_file(tracker).await.map(|file| file.metainfo)
}

/// One question as a reader, who takes no connections.
async fn ask(tracker: &NativeUrl, request: Request, patience: Duration) -> Result<Response, TrackerError> {
    let talk = async {
        let longest = NATIVE_METAINFO_LENGTH + NATIVE_FRAME_LENGTH;
        let mut wire = Wire::open(tracker, longest).await?;
        converse(&mut wire, RequestId(1), request).await
    };
    timeout(patience, talk).await.unwrap_or(Err(TrackerError::TimedOut(patience)))
}

/// One question over a connection that has no other under way.
pub(super) async fn converse(wire: &mut Wire, asked: RequestId, request: Request) -> Result<Response, TrackerError> {
    exchange(wire, asked, request).await?.map_err(refused)
}

/// The same for whoever wants to know why it is refused.
pub(super) async fn exchange(
    wire: &mut Wire,
    asked: RequestId,
    request: Request,
) -> Result<Result<Response, Refusal>, TrackerError> {
    wire.send(&PeerMessage::Request(asked, request)).await?;
    loop {
        match wire.receive().await? {
            TrackerMessage::Response(id, response) if id == asked => return Ok(Ok(response)),
            TrackerMessage::Refused(_, refusal) => return Ok(Err(refusal)),
            TrackerMessage::Ping(ping) => wire.send(&PeerMessage::Acknowledge(ping)).await?,
            TrackerMessage::Push(_) | TrackerMessage::Relayed(_) => {}
            TrackerMessage::Response(..) => return Err(odd_answer()),
        }
    }
}

/// Seeds and leechers of these torrents, in their order.
///
/// # Errors
/// [`TrackerError`].
pub async fn scrape(
    tracker: &NativeUrl,
    hashes: &[InfoHash],
    patience: Duration,
) -> Result<Vec<PeerList>, TrackerError> {
    let talk = async {
        let mut wire = Wire::open(tracker, NATIVE_FRAME_LENGTH).await?;
        let mut lists = Vec::new();
        for (id, &hash) in (1..).zip(hashes) {
            let request = Request::Peers { info_hash: Some(hash), num_want: Some(0) };
            match converse(&mut wire, RequestId(id), request).await? {
                Response::Peers(list) => lists.push(list),
                _ => return Err(odd_answer()),
            }
        }
        Ok(lists)
    };
    timeout(patience, talk).await.unwrap_or(Err(TrackerError::TimedOut(patience)))
}

fn info_hash_of(metainfo: &Bytes) -> Result<InfoHash, TrackerError> {
    let parsed = Metainfo::parse(metainfo.clone());
    parsed.map(|metainfo| metainfo.info_hash()).map_err(|error| TrackerError::Malformed(error.to_string()))
}

fn name_in(tracker: &NativeUrl) -> Result<Name, TrackerError> {
    let missing = || TrackerError::Unsupported(format!("{tracker} without a NAME behind the port"));
    tracker.name.clone().ok_or_else(missing)
}

pub(super) fn odd_answer() -> TrackerError {
    TrackerError::Malformed("an answer to another request".into())
}
