//! Round trips, hostile bytes, and the examples of `docs/native-protocol.md`.

use super::*;
use crate::announce::AnnounceEvent;
use crate::id::{InfoHash, PeerId};
use crate::limits;
use bytes::Bytes;
use proptest::prelude::*;
use std::net::SocketAddr;

const HASH: InfoHash = InfoHash([0x11; 20]);

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn addresses() -> Vec<SocketAddr> {
    ["192.0.2.7:6881", "[2001:db8::7]:6882"].iter().map(|text| text.parse().unwrap()).collect()
}

fn serve(publication: Option<Publication>) -> Request {
    Request::Serve(Serve {
        info_hash: HASH,
        uploaded: u64::MAX,
        downloaded: 2,
        left: 3,
        event: AnnounceEvent::Started,
        num_want: Some(0),
        publication,
    })
}

fn person() -> PersonName {
    PersonName::new("ann").unwrap()
}

fn registration(release: bool) -> Registration {
    Registration { person: person(), key: PersonKey([3; 32]), signature: [4; 64], release }
}

fn relayed(peer: SocketAddr) -> Relayed {
    Relayed { info_hash: HASH, peer, data: Bytes::from_static(b"\0hello") }
}

fn every_request() -> Vec<PeerMessage> {
    let online =
        Online { version: 3, lowest_version: 1, client: Some("a".into()), ..Online::new(PeerId([7; 20]), 6881) };
    let token = Token::new([9; 16]);
    let publication = Publication { name: Some(name("n")), metainfo: Bytes::from_static(b"\0de"), token: Some(token) };
    let requests = [
        Request::Online(online.clone()),
        Request::Online(Online { passkey: "5f3ac0de".parse().ok(), ..online.clone() }),
        Request::Online(Online { port: 0, lowest_version: 3, client: None, challenge: true, relay: true, ..online }),
        Request::Offline,
        serve(None),
        serve(Some(publication.clone())),
        serve(Some(Publication { name: None, token: None, ..publication })),
        Request::Stop(Stop::Torrent(HASH)),
        Request::Stop(Stop::Name(name("ü"), token)),
        Request::Peers { info_hash: Some(HASH), num_want: Some(u32::MAX) },
        Request::Peers { info_hash: None, num_want: None },
        Request::File { key: TorrentKey::Name(name("x y")), num_want: None },
        Request::File { key: TorrentKey::InfoHash(HASH), num_want: Some(1) },
        Request::List(ListQuery {
            prefix: "pre/".into(),
            contains: "\u{df}x".into(),
            after: Some(name("z")),
            limit: Some(5),
        }),
        Request::List(ListQuery::default()),
        Request::Alive,
        Request::Register(registration(false)),
        Request::Register(registration(true)),
        Request::WhoIs(PersonQuery::Name(person())),
        Request::WhoIs(PersonQuery::Key(PersonKey([3; 32]))),
        Request::Relay(relayed(addresses()[0])),
        Request::Relay(relayed(addresses()[1])),
        Request::Shutdown { proof: [8; 32] },
    ];
    let mut messages: Vec<_> =
        (0..).zip(requests).map(|(id, request)| PeerMessage::Request(RequestId(id), request)).collect();
    messages.push(PeerMessage::Acknowledge(u32::MAX));
    messages
}

