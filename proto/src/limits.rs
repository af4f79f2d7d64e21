//! Every bound of the protocol in one place, each with the reason for its value.

/// Bytes of the largest piece: what the largest known clients accept (libtorrent: 512 MiB).
pub const PIECE_LENGTH: u32 = 512 * 1024 * 1024;

/// Pieces of the largest torrent: four times the 4 million that have been seen in the wild.
pub const PIECES: u32 = 1 << 24;

/// Bytes of the largest request that is served: 128 KiB, as old clients ask for.
pub const REQUEST_LENGTH: u32 = 128 * 1024;

/// Bytes of the largest metainfo file: 80 MB have been seen in the wild.
pub const METAINFO_LENGTH: usize = 128 * 1024 * 1024;

/// Nesting of lists and dictionaries in any bencoded input.
pub const BENCODE_DEPTH: usize = 100;

/// Tokens of one bencoded metainfo: 200,000 files take some 8 each.
pub const METAINFO_TOKENS: usize = 16_000_000;

/// Bytes of a bencoded tracker answer: 7,000 peers as dictionaries, twice as many as a torrent can know.
pub const TRACKER_REPLY_LENGTH: usize = 512 * 1024;

/// Tokens of a bencoded tracker answer: 7 for each of these peers. A bad answer costs 2 MiB at most, bytes included.
pub const TRACKER_REPLY_TOKENS: usize = 50_000;

/// Tokens of a bencoded message from a tracker or a peer.
pub const MESSAGE_TOKENS: usize = 200_000;

/// Bytes of a BEP 10 message: room for the largest handshake and a 16 KiB metadata block with its dictionary.
pub const EXTENDED_LENGTH: usize = 64 * 1024;

/// Files of one torrent: five times the 200,000 that have been seen in the wild.
pub const FILES: usize = 1_000_000;

/// Bytes of one path element on any file system of today.
pub const PATH_ELEMENT_LENGTH: usize = 255;

/// Elements of one file's path: deeper folders exist only to do harm.
pub const PATH_DEPTH: usize = 64;

/// Bytes of one file's path, separators included (`PATH_MAX` less room for the folder above it).
pub const PATH_LENGTH: usize = 3_072;

/// Announce URLs of one torrent; more serve nobody and cost a round each.
pub const TRACKERS: usize = 128;

/// Addresses of peers, or nodes of the DHT, in one metainfo: enough to find the others.
pub const METAINFO_PEERS: usize = 256;

/// Bytes of a magnet link: all that a command line or a form passes on.
pub const MAGNET_LENGTH: usize = 64 * 1024;

/// Bytes of one URL.
pub const URL_LENGTH: usize = 2_048;

/// Known addresses of one torrent; the oldest unused ones make room.
pub const KNOWN_PEERS: usize = 3_000;

/// Requests that one peer may have waiting here; told to it as `reqq` (BEP 10).
pub const INCOMING_REQUESTS: usize = 2_000;

/// Requests assumed to be welcome at a peer that says nothing of `reqq`.
pub const DEFAULT_REQUEST_QUEUE: usize = 250;

/// Bytes of a metainfo in the catalogue of a native tracker, which keeps all of them in memory; 200,000 files fit.
pub const NATIVE_METAINFO_LENGTH: usize = 16 * 1024 * 1024;

/// Bytes of a native frame that carries no metainfo, header included: room for 1,000 peers of each address family.
pub const NATIVE_FRAME_LENGTH: usize = 64 * 1024;

/// Bytes of a native frame that only asks or refuses, header included: room for every key and some of later versions.
pub const NATIVE_SHORT_FRAME_LENGTH: usize = 4 * 1024;

/// Nesting in a native body: a dictionary, a list, a dictionary, and one level for later versions.
pub const NATIVE_DEPTH: usize = 4;

/// Values and keys of a native body: a full page of the catalogue takes some 1,000.
pub const NATIVE_TOKENS: usize = 4_096;

/// Bytes of a name in the catalogue: what a file name may have.
pub const NATIVE_NAME_LENGTH: usize = 255;

/// Bytes of a person's name at a native tracker: it stands in front of every line of a chat.
pub const NATIVE_PERSON_LENGTH: usize = 64;

