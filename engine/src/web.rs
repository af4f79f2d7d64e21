//! The one HTTP client: bounded answers, few redirects, and no way from the outside into our own network.
//!
//! Owns connections to web servers. Never speaks anything but `http` and `https`, checks certificates always, never
//! keeps a cookie, and never holds more of an answer than the caller allows, also when it is compressed.
//!
//! Whoever writes a metainfo or runs a tracker can make us ask any URL. So a redirect never leads to a server that fewer
//! can reach than the one that sent it ([`Reach`]), be it by an address or by a name that resolves to one.

use bytes::{Bytes, BytesMut};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONNECTION, HeaderMap, HeaderValue, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use swarm_proto::announce::Reach;
use url::{Host, Url};

/// Bytes that are reserved for an answer before it comes; pages of memory are taken only as it does.
const FIRST_CAPACITY: usize = 512 * 1024;
/// Redirects that are followed.
const REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("swarm/", env!("CARGO_PKG_VERSION"));

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
    /// Where it came from; a proxy's address if there is one.
    pub(crate) remote: Option<SocketAddr>,
}

/// Why there is no answer. The texts hold no URL, since those contain pass keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WebError {
    #[error("it is not an http or https URL")]
    Scheme,
    #[error("it leads to {0}, which only this machine or network can reach; refused")]
    Inwards(String),
    #[error("it redirects more than {REDIRECTS} times")]
    Redirects,
    #[error("it redirects to nowhere")]
    Nowhere,
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("{0}")]
    Transfer(String),
}

/// A shared client; copies share what it has learnt of certificates.
#[derive(Clone, Debug, Default)]
pub(crate) struct Web {
    clients: Arc<Clients>,
}

/// One client for each least reach of a server that it may connect to.
#[derive(Debug, Default)]
struct Clients {
    anywhere: OnceLock<Client>,
    beyond_this_machine: OnceLock<Client>,
    outside: OnceLock<Client>,
}

impl Web {
    /// Gets a URL from a server that reaches at least as far as `least`, and follows its redirects. Takes at most
    /// `limit` bytes. There is no time limit in here.
    ///
    /// # Errors
    /// [`WebError`]; answers with an error status are answers.
    pub(crate) async fn get(&self, url: &str, mut least: Reach, limit: usize) -> Result<Fetched, WebError> {
        let mut url = Url::parse(url).map_err(|_| WebError::Scheme)?;
        for _ in 0..=REDIRECTS {
            let response = self.request(&url, least).await?;
            // Behind a proxy the socket tells nothing, but a URL with an address still does.
            let from = response.remote_addr().map(|address| Reach::of(address.ip()));
            least = least.max(from.max(literal_reach(&url)).unwrap_or(least));
            if !response.status().is_redirection() {
                return read(response, limit).await;
            }
            let target = response.headers().get(LOCATION).and_then(|target| target.to_str().ok());
            url = target.and_then(|target| url.join(target).ok()).ok_or(WebError::Nowhere)?;
        }
        Err(WebError::Redirects)
    }

    async fn request(&self, url: &Url, least: Reach) -> Result<Response, WebError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(WebError::Scheme);
        }
        if literal_reach(url).is_some_and(|reach| reach < least) {
            return Err(WebError::Inwards(url.host_str().unwrap_or_default().into()));
        }
        self.client(least).get(url.clone()).send().await.map_err(|error| transfer_error(url, error))
    }

    fn client(&self, least: Reach) -> &Client {
        let client = match least {
            Reach::Loopback => return self.clients.anywhere.get_or_init(|| build(|builder| builder)),
            Reach::Private => &self.clients.beyond_this_machine,
            Reach::Global => &self.clients.outside,
        };
        client.get_or_init(|| build(|builder| builder.dns_resolver(AtLeast(least))))
    }
}

/// The reach of a host that is an address; the resolver looks after names.
fn literal_reach(url: &Url) -> Option<Reach> {
    match url.host()? {
        Host::Ipv4(ip) => Some(Reach::of(ip.into())),
        Host::Ipv6(ip) => Some(Reach::of(ip.into())),
        Host::Domain(_) => None,
    }
}

