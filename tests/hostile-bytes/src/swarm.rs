//! The swarm, driven by any inputs in any order: what a socket may bring, and what a shell may do.

use crate::input::Input;
use crate::shell::{PIECES, Shell, address, config};
use std::time::Duration;
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::swarm::{Command, Direction, DiskDone, PeerFault, PeerSource, Profile, Role};
use swarm_proto::wire::{Decoded, Frame, FrameLimits, Message, Reserved, decode};

/// Inputs of one run: more find nothing that fewer do not, and take longer.
const STEPS: usize = 600;

/// Several peers, a disk and a tracker do anything at all; then an honest seed makes us complete, honest leechers are
/// served, and the swarm can be stopped.
pub fn swarm(bytes: &[u8]) {
    let mut input = Input(bytes);
    // The honest peers take most of the time, and find what the invariants do not.
    let honest = bytes.first().is_some_and(|kind| kind & 0x20 != 0);
    let (mut shell, role) = shell(&mut input);
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        step(&mut shell, &mut input);
    }
    shell.swarm.command(shell.now, Command::Resume);
    shell.drain();
    if role == Role::Fetch && honest {
        shell.complete_from_honest_seed(20);
        shell.serve_honest_leecher(30);
        shell.serve_honest_leecher(31);
    }
    shell.swarm.command(shell.now, Command::Stop);
    shell.drain();
    shell.wait(Duration::from_secs(60));
    assert!(shell.swarm.is_stopped() && shell.swarm.poll_timeout().is_none());
}

fn shell(input: &mut Input<'_>) -> (Shell, Role) {
    let (kind, have) = (input.byte(), input.u16());
    let role = if kind & 7 == 1 { Role::Seed } else { Role::Fetch };
    let profile = if kind & 8 == 0 { Profile::Public } else { Profile::Lan };
    let have = match kind >> 6 {
        0 => 0,
        1 => 0xfff,
        _ => have & 0xfff,
    };
    (Shell::new(config(role, profile, kind & 16 != 0), have), role)
}

fn reserved(byte: u8) -> Reserved {
    Reserved { fast: byte & 0x30 != 0, extended: byte & 0xc0 != 0 }
}

fn step(shell: &mut Shell, input: &mut Input<'_>) {
    let kind = input.byte();
    match kind % 32 {
        0..=2 => connect(shell, input),
        3 => dialled(shell, input),
        4 => closed(shell, input),
        5..=13 => {
            if let Some(peer) = input.pick(&shell.peers) {
                let message = message(input);
                shell.say(peer, message);
            }
        }
        14..=20 => answer(shell, input, kind),
        21 => any_block(shell, input),
        22..=23 => upload(shell, input),
        24..=26 => {
            let outcome = input.byte();
            if let Some(piece) = input.take(&mut shell.verifies) {
                shell.verified(piece, outcome);
            }
        }
        27 => lost(shell, input),
        28 => announced(shell, input),
        29 => command(shell, input),
        30 => shell.wait(Duration::from_millis(u64::from(input.byte()) * 2)),
        _ => shell.wait(Duration::from_millis(1 << (input.byte() % 27))),
    }
}

fn connect(shell: &mut Shell, input: &mut Input<'_>) {
    let byte = input.byte();
    let number = 1 + byte % 9;
    let direction = if byte & 0x10 == 0 { Direction::Incoming } else { Direction::Outgoing };
    shell.connect(address(number), number, direction, reserved(input.byte()));
}

fn dialled(shell: &mut Shell, input: &mut Input<'_>) {
    let number = input.byte() % 16;
    let Some(dialled) = input.take(&mut shell.dials) else { return };
    if number == 0 {
        shell.swarm.handle_connect_failed(shell.now, dialled);
        shell.drain();
    } else {
        shell.connect(dialled, number, Direction::Outgoing, Reserved { fast: true, extended: true });
    }
}

fn closed(shell: &mut Shell, input: &mut Input<'_>) {
    let fault = input.flag();
    let Some(peer) = input.pick(&shell.peers) else { return };
    if fault {
        shell.swarm.handle_fault(shell.now, peer, PeerFault::Length(3));
    } else {
        shell.gone(peer);
        shell.swarm.handle_closed(shell.now, peer);
    }
    shell.drain();
}

/// One of our requests is answered: mostly by its block.
fn answer(shell: &mut Shell, input: &mut Input<'_>, kind: u8) {
    let Some((peer, block)) = input.take(&mut shell.requests) else { return };
    if kind >= 224 {
        shell.say(peer, Message::Reject(block.piece().as_u32(), block.begin(), block.length()));
    } else {
        shell.block(peer, block);
    }
}

