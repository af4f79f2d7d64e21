//! What the tests of the engine share: torrents with known bytes, sessions on loopback, and a comparison of folders.

#![allow(dead_code, reason = "each test file uses a part of this")]
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "tests may fail")]

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use swarm_engine::disk::hash_piece;
use swarm_engine::{Listen, Session, SessionConfig, Torrent, TorrentError};
use swarm_proto::metainfo::{Content, Metainfo, MetainfoBuilder, SourceFile};
use swarm_proto::swarm::Profile;

/// Longer than any of these transfers takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A torrent and its bytes.
pub(crate) struct Sample {
    pub(crate) metainfo: Metainfo,
    pub(crate) files: Vec<(String, Vec<u8>)>,
}

impl Sample {
    /// A single file `top`.
    pub(crate) fn file(length: usize, piece_length: u32) -> Self {
        let files = vec![("top".to_owned(), noise(length, 1))];
        Self::new(Content::SingleFile { length: length as u64 }, files, piece_length)
    }

    /// A folder `top` with these files.
    pub(crate) fn folder(files: &[(&str, usize)], piece_length: u32) -> Self {
        let source = |(path, length): &(&str, usize)| SourceFile {
            path: path.split('/').map(str::to_owned).collect(),
            length: *length as u64,
            executable: false,
        };
        let content = Content::Folder(files.iter().map(source).collect());
        let bytes =
            |(seed, (path, length)): (usize, &(&str, usize))| (format!("top/{path}"), noise(*length, seed as u64 + 1));
        let files = files.iter().enumerate().map(bytes).collect();
        Self::new(content, files, piece_length)
    }

    fn new(content: Content, files: Vec<(String, Vec<u8>)>, piece_length: u32) -> Self {
        let bytes: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes).copied().collect();
        let hashes: Vec<_> = bytes.chunks(piece_length as usize).map(|piece| hash_piece(&[piece])).collect();
        let builder = MetainfoBuilder { piece_length, ..MetainfoBuilder::new("top", content) };
        Self { metainfo: Metainfo::parse(builder.build(&hashes).unwrap()).unwrap(), files }
    }

    /// Writes the files below `folder`.
    pub(crate) fn write_to(&self, folder: &Path) {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    /// Asserts that the files are below `folder`, byte for byte.
    pub(crate) fn assert_in(&self, folder: &Path) {
        for (path, bytes) in &self.files {
            let found = fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            assert!(found == *bytes, "{path} differs");
        }
    }
}

/// Bytes without a period that a block or a piece could have.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A session on a free port of this machine that serves everybody.
pub(crate) fn session() -> Session {
    session_with(SessionConfig::default())
}

/// As [`session`], with these settings otherwise.
pub(crate) fn session_with(config: SessionConfig) -> Session {
    let listen = Listen::Address((Ipv4Addr::LOCALHOST, 0).into());
    Session::new(SessionConfig { listen, profile: Profile::Lan, ..config }).unwrap()
}

/// Waits until the torrent is complete.
pub(crate) async fn complete(torrent: &Torrent) -> Result<(), TorrentError> {
    let outcome = tokio::time::timeout(PATIENCE, torrent.wait_complete()).await;
    outcome.unwrap_or_else(|_| panic!("not complete in time: {:?}", torrent.status()))
}

/// The address of a session as a peer is named.
pub(crate) fn peer(session: &Session) -> Vec<String> {
    let address: SocketAddr = session.listen_address();
    vec![address.to_string()]
}
