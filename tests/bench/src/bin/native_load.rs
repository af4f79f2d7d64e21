//! Loads a native tracker (docs/native-protocol.md), any of them, and says how soon peers hear of each other.
//!
//! `native_load ADDRESS:PORT [NAME=VALUE …]`, with the names and usual values of [`Options`]. So many connections stand, spread
//! over the torrents. Then `rate` times a second one that has left a torrent joins it again, and another one leaves. Whenever a
//! push names the peer that has joined, the time since its `D` was written counts. A tracker on the loopback is connected to
//! from many loopback addresses, since trackers bound the connections of each. With `pid`, memory and processor time of the
//! tracker go into the report; the memory before the connections were made is what they are measured against, so start it
//! afresh.

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use swarm_bench::options::{self, Value};
use swarm_bench::{Random, Times, processor_time, resident};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, Online, PeerMessage, Request, RequestId, Response, Sender, Serve, Stop, TrackerMessage, decode,
};

/// The peers' ports begin here, so that a pushed port tells which connection it is.
const FIRST_PORT: u16 = 1_024;
/// Connections from one loopback address; trackers take that many from each.
const FROM_ONE_ADDRESS: usize = 900;
/// Waiting for what is under way, after the connections stand and at the end.
const SETTLE: Duration = Duration::from_secs(2);
/// A member that leaves so soon after somebody joined need not have heard of it.
const UNDER_WAY: Duration = Duration::from_millis(50);
/// The longest time that is told apart from longer ones.
const LONGEST: Duration = Duration::from_secs(2);
const EVENTS: usize = 1_024;

/// What to do; each can be given as `name=value`.
#[derive(Clone, Copy, Debug)]
struct Options {
    connections: usize,
    /// Torrents over which the connections are spread.
    torrents: usize,
    /// Joins a second, and as many leaves.
    rate: u32,
    seconds: u64,
    /// 1: who leaves closes its connection, and joins over a new one.
    reconnect: u8,
    /// The tracker's process; 0 for none of this machine.
    pid: u32,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options = Self { connections: 10_000, torrents: 1_000, rate: 2_000, seconds: 10, reconnect: 0, pid: 0 };
        let places: &mut [(&str, &mut dyn Value)] = &mut [
            ("connections", &mut options.connections),
            ("torrents", &mut options.torrents),
            ("rate", &mut options.rate),
            ("seconds", &mut options.seconds),
            ("reconnect", &mut options.reconnect),
            ("pid", &mut options.pid),
        ];
        options::read(words, places)?;
        let most = usize::from(u16::MAX - FIRST_PORT);
        ensure!((2..=most).contains(&options.connections), "2 to {most} connections: each has a port of its own");
        ensure!((1..=options.connections).contains(&options.torrents), "1 to {} torrents", options.connections);
        Ok(options)
    }

    /// How many are out at a time: each for about a second.
    fn outside(&self) -> usize {
        (self.rate as usize).min(self.connections / 5).max(1)
    }
}

struct Peer {
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    /// When it wrote its `D`, while it is in its torrent.
    joined: Option<Instant>,
    answered: bool,
}

#[derive(Default)]
struct Torrent {
    members: usize,
    /// Who joined lately, and when.
    fresh: VecDeque<Instant>,
}

struct Tally {
    joins: u64,
    /// Pushes that the members there were due.
    due: u64,
    /// Members that left before they could have heard.
    left: u64,
    /// From `D` to the push at a member that had been there before.
    pushes: Times,
    /// From `D` to its answer.
    answers: Times,
    refused: u64,
}

struct Load {
    address: SocketAddr,
    options: Options,
    epoll: OwnedFd,
    peers: Vec<Peer>,
    torrents: Vec<Torrent>,
    outside: VecDeque<usize>,
    random: Random,
    tally: Tally,
    /// Joins before this do not count: the connections were being made.
    counted_from: Option<Instant>,
}

fn main() -> Result<()> {
    let (address, words) = options::command_line("native_load")?;
    let options = Options::read(&words)?;
    let empty = resident(options.pid)?;
    let mut load = Load::new(address, options)?;
    load.stand()?;
    let standing = resident(options.pid)?;
    let used = processor_time(options.pid)?;
    load.churn()?;
    let used = processor_time(options.pid)? - used;
    let after = resident(options.pid)?;
    load.report(used, [empty, standing, after]);
    Ok(())
}

