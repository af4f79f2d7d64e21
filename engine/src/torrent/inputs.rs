//! What reaches the swarm: batches of connections, finished tasks, new sockets, requests of the user.

use super::disk::{Rechecked, Verified};
use super::{BATCHES_PER_ROUND, Driver, Finishing, Request, log, now};
use crate::connection::handshake::HandshakeFailure;
use crate::connection::{Batch, Connection, Received};
use crate::disk::{DiskError, Round};
use crate::report::TorrentEvent;
use std::net::SocketAddr;
use std::path::PathBuf;
use swarm_proto::announce::{AnnounceReply, PeerAddress, TrackerError};
use swarm_proto::geometry::{BLOCK_LENGTH, Block, PieceIndex};
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::{
    BlockVerdict, Command, Connected, Direction, DiskDone, Event, PeerFault, PeerSource, VerifyOutcome,
};
use swarm_proto::wire::Handshake;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError};
use tokio::time::{Instant, sleep_until};

/// What a task of the torrent came to.
pub(super) enum Done {
    /// A connection ended; its task's id says which.
    Connection,
    /// A dial.
    Dialled(SocketAddr, Result<(TcpStream, Handshake), HandshakeFailure>),
    /// An announce.
    Announced(u64, Result<AnnounceReply, TrackerError>),
    /// Pieces were hashed, and written if they were right. Nothing for any if the task failed by a fault of ours.
    Verified(Vec<(PieceIndex, Option<Verified>)>),
    /// Files were synced and renamed.
    Finished(Result<(), DiskError>),
    /// The resume record was written.
    Recorded(Result<(), DiskError>),
    /// Changed files, and pieces of which a block could not be served, were looked at again.
    Rechecked(Result<Rechecked, DiskError>),
    /// The folder and some of its files were looked at.
    Looked(Result<Round, DiskError>),
    /// Pieces that were served were hashed again: the wrong ones.
    Scrubbed(Result<Vec<(PieceIndex, PathBuf)>, DiskError>),
    /// Names became addresses; who named them.
    Resolved(PeerSource, Vec<SocketAddr>),
}

/// What the swarm waits for from a task.
#[derive(Clone, Copy, Debug)]
pub(super) enum Awaited {
    /// The end of a connection.
    Connection(PeerKey),
    /// A dial.
    Dial(SocketAddr),
    /// An answer to an announce.
    Announce(u64),
}

/// What a [`tokio::task::JoinSet`] says of a task.
pub(super) type Joined = Result<(Id, Done), JoinError>;

impl Driver {
    /// Takes a batch, and some more of those that wait behind it.
    pub(super) fn take_batches(&mut self, first: Batch, queue: &mut mpsc::Receiver<Batch>) {
        self.take_batch(first);
        for _ in 1..BATCHES_PER_ROUND {
            match queue.try_recv() {
                Ok(batch) => self.take_batch(batch),
                Err(_) => return,
            }
        }
    }

    fn take_batch(&mut self, batch: Batch) {
        let (peer, now) = (batch.peer, now());
        for received in batch.received {
            // What a connection sent before it was closed is of no interest, except for what it says about the disk.
            let open = self.connections.contains(peer);
            match received {
                Received::Message(message) if open => {
                    tracing::trace!(peer = peer.0, said = %log::Told(&message), "from a peer");
                    self.swarm.handle_message(now, peer, message);
                }
                Received::Block(block, buffer) if open => {
                    tracing::trace!(
                        peer = peer.0,
                        piece = block.piece().as_u32(),
                        begin = block.begin(),
                        "block from a peer"
                    );
                    if self.swarm.handle_block(now, peer, block) != BlockVerdict::Keep {
                        continue;
                    }
                    if block.begin().is_multiple_of(BLOCK_LENGTH) {
                        self.assembly.keep(block, buffer);
                    }
                }
                Received::Fault(fault) if open => self.fault(peer, fault),
                Received::Uploaded(block) => {
                    self.swarm.handle_uploaded(now, peer, block);
                    self.served(block.piece());
                }
                Received::CutShort(bytes) => self.swarm.handle_cut_short(now, bytes as u64),
                Received::Unreadable(block) => self.unreadable(peer, block),
                Received::Message(_) | Received::Block(..) | Received::Fault(_) => {}
            }
        }
    }

    fn fault(&mut self, peer: PeerKey, fault: PeerFault) {
        self.swarm.handle_fault(now(), peer, fault);
    }

