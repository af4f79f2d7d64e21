//! Two connections over loopback, driven as a torrent task would.

use super::*;
use rustix::fs::Advice;
use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant as StdInstant;
use swarm_proto::geometry::BLOCK_LENGTH;
use swarm_proto::layout::FileIndex;

const PIECE: u64 = 1 << 18;
const TOTAL: u64 = 1 << 20;
/// The second piece of every test torrent is padding.
const PADDING: std::ops::Range<u64> = PIECE..2 * PIECE;

struct TestSource {
    file: Arc<File>,
    index: FileIndex,
    changed: Arc<AtomicBool>,
}

impl Source for TestSource {
    fn spans(&self, block: Block) -> Option<Vec<Span>> {
        let offset = geometry().offset_of_block(block);
        let length = u64::from(block.length());
        if PADDING.contains(&offset) {
            return Some(vec![Span::Zeros { length }]);
        }
        // The last block of the torrent is not to be had.
        let half = length / 2;
        let (file, index) = (&self.file, self.index);
        let file = |offset, length| Span::File { file: Arc::clone(file), index, offset, length };
        (offset + length < TOTAL).then(|| vec![file(offset, half), file(offset + half, length - half)])
    }

    fn is_unchanged(&self, _: FileIndex, _: &File) -> bool {
        !self.changed.load(Ordering::Relaxed)
    }

    fn will_need(&self, blocks: &mut dyn Iterator<Item = Block>) {
        assert!(blocks.count() > 0);
    }
}

struct Side {
    line: Option<Line>,
    batches: mpsc::Receiver<Batch>,
    pending: Vec<Received>,
    /// Its file is not what it was.
    changed: Arc<AtomicBool>,
}

impl Side {
    fn send(&self, outbound: Vec<Outbound>) {
        self.line.as_ref().unwrap().send(outbound).unwrap();
    }

    /// The next thing that happens; `None` when the connection has ended.
    async fn next(&mut self) -> Option<Received> {
        if self.pending.is_empty() {
            self.pending = self.batches.recv().await?.received;
        }
        Some(self.pending.remove(0))
    }
}

fn geometry() -> Geometry {
    Geometry::new(TOTAL, PIECE).unwrap()
}

fn block(piece: u32, ordinal: usize) -> Block {
    geometry().block(geometry().piece(piece).unwrap(), ordinal).unwrap()
}

fn content(offset: u64, length: u32) -> Vec<u8> {
    (offset..offset + u64::from(length)).map(|n| ((n % 251) ^ (n >> 14)).to_le_bytes()[0]).collect()
}

fn file() -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&content(0, 1 << 20)).unwrap();
    file
}

fn side(stream: TcpStream, file: &File, limit: Option<u64>) -> Side {
    let (sender, batches) = mpsc::channel(2);
    let index = crate::disk::sample::Sample::file(1, 16_384).index(0);
    let changed = Arc::<AtomicBool>::default();
    let shared = Shared {
        geometry: geometry(),
        pool: BlockPool::new(16),
        source: TestSource { file: Arc::new(file.try_clone().unwrap()), index, changed: Arc::clone(&changed) },
        upload_limit: Arc::new(RateLimiter::new(limit, StdInstant::now())),
        download_limit: Arc::new(RateLimiter::new(limit, StdInstant::now())),
        batches: sender,
    };
    let (connection, line) = Connection::new(stream, PeerKey(1), Arc::new(shared));
    tokio::spawn(connection.run());
    Side { line: Some(line), batches, pending: Vec::new(), changed }
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    (near.unwrap(), far.unwrap().0)
}

async fn pair(file: &File, limit: Option<u64>) -> (Side, Side) {
    let (near, far) = sockets().await;
    (side(near, file, limit), side(far, file, limit))
}

