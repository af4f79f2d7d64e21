//! The smallest useful peer: serves or fetches one torrent without any tracker, and says how fast it was.
//!
//! `peer seed META PATH LISTEN` serves the data at PATH until it is interrupted;
//! `peer fetch META FOLDER HOST:PORT...` fetches from these peers and ends.

use std::error::Error;
use std::time::Instant;
use swarm_engine::{AddTorrent, Listen, Session, SessionConfig};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::swarm::Profile;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, meta, path, addresses @ ..] = arguments.as_slice() else {
        return Err("usage: peer seed META PATH LISTEN | peer fetch META FOLDER HOST:PORT...".into());
    };
    let metainfo = Metainfo::parse(std::fs::read(meta)?)?;
    let profile = Profile::Lan;
    match (command.as_str(), addresses) {
        ("seed", [listen]) => {
            let session = Session::new(SessionConfig {
                listen: Listen::Address(listen.parse()?),
                profile,
                ..Default::default()
            })?;
            let torrent = session.add(AddTorrent::seed(metainfo, path)).await?;
            torrent.wait_complete().await?;
            println!("serving {} on {}", torrent.info_hash(), session.listen_address());
            torrent.wait_ended().await;
        }
        ("fetch", peers) => {
            let session = Session::new(SessionConfig { profile, ..Default::default() })?;
            let begin = Instant::now();
            let torrent = AddTorrent { peers: peers.to_vec(), ..AddTorrent::fetch(metainfo, path) };
            let torrent = session.add(torrent).await?;
            torrent.wait_complete().await?;
            let seconds = begin.elapsed().as_secs_f64();
            let stats = torrent.status().stats;
            println!(
                "{} bytes in {seconds:.2} s, {:.0} MB/s, {} bytes wasted",
                stats.total_bytes,
                stats.total_bytes as f64 / 1e6 / seconds,
                stats.wasted
            );
            session.shutdown().await;
        }
        _ => return Err("usage: peer seed META PATH LISTEN | peer fetch META FOLDER HOST:PORT...".into()),
    }
    Ok(())
}
