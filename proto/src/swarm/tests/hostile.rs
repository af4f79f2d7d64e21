//! What peers, trackers and disks try, and what it costs them rather than us.

use super::*;

#[test]
fn a_refused_piece_that_cannot_be_tried_again_does_not_block_for_ever() {
    let mut bench = Bench::new("........");
    let (peer, piece) = bench.first_piece();
    bench.write(piece, VerifyOutcome::WriteFailed);
    let outputs = bench.wait(Duration::from_secs(2));
    assert!(outputs.contains(&Output::Verify { piece, digests: false }), "{outputs:?}");
    let waiting: Vec<_> = bench.swarm.peers[&peer].download.requests.iter().map(|pending| pending.block).collect();
    let outputs = bench.deliver(peer, &waiting);
    assert!(bench.requests(&outputs, peer).is_empty(), "nothing is requested while the disk refuses");
    let outputs = bench.write(piece, VerifyOutcome::Aborted);
    assert!(!bench.requests(&outputs, peer).is_empty(), "requests go on");
}

#[test]
fn a_piece_lost_twice_at_once_counts_once() {
    let mut bench = Bench::new("xxxxxxxx");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveAll);
    let piece = bench.piece(3);
    bench.swarm.handle_disk(bench.now, DiskDone::Lost { pieces: vec![piece, piece] });
    bench.outputs();
    bench.say(peer, Message::Extended(1, vec![0, 0, 0, 3].into()));
}

#[test]
fn who_asks_for_everything_and_takes_nothing_holds_nobody_back_for_long() {
    let mut bench = Bench::new("xxxxxxxx");
    let geometry = Geometry::new(1 << 27, 1 << 24).unwrap();
    bench.swarm = Swarm::new(bench.swarm.config.clone(), geometry, Bitfield::full(8), 1, bench.now);
    let plain = Reserved::default();
    let (greedy, honest) = (bench.connect(1, plain), bench.connect(2, plain));
    for piece in 0..8 {
        bench.say(greedy, Message::Interested);
        for block in 0..20 {
            bench.say(greedy, Message::Request(piece, block * 16_384, 16_384));
        }
    }
    bench.say(honest, Message::Interested);
    let mut served = 0;
    for second in 0..60 {
        let mut outputs = bench.wait(Duration::from_secs(1));
        for block in 0..10 {
            outputs.extend(bench.say(honest, Message::Request(1, (second * 10 + block) * 16_384, 16_384)));
        }
        while let Some(Output::Upload { block, .. }) =
            outputs.iter().find(|it| matches!(it, Output::Upload { peer, .. } if *peer == honest)).cloned()
        {
            served += 1;
            bench.swarm.handle_uploaded(bench.now, honest, block);
            outputs.retain(|output| *output != Output::Upload { peer: honest, block });
            outputs.extend(bench.outputs());
        }
    }
    assert!(served >= 500, "{served} of 600 blocks");
}

#[test]
fn a_slow_peer_that_answers_late_is_not_silent() {
    let mut bench = Bench::new("........");
    let (peer, blocks) = bench.seed(1);
    bench.wait(Duration::from_secs(15));
    let asked: Vec<Block> = bench.swarm.peers[&peer].download.requests.iter().map(|pending| pending.block).collect();
    let late = blocks.into_iter().find(|block| !asked.contains(block)).unwrap();
    let _ = bench.swarm.handle_block(bench.now, peer, late);
    assert_eq!(bench.swarm.peers[&peer].download.waiting_since, Some(bench.now));
}

#[test]
fn a_peer_that_rejects_what_timed_out_and_chokes_is_not_silent() {
    let mut bench = Bench::new("........");
    let (peer, blocks) = bench.seed(1);
    bench.say(peer, Message::Choke);
    bench.wait(Duration::from_secs(15));
    for block in blocks {
        bench.say(peer, Message::Reject(block.piece().as_u32(), block.begin(), block.length()));
    }
    assert_eq!(closed(&bench.wait(Duration::from_secs(70))), None);
}

#[test]
fn the_allowed_fast_set_is_no_way_to_make_us_ask_for_ever() {
    let mut bench = Bench::new("........");
    let peer = bench.connect(1, ALL);
    bench.say(peer, Message::HaveAll);
    let mut asked = 0;
    for _ in 0..1_000 {
        let outputs = bench.say(peer, Message::AllowedFast(3));
        for block in bench.requests(&outputs, peer) {
            asked += 1;
            bench.say(peer, Message::Reject(3, block.begin(), block.length()));
        }
    }
    assert!(asked <= 2, "{asked} requests without any time passing");
}