#[tokio::test]
async fn blocks_and_messages_arrive_in_order_and_are_reported() {
    let (near, mut far) = pair(&file(), None).await;
    let mut near = near;
    let blocks: Vec<Block> = geometry().all_pieces().flat_map(|piece| geometry().blocks(piece)).collect();
    let (last, sent) = blocks.split_last().unwrap();
    let mut outbound = Vec::new();
    for &block in sent {
        outbound.push(Outbound::Block(block));
        if block.ordinal().is_multiple_of(5) {
            outbound.push(Outbound::Message(Message::have(block.piece())));
        }
    }
    outbound.push(Outbound::Block(*last));
    outbound.push(Outbound::Message(Message::Choke));
    near.send(outbound);
    for &block in sent {
        let Some(Received::Block(got, bytes)) = far.next().await else { panic!() };
        let offset = geometry().offset_of_block(block);
        let wanted = if PADDING.contains(&offset) { vec![0; 16_384] } else { content(offset, block.length()) };
        assert!(got == block && *bytes == *wanted, "{block:?}");
        if block.ordinal().is_multiple_of(5) {
            assert!(
                matches!(far.next().await, Some(Received::Message(Message::Have(n))) if n == block.piece().as_u32())
            );
        }
        assert!(matches!(near.next().await, Some(Received::Uploaded(out)) if out == block));
    }
    assert!(matches!(near.next().await, Some(Received::Unreadable(block)) if block == *last));
    assert!(matches!(far.next().await, Some(Received::Message(Message::Choke))), "the connection goes on");
    near.line = None;
    assert!(far.next().await.is_none());
}

#[tokio::test]
async fn a_file_that_fails_in_the_middle_ends_the_connection_without_a_made_up_byte() {
    let file = file();
    let (mut near, mut far) = pair(&file, None).await;
    file.set_len(2 * PIECE + u64::from(BLOCK_LENGTH) + 100).unwrap();
    near.send(vec![Outbound::Block(block(2, 0)), Outbound::Block(block(2, 1)), Outbound::Block(block(2, 2))]);
    assert!(matches!(far.next().await, Some(Received::Block(got, _)) if got == block(2, 0)));
    assert!(far.next().await.is_none(), "half a block is no block");
    assert!(matches!(near.next().await, Some(Received::Uploaded(got)) if got == block(2, 0)));
    assert!(matches!(near.next().await, Some(Received::Unreadable(got)) if got == block(2, 1)));
    assert!(near.next().await.is_none());
}

#[tokio::test]
async fn nothing_leaves_of_a_file_that_changed_while_it_was_read() {
    let (mut near, mut far) = pair(&file(), None).await;
    near.send(vec![Outbound::Block(block(0, 0))]);
    assert!(matches!(far.next().await, Some(Received::Block(got, _)) if got == block(0, 0)));
    assert!(matches!(near.next().await, Some(Received::Uploaded(got)) if got == block(0, 0)));
    near.changed.store(true, Ordering::Relaxed);
    // Padding before it is right whatever became of the file.
    near.send([block(1, 0), block(2, 0), block(1, 1)].map(Outbound::Block).into());
    assert!(
        matches!(far.next().await, Some(Received::Block(got, bytes)) if got == block(1, 0) && *bytes == [0; 16_384])
    );
    assert!(far.next().await.is_none());
    assert!(matches!(near.next().await, Some(Received::Uploaded(got)) if got == block(1, 0)));
    assert!(matches!(near.next().await, Some(Received::Unreadable(got)) if got == block(2, 0)));
    assert!(near.next().await.is_none());
}

#[tokio::test]
async fn what_is_not_in_memory_is_waited_for_without_holding_anything_up() {
    let file = file();
    file.sync_all().unwrap();
    // Where the file system is in memory, this changes nothing.
    rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let (mut near, mut far) = pair(&file, None).await;
    let blocks: Vec<Block> = geometry().blocks(geometry().piece(2).unwrap()).collect();
    near.send(blocks.iter().copied().map(Outbound::Block).collect());
    far.send(vec![Outbound::Message(Message::Interested)]);
    let mut uploaded = 0;
    while uploaded < blocks.len() {
        match near.next().await.unwrap() {
            Received::Uploaded(block) => {
                assert_eq!(block, blocks[uploaded]);
                uploaded += 1;
            }
            other => assert!(matches!(other, Received::Message(Message::Interested)), "{other:?}"),
        }
    }
    for block in blocks {
        let Some(Received::Block(got, bytes)) = far.next().await else { panic!() };
        assert!(got == block && *bytes == *content(geometry().offset_of_block(block), block.length()));
    }
}

