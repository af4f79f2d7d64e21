//! Datagrams of UDP trackers and of those who ask them, and what a client makes of any of them in any order.

use crate::input::Input;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use swarm_proto::announce::udp::{
    ANNOUNCE_LENGTH, Answer, ConnectionId, Dialogue, Family, Fault, HEAD_LENGTH, PEERS_LENGTH, Query, Question, Reply,
    Request, Subject, TransactionId, UdpUrl, announce_request, connect_request, scrape_request,
};
use swarm_proto::announce::{Announce, AnnounceEvent, AnnounceReply, TrackerError};
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::limits;
use swarm_proto::path::is_deceptive;

/// The longest time that a question may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Datagrams from either side are read within their bounds and mean the same when they are written again; a client has one
/// answer to each of its questions in time, whatever comes when.
pub fn udp_tracker(bytes: &[u8]) {
    let mut input = Input(bytes);
    let family = if input.flag() { Family::V4 } else { Family::V6 };
    match input.below(3) {
        0 => check_request(input.0),
        1 => {
            check_reply(input.0, family);
            check_url(&String::from_utf8_lossy(input.0));
        }
        _ => talk(&mut input, family),
    }
}

fn check_request(datagram: &[u8]) {
    let claimed = match Request::read(datagram) {
        None => return assert!(datagram.len() < HEAD_LENGTH || datagram[8..12] == [0; 4]),
        Some(Request::Connect(transaction)) => return assert!(datagram.starts_with(&connect_request(transaction))),
        Some(Request::Claimed(claimed)) => claimed,
    };
    match claimed.query() {
        Ok(Query::Announce { announce, options }) => {
            let url_data = options.url_data();
            assert!(announce.port != 0 && announce.tracker_id.is_none() && url_data.len() <= limits::URL_LENGTH);
            let text = String::from_utf8_lossy(&url_data);
            let written = announce_request(claimed.connection, claimed.transaction, &announce, &text);
            assert_eq!((&written[..80], &written[96..98]), (&datagram[..80], &datagram[96..98]));
            let Some(Request::Claimed(again)) = Request::read(&written) else { panic!("a request of our own") };
            let Ok(Query::Announce { announce: read, .. }) = again.query() else { panic!("an announce of our own") };
            assert_eq!(read, announce);
        }
        Ok(Query::Scrape(hashes)) => {
            assert!((1..=74).contains(&hashes.len()));
            assert_eq!(scrape_request(claimed.connection, claimed.transaction, &hashes), datagram);
        }
        Err(Fault::Cut) => {
            assert!(datagram.len() < ANNOUNCE_LENGTH || !(datagram.len() - HEAD_LENGTH).is_multiple_of(20));
        }
        Err(fault) => assert!(fault.to_string().len() < 60),
    }
}

fn check_reply(datagram: &[u8], family: Family) {
    let Some((transaction, reply)) = Reply::read(datagram, family) else { return };
    assert_eq!(transaction.0.to_be_bytes(), datagram[4..8]);
    let mut written = Vec::new();
    reply.write(transaction, family, &mut written);
    match &reply {
        Reply::Announced(announced) => {
            check_announced(announced, datagram.len(), family);
            assert!(written.len() <= 20 + PEERS_LENGTH);
            let fit = announced.peers.len() * family.peer_length() <= PEERS_LENGTH;
            let same = announced.peers.iter().all(|peer| Family::of(peer.address.ip()) == family);
            if fit && same {
                assert_eq!(Reply::read(&written, family), Some((transaction, reply)));
            }
        }
        Reply::Refused(reason) => {
            assert!(reason.chars().count() <= 250 && !reason.contains(is_deceptive), "{reason:?}");
            assert_eq!(Reply::read(&written, family), Some((transaction, reply)));
        }
        Reply::Connected(_) => assert_eq!(written, datagram[..16]),
        Reply::Scraped(entries) => {
            assert!(entries.len() <= 74);
            assert!(datagram.starts_with(&written));
        }
    }
}

fn check_announced(reply: &AnnounceReply, length: usize, family: Family) {
    assert!(reply.peers.len() <= limits::KNOWN_PEERS.min(length / family.peer_length()));
    assert!(reply.interval <= Duration::from_secs(1 << 31));
    for peer in &reply.peers {
        let ip = peer.address.ip();
        assert!(peer.address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast(), "{peer:?}");
        assert_eq!(ip, ip.to_canonical());
    }
}

fn check_url(text: &str) {
    match text.parse::<UdpUrl>() {
        Ok(url) => {
            assert!(url.port != 0 && !url.host.is_empty() && url.host.len() <= 253);
            let whole = format!("udp://{}{}", url.authority(), url.url_data);
            assert!(!whole.contains(|c: char| c.is_control() || c.is_whitespace()), "{whole:?}");
            if whole.len() <= limits::URL_LENGTH {
                assert_eq!(whole.parse(), Ok(url));
            }
        }
        Err(error) => assert!(matches!(error, TrackerError::Unsupported(_))),
    }
}