fn every_answer() -> Vec<TrackerMessage> {
    let entry = CatalogueEntry { name: name("a b"), size: u64::MAX, info_hash: HASH, complete: 1, incomplete: 2 };
    let list = PeerList { complete: 1, incomplete: u32::MAX, peers: addresses() };
    let session =
        Session { version: 1, address: addresses()[1], interval_s: 900, session: u64::MAX - 1, challenge: None };
    let serving = Serving { interval_s: 1, list: PeerList::default(), token: Some(Token::new([1; 16])) };
    let file = CatalogueFile { entry: entry.clone(), metainfo: Bytes::from_static(b"d4:infodee"), peers: addresses() };
    let change = PeerChange { info_hash: HASH, joined: list.clone(), gone: addresses() };
    let id = RequestId(u32::MAX);
    let mut messages: Vec<_> = [
        Response::Online(session),
        Response::Online(Session { challenge: Some(Challenge([5; 32])), ..session }),
        Response::Serving(serving),
        Response::Serving(Serving { interval_s: 0, list: list.clone(), token: None }),
        Response::Done,
        Response::Peers(list),
        Response::File(file),
        Response::List(vec![entry.clone(), entry], Some(name("a b"))),
        Response::List(Vec::new(), None),
        Response::Alive,
        Response::Registered { lifetime_days: 180 },
        Response::Person(Person { person: person(), key: PersonKey([3; 32]), idle_days: 2 }),
    ]
    .into_iter()
    .map(|response| TrackerMessage::Response(id, response))
    .collect();
    messages.push(TrackerMessage::Push(change));
    messages.push(TrackerMessage::Ping(0));
    messages.push(TrackerMessage::Relayed(relayed(addresses()[1])));
    messages.push(TrackerMessage::Refused(None, Refusal::new(RefusalCode::Full, "full").retry_in(60)));
    messages.extend(
        (1..18).map(|number| TrackerMessage::Refused(Some(id), Refusal::new(RefusalCode::from_number(number), "no"))),
    );
    messages
}

/// Every prefix is incomplete and asks for no more than there is; the whole is one frame, whatever follows it.
fn whole_frame(bytes: &[u8], sender: Sender) -> Frame<'_> {
    for end in 0..bytes.len() {
        let Ok(Decoded::Incomplete(need)) = decode(&bytes[..end], sender) else { panic!("cut at {end}") };
        assert!(need > end && need <= bytes.len(), "{need} at {end}");
    }
    let Ok(Decoded::Frame(frame, used)) = decode(bytes, sender) else { panic!("no frame") };
    assert_eq!(used, bytes.len());
    let longer = [bytes, b"\xff"].concat();
    assert_eq!(decode(&longer, sender), Ok(Decoded::Frame(frame, used)));
    frame
}

#[test]
fn requests_round_trip_split_at_every_byte() {
    for message in every_request() {
        assert_eq!(PeerMessage::parse(&whole_frame(&message.encode(), Sender::Peer)), Ok(message));
    }
}

#[test]
fn answers_round_trip_split_at_every_byte() {
    for message in every_answer() {
        assert_eq!(TrackerMessage::parse(&whole_frame(&message.encode(), Sender::Tracker)), Ok(message));
    }
}

#[test]
fn lengths_are_refused_before_the_body_comes() {
    let verdict = |opcode: u8, length: usize, sender| {
        let mut bytes = vec![opcode];
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        decode(&bytes, sender).map(|_| ()).map_err(|error| (error.code, error.consequence))
    };
    let refused = Err((RefusalCode::FrameLength, Consequence::AnswerAndClose));
    for sender in [Sender::Peer, Sender::Tracker] {
        for opcode in b'!'..=b'~' {
            let limit = frame_length_limit(opcode, sender);
            assert_eq!(verdict(opcode, limit, sender), Ok(()));
            assert_eq!(verdict(opcode, limit + 1, sender), refused);
            assert_eq!(verdict(opcode, u32::MAX as usize, sender), refused);
            assert_eq!(verdict(opcode, HEADER_LENGTH - 1, sender), refused);
            assert_eq!(verdict(opcode, HEADER_LENGTH, sender), Ok(()));
        }
    }
    assert_eq!(frame_length_limit(b'G', Sender::Peer), limits::NATIVE_SHORT_FRAME_LENGTH);
    for foreign in [&b"\x16\x03\x01"[..], b"\x13BitTorrent protocol", b"\0", b"\xff", b" "] {
        assert_eq!(decode(foreign, Sender::Peer).unwrap_err().consequence, Consequence::Close);
    }
    assert_eq!(decode(b"GET / HTTP/1.1\r\n", Sender::Peer).unwrap_err().code, RefusalCode::FrameLength);
}

