//! `ls`, `publish`, `unpublish` and `peers`: the catalogue of a native tracker.

use super::source;
use crate::args::tracker::{ListArguments, PeersArguments, PublishArguments, UnpublishArguments};
use crate::exit::{Exit, Failure, OrExit};
use crate::render::{output, text};
use crate::tokens::Tokens;
use bytes::Bytes;
use serde::Serialize;
use std::net::SocketAddr;
use swarm_engine::tracker::native;
use swarm_proto::announce::TrackerError;
use swarm_proto::id::InfoHash;
use swarm_proto::native::{CatalogueEntry, ListQuery, Name, NativeUrl, PeerList, Token};

/// An entry as `ls --json` prints it.
#[derive(Serialize, Debug)]
struct Listed<'a> {
    name: &'a str,
    length: u64,
    info_hash: String,
    seeds: u32,
    leechers: u32,
}

/// A peer as `peers --json` prints it.
#[derive(Serialize, Debug)]
struct ListedPeer {
    address: SocketAddr,
}

/// Lists the catalogue, page by page.
pub(crate) async fn list(arguments: &ListArguments) -> Result<Exit, Failure> {
    let ListArguments { tracker, prefix, contains, json } = arguments;
    let query = ListQuery { prefix: prefix.clone(), contains: contains.clone(), ..ListQuery::default() };
    let told = |error| failed(tracker, error);
    let mut listing = native::Listing::open(tracker, query).await.map_err(told)?;
    while let Some(entries) = listing.next().await.map_err(told)? {
        for entry in &entries {
            if *json { output::json(&Listed::new(entry))? } else { output::result(&row(entry))? }
        }
    }
    Ok(Exit::Done)
}

/// Publishes a metainfo. The token is kept before the tracker hears of it, so that no answer that is lost loses the name.
pub(crate) async fn publish(arguments: &PublishArguments) -> Result<Exit, Failure> {
    let metainfo = source::load(&arguments.source).await?;
    let name = match (&arguments.name, &arguments.tracker.name) {
        (Some(name), _) => name.clone(),
        (None, Some(name)) => name.clone(),
        (None, None) => Name::new(metainfo.name())
            .or_exit_while(Exit::Usage, "the metainfo's own name does not suit; give one with --name")?,
    };
    let target = NativeUrl { name: Some(name), ..arguments.tracker.clone() };
    publish_as(&target, metainfo.bytes().clone()).await?;
    output::result(&target.to_string()).map(|()| Exit::Done)
}

/// Publishes under the name in `target`, with the token that owns it, or one that shall.
pub(super) async fn publish_as(target: &NativeUrl, metainfo: Bytes) -> Result<(), Failure> {
    let name = target.name.as_ref().map_or("", Name::as_str);
    let tokens = Tokens::of_user()?;
    let known = tokens.recall(&target.authority(), name)?;
    let token = known.unwrap_or_else(|| Token::new(rand::random()));
    tokens.remember(&target.authority(), name, token)?;
    match native::publish(target, metainfo, Some(token)).await {
        Ok(_) => Ok(()),
        Err(error) => {
            if known.is_none() && matches!(error, TrackerError::Refused { .. }) {
                tokens.forget(&target.authority(), name)?;
            }
            Err(failed(target, error))
        }
    }
}

/// Takes a name back that was published from here.
pub(crate) async fn unpublish(arguments: &UnpublishArguments) -> Result<Exit, Failure> {
    take_back(&arguments.file).await.map(|()| Exit::Done)
}

/// Takes the name in `file` back.
pub(super) async fn take_back(file: &NativeUrl) -> Result<(), Failure> {
    let Some(name) = &file.name else {
        return Err(Failure::new(Exit::Usage, format!("{file}: which file? Write {file}/NAME")));
    };
    let tokens = Tokens::of_user()?;
    let Some(token) = tokens.recall(&file.authority(), name.as_str())? else {
        return Err(Failure::new(Exit::Network, format!("{file} was not published from here by this user")));
    };
    native::unpublish(file, token).await.map_err(|error| failed(file, error))?;
    tokens.forget(&file.authority(), name.as_str())
}

/// Lists the peers of one file, or of the whole tracker.
pub(crate) async fn peers(arguments: &PeersArguments) -> Result<Exit, Failure> {
    let list = peers_of(&arguments.tracker).await?;
    for address in list.peers {
        match arguments.json {
            true => output::json(&ListedPeer { address })?,
            false => output::result(&address.to_string())?,
        }
    }
    if !arguments.json {
        output::note(&counts(list.complete, list.incomplete));
    }
    Ok(Exit::Done)
}

/// The peers of the file that is named, in order, or of the whole tracker.
pub(super) async fn peers_of(tracker: &NativeUrl) -> Result<PeerList, Failure> {
    let info_hash = match &tracker.name {
        Some(name) => Some(resolve(tracker, name).await?),
        None => None,
    };
    let mut list = native::peers(tracker, info_hash).await.map_err(|error| failed(tracker, error))?;
    list.peers.sort_unstable();
    Ok(list)
}

/// Seeds and leechers for people.
pub(super) fn counts(seeds: u32, leechers: u32) -> String {
    [(seeds, "seed"), (leechers, "leecher")].map(|(count, noun)| text::count(u64::from(count), noun)).join(", ")
}

/// The torrent that a name stands for.
async fn resolve(tracker: &NativeUrl, name: &Name) -> Result<InfoHash, Failure> {
    // Names are listed in order, so the one that is a prefix of others comes first.
    let query = ListQuery { prefix: name.as_str().to_owned(), limit: Some(1), ..ListQuery::default() };
    let page = native::list(tracker, query).await;
    let (entries, _) = page.map_err(|error| failed(tracker, error))?;
    let entry = entries.first().filter(|entry| entry.name == *name);
    entry.map(|entry| entry.info_hash).ok_or_else(|| Failure::new(Exit::Network, format!("{tracker}: no such file")))
}

impl<'a> Listed<'a> {
    fn new(entry: &'a CatalogueEntry) -> Self {
        Self {
            name: entry.name.as_str(),
            length: entry.size,
            info_hash: entry.info_hash.to_string(),
            seeds: entry.complete,
            leechers: entry.incomplete,
        }
    }
}

/// An entry for people.
pub(super) fn row(entry: &CatalogueEntry) -> String {
    let peers = [(entry.complete, "seed"), (entry.incomplete, "leecher")];
    let [seeds, leechers] = peers.map(|(count, noun)| text::count(u64::from(count), noun));
    format!("{:>9}  {seeds:>8} {leechers:>11}  {}", text::bytes(entry.size), text::printable(entry.name.as_str()))
}

/// A question that was not answered, and to whom.
pub(super) fn failed(tracker: &NativeUrl, error: TrackerError) -> Failure {
    Failure { exit: Exit::Network, error: anyhow::Error::new(error).context(tracker.to_string()) }
}