/// A client, its questions, and what it has sent.
struct Talk {
    dialogue: Dialogue,
    family: Family,
    now: Instant,
    open: BTreeMap<u64, (Question, Instant, bool)>,
    asked: u64,
    sent: usize,
    wire: Vec<Vec<u8>>,
}

fn talk(input: &mut Input<'_>, family: Family) {
    let dialogue = Dialogue::new(family, input.u64());
    let (now, open, wire) = (Instant::now(), BTreeMap::new(), Vec::new());
    let mut talk = Talk { dialogue, family, now, open, asked: 0, sent: 0, wire };
    while !input.is_empty() {
        match input.below(6) {
            0 | 1 => talk.ask(input),
            2 => talk.pass(Duration::from_millis(input.u16().into())),
            3 => talk.dialogue.handle_datagram(talk.now, input.short()),
            4 => talk.answer(input),
            _ => talk.dialogue.fail(&TrackerError::Unreachable("cut".into())),
        }
        talk.look();
    }
    talk.pass(TIMEOUT);
    assert!(talk.open.is_empty(), "a question without an answer");
    assert!(talk.sent <= 6 * talk.asked as usize, "{} datagrams for {} questions", talk.sent, talk.asked);
}

impl Talk {
    fn ask(&mut self, input: &mut Input<'_>) {
        if self.open.len() > 200 {
            return;
        }
        let hash = InfoHash([input.byte(); 20]);
        let announce = Announce { event: AnnounceEvent::Regular, ..Announce::new(hash, PeerId([1; 20]), 1, 0) };
        let scrape = input.flag();
        let subject = if scrape {
            Subject::Scrape(vec![hash; input.below(80)])
        } else {
            Subject::Announce { announce, url_data: String::from_utf8_lossy(input.short()).into_owned() }
        };
        let question = self.dialogue.ask(self.now, subject, TIMEOUT);
        self.open.insert(self.asked, (question, self.now, scrape));
        self.asked += 1;
    }

    /// Lets time pass as a shell does: at each moment that was asked for.
    fn pass(&mut self, time: Duration) {
        let target = self.now + time;
        while let Some(due) = self.dialogue.poll_timeout().filter(|due| *due <= target) {
            assert!(due >= self.now, "a moment that is over");
            self.now = due;
            self.dialogue.handle_timeout(due);
            self.look();
            assert!(self.dialogue.poll_timeout().is_none_or(|next| next > due), "it spins");
        }
        self.now = target;
    }

    /// The tracker answers one of the datagrams on the way, rightly or not.
    fn answer(&mut self, input: &mut Input<'_>) {
        let Some(datagram) = input.take(&mut self.wire) else { return };
        let (transaction, right) = match Request::read(&datagram) {
            Some(Request::Connect(transaction)) => (transaction, Reply::Connected(ConnectionId(input.u64()))),
            Some(Request::Claimed(claimed)) => {
                let reply = match claimed.query() {
                    Ok(Query::Scrape(hashes)) => Reply::Scraped(vec![Default::default(); hashes.len()]),
                    Ok(Query::Announce { .. }) => Reply::Announced(AnnounceReply::default()),
                    // We can be made to scrape nothing.
                    Err(fault) => Reply::Refused(fault.to_string().into()),
                };
                (claimed.transaction, reply)
            }
            None => panic!("what we send is a request"),
        };
        let (transaction, reply) = match input.below(5) {
            0 => (transaction, Reply::Refused("no".into())),
            1 => (TransactionId(input.u32()), right),
            2 => (transaction, Reply::Scraped(Vec::new())),
            _ => (transaction, right),
        };
        let mut out = Vec::new();
        reply.write(transaction, self.family, &mut out);
        let end = if input.flag() { out.len() } else { input.below(out.len() + 1) };
        self.dialogue.handle_datagram(self.now, &out[..end]);
    }

    fn look(&mut self) {
        while let Some(datagram) = self.dialogue.poll_transmit() {
            self.sent += 1;
            self.wire.push(datagram);
        }
        while let Some((question, answer)) = self.dialogue.poll_answer() {
            let found = self.open.iter().find(|(_, (open, _, _))| *open == question).map(|(number, _)| *number);
            let (_, since, scrape) = self.open.remove(&found.expect("a question that is open")).expect("it is there");
            assert!(self.now - since <= TIMEOUT);
            match answer {
                Ok(Answer::Announced(_)) => assert!(!scrape),
                Ok(Answer::Scraped(entries)) => assert!(scrape && entries.len() <= 74),
                Err(error) => assert!(!error.to_string().contains(is_deceptive)),
            }
        }
    }
}
