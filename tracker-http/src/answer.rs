//! From a query to the bencoded body that answers it, the same for both ways in; no I/O.

use crate::browser;
use crate::config::IpParameter;
use crate::proxy::{Proxies, Unknown};
use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use swarm_proto::announce::Reach;
use swarm_proto::announce::http::{
    HttpAnnounce, PeerForm, QueryError, ReplyHead, encode_scrape, parse_query, parse_scrape_query, write_failure,
    write_reply,
};
use swarm_tracker_core::{CompactPeers, Dialect, Store, StoreAnnounce, StoreRefusal, SwarmCounts, Wait};

/// The two ends of a connection that matter: who is there, and whether it speaks for others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// Never IPv4 mapped into IPv6.
    pub(crate) ip: IpAddr,
    /// A trusted proxy.
    pub(crate) proxy: bool,
}

/// Who asks, and what he calls us.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) ip: IpAddr,
    pub(crate) host: Option<&'a str>,
    /// The key in the path, if there is one.
    pub(crate) passkey: Option<&'a [u8]>,
}

/// An announce of a swarm of which other nodes may know more: answered once they have said so, or were waited for long
/// enough.
pub(crate) struct Waiting {
    pub(crate) wait: Wait,
    request: StoreAnnounce<'static>,
    form: PeerForm,
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Answers announces and scrapes from a store.
#[derive(Debug)]
pub(crate) struct Answers {
    pub(crate) store: Arc<Store>,
    pub(crate) proxies: Proxies,
    ip_parameter: IpParameter,
    malformed: AtomicU64,
}

thread_local! {
    /// Chosen peers in the order of the network.
    static CHOSEN: RefCell<CompactPeers> = const { RefCell::new(CompactPeers::new()) };
}

impl Answers {
    pub(crate) fn new(store: Arc<Store>, proxies: Proxies, ip_parameter: IpParameter) -> Self {
        Self { store, proxies, ip_parameter, malformed: AtomicU64::new(0) }
    }

    /// Requests that made no sense.
    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }

    pub(crate) fn origin(&self, address: SocketAddr) -> Origin {
        let ip = address.ip().to_canonical();
        Origin { ip, proxy: self.proxies.trusts(ip) }
    }

    /// Whom a request comes from; `values` are those of the header in which proxies say it.
    pub(crate) fn asker<'v>(
        &self,
        origin: Origin,
        values: impl DoubleEndedIterator<Item = &'v [u8]>,
    ) -> Result<IpAddr, Unknown> {
        if origin.proxy { self.proxies.asker(values) } else { Ok(origin.ip) }
    }

    /// Writes what a request gets of which nobody knows whose it is.
    pub(crate) fn unknown(&self, fault: Unknown, out: &mut Vec<u8>) {
        self.malformed.fetch_add(1, Relaxed);
        let interval = self.store.config().interval;
        write_failure(out, fault.text(), Some(interval), Some(interval));
    }

    /// Writes the answer to an announce, or leaves it to [`Answers::answer_waiting`].
    pub(crate) fn announce(
        &self,
        now: Instant,
        asker: &Asker<'_>,
        query: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Box<Waiting>> {
        let HttpAnnounce { announce, form, ip } = match parse_query(query) {
            Ok(parsed) => parsed,
            Err(fault) => {
                self.refuse_query(fault, out);
                return None;
            }
        };
        let ip = ip.filter(|&ip| self.may_name(asker, ip)).unwrap_or(asker.ip);
        let request = StoreAnnounce {
            info_hash: announce.info_hash,
            peer_id: announce.peer_id,
            address: SocketAddr::new(ip, announce.port),
            left: announce.left,
            event: announce.event,
            num_want: announce.num_want,
            dialect: Dialect::Http,
            passkey: None,
        };
        let with_key = StoreAnnounce { passkey: asker.passkey, ..request };
        CHOSEN.with_borrow_mut(|peers| {
            match self.store.announce_or_wait(now, &with_key, peers) {
                Ok((_, Some(wait))) => return Some(Box::new(Waiting { wait, request, form })),
                Ok((counts, None)) => self.write_announced(ip, counts, (peers, form), out),
                Err(refusal) => self.refuse(refusal, out),
            }
            None
        })
    }

    /// Writes the answer to an announce that has waited.
    pub(crate) fn answer_waiting(&self, waiting: &Waiting, out: &mut Vec<u8>) {
        CHOSEN.with_borrow_mut(|peers| {
            let counts = self.store.answer_into(&waiting.request, peers);
            self.write_announced(waiting.request.address.ip(), counts, (peers, waiting.form), out);
        });
    }

    fn write_announced(
        &self,
        ip: IpAddr,
        stored: SwarmCounts,
        (peers, form): (&CompactPeers, PeerForm),
        out: &mut Vec<u8>,
    ) {
        let config = self.store.config();
        let head = ReplyHead {
            interval: config.interval,
            min_interval: config.min_interval,
            complete: stored.complete,
            incomplete: stored.incomplete,
            downloaded: stored.downloaded,
            external_ip: ip,
        };
        write_reply(out, &head, &peers.v4, &peers.v6, form);
    }

    /// A web page can have a browser on this machine or in its network ask under a name of its own.
    fn may_name(&self, asker: &Asker<'_>, ip: IpAddr) -> bool {
        self.ip_parameter == IpParameter::Private
            && Reach::of(asker.ip) != Reach::Global
            && Reach::of(ip) == Reach::Private
            && browser::is_expected(asker.host, Some(&[]))
    }

    /// Writes the answer to a scrape.
    pub(crate) fn scrape(&self, now: Instant, asker: &Asker<'_>, query: &[u8], out: &mut Vec<u8>) {
        let hashes = match parse_scrape_query(query) {
            Ok(hashes) => hashes,
            Err(fault) => return self.refuse_query(fault, out),
        };
        let cost = u32::try_from(hashes.len()).unwrap_or(u32::MAX);
        let config = self.store.config();
        let access = config.access.as_ref();
        let known = access.map_or(Ok(()), |access| access.check_key(asker.passkey));
        if let Err(refusal) = known.and_then(|()| self.store.admit(now, asker.ip, cost)) {
            return self.refuse(refusal, out);
        }
        let entries = self.store.scrape(&hashes);
        out.extend(encode_scrape(&hashes.into_iter().zip(entries).collect::<Vec<_>>()));
    }

    /// The same query will never be better.
    fn refuse_query(&self, fault: QueryError, out: &mut Vec<u8>) {
        self.malformed.fetch_add(1, Relaxed);
        write_failure(out, &fault.to_string(), Some(self.store.config().interval), Some(Duration::MAX));
    }

    fn refuse(&self, refusal: StoreRefusal, out: &mut Vec<u8>) {
        write_failure(out, refusal.text(), Some(self.store.config().interval), Some(refusal.retry_in()));
    }
}