/// Bytes of the key of somebody at a private tracker: twice what 128 random bits take in hexadecimal digits.
pub const PASSKEY_LENGTH: usize = 64;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LENGTH: usize = 64;

/// Bytes of a message that a native tracker relays between two peers: a chat's longest with its signature and room to spare.
pub const NATIVE_RELAYED_LENGTH: usize = 8 * 1024;

/// Bytes of a native frame with such a message, header included.
pub const NATIVE_RELAY_FRAME_LENGTH: usize = 12 * 1024;

/// Characters of a native refusal's text, and of a client's name: a line on a terminal.
pub const NATIVE_TEXT_LENGTH: usize = 250;

/// Peers of each address family in one native frame.
pub const NATIVE_PEERS: usize = 1_000;

/// Names that a tracker looks at for one page of a search: a few milliseconds of work for one small request.
pub const NATIVE_SEARCHED_NAMES: usize = 20_000;

/// Entries in one page of the catalogue: 100 names of 255 bytes fit a frame.
pub const NATIVE_PAGE: usize = 100;

/// Bytes of one signed chat message: a long paragraph. Whatever a room keeps is a multiple of it.
pub const CHAT_MESSAGE_LENGTH: usize = 4_096;

/// Bytes of the text of a chat message: what [`CHAT_MESSAGE_LENGTH`] leaves beside head, parents, name and signature.
pub const CHAT_TEXT_LENGTH: usize = 3_000;

/// Messages that one message may name as seen just before it: as many as people speak at once in a room of hundreds.
pub const CHAT_PARENTS: usize = 48;

/// Bytes of a person's name in chat: 16 characters of the widest scripts, a line's worth of others.
pub const CHAT_NAME_LENGTH: usize = 64;

/// Neighbours through which a chat message may pass: a line of 12 is served with room to spare. Nobody passes on the same
/// message twice, so this only ends what a fault of ours would keep going round.
pub const CHAT_HOPS: u8 = 32;

/// Neighbours to whom a new message is sent at once; the others are told that it is there. Six let a random graph of
/// thousands hear nearly everything at the first go.
pub const CHAT_EAGER: usize = 6;

/// Messages of a room that are kept for those who come or come back; 2 MiB at most.
pub const CHAT_HISTORY: usize = 512;

/// Messages from before its arrival that a newcomer is given.
pub const CHAT_NEWCOMER: usize = 50;

/// Ids of messages that are remembered as seen, so that each is delivered once: many times what is kept.
pub const CHAT_SEEN: usize = 8_192;

/// People of a room that are known: ten times the largest room that has been tried.
pub const CHAT_PEOPLE: usize = 2_048;

/// Names that are pinned to keys: all that one meets in years. The oldest that nobody confirmed makes room.
pub const CHAT_PINS: usize = 4_096;

/// Ids in one frame that tells or asks of single messages.
pub const CHAT_FRAME_IDS: usize = 64;

/// Ids in one frame that tells of everything: history, what is older, and a presence of each person. 48 KiB.
pub const CHAT_HAVE_IDS: usize = 2 * CHAT_HISTORY + CHAT_PEOPLE;

/// Messages that wait for those in front of them; 1 MiB at most.
pub const CHAT_PENDING: usize = 256;

/// Messages of one author that wait for those in front of them: what they name stays below [`CHAT_WANTED`].
pub const CHAT_PENDING_PER_AUTHOR: usize = 16;

/// Messages that are known to be missing and are asked for.
pub const CHAT_WANTED: usize = 1_024;

/// Calls, and offers of others that wait for an answer.
pub const CHAT_CALLS: usize = 32;

/// Own offers, and those of others that were accepted: something for each of a class. What they report, one in 5 s each,
/// and its acknowledgements stay below what is taken of one author.
pub const CHAT_TRANSFERS: usize = 64;

/// Bytes of a metainfo that is handed over in a chat: some 6,000 files. It passes through others' hands, in fewer messages
/// than they take of one author at once.
pub const CHAT_METAINFO_LENGTH: usize = 512 * 1024;

/// Addresses of one side in an offer: two families on a few networks.
pub const CHAT_ADDRESSES: usize = 8;
