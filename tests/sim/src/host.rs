//! A host: one swarm with its link, its disk and its conduct.

use crate::conduct::{Conduct, Departure, Leave};
use crate::disk::{Disk, DiskState};
use crate::link::Link;
use crate::queue::Moment;
use crate::shell::Shell;
use crate::transfer::{Downlink, EndIndex, Uplink};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;
use swarm_proto::geometry::PieceIndex;
use swarm_proto::id::PeerKey;
use swarm_proto::swarm::{Event, Swarm};
use swarm_proto::wire::Reserved;

/// What a host is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostConfig {
    /// To which row of a table it belongs.
    pub class: &'static str,
    /// Whether it begins with every piece.
    pub seed: bool,
    /// How it is connected.
    pub link: Link,
    /// What it writes to.
    pub disk: Disk,
    /// How it behaves.
    pub conduct: Conduct,
    /// When it goes by itself.
    pub leave: Leave,
    /// How it goes then.
    pub departure: Departure,
    /// BEP 6 and BEP 10.
    pub reserved: Reserved,
    /// Connections at most.
    pub max_peers: usize,
    /// Bytes of payload that may be requested or received but not yet written.
    pub buffer_bytes: u64,
}

impl HostConfig {
    /// An honest leecher with this uplink in bytes a second that stays for ever.
    pub fn leecher(uplink: u64) -> Self {
        Self {
            class: "leechers",
            seed: false,
            link: Link::up(uplink),
            disk: Disk::default(),
            conduct: Conduct::Honest,
            leave: Leave::Never,
            departure: Departure::Goodbye,
            reserved: Reserved { fast: true, extended: true },
            max_peers: 60,
            buffer_bytes: 64 << 20,
        }
    }

    /// An honest seed with this uplink in bytes a second that stays for ever.
    pub fn seed(uplink: u64) -> Self {
        Self { class: "seeds", seed: true, ..Self::leecher(uplink) }
    }

    /// The same in this row of a table.
    pub fn with_class(self, class: &'static str) -> Self {
        Self { class, ..self }
    }

    /// The same with this conduct.
    pub fn with_conduct(self, conduct: Conduct) -> Self {
        Self { conduct, ..self }
    }

    /// The same with this link.
    pub fn with_link(self, link: Link) -> Self {
        Self { link, ..self }
    }

    /// The same with this disk.
    pub fn with_disk(self, disk: Disk) -> Self {
        Self { disk, ..self }
    }

    /// The same, going by itself.
    pub fn with_leave(self, leave: Leave) -> Self {
        Self { leave, ..self }
    }
}

/// Where a host stands in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Life {
    Coming,
    Here,
    Gone,
}

pub(crate) struct Host {
    pub(crate) swarm: Swarm,
    pub(crate) config: HostConfig,
    pub(crate) address: SocketAddr,
    pub(crate) life: Life,
    pub(crate) arrived: Moment,
    pub(crate) completed: Option<Moment>,
    pub(crate) left: Option<Moment>,
    /// The end of each of its connections.
    pub(crate) ends: BTreeMap<PeerKey, EndIndex>,
    pub(crate) uplink: Uplink,
    pub(crate) downlink: Downlink,
    pub(crate) disk: DiskState,
    /// Payload sent, as the link saw it.
    pub(crate) sent_bytes: u64,
    /// Blocks of begun pieces that came wrong.
    pub(crate) wrong: BTreeMap<PieceIndex, Vec<usize>>,
    /// What its shell would hold; looked at in checking worlds only.
    pub(crate) shell: Shell,
    /// When it is to be woken, if at all.
    pub(crate) wake: Option<Moment>,
    pub(crate) events: Vec<(Duration, Event)>,
}

impl Host {
    pub(crate) fn is_here(&self) -> bool {
        self.life == Life::Here
    }
}
