//! Sockets that whoever started us has opened already (sd_listen_fds(3)): they stay open while the tracker is restarted, and
//! ports below 1024 need no privilege of ours.

use crate::exit::{Exit, Failure};
use listenfd::ListenFd;
use std::net::{TcpListener, UdpSocket};

/// What names one of our native sockets, as `FileDescriptorName=` of systemd gives it.
const NATIVE: &str = "native";

/// Sockets by what is spoken at them.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) http: Vec<TcpListener>,
    pub(super) udp: Vec<UdpSocket>,
    pub(super) native: Option<TcpListener>,
}

impl Inherited {
    /// Takes over all of them. A datagram socket speaks UDP; a stream socket speaks HTTP, or the native protocol if that is
    /// its name.
    ///
    /// # Errors
    /// One of them is of another kind.
    pub(super) fn take() -> Result<Self, Failure> {
        // Before the crate takes the variables away.
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for number in 0..given.len() {
            if let Ok(Some(socket)) = given.take_udp_socket(number) {
                inherited.udp.push(socket);
            } else if let Ok(Some(listener)) = given.take_tcp_listener(number) {
                match names.get(number) {
                    Some(&NATIVE) => inherited.native = Some(listener),
                    _ => inherited.http.push(listener),
                }
            } else {
                let problem = format!("inherited descriptor {number} is neither a TCP listener nor a UDP socket");
                return Err(Failure::new(Exit::Usage, problem));
            }
        }
        Ok(inherited)
    }
}
