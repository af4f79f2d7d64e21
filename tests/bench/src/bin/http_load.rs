//! Loads an HTTP tracker, any of them, and says what it answered.
//!
//! `http_load ADDRESS:PORT [NAME=VALUE …]`, with the names and usual values of [`Options`]. Each connection announces a peer
//! of a random torrent, waits for the answer and begins again; with `new=1` over a new connection each time, or else over the
//! same one for as long as the tracker keeps it. What came in the first `warm` seconds, in which swarms fill, does not count. With
//! `pid`, the processor time of the tracker goes into the report.

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use swarm_bench::options::{self, Value};
use swarm_bench::{Random, Times, processor_time};
use swarm_proto::announce::TrackerError;
use swarm_proto::announce::http::parse_reply;

/// Bytes of an answer at most.
const LENGTH: usize = 64 * 1024;
/// Bytes that are read at a time.
const ROOM: usize = 8 * 1024;
/// The longest time that is told apart from longer ones.
const LONGEST: Duration = Duration::from_millis(500);
/// How often silence of all connections is looked for, and the silence after which a request counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);
const EVENTS: usize = 256;

/// What to do; each can be given as `name=value`.
#[derive(Clone, Debug)]
struct Options {
    /// Torrents to announce.
    torrents: u32,
    /// Peers that announce themselves, by their port.
    peers: u16,
    /// Peers wanted in an answer.
    want: u32,
    /// Threads, each with so many connections.
    threads: u32,
    connections: usize,
    /// 1: a connection for each announce.
    new: u8,
    /// Where announces go.
    path: String,
    warm: u64,
    seconds: u64,
    /// The tracker's process; 0 for none of this machine.
    pid: u32,
}

impl Options {
    fn read(words: &[String]) -> Result<Self> {
        let mut options = Self {
            torrents: 1_000,
            peers: 60,
            want: 30,
            threads: 1,
            connections: 64,
            new: 0,
            path: "/announce".into(),
            warm: 3,
            seconds: 10,
            pid: 0,
        };
        let places: &mut [(&str, &mut dyn Value)] = &mut [
            ("torrents", &mut options.torrents),
            ("peers", &mut options.peers),
            ("want", &mut options.want),
            ("threads", &mut options.threads),
            ("connections", &mut options.connections),
            ("new", &mut options.new),
            ("path", &mut options.path),
            ("warm", &mut options.warm),
            ("seconds", &mut options.seconds),
            ("pid", &mut options.pid),
        ];
        options::read(words, places)?;
        ensure!(options.torrents > 0 && options.peers > 0 && options.connections > 0, "0 of what is needed");
        Ok(options)
    }
}

/// What came back.
#[derive(Debug)]
struct Tally {
    announces: u64,
    peers: u64,
    bytes: u64,
    refused: u64,
    lost: u64,
    /// Seconds of the tracker's processor time before what counts.
    before: f64,
    /// From a request, or the beginning of its connection, to its answer.
    times: Times,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
    sent: Instant,
}

struct Load {
    address: SocketAddr,
    options: Options,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    random: Random,
    request: String,
    tally: Tally,
}

fn main() -> Result<()> {
    let (address, words) = options::command_line("http_load")?;
    let options = Options::read(&words)?;
    let threads: Vec<_> = (0..options.threads)
        .map(|number| {
            let options = options.clone();
            thread::spawn(move || Load::new(address, options, number)?.run())
        })
        .collect();
    let mut all = Tally::new();
    for thread in threads {
        all.add(&thread.join().expect("a thread that panics says so")?);
    }
    let used = processor_time(options.pid)? - all.before;
    all.report(options.seconds as f64, used);
    Ok(())
}

impl Tally {
    fn new() -> Self {
        Self { announces: 0, peers: 0, bytes: 0, refused: 0, lost: 0, before: 0.0, times: Times::new(LONGEST) }
    }

    fn add(&mut self, other: &Self) {
        self.announces += other.announces;
        self.peers += other.peers;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.lost += other.lost;
        self.before = self.before.max(other.before);
        self.times.merge(&other.times);
    }

