//! What peers and trackers tell each other, and the links by which both are named.

use crate::input::Input;
use std::time::Duration;
use swarm_proto::announce::http::{
    HttpAnnounce, PeerForm, announce_url, encode_failure, encode_reply, encode_scrape, parse_query, parse_reply,
    parse_scrape, parse_scrape_query, scrape_url,
};
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::limits;
use swarm_proto::magnet::Magnet;
use swarm_proto::native::{
    Consequence, Decoded, Frame, HEADER_LENGTH, Name, NativeUrl, PeerMessage, Request, Sender, Token, TrackerMessage,
    decode, frame_length_limit,
};
use swarm_proto::path::is_deceptive;

/// A query that a tracker takes says the same when it is written again; a base URL lets nothing into a request line.
pub fn http_announce(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match parse_query(bytes) {
        Ok(parsed) => check_announce(&parsed),
        Err(error) => check_failure(&error.to_string()),
    }
    if let Ok(hashes) = parse_scrape_query(bytes) {
        assert!(!hashes.is_empty() && hashes.len() <= 74);
        let url = scrape_url("http://t/announce", &hashes).expect("a plain URL");
        assert_eq!(parse_scrape_query(url.split_once('?').expect("a query").1), Ok(hashes));
    }
    let Ok(HttpAnnounce { announce, .. }) =
        parse_query("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=1&left=0&trackerid=%0d%0a")
    else {
        panic!("a plain query");
    };
    if let Ok(url) = announce_url(&text, &announce) {
        assert!(!url.contains(|c: char| c.is_control() || c.is_whitespace() || c == '#'), "{url:?}");
        let (base, written) = (url::Url::parse(&text), url::Url::parse(&url).expect("a URL"));
        let base = base.expect("it was taken");
        assert_eq!((base.host(), base.port(), base.path()), (written.host(), written.port(), written.path()));
        assert!(written.query().is_some_and(|query| query.contains("info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=")));
    }
}

fn check_announce(parsed: &HttpAnnounce) {
    let announce = &parsed.announce;
    assert!(announce.port != 0 && announce.tracker_id.as_ref().is_none_or(|id| id.len() <= 256));
    let url = announce_url("http://t/announce", announce).expect("a plain URL");
    let again = parse_query(url.split_once('?').expect("a query").1).expect("a query of our own");
    assert_eq!(&again.announce, announce);
    let ip = parsed.ip.unwrap_or([192, 0, 2, 1].into());
    let peer = PeerAddress { address: (ip, announce.port).into(), peer_id: Some(announce.peer_id) };
    let reply = AnnounceReply { peers: vec![peer; 3], external_ip: parsed.ip, ..AnnounceReply::default() };
    let body = encode_reply(&reply, Some(1), parsed.form);
    assert!(parse_reply(&body).is_ok_and(|read| read.external_ip == parsed.ip.map(|ip| ip.to_canonical())));
}

fn check_failure(reason: &str) {
    let refused = parse_reply(&encode_failure(reason, None));
    assert_eq!(refused, Err(TrackerError::Refused { reason: reason.into(), retry_in: None }));
}

/// A tracker's answer brings bounded, printable, dialable values, and is read back as it was written.
pub fn http_reply(bytes: &[u8]) {
    match parse_reply(bytes) {
        Ok(reply) => check_reply(reply),
        Err(TrackerError::Refused { reason, retry_in }) => {
            check_line(&reason);
            assert!(
                retry_in
                    .is_none_or(|time| time == Duration::MAX || time.as_secs() % 60 == 0 || time.as_secs() == u64::MAX)
            );
        }
        Err(error) => assert!(error.to_string().len() < 1_000),
    }
    if let Ok(entries) = parse_scrape(bytes) {
        assert!(entries.len() <= 74);
        let mut unique = entries.clone();
        unique.sort_by_key(|(hash, _)| *hash);
        unique.dedup_by_key(|(hash, _)| *hash);
        if unique.len() == entries.len() {
            assert_eq!(parse_scrape(&encode_scrape(&unique)), Ok(unique));
        }
    }
}

fn check_reply(reply: AnnounceReply) {
    assert!(reply.peers.len() <= limits::KNOWN_PEERS);
    for peer in &reply.peers {
        let ip = peer.address.ip();
        assert!(peer.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(), "{peer:?}");
        assert_eq!(ip, ip.to_canonical());
    }
    assert!(reply.tracker_id.as_ref().is_none_or(|id| id.len() <= 256));
    reply.warning.iter().for_each(|warning| check_line(warning));
    let written = encode_reply(&reply, None, PeerForm::Dictionary);
    if written.len() <= limits::TRACKER_REPLY_LENGTH {
        assert_eq!(parse_reply(&written).as_ref(), Ok(&reply));
    }
    let compact = parse_reply(&encode_reply(&reply, None, PeerForm::Compact)).expect("an answer of our own");
    let addresses = |reply: &AnnounceReply| {
        let mut all: Vec<_> = reply.peers.iter().map(|peer| peer.address).collect();
        all.sort();
        all
    };
    assert_eq!(addresses(&compact), addresses(&reply));
}

