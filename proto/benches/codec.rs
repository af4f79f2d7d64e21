//! What reading and writing the messages of the wire costs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use bytes::Bytes;
use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use swarm_proto::metainfo::Metainfo;
use swarm_proto::wire::{Decoded, Frame, FrameLimits, Message, decode};

fn main() {
    divan::main();
}

const PIECES: u32 = 64_000;
const MESSAGES: u32 = 1_000;

/// What a busy connection carries: requests, and a `have` for every sixteenth of them.
fn traffic() -> Vec<Message> {
    let message = |number: u32| match number % 16 {
        0 => Message::Have(number),
        block => Message::Request(number / 16, block * 16_384, 16_384),
    };
    (0..MESSAGES).map(message).collect()
}

#[divan::bench]
fn encode_traffic(bencher: Bencher) {
    let (messages, mut out) = (traffic(), Vec::new());
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        out.clear();
        messages.iter().for_each(|message| message.encode_to(&mut out));
        black_box(&out);
    });
}

#[divan::bench]
fn decode_traffic(bencher: Bencher) {
    let mut bytes = Vec::new();
    traffic().iter().for_each(|message| message.encode_to(&mut bytes));
    let limits = FrameLimits::new(PIECES);
    bencher.counter(ItemsCount::new(MESSAGES)).bench_local(|| {
        let mut rest = bytes.as_slice();
        while let Ok(Decoded::Frame(frame, length)) = decode(rest, &limits) {
            black_box(frame);
            rest = &rest[length..];
        }
        assert!(rest.is_empty());
    });
}

/// The header of a block, whose payload is not looked at.
#[divan::bench]
fn decode_piece_header(bencher: Bencher) {
    let mut header = 16_393u32.to_be_bytes().to_vec();
    header.extend([7, 0, 0, 1, 0, 0, 0, 0x40, 0]);
    let limits = FrameLimits::new(PIECES);
    bencher.bench_local(|| {
        let decoded = decode(black_box(&header), &limits);
        assert!(matches!(decoded, Ok(Decoded::Frame(Frame::Piece { .. }, 13))));
    });
}

#[divan::bench]
fn decode_bitfield(bencher: Bencher) {
    let (mut bytes, body) = (Vec::new(), Bytes::from(vec![0xff; PIECES as usize / 8]));
    Message::Bitfield(body).encode_to(&mut bytes);
    let limits = FrameLimits::new(PIECES);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| black_box(decode(&bytes, &limits)).is_ok());
}

/// A metainfo of so many files; a file costs the same among many.
#[divan::bench(args = [1_000, 20_000, 200_000], sample_count = 5)]
fn parse_files(bencher: Bencher, files: u32) {
    let mut text = b"d4:infod5:filesl".to_vec();
    for number in 0..files {
        let (folder, name) = (format!("d{:04}", number / 500), format!("f{number:06}"));
        text.extend(format!("d6:lengthi1024e4:pathl5:{folder}7:{name}ee").bytes());
    }
    let pieces = (u64::from(files) * 1_024).div_ceil(65_536) as usize;
    text.extend(format!("e4:name1:t12:piece lengthi65536e6:pieces{}:", pieces * 20).bytes());
    text.extend(vec![b'x'; pieces * 20]);
    text.extend(b"ee");
    let bytes = Bytes::from(text);
    bencher.counter(ItemsCount::new(files)).bench_local(|| Metainfo::parse(bytes.clone()).unwrap());
}

/// A metainfo of so many pieces: nothing is done for each of them but the hash over all.
#[divan::bench(args = [64_000, 4_000_000], sample_count = 5)]
fn parse_pieces(bencher: Bencher, pieces: usize) {
    let length = pieces * 16_384;
    let head = format!("d4:infod6:lengthi{length}e4:name1:t12:piece lengthi16384e6:pieces{}:", pieces * 20);
    let mut text = head.into_bytes();
    text.extend(vec![b'x'; pieces * 20]);
    text.extend(b"ee");
    let bytes = Bytes::from(text);
    bencher.counter(BytesCount::new(bytes.len())).bench_local(|| Metainfo::parse(bytes.clone()).unwrap());
}
