//! The head of a request that the fast path can answer.
//!
//! Owns the decision what is usual: a GET of an announce or a scrape, in HTTP/1.1, without a body and without any header
//! that could mean something to HTTP itself. The parser is the one that hyper uses, so nothing can be read here in another way
//! than there; what it does not take, or what is not usual, is not judged here but left to hyper, from its first byte on.

use crate::path::{self, Asked, Target};
use httparse::{EMPTY_HEADER, Header, Status};

/// Bytes of a head at most.
pub(crate) const HEAD_LENGTH: usize = 8 * 1024;
/// Headers that the fast path looks at: clients send fewer than ten, proxies add a few.
pub(crate) const USUAL_HEADERS: usize = 24;

/// What the bytes in front are.
#[derive(Debug)]
pub(crate) enum Front<'h, 'b> {
    /// The beginning of something.
    Incomplete,
    /// Nothing for the fast path.
    Unusual,
    /// A request that it can answer.
    Usual(Head<'h, 'b>),
}

/// A usual request.
#[derive(Debug)]
pub(crate) struct Head<'h, 'b> {
    pub(crate) target: Target,
    /// The key in the path.
    pub(crate) passkey: Option<&'b [u8]>,
    pub(crate) query: &'b [u8],
    pub(crate) host: Option<&'b str>,
    /// The connection ends with the answer.
    pub(crate) close: bool,
    pub(crate) headers: &'h [Header<'b>],
    /// Bytes of the whole head.
    pub(crate) length: usize,
}

/// What a header means to us.
enum Meaning {
    Nothing,
    Host,
    Connection,
    /// It speaks of a body, of the connection, or of a browser.
    Unusual,
}

/// Room for the headers of [`read`].
pub(crate) fn room<'b>() -> [Header<'b>; USUAL_HEADERS] {
    [EMPTY_HEADER; USUAL_HEADERS]
}

/// Looks at the request in front of `bytes`.
pub(crate) fn read<'h, 'b>(bytes: &'b [u8], room: &'h mut [Header<'b>]) -> Front<'h, 'b> {
    let mut request = httparse::Request::new(room);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) if length <= HEAD_LENGTH => length,
        Ok(Status::Partial) if bytes.len() < HEAD_LENGTH => return Front::Incomplete,
        _ => return Front::Unusual,
    };
    let httparse::Request { method: Some("GET"), path: Some(path), version: Some(1), headers } = request else {
        return Front::Unusual;
    };
    let Some((Asked { target, passkey }, query)) = asked(path.as_bytes()) else { return Front::Unusual };
    let mut head = Head { target, passkey, query, host: None, close: false, headers, length };
    let mut connections = 0;
    for header in head.headers {
        match meaning(header.name) {
            Meaning::Nothing => {}
            Meaning::Host if head.host.is_none() => match std::str::from_utf8(header.value) {
                Ok(host) => head.host = Some(host),
                Err(_) => return Front::Unusual,
            },
            Meaning::Connection if connections == 0 => {
                connections += 1;
                head.close = header.value.eq_ignore_ascii_case(b"close");
                if !head.close && !header.value.eq_ignore_ascii_case(b"keep-alive") {
                    return Front::Unusual;
                }
            }
            _ => return Front::Unusual,
        }
    }
    Front::Usual(head)
}

fn asked(path: &[u8]) -> Option<(Asked<'_>, &[u8])> {
    let end = path.iter().position(|&byte| byte == b'?').unwrap_or(path.len());
    let (path, query) = (path.get(..end)?, path.get(end + 1..).unwrap_or_default());
    let asked = path::asked(path)?;
    // Others may stand for something else once they are decoded, as those that begin with `%` do.
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let plain = asked.passkey.is_none_or(|key| key.iter().all(is_key)) && is_plain(query);
    plain.then_some((asked, query))
}

/// Whether all bytes may stand in a query as they are (RFC 3986, and what is commonly sent beside). Of others, hyper decides
/// whether it takes them.
fn is_plain(query: &[u8]) -> bool {
    // Without an early end, so that it is done many bytes at a time.
    query.iter().fold(true, |plain, &byte| plain & matches!(byte, 0x21 | 0x24..=0x3b | 0x3d | 0x3f..=0x7e))
}

