//! Peers that repeat themselves cost no memory.
//!
//! One test alone in its process, because it counts what the process holds.

#![allow(clippy::unwrap_used, reason = "tests may fail")]

mod common;

use common::{Sample, complete, peer, session};
use peak_alloc::PeakAlloc;
use swarm_engine::AddTorrent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::wire::{HANDSHAKE_LENGTH, Handshake, Message, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Counts the bytes that are allocated: what the system counts moves by megabytes with the allocator's slack.
#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Bytes of one message after the other, all of which cost the receiver something.
fn repetitions() -> Vec<(&'static str, Vec<u8>)> {
    let encoded = |messages: &[Message]| {
        let mut bytes = Vec::new();
        messages.iter().for_each(|message| message.encode_to(&mut bytes));
        bytes
    };
    let handshake = format!("d1:md11:lt_donthavei{}ee1:v1000:{}e", 3, "x".repeat(1_000));
    vec![
        ("keep-alives", encoded(&[Message::KeepAlive])),
        ("interest that comes and goes", encoded(&[Message::Interested, Message::NotInterested])),
        ("chokes", encoded(&[Message::Unchoke, Message::Choke])),
        ("suggestions", encoded(&(0..16).map(Message::Suggest).collect::<Vec<_>>())),
        ("allowed pieces", encoded(&(0..16).map(Message::AllowedFast).collect::<Vec<_>>())),
        ("pieces", encoded(&(0..16).map(Message::Have).collect::<Vec<_>>())),
        ("extension handshakes", encoded(&[Message::Extended(0, handshake.into())])),
        ("extension messages that nobody knows", encoded(&[Message::Extended(200, vec![0; 60_000].into())])),
        ("unknown messages", encoded(&[Message::Unknown(99), Message::Port(1)])),
        ("cancels of nothing", encoded(&[Message::Cancel(0, 0, 16_384)])),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_costs_memory_by_repetition() {
    let sample = Sample::file(1_000_000, 65_536);
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sample.write_to(folder.path());
    let (origin, leecher) = (session(), session());
    let seed = origin.add(AddTorrent::seed(sample.metainfo.clone(), folder.path())).await.unwrap();
    let fetch = leecher.add(AddTorrent::fetch(sample.metainfo.clone(), copy.path())).await.unwrap();
    complete(&seed).await.unwrap();
    let address = peer(&leecher).remove(0);
    let hash = sample.metainfo.info_hash();
    const MIB: usize = 1024 * 1024;
    // The first time round warms up: code is loaded, buffers are made that stay.
    for warm in [false, true] {
        for (id, (what, message)) in (1..).zip(repetitions()) {
            let before = ALLOCATED.current_usage();
            // A short message takes a multiple of its length if it is kept; of long ones, 48 batches
            // of 256 KiB may be on their way to the torrent.
            let (length, most) = if message.len() > 512 { (40 * MIB, 18 * MIB) } else { (3 * MIB, 6 * MIB) };
            repeat(&address, hash, id, &message, if warm { length } else { MIB / 4 }).await;
            let grown = ALLOCATED.current_usage().saturating_sub(before);
            assert!(grown < most || !warm, "{what}: {grown} bytes more after {length}");
        }
    }
    fetch.add_hosts(peer(&origin)).await;
    complete(&fetch).await.unwrap();
    sample.assert_in(copy.path());
}

/// Sends so many bytes of one message; whoever is hung up on has done enough as well.
async fn repeat(to: &str, info_hash: InfoHash, id: u8, message: &[u8], length: usize) {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let reserved = Reserved { fast: true, extended: true };
    let ours = Handshake { info_hash, peer_id: PeerId([id; 20]), reserved };
    stream.write_all(&ours.encode()).await.unwrap();
    stream.read_exact(&mut [0; HANDSHAKE_LENGTH]).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let drain = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let some = message.repeat(1_024usize.div_ceil(message.len()));
    for _ in 0..length / some.len() {
        if writer.write_all(&some).await.is_err() {
            break;
        }
    }
    drop(writer);
    let _ = drain.await;
}