    /// A block of ours can't be served: the peer is told, and the files of its piece are looked at again.
    fn unreadable(&mut self, peer: PeerKey, block: Block) {
        self.swarm.handle_disk(now(), DiskDone::ReadFailed { peer, block });
        self.recheck(Some(block.piece()));
    }

    /// Takes what a task came to.
    pub(super) fn take_done(&mut self, joined: Joined, batches: &mut mpsc::Receiver<Batch>) {
        let id = joined.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
        let awaited = self.awaited.remove(&id);
        if let Some(Awaited::Connection(peer)) = awaited {
            // Its last words are in the queue already.
            while let Ok(batch) = batches.try_recv() {
                self.take_batch(batch);
            }
            self.closed(peer);
        }
        match joined {
            Ok((_, Done::Connection)) => {}
            Ok((_, Done::Dialled(address, Ok((stream, theirs))))) => self.take_dialled(address, stream, &theirs),
            Ok((_, Done::Dialled(address, Err(failure)))) => {
                tracing::debug!(%address, %failure, "no connection");
                self.swarm.handle_connect_failed(now(), address);
                self.chat_unreachable(address);
            }
            Ok((_, Done::Announced(id, reply))) => self.swarm.handle_announced(now(), id, reply),
            Ok((_, Done::Resolved(source, addresses))) => {
                let known = |address| PeerAddress { address, peer_id: None };
                self.command(Command::AddPeers(addresses.into_iter().map(known).collect(), source));
            }
            Ok((_, Done::Looked(result))) => self.looked(result),
            Ok((_, Done::Scrubbed(result))) => self.scrubbed(result),
            Ok(done) => self.finish_disk(Ok(done)),
            Err(error) => {
                tracing::error!(%error, "a task failed by a fault of this program");
                self.crashed(awaited);
            }
        }
    }

    /// Waits for what the connections, all of them closed, have to say of what they sent.
    pub(super) async fn take_last_words(&mut self, batches: &mut mpsc::Receiver<Batch>, deadline: Instant) {
        while self.awaited.values().any(|awaited| matches!(awaited, Awaited::Connection(_))) {
            tokio::select! {
                Some(batch) = batches.recv() => self.take_batch(batch),
                Some(done) = self.tasks.join_next_with_id() => self.take_done(done, batches),
                () = sleep_until(deadline) => return,
            }
        }
    }

    /// What a task should have come to never comes: for the swarm it has failed.
    fn crashed(&mut self, awaited: Option<Awaited>) {
        match awaited {
            Some(Awaited::Dial(address)) => self.swarm.handle_connect_failed(now(), address),
            Some(Awaited::Announce(id)) => {
                let failed = TrackerError::Failed("a fault of this program".to_owned());
                self.swarm.handle_announced(now(), id, Err(failed));
            }
            Some(Awaited::Connection(_)) | None => {}
        }
    }

    /// Takes what a task of the disk came to; all others are over at the end of a torrent.
    pub(super) fn finish_disk(&mut self, joined: Joined) {
        match joined {
            Ok((_, Done::Verified(all))) => {
                all.into_iter().for_each(|(piece, verified)| self.verified(piece, verified));
            }
            Ok((_, Done::Finished(result))) => self.finished(result),
            Ok((_, Done::Recorded(result))) => self.recorded(result),
            Ok((_, Done::Rechecked(result))) => self.rechecked(result),
            _ => {}
        }
    }

    fn verified(&mut self, piece: PieceIndex, verified: Option<Verified>) {
        self.records.verification_done();
        let outcome = match verified {
            Some(verified) => {
                if let Some((error, blocks)) = verified.refused {
                    self.assembly.restore(piece, blocks);
                    self.disk_error(&error);
                }
                verified.outcome
            }
            None => VerifyOutcome::Aborted,
        };
        log::verified(self.metainfo.info_hash(), piece, &outcome);
        let written = matches!(outcome, VerifyOutcome::Written { .. });
        let new = written && !self.swarm.have().has(piece);
        self.swarm.handle_disk(now(), DiskDone::Verified { piece, outcome });
        if written {
            self.records.written(piece);
        }
        if new {
            self.piece_is_there(piece);
        }
    }

    fn piece_is_there(&mut self, piece: PieceIndex) {
        let complete = self.files.gained(piece);
        if self.swarm.is_complete() {
            self.finish(Some(piece));
        } else if !complete.is_empty() {
            self.finish_files(complete);
        }
    }

