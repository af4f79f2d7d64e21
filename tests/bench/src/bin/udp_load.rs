//! Loads a UDP tracker (BEP 15), any of them, and says what it answered.
//!
//! `udp_load ADDRESS:PORT [NAME=VALUE …]`, with the names and usual values of [`Options`]. Each of `window` slots a thread
//! asks for a connection id, announces a peer of a random torrent with it, and begins again: as many connects as
//! announces. What gets no answer within half a second is asked anew and counted as lost. With `pid`, the processor time
//! of the tracker goes into the report.

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};
use swarm_bench::options::{self, Value};
use swarm_bench::{Random, Times, processor_time};
use swarm_proto::announce::udp::{ConnectionId, Family, Reply, TransactionId, announce_request, connect_request};
use swarm_proto::announce::{Announce, AnnounceEvent};
use swarm_proto::id::{InfoHash, PeerId};

/// Datagrams of one system call.
const BATCH: usize = 64;
const LENGTH: usize = 2_048;
/// Silence after which all that is under way counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// The longest time that is told apart from longer ones.
const LONGEST: Duration = Duration::from_micros((1 << 16) - 1);

/// What to do; each can be given as `name=value`.
#[derive(Clone, Copy, Debug)]
struct Options {
    /// Torrents to announce.
    torrents: u32,
    /// Peers that announce themselves, by their port.
    peers: u16,
    /// Peers wanted in an answer.
    want: u32,
    /// Threads, each with a socket of its own.
    threads: u32,
    /// Requests under way, each thread.
    window: u32,
    seconds: u64,
    /// The tracker's process; 0 for none of this machine.
    pid: u32,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options =
            Self { torrents: 100_000, peers: 1_000, want: 30, threads: 2, window: 128, seconds: 10, pid: 0 };
        let places: &mut [(&str, &mut dyn Value)] = &mut [
            ("torrents", &mut options.torrents),
            ("peers", &mut options.peers),
            ("want", &mut options.want),
            ("threads", &mut options.threads),
            ("window", &mut options.window),
            ("seconds", &mut options.seconds),
            ("pid", &mut options.pid),
        ];
        options::read(words, places)?;
        ensure!(options.torrents > 0 && options.peers > 0 && options.window > 0, "0 of what is needed");
        Ok(options)
    }
}

/// What came back.
#[derive(Debug)]
struct Tally {
    connects: u64,
    announces: u64,
    peers: u64,
    bytes: u64,
    refused: u64,
    lost: u64,
    /// From a request to its answer.
    times: Times,
}

/// A place for one request under way.
#[derive(Clone, Copy, Debug)]
struct Slot {
    connection: Option<ConnectionId>,
    sent: Instant,
    /// Told in the transaction, so that an answer that comes too late is known as such.
    round: u16,
}

struct Load {
    socket: UdpSocket,
    family: Family,
    options: Options,
    slots: Vec<Slot>,
    outgoing: Vec<Vec<u8>>,
    random: Random,
    tally: Tally,
}

fn main() -> Result<()> {
    let (address, words) = options::command_line("udp_load")?;
    let options = Options::read(&words)?;
    let (began, used) = (Instant::now(), processor_time(options.pid)?);
    let threads: Vec<_> =
        (0..options.threads).map(|n| thread::spawn(move || Load::new(address, options, n)?.run())).collect();
    let mut all = Tally::new();
    for thread in threads {
        all.add(&thread.join().expect("a thread that panics says so")?);
    }
    let (elapsed, used) = (began.elapsed().as_secs_f64(), processor_time(options.pid)? - used);
    all.report(elapsed, used);
    Ok(())
}

impl Tally {
    fn new() -> Self {
        Self { connects: 0, announces: 0, peers: 0, bytes: 0, refused: 0, lost: 0, times: Times::new(LONGEST) }
    }

    fn add(&mut self, other: &Self) {
        self.connects += other.connects;
        self.announces += other.announces;
        self.peers += other.peers;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.lost += other.lost;
        self.times.merge(&other.times);
    }

    fn report(&self, elapsed: f64, used: f64) {
        let answers = self.connects + self.announces;
        println!("answers/s        {:.0}", answers as f64 / elapsed);
        println!("announces/s      {:.0}", self.announces as f64 / elapsed);
        println!("peers an answer  {:.1}", self.peers as f64 / self.announces.max(1) as f64);
        println!("bytes a peer     {:.2}", self.bytes as f64 / self.peers.max(1) as f64);
        println!("time             p50 {} µs, p99 {} µs", self.times.quantile(0.5), self.times.quantile(0.99));
        println!("refused, lost    {}, {}", self.refused, self.lost);
        if used > 0.0 {
            println!("processor time   {:.2} µs an answer", 1e6 * used / answers.max(1) as f64);
        }
    }
}