fn meaning(name: &str) -> Meaning {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        4 if is("host") => Meaning::Host,
        10 if is("connection") => Meaning::Connection,
        6 if is("origin") || is("expect") => Meaning::Unusual,
        7 if is("upgrade") || is("trailer") => Meaning::Unusual,
        14 if is("content-length") || is("sec-fetch-site") => Meaning::Unusual,
        17 if is("transfer-encoding") => Meaning::Unusual,
        _ => Meaning::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(PartialEq, Eq, Debug)]
    enum Seen {
        Incomplete,
        Unusual,
        Usual(usize, bool),
    }

    fn look(bytes: &[u8]) -> Seen {
        match read(bytes, &mut room()) {
            Front::Incomplete => Seen::Incomplete,
            Front::Unusual => Seen::Unusual,
            Front::Usual(head) => Seen::Usual(head.length, head.close),
        }
    }

    #[test]
    fn the_usual_request_is_known_wherever_it_is_cut() {
        let request = b"GET /announce?info_hash=%00~a'()! HTTP/1.1\r\nHOST: t:80\r\nuser-Agent: x\r\nconnection: Keep-Alive\r\n\r\n";
        for end in 0..request.len() {
            assert_eq!(look(&request[..end]), Seen::Incomplete, "{end}");
        }
        let more = [request.as_slice(), b"GET /"].concat();
        assert_eq!(look(&more), Seen::Usual(request.len(), false));
        let mut room = room();
        let Front::Usual(head) = read(request, &mut room) else { panic!() };
        assert_eq!(
            (head.target, head.host, head.query),
            (Target::Announce, Some("t:80"), b"info_hash=%00~a'()!".as_slice())
        );
        assert_eq!(look(b"GET /scrape HTTP/1.1\r\nConnection: CLOSE\r\n\r\n"), Seen::Usual(43, true));
    }

    #[test]
    fn whatever_means_something_to_http_is_left_to_hyper() {
        let line = "GET /announce?x=y HTTP/1.1\r\n";
        assert_eq!(look(format!("{line}\r\n").as_bytes()), Seen::Usual(line.len() + 2, false));
        for header in [
            "Content-Length: 0",
            "content-length: 5",
            "CONTENT-LENGTH:5",
            "Transfer-Encoding: chunked",
            "transfer-encoding:\tchunked",
            "Expect: 100-continue",
            "Upgrade: h2c",
            "Trailer: x",
            "Connection: upgrade",
            "Connection: close, keep-alive",
            "Connection: close\r\nConnection: keep-alive",
            "Host: a\r\nHost: b",
            "Host: \u{e4}\u{0}",
            "Origin: null",
            "Sec-Fetch-Site: cross-site",
            "Content-Length : 5",
            "X: a\r\n folded",
            "X",
            ": x",
        ] {
            assert_eq!(look(format!("{line}{header}\r\n\r\n").as_bytes()), Seen::Unusual, "{header}");
        }
        for line in [
            "POST /announce HTTP/1.1",
            "HEAD /announce HTTP/1.1",
            "get /announce HTTP/1.1",
            "GET /announce HTTP/1.0",
            "GET /announce HTTP/2.0",
            "GET  /announce HTTP/1.1",
            "GET /Announce HTTP/1.1",
            "GET /announce/ HTTP/1.1",
            "GET /%61nnounce HTTP/1.1",
            "GET //announce HTTP/1.1",
            "GET http://t/announce HTTP/1.1",
            "GET * HTTP/1.1",
            "GET /announce?a#b HTTP/1.1",
            "GET /announce?a<b HTTP/1.1",
            "GET /announce?a\"b HTTP/1.1",
            "GET /announce?\u{e4} HTTP/1.1",
        ] {
            assert_eq!(look(format!("{line}\r\n\r\n").as_bytes()), Seen::Unusual, "{line}");
        }
    }

    #[test]
    fn a_head_has_bounds() {
        let line = b"GET /scrape HTTP/1.1\r\n".as_slice();
        let headers = |count| [line, &b"a: b\r\n".repeat(count), b"\r\n"].concat();
        assert!(matches!(look(&headers(USUAL_HEADERS)), Seen::Usual(..)));
        assert_eq!(look(&headers(USUAL_HEADERS + 1)), Seen::Unusual);
        let long = |length: usize| [line, b"a: ", &vec![b'x'; length - line.len() - 7], b"\r\n\r\n"].concat();
        assert_eq!(look(&long(HEAD_LENGTH)), Seen::Usual(HEAD_LENGTH, false));
        assert_eq!(look(&long(HEAD_LENGTH + 1)), Seen::Unusual);
        assert_eq!(look(&long(2 * HEAD_LENGTH)[..HEAD_LENGTH - 1]), Seen::Incomplete);
        assert_eq!(look(&long(2 * HEAD_LENGTH)[..HEAD_LENGTH]), Seen::Unusual);
    }
}
