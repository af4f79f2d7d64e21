//! What a client asks.

use super::fields::Fields;
use super::options::{Options, write_url_data};
use super::{ANNOUNCE, ANNOUNCE_LENGTH, CONNECT, HEAD_LENGTH, PROTOCOL_ID, SCRAPE};
use super::{ConnectionId, TransactionId};
use crate::announce::http::SCRAPE_HASHES;
use crate::announce::{Announce, AnnounceEvent};
use crate::id::{HASH_LENGTH, InfoHash, PeerId};

/// Writes a request for a connection id.
pub fn connect_request(transaction: TransactionId) -> Vec<u8> {
    head(ConnectionId(PROTOCOL_ID), CONNECT, transaction, HEAD_LENGTH)
}

/// Writes an announce.
///
/// `url_data` is path and query of the tracker's URL (BEP 41). Neither a tracker id nor an address of our own is told:
/// the former has no field, the latter is the tracker's to see.
pub fn announce_request(
    connection: ConnectionId,
    transaction: TransactionId,
    announce: &Announce,
    url_data: &str,
) -> Vec<u8> {
    let options = url_data.len() + 2 * url_data.len().div_ceil(255) + 1;
    let mut out = head(connection, ANNOUNCE, transaction, ANNOUNCE_LENGTH + options);
    out.extend(announce.info_hash.0);
    out.extend(announce.peer_id.0);
    out.extend(announce.downloaded.to_be_bytes());
    out.extend(announce.left.to_be_bytes());
    out.extend(announce.uploaded.to_be_bytes());
    out.extend(event_number(announce.event).to_be_bytes());
    out.extend([0; 4]);
    out.extend(announce.key.to_be_bytes());
    let wanted = announce.num_want.map_or(-1, |wanted| i32::try_from(wanted).unwrap_or(i32::MAX));
    out.extend(wanted.to_be_bytes());
    out.extend(announce.port.to_be_bytes());
    write_url_data(url_data, &mut out);
    out
}

/// Writes a scrape of these torrents (at most [`SCRAPE_HASHES`], the others are left out).
pub fn scrape_request(connection: ConnectionId, transaction: TransactionId, hashes: &[InfoHash]) -> Vec<u8> {
    let named = hashes.iter().take(SCRAPE_HASHES);
    let mut out = head(connection, SCRAPE, transaction, HEAD_LENGTH + named.len() * HASH_LENGTH);
    named.for_each(|hash| out.extend(hash.0));
    out
}

fn head(connection: ConnectionId, action: u32, transaction: TransactionId, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(capacity);
    out.extend(connection.0.to_be_bytes());
    out.extend(action.to_be_bytes());
    out.extend(transaction.0.to_be_bytes());
    out
}

/// A request as a server reads it, in two steps: what stands behind the head is looked at only for those who have
/// proven their address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request<'d> {
    /// Somebody wants a connection id.
    Connect(TransactionId),
    /// Somebody claims to have one.
    Claimed(Claimed<'d>),
}

/// A request that bears a connection id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed<'d> {
    /// To be checked before anything else.
    pub connection: ConnectionId,
    /// To be repeated in the reply.
    pub transaction: TransactionId,
    action: u32,
    body: &'d [u8],
}

/// What a client wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Query<'d> {
    /// Announces itself. `tracker_id` is always `None`; `left` is whatever it claims.
    Announce {
        /// What the dialects share.
        announce: Announce,
        /// What stands behind (BEP 41).
        options: Options<'d>,
    },
    /// Wants the counts of these torrents: 1 to [`SCRAPE_HASHES`].
    Scrape(Vec<InfoHash>),
}

/// What is wrong with a request; the text is fit for an error reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// An action that is none of BEP 15.
    #[error("unknown action")]
    Action,
    /// It ends within a field.
    #[error("the request is cut off")]
    Cut,
    /// Nobody can be reached at port 0.
    #[error("port is invalid")]
    Port,
    /// Nobody gets the whole tracker.
    #[error("info_hash is missing")]
    NoHash,
    /// More hashes than one scrape may name.
    #[error("too many hashes in one scrape")]
    TooManyHashes,
}

impl<'d> Request<'d> {
    /// Reads a datagram's head. `None` for what is no request of this protocol, which gets no answer.
    pub fn read(datagram: &'d [u8]) -> Option<Self> {
        let mut fields = Fields(datagram);
        let connection = ConnectionId(fields.u64()?);
        let (action, transaction) = (fields.u32()?, TransactionId(fields.u32()?));
        match (action, connection) {
            (CONNECT, ConnectionId(PROTOCOL_ID)) => Some(Self::Connect(transaction)),
            (CONNECT, _) => None,
            _ => Some(Self::Claimed(Claimed { connection, transaction, action, body: fields.0 })),
        }
    }
}

