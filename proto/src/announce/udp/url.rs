//! How a UDP tracker is written: `udp://host:port/path?query`.

use crate::announce::TrackerError;
use crate::limits;
use std::str::FromStr;

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4, without the length octets).
const HOST_LENGTH: usize = 253;

/// The announce URL of a UDP tracker.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UdpUrl {
    /// A host name or an IP address; an IPv6 address in brackets.
    pub host: String,
    /// The UDP port; BEP 15 knows no usual one, so it is always told.
    pub port: u16,
    /// Path and query, for the tracker (BEP 41); empty for a path of `/` alone.
    pub url_data: String,
}

impl UdpUrl {
    /// `host:port`, as it is resolved.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl FromStr for UdpUrl {
    type Err = TrackerError;

    /// Reads an announce URL.
    fn from_str(text: &str) -> Result<Self, TrackerError> {
        let unsupported = |why: &str| TrackerError::Unsupported(format!("{text}: {why}"));
        if text.len() > limits::URL_LENGTH {
            return Err(TrackerError::Unsupported("a URL that is too long".into()));
        }
        let url = url::Url::parse(text).map_err(|_| unsupported("it is not of the form udp://host:port"))?;
        let bare = url.scheme() == "udp" && url.username().is_empty() && url.password().is_none();
        let host = url.host_str().filter(|host| bare && (1..=HOST_LENGTH).contains(&host.len()));
        let host = host.ok_or_else(|| unsupported("it is not of the form udp://host:port"))?.to_ascii_lowercase();
        let port = url.port().filter(|&port| port != 0).ok_or_else(|| unsupported("it names no port"))?;
        let path = if url.path() == "/" && url.query().is_none() { "" } else { url.path() };
        let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
        let url_data = format!("{path}{query}");
        // Characters outside ASCII are longer in it than they were in the text.
        if url_data.len() > limits::URL_LENGTH {
            return Err(TrackerError::Unsupported("a URL that is too long".into()));
        }
        Ok(Self { host, port, url_data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, String) {
        let url: UdpUrl = text.parse().unwrap();
        (url.authority(), url.url_data)
    }

    #[test]
    fn host_port_and_what_the_tracker_is_told_of_the_rest() {
        let is = |text, authority: &str, url_data: &str| assert_eq!(parts(text), (authority.into(), url_data.into()));
        is("udp://Tracker.example:6969/announce", "tracker.example:6969", "/announce");
        is("UDP://192.0.2.1:80", "192.0.2.1:80", "");
        is("udp://[2001:db8::1]:80/", "[2001:db8::1]:80", "");
        is("udp://h:1?key=a", "h:1", "?key=a");
        is("udp://h:1/?key=a#part", "h:1", "/?key=a");
        is("udp://h:1/a%20b/c d", "h:1", "/a%20b/c%20d");
    }

    #[test]
    fn what_is_no_udp_url_is_refused() {
        let long = format!("udp://h:1/{}", "\u{fffd}".repeat(600));
        let long_host = format!("udp://{}:1", "h".repeat(254));
        let wrong = ["", "udp:", "udp://", "udp://:1", "udp://h", "udp://h:0", "udp://h:70000", "http://h:1/", "h:1"];
        for text in wrong.into_iter().chain([long.as_str(), &long_host, "udp://u@h:1", "udp://u:p@h:1", "udp:///a"]) {
            assert!(matches!(text.parse::<UdpUrl>(), Err(TrackerError::Unsupported(_))), "{text}");
        }
    }
}
