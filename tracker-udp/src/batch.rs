//! Many datagrams by one system call, in and out.
//!
//! Invariant: what has been received stays as it is until the next call of [`Batch::receive`].

use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg};
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, addr::SocketAddrArg, sendmmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

/// Datagrams of one system call.
const DATAGRAMS: usize = 64;
/// Bytes of a datagram that are read: the largest scrape has 1,496, an announce with a path of the usual length less.
/// What is longer is cut, and so wrong.
const LENGTH: usize = 2_048;

/// Room for what one thread receives and sends at a time.
#[derive(Debug)]
pub(crate) struct Batch {
    buffers: Vec<[u8; LENGTH]>,
    /// Where each datagram came from, and its bytes.
    received: Vec<(SocketAddr, usize)>,
    /// Replies, each with room that is used again, and to whom they go.
    replies: Vec<Vec<u8>>,
    addresses: Vec<SocketAddrAny>,
    headers: MultiHeaders<SockaddrStorage>,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![[0; LENGTH]; DATAGRAMS],
            received: Vec::with_capacity(DATAGRAMS),
            replies: (0..DATAGRAMS).map(|_| Vec::with_capacity(LENGTH)).collect(),
            addresses: Vec::with_capacity(DATAGRAMS),
            headers: MultiHeaders::preallocate(DATAGRAMS, None),
        }
    }

    /// Takes what waits in the socket.
    ///
    /// # Errors
    /// `WouldBlock` if nothing does.
    pub(crate) fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        self.received.clear();
        let mut slices: Vec<_> = self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let messages = recvmmsg(socket.as_raw_fd(), &mut self.headers, slices.iter_mut(), flags, None)?;
        self.received.extend(messages.map(|message| {
            // One without an address that we know cannot be answered: of length 0 it is no request.
            message.address.as_ref().and_then(socket_address).map_or((NOBODY, 0), |from| (from, message.bytes))
        }));
        Ok(())
    }

    /// Has each datagram answered: `respond` writes the reply, or leaves it empty.
    pub(crate) fn respond(&mut self, mut respond: impl FnMut(SocketAddr, &[u8], &mut Vec<u8>)) {
        self.addresses.clear();
        for (&(from, length), buffer) in self.received.iter().zip(&self.buffers) {
            let Some(reply) = self.replies.get_mut(self.addresses.len()) else { return };
            reply.clear();
            respond(from, buffer.get(..length).unwrap_or_default(), reply);
            if !reply.is_empty() {
                self.addresses.push(from.as_any());
            }
        }
    }

    /// Sends the replies; returns how many could not be sent. Waits while the socket's buffer is full.
    pub(crate) fn send(&mut self, socket: &UdpSocket) -> u64 {
        let slices: Vec<_> = self.replies.iter().map(|reply| [IoSlice::new(reply)]).collect();
        // Nothing but the datagrams themselves goes out.
        let mut beside: Vec<_> = self.addresses.iter().map(|_| SendAncillaryBuffer::default()).collect();
        let parts = self.addresses.iter().zip(&slices).zip(&mut beside);
        let mut messages: Vec<_> =
            parts.map(|((to, slice), beside)| MMsgHdr::new_with_addr(to, slice, beside)).collect();
        let (mut sent, mut failed) = (0, 0);
        while let Some(waiting) = messages.get_mut(sent..).filter(|waiting| !waiting.is_empty()) {
            match sendmmsg(socket, waiting, SendFlags::empty()) {
                Ok(count) => sent += count.max(1),
                Err(Errno::INTR) => {}
                // It is about the first of them, and the others may be fine.
                Err(_) => {
                    sent += 1;
                    failed += 1;
                }
            }
        }
        failed
    }
}

const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in().map(|address| SocketAddr::V4((*address).into()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| SocketAddr::V6((*address).into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn datagrams_go_round_in_batches() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (server, client) = (UdpSocket::bind(address).unwrap(), UdpSocket::bind(address).unwrap());
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut batch = Batch::new();
            assert_eq!(batch.receive(&server).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for round in 0..3 {
                let length = |n: u8| if n == 7 { 3_000 } else { usize::from(n) + 100 * round };
                for n in 0..100 {
                    client.send_to(&vec![n; length(n)], server.local_addr().unwrap()).unwrap();
                }
                let mut seen = Vec::new();
                while batch.receive(&server).is_ok() {
                    batch.respond(|from, datagram, out| {
                        assert_eq!(from, client.local_addr().unwrap());
                        seen.push(datagram.len());
                        // Silence for some.
                        if datagram.first().is_some_and(|n| n % 3 != 0) {
                            out.extend_from_slice(&datagram[..1]);
                        }
                    });
                    assert_eq!(batch.send(&server), 0);
                }
                assert_eq!(seen, (0..100).map(|n| length(n).min(LENGTH)).collect::<Vec<_>>());
                let mut reply = [0; 10];
                for n in (0..100).filter(|n| n % 3 != 0) {
                    assert_eq!((client.recv(&mut reply).unwrap(), reply[0]), (1, n));
                }
            }
        }
    }

    #[test]
    fn a_reply_that_cannot_be_sent_holds_no_other_up() {
        let (server, client) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut batch = Batch::new();
        for n in 0..5_u8 {
            client.send_to(&[n], server.local_addr().unwrap()).unwrap();
        }
        batch.receive(&server).unwrap();
        batch.respond(|_, datagram, out| out.extend_from_slice(datagram));
        for broken in [0, 3] {
            batch.addresses[broken] = NOBODY.as_any();
        }
        assert_eq!(batch.send(&server), 2);
        let mut reply = [0; 10];
        let came: Vec<u8> = (0..3)
            .map(|_| {
                client.recv(&mut reply).unwrap();
                reply[0]
            })
            .collect();
        assert_eq!(came, [1, 2, 4]);
    }
}