#[test]
fn broken_bodies_are_answered_and_named() {
    let refusal = |opcode: u8, body: &[u8]| {
        let error = PeerMessage::parse(&Frame { opcode, body }).unwrap_err();
        assert_eq!(error.consequence, Consequence::Answer);
        (error.id.map(|id| id.0), error.code, error.text)
    };
    let malformed = |opcode, body: &[u8], id: Option<u32>, text: &str| {
        assert_eq!(refusal(opcode, body), (id, RefusalCode::Malformed, text.to_owned()));
    };
    malformed(b'F', b"", None, "id is missing");
    malformed(b'F', b"d2:idi-1ee", None, "id is not an integer from 0 to 4294967295");
    malformed(b'F', b"le", None, "the body is no bencoded dictionary: another kind of value");
    malformed(b'O', b"d2:idi7ee", Some(7), "version is missing");
    malformed(b'O', b"d2:idi7e4:porti65536e7:versioni1ee", Some(7), "peer_id is missing");
    malformed(b'X', b"d2:idi7e9:info_hash3:abce", Some(7), "info_hash is not a string of 20 bytes");
    malformed(b'X', b"d2:idi7e4:name1:ae", Some(7), "token is missing");
    malformed(b'G', b"d2:idi7e4:name1:/e", Some(7), "name is not a name: a name has no '/' in it");
    malformed(b'G', b"d2:idi7ee", Some(7), "name or info_hash is missing");
    malformed(b'D', b"d5:event7:stopped2:idi7ee", Some(7), "event is not started or completed");
    malformed(b'A', b"", None, "ping is missing");
    malformed(b'R', b"d2:idi7e6:person3:anne", Some(7), "key is missing");
    malformed(b'W', b"d2:idi7ee", Some(7), "person or key is missing");
    malformed(b'W', b"d2:idi7e6:person1:\x07e", Some(7), "person is not a name: a name has no '\\u{7}' in it");
    malformed(b'M', b"d4:data0:2:idi7ee", Some(7), "data is not a string of 1 to 8192 bytes");
    malformed(b'S', b"d2:idi7e5:proof3:abce", Some(7), "proof is not a string of 32 bytes");
    malformed(
        b'O',
        b"d9:challengei2e2:idi7e7:peer_id20:abcdefghijklmnopqrst4:porti1e7:versioni1ee",
        Some(7),
        "challenge is not 0 or 1",
    );
    let unknown = (Some(8), RefusalCode::UnknownOpcode, "unknown opcode Q".to_owned());
    assert_eq!(refusal(b'Q', b"d2:idi8ee"), unknown);
    let deep = [&b"d2:idi7e1:x"[..], &[b'l'; 2_000]].concat();
    assert!(refusal(b'L', &deep).2.contains("nested deeper than 4"));
    let many = [&b"d2:idi7e1:xl"[..], &b"0:".repeat(5_000), b"ee"].concat();
    assert!(refusal(b'D', &many).2.contains("more than 4096 values"));
}

#[test]
fn keys_of_later_versions_and_unsorted_bodies_are_taken() {
    let body = *b"d5:laterli1ee2:idi7e1:0d1:ai1eee";
    let alive = PeerMessage::Request(RequestId(7), Request::Alive);
    assert_eq!(PeerMessage::parse(&Frame { opcode: b'A', body: &body }), Ok(alive));
}

#[test]
fn a_search_takes_upper_for_lower_case_and_parts_for_parts() {
    let query = |prefix: &str, contains: &str| ListQuery {
        prefix: prefix.into(),
        contains: contains.into(),
        ..ListQuery::default()
    };
    for (prefix, contains, good) in [
        ("", "", true),
        ("Not", "", true),
        ("not", "", false),
        ("", "TES.\u{d6}", true),
        ("N", "\u{f6}", true),
        ("", "o\u{308}", false),
        ("", "esx", false),
    ] {
        assert_eq!(query(prefix, contains).matches(&name("Notes.\u{f6}l")), good, "{prefix:?} {contains:?}");
    }
    // A final sigma is one whatever stands behind it.
    assert!(query("", "\u{39f}\u{3a3}").matches(&name("\u{39f}\u{3a3}.txt")));
    assert!(query("", "\u{39f}\u{3a3}.").matches(&name("\u{39f}\u{3a3}.txt")));
}