fn any_block(shell: &mut Shell, input: &mut Input<'_>) {
    let (piece, begin, length) = numbers(input);
    let block = shell.geometry.wire_block(piece, begin, length);
    if let (Some(peer), Some(block)) = (input.pick(&shell.peers), block) {
        shell.block(peer, block);
    }
}

fn upload(shell: &mut Shell, input: &mut Input<'_>) {
    let works = input.byte() < 240;
    let Some((peer, block)) = input.take(&mut shell.uploads) else { return };
    if works {
        shell.uploaded(peer, block);
    } else {
        shell.swarm.handle_disk(shell.now, DiskDone::ReadFailed { peer, block });
        shell.drain();
    }
}

fn lost(shell: &mut Shell, input: &mut Input<'_>) {
    let bits = input.u16();
    let pieces = shell.geometry.all_pieces().filter(|piece| bits >> piece.as_u32() & 1 == 1).collect();
    shell.swarm.handle_disk(shell.now, DiskDone::Lost { pieces });
    // Blocks in the hands of the shell can no longer be read.
    shell.drain();
}

fn announced(shell: &mut Shell, input: &mut Input<'_>) {
    let works = input.flag();
    let numbers = input.short();
    let Some(id) = input.take(&mut shell.announces) else { return };
    let peer = |number: &u8| PeerAddress { address: address(*number), peer_id: None };
    let reply = AnnounceReply {
        interval: Duration::from_secs(input.length()),
        min_interval: works.then(|| Duration::from_secs(input.length())),
        peers: numbers.iter().map(peer).collect(),
        ..AnnounceReply::default()
    };
    let failed = [
        TrackerError::TimedOut(Duration::from_secs(1)),
        TrackerError::Refused { reason: "no".into(), retry_in: Some(Duration::from_secs(input.length())) },
    ];
    let reply = if works { Ok(reply) } else { Err(failed[input.below(2)].clone()) };
    shell.swarm.handle_announced(shell.now, id, reply);
    shell.drain();
}

fn command(shell: &mut Shell, input: &mut Input<'_>) {
    let kind = input.byte();
    let peers = vec![PeerAddress { address: address(input.byte()), peer_id: None }];
    let command = match kind % 8 {
        0 => Command::Pause,
        1..=3 => Command::Resume,
        4 => Command::AddPeers(peers, PeerSource::User),
        5 | 6 => Command::AddPeers(peers, PeerSource::Push),
        _ => Command::AddTrackers(vec!["udp://other:1".into()]),
    };
    shell.swarm.command(shell.now, command);
    shell.drain();
}

/// Piece, begin and length; mostly such that a block exists.
fn numbers(input: &mut Input<'_>) -> (u32, u32, u32) {
    let (kind, piece) = (input.byte(), u32::from(input.byte() % 16));
    match kind >> 6 {
        3 => (input.u32(), input.u32(), input.u32()),
        2 => (piece, u32::from(kind & 0x3f) << 10, u32::from(input.u16())),
        _ => (piece, u32::from(kind & 3) << 14, if piece == PIECES - 1 && kind & 3 == 1 { 616 } else { 16_384 }),
    }
}

fn message(input: &mut Input<'_>) -> Message {
    let kind = input.byte();
    let piece = |input: &mut Input<'_>| if kind & 0xe0 == 0xe0 { input.u32() } else { u32::from(input.byte() % 13) };
    let triple = |input: &mut Input<'_>| numbers(input);
    match kind % 24 {
        0 => Message::KeepAlive,
        1 => Message::Choke,
        2..=4 => Message::Unchoke,
        5 | 6 => Message::Interested,
        7 => Message::NotInterested,
        8 | 9 => Message::Have(piece(input)),
        10 => Message::Bitfield(vec![input.byte(), input.byte() & 0xf0].into()),
        11 => Message::Bitfield(input.slice(usize::from(kind >> 6)).to_vec().into()),
        12 | 13 => Message::HaveAll,
        14 => Message::HaveNone,
        15 | 16 => build(Message::Request, triple(input)),
        17 => build(Message::Cancel, triple(input)),
        18 => build(Message::Reject, triple(input)),
        19 => Message::Suggest(piece(input)),
        20 => Message::AllowedFast(piece(input)),
        21 => Message::Extended(0, handshake(input)),
        22 => Message::Extended(1, piece(input).to_be_bytes().to_vec().into()),
        _ => Message::Extended(input.byte(), input.short().to_vec().into()),
    }
}

fn build(of: impl Fn(u32, u32, u32) -> Message, (piece, begin, length): (u32, u32, u32)) -> Message {
    of(piece, begin, length)
}