impl Load {
    fn new(address: SocketAddr, options: Options) -> Result<Self> {
        let peer = |_| Peer { stream: None, buffer: Vec::new(), joined: None, answered: false };
        Ok(Self {
            address,
            options,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            peers: (0..options.connections).map(peer).collect(),
            torrents: (0..options.torrents).map(|_| Torrent::default()).collect(),
            outside: VecDeque::new(),
            random: Random::new(0),
            tally: Tally {
                joins: 0,
                due: 0,
                left: 0,
                pushes: Times::new(LONGEST),
                answers: Times::new(LONGEST),
                refused: 0,
            },
            counted_from: None,
        })
    }

    /// Makes all connections and puts each into its torrent.
    fn stand(&mut self) -> Result<()> {
        for index in 0..self.peers.len() {
            self.connect(index)?;
            self.join(index)?;
            if index % 64 == 0 {
                self.read(Duration::ZERO)?;
            }
        }
        self.read_for(SETTLE)?;
        let standing = self.peers.iter().filter(|peer| peer.answered).count();
        ensure!(standing == self.peers.len(), "only {standing} of {} connections are served", self.peers.len());
        Ok(())
    }

    fn churn(&mut self) -> Result<()> {
        for _ in 0..self.options.outside() {
            self.leave_one()?;
        }
        self.read_for(SETTLE)?;
        let began = Instant::now();
        self.counted_from = Some(began);
        let all = u64::from(self.options.rate) * self.options.seconds;
        while self.tally.joins < all {
            let due = (began.elapsed().as_secs_f64() * f64::from(self.options.rate)) as u64;
            for _ in self.tally.joins..due.min(all) {
                let Some(index) = self.outside.pop_front() else { break };
                if self.peers[index].stream.is_none() {
                    self.connect(index)?;
                }
                self.join(index)?;
                self.leave_one()?;
            }
            self.read(Duration::from_millis(1))?;
        }
        println!("joins/s          {:.0}", self.tally.joins as f64 / began.elapsed().as_secs_f64());
        self.read_for(SETTLE)
    }

