//! Connections of the HTTP tracker: the fast path and hyper say the same, however the bytes are cut.

use crate::input::Input;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Instant;
use swarm_proto::announce::http::parse_reply;
use swarm_tracker_core::{Store, StoreConfig};
use swarm_tracker_http::{HttpHandle, HttpTrackerConfig, IpParameter, Proxies};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a stream that are tried: more than two of the largest heads.
const STREAM_LENGTH: usize = 20_000;

/// Whatever comes on a connection, in whatever pieces, gets the same answers as from hyper alone.
pub fn http_connection(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (by_proxy, step) = (input.flag(), usize::from(input.byte()).max(1));
    let stream = input.slice(STREAM_LENGTH);
    let cuts: Vec<usize> = (1..=stream.len() / step).map(|n| n * step).collect();
    http_ways_agree(stream, &cuts, by_proxy);
}

/// Asserts that a stream of requests is answered alike on both ways, whole and cut at these places.
///
/// A head that comes in pieces is read by hyper when its end is there, and one that comes at once, at once. So whether a broken
/// head without an end is told 400, or only hung up on, depends on the pieces, by hyper alone as well, and that answer is left
/// out; but then the stream is compared a second time, with an end to its last head, and to the last byte.
///
/// # Panics
/// When it is not.
pub fn http_ways_agree(stream: &[u8], cuts: &[usize], by_proxy: bool) {
    let is_of_pieces = |answer: &mut HttpAnswer| answer.status == 400 && answer.body == Ok(Vec::new());
    compare(stream, cuts, by_proxy, |answers| drop(answers.pop_if(is_of_pieces)));
    compare(&[stream, b"\r\n\r\n"].concat(), cuts, by_proxy, |_| ());
}

fn compare(stream: &[u8], cuts: &[usize], by_proxy: bool, leave_out: impl Fn(&mut Vec<HttpAnswer>)) {
    let answers = |cuts: &[usize], fast: bool| {
        let mut answers = answers(stream, cuts, by_proxy, fast);
        leave_out(&mut answers);
        answers
    };
    let expected = answers(&[], false);
    for (cuts, fast) in [(&[][..], true), (cuts, true), (cuts, false)] {
        let found = answers(cuts, fast);
        let shown = String::from_utf8_lossy(stream);
        assert_eq!(found, expected, "fast: {fast}, by a proxy: {by_proxy}, cut at {cuts:?}: {shown:?}");
    }
}

/// An answer, without what differs from one time to the next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpAnswer {
    /// The status.
    pub status: u16,
    /// All headers but `date`, sorted.
    pub headers: Vec<(String, String)>,
    /// The body, or where it names peers, how many, and its length.
    pub body: Result<Vec<u8>, (usize, usize)>,
}

/// What a tracker answers to a stream that comes in these pieces and ends.
fn answers(stream: &[u8], cuts: &[usize], by_proxy: bool, fast_path: bool) -> Vec<HttpAnswer> {
    let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
    let proxies = Proxies { trusted: vec!["10.0.0.0/8".parse().expect("a network")], ..Proxies::default() };
    let ip_parameter = IpParameter::Private;
    let config = HttpTrackerConfig { proxies, ip_parameter, fast_path, ..HttpTrackerConfig::default() };
    let handle = HttpHandle::new(config, Arc::clone(&store));
    let said = Arc::new(Mutex::new(Vec::new()));
    let wire = Wire { pieces: pieces(stream, cuts), said: Arc::clone(&said) };
    let address: SocketAddr = if by_proxy { ([10, 0, 0, 1], 5_000) } else { ([192, 0, 2, 7], 5_000) }.into();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(handle.serve_connection(wire, address));
    store.check_invariants();
    let said = std::mem::take(&mut *said.lock().expect("one thread"));
    read_answers(&said, stream)
}

fn pieces(stream: &[u8], cuts: &[usize]) -> VecDeque<Vec<u8>> {
    let mut ends: Vec<usize> = cuts.iter().copied().filter(|&cut| cut < stream.len()).collect();
    ends.sort_unstable();
    ends.push(stream.len());
    let mut from = 0;
    let pieces = ends.into_iter().map(|end| stream[std::mem::replace(&mut from, end)..end].to_vec());
    pieces.filter(|piece| !piece.is_empty()).collect()
}

/// Reads answers to their last byte: nothing but whole ones may be there.
fn read_answers(mut said: &[u8], stream: &[u8]) -> Vec<HttpAnswer> {
    let mut answers = Vec::new();
    while !said.is_empty() {
        let mut room = [httparse::EMPTY_HEADER; 32];
        let mut head = httparse::Response::new(&mut room);
        let Ok(httparse::Status::Complete(length)) = head.parse(said) else {
            panic!("{:?} to {:?}", String::from_utf8_lossy(said), String::from_utf8_lossy(stream));
        };
        let mut headers: Vec<(String, String)> = head
            .headers
            .iter()
            .map(|header| (header.name.to_lowercase(), String::from_utf8_lossy(header.value).into_owned()))
            .filter(|(name, _)| name != "date")
            .collect();
        headers.sort();
        let told = headers.iter().find(|(name, _)| name == "content-length");
        let told: usize = told.map_or(0, |(_, value)| value.parse().expect("a length"));
        // The answer to a HEAD has no body; only the first line of the request tells.
        let rest = &said[length..];
        let bodiless = rest.starts_with(b"HTTP/1.") || rest.is_empty();
        let body = if bodiless { &[] } else { rest.get(..told).expect("a whole body") };
        said = &rest[body.len()..];
        let status = head.code.expect("it is complete");
        let body = match parse_reply(body) {
            Ok(reply) if status == 200 => Err((reply.peers.len(), body.len())),
            _ => Ok(body.to_vec()),
        };
        answers.push(HttpAnswer { status, headers, body });
    }
    answers
}

/// The far end of a connection: what it says in pieces until it ends its side, and all that it hears.
struct Wire {
    pieces: VecDeque<Vec<u8>>,
    said: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(piece) = self.pieces.front_mut() {
            let now: Vec<u8> = piece.drain(..piece.len().min(buffer.remaining())).collect();
            buffer.put_slice(&now);
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Never all at once.
        let taken = bytes.len().min(1_000);
        self.said.lock().expect("one thread").extend_from_slice(&bytes[..taken]);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