    fn report(&self, elapsed: f64, used: f64) {
        println!("announces/s      {:.0}", self.announces as f64 / elapsed);
        println!("peers an answer  {:.1}", self.peers as f64 / self.announces.max(1) as f64);
        println!("bytes an answer  {:.1}", self.bytes as f64 / self.announces.max(1) as f64);
        println!("bytes a peer     {:.2}", self.bytes as f64 / self.peers.max(1) as f64);
        println!("time             p50 {} µs, p99 {} µs", self.times.quantile(0.5), self.times.quantile(0.99));
        println!("refused, lost    {}, {}", self.refused, self.lost);
        if used > 0.0 {
            println!("processor time   {:.2} µs an announce", 1e6 * used / self.announces.max(1) as f64);
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.connect(&address.into()).context("the tracker")?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket.into())
}

impl Load {
    fn new(address: SocketAddr, options: Options, number: u32) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self {
            address,
            options,
            epoll,
            connections: Vec::new(),
            random: Random::new(number),
            request: String::new(),
            tally: Tally::new(),
        })
    }

    fn run(mut self) -> Result<Tally> {
        for index in 0..self.options.connections {
            let stream = connect(self.address)?;
            self.watch(&stream, index)?;
            self.connections.push(Connection { stream, answer: Vec::with_capacity(LENGTH), sent: Instant::now() });
            self.ask(index)?;
        }
        let warm = Instant::now() + Duration::from_secs(self.options.warm);
        self.serve_until(warm)?;
        let before = processor_time(self.options.pid)?;
        self.tally = Tally { before, ..Tally::new() };
        self.serve_until(warm + Duration::from_secs(self.options.seconds))?;
        Ok(self.tally)
    }

    fn serve_until(&mut self, end: Instant) -> Result<()> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        let mut looked = Instant::now();
        while Instant::now() < end {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&Timespec::try_from(PATIENCE)?)) {
                Err(Errno::INTR) => {}
                waited => drop(waited?),
            }
            for event in events.drain(..) {
                self.hear(event.data.u64() as usize)?;
            }
            if looked.elapsed() >= PATIENCE {
                looked = Instant::now();
                for index in 0..self.connections.len() {
                    if self.connections[index].sent.elapsed() >= 2 * PATIENCE {
                        self.tally.lost += 1;
                        self.reconnect(index)?;
                        self.ask(index)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn watch(&self, stream: &TcpStream, index: usize) -> Result<()> {
        Ok(epoll::add(&self.epoll, stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?)
    }

    fn reconnect(&mut self, index: usize) -> Result<()> {
        let begun = Instant::now();
        let stream = connect(self.address)?;
        self.watch(&stream, index)?;
        // The old one is closed by this, and so no longer watched.
        let connection = &mut self.connections[index];
        (connection.stream, connection.sent) = (stream, begun);
        connection.answer.clear();
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<()> {
        let (hash, peer) = (self.random.below(self.options.torrents), self.random.below(self.options.peers.into()));
        self.request.clear();
        let Options { path, want, new, .. } = &self.options;
        write!(
            self.request,
            "GET {path}?info_hash=%{:02x}%{:02x}%{:02x}%{:02x}--torrent-http--&peer_id=-XX0000-{hash:06}{peer:06}&port={}\
             &uploaded=0&downloaded=0&left={}&compact=1&numwant={want}&key=1234 HTTP/1.1\r\nHost: tracker\r\n\
             User-Agent: http_load\r\n{}\r\n",
            hash >> 24,
            hash >> 16 & 0xff,
            hash >> 8 & 0xff,
            hash & 0xff,
            1_024 + peer,
            peer % 4,
            if *new == 1 { "Connection: close\r\n" } else { "" },
        )?;
        let connection = &mut self.connections[index];
        if *new == 0 {
            connection.sent = Instant::now();
        }
        // What a full socket does not take, or one that the tracker has just closed, is lost and asked for anew.
        match connection.stream.write(self.request.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => Ok(()),
            Err(error) => Err(error).context("the tracker"),
        }
    }

    /// Reads what has come, and asks the next once an answer is whole.
    fn hear(&mut self, index: usize) -> Result<()> {
        let connection = &mut self.connections[index];
        let (have, mut ended) = (connection.answer.len(), false);
        connection.answer.resize(have + ROOM, 0);
        let read = connection.stream.read(&mut connection.answer[have..]);
        connection.answer.truncate(have + *read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => ended = true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => ended = true,
            Err(error) => return Err(error).context("the tracker"),
        }
        let Some(answer) = Answer::read(&connection.answer, ended)? else {
            ensure!(connection.answer.len() < LENGTH, "an answer without an end");
            if ended {
                self.tally.lost += u64::from(have > 0 || self.options.new == 1);
                self.reconnect(index)?;
                self.ask(index)?;
            }
            return Ok(());
        };
        self.tally.times.add(connection.sent.elapsed());
        self.tally.announces += 1;
        self.tally.peers += answer.peers as u64;
        self.tally.bytes += connection.answer.len() as u64;
        self.tally.refused += u64::from(answer.refused);
        connection.answer.clear();
        if self.options.new == 1 || answer.last || ended {
            self.reconnect(index)?;
        }
        self.ask(index)
    }
}

/// What one answer says.
struct Answer {
    peers: usize,
    refused: bool,
    /// The tracker closes the connection.
    last: bool,
}

impl Answer {
    /// Reads an answer if it is whole: by its length, or by the end of the connection.
    fn read(bytes: &[u8], ended: bool) -> Result<Option<Self>> {
        let Some(head) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
        let (text, body) = (std::str::from_utf8(&bytes[..head])?, &bytes[head + 4..]);
        let (mut length, mut last) = (None, false);
        ensure!(text.starts_with("HTTP/1.1 200") || text.starts_with("HTTP/1.0 200"), "the tracker says {text:?}");
        for line in text.lines().skip(1) {
            let (name, value) = line.split_once(':').with_context(|| format!("{line:?}: no header"))?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.parse::<usize>()?);
            }
            last |= name.eq_ignore_ascii_case("connection") && value.eq_ignore_ascii_case("close");
        }
        match length {
            Some(length) if body.len() < length => Ok(None),
            None if !ended => Ok(None),
            length => {
                let body = &body[..length.unwrap_or(body.len())];
                let (peers, refused) = count(body)?;
                Ok(Some(Self { peers, refused, last }))
            }
        }
    }
}

/// The peers in an answer, and whether it is a refusal. Compact peers are counted by their length alone: the load must not cost
/// more than what it loads.
fn count(body: &[u8]) -> Result<(usize, bool)> {
    let compact = |key: &[u8], length: usize| {
        let from = body.windows(key.len()).position(|window| window == key)? + key.len();
        let digits = body[from..].iter().take_while(|byte| byte.is_ascii_digit());
        let bytes = digits.clone().fold(0, |number, digit| 10 * number + usize::from(digit - b'0'));
        (digits.count() > 0).then_some(bytes / length)
    };
    if let Some(v4) = compact(b"5:peers", 6) {
        return Ok((v4 + compact(b"6:peers6", 18).unwrap_or(0), false));
    }
    match parse_reply(body) {
        Ok(reply) => Ok((reply.peers.len(), false)),
        Err(TrackerError::Refused { .. }) => Ok((0, true)),
        Err(error) => bail!("{error}"),
    }
}
