//! Fills the catalogue of a native tracker, searches it, and says what that costs whoever else asks.
//!
//! `catalogue_load ADDRESS:PORT [names=100000] [searches=20]`, the address on the loopback: names are published from many of
//! its addresses, since trackers bound the names of each. A search that finds 100 names in all goes through the whole
//! catalogue, page by page; so does a list without a search. Beside them another connection asks `A` all the time: how long
//! those answers take with and without searches is what others notice.

use anyhow::{Context, Result, bail, ensure};
use sha1::{Digest, Sha1};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use swarm_bench::{Times, options};
use swarm_proto::announce::AnnounceEvent;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::native::{
    Decoded, ListQuery, Online, PeerMessage, Publication, Request, RequestId, Response, Sender, Serve, TrackerMessage,
    decode,
};

/// Names from one address; trackers take that many.
const FROM_ONE_ADDRESS: u32 = 10_000;
/// Publications under way.
const WINDOW: u32 = 32;
/// One name in so many has the text in it that is searched.
const NEEDLES: u32 = 1_000;
const LONGEST: Duration = Duration::from_secs(1);

/// A connection that asks and waits.
struct Asker {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Asker {
    fn connect(address: SocketAddr, source: u32) -> Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::from(0x7f03_0001 + source), 0)).into())?;
        socket.connect(&address.into())?;
        socket.set_tcp_nodelay(true)?;
        let mut asker = Self { stream: socket.into(), buffer: Vec::new() };
        asker.ask(Request::Online(Online::new(PeerId([b'-'; 20]), 0)))?;
        Ok(asker)
    }

    fn say(&mut self, request: Request) -> Result<()> {
        Ok(self.stream.write_all(&PeerMessage::Request(RequestId(1), request).encode())?)
    }

    fn answer(&mut self) -> Result<Response> {
        let mut bytes = [0; 64 * 1024];
        loop {
            if let Decoded::Frame(frame, used) = decode(&self.buffer, Sender::Tracker)? {
                let message = TrackerMessage::parse(&frame)?;
                self.buffer.drain(..used);
                match message {
                    TrackerMessage::Response(_, response) => return Ok(response),
                    TrackerMessage::Refused(_, refusal) => bail!("refused: {}", refusal.text),
                    _ => continue,
                }
            }
            let length = self.stream.read(&mut bytes)?;
            ensure!(length > 0, "the tracker has closed");
            self.buffer.extend_from_slice(&bytes[..length]);
        }
    }

    fn ask(&mut self, request: Request) -> Result<Response> {
        self.say(request)?;
        self.answer()
    }

    /// All names that match, and the pages that they took.
    fn list(&mut self, contains: &str) -> Result<(usize, usize)> {
        let mut query = ListQuery { contains: contains.into(), ..ListQuery::default() };
        let (mut names, mut pages) = (0, 0);
        loop {
            let Response::List(page, next) = self.ask(Request::List(query.clone()))? else { bail!("no page") };
            (names, pages) = (names + page.len(), pages + 1);
            match next {
                Some(next) => query.after = Some(next),
                None => return Ok((names, pages)),
            }
        }
    }
}

fn publication(number: u32) -> Request {
    let kind = if number.is_multiple_of(NEEDLES) { "Needle" } else { "Debian" };
    let name = format!("{number:06} {kind} live 13.{} amd64 standard.iso", number % 10);
    let length = number + 1;
    let info = format!("d6:lengthi{length}e4:name{}:{name}12:piece lengthi1048576e6:pieces20:{:020}e", name.len(), 1);
    let publication = Publication { name: None, metainfo: format!("d4:info{info}e").into(), token: None };
    Request::Serve(Serve {
        info_hash: InfoHash(Sha1::digest(info.as_bytes()).into()),
        uploaded: 0,
        downloaded: 0,
        left: 0,
        event: AnnounceEvent::Regular,
        num_want: Some(0),
        publication: Some(publication),
    })
}

/// Asks `A` until it is enough.
fn probe(address: SocketAddr, enough: &AtomicBool) -> Result<Times> {
    let mut asker = Asker::connect(address, 1_000)?;
    let mut times = Times::new(LONGEST);
    while !enough.load(Ordering::Relaxed) {
        let asked = Instant::now();
        asker.ask(Request::Alive)?;
        times.add(asked.elapsed());
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(times)
}

/// Does something so many times, and says how long it and others took.
fn measure(address: SocketAddr, what: &str, times: u32, mut work: impl FnMut() -> Result<String>) -> Result<()> {
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let probe = scope.spawn(|| probe(address, &enough));
        let began = Instant::now();
        let mut outcome = Ok(String::new());
        for _ in 0..times {
            outcome = work();
        }
        let each = began.elapsed() / times.max(1);
        enough.store(true, Ordering::Relaxed);
        let others = probe.join().expect("a thread that panics says so")?;
        let (p50, p99, most) = (others.quantile(0.5), others.quantile(0.99), others.quantile(0.999_9));
        println!("{what:<8} {each:?} each, {}; others p50 {p50} µs, p99 {p99} µs, p99.99 {most} µs", outcome?);
        Ok(())
    })
}

fn main() -> Result<()> {
    let (address, words) = options::command_line("catalogue_load")?;
    let (mut names, mut searches) = (100_000, 20);
    options::read(&words, &mut [("names", &mut names), ("searches", &mut searches)])?;
    let began = Instant::now();
    for first in (0..names).step_by(FROM_ONE_ADDRESS as usize) {
        let mut asker = Asker::connect(address, first / FROM_ONE_ADDRESS)?;
        let last = names.min(first + FROM_ONE_ADDRESS);
        for number in first..last + WINDOW {
            if number < last {
                asker.say(publication(number))?;
            }
            if number >= first + WINDOW {
                asker.answer().with_context(|| format!("publication {}", number - WINDOW))?;
            }
        }
    }
    println!("published {names} names in {:?}", began.elapsed());
    let mut asker = Asker::connect(address, 999)?;
    measure(address, "nothing", 1, || {
        std::thread::sleep(Duration::from_secs(2));
        Ok(String::from("-"))
    })?;
    let told = |(names, pages)| format!("{names} names in {pages} pages");
    measure(address, "search", searches, || asker.list("nEEDLE").map(told))?;
    measure(address, "list", searches.div_ceil(4), || asker.list("").map(told))
}
