//! Streams of requests, usual and odd, on both ways of the HTTP tracker.

use proptest::prelude::*;
use swarm_hostile::http_ways_agree;

const ANNOUNCE: &str = "info_hash=%00%ff~aaaaaaaaaaaaaaaaa&peer_id=-TR3000-abcdefghijkl&port=6881&left=1";

/// One of each kind, as they may follow each other on a connection.
fn streams() -> Vec<String> {
    let usual = format!("GET /announce?{ANNOUNCE} HTTP/1.1\r\nHost: t\r\nUser-Agent: x/1\r\n\r\n");
    let other =
        format!("GET /announce?{} HTTP/1.1\r\nHost: t\r\n\r\n", ANNOUNCE.replace("-TR", "-UT").replace("6881", "7"));
    let scrape = "GET /scrape?info_hash=%00%ff~aaaaaaaaaaaaaaaaa HTTP/1.1\r\nhost: t\r\n\r\n";
    let post = "POST /announce HTTP/1.1\r\nHost: t\r\nContent-Length: 30\r\n\r\nGET /scrape HTTP/1.1\r\nHost: t\r\n";
    let chunked = "GET /announce HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\nGET /scrape HTTP/1.1\r\nHost: t\r\n\r\n0\r\n\r\n";
    let both = "GET /scrape HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let last = "GET /scrape HTTP/1.1\r\nConnection: close\r\n\r\n";
    vec![
        format!("{usual}{other}{scrape}"),
        format!("{usual}{last}{usual}"),
        format!("{usual}GET /health HTTP/1.1\r\nHost: t\r\n\r\n{usual}{scrape}"),
        format!("{usual}{post}{usual}"),
        format!("{usual}{chunked}{scrape}"),
        format!("{usual}{both}{scrape}"),
        format!("{usual}GET /scrape HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab{usual}"),
        format!("{usual}GET /scrape HTTP/1.1\nHost: t\n\n{usual}"),
        format!("\r\n{usual}\r\n{usual}"),
        format!("{usual}GET /announce?{ANNOUNCE} HTTP/1.0\r\n\r\n{usual}"),
        format!("{usual}GET /announce?{ANNOUNCE}#x HTTP/1.1\r\n\r\n{usual}"),
        format!("{usual}GET /announce?a\u{0} HTTP/1.1\r\n\r\n{usual}"),
        format!("{usual}GET /announce?a\u{e4} HTTP/1.1\r\n\r\n{usual}"),
        format!("{usual}GET /scrape HTTP/1.1\r\nX: a\r\n b\r\n\r\n{usual}"),
        format!("{usual}GET /scrape HTTP/1.1\r\nContent-Length : 5\r\n\r\n{usual}"),
        format!("{usual}GET http://t/scrape?a HTTP/1.1\r\n\r\n{usual}"),
        format!("{usual}GET /%61nnounce?{ANNOUNCE} HTTP/1.1\r\n\r\n{scrape}"),
        format!("GET /announce?{ANNOUNCE}&ip=10.0.0.9 HTTP/1.1\r\nHost: a\r\nHost: evil.example\r\n\r\n{usual}"),
        format!(
            "GET /announce?{ANNOUNCE} HTTP/1.1\r\nX-Forwarded-For: 1.2.3.4\r\nx-forwarded-for: 10.0.0.2\r\n\r\n{usual}"
        ),
        format!("GET /announce?{ANNOUNCE} HTTP/1.1\r\nX-Forwarded-For: nobody\r\n\r\n{scrape}"),
        format!("{usual}\u{13}BitTorrent protocol\r\n\r\n"),
        "GET /announce HTTP/1.1\r\nHost: t".to_owned(),
    ]
}

#[test]
fn both_ways_agree_wherever_the_stream_is_cut() {
    for stream in streams() {
        for by_proxy in [false, true] {
            let cuts: Vec<usize> = (0..stream.len()).collect();
            http_ways_agree(stream.as_bytes(), &cuts, by_proxy);
        }
        for cut in 0..stream.len() {
            http_ways_agree(stream.as_bytes(), &[cut], cut % 2 == 1);
        }
    }
}