/// Blocks that a peer that comes and goes gets while choked: so many bytes in each of these requests.
fn taken_while_choked(bench: &mut Bench, number: u8, length: u32) -> u64 {
    let peer = bench.connect(number, ALL);
    let outputs = bench.say(peer, Message::Interested);
    let mut taken = 0;
    for message in sent(&outputs) {
        let Message::AllowedFast(piece) = message else { continue };
        for _ in 0..1_000 {
            // Served at once or in its turn.
            let refused = sent(&bench.say(peer, Message::Request(piece, 0, length)));
            taken += if refused.is_empty() { u64::from(length) } else { 0 };
            bench.say(peer, Message::Cancel(piece, 0, length));
        }
    }
    bench.swarm.handle_closed(bench.now, peer);
    bench.outputs();
    taken
}

#[test]
fn what_a_beginner_may_take_unasked_is_no_way_round_the_choker() {
    let fair = 7 * 2 * PIECE_LENGTH;
    for length in [1, 16_384, 32_768] {
        let mut bench = Bench::new("xxxxxxx.");
        bench.swarm.config.max_peers = 100;
        // All slots are taken, and the uplink is busy.
        for number in 1..=4 {
            let peer = bench.connect(number, ALL);
            bench.say(peer, Message::Interested);
            bench.say(peer, Message::Request(0, 0, 16_384));
        }
        let first = taken_while_choked(&mut bench, 9, length);
        assert!((1..=fair).contains(&first), "{first} of {fair} in requests of {length}");
        for _ in 0..20 {
            assert_eq!(taken_while_choked(&mut bench, 9, length), 0, "the same host comes again");
        }
        assert!(taken_while_choked(&mut bench, 10, length) > 0, "another one may");
    }
}

#[test]
fn rejects_of_what_was_never_requested_end_the_connection() {
    let mut bench = Bench::new("........");
    let peer = bench.connect(1, ALL);
    let end = (0..40).find_map(|_| closed(&bench.say(peer, Message::Reject(0, 0, 16_384))));
    assert_eq!(end, Some(CloseReason::Fault(PeerFault::Unrequested)));
}

#[test]
fn a_choked_peer_that_asks_again_whatever_we_say_is_closed() {
    let mut bench = Bench::new("x.......");
    let peer = bench.connect(1, ALL);
    let asks = (0..20_000).find_map(|_| closed(&bench.say(peer, Message::Request(0, 0, 16_384))));
    assert_eq!(asks, Some(CloseReason::Fault(PeerFault::RequestFlood)));
}

#[test]
fn slots_do_not_grow_while_nobody_waits_for_one() {
    let mut bench = Bench::new("xxxxxxx.");
    bench.swarm.config.max_peers = 100;
    for number in 11..15 {
        let peer = bench.connect(number, ALL);
        for _ in 0..100 {
            bench.say(peer, Message::Interested);
            bench.say(peer, Message::NotInterested);
        }
        bench.say(peer, Message::Interested);
    }
    bench.wait(Duration::from_secs(25));
    let busy = bench.swarm.peers.keys().next().copied().unwrap();
    bench.say(busy, Message::Request(0, 0, 16_384));
    for number in 20..40 {
        let peer = bench.connect(number, ALL);
        bench.say(peer, Message::Interested);
    }
    let unchoked = bench.swarm.peers.values().filter(|peer| !peer.upload.choked).count();
    assert_eq!(unchoked, 4);
}

#[test]
fn a_fast_peer_leaves_room_for_others() {
    let mut bench = Bench::new("........");
    let geometry = Geometry::new(64 << 20, PIECE_LENGTH).unwrap();
    bench.swarm = Swarm::new(bench.swarm.config.clone(), geometry, Bitfield::empty(2_048), 1, bench.now);
    let (fast, _) = bench.seed(1);
    for _ in 0..100 {
        bench.now += Duration::from_millis(1);
        let blocks: Vec<_> = bench.swarm.peers[&fast].download.requests.iter().map(|pending| pending.block).collect();
        for output in bench.deliver(fast, &blocks) {
            if let Output::Verify { piece, .. } = output {
                bench.write(piece, WRITTEN);
            }
        }
    }
    let (_, theirs) = bench.seed(2);
    assert_eq!(theirs.len(), 8, "beside {} of the fast peer", bench.swarm.peers[&fast].download.requests.len());
}

