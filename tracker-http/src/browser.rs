//! What tells a web page in somebody's browser from a BitTorrent client.
//!
//! A page of any site can have the browser of its reader ask us: by a link or an image (the answer stays hidden from it),
//! or by a name of its own that suddenly resolves to our address (then it reads the answer, too). The first is told by
//! headers that only browsers send and no page can remove, the second by the name in `Host`.

use hyper::Request;
use hyper::header::{HOST, HeaderMap, ORIGIN};
use std::net::{IpAddr, Ipv6Addr};

/// Endings of names that nobody can register on the internet (RFC 2606, 6761, 6762, 8375, and what routers use).
const LOCAL: [&str; 7] = ["localhost", "local", "internal", "home.arpa", "lan", "home", "test"];

/// Whether the request was made by a page, not by a client or by somebody who typed the address.
pub(crate) fn is_page(headers: &HeaderMap) -> bool {
    let by_page = headers.get("sec-fetch-site").is_some_and(|site| site != "none");
    by_page || headers.contains_key(ORIGIN)
}

/// The host that the request names.
pub(crate) fn host<B>(request: &Request<B>) -> Option<&str> {
    let named = request.headers().get(HOST);
    request
        .uri()
        .authority()
        .map(|authority| authority.as_str())
        .or_else(|| named.map(|host| host.to_str().unwrap_or("?.")))
}

/// Whether the host is an address, a name that only a local network can have, or one of `names` (`None` for all).
/// HTTP/1.0 names none; browsers don't speak that.
pub(crate) fn is_expected(host: Option<&str>, names: Option<&[String]>) -> bool {
    let (Some(host), Some(names)) = (host, names) else { return true };
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().is_some_and(|ip| ip.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.split(':').next().unwrap_or_default().trim_end_matches('.').to_ascii_lowercase();
    let local = || {
        LOCAL.iter().any(|ending| name.strip_suffix(ending).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
    };
    let single =
        || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    name.parse::<IpAddr>().is_ok() || single() || local() || names.iter().any(|known| known.eq_ignore_ascii_case(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    #[test]
    fn a_name_that_anybody_can_register_is_not_ours() {
        let ours = ["Tracker.Example".to_owned()];
        let expected = |host| is_expected(Some(host), Some(&ours));
        for host in [
            "127.0.0.1",
            "192.168.1.5:6969",
            "[::1]",
            "[fd00::1]:80",
            "localhost:80",
            "nas",
            "nas:80",
            "nas.local.",
            "box.home.arpa",
            "LOCALHOST",
            "tracker.example:80",
        ] {
            assert!(expected(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:6969",
            "127.0.0.1.evil.example",
            "notlocal",
            "evillocal.example",
            "x.tracker.example",
            "[evil]",
            "",
            "?.",
            "localhost.evil.example",
            "127.0.0.1@evil.example",
        ] {
            assert_eq!(expected(host), host == "notlocal", "{host}");
        }
        assert!(is_expected(None, Some(&ours)) && is_expected(Some("evil.example"), None));
    }

    #[test]
    fn pages_are_told_from_clients_and_from_people() {
        let headers = |name: &'static str, value: &'static str| {
            HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
        };
        for site in ["cross-site", "same-site", "same-origin"] {
            assert!(is_page(&headers("sec-fetch-site", site)));
        }
        assert!(is_page(&headers("origin", "null")));
        assert!(!is_page(&headers("sec-fetch-site", "none")) && !is_page(&headers("user-agent", "Transmission/4")));
    }
}