#[test]
fn what_a_tracker_says_is_made_safe_to_print() {
    let frame = Frame { opcode: b'N', body: "d4:codei999e4:text9:\x1b[2J\n\u{202e}xe".as_bytes() };
    let refusal = Refusal::new(RefusalCode::Other(999), ".[2J..x");
    assert_eq!(TrackerMessage::parse(&frame), Ok(TrackerMessage::Refused(None, refusal)));
    assert_eq!(Refusal::new(RefusalCode::Full, &"ü".repeat(1_000)).text.chars().count(), limits::NATIVE_TEXT_LENGTH);
}

#[test]
fn the_largest_messages_fit_their_frames() {
    let peers: Vec<SocketAddr> = (0..5_000u32)
        .flat_map(|n| {
            let v6 = std::net::Ipv6Addr::from_bits(u128::MAX - u128::from(n));
            [SocketAddr::new(std::net::Ipv4Addr::from_bits(n + 1).into(), 9), SocketAddr::new(v6.into(), 9)]
        })
        .collect();
    let list = PeerList { complete: u32::MAX, incomplete: u32::MAX, peers };
    let entry = |text: &str| CatalogueEntry {
        name: name(text),
        size: u64::MAX,
        info_hash: HASH,
        complete: u32::MAX,
        incomplete: u32::MAX,
    };
    let page = vec![entry(&"x".repeat(255)); limits::NATIVE_PAGE + 1];
    let metainfo = Bytes::from(vec![0; limits::NATIVE_METAINFO_LENGTH]);
    let file = CatalogueFile { entry: entry(&"x".repeat(255)), metainfo: metainfo.clone(), peers: list.peers.clone() };
    let change = PeerChange { info_hash: HASH, joined: list.clone(), gone: list.peers.clone() };
    let id = RequestId(u32::MAX);
    for message in [
        TrackerMessage::Response(id, Response::Peers(list)),
        TrackerMessage::Response(id, Response::File(file)),
        TrackerMessage::Response(id, Response::List(page, Some(name(&"x".repeat(255))))),
        TrackerMessage::Refused(Some(id), Refusal::new(RefusalCode::Full, &"\u{1f600}".repeat(999))),
        TrackerMessage::Push(change),
    ] {
        let bytes = message.encode();
        let Ok(Decoded::Frame(frame, _)) = decode(&bytes, Sender::Tracker) else { panic!("over the bound") };
        assert!(TrackerMessage::parse(&frame).is_ok());
    }
    let longest = Relayed { data: vec![9; limits::NATIVE_RELAYED_LENGTH].into(), ..relayed(addresses()[1]) };
    let bytes = PeerMessage::Request(id, Request::Relay(longest.clone())).encode();
    assert!(matches!(decode(&bytes, Sender::Peer), Ok(Decoded::Frame(..))));
    let bytes = TrackerMessage::Relayed(longest).encode();
    assert!(matches!(decode(&bytes, Sender::Tracker), Ok(Decoded::Frame(..))));
    let token = Some(Token::new([255; 16]));
    let publication = Publication { name: Some(name(&"x".repeat(255))), metainfo, token };
    let bytes = PeerMessage::Request(id, serve(Some(publication))).encode();
    assert!(matches!(decode(&bytes, Sender::Peer), Ok(Decoded::Frame(..))));
}

proptest! {
    #[test]
    fn no_bytes_panic(opcode in prop::sample::select(b"OFDXPGLARWMSYNQ".to_vec()), body in prop::collection::vec(any::<u8>(), 0..200)) {
        let frame = Frame { opcode, body: &body };
        let _ = (PeerMessage::parse(&frame), TrackerMessage::parse(&frame));
        for sender in [Sender::Peer, Sender::Tracker] {
            if let Ok(Decoded::Frame(_, used)) = decode(&body, sender) {
                prop_assert!((HEADER_LENGTH..=body.len()).contains(&used));
            }
        }
    }

    /// One byte of a good message changed: an error or another message, never a panic, never beyond the bounds.
    #[test]
    fn mutations_are_survived(which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let requests = every_request();
        let answers = every_answer();
        for (mut bytes, sender) in [
            (which.get(&requests).encode(), Sender::Peer),
            (which.get(&answers).encode(), Sender::Tracker),
        ] {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let Ok(Decoded::Frame(frame, _)) = decode(&bytes, sender) else { continue };
            match sender {
                Sender::Peer => if let Ok(message) = PeerMessage::parse(&frame) {
                    let again = message.encode();
                    let Ok(Decoded::Frame(frame, _)) = decode(&again, sender) else { panic!("own frame") };
                    prop_assert_eq!(PeerMessage::parse(&frame), Ok(message));
                },
                Sender::Tracker => if let Ok(message) = TrackerMessage::parse(&frame) {
                    let again = message.encode();
                    let Ok(Decoded::Frame(frame, _)) = decode(&again, sender) else { panic!("own frame") };
                    prop_assert_eq!(TrackerMessage::parse(&frame), Ok(message));
                },
            }
        }
    }
}

