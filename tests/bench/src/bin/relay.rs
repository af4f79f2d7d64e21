//! A long link between two peers: as many bits a second as given, and every byte half a round trip late each way.
//!
//! `relay LISTEN TARGET ROUND_TRIP_MS RATE_MBIT` takes one connection after the other. When one ends, a JSON line on
//! standard output tells when the first byte and the first request (BEP 3) came from the near side, in milliseconds since
//! the connection was made, and how many bytes left for the near side in each tenth of a second since then.
//!
//! The two connections are local ones, so what is tried is what the programs keep under way, not the congestion control
//! of the system.

use anyhow::{Result, bail};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks on the way, however small they are: a link that is full stops its sender.
const ON_THE_WAY: usize = 16 * 1024;
/// How far ahead of the link a sender may be: the buffer of a router.
const AHEAD: Duration = Duration::from_millis(5);
/// How finely the flow is told.
const TENTH: Duration = Duration::from_millis(100);

type Chunk = (Instant, Vec<u8>);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, target, round_trip, rate] = &arguments[..] else {
        bail!("relay LISTEN TARGET ROUND_TRIP_MS RATE_MBIT")
    };
    let link = Link {
        delay: Duration::from_millis(round_trip.parse()?) / 2,
        bytes_per_s: rate.parse::<f64>()? * 1e6 / 8.0,
        begun: Instant::now(),
        flow: Arc::default(),
    };
    for near in TcpListener::bind(listen)?.incoming() {
        let link = Link { begun: Instant::now(), flow: Arc::default(), ..link.clone() };
        // Whoever is behind it may be gone already; the next connection is another one.
        let _ = link.carry(near?, target);
        println!("{}", link.flow.lock().unwrap().to_json());
    }
    Ok(())
}

#[derive(Clone)]
struct Link {
    delay: Duration,
    bytes_per_s: f64,
    begun: Instant,
    flow: Arc<Mutex<Flow>>,
}

/// What has passed.
#[derive(Default)]
struct Flow {
    first_byte: Option<Duration>,
    first_request: Option<Duration>,
    tenths: Vec<u64>,
}

impl Flow {
    fn to_json(&self) -> String {
        let number = |at: Option<Duration>| at.map_or("null".into(), |at| at.as_millis().to_string());
        let (byte, request) = (number(self.first_byte), number(self.first_request));
        format!("{{\"first_byte_ms\": {byte}, \"first_request_ms\": {request}, \"tenths\": {:?}}}", self.tenths)
    }
}

impl Link {
    fn carry(&self, near: TcpStream, target: &str) -> Result<()> {
        let far = TcpStream::connect(target)?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let (up, down) = (sync_channel(ON_THE_WAY), sync_channel(ON_THE_WAY));
        let streams = [near.try_clone()?, far.try_clone()?, near, far];
        let [near_in, far_in, near_out, far_out] = streams;
        thread::scope(|scope| {
            scope.spawn(move || self.enter(near_in, up.0, Some(Requests::default())));
            scope.spawn(move || self.enter(far_in, down.0, None));
            scope.spawn(move || self.leave(far_out, up.1, false));
            self.leave(near_out, down.1, true);
        });
        Ok(())
    }

    /// Takes bytes at the rate of the link. The end of the stream is an empty chunk.
    fn enter(&self, mut from: TcpStream, to: SyncSender<Chunk>, mut requests: Option<Requests>) {
        let mut free = Instant::now();
        loop {
            let mut chunk = vec![0; CHUNK];
            let length = from.read(&mut chunk).unwrap_or(0);
            chunk.truncate(length);
            if let Some(requests) = requests.as_mut().filter(|_| length > 0) {
                self.note(requests, &chunk);
            }
            let now = Instant::now();
            free = free.max(now) + Duration::from_secs_f64(length as f64 / self.bytes_per_s);
            if to.send((free + self.delay, chunk)).is_err() || length == 0 {
                return;
            }
            // Sleeping is coarse: only for what is worth it, and late is made up for by `free`.
            if free > now + AHEAD {
                thread::sleep(free - now - AHEAD);
            }
        }
    }

    fn note(&self, requests: &mut Requests, chunk: &[u8]) {
        let mut flow = self.flow.lock().unwrap();
        flow.first_byte.get_or_insert_with(|| self.begun.elapsed());
        if flow.first_request.is_none() && requests.see(chunk) {
            flow.first_request = Some(self.begun.elapsed());
        }
    }

    /// Hands bytes on when they are due.
    fn leave(&self, mut to: TcpStream, from: Receiver<Chunk>, is_near: bool) {
        while let Ok((due, chunk)) = from.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if chunk.is_empty() || to.write_all(&chunk).is_err() {
                break;
            }
            if is_near {
                let tenth = (self.begun.elapsed().as_millis() / TENTH.as_millis()) as usize;
                let mut flow = self.flow.lock().unwrap();
                if flow.tenths.len() <= tenth {
                    flow.tenths.resize(tenth + 1, 0);
                }
                flow.tenths[tenth] += chunk.len() as u64;
            }
        }
        // Either way is over: the other side has nothing to say to anybody.
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// Looks for the first request among the messages of a peer, behind its handshake.
#[derive(Default)]
struct Requests {
    bytes: Vec<u8>,
}

impl Requests {
    const HANDSHAKE: usize = 68;
    const REQUEST: u8 = 6;

    fn see(&mut self, chunk: &[u8]) -> bool {
        self.bytes.extend_from_slice(chunk);
        let mut at = Self::HANDSHAKE;
        while let Some(head) = self.bytes.get(at..at + 5) {
            let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
            if length > 0 && head[4] == Self::REQUEST {
                return true;
            }
            at += 4 + length;
        }
        false
    }
}