fn build(adapt: impl Fn(ClientBuilder) -> ClientBuilder) -> Client {
    // Another part of the program may have chosen its provider before; any will do.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(Policy::none())
            .referer(false)
            .http1_only()
            .connect_timeout(CONNECT_TIMEOUT)
            // Minutes lie between two requests; trackers close at once, and a reused connection is often dead.
            .default_headers(HeaderMap::from_iter([(CONNECTION, HeaderValue::from_static("close"))]))
            .pool_max_idle_per_host(0);
        adapt(builder)
    };
    builder().build().unwrap_or_else(|error| {
        // A machine without root certificates must still reach trackers over plain HTTP.
        tracing::warn!(error = %root_cause(&error), "https is not available");
        builder().tls_certs_only([]).build().unwrap_or_default()
    })
}

/// Resolves names to addresses that reach so far at least.
struct AtLeast(Reach);

impl Resolve for AtLeast {
    fn resolve(&self, name: Name) -> Resolving {
        let least = self.0;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let fit: Vec<SocketAddr> = found.filter(|address| Reach::of(address.ip()) >= least).collect();
            if fit.is_empty() {
                return Err(WebError::Inwards(name.as_str().into()).into());
            }
            Ok(Box::new(fit.into_iter()) as Addrs)
        })
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Fetched, WebError> {
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(WebError::TooLarge(limit));
    }
    let (status, remote, url) = (response.status(), response.remote_addr(), response.url().clone());
    // In one piece from the beginning: growing would leave as much again behind, in pieces of all sizes.
    let announced = response.content_length().and_then(|length| usize::try_from(length).ok());
    let mut body = BytesMut::with_capacity(announced.unwrap_or(limit).min(FIRST_CAPACITY));
    while let Some(part) = response.chunk().await.map_err(|error| transfer_error(&url, error))? {
        if body.len() + part.len() > limit {
            return Err(WebError::TooLarge(limit));
        }
        body.extend_from_slice(&part);
    }
    Ok(Fetched { status, body: body.freeze(), remote })
}

fn transfer_error(url: &Url, error: reqwest::Error) -> WebError {
    let host = url.host_str().unwrap_or_default();
    let cause = root_cause(&error);
    WebError::Transfer(if error.is_connect() { format!("no connection to {host}: {cause}") } else { cause })
}

