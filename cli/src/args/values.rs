//! Values as people type them: sizes, rates, durations, addresses and tiers.
//!
//! Each function takes the text of one option and says in plain words what is wrong with it. Nothing here resolves a
//! name or touches a file.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// Seconds between two announces of a peer at most. A tracker forgets whoever was silent for nine hours, and a peer that could
/// not announce once shall not be forgotten.
const LONGEST_INTERVAL_S: u64 = 4 * 3_600;

/// How long pieces shall be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PieceLength {
    /// By the size of the content.
    Automatic,
    /// So many bytes.
    Bytes(u32),
}

/// Trackers that are asked in place of one another (BEP 12).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tier(pub(crate) Vec<String>);

/// A host name or an address with a port, not yet resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct HostPort {
    /// Name, IPv4 address, or IPv6 address without brackets.
    pub(crate) host: String,
    /// Never 0.
    pub(crate) port: u16,
}

impl fmt::Display for HostPort {
    /// As it was typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A number of bytes: `700`, `256K`, `1.5M`, `64KiB`, `2GB`. All units are powers of 1,024.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let explain = || format!("'{text}' is not a size; write a number of bytes, or one with K, M, G or T, such as 256K");
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let exponent = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(explain()),
    };
    let multiplier = 1_u64 << exponent;
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(multiplier).ok_or_else(|| format!("'{text}' is too large"));
    }
    let fraction = number.parse::<f64>().map_err(|_| explain())?;
    Duration::try_from_secs_f64(fraction)
        .ok()
        .and_then(|scaled| u64::try_from(scaled.as_nanos() * u128::from(multiplier) / 1_000_000_000).ok())
        .ok_or_else(|| format!("'{text}' is too large"))
}

/// A rate in bytes a second: a [`size`], with or without `/s`; never 0.
pub(crate) fn rate(text: &str) -> Result<u64, String> {
    match size(text.strip_suffix("/s").unwrap_or(text))? {
        0 => Err("a rate of 0 would never transfer anything; leave the option out for no limit".to_owned()),
        rate => Ok(rate),
    }
}

/// A span of time: `90` (seconds), `90s`, `15m`, `2h`, `1h30m`, `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let explain = || format!("'{text}' is not a duration; write seconds, or a number with s, m, h or d, such as 1h30m");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let split = rest.find(|c: char| !c.is_ascii_digit()).filter(|&at| at > 0).ok_or_else(explain)?;
        let (number, tail) = rest.split_at(split);
        let mut tail = tail.chars();
        let unit = match tail.next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(explain()),
        };
        let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
        total = seconds.and_then(|seconds| total.checked_add(seconds)).ok_or_else(explain)?;
        rest = tail.as_str();
    }
    if text.is_empty() { Err(explain()) } else { Ok(Duration::from_secs(total)) }
}

/// A [`duration`] between two requests; never 0.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    let usable = !interval.is_zero();
    usable.then_some(interval).ok_or_else(|| "an interval of 0 would mean without a pause".to_owned())
}

/// An [`interval`] between two announces of a peer, four hours at most.
pub(crate) fn announce_interval(text: &str) -> Result<Duration, String> {
    let interval = interval(text)?;
    let kept = interval.as_secs() <= LONGEST_INTERVAL_S;
    kept.then_some(interval).ok_or_else(|| "peers are forgotten that announce less often than every 4h".to_owned())
}

/// `auto`, or a power of two between 16 KiB and 16 MiB.
pub(crate) fn piece_length(text: &str) -> Result<PieceLength, String> {
    if text.eq_ignore_ascii_case("auto") {
        return Ok(PieceLength::Automatic);
    }
    let bytes = size(text)?;
    match u32::try_from(bytes) {
        Ok(bytes) if bytes.is_power_of_two() && (16 << 10..=16 << 20).contains(&bytes) => Ok(PieceLength::Bytes(bytes)),
        _ => Err("a piece length is 'auto' or a power of two from 16K to 16M".to_owned()),
    }
}

/// A ratio of bytes sent to bytes of content, such as `1.5`.
pub(crate) fn ratio(text: &str) -> Result<f64, String> {
    let ratio = text.parse::<f64>().map_err(|_| format!("'{text}' is not a number"))?;
    let usable = ratio.is_finite() && ratio >= 0.0;
    usable.then_some(ratio).ok_or_else(|| "a ratio is 0 or more".to_owned())
}