fn handshake(input: &mut Input<'_>) -> bytes::Bytes {
    const KNOWN: [&[u8]; 6] = [
        b"de",
        b"d1:md11:lt_donthavei7eee",
        b"d1:pi99e4:reqqi0e11:upload_onlyi1ee",
        b"d4:reqqi3ee",
        b"d4:reqqi4294967295e11:upload_onlyi0ee",
        b"le",
    ];
    match input.byte() % 8 {
        known @ 0..=5 => bytes::Bytes::from_static(KNOWN[usize::from(known)]),
        _ => input.short().to_vec().into(),
    }
}

/// Two peers speak the fast extension (BEP 6) in any order: each request that we get has exactly one answer, and we ask
/// a peer that chokes us for nothing but what it allowed.
pub fn fast_extension(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut shell, _) = shell(&mut input);
    let fast = Reserved { fast: true, extended: false };
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        let (kind, number) = (input.byte(), 1 + input.below(2) as u8);
        let key = shell.swarm.peers(shell.now).iter().find(|peer| peer.address == address(number)).map(|peer| peer.key);
        let Some(key) = key else {
            shell.connect(address(number), number, Direction::Incoming, fast);
            continue;
        };
        let piece = u32::from(input.byte() % 13);
        match kind % 24 {
            0 => shell.say(key, Message::HaveAll),
            1 => shell.say(key, Message::HaveNone),
            2 => shell.say(key, Message::Bitfield(vec![input.byte(), input.byte() & 0xf0].into())),
            3 => shell.say(key, Message::Suggest(piece)),
            4 | 5 => shell.say(key, Message::AllowedFast(piece)),
            6..=9 => shell.say(key, build(Message::Request, numbers(&mut input))),
            10 | 11 => shell.say(key, build(Message::Cancel, numbers(&mut input))),
            12 => shell.say(key, build(Message::Reject, numbers(&mut input))),
            13 => shell.say(key, Message::Choke),
            14 => shell.say(key, Message::Unchoke),
            15 => shell.say(key, Message::Interested),
            16 => shell.say(key, Message::NotInterested),
            17 | 18 => answer(&mut shell, &mut input, kind),
            19 => upload(&mut shell, &mut input),
            20 => shell.settle(),
            21 => lost(&mut shell, &mut input),
            22 => shell.say(key, Message::Have(piece)),
            _ => shell.wait(Duration::from_millis(u64::from(input.u16()))),
        }
    }
    shell.check_everything_answered();
}

/// The bytes of a connection behind its handshake, read as the engine reads them, to a swarm that is alive: a keep-alive
/// is a second, and an unknown message has one of our requests answered.
pub fn peer_session(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (mut shell, _) = shell(&mut input);
    let reserved = reserved(input.byte());
    let limits = FrameLimits::new(PIECES);
    let mut rest = input.0;
    let mut number = 1;
    let mut key = shell.connect(address(number), number, Direction::Incoming, reserved);
    while let Some(peer) = key {
        match decode(rest, &limits) {
            Ok(Decoded::Frame(frame, used)) => {
                rest = &rest[used..];
                obey(&mut shell, peer, frame);
            }
            Ok(Decoded::Incomplete(_)) => break,
            Err(fault) => {
                shell.swarm.handle_fault(shell.now, peer, PeerFault::Length(fault.id));
                shell.drain();
                // Another one goes on behind the bad length.
                rest = &rest[4..];
            }
        }
        if shell.verifies.len() > 1 || shell.uploads.len() > 4 {
            shell.settle();
        }
        if !shell.peers.contains(&peer) {
            number = number % 200 + 1;
            key = shell.connect(address(number), number, Direction::Incoming, reserved);
        }
    }
    shell.check_everything_answered();
}

fn obey(shell: &mut Shell, peer: swarm_proto::id::PeerKey, frame: Frame) {
    match frame {
        Frame::Message(Message::KeepAlive) => {
            shell.say(peer, Message::KeepAlive);
            shell.wait(Duration::from_secs(1));
        }
        Frame::Message(Message::Unknown(id)) => {
            shell.say(peer, Message::Unknown(id));
            if let Some((key, block)) = shell.requests.pop() {
                shell.block(key, block);
            }
        }
        Frame::Message(message) => shell.say(peer, message),
        Frame::Piece { index, begin, length } => match shell.geometry.wire_block(index, begin, length) {
            Some(block) => shell.block(peer, block),
            None => {
                shell.swarm.handle_fault(shell.now, peer, PeerFault::NoSuchBlock(index, begin, length));
                shell.drain();
            }
        },
    }
}