#[tokio::test]
async fn a_fault_is_the_last_word() {
    let (near, far) = sockets().await;
    let mut far = side(far, &file(), None);
    near.writable().await.unwrap();
    near.try_write(&[0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 7]).unwrap();
    assert!(matches!(far.next().await, Some(Received::Message(Message::Unchoke))));
    assert!(matches!(far.next().await, Some(Received::Fault(PeerFault::Length(7)))));
    assert!(far.next().await.is_none());
}

#[tokio::test]
async fn a_full_queue_stops_the_reading_and_not_the_sending() {
    let (near, mut far) = pair(&file(), None).await;
    let endless = || (0..400).map(|n| Outbound::Block(block(3, n % 8)));
    near.send(endless().collect());
    // Nobody takes what arrives at `far`, and still it sends.
    far.send(vec![Outbound::Block(block(0, 1))]);
    let mut near = near;
    loop {
        match near.next().await.unwrap() {
            Received::Uploaded(_) => {}
            Received::Block(got, _) => break assert_eq!(got, block(0, 1)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(far.batches.len(), 2, "the channel is full, and no more than full");
    let mut blocks = 0;
    while blocks < 400 {
        blocks += usize::from(matches!(far.next().await.unwrap(), Received::Block(..)));
    }
}

#[tokio::test]
async fn what_the_socket_has_taken_is_told_when_the_torrent_closes_the_connection() {
    const HEADER: usize = 13;
    let (near, far) = sockets().await;
    let mut near = side(near, &file(), None);
    far.writable().await.unwrap();
    // Nobody takes what is told, so that what is told of the blocks waits at the connection.
    for told in 1..=2 {
        far.try_write(&[0, 0, 0, 1, 1]).unwrap();
        while near.batches.len() < told {
            tokio::task::yield_now().await;
        }
    }
    near.send((0..400).map(|n| Outbound::Block(block(3, n % 8))).collect());
    far.peek(&mut [0]).await.unwrap();
    near.line = None;
    let (mut uploaded, mut cut_short) = (0, 0);
    while let Some(received) = near.next().await {
        match received {
            Received::Uploaded(_) => uploaded += 1,
            Received::CutShort(bytes) => cut_short += bytes,
            Received::Message(Message::Unchoke) => {}
            other => panic!("{other:?}"),
        }
    }
    let mut arrived = 0;
    let mut buffer = vec![0; 1 << 20];
    loop {
        far.readable().await.unwrap();
        match far.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => arrived += count,
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    assert!(arrived > HEADER, "nothing was under way");
    let whole = uploaded * (HEADER + BLOCK_LENGTH as usize);
    match cut_short {
        0 => assert!((whole..=whole + HEADER).contains(&arrived), "{uploaded} blocks told, {arrived} bytes arrived"),
        bytes => assert_eq!(arrived, whole + HEADER + bytes, "{uploaded} blocks and {bytes} bytes told"),
    }
}

#[tokio::test]
async fn a_peer_that_takes_nothing_cannot_make_the_queue_grow() {
    let (near, _far) = sockets().await;
    let near = side(near, &file(), None);
    let line = near.line.as_ref().unwrap();
    let batch = || (0..64).map(|n| Outbound::Block(block(0, n % 16))).collect();
    let accepted = (0..1_000).take_while(|_| line.send(batch()).is_ok()).count();
    assert!((8..50).contains(&accepted), "{accepted}");
}

#[tokio::test]
async fn the_limit_holds_in_both_directions() {
    let (near, mut far) = pair(&file(), Some(1_000_000)).await;
    let begin = StdInstant::now();
    near.send((0..16).map(|n| Outbound::Block(block(0, n))).collect());
    for _ in 0..16 {
        assert!(matches!(far.next().await, Some(Received::Block(..))));
    }
    let seconds = begin.elapsed().as_secs_f64();
    assert!(seconds > 0.15, "256 KiB at 1 MB/s took {seconds} s");
}
