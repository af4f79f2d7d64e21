//! What the swarm says is carried out: messages and blocks sent, peers dialled, trackers asked, pieces verified.

use super::disk::{self, Verification};
use super::inputs::{Awaited, Done};
use super::{Driver, Finishing, log};
use crate::connection::Outbound;
use crate::connection::handshake;
use crate::disk::{DiskError, fault};
use std::net::SocketAddr;
use std::sync::Arc;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::id::PeerKey;
use swarm_proto::layout::FileIndex;
use swarm_proto::swarm::{AnnounceJob, CloseReason, Output, PeerSource};
use tokio::task::spawn_blocking;

impl Driver {
    /// Does everything that the swarm has to say now. A connection that turns out closed makes it say more.
    pub(super) fn carry_out(&mut self) {
        loop {
            while let Some(output) = self.swarm.poll_output() {
                self.output(output);
            }
            let closed = self.connections.flush();
            if closed.is_empty() {
                break;
            }
            for peer in closed {
                self.chat_down(peer);
                self.swarm.handle_closed(super::now(), peer);
            }
        }
        self.drain_events();
        #[cfg(debug_assertions)]
        self.swarm.check_invariants();
    }

    pub(super) fn drain_events(&mut self) {
        let mut any = false;
        while let Some(event) = self.swarm.poll_event() {
            self.note_event(event);
            any = true;
        }
        if any {
            self.update_state();
        }
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Send { peer, message } => {
                tracing::trace!(peer = peer.0, said = %log::Told(&message), "to a peer");
                self.connections.stage(peer, Outbound::Message(message));
            }
            Output::Upload { peer, block } => {
                tracing::trace!(
                    peer = peer.0,
                    piece = block.piece().as_u32(),
                    begin = block.begin(),
                    "block to a peer"
                );
                self.connections.stage(peer, Outbound::Block(block));
            }
            Output::Close { peer, reason } => self.close(peer, reason),
            Output::Dial { address } => self.dial(address),
            Output::Forget { piece } => self.assembly.forget(piece),
            Output::ForgetBlock { block } => self.assembly.forget_block(block),
            Output::Verify { piece, digests } => self.verify(piece, digests),
            Output::Announce(job) => self.announce(job),
            Output::ChatUp { peer, address, reachable } => self.chat_up(peer, address, reachable),
            Output::Chat { peer, payload } => self.chat_came(peer, payload),
        }
    }

    fn close(&mut self, peer: PeerKey, reason: CloseReason) {
        tracing::debug!(peer = peer.0, %reason, "connection closed");
        self.connections.remove(peer);
        self.chat_down(peer);
    }

    fn dial(&mut self, address: SocketAddr) {
        tracing::debug!(torrent = %self.metainfo.info_hash(), %address, "dialling");
        let ours = handshake::ours(self.metainfo.info_hash(), self.context.peer_id);
        let dials = Arc::clone(&self.context.dials);
        let task = self.tasks.spawn(async move {
            // The semaphore is never closed; without a permit the dial would only not be counted.
            let _permit = dials.acquire_owned().await;
            fault::visit(fault::Place::Dial);
            Done::Dialled(address, handshake::dial(address, ours).await)
        });
        self.awaited.insert(task.id(), Awaited::Dial(address));
    }

    fn announce(&mut self, job: AnnounceJob) {
        let (context, pushed) = (Arc::clone(&self.context), self.pushed.clone());
        let id = job.id;
        log::announcing(self.metainfo.info_hash(), &job);
        let task = self.tasks.spawn(async move {
            fault::visit(fault::Place::Announce);
            Done::Announced(id, context.trackers.announce(&job, &pushed).await)
        });
        self.awaited.insert(task.id(), Awaited::Announce(id));
    }

    /// Finds the addresses of these hosts, which the user or the metainfo names.
    pub(super) fn resolve(&mut self, source: PeerSource, hosts: Vec<String>) {
        if hosts.is_empty() {
            return;
        }
        self.tasks.spawn(async move {
            let mut addresses = Vec::new();
            for host in hosts {
                match tokio::net::lookup_host(&host).await {
                    Ok(found) => addresses.extend(found),
                    Err(error) => tracing::warn!(%host, %error, "cannot find this peer"),
                }
            }
            Done::Resolved(source, addresses)
        });
    }

    /// Has a piece hashed and written, perhaps together with the next one.
    fn verify(&mut self, piece: PieceIndex, digests: bool) {
        self.records.verification_begins();
        let (Some(blocks), Some(hash)) = (self.assembly.take(piece), self.metainfo.piece_hash(piece)) else {
            // The swarm asks only for pieces whose blocks were all kept; if it errs, the piece is fetched again.
            tracing::error!(piece = piece.as_u32(), "a piece to verify is not there");
            self.tasks.spawn(async move { Done::Verified(vec![(piece, None)]) });
            return;
        };
        let work = Verification { piece, hash: *hash, blocks, digests };
        let now = self.pairing.push(super::now(), work, !self.assembly.is_empty());
        self.verify_now(now);
    }

    /// Hashes and writes pieces, on a thread that may block.
    pub(super) fn verify_now(&mut self, works: Vec<Verification>) {
        if works.is_empty() {
            return;
        }
        let pieces: Vec<PieceIndex> = works.iter().map(|work| work.piece).collect();
        let (storage, resume) = (self.records.storage(), self.records.resume());
        let permits = Arc::clone(&self.context.disk);
        self.tasks.spawn(async move {
            let _permit = permits.acquire_owned().await;
            let verified = spawn_blocking(move || disk::verify(works, &storage, resume.as_deref())).await;
            // Nothing if that failed by a fault of ours.
            let verified = verified.map_or_else(|_| Vec::new(), |verified| verified.into_iter().map(Some).collect());
            Done::Verified(
                pieces.into_iter().zip(verified.into_iter().chain(std::iter::repeat_with(|| None))).collect(),
            )
        });
    }

    /// Every piece is there: syncs, and gives all files their final names.
    pub(super) fn finish(&mut self, last: Option<PieceIndex>) {
        self.finishing = Finishing::UnderWay;
        let finish = self.records.finish(last, self.swarm.have().clone());
        self.tasks.spawn(async move { Done::Finished(finish.await) });
    }

    /// These files are complete: they get their final names.
    pub(super) fn finish_files(&mut self, files: Vec<FileIndex>) {
        let finish = self.records.finish_files(files);
        self.tasks.spawn(async move { Done::Finished(finish.await) });
    }

    /// Brings the resume record up to date, and tries again what failed.
    pub(super) fn checkpoint(&mut self) {
        if self.finishing == Finishing::Failed {
            self.finish(None);
        }
        if self.records.is_recheck_due(super::now()) {
            self.recheck(None);
        }
        if let Some(checkpoint) = self.records.checkpoint(super::now(), self.swarm.have()) {
            self.tasks.spawn(async move { Done::Recorded(checkpoint.await) });
        }
    }

    /// Looks again at changed files, and at a piece that could not be read. One look at a time: it may be long.
    pub(super) fn recheck(&mut self, suspect: Option<PieceIndex>) {
        let Some((suspects, cancel)) = self.records.recheck_begins(suspect) else { return };
        let (storage, metainfo) = (self.records.storage(), self.metainfo.clone());
        let (purpose, have) = (self.purpose, self.swarm.have().clone());
        self.patrol.recheck_begins(super::now());
        self.tasks.spawn(async move {
            let look = move || disk::recheck(&storage, &metainfo, &suspects, (purpose, &have), &cancel);
            Done::Rechecked(spawn_blocking(look).await.unwrap_or(Err(DiskError::Cancelled)))
        });
    }
}
