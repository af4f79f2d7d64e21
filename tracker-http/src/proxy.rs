//! Whom a request comes from when a reverse proxy brings it.
//!
//! Only what a trusted proxy has written counts, and it writes at the right end: from there, the first address that is no
//! trusted proxy is the asker. What stands left of it may have been made up by the asker.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// Hops that are looked at; chains of proxies are shorter.
const HOPS: usize = 16;

/// A range of addresses, such as `10.0.0.0/8`, `fd00::/8` or `192.0.2.1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IpNetwork {
    /// IPv4 as mapped into IPv6.
    first: u128,
    mask: u128,
}

/// Text that is no range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NetworkError;

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an address or a range such as 10.0.0.0/8 or fd00::/8")
    }
}

impl std::error::Error for NetworkError {}

impl FromStr for IpNetwork {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (ip, length) = match text.split_once('/') {
            Some((ip, length)) => (ip, Some(length)),
            None => (text, None),
        };
        let ip: IpAddr = ip.parse().map_err(|_| NetworkError)?;
        let (bits, before) = if ip.is_ipv4() { (32, 96) } else { (128, 0) };
        let length = match length {
            // Only digits: `+8` is a number for the parser, too.
            Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
                length.parse().map_err(|_| NetworkError)?
            }
            Some(_) => return Err(NetworkError),
            None => bits,
        };
        if length > bits {
            return Err(NetworkError);
        }
        let mask = u128::MAX.checked_shl(128 - before - length).unwrap_or(0);
        Ok(Self { first: bits_of(ip) & mask, mask })
    }
}

impl IpNetwork {
    /// Whether the address lies in the range; an IPv4 address in the clothes of IPv6 counts as what it is.
    pub fn contains(&self, ip: IpAddr) -> bool {
        bits_of(ip) & self.mask == self.first
    }
}

fn bits_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// Reverse proxies whose word on the asker's address is taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxies {
    /// Where they are. From anywhere else the header means nothing.
    pub trusted: Vec<IpNetwork>,
    /// The header in which they name the asker: a list of addresses such as `X-Forwarded-For`, or one such as `X-Real-IP`, or
    /// `Forwarded` (RFC 7239).
    pub header: String,
}

impl Default for Proxies {
    /// None; `X-Forwarded-For`.
    fn default() -> Self {
        Self { trusted: Vec::new(), header: "X-Forwarded-For".into() }
    }
}

/// Why it is not known who asks; the text is fit for `failure reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unknown {
    Missing,
    Garbled,
}

impl Unknown {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Missing => "the proxy does not say who asks",
            Self::Garbled => "what the proxy says of who asks is garbled",
        }
    }
}

impl Proxies {
    pub(crate) fn trusts(&self, ip: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(ip))
    }

    pub(crate) fn is_header(&self, name: &str) -> bool {
        self.header.eq_ignore_ascii_case(name)
    }

    /// Whom a trusted proxy names, from the values of all such headers in their order.
    ///
    /// If all that are named are trusted proxies, the first of them asks for itself.
    pub(crate) fn asker<'v>(&self, values: impl DoubleEndedIterator<Item = &'v [u8]>) -> Result<IpAddr, Unknown> {
        let forwarded = self.is_header("forwarded");
        let mut last = Err(Unknown::Missing);
        let hops = values.rev().flat_map(|value| value.rsplit(|&byte| byte == b','));
        for hop in hops.take(HOPS) {
            let ip = address(hop, forwarded).ok_or(Unknown::Garbled)?;
            last = Ok(ip);
            if !self.trusts(ip) {
                break;
            }
        }
        last
    }
}

