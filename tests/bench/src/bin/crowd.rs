//! Many plain peers in one process, for what a client needs for each connection.
//!
//! `crowd seeds INFO_HASH FILE PIECE_LENGTH FIRST_ADDRESS COUNT` listens on COUNT addresses, one after the other from
//! the first on, and serves the file to whoever comes, until it is killed.
//! `crowd leechers INFO_HASH FILE PIECE_LENGTH ADDRESS COUNT` connects COUNT times, from 127.1.0.1 and those after it, asks
//! for all blocks of the file once, shared out among the connections, and ends when they have come.

use anyhow::{Context, Result, bail};
use rustix::fs::sendfile;
use socket2::{Domain, Socket, Type};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::thread;

const BLOCK: u64 = 16 * 1024;
/// Requests that a leecher keeps under way.
const UNDER_WAY: usize = 64;
const UNCHOKE: u8 = 1;
const INTERESTED: u8 = 2;
const REQUEST: u8 = 6;
const PIECE: u8 = 7;
const HAVE_ALL: u8 = 14;
const HAVE_NONE: u8 = 15;
const REJECT: u8 = 16;
/// The bits of a handshake that say: the fast extension (BEP 6).
const FAST: [u8; 8] = [0, 0, 0, 0, 0, 0, 0, 4];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [role, info_hash, path, piece_length, address, count] = &arguments[..] else {
        bail!("crowd seeds|leechers INFO_HASH FILE PIECE_LENGTH ADDRESS COUNT")
    };
    let torrent = Torrent {
        info_hash: from_hex(info_hash)?,
        length: File::open(path).context(path.clone())?.metadata()?.len(),
        path: path.clone(),
        piece_length: piece_length.parse()?,
    };
    let (address, count): (SocketAddrV4, u32) = (address.parse()?, count.parse()?);
    thread::scope(|scope| {
        let torrent = &torrent;
        let peers: Vec<_> = (0..count)
            .map(|number| match role.as_str() {
                "seeds" => scope.spawn(move || torrent.seed(address, number)),
                _ => scope.spawn(move || torrent.leech(address, number, count)),
            })
            .collect();
        peers.into_iter().try_for_each(|peer| peer.join().expect("no panic"))
    })
}

fn from_hex(text: &str) -> Result<[u8; 20]> {
    let byte = |index: usize| u8::from_str_radix(text.get(2 * index..2 * index + 2).unwrap_or("-"), 16);
    let bytes = (0..20).map(byte).collect::<Result<Vec<_>, _>>().context("an info hash in hex")?;
    Ok(bytes.try_into().expect("20 bytes"))
}

fn host(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(first) + number)
}

struct Torrent {
    info_hash: [u8; 20],
    path: String,
    length: u64,
    piece_length: u64,
}

impl Torrent {
    fn shake_hands(&self, stream: &mut TcpStream, number: u32, hello: &[u8]) -> Result<()> {
        let mut bytes = b"\x13BitTorrent protocol".to_vec();
        bytes.extend(FAST);
        bytes.extend(self.info_hash);
        bytes.extend(format!("-CR0001-{number:012}").bytes());
        bytes.extend(hello);
        stream.set_nodelay(true)?;
        stream.write_all(&bytes)?;
        stream.read_exact(&mut [0; 68])?;
        Ok(())
    }

    fn seed(&self, first: SocketAddrV4, number: u32) -> Result<()> {
        let listener = TcpListener::bind((host(*first.ip(), number), first.port()))?;
        for stream in listener.incoming() {
            // Whoever leaves in the middle: the next one comes.
            let _ = self.serve(stream?, number);
        }
        Ok(())
    }

    fn serve(&self, mut stream: TcpStream, number: u32) -> Result<()> {
        self.shake_hands(&mut stream, number, &[0, 0, 0, 1, HAVE_ALL, 0, 0, 0, 1, UNCHOKE])?;
        let file = File::open(&self.path)?;
        let mut messages = Messages::new(stream.try_clone()?);
        loop {
            let body = messages.next()?;
            if body.first() != Some(&REQUEST) {
                continue;
            }
            let field = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
            let (piece, begin, length) = (field(1), field(5), field(9));
            let mut header = (9 + length).to_be_bytes().to_vec();
            header.push(PIECE);
            header.extend(piece.to_be_bytes());
            header.extend(begin.to_be_bytes());
            stream.write_all(&header)?;
            let mut offset = u64::from(piece) * self.piece_length + u64::from(begin);
            let mut left = length as usize;
            while left > 0 {
                left -= sendfile(&stream, &file, Some(&mut offset), left)?;
            }
        }
    }

    /// The blocks that fall to one of so many leechers, as (piece, begin, length).
    fn share(&self, number: u32, count: u32) -> impl Iterator<Item = (u32, u32, u32)> {
        let numbers = (u64::from(number)..self.length.div_ceil(BLOCK)).step_by(count as usize);
        numbers.map(|block| {
            let offset = block * BLOCK;
            let length = BLOCK.min(self.length - offset);
            ((offset / self.piece_length) as u32, (offset % self.piece_length) as u32, length as u32)
        })
    }

    fn leech(&self, seed: SocketAddrV4, number: u32, count: u32) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddrV4::new(host(Ipv4Addr::new(127, 1, 0, 1), number), 0).into())?;
        socket.connect(&seed.into())?;
        let mut stream = TcpStream::from(socket);
        self.shake_hands(&mut stream, number, &[0, 0, 0, 1, HAVE_NONE, 0, 0, 0, 1, INTERESTED])?;
        let mut messages = Messages::new(stream.try_clone()?);
        let mut wanted: Vec<_> = self.share(number, count).collect();
        wanted.reverse();
        let (mut missing, mut under_way, mut choked) = (wanted.len(), 0, true);
        while missing > 0 {
            while !choked && under_way < UNDER_WAY {
                let Some(block) = wanted.pop() else { break };
                stream.write_all(&request(block))?;
                under_way += 1;
            }
            let body = messages.next()?;
            let field = |at: usize| u32::from_be_bytes(body[at..at + 4].try_into().expect("four bytes"));
            match body.first() {
                Some(&UNCHOKE) => choked = false,
                Some(&0) => choked = true,
                Some(&PIECE) => (missing, under_way) = (missing - 1, under_way - 1),
                Some(&REJECT) => {
                    wanted.push((field(1), field(5), field(9)));
                    under_way -= 1;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn request((piece, begin, length): (u32, u32, u32)) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 13, REQUEST];
    for field in [piece, begin, length] {
        bytes.extend(field.to_be_bytes());
    }
    bytes
}

/// Whole messages of a peer, keep-alives left out.
struct Messages {
    stream: BufReader<TcpStream>,
}

impl Messages {
    fn new(stream: TcpStream) -> Self {
        Self { stream: BufReader::with_capacity(64 * 1024, stream) }
    }

    fn next(&mut self) -> Result<Vec<u8>> {
        loop {
            let mut length = [0; 4];
            self.stream.read_exact(&mut length)?;
            let mut body = vec![0; u32::from_be_bytes(length) as usize];
            self.stream.read_exact(&mut body)?;
            if !body.is_empty() {
                return Ok(body);
            }
        }
    }
}
