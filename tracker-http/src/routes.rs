//! From a request to its response; no I/O.

use crate::browser;
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use swarm_proto::announce::AnnounceReply;
use swarm_proto::announce::http::{
    HttpAnnounce, QueryError, encode_failure, encode_reply, encode_scrape, parse_query, parse_scrape_query,
};
use swarm_tracker_core::{Dialect, Store, StoreAnnounce, StoreRefusal};

/// When a client that found the tracker full may come again.
const FULL_RETRY: Duration = Duration::from_secs(15 * 60);
/// When a client whose network asked too often may come again: a minute fills a good part of its bucket.
const TOO_OFTEN_RETRY: Duration = Duration::from_secs(60);
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Pages may contain nothing that runs, loads or sends.
const SAFE: [(HeaderName, HeaderValue); 4] = [
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Something served as it is.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its media type, such as `application/x-bittorrent`.
    pub content_type: HeaderValue,
    /// Its bytes.
    pub body: Bytes,
}

/// All that the tracker answers.
#[derive(Debug)]
pub(crate) struct Routes {
    store: Arc<Store>,
    pages: HashMap<String, Page>,
    names: Option<Vec<String>>,
    start: Instant,
    requests: AtomicU64,
    malformed: AtomicU64,
}

/// The body of `/stats`.
#[derive(Serialize)]
struct Stats {
    torrents: u64,
    peers: u64,
    seeds: u64,
    leechers: u64,
    announces: u64,
    scrapes: u64,
    refused: u64,
    limited: u64,
    evicted_torrents: u64,
    evicted_peers: u64,
    http_requests: u64,
    http_malformed: u64,
    uptime_s: u64,
}

impl Routes {
    pub(crate) fn new(store: Arc<Store>, pages: HashMap<String, Page>, names: Option<Vec<String>>) -> Self {
        let (requests, malformed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, pages, names, start: Instant::now(), requests, malformed }
    }

    pub(crate) fn set_pages(&mut self, pages: HashMap<String, Page>) {
        self.pages = pages;
    }

    pub(crate) fn respond<B>(&self, asker: IpAddr, request: &Request<B>) -> Response<Full<Bytes>> {
        self.requests.fetch_add(1, Relaxed);
        let (method, uri, host) = (request.method(), request.uri(), browser::host(request));
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let query = uri.query().unwrap_or_default();
        let path = percent_decode_str(uri.path()).decode_utf8_lossy();
        match path.as_ref() {
            "/announce" | "/scrape" if browser::is_page(request.headers()) => {
                response(StatusCode::FORBIDDEN, PLAIN, "this is for BitTorrent clients, not for web pages\n")
            }
            "/announce" => response(StatusCode::OK, PLAIN, self.announce(asker, host, query)),
            "/scrape" => response(StatusCode::OK, PLAIN, self.scrape(asker, query)),
            _ if !browser::is_expected(host, self.names.as_deref()) => {
                let advice = "no such host here; use the address, or start with this name as --address\n";
                response(StatusCode::MISDIRECTED_REQUEST, PLAIN, advice)
            }
            path => match (self.pages.get(path), path) {
                (Some(page), _) => response(StatusCode::OK, page.content_type.clone(), page.body.clone()),
                (None, "/") => response(StatusCode::OK, HTML, self.front_page()),
                (None, "/health") => response(StatusCode::OK, PLAIN, "ok\n"),
                (None, "/stats") => {
                    response(StatusCode::OK, JSON, serde_json::to_vec(&self.stats()).unwrap_or_default())
                }
                (None, _) => response(StatusCode::NOT_FOUND, PLAIN, "there is nothing here; try /announce\n"),
            },
        }
    }