/// Reads one hop: an address, perhaps with a port; in `Forwarded`, that of its `for`.
fn address(hop: &[u8], forwarded: bool) -> Option<IpAddr> {
    let hop = std::str::from_utf8(hop).ok()?.trim_matches([' ', '\t']);
    let hop = if forwarded { node(hop)? } else { hop };
    let ip = hop.parse().ok();
    let ip = ip.or_else(|| hop.parse().ok().map(|address: SocketAddr| address.ip()));
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let ip = ip.or_else(bracketed)?.to_canonical();
    (!ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
}

/// The node of `for=` in an element of `Forwarded`, without quotes.
fn node(element: &str) -> Option<&str> {
    let mut named = element.split(';').filter_map(|pair| {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let value = named.next()?;
    let unquoted = value.strip_prefix('"').map_or(Some(value), |rest| rest.strip_suffix('"'));
    unquoted.filter(|_| named.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(header: &str) -> Proxies {
        let trusted = ["10.0.0.0/8", "fd00::/8", "127.0.0.1"].map(|text| text.parse().unwrap());
        Proxies { trusted: trusted.into(), header: header.into() }
    }

    fn ask(header: &str, values: &[&str]) -> Result<String, Unknown> {
        proxies(header).asker(values.iter().map(|value| value.as_bytes())).map(|ip| ip.to_string())
    }

    #[test]
    fn ranges_are_read() {
        let network = |text: &str| text.parse::<IpNetwork>();
        let within = |range: &str, ip: &str| network(range).unwrap().contains(ip.parse().unwrap());
        assert!(within("10.0.0.0/8", "10.255.0.1") && !within("10.0.0.0/8", "11.0.0.0"));
        assert!(within("10.1.2.3/8", "10.9.9.9"), "bits behind the prefix do not matter");
        assert!(within("192.0.2.1", "::ffff:192.0.2.1") && !within("192.0.2.1", "192.0.2.2"));
        assert!(within("0.0.0.0/0", "1.2.3.4") && !within("0.0.0.0/0", "2001:db8::1"));
        assert!(within("::/0", "2001:db8::1") && within("fd00::/8", "fdff::1") && !within("fd00::/8", "fe80::1"));
        assert!(within("2001:db8::/33", "2001:db8:7fff::") && !within("2001:db8::/33", "2001:db8:8000::"));
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "a/8", "10.0.0.0/8/8", "/8"]
        {
            assert_eq!(network(text), Err(NetworkError), "{text}");
        }
    }

    #[test]
    fn the_right_most_hop_that_is_not_ours_asks() {
        let of = |values: &[&str]| ask("X-Forwarded-For", values).unwrap();
        assert_eq!(of(&["192.0.2.1"]), "192.0.2.1");
        assert_eq!(of(&["203.0.113.9, 192.0.2.1, 10.0.0.7"]), "192.0.2.1", "the left was made up by the asker");
        assert_eq!(of(&["203.0.113.9", "192.0.2.1,10.0.0.7", "10.0.0.8"]), "192.0.2.1", "several headers are one list");
        assert_eq!(of(&["garbage, 192.0.2.1"]), "192.0.2.1", "what stands left of the asker is nobody's business");
        assert_eq!(of(&["10.0.0.1, 10.0.0.2"]), "10.0.0.1", "a proxy that asks for itself");
        assert_eq!(of(&["\t2001:db8::1 "]), "2001:db8::1");
        assert_eq!(of(&["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(of(&["[2001:db8::1]"]), "2001:db8::1");
        assert_eq!(of(&["192.0.2.1:5000"]), "192.0.2.1");
        assert_eq!(of(&["::ffff:192.0.2.1, ::ffff:10.0.0.1"]), "192.0.2.1");
    }

    #[test]
    fn what_is_garbled_is_refused() {
        for value in [
            "",
            " ",
            ",",
            "192.0.2.1,",
            ",192.0.2.1,,",
            "unknown",
            "a.example",
            "192.0.2.1;",
            "192.0.2.256",
            "192.0.2.1 192.0.2.2",
            "192.0.2.1:",
            "192.0.2.1:99999",
            "[::1",
            "::1]",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "192.0.2.1, unknown, 10.0.0.1",
            "\u{e4}",
        ] {
            assert_eq!(ask("X-Forwarded-For", &[value]), Err(Unknown::Garbled), "{value:?}");
        }
        assert_eq!(ask("X-Forwarded-For", &[]), Err(Unknown::Missing));
        let bytes = proxies("X-Real-IP").asker([b"\xff\xfe".as_slice()].into_iter());
        assert_eq!(bytes, Err(Unknown::Garbled));
        let long = vec!["10.0.0.1"; 1_000].join(",");
        assert_eq!(ask("X-Forwarded-For", &[&long]), Ok("10.0.0.1".into()));
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        let of = |value: &str| ask("forwarded", &[value]);
        assert_eq!(of("for=192.0.2.1"), Ok("192.0.2.1".into()));
        assert_eq!(of("For=\"[2001:db8::1]:4711\"; proto=http"), Ok("2001:db8::1".into()));
        assert_eq!(of("for=203.0.113.9, proto=http;for=192.0.2.1;by=10.0.0.3, for=10.0.0.7"), Ok("192.0.2.1".into()));
        for value in [
            "192.0.2.1",
            "for=unknown",
            "for=_hidden",
            "by=192.0.2.1",
            "for=\"192.0.2.1",
            "for=192.0.2.1;for=192.0.2.2",
        ] {
            assert_eq!(of(value), Err(Unknown::Garbled), "{value}");
        }
    }
}