/// An announce URL: `http`, `https`, `udp` or `native`.
pub(crate) fn tracker(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", ""));
    let known = ["http", "https", "native", "udp"].iter().any(|name| scheme.eq_ignore_ascii_case(name));
    let clean = !text.contains(|c: char| c.is_control() || c.is_whitespace());
    if known && clean && !rest.is_empty() && !rest.starts_with('/') {
        return Ok(text.to_owned());
    }
    Err("a tracker is a URL such as http://host:6969/announce or native://host:6970, a private one with your key in it \
         (http://host:6969/KEY/announce, native://host:6970/KEY)"
        .to_owned())
}

/// [`tracker`]s with commas between them.
pub(crate) fn tier(text: &str) -> Result<Tier, String> {
    text.split(',').map(tracker).collect::<Result<_, _>>().map(Tier)
}

/// `HOST:PORT`; an IPv6 address stands in brackets.
pub(crate) fn host_port(text: &str) -> Result<HostPort, String> {
    let explain = || format!("'{text}' is not HOST:PORT; write for example 192.168.1.5:6881, [::1]:6881 or box:6881");
    let (host, port) = text.rsplit_once(':').ok_or_else(explain)?;
    let port = port.parse::<u16>().ok().filter(|&port| port > 0).ok_or_else(explain)?;
    let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(Some(address)) if address.parse::<std::net::Ipv6Addr>().is_ok() => address,
        None if !host.is_empty() && !host.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) => host,
        _ => return Err(explain()),
    };
    Ok(HostPort { host: host.to_owned(), port })
}

/// An address and a port to listen on; `:PORT` means every address of this machine.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, String> {
    let full = if text.starts_with(':') { format!("[::]{text}") } else { text.to_owned() };
    full.parse().map_err(|_| format!("'{text}' is not ADDR:PORT; write for example 0.0.0.0:6881, [::]:6881 or :6881"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("700"), Ok(700));
        assert_eq!(size("256K"), Ok(256 << 10));
        assert_eq!(size("64 KiB"), Ok(64 << 10));
        assert_eq!(size("1.5m"), Ok(3 << 19));
        assert_eq!(size("2GB"), Ok(2 << 30));
        for bad in ["", "K", "-1", "5X", "1e9", "..", "1.2.3M", "99999999999T", "nan"] {
            assert!(size(bad).is_err(), "{bad}");
        }
        assert_eq!(rate("5M/s"), Ok(5 << 20));
        assert!(rate("0").is_err());
    }

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(interval("0s").is_err() && interval("1s").is_ok());
        assert!(announce_interval("4h").is_ok() && announce_interval("0").is_err());
        assert!(announce_interval("4h1s").is_err() && announce_interval("18446744073709551615").is_err());
        for bad in ["", "h", "1x", "1h30", "-5", "99999999999999999999d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn piece_lengths() {
        assert_eq!(piece_length("auto"), Ok(PieceLength::Automatic));
        assert_eq!(piece_length("16K"), Ok(PieceLength::Bytes(16_384)));
        assert_eq!(piece_length("16777216"), Ok(PieceLength::Bytes(1 << 24)));
        for bad in ["0", "8K", "32M", "100K", "99G"] {
            assert!(piece_length(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses() {
        assert_eq!(host_port("box:1"), Ok(HostPort { host: "box".to_owned(), port: 1 }));
        assert_eq!(host_port("[::1]:80").map(|peer| peer.host), Ok("::1".to_owned()));
        assert_eq!(host_port("[::1]:80").map(|peer| peer.to_string()), Ok("[::1]:80".to_owned()));
        for bad in ["box", "box:0", "box:65536", "::1:80", "[::1]", "[box]:1", ":1", "a b:1"] {
            assert!(host_port(bad).is_err(), "{bad}");
        }
        assert_eq!(listen(":7001").map(|address| address.port()), Ok(7001));
        assert!(listen("7001").is_err());
    }

    #[test]
    fn trackers_and_tiers() {
        let both = tier("http://a/announce,native://b:6970");
        assert_eq!(both.map(|tier| tier.0.len()), Ok(2));
        for bad in ["", "a:80", "ftp://a", "http://", "http:///x", "http://a b", "http://a,"] {
            assert!(tier(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ratios() {
        assert_eq!(ratio("1.5"), Ok(1.5));
        assert!(ratio("-1").is_err() && ratio("inf").is_err() && ratio("x").is_err());
    }
}