#[test]
fn an_address_that_turned_out_to_be_connected_is_dialled_once_that_connection_ends() {
    let mut bench = Bench::new("........");
    let peer = bench.connect(1, ALL);
    bench.wait(Duration::from_secs(15));
    let address = SocketAddr::from(([10, 0, 0, 1], 7_000));
    let known = vec![crate::announce::PeerAddress { address, peer_id: None }];
    bench.swarm.command(bench.now, Command::AddPeers(known, PeerSource::Tracker));
    let dial = Output::Dial { address };
    assert!(bench.outputs().contains(&dial));
    let connected = Connected { address, direction: Direction::Outgoing, peer_id: PeerId([1; 20]), reserved: ALL };
    assert_eq!(bench.swarm.handle_connected(bench.now, connected), Err(CloseReason::Duplicate));
    assert!(!bench.wait(Duration::from_secs(60)).contains(&dial));
    bench.swarm.handle_closed(bench.now, peer);
    assert!(bench.wait(Duration::from_secs(10)).contains(&dial));
}

#[test]
fn a_peer_that_comes_again_takes_the_place_of_a_connection_that_it_has_lost() {
    let mut bench = Bench::new("........");
    let old = bench.connect(1, ALL);
    bench.wait(Duration::from_secs(15));
    assert_eq!(bench.try_connect(1, ALL, Direction::Incoming), Err(CloseReason::Duplicate), "it may still be there");
    bench.wait(Duration::from_secs(10));
    assert!(bench.try_connect(1, ALL, Direction::Incoming).is_ok());
    assert!(bench.outputs().contains(&Output::Close { peer: old, reason: CloseReason::Duplicate }));
}

#[test]
fn a_noisy_link_is_forgiven_a_wrong_piece_for_eight_right_ones_and_then_shut_out_for_a_minute() {
    let mut bench = Bench::of(40, &".".repeat(40));
    let (peer, mut blocks) = bench.seed(1);
    let mut verified = 0;
    'open: loop {
        assert!(!blocks.is_empty(), "nothing is requested after {verified} pieces");
        let outputs = bench.deliver(peer, &std::mem::take(&mut blocks));
        blocks.extend(bench.requests(&outputs, peer));
        for output in outputs {
            let Output::Verify { piece, .. } = output else { continue };
            // After 12 right ones a wrong one, after 7 more right ones only wrong ones.
            let wrong = verified == 12 || verified >= 20;
            let mismatch = VerifyOutcome::Mismatch { digests: vec![[1; 20]; 2] };
            verified += 1;
            let told = bench.write(piece, if wrong { mismatch } else { WRITTEN });
            blocks.extend(bench.requests(&told, peer));
            if !bench.swarm.peers.contains_key(&peer) {
                break 'open;
            }
        }
    }
    assert_eq!(
        (verified, bench.swarm.stats(bench.now).failed_pieces),
        (22, 3),
        "the credit of 19 right pieces is for two"
    );
    assert_eq!(bench.try_connect(1, ALL, Direction::Incoming), Err(CloseReason::Banned));
    bench.now += Duration::from_secs(60);
    assert!(bench.try_connect(1, ALL, Direction::Incoming).is_ok(), "a ban ends");
}

#[test]
fn whoever_lied_and_left_is_banned_all_the_same() {
    let mut bench = Bench::new("........");
    let (peer, piece) = bench.first_piece();
    bench.swarm.handle_closed(bench.now, peer);
    bench.write(piece, VerifyOutcome::Mismatch { digests: vec![[1; 20]; 2] });
    assert_eq!(bench.swarm.stats(bench.now).banned_peers, 1);
    assert_eq!(bench.try_connect(1, ALL, Direction::Incoming), Err(CloseReason::Banned));
}

#[test]
fn a_noisy_link_that_loses_its_connection_keeps_its_credit() {
    let mut bench = Bench::of(40, &".".repeat(40));
    let (peer, mut blocks) = bench.seed(1);
    let mut right = 0;
    let wrong = 'wrong: loop {
        let outputs = bench.deliver(peer, &std::mem::take(&mut blocks));
        blocks.extend(bench.requests(&outputs, peer));
        for output in outputs {
            let Output::Verify { piece, .. } = output else { continue };
            if right == 8 {
                break 'wrong piece;
            }
            right += 1;
            let told = bench.write(piece, WRITTEN);
            blocks.extend(bench.requests(&told, peer));
        }
    };
    bench.swarm.handle_closed(bench.now, peer);
    bench.write(wrong, VerifyOutcome::Mismatch { digests: vec![[1; 20]; 2] });
    let stats = bench.swarm.stats(bench.now);
    assert_eq!((stats.failed_pieces, stats.banned_peers), (1, 0));
    assert!(bench.try_connect(1, ALL, Direction::Incoming).is_ok());
}

