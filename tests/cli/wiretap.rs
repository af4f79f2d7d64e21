//! Somebody between two peers who notes what is asked for.

use crate::support::PATIENCE;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

/// Bytes of a handshake (BEP 3).
const HANDSHAKE: usize = 68;
const REQUEST: u8 = 6;

#[derive(Default)]
struct Heard {
    /// The piece of each block that was asked for.
    pieces: Vec<u64>,
    open: usize,
}

/// Takes connections and passes them on to a peer.
pub(crate) struct Wiretap {
    pub(crate) address: SocketAddr,
    heard: Arc<(Mutex<Heard>, Condvar)>,
}

impl Wiretap {
    /// In front of the peer at `host:port`.
    pub(crate) fn before(peer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, peer, heard) = (listener.local_addr().unwrap(), peer.to_owned(), Arc::default());
        let wiretap = Self { address, heard: Arc::clone(&heard) };
        // The threads end with the process.
        std::thread::spawn(move || {
            for asker in listener.incoming().map_while(Result::ok) {
                let (peer, heard) = (TcpStream::connect(&peer).unwrap(), Arc::clone(&heard));
                let (mut answers, mut back) = (peer.try_clone().unwrap(), asker.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _either_has_gone = std::io::copy(&mut answers, &mut back);
                    let _gone_already = back.shutdown(Shutdown::Both);
                });
                heard.0.lock().unwrap().open += 1;
                std::thread::spawn(move || listen(asker, peer, &heard));
            }
        });
        wiretap
    }

    /// The pieces of the blocks that were asked for since the last time, once all connections have ended.
    pub(crate) fn asked(&self) -> Vec<u64> {
        let (heard, ended) = &*self.heard;
        let (mut heard, timeout) =
            ended.wait_timeout_while(heard.lock().unwrap(), PATIENCE, |heard| heard.open > 0).unwrap();
        assert!(!timeout.timed_out(), "a connection does not end");
        std::mem::take(&mut heard.pieces)
    }
}

/// Passes on what one side says, up to its end.
fn listen(mut asker: TcpStream, mut peer: TcpStream, heard: &(Mutex<Heard>, Condvar)) {
    let (mut said, mut buffer, mut greeted) = (Vec::new(), [0; 4_096], false);
    while let Ok(length @ 1..) = asker.read(&mut buffer) {
        said.extend_from_slice(&buffer[..length]);
        if !greeted && said.len() >= HANDSHAKE {
            greeted = true;
            said.drain(..HANDSHAKE);
        }
        let mut at = 0;
        while let Some(head) = said.get(at..at + 4).filter(|_| greeted) {
            let length = 4 + u32::from_be_bytes(head.try_into().unwrap()) as usize;
            let Some(message) = said.get(at..at + length) else { break };
            if message.get(4) == Some(&REQUEST) {
                let piece = u32::from_be_bytes(message[5..9].try_into().unwrap());
                heard.0.lock().unwrap().pieces.push(piece.into());
            }
            at += length;
        }
        said.drain(..at);
        if peer.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _gone_already = peer.shutdown(Shutdown::Both);
    heard.0.lock().unwrap().open -= 1;
    heard.1.notify_all();
}