/// Text of a stranger on one line of a terminal.
fn check_line(text: &str) {
    assert!(text.chars().count() <= 250 && !text.contains(is_deceptive), "{text:?} would deceive on a terminal");
}

/// A link that is read is written in ASCII and means the same again; so for addresses of native trackers and tokens.
pub fn magnet(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(magnet) = text.parse::<Magnet>() {
        assert!(magnet.trackers.len() <= limits::TRACKERS && magnet.web_seeds.len() <= limits::TRACKERS);
        assert!(magnet.peers.len() <= limits::METAINFO_PEERS);
        if let Some(name) = &magnet.name {
            assert!(!name.contains(|c| is_deceptive(c) && c != '\n' && c != '\t'), "{name:?}");
        }
        let link = magnet.to_string();
        assert!(link.bytes().all(|byte| byte.is_ascii_graphic()), "{link:?}");
        if link.len() <= limits::MAGNET_LENGTH {
            assert_eq!(link.parse(), Ok(magnet));
        }
    }
    if let Ok(url) = text.parse::<NativeUrl>() {
        let written = url.to_string();
        assert!(!written.contains(|c: char| c.is_control() || c.is_whitespace()), "{written:?}");
        assert_eq!(written.parse(), Ok(url));
    }
    if let Some(token) = Token::from_hex(&text) {
        assert_eq!(token.to_hex(), text.to_lowercase());
    }
    if let Ok(name) = Name::new(&text) {
        assert!(!name.as_str().contains(['/', '\\', '\0']) && name.as_str().len() <= 255);
    }
}

/// Frames of the native protocol from either side mean the same whole and cut anywhere, and what is read is written again.
pub fn native_frames(bytes: &[u8]) {
    let mut input = Input(bytes);
    let sender = if input.flag() { Sender::Tracker } else { Sender::Peer };
    let mut rest = input.0;
    while let Some(used) = check_native_frame(rest, sender) {
        rest = &rest[used..];
    }
}

/// Checks the frame in front; the bytes of it if there is one.
fn check_native_frame(stream: &[u8], sender: Sender) -> Option<usize> {
    let whole = decode(stream, sender);
    let limit = |opcode: u8| frame_length_limit(opcode, sender);
    match &whole {
        Ok(Decoded::Frame(frame, used)) => {
            assert!(*used >= HEADER_LENGTH && *used <= limit(frame.opcode) && *used <= stream.len());
            for cut in [0, 1, 4, 5, used / 2, used - 1] {
                let needed = decode(&stream[..cut.min(used - 1)], sender);
                let needed = if let Ok(Decoded::Incomplete(needed)) = needed { needed } else { panic!("a cut frame") };
                assert!(needed == HEADER_LENGTH || needed == *used);
            }
            match sender {
                Sender::Peer => check_request(frame),
                Sender::Tracker => check_response(frame),
            }
            return Some(*used);
        }
        Ok(Decoded::Incomplete(needed)) => {
            assert!(*needed > stream.len() && *needed <= limit(stream.first().copied().unwrap_or(b'D')))
        }
        Err(error) => {
            assert!(error.consequence != Consequence::Answer, "the next frame cannot be found");
            assert_eq!(error.refusal().is_none(), error.consequence == Consequence::Close);
        }
    }
    None
}

fn frame_of(bytes: &[u8], sender: Sender) -> Frame<'_> {
    match decode(bytes, sender) {
        Ok(Decoded::Frame(frame, used)) if used == bytes.len() => frame,
        other => panic!("our own frame: {other:?}"),
    }
}

fn check_request(frame: &Frame<'_>) {
    match PeerMessage::parse(frame) {
        Ok(message) => {
            if let PeerMessage::Request(_, Request::Online(online)) = &message {
                online.client.iter().for_each(|client| check_line(client));
            }
            assert_eq!(PeerMessage::parse(&frame_of(&message.encode(), Sender::Peer)), Ok(message));
        }
        Err(error) => check_native_error(&error),
    }
}

fn check_response(frame: &Frame<'_>) {
    match TrackerMessage::parse(frame) {
        Ok(message) => {
            if let TrackerMessage::Refused(_, refusal) = &message {
                check_line(&refusal.text);
            }
            assert_eq!(TrackerMessage::parse(&frame_of(&message.encode(), Sender::Tracker)), Ok(message));
        }
        Err(error) => check_native_error(&error),
    }
}

/// A refusal is short whatever it is about, and can be sent.
fn check_native_error(error: &swarm_proto::native::NativeError) {
    assert_eq!(error.consequence, Consequence::Answer);
    let refusal = error.refusal().expect("it is answered");
    check_line(&refusal.text);
    frame_of(&TrackerMessage::Refused(error.id, refusal).encode(), Sender::Tracker);
}
