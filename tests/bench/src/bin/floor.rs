//! Not a client: the least that moving a file takes when one stream of SHA-1 verifies it. One side gives the file to the
//! socket out of the page cache, a block at a time; the other receives into a piece, hashes what is still warm, and writes
//! each piece with one call.
//!
//! `floor seed FILE ADDRESS` serves until it is killed; `floor fetch FILE ADDRESS PIECE_LENGTH` ends with the connection.

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::sendfile;
use sha1::{Digest, Sha1};
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;

/// Bytes that leave with one call, as a client answers one request.
const BLOCK: usize = 16 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["seed", file, address] => seed(file, address),
        ["fetch", file, address, piece_length] => fetch(file, address, piece_length.parse()?),
        _ => bail!("floor seed FILE ADDRESS | floor fetch FILE ADDRESS PIECE_LENGTH"),
    }
}

fn seed(path: &str, address: &str) -> Result<()> {
    let file = File::open(path).context(path.to_owned())?;
    let length = file.metadata()?.len();
    for stream in TcpListener::bind(address)?.incoming() {
        let (stream, mut offset) = (stream?, 0);
        while offset < length {
            // The peer may have gone: the next one comes.
            if sendfile(&stream, &file, Some(&mut offset), BLOCK).unwrap_or(0) == 0 {
                break;
            }
        }
    }
    Ok(())
}

fn fetch(path: &str, address: &str, piece_length: usize) -> Result<()> {
    ensure!(piece_length > 0, "a piece has bytes");
    let mut stream = TcpStream::connect(address)?;
    let file = File::create(path).context(path.to_owned())?;
    let mut piece = vec![0; piece_length];
    let mut offset = 0;
    loop {
        let (mut filled, mut hash) = (0, Sha1::new());
        while filled < piece.len() {
            let received = stream.read(&mut piece[filled..])?;
            if received == 0 {
                break;
            }
            hash.update(&piece[filled..filled + received]);
            filled += received;
        }
        black_box(hash.finalize());
        file.write_all_at(&piece[..filled], offset)?;
        offset += filled as u64;
        if filled < piece.len() {
            return Ok(());
        }
    }
}
