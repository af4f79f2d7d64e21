//! Peers that break the rules harm nobody but themselves.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session};
use std::time::Duration;
use swarm_engine::AddTorrent;
use swarm_engine::disk::hash_piece;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder};
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

#[tokio::test(flavor = "multi_thread")]
async fn extensions_that_nobody_agreed_on_change_nothing() {
    let sample = Sample::file(200_000, 65_536);
    let folder = tempfile::tempdir().unwrap();
    sample.write_to(folder.path());
    let (origin, other) = (session(), session());
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    complete(&seed).await.unwrap();
    let (address, hash) = (peer(&origin).remove(0), sample.metainfo.info_hash());
    // Each bit alone, among them that of BitTorrent v2, and all of them.
    let each = (0..64).map(|bit| (1u64 << bit).to_be_bytes());
    for (id, reserved) in (1..).zip(each.chain([[0xff; 8]])) {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        let mut ours = Handshake { info_hash: hash, peer_id: PeerId([id; 20]), reserved: Reserved::default() }.encode();
        ours[20..28].copy_from_slice(&reserved);
        stream.write_all(&ours).await.unwrap();
        stream.read_exact(&mut [0; HANDSHAKE_LENGTH]).await.unwrap();
        // Hash requests, hashes and hash rejects of v2, a port of the DHT, and extension messages unasked for.
        let mut bytes = Vec::new();
        for message in [Message::Unknown(21), Message::Unknown(22), Message::Unknown(23), Message::Port(0)] {
            message.encode_to(&mut bytes);
        }
        let last = Message::Extended(0, "d1:md11:ut_metadatai1eee".into());
        if reserved == [0xff; 8] {
            last.encode_to(&mut bytes)
        }
        Message::Interested.encode_to(&mut bytes);
        stream.write_all(&bytes).await.unwrap();
        // Only the answer to the last one proves that all before it were read and did no harm.
        let mut heard = Vec::new();
        while !heard.windows(5).any(|part| part == [0, 0, 0, 1, 1]) {
            let count = stream.read_buf(&mut heard).await.unwrap();
            assert!(count > 0, "closed with {reserved:?}");
        }
    }
    let copy = tempfile::tempdir().unwrap();
    let fetch = AddTorrent { peers: peer(&origin), ..AddTorrent::fetch(sample.metainfo.clone(), copy.path()) };
    complete(&other.add(fetch).await.unwrap()).await.unwrap();
    sample.assert_in(copy.path());
}

#[tokio::test]
async fn half_a_message_is_no_sign_of_life() {
    let sample = Sample::file(200_000, 65_536);
    let folder = tempfile::tempdir().unwrap();
    sample.write_to(folder.path());
    let origin = session();
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    complete(&seed).await.unwrap();
    let mut stream = connect(&peer(&origin).remove(0), sample.metainfo.info_hash(), 1).await;
    // The first byte of a message of 60,000, and then one every ten seconds.
    stream.write_all(&60_000u32.to_be_bytes()).await.unwrap();
    stream.write_all(&[20]).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    tokio::time::pause();
    let begin = tokio::time::Instant::now();
    let trickle = tokio::spawn(async move {
        while writer.write_all(&[0]).await.is_ok() {
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    });
    let mut bytes = [0; 4_096];
    let closed = async { while reader.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    assert!(tokio::time::timeout(Duration::from_secs(3_600), closed).await.is_ok(), "open for an hour");
    let open_s = begin.elapsed().as_secs();
    assert!((100..=180).contains(&open_s), "open for {open_s} s");
    trickle.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_torrent_asks_nobody_whom_its_file_names() {
    let sample = Sample::file(200_000, 65_536);
    let folder = tempfile::tempdir().unwrap();
    sample.write_to(folder.path());
    let (origin, leecher) = (session(), session());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let named = vec![listener.local_addr().unwrap().to_string()];
    let private = |private| {
        let content = Content::SingleFile { length: 200_000 };
        let hashes: Vec<_> = sample.files[0].1.chunks(65_536).map(|piece| hash_piece(&[piece])).collect();
        let (peers, piece_length) = (named.clone(), 65_536);
        let builder = MetainfoBuilder { piece_length, peers, private, ..MetainfoBuilder::new("top", content) };
        Metainfo::parse(builder.build(&hashes).unwrap()).unwrap()
    };
    for (metainfo, dialled) in [(private(false), true), (private(true), false)] {
        assert_eq!(metainfo.is_private(), !dialled);
        let copy = tempfile::tempdir().unwrap();
        let seed = origin.add(AddTorrent::seed(metainfo.clone(), folder.path())).await.unwrap();
        let fetch = leecher.add(AddTorrent::fetch(metainfo, copy.path())).await.unwrap();
        if dialled {
            tokio::time::timeout(common::PATIENCE, listener.accept()).await.unwrap().unwrap();
        }
        // The user may name peers of a private torrent; by then the others would have been dialled.
        fetch.add_hosts(peer(&origin)).await;
        complete(&fetch).await.unwrap();
        let accepted = tokio::time::timeout(Duration::ZERO, listener.accept()).await;
        assert!(dialled || accepted.is_err(), "the peer named in the file was dialled");
        fetch.stop().await;
        seed.stop().await;
    }
}