/// What is at the bottom of an error: the outer layers of HTTP errors repeat the URL and say nothing.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that reads each request's head and sends what `answer` makes of its target, then closes. Returns its
    /// address.
    pub(crate) async fn server(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = Arc::clone(&answer);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await?);
                    }
                    let head = String::from_utf8_lossy(&head).into_owned();
                    let target = head.split(' ').nth(1).unwrap_or_default();
                    stream.write_all(&answer(target)).await?;
                    stream.shutdown().await
                });
            }
        });
        address
    }

    pub(crate) fn ok(body: impl AsRef<[u8]>) -> Vec<u8> {
        [b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".as_slice(), body.as_ref()].concat()
    }

    pub(crate) fn redirect(to: &str) -> Vec<u8> {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
    }

    async fn get(address: SocketAddr, path: &str) -> Result<Fetched, WebError> {
        Web::default().get(&format!("http://{address}{path}"), Reach::Loopback, 1_000).await
    }

    #[tokio::test]
    async fn redirects_are_followed_a_few_times() {
        let address = server(|target| match target {
            "/a" => redirect("/b?x=1"),
            "/b?x=1" => ok("here"),
            "/file" => redirect("file:///etc/passwd"),
            "/nowhere" => b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec(),
            _ => redirect("/loop"),
        })
        .await;
        let found = get(address, "/a").await.unwrap();
        assert_eq!((found.body.as_ref(), found.remote), (b"here".as_slice(), Some(address)));
        assert!(matches!(get(address, "/loop").await, Err(WebError::Redirects)));
        assert!(matches!(get(address, "/file").await, Err(WebError::Scheme)));
        assert!(matches!(get(address, "/nowhere").await, Err(WebError::Nowhere)));
    }

    #[tokio::test]
    async fn no_way_leads_inwards() {
        let address = server(|_| ok("secret")).await;
        let web = Web::default();
        let url = |host: &str| Url::parse(&format!("http://{host}:{}/", address.port())).unwrap();
        for host in ["127.0.0.1", "[::1]", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "0.0.0.0"] {
            for least in [Reach::Private, Reach::Global] {
                assert!(matches!(web.request(&url(host), least).await, Err(WebError::Inwards(_))), "{host}");
            }
        }
        assert!(matches!(web.request(&url("10.0.0.1"), Reach::Global).await, Err(WebError::Inwards(_))));
        for least in [Reach::Private, Reach::Global] {
            let error = web.request(&url("localhost"), least).await.unwrap_err();
            assert!(error.to_string().contains("only this machine or network can reach"), "{error}");
        }
        assert!(web.request(&url("localhost"), Reach::Loopback).await.is_ok());
    }

    #[tokio::test]
    async fn a_redirect_leads_to_nobody_whom_fewer_can_reach() {
        let inner = server(|_| ok("secret")).await;
        let outer = server(move |_| redirect(&format!("http://{inner}/admin?delete=all"))).await;
        let web = Web::default();
        // On loopback everybody is as near as the other.
        assert!(web.get(&format!("http://{outer}/"), Reach::Loopback, 1_000).await.is_ok());
        // A stand-in for a server of the local network: the name of the URL is an address of it, whoever answers.
        let proxied =
            Client::builder().redirect(Policy::none()).proxy(reqwest::Proxy::all(format!("http://{outer}")).unwrap());
        let clients = Clients::default();
        clients.anywhere.set(proxied.build().unwrap()).unwrap();
        let web = Web { clients: Arc::new(clients) };
        for host in ["192.168.1.5", "8.8.8.8", "[fd00::1]"] {
            let answer = web.get(&format!("http://{host}/announce"), Reach::Loopback, 1_000).await;
            assert!(matches!(answer, Err(WebError::Inwards(_))), "{host}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_certificate_that_nobody_vouches_for_is_refused() {
        // Made by `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 36500 -subj /CN=localhost
        // -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE` in DER; the key is no secret.
        let certificate = rustls::pki_types::CertificateDer::from(include_bytes!("web/localhost.der").as_slice());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(include_bytes!("web/localhost.key.der").as_slice());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = rustls::ServerConfig::builder().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![certificate], key.into()).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = std::thread::spawn(move || {
            let serve = |_| {
                let (socket, _) = listener.accept().ok()?;
                let mut stream =
                    rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config)).ok()?, socket);
                let mut request = [0; 1_024];
                let read = std::io::Read::read(&mut stream, &mut request).ok()?;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                std::io::Write::write_all(&mut stream, answer).ok()?;
                Some(read)
            };
            [(); 2].map(serve)
        });
        let url = format!("https://localhost:{port}/announce?passkey=secret");
        let refused = Web::default().get(&url, Reach::Loopback, 1_000).await;
        assert!(matches!(&refused, Err(WebError::Transfer(text)) if text.contains("certificate")), "{refused:?}");
        // The same server, and somebody who trusts it.
        let root = reqwest::Certificate::from_der(include_bytes!("web/localhost.der")).unwrap();
        let trusting = Client::builder().tls_certs_only([root]).build().unwrap();
        let status = trusting.get(&url).send().await.unwrap().status();
        assert!(status.is_success());
        let [first, second] = tokio::task::spawn_blocking(|| served.join().unwrap()).await.unwrap();
        assert!(first.is_none() && second.is_some(), "no request reached the server that was not trusted");
    }

    #[tokio::test]
    async fn bodies_are_bounded() {
        // Made by `head -c 100000 /dev/zero | gzip -9n`.
        let bomb: &[u8] = include_bytes!("web/zeros.gz");
        let address = server(move |target| match target {
            "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n".to_vec(),
            "/endless" => ok(vec![b'x'; 1_001]),
            "/bomb" => {
                [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n".as_slice(), bomb].concat()
            }
            _ => ok(vec![b'x'; 1_000]),
        })
        .await;
        for path in ["/length", "/endless", "/bomb"] {
            assert!(matches!(get(address, path).await, Err(WebError::TooLarge(1_000))), "{path}");
        }
        assert_eq!(get(address, "/whole").await.unwrap().body.len(), 1_000);
        let bomb = Web::default().get(&format!("http://{address}/bomb"), Reach::Loopback, 200_000).await.unwrap();
        assert_eq!(bomb.body.len(), 100_000, "it is inflated where there is room");
    }

    #[tokio::test]
    async fn errors_name_the_host_but_not_the_pass_key() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = get(closed, "/announce?passkey=secret").await.unwrap_err().to_string();
        assert!(error.starts_with("no connection to 127.0.0.1: ") && !error.contains("secret"), "{error}");
        let cut = server(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc".to_vec()).await;
        assert!(matches!(get(cut, "/").await, Err(WebError::Transfer(_))));
        assert!(matches!(get(cut, "udp://x").await, Err(WebError::Transfer(_) | WebError::Scheme)));
    }
}
