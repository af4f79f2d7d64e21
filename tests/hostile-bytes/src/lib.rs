//! Properties that must hold whatever bytes come: one function a target, called by the fuzzer (`tests/fuzz`) and by the
//! replay of its corpora in `cargo test`.
//!
//! Each takes any bytes and panics if a promise is broken. Memory and time are bounded by the fuzzer's own options.

mod bencode;
mod chat;
mod config;
mod files;
mod http;
mod input;
mod pictures;
mod records;
mod shell;
mod store;
mod swarm;
mod tracker;
mod udp;
mod wire;

pub use bencode::bencode;
pub use chat::{chat_frames, chat_room};
pub use config::tracker_config;
pub use files::{layout, metainfo, paths};
pub use http::{HttpAnswer, http_connection, http_ways_agree};
pub use pictures::pictures;
pub use records::{resume_record, state_files};
pub use store::tracker_store;
pub use swarm::{fast_extension, peer_session, swarm};
pub use tracker::{http_announce, http_reply, magnet, native_frames};
pub use udp::udp_tracker;
pub use wire::{extended, geometry, handshake, messages};

/// The body of a target.
pub type Target = fn(&[u8]);

/// Every target by its name, which is also that of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("bencode", bencode),
    ("chat_frames", chat_frames),
    ("chat_room", chat_room),
    ("extended", extended),
    ("fast_extension", fast_extension),
    ("geometry", geometry),
    ("handshake", handshake),
    ("http_announce", http_announce),
    ("http_connection", http_connection),
    ("http_reply", http_reply),
    ("layout", layout),
    ("magnet", magnet),
    ("messages", messages),
    ("metainfo", metainfo),
    ("native_frames", native_frames),
    ("paths", paths),
    ("peer_session", peer_session),
    ("pictures", pictures),
    ("resume_record", resume_record),
    ("state_files", state_files),
    ("swarm", swarm),
    ("tracker_config", tracker_config),
    ("tracker_store", tracker_store),
    ("udp_tracker", udp_tracker),
];
