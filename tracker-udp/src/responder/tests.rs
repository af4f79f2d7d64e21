use super::*;
use crate::connection_id::Key;
use std::time::Duration;
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::announce::AnnounceReply;
use swarm_proto::announce::udp::{ConnectionId, TransactionId, announce_request, connect_request, scrape_request};
use swarm_proto::id::PeerId;
use swarm_tracker_core::{Access, KeyLimits, Rate, Rates, StoreConfig};

const TRANSACTION: TransactionId = TransactionId(0x1234_5678);

/// A tracker without sockets, and its clock.
struct Tracker {
    responder: Responder,
    moment: Moment,
    time: SystemTime,
}

impl Tracker {
    fn new(config: StoreConfig) -> Self {
        let (time, instant) = (SystemTime::now(), Instant::now());
        let store = Arc::new(Store::new(config, instant));
        let responder = Responder::new(store, ConnectionIds::new(&Key::random()));
        Self { responder, moment: Moment { instant, period: Period::of(time) }, time }
    }

    fn fresh() -> Self {
        Self::new(StoreConfig::default())
    }

    fn later(&mut self, time: Duration) {
        self.time += time;
        self.moment = Moment { instant: self.moment.instant + time, period: Period::of(self.time) };
    }

    /// The answer as it goes out, and what it counts as.
    fn raw(&self, from: &str, datagram: &[u8]) -> (Vec<u8>, Outcome) {
        let mut out = Vec::new();
        let outcome =
            self.responder.respond(self.moment, from.parse().unwrap(), datagram, &mut Scratch::default(), &mut out);
        (out, outcome)
    }

    fn ask(&self, from: &str, datagram: &[u8]) -> Reply {
        let (out, _) = self.raw(from, datagram);
        let (transaction, reply) = Reply::read(&out, Family::of(address(from).ip())).expect("an answer");
        assert_eq!(transaction, TRANSACTION);
        reply
    }

    /// Sends the datagram where silence is expected; why it is silent.
    fn silence(&self, from: &str, datagram: &[u8]) -> Outcome {
        let (out, outcome) = self.raw(from, datagram);
        assert_eq!(out, []);
        outcome
    }

