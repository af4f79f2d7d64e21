//! The first 68 bytes of a connection, in both directions, up to one absolute deadline.
//!
//! Never reads a byte beyond the handshake, and hangs up on the first byte that cannot belong to one.

use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::id::{InfoHash, PeerId};
use swarm_proto::wire::{HANDSHAKE_LENGTH, Handshake, HandshakeError, Reserved};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Time from the first byte of a connection to the end of both handshakes.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Time for the three packets of TCP.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What we sent and the other system does not acknowledge for so long: the network is cut, or the host is gone. Without
/// this, TCP would wait a quarter of an hour, and try again only each two minutes after the network is whole.
const UNACKNOWLEDGED_LIMIT: Duration = Duration::from_secs(45);

/// Why a socket did not become a connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    /// No connection, or it broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not within the time for it.
    #[error("no answer in time")]
    TimedOut,
    /// Something else than BitTorrent speaks there.
    #[error(transparent)]
    Protocol(#[from] HandshakeError),
    /// The peer has another torrent than the one that we asked for, or asks for one that is not here.
    #[error("torrent {0} is not wanted here")]
    WrongTorrent(InfoHash),
}

/// What we say of ourselves for this torrent.
pub(crate) fn ours(info_hash: InfoHash, peer_id: PeerId) -> Handshake {
    Handshake { info_hash, peer_id, reserved: Reserved { fast: true, extended: true } }
}

/// Connects to `address` and exchanges handshakes. Returns the socket behind them and what the peer said.
pub(crate) async fn dial(address: SocketAddr, ours: Handshake) -> Result<(TcpStream, Handshake), HandshakeFailure> {
    let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
    let mut stream = connecting.await.map_err(|_| HandshakeFailure::TimedOut)??;
    let exchange = async {
        prepare(&stream)?;
        stream.write_all(&ours.encode()).await?;
        receive(&mut stream).await
    };
    let theirs = timeout(HANDSHAKE_DEADLINE, exchange).await.map_err(|_| HandshakeFailure::TimedOut)??;
    if theirs.info_hash != ours.info_hash {
        return Err(HandshakeFailure::WrongTorrent(theirs.info_hash));
    }
    Ok((stream, theirs))
}

/// Takes the handshake of a socket that came in, and answers it if `answer` knows the torrent. Returns what `answer`
/// gave beside our handshake, and what the peer said.
pub(crate) async fn accept<T>(
    stream: &mut TcpStream,
    answer: impl FnOnce(&Handshake) -> Option<(Handshake, T)>,
) -> Result<(T, Handshake), HandshakeFailure> {
    let deadline = Instant::now() + HANDSHAKE_DEADLINE;
    let exchange = async {
        prepare(stream)?;
        let theirs = receive(stream).await?;
        let (ours, found) = answer(&theirs).ok_or(HandshakeFailure::WrongTorrent(theirs.info_hash))?;
        stream.write_all(&ours.encode()).await?;
        Ok((found, theirs))
    };
    timeout_at(deadline, exchange).await.map_err(|_| HandshakeFailure::TimedOut)?
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_LIMIT))
}

async fn receive(stream: &mut TcpStream) -> Result<Handshake, HandshakeFailure> {
    let mut bytes = [0; HANDSHAKE_LENGTH];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest).await? {
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            got => filled += got,
        }
        if !Handshake::may_begin_with(bytes.get(..filled).unwrap_or_default()) {
            return Err(HandshakeError.into());
        }
    }
    Ok(Handshake::decode(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const HASH: InfoHash = InfoHash([1; 20]);

    fn handshake(hash: InfoHash, id: u8) -> Handshake {
        ours(hash, PeerId([id; 20]))
    }

    async fn pair() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn both_sides_hear_each_other_and_nothing_more_is_read() {
        let (listener, address) = pair().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = |theirs: &Handshake| Some((handshake(theirs.info_hash, 2), "found"));
            let done = accept(&mut stream, answer).await.unwrap();
            stream.write_all(b"next").await.unwrap();
            done
        };
        let client = async {
            let (mut stream, theirs) = dial(address, handshake(HASH, 1)).await.unwrap();
            let mut next = [0; 4];
            stream.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"next");
            theirs
        };
        let ((found, seen), theirs) = tokio::join!(server, client);
        assert_eq!((found, seen, theirs), ("found", handshake(HASH, 1), handshake(HASH, 2)));
    }

    #[tokio::test]
    async fn the_first_wrong_byte_closes() {
        let (listener, address) = pair().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        client.write_all(b"\x13BitT!").await.unwrap();
        let result = accept(&mut stream, |_| Some((handshake(HASH, 2), ()))).await;
        assert!(matches!(result, Err(HandshakeFailure::Protocol(_))), "{result:?}");
    }

    #[tokio::test]
    async fn a_torrent_that_is_not_here_is_not_answered() {
        let (listener, address) = pair().await;
        let server = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            accept(&mut stream, |_| None::<(Handshake, ())>).await
        };
        let (result, client) = tokio::join!(server, dial(address, handshake(HASH, 1)));
        assert!(matches!(result, Err(HandshakeFailure::WrongTorrent(HASH))));
        assert!(matches!(client, Err(HandshakeFailure::Io(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_move_the_deadline() {
        let (listener, address) = pair().await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        let begin = Instant::now();
        let drip = async {
            for byte in handshake(HASH, 1).encode() {
                if client.write_all(&[byte]).await.is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_secs(4)).await;
            }
        };
        tokio::select! {
            result = accept(&mut stream, |_| Some((handshake(HASH, 2), ()))) => {
                assert!(matches!(result, Err(HandshakeFailure::TimedOut)), "{result:?}");
            }
            () = drip => panic!("the whole handshake was waited for"),
        }
        assert_eq!(begin.elapsed(), HANDSHAKE_DEADLINE);
    }
}