#[test]
fn both_ways_agree_on_heads_at_the_bound() {
    for length in [8_000, 8_191, 8_192, 8_193, 9_000, 17_000] {
        let line = "GET /scrape HTTP/1.1\r\n\r\n";
        let stream =
            line.replace("?", "") + &line.replace("pe H", &format!("pe?{} H", "a".repeat(length - line.len() - 1)));
        http_ways_agree(stream.as_bytes(), &[100, 8_192, 8_300], false);
    }
    // Many at once, more than one reading holds.
    let many = format!("GET /announce?{ANNOUNCE} HTTP/1.1\r\n\r\n").repeat(400);
    http_ways_agree(many.as_bytes(), &[5_000, 16_384, 16_385], false);
}

fn line() -> impl Strategy<Value = String> {
    let method = prop_oneof![12 => Just("GET"), 1 => Just("HEAD"), 1 => Just("POST"), 1 => Just("get"), 1 => Just("")];
    let path = prop_oneof![
        8 => Just("/announce"), 3 => Just("/scrape"), 1 => Just("/"), 1 => Just("/key/announce"), 1 => Just("/stats/"),
        1 => Just("*"), 1 => Just("http://t/announce"), 1 => Just("/announce/../scrape"), 1 => Just("/a%"),
    ];
    let more = prop_oneof![6 => "(&[a-z_]{1,9}=[%0-9a-f]{0,6}){0,3}", 1 => "[ -~]{0,9}", 1 => "[\u{0}-\u{ff}]{0,3}"];
    let version = prop_oneof![12 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0"), 1 => Just("")];
    (method, path, any::<bool>(), more, version).prop_map(|(method, path, whole, more, version)| {
        let query = if whole { ANNOUNCE } else { "info_hash=aaaaaaaaaaaaaaaaaaaa" };
        format!("{method} {path}?{query}{more} {version}")
    })
}

fn header() -> impl Strategy<Value = String> {
    let known = prop_oneof![
        Just("Host: t"),
        Just("host: evil.example"),
        Just("User-Agent: a"),
        Just("Connection: close"),
        Just("Connection: keep-alive"),
        Just("connection: Upgrade"),
        Just("Content-Length: 3"),
        Just("Content-Length: 0"),
        Just("Transfer-Encoding: chunked"),
        Just("transfer-encoding: identity"),
        Just("Expect: 100-continue"),
        Just("Upgrade: websocket"),
        Just("Origin: x"),
        Just("X-Forwarded-For: 1.2.3.4"),
        Just("X-Forwarded-For: 10.0.0.1, x"),
        Just(" folded"),
        Just("no colon"),
        Just("Accept-Encoding: gzip"),
    ];
    prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[!-~]{1,6}: ?[ -~]{0,9}", 1 => "[\u{0}-\u{ff}]{0,6}"]
}

fn request() -> impl Strategy<Value = String> {
    let end = prop_oneof![9 => Just("\r\n"), 1 => Just("\n")];
    (line(), prop::collection::vec(header(), 0..4), end, prop_oneof![9 => Just(String::new()), 1 => "[ -~\r\n]{0,9}"])
        .prop_map(|(line, headers, end, body)| {
            let headers: String = headers.into_iter().map(|header| header + end).collect();
            format!("{line}{end}{headers}{end}{body}")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
    #[test]
    fn both_ways_agree_on_any_stream(
        requests in prop::collection::vec(request(), 1..5),
        cuts in prop::collection::vec(0_usize..800, 0..6),
        wrong in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..2),
        by_proxy: bool,
    ) {
        let mut stream = requests.concat().into_bytes();
        for (place, byte) in wrong {
            let place = place.index(stream.len());
            stream[place] = byte;
        }
        http_ways_agree(&stream, &cuts, by_proxy);
    }
}
