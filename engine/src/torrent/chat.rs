//! The torrent's end of its room: payloads to and from the connections of neighbours that chat.
//!
//! Never waits for the room. What the room wants sent goes the way of all messages, behind what waits already.

use super::{Driver, now};
use crate::chat::{ChatInput, ChatOutput, ChatPort};
use bytes::Bytes;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::{Command, PeerFault};
use tokio::time::Instant;

/// How long the end of a torrent waits for the goodbye to get out.
const GOODBYE: Duration = Duration::from_millis(200);
/// What the room wants done is taken so many at a time.
const OUTPUTS_PER_ROUND: usize = 64;

/// The way to the room.
pub(super) struct ChatLine {
    port: ChatPort,
    /// Neighbours that chat.
    up: HashSet<PeerKey>,
    goodbye: Goodbye,
}

/// Whether the room has said goodbye.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goodbye {
    No,
    /// It is on its way until then.
    Until(Instant),
    Said,
}

impl ChatLine {
    pub(super) fn new(port: ChatPort) -> Self {
        Self { port, up: HashSet::new(), goodbye: Goodbye::No }
    }
}

/// The next thing that the room wants done; never, if there is no room or it has ended.
pub(super) async fn next(chat: &mut Option<ChatLine>) -> ChatOutput {
    if let Some(chat) = chat
        && let Some(output) = chat.port.outputs.recv().await
    {
        return output;
    }
    std::future::pending().await
}

impl Driver {
    pub(super) fn take_chat(&mut self, first: ChatOutput) {
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(output) = next {
            match output {
                ChatOutput::Send(peer, payload) => self.swarm.send_chat(now(), peer, payload),
                ChatOutput::Close(peer) => self.swarm.handle_fault(now(), peer, PeerFault::Chat),
            }
            taken += 1;
            let more = taken < OUTPUTS_PER_ROUND;
            next = self.connections.chat.as_mut().filter(|_| more).and_then(|chat| chat.port.outputs.try_recv().ok());
        }
    }

    pub(super) fn chat_up(&mut self, peer: PeerKey, address: SocketAddr, reachable: Option<SocketAddr>) {
        if let Some(chat) = &mut self.connections.chat
            && chat.up.insert(peer)
        {
            chat.port.tell(ChatInput::Up(peer, address, reachable));
        }
    }

    /// A dial has brought no connection: the room may have another way there.
    pub(super) fn chat_unreachable(&mut self, address: SocketAddr) {
        if let Some(chat) = &mut self.connections.chat {
            chat.port.tell(ChatInput::Unreachable(address));
        }
    }

    pub(super) fn chat_down(&mut self, peer: PeerKey) {
        if let Some(chat) = &mut self.connections.chat
            && chat.up.remove(&peer)
        {
            chat.port.tell(ChatInput::Down(peer));
        }
    }

    pub(super) fn chat_came(&mut self, peer: PeerKey, payload: Bytes) {
        if let Some(chat) = self.connections.chat.as_mut().filter(|chat| chat.up.contains(&peer)) {
            chat.port.tell(ChatInput::Payload(peer, payload));
        }
    }

    /// Whether the stop has to wait until the room has said goodbye.
    pub(super) fn says_goodbye(&mut self) -> bool {
        let Some(chat) = self.connections.chat.as_mut().filter(|_| self.stop_at.is_none()) else { return false };
        match chat.goodbye {
            Goodbye::No if !chat.up.is_empty() || chat.port.has_relayed() => {
                chat.port.tell(ChatInput::Goodbye);
                chat.goodbye = Goodbye::Until(Instant::now() + GOODBYE);
                true
            }
            Goodbye::Until(_) => true,
            Goodbye::No | Goodbye::Said => false,
        }
    }

    pub(super) fn goodbye_at(&self) -> Option<Instant> {
        match self.connections.chat.as_ref()?.goodbye {
            Goodbye::Until(until) => Some(until),
            Goodbye::No | Goodbye::Said => None,
        }
    }

    /// Whether the torrent stops, or is about to.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop_at.is_some() || self.goodbye_at().is_some()
    }

    /// Stops, once the goodbye is out.
    pub(super) fn finish_goodbye(&mut self) {
        if let Some(chat) = &mut self.connections.chat {
            chat.port.flush();
        }
        if self.goodbye_at().is_some_and(|until| Instant::now() >= until) {
            if let Some(chat) = &mut self.connections.chat {
                chat.goodbye = Goodbye::Said;
            }
            self.command(Command::Stop);
        }
    }
}