impl Load {
    fn new(address: SocketAddr, options: Options, number: u32) -> Result<Self> {
        let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any)?;
        socket.connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let slot = Slot { connection: None, sent: Instant::now(), round: 0 };
        Ok(Self {
            socket,
            family: Family::of(address.ip()),
            options,
            slots: vec![slot; options.window as usize],
            outgoing: Vec::new(),
            random: Random::new(number),
            tally: Tally::new(),
        })
    }

    fn run(mut self) -> Result<Tally> {
        let end = Instant::now() + Duration::from_secs(self.options.seconds);
        let mut buffers = vec![[0_u8; LENGTH]; BATCH];
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
        let mut lengths = Vec::with_capacity(BATCH);
        (0..self.slots.len()).for_each(|slot| self.ask(slot));
        while Instant::now() < end {
            self.send()?;
            lengths.clear();
            {
                let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
                // The first is waited for, the others are taken if they are there.
                let flags = MsgFlags::MSG_WAITFORONE;
                match recvmmsg(self.socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None) {
                    Ok(messages) => lengths.extend(messages.map(|message| message.bytes)),
                    Err(nix::errno::Errno::EAGAIN) => {}
                    Err(error) => return Err(error).context("the tracker"),
                }
            }
            if lengths.is_empty() {
                self.tally.lost += self.slots.len() as u64;
                (0..self.slots.len()).for_each(|slot| self.ask(slot));
            }
            for (buffer, &length) in buffers.iter().zip(&lengths) {
                self.take(&buffer[..length]);
            }
        }
        Ok(self.tally)
    }

    fn ask(&mut self, index: usize) {
        let (hash, port) = (self.random.below(self.options.torrents), self.random.below(self.options.peers.into()));
        let slot = &mut self.slots[index];
        (slot.sent, slot.round) = (Instant::now(), slot.round.wrapping_add(1));
        let transaction = TransactionId((index as u32) << 16 | u32::from(slot.round));
        self.outgoing.push(match slot.connection.take() {
            None => connect_request(transaction),
            Some(connection) => {
                let (mut info_hash, mut peer_id) = ([0; 20], [b'-'; 20]);
                info_hash[..4].copy_from_slice(&hash.to_be_bytes());
                peer_id[..4].copy_from_slice(&port.to_be_bytes());
                let announce = Announce {
                    event: AnnounceEvent::Regular,
                    num_want: Some(self.options.want),
                    ..Announce::new(InfoHash(info_hash), PeerId(peer_id), 1_024 + port as u16, u64::from(port % 4))
                };
                announce_request(connection, transaction, &announce, "")
            }
        });
    }

    fn take(&mut self, datagram: &[u8]) {
        let Some((TransactionId(transaction), reply)) = Reply::read(datagram, self.family) else { return };
        let index = (transaction >> 16) as usize;
        let Some(slot) = self.slots.get_mut(index).filter(|slot| u32::from(slot.round) == transaction & 0xffff) else {
            return;
        };
        self.tally.times.add(slot.sent.elapsed());
        match reply {
            Reply::Connected(id) => {
                slot.connection = Some(id);
                self.tally.connects += 1;
            }
            Reply::Announced(reply) => {
                self.tally.announces += 1;
                self.tally.peers += reply.peers.len() as u64;
                self.tally.bytes += (datagram.len() - 20) as u64;
            }
            Reply::Refused(_) | Reply::Scraped(_) => self.tally.refused += 1,
        }
        self.ask(index);
    }

    fn send(&mut self) -> Result<()> {
        for part in self.outgoing.chunks(BATCH) {
            let slices: Vec<_> = part.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
            let mut beside: Vec<_> = part.iter().map(|_| SendAncillaryBuffer::default()).collect();
            let mut messages: Vec<_> =
                slices.iter().zip(&mut beside).map(|(slice, beside)| MMsgHdr::new(slice, beside)).collect();
            // What is not sent gets no answer, and counts as lost.
            sendmmsg(&self.socket, &mut messages, SendFlags::empty()).context("the tracker")?;
        }
        self.outgoing.clear();
        Ok(())
    }
}
