//! The task behind one socket to one address of a tracker.

use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdSocket};
use swarm_proto::announce::TrackerError;
use swarm_proto::announce::udp::{Answer, Dialogue, Family, Question, Subject};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// Bytes of a datagram that are read: 200 IPv6 peers. What is longer is cut, and its whole peers count.
const DATAGRAM_LENGTH: usize = 4_096;

/// A question on its way.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) subject: Subject,
    /// When nobody waits for the answer any more.
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Result<Answer, TrackerError>>,
}

/// The task's state. The socket is connected, so that nothing comes in from any other address.
///
/// Invariant: whoever waits for an answer is in `waiting` until the dialogue has given it.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddr,
    socket: UdpSocket,
    commands: mpsc::Receiver<Command>,
    dialogue: Dialogue,
    waiting: HashMap<Question, oneshot::Sender<Result<Answer, TrackerError>>>,
}

impl Link {
    /// Opens a socket on a port of its own, which is one more thing that a liar must guess. To be called within a tokio
    /// runtime.
    pub(super) fn open(address: SocketAddr, commands: mpsc::Receiver<Command>) -> Result<Self, TrackerError> {
        let open = || {
            let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
            let socket = StdSocket::bind(SocketAddr::new(any, 0))?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            UdpSocket::from_std(socket)
        };
        let socket = open().map_err(|error| broken(address, &error))?;
        let dialogue = Dialogue::new(Family::of(address.ip()), rand::random());
        Ok(Self { address, socket, commands, dialogue, waiting: HashMap::new() })
    }

    /// Runs until nothing is asked and the connection id is used up, or nobody is left who could hear.
    pub(super) async fn run(mut self) {
        let mut datagram = vec![0; DATAGRAM_LENGTH];
        let mut more = self.next_command().await;
        loop {
            self.send().await;
            self.deliver();
            if !more && self.waiting.is_empty() {
                return;
            }
            if self.dialogue.is_over() {
                // What has been sent to the queue is still taken; who comes behind opens another.
                self.commands.close();
            }
            let due = self.dialogue.poll_timeout().map(Instant::from_std);
            tokio::select! {
                command = self.commands.recv(), if more => match command {
                    Some(command) => self.ask(command),
                    None => {
                        more = false;
                        self.waiting.retain(|_, waiting| !waiting.is_closed());
                    }
                },
                received = self.socket.recv(&mut datagram) => match received {
                    Ok(length) => {
                        let datagram = datagram.get(..length).unwrap_or_default();
                        self.dialogue.handle_datagram(now(), datagram);
                    }
                    Err(error) => self.fail(&error),
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    self.dialogue.handle_timeout(now());
                }
            }
        }
    }

    /// Takes the first question; whether there is one.
    async fn next_command(&mut self) -> bool {
        let command = self.commands.recv().await;
        command.map(|command| self.ask(command)).is_some()
    }

    fn ask(&mut self, command: Command) {
        let timeout = command.deadline.saturating_duration_since(Instant::now());
        let question = self.dialogue.ask(now(), command.subject, timeout);
        self.waiting.insert(question, command.answer);
    }

    async fn send(&mut self) {
        while let Some(datagram) = self.dialogue.poll_transmit() {
            match self.socket.send(&datagram).await {
                Ok(_) => {}
                // As lost as it might be further on.
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::NOBUFS | Errno::NOMEM)) => {}
                Err(error) => self.fail(&error),
            }
        }
    }

    /// The network says that nobody is there: that answers all questions.
    fn fail(&mut self, error: &io::Error) {
        self.dialogue.fail(&broken(self.address, error));
    }

    fn deliver(&mut self) {
        while let Some((question, answer)) = self.dialogue.poll_answer() {
            if let Some(waiting) = self.waiting.remove(&question) {
                // Whoever asked may have gone.
                let _ = waiting.send(answer);
            }
        }
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

fn broken(address: SocketAddr, error: &io::Error) -> TrackerError {
    TrackerError::Unreachable(format!("no answer from {address}: {error}"))
}