impl<'d> Claimed<'d> {
    /// Reads what is asked.
    ///
    /// As in the other dialects, unknown events are none, and a negative number of peers leaves it to the tracker.
    ///
    /// # Errors
    /// [`Fault`], for an error reply.
    pub fn query(&self) -> Result<Query<'d>, Fault> {
        match self.action {
            ANNOUNCE => read_announce(self.body).ok_or(Fault::Cut).and_then(|(announce, options)| {
                if announce.port == 0 { Err(Fault::Port) } else { Ok(Query::Announce { announce, options }) }
            }),
            SCRAPE => read_scrape(self.body).map(Query::Scrape),
            _ => Err(Fault::Action),
        }
    }
}

fn read_announce(body: &[u8]) -> Option<(Announce, Options<'_>)> {
    let mut fields = Fields(body);
    let (info_hash, peer_id) = (InfoHash(fields.array()?), PeerId(fields.array()?));
    let (downloaded, left, uploaded) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let event = event(fields.u32()?);
    // The address that the client claims to have: believed from nobody.
    let _ip: [u8; 4] = fields.array()?;
    let key = fields.u32()?;
    let num_want = u32::try_from(i32::from_be_bytes(fields.array()?)).ok();
    let port = fields.u16()?;
    let announce =
        Announce { info_hash, peer_id, port, uploaded, downloaded, left, event, num_want, key, tracker_id: None };
    Some((announce, Options(fields.0)))
}

fn read_scrape(body: &[u8]) -> Result<Vec<InfoHash>, Fault> {
    let (hashes, rest) = body.as_chunks();
    match hashes.len() {
        _ if !rest.is_empty() => Err(Fault::Cut),
        0 => Err(Fault::NoHash),
        1..=SCRAPE_HASHES => Ok(hashes.iter().copied().map(InfoHash).collect()),
        _ => Err(Fault::TooManyHashes),
    }
}

fn event_number(event: AnnounceEvent) -> u32 {
    match event {
        AnnounceEvent::Regular => 0,
        AnnounceEvent::Completed => 1,
        AnnounceEvent::Started => 2,
        AnnounceEvent::Stopped => 3,
    }
}