    fn connect(&self, from: &str) -> ConnectionId {
        match self.ask(from, &connect_request(TRANSACTION)) {
            Reply::Connected(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn announce(&self, from: &str, announce: &Announce) -> AnnounceReply {
        let request = announce_request(self.connect(from), TRANSACTION, announce, "/announce");
        match self.ask(from, &request) {
            Reply::Announced(reply) => reply,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(&self, from: &str, datagram: &[u8]) -> String {
        match self.ask(from, datagram) {
            Reply::Refused(reason) => reason.into_owned(),
            other => panic!("{other:?}"),
        }
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn announce(n: u8, left: u64) -> Announce {
    Announce::new(InfoHash([1; 20]), PeerId([n; 20]), 6881, left)
}

fn told(reply: &AnnounceReply) -> Vec<String> {
    let mut told: Vec<String> = reply.peers.iter().map(|peer| peer.address.to_string()).collect();
    told.sort();
    told
}

#[test]
fn peers_are_named_by_their_source_and_the_port_they_tell() {
    let tracker = Tracker::fresh();
    let config = tracker.responder.store.config().clone();
    assert!(tracker.announce("8.8.8.1:50000", &announce(1, 0)).peers.is_empty());
    let mut claims = announce_request(tracker.connect("8.8.8.2:50000"), TRANSACTION, &announce(2, 9), "");
    claims[84..88].copy_from_slice(&[9, 9, 9, 9]);
    tracker.ask("8.8.8.2:50000", &claims);
    let reply = tracker.announce("8.8.8.3:6", &announce(3, 9));
    assert_eq!(told(&reply), ["8.8.8.1:6881", "8.8.8.2:6881"]);
    assert_eq!((reply.interval, reply.complete, reply.incomplete), (config.interval, Some(1), Some(2)));
    let stopped = Announce { event: AnnounceEvent::Stopped, num_want: Some(50), ..announce(1, 0) };
    assert!(tracker.announce("8.8.8.1:1", &stopped).peers.is_empty());
    assert_eq!(told(&tracker.announce("8.8.8.3:6", &announce(3, 9))), ["8.8.8.2:6881"]);
}

#[test]
fn each_family_hears_of_its_own() {
    let tracker = Tracker::fresh();
    for (n, from) in [(1, "8.8.8.1:1"), (2, "[::ffff:8.8.8.2]:1"), (3, "[2001:db8::3]:1"), (4, "[2001:db8::4]:1")] {
        tracker.announce(from, &announce(n, 9));
    }
    let v4 = tracker.announce("[::ffff:8.8.8.9]:1", &announce(9, 9));
    assert_eq!(told(&v4), ["8.8.8.1:6881", "8.8.8.2:6881"], "mapped IPv4 is IPv4");
    let v6 = tracker.announce("[2001:db8::9]:1", &announce(8, 9));
    assert_eq!((told(&v6), v6.incomplete), (vec!["[2001:db8::3]:6881".into(), "[2001:db8::4]:6881".into()], Some(6)));
}

#[test]
fn a_connection_costs_the_asker_as_much_as_us() {
    let tracker = Tracker::fresh();
    let (out, outcome) = tracker.raw("8.8.8.1:1", &connect_request(TRANSACTION));
    assert_eq!((out.len(), outcome), (16, Outcome::Connected));
    let padded = [connect_request(TRANSACTION), vec![0; 500]].concat();
    assert_eq!(tracker.raw("8.8.8.1:1", &padded).0, out, "more bytes bring no more, and the same id to all");
}

#[test]
fn whoever_has_not_proven_his_address_hears_nothing() {
    let mut tracker = Tracker::fresh();
    let id = tracker.connect("8.8.8.1:1");
    let first = announce(1, 9);
    let request = |id: ConnectionId| announce_request(id, TRANSACTION, &first, "");
    let malformed = &[id.0.to_be_bytes().as_slice(), b"\0\0\0\x09\0\0\0\0"].concat();
    for wrong in [0, u64::MAX, id.0 ^ 1 << 5, id.0.swap_bytes(), 0x0417_2710_1980] {
        let datagram = request(ConnectionId(wrong));
        assert_eq!(tracker.silence("8.8.8.1:1", &datagram), Outcome::Unproven, "{wrong:#x}");
    }
    assert_eq!(tracker.silence("8.8.8.2:1", &request(id)), Outcome::Unproven, "somebody else's");
    assert_eq!(tracker.silence("8.8.8.2:1", malformed), Outcome::Unproven, "not even an error");
    assert_eq!(tracker.silence("8.8.8.2:1", &scrape_request(id, TRANSACTION, &[])), Outcome::Unproven);
    assert_eq!(tracker.responder.store.stats().peers, 0);
    assert!(matches!(tracker.ask("8.8.8.1:2", &request(id)), Reply::Announced(_)), "by another socket");
    tracker.later(Duration::from_secs(79));
    assert!(matches!(tracker.ask("8.8.8.1:1", &request(id)), Reply::Announced(_)));
    tracker.later(Duration::from_secs(41));
    assert_eq!(tracker.silence("8.8.8.1:1", &request(id)), Outcome::Unproven, "after two minutes");
    assert_ne!(tracker.connect("8.8.8.1:1"), id);
}

#[test]
fn every_datagram_cut_anywhere_is_answered_right_or_not_at_all() {
    let tracker = Tracker::fresh();
    let id = tracker.connect("8.8.8.1:1");
    let announce = announce_request(id, TRANSACTION, &announce(1, 9), "/key");
    for end in 0..announce.len() {
        let datagram = &announce[..end];
        match end {
            0..16 => assert_eq!(tracker.silence("8.8.8.1:1", datagram), Outcome::Malformed),
            16..98 => assert_eq!(tracker.refusal("8.8.8.1:1", datagram), "the request is cut off"),
            _ => assert!(matches!(tracker.ask("8.8.8.1:1", datagram), Reply::Announced(_)), "options are free"),
        }
    }
    for end in 0..16 {
        assert_eq!(tracker.silence("8.8.8.1:1", &connect_request(TRANSACTION)[..end]), Outcome::Malformed);
    }
    for odd in [b"\xff".as_slice(), b"\x02", b"\x02\xff", b"\0\0\0", &[1; 900]] {
        let datagram = [&announce[..98], odd].concat();
        assert!(matches!(tracker.ask("8.8.8.1:1", &datagram), Reply::Announced(_)), "{odd:?}");
    }
}

#[test]
fn what_is_wrong_is_said_to_those_who_are_there() {
    let tracker = Tracker::fresh();
    let from = "8.8.8.1:1";
    let id = tracker.connect(from);
    let no_port = announce_request(id, TRANSACTION, &Announce { port: 0, ..announce(1, 9) }, "");
    assert_eq!(tracker.refusal(from, &no_port), "port is invalid");
    for action in [3, 4, u32::MAX] {
        let mut unknown = no_port.clone();
        unknown[8..12].copy_from_slice(&u32::to_be_bytes(action));
        assert_eq!(tracker.refusal(from, &unknown), "unknown action");
    }
    let mut connect = connect_request(TRANSACTION);
    connect[..8].copy_from_slice(&id.0.to_be_bytes());
    assert_eq!(tracker.silence(from, &connect), Outcome::Malformed, "a connect without the number of the protocol");
    assert_eq!(tracker.responder.store.stats().announces, 0);
}

#[test]
fn scrapes_name_1_to_74_torrents() {
    let tracker = Tracker::fresh();
    let from = "8.8.8.1:1";
    tracker.announce("8.8.8.2:1", &announce(1, 0));
    tracker.announce("8.8.8.3:1", &announce(2, 9));
    let id = tracker.connect(from);
    let hashes: Vec<InfoHash> = (0..74).map(|n| InfoHash([n; 20])).collect();
    let all = scrape_request(id, TRANSACTION, &hashes);
    match tracker.ask(from, &all) {
        Reply::Scraped(entries) => {
            assert_eq!(entries.len(), 74);
            assert_eq!((entries[1].complete, entries[1].incomplete, entries[2].complete), (1, 1, 0));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(tracker.refusal(from, &all[..16]), "info_hash is missing");
    assert_eq!(tracker.refusal(from, &all[..35]), "the request is cut off");
    let more = [all.as_slice(), &[9; 20]].concat();
    assert_eq!(tracker.refusal(from, &more), "too many hashes in one scrape");
}

#[test]
fn answers_are_as_long_as_wished_and_fit_a_packet() {
    let tracker = Tracker::new(StoreConfig { rates: Rates::UNLIMITED, ..StoreConfig::default() });
    for n in 0..=255 {
        tracker.announce(&format!("8.8.8.{n}:1"), &announce(n, 9));
        tracker.announce(&format!("[2001:db8::{n:x}]:1"), &announce(n, 9));
    }
    for (from, most) in [("8.8.9.1:1", 200), ("[2001:db8::9:1]:1", 77)] {
        let told = |num_want| tracker.announce(from, &Announce { num_want, ..announce(7, 9) }).peers.len();
        assert_eq!([told(None), told(Some(0)), told(Some(3))], [50, 0, 3]);
        // Of those with its own id it gets none.
        assert!((most - 1..=most).contains(&told(Some(u32::MAX))), "{}", told(Some(u32::MAX)));
        let request = announce_request(
            tracker.connect(from),
            TRANSACTION,
            &Announce { num_want: Some(1 << 30), ..announce(7, 9) },
            "",
        );
        assert!(tracker.raw(from, &request).0.len() <= 1_452);
    }
}

#[test]
fn one_network_asks_over_udp_so_often_and_no_more() {
    let rates = Rates { requests: Rate { burst: 10, per_second: 1 }, ..Rates::UNLIMITED };
    let tracker = Tracker::new(StoreConfig { rates, ..StoreConfig::default() });
    let from = "8.8.8.1:1";
    for _ in 0..3 {
        tracker.announce(from, &announce(1, 9));
    }
    let id = tracker.connect(from);
    let scrape = scrape_request(id, TRANSACTION, &[InfoHash([1; 20]); 7]);
    assert!(matches!(tracker.ask(from, &scrape), Reply::Scraped(_)), "a scrape costs what it asks for");
    for request in [scrape, announce_request(id, TRANSACTION, &announce(1, 9), "")] {
        assert_eq!(tracker.refusal(from, &request), "your network asks too often, or brings in too many peers");
    }
    let stopped = Announce { event: AnnounceEvent::Stopped, ..announce(1, 9) };
    tracker.announce(from, &stopped);
    assert_eq!(tracker.responder.store.stats().peers, 0, "who leaves is always heard");
    tracker.announce("8.8.8.2:1", &announce(2, 9));
}

/// A tracker that knows the key `secret`.
fn private() -> (Tracker, Arc<Access>) {
    let access = Arc::new(Access::default());
    assert!(access.set_key(b"secret", KeyLimits::default()));
    let config = StoreConfig { access: Some(Arc::clone(&access)), ..StoreConfig::default() };
    (Tracker::new(config), access)
}

#[test]
fn a_private_tracker_takes_its_key_from_the_path() {
    let (tracker, _) = private();
    let from = "192.0.2.1:6881";
    let connection = tracker.connect(from);
    let ask = |path: &str| announce_request(connection, TRANSACTION, &announce(1, 0), path);
    assert!(matches!(tracker.ask(from, &ask("/secret/announce?x=1")), Reply::Announced(_)));
    assert_eq!(tracker.refusal(from, &ask("/announce")), "this tracker is private: the announce URL needs your key");
    assert_eq!(tracker.refusal(from, &ask("/guess/announce")), "unknown key in the announce URL");
}

#[test]
fn a_private_tracker_is_scraped_by_the_key_of_the_last_announce() {
    let (mut tracker, access) = private();
    let scrape = |tracker: &Tracker, from: &str| {
        tracker.ask(from, &scrape_request(tracker.connect(from), TRANSACTION, &[announce(1, 0).info_hash]))
    };
    let told = |reply: Reply| match reply {
        Reply::Scraped(entries) => {
            Ok(entries.iter().map(|entry| (entry.complete, entry.incomplete)).collect::<Vec<_>>())
        }
        Reply::Refused(reason) => Err(reason.into_owned()),
        other => panic!("{other:?}"),
    };
    let no_key = Err("this tracker is private: the announce URL needs your key".to_owned());
    let serve = |tracker: &Tracker, path: &str| {
        let from = "192.0.2.1:6881";
        tracker.ask(from, &announce_request(tracker.connect(from), TRANSACTION, &announce(1, 0), path))
    };
    assert_eq!(told(scrape(&tracker, "192.0.2.1:6881")), no_key, "nothing was announced from there");
    assert!(matches!(serve(&tracker, "/guess/announce"), Reply::Refused(_)));
    assert_eq!(told(scrape(&tracker, "192.0.2.1:6881")), no_key, "a wrong key is no key");
    assert!(matches!(serve(&tracker, "/secret/announce"), Reply::Announced(_)));
    assert_eq!(told(scrape(&tracker, "192.0.2.1:9")), Ok(vec![(1, 0)]), "from any port");
    assert_eq!(told(scrape(&tracker, "192.0.2.2:6881")), no_key, "another address");
    // A connection id does not bring an address with it.
    let id = tracker.connect("192.0.2.2:6881");
    let borrowed = scrape_request(id, TRANSACTION, &[announce(1, 0).info_hash]);
    assert_eq!(tracker.silence("192.0.2.1:6881", &borrowed), Outcome::Unproven);

    assert!(access.remove_key(b"secret"));
    assert_eq!(told(scrape(&tracker, "192.0.2.1:9")), Err("unknown key in the announce URL".to_owned()));
    assert!(access.set_key(b"secret", KeyLimits::default()));
    assert!(told(scrape(&tracker, "192.0.2.1:9")).is_ok());
    tracker.later(tracker.responder.store.config().peer_ttl + Duration::from_secs(1));
    assert_eq!(told(scrape(&tracker, "192.0.2.1:9")), no_key, "it was too long ago");
}