/// Ann, whose secret key is 32 times the byte 7, and how she registers over a connection with the challenge of 32 times 0x2a.
fn documented_people() -> (Person, PersonKey, Registration) {
    use ed25519_dalek::{Signer, SigningKey};
    let secret = SigningKey::from_bytes(&[7; 32]);
    let key = PersonKey(secret.verifying_key().to_bytes());
    let text = Claim::Register.text(&Challenge([0x2a; 32]), &key, &person());
    let registration = Registration { person: person(), key, signature: secret.sign(&text).to_bytes(), release: false };
    (Person { person: person(), key, idle_days: 2 }, key, registration)
}

/// The messages of the examples in the document, in its order.
fn documented() -> (Vec<PeerMessage>, Vec<TrackerMessage>) {
    let metainfo = Bytes::from_static(
        b"d4:infod6:lengthi5e4:name9:notes.txt12:piece lengthi16384e6:pieces20:\
        ABCDEFGHIJKLMNOPQRSTee",
    );
    let (token, hash) = (Token::new(*b"0123456789ABCDEF"), InfoHash(*b"abcdefghijklmnopqrst"));
    let progress = |left, event, publication| {
        Request::Serve(Serve { info_hash: hash, uploaded: 0, downloaded: 0, left, event, num_want: None, publication })
    };
    let publication = Publication { name: Some(name("notes.txt")), metainfo: metainfo.clone(), token: Some(token) };
    let peer_id = PeerId::new(*b"abcdefghijkl");
    let requests = [
        Request::Online(Online::new(peer_id, 6881)),
        Request::Offline,
        progress(5, AnnounceEvent::Started, None),
        progress(0, AnnounceEvent::Started, Some(publication)),
        Request::Stop(Stop::Torrent(hash)),
        Request::Stop(Stop::Name(name("notes.txt"), token)),
        Request::Peers { info_hash: Some(hash), num_want: Some(10) },
        Request::File { key: TorrentKey::Name(name("notes.txt")), num_want: None },
        Request::List(ListQuery { prefix: "n".into(), limit: Some(10), ..ListQuery::default() }),
        Request::Alive,
    ];
    let mut from_peer: Vec<_> =
        (1..).zip(requests).map(|(id, request)| PeerMessage::Request(RequestId(id), request)).collect();
    from_peer.push(PeerMessage::Acknowledge(7));
    // What came later stands beside its kind, under the ids that follow.
    let search = Request::List(ListQuery { contains: "TES".into(), ..ListQuery::default() });
    from_peer.insert(9, PeerMessage::Request(RequestId(11), search));
    let (people, key, signed) = documented_people();
    let later = [
        Request::Online(Online { challenge: true, relay: true, ..Online::new(peer_id, 6881) }),
        Request::Register(signed),
        Request::WhoIs(PersonQuery::Name(people.person.clone())),
        Request::WhoIs(PersonQuery::Key(key)),
        Request::Relay(Relayed { info_hash: hash, peer: addresses()[0], data: Bytes::from_static(b"hello") }),
        Request::Shutdown { proof: shutdown_proof(&Challenge([0x2a; 32]), b"correct horse battery") },
    ];
    from_peer.extend((12..).zip(later).map(|(id, request)| PeerMessage::Request(RequestId(id), request)));
    let with_key = Online { passkey: "5f3ac0de".parse().ok(), ..Online::new(peer_id, 6881) };
    from_peer.insert(1, PeerMessage::Request(RequestId(18), Request::Online(with_key)));
    let entry = CatalogueEntry { name: name("notes.txt"), size: 5, info_hash: hash, complete: 1, incomplete: 1 };
    let list = |peers: &[SocketAddr]| PeerList { complete: 1, incomplete: 1, peers: peers.to_vec() };
    let peers = addresses();
    let answer = |id, response| TrackerMessage::Response(RequestId(id), response);
    let session =
        Session { version: 1, address: peers[0], interval_s: 900, session: 0x1122_3344_5566_7788, challenge: None };
    let serving = Serving { interval_s: 900, list: list(&peers[1..]), token: Some(token) };
    let refusal = Refusal::new(RefusalCode::NotFound, "no such name");
    let no_key = "this tracker is private: the announce URL needs your key";
    let from_tracker = vec![
        answer(1, Response::Online(session)),
        answer(4, Response::Serving(serving)),
        answer(5, Response::Done),
        TrackerMessage::Refused(Some(RequestId(8)), refusal),
        TrackerMessage::Refused(Some(RequestId(19)), Refusal::new(RefusalCode::NotAllowed, no_key)),
        answer(8, Response::File(CatalogueFile { entry: entry.clone(), metainfo, peers: peers[..1].to_vec() })),
        answer(7, Response::Peers(list(&peers))),
        TrackerMessage::Push(PeerChange { info_hash: hash, joined: list(&peers[..1]), gone: peers[1..].to_vec() }),
        answer(9, Response::List(vec![entry], Some(name("notes.txt")))),
        answer(10, Response::Alive),
        TrackerMessage::Ping(7),
        answer(12, Response::Online(Session { challenge: Some(Challenge([0x2a; 32])), ..session })),
        answer(13, Response::Registered { lifetime_days: 180 }),
        answer(14, Response::Person(people)),
        TrackerMessage::Relayed(Relayed { info_hash: hash, peer: peers[1], data: Bytes::from_static(b"hello") }),
    ];
    (from_peer, from_tracker)
}