fn event(number: u32) -> AnnounceEvent {
    match number {
        1 => AnnounceEvent::Completed,
        2 => AnnounceEvent::Started,
        3 => AnnounceEvent::Stopped,
        _ => AnnounceEvent::Regular,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CONNECTION: ConnectionId = ConnectionId(0x1122_3344_5566_7788);
    const TRANSACTION: TransactionId = TransactionId(0x99aa_bbcc);

    fn announce() -> Announce {
        Announce {
            info_hash: InfoHash([b'h'; 20]),
            peer_id: PeerId([b'p'; 20]),
            port: 0x1ae1,
            uploaded: 3,
            downloaded: 1,
            left: 2,
            event: AnnounceEvent::Started,
            num_want: Some(50),
            key: 0xdead_beef,
            tracker_id: None,
        }
    }

    fn query(datagram: &[u8]) -> Result<Query<'_>, Fault> {
        match Request::read(datagram) {
            Some(Request::Claimed(claimed)) => {
                assert_eq!((claimed.connection, claimed.transaction), (CONNECTION, TRANSACTION));
                claimed.query()
            }
            other => panic!("{other:?}"),
        }
    }

    fn read_back(announce: &Announce, url_data: &str) -> Announce {
        let datagram = announce_request(CONNECTION, TRANSACTION, announce, url_data);
        match query(&datagram) {
            Ok(Query::Announce { announce, options }) => {
                assert_eq!(options.url_data(), url_data.as_bytes());
                announce
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_connect_byte_for_byte() {
        let datagram = connect_request(TRANSACTION);
        assert_eq!(datagram, *b"\0\0\x04\x17\x27\x10\x19\x80\0\0\0\0\x99\xaa\xbb\xcc");
        assert_eq!(Request::read(&datagram), Some(Request::Connect(TRANSACTION)));
        let longer = [datagram.as_slice(), b"more"].concat();
        assert_eq!(Request::read(&longer), Some(Request::Connect(TRANSACTION)));
        for end in 0..datagram.len() {
            assert_eq!(Request::read(&datagram[..end]), None, "{end} bytes");
        }
        for byte in 0..12 {
            let mut other = datagram.clone();
            other[byte] ^= 0x80;
            assert!(!matches!(Request::read(&other), Some(Request::Connect(_))), "byte {byte}");
        }
    }

    #[test]
    fn an_announce_byte_for_byte() {
        let mut expected = b"\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\x01\x99\xaa\xbb\xcc".to_vec();
        expected.extend([b'h'; 20]);
        expected.extend([b'p'; 20]);
        expected.extend(b"\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03");
        expected.extend(b"\0\0\0\x02\0\0\0\0\xde\xad\xbe\xef\0\0\0\x32\x1a\xe1");
        assert_eq!(expected.len(), ANNOUNCE_LENGTH);
        let written = announce_request(CONNECTION, TRANSACTION, &announce(), "");
        assert_eq!(written, expected);
        expected.extend(b"\x02\x04/key\0");
        assert_eq!(announce_request(CONNECTION, TRANSACTION, &announce(), "/key"), expected);
        for end in 0..written.len() {
            match end {
                0..HEAD_LENGTH => assert_eq!(Request::read(&written[..end]), None),
                _ => assert_eq!(query(&written[..end]), Err(Fault::Cut), "{end} bytes"),
            }
        }
    }

    #[test]
    fn odd_values_are_read_as_what_they_are_or_not_at_all() {
        let with = |at: usize, bytes: &[u8]| {
            let mut datagram = announce_request(CONNECTION, TRANSACTION, &announce(), "");
            datagram[at..at + bytes.len()].copy_from_slice(bytes);
            match query(&datagram) {
                Ok(Query::Announce { announce, .. }) => Ok(announce),
                Ok(other) => panic!("{other:?}"),
                Err(fault) => Err(fault),
            }
        };
        let wanted = |number: i32| with(92, &number.to_be_bytes()).unwrap().num_want;
        assert_eq!([wanted(-1), wanted(i32::MIN), wanted(0)], [None, None, Some(0)]);
        assert_eq!(wanted(i32::MAX), Some(i32::MAX as u32));
        for event in [0, 4, 1 << 31, u32::MAX] {
            assert_eq!(with(80, &event.to_be_bytes()).unwrap().event, AnnounceEvent::Regular, "{event}");
        }
        assert_eq!(with(64, &[0xff; 8]).unwrap().left, u64::MAX);
        assert_eq!(with(84, &[1, 2, 3, 4]), Ok(announce()), "whatever address it claims");
        assert_eq!(with(96, &[0, 0]), Err(Fault::Port));
        for action in [3, 4, 256, u32::MAX] {
            assert_eq!(with(8, &u32::to_be_bytes(action)), Err(Fault::Action));
        }
    }

    #[test]
    fn all_events_and_wishes_are_told() {
        use AnnounceEvent::{Completed, Regular, Started, Stopped};
        for (event, number) in [(Regular, 0), (Completed, 1), (Started, 2), (Stopped, 3)] {
            let announce = Announce { event, ..announce() };
            assert_eq!(announce_request(CONNECTION, TRANSACTION, &announce, "")[80..84], [0, 0, 0, number]);
            assert_eq!(read_back(&announce, "/announce"), announce);
        }
        for (wish, told) in [(None, None), (Some(0), Some(0)), (Some(u32::MAX), Some(i32::MAX as u32))] {
            assert_eq!(read_back(&Announce { num_want: wish, ..announce() }, "").num_want, told);
        }
    }

    #[test]
    fn scrapes_are_bounded_at_both_ends() {
        let hashes: Vec<InfoHash> = (0..=74).map(|n| InfoHash([n; 20])).collect();
        let written = scrape_request(CONNECTION, TRANSACTION, &hashes);
        assert_eq!(written.len(), 16 + 74 * 20);
        assert_eq!(query(&written), Ok(Query::Scrape(hashes[..74].to_vec())));
        let one_more = [written.as_slice(), &[9; 20]].concat();
        assert_eq!(query(&one_more), Err(Fault::TooManyHashes));
        assert_eq!(query(&written[..16]), Err(Fault::NoHash));
        for end in 17..written.len() {
            let whole = (end - 16) / 20;
            let expected =
                if (end - 16) % 20 == 0 { Ok(Query::Scrape(hashes[..whole].to_vec())) } else { Err(Fault::Cut) };
            assert_eq!(query(&written[..end]), expected, "{end} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_announce_survives(
            hash: [u8; 20], id: [u8; 20], port in 1u16.., numbers: [u64; 3], key: u32, wish in 0u32..1 << 31,
            url_data in "[ -~]{0,600}",
        ) {
            let [uploaded, downloaded, left] = numbers;
            let (info_hash, peer_id, num_want) = (InfoHash(hash), PeerId(id), Some(wish));
            let announce =
                Announce { info_hash, peer_id, port, uploaded, downloaded, left, num_want, key, ..announce() };
            prop_assert_eq!(read_back(&announce, &url_data), announce);
        }

        #[test]
        fn no_datagram_panics(datagram: Vec<u8>) {
            if let Some(Request::Claimed(claimed)) = Request::read(&datagram) {
                let _ = claimed.query();
            }
        }
    }
}
