use super::*;
use std::net::IpAddr;
use swarm_proto::announce::PeerAddress;
use swarm_proto::announce::udp::{ConnectionId, Query, Reply, Request, TransactionId};
use swarm_proto::id::PeerId;
use tokio::net::UdpSocket;

const LIMIT: Duration = Duration::from_secs(20);
const V4: &str = "127.0.0.1:0";
const V6: &str = "[::1]:0";

fn announce(event: AnnounceEvent) -> Announce {
    Announce { event, num_want: Some(50), key: 1, ..Announce::new(InfoHash([0xf0; 20]), PeerId([1; 20]), 6881, 5) }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A tracker that a test plays by hand.
struct Tracker {
    socket: UdpSocket,
}

/// A request, by whom it was sent.
#[derive(Debug)]
struct Heard {
    from: SocketAddr,
    connection: Option<u64>,
    transaction: TransactionId,
    announce: Option<(Announce, Vec<u8>)>,
    hashes: usize,
}

impl Tracker {
    async fn at(address: &str) -> Self {
        Self { socket: UdpSocket::bind(address).await.unwrap() }
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn url(&self) -> String {
        format!("udp://{}/announce?key=a", self.address())
    }

    async fn hear(&self) -> Heard {
        let mut datagram = [0; 4_096];
        let (length, from) = self.socket.recv_from(&mut datagram).await.unwrap();
        let claimed = match Request::read(&datagram[..length]) {
            Some(Request::Connect(transaction)) => {
                assert_eq!(length, 16);
                return Heard { from, connection: None, transaction, announce: None, hashes: 0 };
            }
            Some(Request::Claimed(claimed)) => claimed,
            None => panic!("{:?}", &datagram[..length]),
        };
        let (announce, hashes) = match claimed.query().unwrap() {
            Query::Announce { announce, options } => (Some((announce, options.url_data())), 0),
            Query::Scrape(hashes) => (None, hashes.len()),
        };
        Heard { from, connection: Some(claimed.connection.0), transaction: claimed.transaction, announce, hashes }
    }

    async fn say(&self, heard: &Heard, reply: &Reply) {
        let mut out = Vec::new();
        reply.write(heard.transaction, Family::of(heard.from.ip()), &mut out);
        self.socket.send_to(&out, heard.from).await.unwrap();
    }

    /// Gives the connection id that was asked for.
    async fn connect(&self, id: u64) {
        let heard = self.hear().await;
        assert_eq!(heard.connection, None, "a connection is asked for first");
        self.say(&heard, &Reply::Connected(ConnectionId(id))).await;
    }

    /// Serves one announce, with a connection before it.
    async fn serve(&self, peers: &[&str]) -> Heard {
        self.connect(7).await;
        let heard = self.hear().await;
        assert_eq!(heard.connection, Some(7));
        self.say(&heard, &answer(peers)).await;
        heard
    }
}

fn answer(peers: &[&str]) -> Reply {
    let peer = |text: &&str| PeerAddress { address: text.parse().unwrap(), peer_id: None };
    Reply::Announced(AnnounceReply {
        interval: seconds(900),
        complete: Some(1),
        incomplete: Some(2),
        peers: peers.iter().map(peer).collect(),
        ..AnnounceReply::default()
    })
}

fn addresses(reply: &AnnounceReply) -> Vec<String> {
    reply.peers.iter().map(|peer| peer.address.to_string()).collect()
}

/// Announces at these addresses, as if a name had led there.
async fn announce_at(addresses: Vec<SocketAddr>, event: AnnounceEvent) -> Result<AnnounceReply, TrackerError> {
    let deadline = Instant::now() + LIMIT;
    UdpTracker::new().announce_at(&addresses, &announce(event), String::new(), deadline, LIMIT).await
}

#[tokio::test]
async fn an_announce_arrives_and_is_answered() {
    let tracker = Tracker::at(V4).await;
    let started = announce(AnnounceEvent::Started);
    let (client, url) = (UdpTracker::new(), tracker.url());
    let (reply, heard) =
        tokio::join!(client.announce(&url, &started, LIMIT), tracker.serve(&["192.0.2.1:5", "127.0.0.1:6"]));
    let reply = reply.unwrap();
    assert_eq!((reply.interval, reply.complete, reply.incomplete), (seconds(900), Some(1), Some(2)));
    assert_eq!(addresses(&reply), ["192.0.2.1:5", "127.0.0.1:6"], "from this machine it may be loopback");
    assert_eq!(heard.announce, Some((started, b"/announce?key=a".to_vec())));
}

#[tokio::test]
async fn a_scrape_is_answered() {
    let tracker = Tracker::at(V6).await;
    let entry = |n| ScrapeEntry { complete: n, incomplete: 2, downloaded: 3 };
    let hashes = [InfoHash([1; 20]), InfoHash([2; 20])];
    let serve = async {
        tracker.connect(1).await;
        let heard = tracker.hear().await;
        assert_eq!(heard.hashes, 2);
        tracker.say(&heard, &Reply::Scraped(vec![entry(1), entry(2)])).await;
    };
    let (client, url) = (UdpTracker::new(), tracker.url());
    let (scraped, ()) = tokio::join!(client.scrape(&url, &hashes, LIMIT), serve);
    assert_eq!(scraped.unwrap(), [(hashes[0], entry(1)), (hashes[1], entry(2))]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_sent_again_after_15_s() {
    let tracker = Tracker::at(V4).await;
    let started = Instant::now();
    let serve = async {
        let lost = tracker.hear().await;
        let again = tracker.hear().await;
        assert_eq!((lost.transaction, started.elapsed().as_secs()), (again.transaction, 15));
        tracker.say(&again, &Reply::Connected(ConnectionId(1))).await;
        let heard = tracker.hear().await;
        tracker.say(&heard, &answer(&[])).await;
    };
    let (reply, ()) = tokio::join!(announce_at(vec![tracker.address()], AnnounceEvent::Started), serve);
    assert_eq!(reply.unwrap().interval, seconds(900));
    assert_eq!(started.elapsed().as_secs(), 15);
}

#[tokio::test(start_paused = true)]
async fn silence_times_out() {
    let tracker = Tracker::at(V4).await;
    let started = Instant::now();
    for limit in [LIMIT, seconds(5)] {
        let asked =
            UdpTracker::new().announce(&tracker.url(), &announce(AnnounceEvent::Stopped), limit).await.unwrap_err();
        assert_eq!(asked, TrackerError::TimedOut(limit));
    }
    assert_eq!(started.elapsed().as_secs(), 25);
}

#[tokio::test(start_paused = true)]
async fn only_the_right_answer_from_the_right_address_counts() {
    let (tracker, stranger) = (Tracker::at(V4).await, Tracker::at(V4).await);
    let serve = async {
        let connect = tracker.hear().await;
        stranger.say(&connect, &Reply::Connected(ConnectionId(9))).await;
        tracker.socket.send_to(b"\0\0\0\0\0\0\0", connect.from).await.unwrap();
        tracker.socket.send_to(b"", connect.from).await.unwrap();
        tracker.say(&connect, &answer(&[])).await;
        let other = TransactionId(connect.transaction.0 ^ 1);
        tracker.say(&Heard { transaction: other, ..connect }, &Reply::Connected(ConnectionId(9))).await;
        let again = tracker.hear().await;
        tracker.say(&again, &Reply::Connected(ConnectionId(1))).await;
        let heard = tracker.hear().await;
        assert_eq!(heard.connection, Some(1));
        stranger.say(&heard, &answer(&["192.0.2.9:9"])).await;
        tracker.say(&heard, &Reply::Scraped(Vec::new())).await;
        tracker.say(&heard, &answer(&["192.0.2.1:1"])).await;
        tracker.say(&heard, &answer(&["192.0.2.9:9"])).await;
    };
    let (reply, ()) = tokio::join!(announce_at(vec![tracker.address()], AnnounceEvent::Started), serve);
    assert_eq!(addresses(&reply.unwrap()), ["192.0.2.1:1"]);
}

#[tokio::test(start_paused = true)]
async fn torrents_share_a_connection_for_a_minute() {
    let tracker = Tracker::at(V4).await;
    let (client, url) = (UdpTracker::new(), tracker.url());
    let regular = announce(AnnounceEvent::Regular);
    let serve = async {
        tracker.connect(3).await;
        for _ in 0..3 {
            let heard = tracker.hear().await;
            assert_eq!(heard.connection, Some(3));
            tracker.say(&heard, &answer(&[])).await;
        }
    };
    let ask = || client.announce(&url, &regular, LIMIT);
    let (one, two, three, ()) = tokio::join!(ask(), ask(), ask(), serve);
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    tokio::time::sleep(seconds(59)).await;
    let reused = async {
        let heard = tracker.hear().await;
        tracker.say(&heard, &answer(&[])).await;
        (heard.connection, heard.from)
    };
    let (reply, (connection, before)) = tokio::join!(ask(), reused);
    assert!(reply.is_ok() && connection == Some(3));
    tokio::time::sleep(seconds(2)).await;
    assert!(client.links.lock().unwrap().values().all(mpsc::Sender::is_closed), "the socket is closed");
    let (reply, heard) = tokio::join!(ask(), tracker.serve(&[]));
    assert!(reply.is_ok() && heard.from != before);
    assert_eq!(client.links.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn refusals_and_closed_ports_are_told() {
    let tracker = Tracker::at(V4).await;
    let refuse = async {
        tracker.connect(1).await;
        let heard = tracker.hear().await;
        tracker.say(&heard, &Reply::Refused("not \x1b[2J here".into())).await;
    };
    let (refused, ()) = tokio::join!(announce_at(vec![tracker.address()], AnnounceEvent::Started), refuse);
    let reason = "not .[2J here".to_owned();
    assert_eq!(refused.unwrap_err(), TrackerError::Refused { reason, retry_in: None });
    let url = tracker.url();
    drop(tracker);
    let closed = UdpTracker::new().announce(&url, &announce(AnnounceEvent::Started), LIMIT).await;
    assert!(
        matches!(closed, Err(TrackerError::Unreachable(text)) if text.contains("127.0.0.1") && !text.contains("key"))
    );
    for url in ["udp://127.0.0.1/announce", "udp://", "http://127.0.0.1:1/", "udp://h:0"] {
        let asked = UdpTracker::new().announce(url, &announce(AnnounceEvent::Started), LIMIT).await;
        assert!(matches!(asked, Err(TrackerError::Unsupported(_))), "{url}");
    }
    let nowhere = UdpTracker::new().announce("udp://224.0.0.1:1", &announce(AnnounceEvent::Started), LIMIT).await;
    assert!(matches!(nowhere, Err(TrackerError::Unreachable(_))), "nobody is asked by multicast");
}

#[tokio::test(start_paused = true)]
async fn both_families_are_asked_and_told() {
    let (v4, v6) = (Tracker::at(V4).await, Tracker::at(V6).await);
    let peers = ["192.0.2.1:1", "[2001:db8::1]:1"];
    let serve = async { tokio::join!(v4.serve(&peers), v6.serve(&peers)) };
    let (reply, (over_v4, over_v6)) =
        tokio::join!(announce_at(vec![v6.address(), v4.address()], AnnounceEvent::Started), serve);
    let mut told = addresses(&reply.unwrap());
    told.sort();
    assert_eq!(told, ["192.0.2.1:1", "[2001:db8::1]:1"]);
    assert_eq!(over_v4.announce.unwrap().0.key, over_v6.announce.unwrap().0.key, "the same peer");
}

#[tokio::test(start_paused = true)]
async fn a_family_that_is_silent_holds_nobody_up() {
    let (v4, v6) = (Tracker::at(V4).await, Tracker::at(V6).await);
    let started = Instant::now();
    let (reply, _) =
        tokio::join!(announce_at(vec![v6.address(), v4.address()], AnnounceEvent::Started), v4.serve(&["192.0.2.1:1"]));
    assert_eq!(addresses(&reply.unwrap()), ["192.0.2.1:1"]);
    assert_eq!(started.elapsed(), GRACE);
    // A farewell is to reach both: it has the whole time, and the other's answer is no error.
    let (reply, _) = tokio::join!(announce_at(vec![v6.address(), v4.address()], AnnounceEvent::Stopped), v4.serve(&[]));
    assert!(reply.is_ok());
    assert_eq!(started.elapsed(), GRACE + LIMIT);
    let all = vec![v6.address(), v4.address()];
    drop(v6);
    let (reply, _) = tokio::join!(announce_at(all, AnnounceEvent::Started), v4.serve(&["192.0.2.1:1"]));
    assert_eq!(addresses(&reply.unwrap()), ["192.0.2.1:1"]);
}

#[tokio::test]
async fn the_next_address_is_asked_where_nobody_listens() {
    let (gone, tracker) = (Tracker::at(V4).await, Tracker::at(V4).await);
    let addresses = vec![gone.address(), tracker.address()];
    drop(gone);
    let (reply, _) = tokio::join!(announce_at(addresses, AnnounceEvent::Started), tracker.serve(&[]));
    assert!(reply.is_ok());
}

#[test]
fn a_udp_tracker_elsewhere_cannot_point_at_this_machine() {
    let tracker = |ip: &str| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 1);
    let told = ["127.0.0.1:22", "192.0.2.1:1", "10.0.0.1:1"];
    let Reply::Announced(reply) = answer(&told) else { unreachable!() };
    assert_eq!(addresses(&believable(reply.clone(), tracker("127.0.0.1"))), told);
    assert_eq!(addresses(&believable(reply.clone(), tracker("192.168.0.1"))), told[1..]);
    assert_eq!(addresses(&believable(reply, tracker("8.8.8.8"))), told[1..]);
}

#[test]
fn of_two_errors_the_one_that_says_more_is_told() {
    let unreachable = || Some(Err(TrackerError::Unreachable("no route".into())));
    let silent = || Some(Err(TrackerError::TimedOut(LIMIT)));
    assert_eq!(merge([unreachable(), silent()]), Err(TrackerError::TimedOut(LIMIT)));
    assert_eq!(merge([silent(), unreachable()]), Err(TrackerError::TimedOut(LIMIT)));
    assert!(matches!(merge([None, unreachable()]), Err(TrackerError::Unreachable(text)) if text == "no route"));
    assert!(matches!(merge([unreachable(), None]), Err(TrackerError::Unreachable(text)) if text == "no route"));
    assert_eq!(merge([None, None]), Err(no_address()));
}
