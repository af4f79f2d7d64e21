//! Sockets at which connections come in.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;

const BACKLOG: i32 = 1_024;

/// Opens so many sockets at one address, among which the kernel spreads connections.
///
/// The first is bound as if it were alone: where somebody else has the port, this fails, and does not take half of his
/// connections.
///
/// # Errors
/// The address is not ours or in use; it is named.
pub(crate) fn listen(address: SocketAddr, all: &[SocketAddr], sockets: NonZeroUsize) -> io::Result<Vec<TcpListener>> {
    open(address, all, sockets).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot listen on {address}: {error}; choose another address or port"))
    })
}

fn open(address: SocketAddr, all: &[SocketAddr], sockets: NonZeroUsize) -> io::Result<Vec<TcpListener>> {
    let beside = all.iter().any(|other| other.is_ipv4() && other.port() == address.port());
    let socket = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(beside)?;
        }
        socket.set_reuse_address(true)?;
        // Answers are small and whole; nothing is gained by holding them back. Connections inherit it.
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        Ok::<_, io::Error>(socket)
    };
    let first = socket()?;
    first.bind(&address.into())?;
    if sockets.get() > 1 {
        first.set_reuse_port(true)?;
    }
    first.listen(BACKLOG)?;
    let first = TcpListener::from(first);
    let bound = first.local_addr()?;
    let mut opened = vec![first];
    for _ in 1..sockets.get() {
        let socket = socket()?;
        socket.set_reuse_port(true)?;
        socket.bind(&bound.into())?;
        socket.listen(BACKLOG)?;
        opened.push(socket.into());
    }
    Ok(opened)
}