    fn connect(&mut self, index: usize) -> Result<()> {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None)?;
        if self.address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            let source = Ipv4Addr::from(0x7f02_0001 + (index / FROM_ONE_ADDRESS) as u32);
            socket.bind(&SocketAddr::from((source, 0)).into())?;
        }
        socket.connect(&self.address.into()).with_context(|| format!("connection {index}"))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        let stream = TcpStream::from(socket);
        epoll::add(&self.epoll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        let mut peer_id = [b'-'; 20];
        peer_id[..8].copy_from_slice(&(index as u64).to_be_bytes());
        let port = FIRST_PORT + index as u16;
        let online = Online::new(PeerId(peer_id), port);
        let peer = &mut self.peers[index];
        peer.stream = Some(stream);
        peer.buffer.clear();
        self.say(index, Request::Online(online))
    }

    fn say(&mut self, index: usize, request: Request) -> Result<()> {
        let frame = PeerMessage::Request(RequestId(1), request).encode();
        let stream = self.peers[index].stream.as_mut().context("a connection")?;
        stream.write_all(&frame).context("the tracker takes no more")
    }

    fn hash(&self, index: usize) -> InfoHash {
        let mut hash = [0x5a; 20];
        hash[..8].copy_from_slice(&((index % self.options.torrents) as u64).to_be_bytes());
        InfoHash(hash)
    }

    fn join(&mut self, index: usize) -> Result<()> {
        let serve = Serve {
            info_hash: self.hash(index),
            uploaded: 0,
            downloaded: 0,
            left: 1,
            event: AnnounceEvent::Started,
            num_want: None,
            publication: None,
        };
        let now = Instant::now();
        (self.peers[index].joined, self.peers[index].answered) = (Some(now), false);
        let torrent = &mut self.torrents[index % self.options.torrents];
        if self.counted_from.is_some() {
            self.tally.joins += 1;
            self.tally.due += torrent.members as u64;
            torrent.fresh.retain(|joined| joined.elapsed() < UNDER_WAY);
            torrent.fresh.push_back(now);
        }
        torrent.members += 1;
        self.say(index, Request::Serve(serve))
    }

    fn leave_one(&mut self) -> Result<()> {
        let index = loop {
            let index = self.random.below(self.peers.len() as u32) as usize;
            if self.peers[index].joined.is_some() && self.peers[index].answered {
                break index;
            }
        };
        let joined = self.peers[index].joined.take();
        let torrent = &mut self.torrents[index % self.options.torrents];
        torrent.members -= 1;
        let under_way = |fresh: &&Instant| fresh.elapsed() < UNDER_WAY && joined.is_some_and(|joined| joined < **fresh);
        self.tally.left += torrent.fresh.iter().filter(under_way).count() as u64;
        self.outside.push_back(index);
        if self.options.reconnect == 1 {
            self.peers[index].stream = None;
            return Ok(());
        }
        self.say(index, Request::Stop(Stop::Torrent(self.hash(index))))
    }

    fn read_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.read(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Takes in what has come, and waits for so long if nothing has.
    fn read(&mut self, patience: Duration) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let patience = Timespec::try_from(patience)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&patience)) {
            // Stopped and continued: as if nothing had come.
            Err(Errno::INTR) => {}
            waited => drop(waited?),
        }
        let mut bytes = [0; 16 * 1024];
        for event in events {
            let index = { event.data }.u64() as usize;
            let Some(stream) = &mut self.peers[index].stream else { continue };
            match stream.read(&mut bytes) {
                Ok(0) => bail!("the tracker has closed connection {index}"),
                Ok(length) => self.take(index, &bytes[..length])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).with_context(|| format!("connection {index}")),
            }
        }
        Ok(())
    }

    fn take(&mut self, index: usize, bytes: &[u8]) -> Result<()> {
        let now = Instant::now();
        let mut buffer = std::mem::take(&mut self.peers[index].buffer);
        buffer.extend_from_slice(bytes);
        let mut rest = &buffer[..];
        while let Decoded::Frame(frame, used) = decode(rest, Sender::Tracker)? {
            match TrackerMessage::parse(&frame)? {
                TrackerMessage::Push(change) => self.pushed(index, now, &change.joined.peers),
                TrackerMessage::Response(_, Response::Serving(_)) => self.answered(index, now),
                TrackerMessage::Refused(_, refusal) => {
                    self.tally.refused += 1;
                    if self.tally.refused < 5 {
                        eprintln!("refused: {}", refusal.text);
                    }
                }
                TrackerMessage::Ping(ping) => {
                    let frame = PeerMessage::Acknowledge(ping).encode();
                    self.peers[index].stream.as_mut().context("a connection")?.write_all(&frame)?;
                }
                TrackerMessage::Response(..) | TrackerMessage::Relayed(_) => {}
            }
            rest = &rest[used..];
        }
        self.peers[index].buffer = rest.to_vec();
        Ok(())
    }

    fn answered(&mut self, index: usize, now: Instant) {
        let peer = &mut self.peers[index];
        peer.answered = true;
        if let (Some(from), Some(joined)) = (self.counted_from, peer.joined)
            && joined > from
        {
            self.tally.answers.add(now - joined);
        }
    }

    /// Counts what was due: a member that had been there before hears of one that has joined.
    fn pushed(&mut self, index: usize, now: Instant, peers: &[SocketAddr]) {
        let (Some(from), Some(mine)) = (self.counted_from, self.peers[index].joined) else { return };
        for peer in peers {
            let other = self.peers.get(usize::from(peer.port().wrapping_sub(FIRST_PORT)));
            if let Some(joined) = other.and_then(|other| other.joined)
                && joined > from
                && joined > mine
            {
                self.tally.pushes.add(now - joined);
            }
        }
    }

    fn report(&self, used: f64, [empty, standing, after]: [u64; 3]) {
        let Tally { joins, due, left, pushes, answers, refused } = &self.tally;
        let each = |bytes: u64| bytes.saturating_sub(empty) as f64 / self.peers.len() as f64;
        println!("connections      {} in {} torrents", self.peers.len(), self.torrents.len());
        println!("answer           p50 {} µs, p99 {} µs", answers.quantile(0.5), answers.quantile(0.99));
        println!("push             p50 {} µs, p99 {} µs", pushes.quantile(0.5), pushes.quantile(0.99));
        let count = pushes.count();
        println!("pushes           {count} of {due} due, {:.1} a join", count as f64 / (*joins).max(1) as f64);
        println!("missed           {} (of them at most {left} had left)", due.saturating_sub(count));
        println!("refused          {refused}");
        if self.options.pid > 0 {
            println!("memory           {:.0} bytes a connection standing, {:.0} after", each(standing), each(after));
            println!("processor time   {:.2} µs a push", 1e6 * used / count.max(1) as f64);
        }
    }
}