    fn announce(&self, asker: IpAddr, host: Option<&str>, query: &str) -> Vec<u8> {
        let HttpAnnounce { announce, form, ip } = match parse_query(query) {
            Ok(parsed) => parsed,
            Err(fault) => return self.malformed(fault),
        };
        // Any web page can have a browser on this machine ask under a name of its own.
        let ip = ip.filter(|_| asker.is_loopback() && browser::is_expected(host, Some(&[]))).unwrap_or(asker);
        let request = StoreAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            address: SocketAddr::new(ip, announce.port),
            left: announce.left,
            event: announce.event,
            num_want: announce.num_want,
            dialect: Dialect::Http,
        };
        let stored = match self.store.announce(Instant::now(), &request) {
            Ok(stored) => stored,
            Err(refusal) => return refused(refusal),
        };
        let config = self.store.config();
        let reply = AnnounceReply {
            interval: config.interval,
            min_interval: Some(config.min_interval),
            complete: Some(stored.complete),
            incomplete: Some(stored.incomplete),
            peers: stored.peers,
            external_ip: Some(ip),
            tracker_id: None,
            warning: None,
        };
        encode_reply(&reply, Some(stored.downloaded), form)
    }

    fn scrape(&self, asker: IpAddr, query: &str) -> Vec<u8> {
        match parse_scrape_query(query) {
            Ok(hashes) => {
                let cost = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
                if let Err(refusal) = self.store.admit(Instant::now(), asker, cost) {
                    return refused(refusal);
                }
                let entries = self.store.scrape(&hashes);
                encode_scrape(&hashes.into_iter().zip(entries).collect::<Vec<_>>())
            }
            Err(fault) => self.malformed(fault),
        }
    }

    fn malformed(&self, fault: QueryError) -> Vec<u8> {
        self.malformed.fetch_add(1, Relaxed);
        encode_failure(&fault.to_string(), None)
    }

    fn stats(&self) -> Stats {
        let stats = self.store.stats();
        Stats {
            torrents: stats.torrents,
            peers: stats.peers,
            seeds: stats.seeds,
            leechers: stats.peers.saturating_sub(stats.seeds),
            announces: stats.announces,
            scrapes: stats.scrapes,
            refused: stats.refused,
            limited: stats.limited,
            evicted_torrents: stats.evicted_torrents,
            evicted_peers: stats.evicted_peers,
            http_requests: self.requests.load(Relaxed),
            http_malformed: self.malformed.load(Relaxed),
            uptime_s: self.start.elapsed().as_secs(),
        }
    }

    /// Contains numbers only: nothing that a peer said.
    fn front_page(&self) -> String {
        let stats = self.stats();
        let rows = [
            ("torrents", stats.torrents),
            ("seeds", stats.seeds),
            ("leechers", stats.leechers),
            ("announces", stats.announces),
            ("seconds up", stats.uptime_s),
        ];
        let mut page = String::from(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>swarm tracker</title></head>\n\
             <body><h1>swarm tracker</h1>\n\
             <p>This is a BitTorrent tracker. Its announce URL is this page's address with <code>/announce</code> \
             behind it.</p>\n\
             <table>\n",
        );
        for (name, value) in rows {
            // Writing to a String cannot fail.
            let _ = writeln!(page, "<tr><th>{name}</th><td>{value}</td></tr>");
        }
        page.push_str("</table>\n<p>For programs: <a href=\"stats\">stats</a>, <a href=\"health\">health</a>.</p>\n");
        page.push_str("</body></html>\n");
        page
    }
}

fn refused(refusal: StoreRefusal) -> Vec<u8> {
    let retry = match refusal {
        StoreRefusal::Full => FULL_RETRY,
        StoreRefusal::TooOften { .. } => TOO_OFTEN_RETRY,
    };
    encode_failure(&refusal.to_string(), Some(retry))
}

fn response(status: StatusCode, content_type: HeaderValue, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().extend(SAFE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use swarm_proto::id::InfoHash;
    use swarm_tracker_core::StoreConfig;

    #[test]
    fn nobody_announces_somebody_else() {
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        let routes = Routes::new(Arc::clone(&store), HashMap::new(), None);
        let hash = "a".repeat(20);
        for (asker, id) in [("192.0.2.1", 'b'), ("10.0.0.1", 'c'), ("2001:db8::1", 'd')] {
            let id = id.to_string().repeat(20);
            let more = "ip=192.0.2.9&ipv4=192.0.2.9&ipv6=2001:db8::9";
            let target = format!("/announce?info_hash={hash}&peer_id={id}&port=6881&left=1&{more}");
            // What a proxy would say counts for nothing either: anybody can say it.
            let request =
                Request::get(target).header("X-Forwarded-For", "192.0.2.9").header("Forwarded", "for=192.0.2.9");
            let answer = routes.respond(asker.parse().unwrap(), &request.body(()).unwrap());
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let mut stored: Vec<_> =
            store.peers(&InfoHash([b'a'; 20]), 9).iter().map(|peer| peer.address.to_string()).collect();
        stored.sort();
        assert_eq!(stored, ["10.0.0.1:6881", "192.0.2.1:6881", "[2001:db8::1]:6881"]);
    }
}