#[test]
fn whoever_breaks_rules_is_dialled_less_and_less() {
    let mut bench = Bench::new("........");
    let address = SocketAddr::from(([10, 0, 0, 1], 6_881));
    let known = crate::announce::PeerAddress { address, peer_id: None };
    bench.swarm.command(bench.now, Command::AddPeers(vec![known], PeerSource::Tracker));
    let mut dials = 0;
    for _ in 0..600 {
        let outputs = bench.outputs();
        dials += outputs.iter().filter(|output| matches!(output, Output::Dial { .. })).count();
        if outputs.contains(&Output::Dial { address }) {
            let peer = bench.try_connect(1, ALL, Direction::Outgoing).unwrap();
            bench.say(peer, Message::HaveAll);
            let outputs = bench.say(peer, Message::Unchoke);
            let blocks = bench.requests(&outputs, peer);
            let _ = bench.swarm.handle_block(bench.now, peer, blocks[0]);
            bench.swarm.handle_fault(bench.now, peer, PeerFault::OddBlock);
        }
        bench.now += Duration::from_secs(1);
        bench.swarm.handle_timeout(bench.now);
    }
    assert!(dials <= 6, "{dials} dials in ten minutes");
}

#[test]
fn a_tracker_that_pushes_an_address_again_and_again_makes_us_dial_it_once_a_second_at_most() {
    let mut bench = Bench::new("........");
    let address = SocketAddr::from(([10, 0, 0, 1], 6_881));
    let known = crate::announce::PeerAddress { address, peer_id: None };
    let mut dials = 0;
    for _ in 0..1_000 {
        bench.swarm.command(bench.now, Command::AddPeers(vec![known], PeerSource::Push));
        let outputs = bench.wait(Duration::from_millis(10));
        if outputs.contains(&Output::Dial { address }) || bench.outputs().contains(&Output::Dial { address }) {
            dials += 1;
            bench.swarm.handle_connect_failed(bench.now, address);
        }
    }
    assert!(dials <= 13, "{dials} dials in ten seconds");
}

#[test]
fn a_choking_peer_does_not_make_us_throw_begun_pieces_away() {
    let mut bench = Bench::new("xxxx....");
    let config = SwarmConfig { buffer_bytes: 2 * PIECE_LENGTH, ..bench.swarm.config.clone() };
    let have = bench.swarm.have().clone();
    bench.swarm = Swarm::new(config, bench.swarm.geometry, have, 1, bench.now);
    let (seed, blocks) = bench.seed(1);
    bench.deliver(seed, &blocks[..1]);
    bench.swarm.handle_closed(bench.now, seed);
    let (second, others) = bench.seed(2);
    let others: Vec<_> = others.into_iter().filter(|block| block.piece() != blocks[0].piece()).take(1).collect();
    assert_eq!(others.len(), 1, "a block of another piece, so that the budget is spent");
    bench.deliver(second, &others);
    let choking = bench.connect(3, ALL);
    let mut outputs = bench.say(choking, Message::HaveAll);
    outputs.extend(bench.say(choking, Message::AllowedFast(0)));
    bench.swarm.handle_closed(bench.now, second);
    for piece in 4..8 {
        outputs.extend(bench.say(choking, Message::Suggest(piece)));
    }
    outputs.extend(bench.wait(Duration::from_secs(5)));
    assert!(!outputs.iter().any(|output| matches!(output, Output::Forget { .. })), "{outputs:?}");
}

#[test]
fn a_fast_stranger_spoils_two_pieces_at_the_most() {
    let mut bench = Bench::new("........");
    let length = 128 * 1024;
    let geometry = Geometry::new(64 * length, length).unwrap();
    let config = SwarmConfig { buffer_bytes: 1 << 30, ..bench.swarm.config.clone() };
    bench.swarm = Swarm::new(config, geometry, Bitfield::empty(64), 1, bench.now);
    let (peer, mut blocks) = bench.seed(1);
    let mut complete = Vec::new();
    while !blocks.is_empty() {
        let outputs = bench.deliver(peer, &blocks);
        complete.extend(outputs.iter().filter_map(|it| match it {
            Output::Verify { piece, .. } => Some(*piece),
            _ => None,
        }));
        blocks = bench.requests(&outputs, peer);
    }
    assert_eq!(complete.len(), 2, "pieces that came before any was verified");
    let outputs = bench.write(complete[0], WRITTEN);
    assert!(!bench.requests(&outputs, peer).is_empty(), "a piece that is right earns trust");
}
