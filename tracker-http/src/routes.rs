//! From a request to its response, for hyper; no I/O.

use crate::answer::{Answers, Asker, Origin, Waiting};
use crate::browser;
use crate::config::HttpTrackerConfig;
use crate::path::{self, Asked, Target};
use crate::proxy::Unknown;
use crate::watch::{self, Watch};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
};
use hyper::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use swarm_tracker_core::{Exposition, Figure, Store};

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Bencoding has no media type of its own that clients would know.
const BENCODED: HeaderValue = HeaderValue::from_static("text/plain");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
const METRICS: HeaderValue = HeaderValue::from_static(Exposition::CONTENT_TYPE);
/// The front page runs our own script, which asks our own `/stats`, and nothing else.
const LIVE: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
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
    pub(crate) answers: Answers,
    pub(crate) fast_path: bool,
    pages: HashMap<String, Page>,
    names: Option<Vec<String>>,
    pub(crate) watch: Watch,
}

impl Routes {
    pub(crate) fn new(store: Arc<Store>, config: HttpTrackerConfig) -> Self {
        let HttpTrackerConfig { pages, names, ip_parameter, proxies, watching, fast_path, .. } = config;
        let answers = Answers::new(store, proxies, ip_parameter);
        Self { answers, fast_path, pages, names, watch: Watch::new(watching) }
    }

    pub(crate) fn set_pages(&mut self, pages: HashMap<String, Page>) {
        self.pages = pages;
    }

    /// Answers a request. One with a body is the last of its connection: nobody reads the body, and where it ends is what
    /// two programs may understand in two ways.
    pub(crate) async fn respond<B: Body>(&self, origin: Origin, request: Request<B>) -> Response<Full<Bytes>> {
        self.watch.count();
        let mut response = match self.route(origin, &request) {
            Ok(response) => response,
            Err(mut waiting) => {
                waiting.wait.as_mut().await;
                let mut body = Vec::new();
                self.answers.answer_waiting(&waiting, &mut body);
                bencoded(body)
            }
        };
        if !request.body().is_end_stream() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The response, or the announce that must wait for it.
    fn route<B>(&self, origin: Origin, request: &Request<B>) -> Result<Response<Full<Bytes>>, Box<Waiting>> {
        let (method, uri, host) = (request.method(), request.uri(), browser::host(request));
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = response(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "only GET and HEAD\n");
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Ok(response);
        }
        let query = uri.query().unwrap_or_default().as_bytes();
        let path = percent_decode_str(uri.path()).decode_utf8_lossy();
        let Some(Asked { target, passkey }) = path::asked(path.as_bytes()) else {
            return Ok(self.page(&path, host));
        };
        if browser::is_page(request.headers()) {
            let problem = "this is for BitTorrent clients, not for web pages\n";
            return Ok(response(StatusCode::FORBIDDEN, PLAIN, problem));
        }
        let mut body = Vec::new();
        let waiting = match self.asker(origin, request.headers()) {
            Ok(ip) => self.track(Instant::now(), target, (&Asker { ip, host, passkey }, query), &mut body),
            Err(fault) => {
                self.answers.unknown(fault, &mut body);
                None
            }
        };
        waiting.map_or_else(|| Ok(bencoded(body)), Err)
    }

    /// Everything that is not for BitTorrent clients.
    fn page(&self, path: &str, host: Option<&str>) -> Response<Full<Bytes>> {
        match path {
            _ if !browser::is_expected(host, self.names.as_deref()) => {
                let advice = "no such host here; use the address, or start with this name as --address\n";
                response(StatusCode::MISDIRECTED_REQUEST, PLAIN, advice)
            }
            path => match (self.pages.get(path), path) {
                (Some(page), _) => response(StatusCode::OK, page.content_type.clone(), page.body.clone()),
                (None, "/") => {
                    let page = watch::page(&self.figures(), &self.watch.problems());
                    let mut response = response(StatusCode::OK, HTML, page);
                    response.headers_mut().insert(CONTENT_SECURITY_POLICY, LIVE);
                    response
                }
                (None, "/live.js") => response(StatusCode::OK, SCRIPT, watch::SCRIPT),
                (None, "/health") => response(StatusCode::OK, PLAIN, self.health()),
                (None, "/ready") if !self.watch.is_ready() => {
                    response(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "ending\n")
                }
                (None, "/ready") => response(StatusCode::OK, PLAIN, "ready\n"),
                (None, "/stats") => response(StatusCode::OK, JSON, watch::json(&self.figures())),
                (None, "/metrics") => {
                    let text = self.watch.exposition(&self.figures());
                    response(StatusCode::OK, METRICS, text)
                }
                (None, _) => response(StatusCode::NOT_FOUND, PLAIN, "there is nothing here; try /announce\n"),
            },
        }
    }

    /// Writes the answer to what is asked for, and measures how long that takes; or says that it must wait.
    pub(crate) fn track(
        &self,
        now: Instant,
        target: Target,
        (asker, query): (&Asker<'_>, &[u8]),
        out: &mut Vec<u8>,
    ) -> Option<Box<Waiting>> {
        match target {
            Target::Announce => {
                let waiting = self.answers.announce(now, asker, query, out);
                self.watch.latency.record(now.elapsed());
                waiting
            }
            Target::Scrape => {
                self.answers.scrape(now, asker, query, out);
                None
            }
        }
    }

    fn asker(&self, origin: Origin, headers: &HeaderMap) -> Result<IpAddr, Unknown> {
        let named = headers.get_all(self.answers.proxies.header.as_str());
        self.answers.asker(origin, named.iter().map(HeaderValue::as_bytes))
    }

    fn figures(&self) -> Vec<Figure> {
        self.watch.figures(&self.answers.store, self.answers.malformed())
    }

    /// `ok`, or a problem a line behind `degraded`: with either, the tracker answers.
    fn health(&self) -> String {
        let problems = self.watch.problems();
        if problems.is_empty() {
            return "ok\n".to_owned();
        }
        problems.into_iter().map(|problem| format!("degraded: {problem}\n")).collect()
    }
}

/// With the headers that it has on the fast path, too.
fn bencoded(body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    response.headers_mut().insert(CONTENT_TYPE, BENCODED);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
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

    #[tokio::test]
    async fn nobody_announces_somebody_else() {
        let store = Arc::new(Store::new(StoreConfig::default(), Instant::now()));
        let routes = Routes::new(Arc::clone(&store), HttpTrackerConfig::default());
        let hash = "a".repeat(20);
        for (asker, id) in [("192.0.2.1", 'b'), ("10.0.0.1", 'c'), ("2001:db8::1", 'd')] {
            let id = id.to_string().repeat(20);
            let more = "ip=192.0.2.9&ipv4=192.0.2.9&ipv6=2001:db8::9";
            let target = format!("/announce?info_hash={hash}&peer_id={id}&port=6881&left=1&{more}");
            // What a proxy would say counts for nothing either: anybody can say it.
            let request =
                Request::get(target).header("X-Forwarded-For", "192.0.2.9").header("Forwarded", "for=192.0.2.9");
            let origin = routes.answers.origin((asker.parse::<IpAddr>().unwrap(), 1).into());
            let answer = routes.respond(origin, request.body(Full::<Bytes>::default()).unwrap()).await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
        let mut stored: Vec<_> =
            store.peers(&InfoHash([b'a'; 20]), 9).iter().map(|peer| peer.address.to_string()).collect();
        stored.sort();
        assert_eq!(stored, ["10.0.0.1:6881", "192.0.2.1:6881", "[2001:db8::1]:6881"]);
    }
}