/// The bytes of every `hex` block of the document that this side sends; the text column is for people.
fn examples(sender: &str) -> Vec<Vec<u8>> {
    let document = include_str!("../../../docs/native-protocol.md");
    let blocks = document.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("hex "));
    let mine = blocks.filter_map(|block| block.strip_prefix(sender));
    let bytes = |line: &str| -> Vec<u8> {
        let hex = line.split('|').next().unwrap_or_default();
        hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
    };
    mine.map(|block| block.lines().flat_map(bytes).collect()).collect()
}

/// How the document shows bytes: 16 a line, in hexadecimal and as text.
fn shown(bytes: &[u8]) -> String {
    let line = |row: &[u8]| {
        let hex: Vec<_> = row.iter().map(|byte| format!("{byte:02x}")).collect();
        let text: String =
            row.iter().map(|&byte| if matches!(byte, b' '..=b'~') { byte as char } else { '.' }).collect();
        format!("{:<47} |{text}|\n", hex.join(" "))
    };
    bytes.chunks(16).map(line).collect()
}

#[test]
fn the_document_shows_what_is_sent() {
    let (from_peer, from_tracker) = documented();
    let sent = [
        ("peer", from_peer.iter().map(PeerMessage::encode).collect::<Vec<_>>()),
        ("tracker", from_tracker.iter().map(TrackerMessage::encode).collect()),
    ];
    for (sender, messages) in sent {
        let examples = examples(sender);
        for (index, message) in messages.iter().enumerate() {
            let example = examples.get(index).map(Vec::as_slice).unwrap_or_default();
            assert!(example == message, "example {index} of the {sender} should be\n{}", shown(message));
        }
        assert_eq!(examples.len(), messages.len());
    }
}

#[test]
fn the_document_says_what_is_read() {
    let (from_peer, from_tracker) = documented();
    for (example, message) in examples("peer").iter().zip(from_peer) {
        assert_eq!(PeerMessage::parse(&whole_frame(example, Sender::Peer)), Ok(message));
    }
    for (example, message) in examples("tracker").iter().zip(from_tracker) {
        assert_eq!(TrackerMessage::parse(&whole_frame(example, Sender::Tracker)), Ok(message));
    }
}
