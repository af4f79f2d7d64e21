//! `scrape`: what trackers count of torrents.

use super::source;
use crate::args::tracker::ScrapeArguments;
use crate::exit::{Exit, Failure};
use crate::render::{output, text};
use serde::Serialize;
use std::time::Duration;
use swarm_engine::tracker::{Counts, Trackers};
use swarm_proto::id::InfoHash;

/// For one question and its answer: BEP 15 asks a second time after 15 s.
const PATIENCE: Duration = Duration::from_secs(20);

/// A torrent, and where it is asked for.
struct Asked {
    info_hash: InfoHash,
    name: String,
    trackers: Vec<String>,
}

/// The counts of a torrent as `--json` prints them.
#[derive(Serialize, Debug)]
struct Told<'a> {
    info_hash: String,
    name: &'a str,
    tracker: &'a str,
    seeds: u32,
    leechers: u32,
    downloaded: Option<u32>,
}

/// Asks each tracker for all of its torrents at once. One that answers is enough to end well.
pub(crate) async fn run(arguments: &ScrapeArguments) -> Result<Exit, Failure> {
    let mut torrents = Vec::new();
    for torrent in &arguments.torrents {
        torrents.push(asked(torrent, &arguments.trackers).await?);
    }
    let mut urls: Vec<&String> = torrents.iter().flat_map(|torrent| &torrent.trackers).collect();
    urls.sort_unstable();
    urls.dedup();
    let clients = Trackers::new();
    clients.trust(&arguments.trackers);
    let mut last = None;
    let mut answered = false;
    for url in urls {
        let wanted: Vec<&Asked> = torrents.iter().filter(|torrent| torrent.trackers.contains(url)).collect();
        let hashes: Vec<InfoHash> = wanted.iter().map(|torrent| torrent.info_hash).collect();
        match clients.scrape(url, &hashes, PATIENCE).await {
            Ok(found) => {
                answered = true;
                show(arguments, url, &wanted, &found)?;
            }
            Err(error) => {
                let failure = Failure { exit: Exit::Network, error: anyhow::Error::new(error).context(url.clone()) };
                if let Some(before) = last.replace(failure) {
                    output::failure(&before);
                }
            }
        }
    }
    match last {
        Some(failure) if answered => {
            output::failure(&failure);
            Ok(Exit::Done)
        }
        Some(failure) => Err(failure),
        None => Ok(Exit::Done),
    }
}

async fn asked(torrent: &str, trackers: &[String]) -> Result<Asked, Failure> {
    let asked = match InfoHash::from_hex(torrent) {
        Some(info_hash) => Asked { info_hash, name: info_hash.to_string(), trackers: trackers.to_vec() },
        None => {
            let metainfo = source::load(torrent).await?;
            let own = metainfo.trackers().iter().flatten().cloned();
            let trackers = if trackers.is_empty() { own.collect() } else { trackers.to_vec() };
            Asked { info_hash: metainfo.info_hash(), name: metainfo.name().to_owned(), trackers }
        }
    };
    if asked.trackers.is_empty() {
        let name = text::printable(&asked.name);
        return Err(Failure::new(Exit::Usage, format!("{name}: no tracker is known; name one with --tracker")));
    }
    Ok(asked)
}

fn show(arguments: &ScrapeArguments, tracker: &str, wanted: &[&Asked], found: &[Counts]) -> Result<(), Failure> {
    if !arguments.json {
        output::result(&text::printable(tracker))?;
        output::result(&format!("{:>9} {:>9} {:>10}", "seeds", "leechers", "downloaded"))?;
    }
    for Asked { info_hash, name, .. } in wanted {
        let counts = found.iter().find(|counts| counts.info_hash == *info_hash);
        let (seeds, leechers) = counts.map_or((0, 0), |counts| (counts.complete, counts.incomplete));
        let downloaded = counts.and_then(|counts| counts.downloaded);
        if arguments.json {
            output::json(&Told { info_hash: info_hash.to_string(), name, tracker, seeds, leechers, downloaded })?;
        } else {
            let downloaded = downloaded.map_or("-".to_owned(), |count| count.to_string());
            output::result(&format!("{seeds:>9} {leechers:>9} {downloaded:>10}  {}", text::printable(name)))?;
        }
    }
    Ok(())
}
