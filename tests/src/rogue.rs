//! Peers that do not follow the protocol, on real sockets.

use std::net::SocketAddr;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::wire::{Decoded, Frame, FrameLimits, HANDSHAKE_LENGTH, Handshake, Message, Reserved, decode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a rogue does behind its handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Vice {
    /// Claims to have everything and answers each request with wrong bytes.
    Corrupt,
    /// Claims to have everything, unchokes, and never answers.
    Stall,
    /// Sends bytes that are no messages.
    Garbage,
    /// Sends bytes that are no handshake.
    NoHandshake,
}

/// A rogue that listens; ends when dropped.
pub struct Rogue {
    /// Where it listens.
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Rogue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Rogue {
    /// Listens on a free loopback port.
    pub async fn start(info_hash: InfoHash, pieces: u32, vice: Vice) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move { drop(serve(stream, info_hash, pieces, vice).await) });
            }
        });
        Self { address, task }
    }
}

async fn serve(mut stream: TcpStream, info_hash: InfoHash, pieces: u32, vice: Vice) -> std::io::Result<()> {
    if vice == Vice::NoHandshake {
        return stream.write_all(&[0x55; 200]).await;
    }
    let mut theirs = [0; HANDSHAKE_LENGTH];
    stream.read_exact(&mut theirs).await?;
    let port = stream.local_addr()?.port().to_be_bytes();
    let peer_id = PeerId::new([port[0], port[1], 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
    let ours = Handshake { info_hash, peer_id, reserved: Reserved { fast: true, extended: false } };
    stream.write_all(&ours.encode()).await?;
    if vice == Vice::Garbage {
        return stream.write_all(&[0xf7; 4_000]).await;
    }
    let mut out = Vec::new();
    Message::HaveAll.encode_to(&mut out);
    Message::Unchoke.encode_to(&mut out);
    stream.write_all(&out).await?;
    answer(stream, pieces, vice).await
}

/// Reads messages, and answers requests with wrong bytes if that is its vice.
async fn answer(mut stream: TcpStream, pieces: u32, vice: Vice) -> std::io::Result<()> {
    let limits = FrameLimits::new(pieces);
    let mut input = Vec::new();
    loop {
        while let Ok(Decoded::Frame(frame, used)) = decode(&input, &limits) {
            input.drain(..used);
            if let Frame::Message(Message::Request(index, begin, length)) = frame
                && vice == Vice::Corrupt
            {
                let mut out = (length + 9).to_be_bytes().to_vec();
                out.push(7);
                out.extend_from_slice(&index.to_be_bytes());
                out.extend_from_slice(&begin.to_be_bytes());
                out.resize(out.len() + length as usize, 0xbd);
                stream.write_all(&out).await?;
            }
        }
        if stream.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
    }
}
