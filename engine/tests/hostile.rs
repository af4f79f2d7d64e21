//! Peers that break the rules harm nobody but themselves.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session};
use swarm_engine::AddTorrent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::wire::{HANDSHAKE_LENGTH, Handshake, Message, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection behind both handshakes.
async fn connect(to: &str, info_hash: InfoHash, id: u8) -> TcpStream {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let ours = Handshake { info_hash, peer_id: PeerId([id; 20]), reserved: Reserved::default() };
    stream.write_all(&ours.encode()).await.unwrap();
    stream.read_exact(&mut [0; HANDSHAKE_LENGTH]).await.unwrap();
    stream
}

/// Reads until the other side closes.
async fn wait_closed(mut stream: TcpStream) {
    let mut bytes = [0; 4_096];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_a_rule_is_shut_out_and_the_torrent_goes_on() {
    let sample = Sample::file(1_000_000, 65_536);
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample.write_to(folder.path());
    let (origin, leecher) = (session(), session());
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    let fetch = leecher.add(AddTorrent::fetch(sample.metainfo.clone(), copy.path())).await.unwrap();
    complete(&seed).await.unwrap();
    let address = peer(&leecher).remove(0);
    let hash = sample.metainfo.info_hash();

    let mut no_such_piece = Vec::new();
    Message::Have(1_000).encode_to(&mut no_such_piece);
    let mut block_outside = vec![0, 0, 0x40, 9, 7, 0, 0, 0, 200, 0, 0, 0, 0];
    block_outside.resize(100, 0);
    let attacks = [vec![0xff; 100], no_such_piece, block_outside, vec![0, 0, 0, 1, 4]];
    for (id, attack) in (1..).zip(attacks) {
        let mut stream = connect(&address, hash, id).await;
        stream.write_all(&attack).await.unwrap();
        wait_closed(stream).await;
    }
    // What a client of another protocol says first.
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    wait_closed(stream).await;

    fetch.add_hosts(peer(&origin)).await;
    complete(&fetch).await.unwrap();
    sample.assert_in(copy.path());
}