    fn finished(&mut self, result: Result<(), DiskError>) {
        self.records.sync_done();
        if let Err(error) = result {
            self.disk_error(&error);
            if self.finishing == Finishing::UnderWay {
                self.finishing = Finishing::Failed;
            }
        } else if self.finishing == Finishing::UnderWay && self.swarm.is_complete() && !self.records.is_syncing() {
            self.finishing = Finishing::Done;
            self.report();
            self.update_state();
            self.reporter.event(TorrentEvent::Finished);
        }
    }

    fn recorded(&mut self, result: Result<(), DiskError>) {
        self.records.checkpoint_done(now(), result.is_ok());
        if let Err(error) = result {
            self.disk_error(&error);
        }
    }

    fn rechecked(&mut self, result: Result<Rechecked, DiskError>) {
        let again = self.records.recheck_done(now(), result.is_ok());
        self.patrol.recheck_done(now());
        match result {
            Ok(Rechecked { lost, right }) => {
                self.swarm.handle_disk(now(), DiskDone::Lost { pieces: lost });
                // A piece that is being fetched meanwhile is left to that.
                let regained = right.into_iter().filter(|piece| !self.assembly.has_begun(*piece));
                for piece in regained.collect::<Vec<_>>() {
                    self.regained(piece);
                }
            }
            Err(DiskError::Cancelled) => {}
            // Not `disk_error`: that may ask for the next recheck at once.
            Err(error) => self.reporter.disk_error(error.to_string()),
        }
        if again {
            self.recheck(None);
        }
    }

    /// A piece that could not be read for a moment is right on disk.
    fn regained(&mut self, piece: PieceIndex) {
        // What was lost is noted by now, so that both sides of the count are.
        self.drain_events();
        if self.swarm.have().has(piece) {
            return;
        }
        let outcome = VerifyOutcome::Written { digests: Vec::new() };
        self.swarm.handle_disk(now(), DiskDone::Verified { piece, outcome });
        self.piece_is_there(piece);
    }

    /// Tells the user what the disk refused, and does what can be done about it.
    pub(super) fn disk_error(&mut self, error: &DiskError) {
        if matches!(error, DiskError::Cancelled) {
            return;
        }
        self.reporter.disk_error(error.to_string());
        if error.needs_recheck() {
            self.recheck(None);
        }
        if error.is_failed_sync() {
            let (pieces, give_up) = self.records.sync_failed();
            self.swarm.handle_disk(now(), DiskDone::Lost { pieces });
            if give_up {
                self.fail(error);
            }
        }
    }

    /// Notes what an event of the swarm means for the files, and passes it on.
    pub(super) fn note_event(&mut self, event: Event) {
        log::event(self.metainfo.info_hash(), &event);
        match &event {
            Event::PiecesLost(pieces) => {
                pieces.iter().for_each(|piece| self.files.lost(*piece));
                self.records.lost(pieces.len());
                self.finishing = Finishing::Incomplete;
            }
            Event::DiskBlocked => self.blocked = true,
            Event::DiskRecovered => self.blocked = false,
            _ => {}
        }
        self.reporter.event(TorrentEvent::Swarm(event));
    }

    fn take_dialled(&mut self, address: SocketAddr, stream: TcpStream, theirs: &Handshake) {
        let Handshake { peer_id, reserved, .. } = *theirs;
        self.take_socket(stream, Connected { address, direction: Direction::Outgoing, peer_id, reserved });
    }

    /// A socket is behind its handshake: a connection, if the swarm wants it.
    pub(super) fn take_socket(&mut self, stream: TcpStream, connected: Connected) {
        match self.swarm.handle_connected(now(), connected) {
            Ok(peer) => {
                let (connection, line) = Connection::new(stream, peer, self.shared.clone());
                self.connections.insert(peer, line);
                let task = self.tasks.spawn(async move {
                    connection.run().await;
                    Done::Connection
                });
                self.awaited.insert(task.id(), Awaited::Connection(peer));
            }
            Err(reason) => tracing::debug!(address = %connected.address, %reason, "connection refused"),
        }
    }

    pub(super) fn closed(&mut self, peer: PeerKey) {
        if self.connections.remove(peer) {
            self.chat_down(peer);
            self.swarm.handle_closed(now(), peer);
        }
    }

    pub(super) fn take_request(&mut self, request: Request) {
        match request {
            Request::Command(command) => self.command(command),
            Request::Peers(answer) => {
                // Fails only when the asker has gone.
                let _ = answer.send(self.swarm.peers(now()));
            }
            Request::Report(answer) => {
                self.report();
                let _ = answer.send(());
            }
            Request::AddHosts(hosts) => self.resolve(PeerSource::User, hosts),
        }
    }
}
