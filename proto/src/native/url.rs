//! How a native tracker, or an entry of its catalogue, is written: `native://host[:port][/NAME]`.

use super::name::{Name, NameError};
use crate::limits;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;
use std::str::FromStr;

/// The port of a native tracker whose URL tells none.
pub const DEFAULT_PORT: u16 = 6970;

/// RFC 3986 unreserved characters stay as they are.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A native tracker, or an entry of its catalogue.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NativeUrl {
    /// A host name or an IP address; an IPv6 address in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The entry; `None` for the tracker itself.
    pub name: Option<Name>,
}

/// Why a text is no native URL.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NativeUrlError {
    /// Not a URL at all, or one of another scheme, or with parts that mean nothing here.
    #[error("not of the form native://host:port/NAME")]
    Form,
    /// Longer than any URL that is taken.
    #[error("longer than {} bytes", limits::URL_LENGTH)]
    Length,
    /// The last part is no name.
    #[error("{0}")]
    Name(#[from] NameError),
}

impl NativeUrl {
    /// `host:port`, as it is resolved and dialled.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4, without the length octets).
const HOST_LENGTH: usize = 253;

impl FromStr for NativeUrl {
    type Err = NativeUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > limits::URL_LENGTH {
            return Err(NativeUrlError::Length);
        }
        let url = url::Url::parse(text).map_err(|_| NativeUrlError::Form)?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.port() != Some(0);
        let host = url.host_str().filter(|host| !host.is_empty() && url.scheme() == "native" && bare);
        // Characters outside ASCII are longer in it than they were in the text.
        if host.is_some_and(|host| host.len() > HOST_LENGTH) {
            return Err(NativeUrlError::Length);
        }
        let path = url.path().trim_start_matches('/');
        let name = percent_decode_str(path).decode_utf8().map_err(|_| NativeUrlError::Form)?;
        Ok(Self {
            host: host.ok_or(NativeUrlError::Form)?.to_ascii_lowercase(),
            port: url.port().unwrap_or(DEFAULT_PORT),
            name: if name.is_empty() { None } else { Some(Name::new(&name)?) },
        })
    }
}

impl fmt::Display for NativeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "native://{}", self.authority())?;
        self.name.iter().try_for_each(|name| write!(f, "/{}", utf8_percent_encode(name.as_str(), ENCODED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_round_trip() {
        for text in [
            "native://tracker.example:7000",
            "native://192.0.2.1:6970",
            "native://[2001:db8::1]:6970/a",
            "native://host:6970/%C3%9Cbung%201%25.iso",
            "native://host:6970/%23%3F",
        ] {
            assert_eq!(text.parse::<NativeUrl>().unwrap().to_string(), text);
        }
        let url: NativeUrl = "native://Host/Debian 13.iso".parse().unwrap();
        assert_eq!((url.authority().as_str(), url.name), ("host:6970", Some(Name::new("Debian 13.iso").unwrap())));
        assert_eq!("native://h/".parse::<NativeUrl>().unwrap().name, None);
    }

    #[test]
    fn what_is_no_native_url_is_refused() {
        for text in [
            "",
            "native:",
            "native://",
            "native:///a",
            "http://h/a",
            "native://u@h/a",
            "native://h/a?b",
            "native://h/a#b",
            "native://h:0/",
            "native://h:70000/",
            "native://h/%ff",
            "host:6970",
        ] {
            assert_eq!(text.parse::<NativeUrl>(), Err(NativeUrlError::Form), "{text}");
        }
        for (text, wrong) in [("native://h/a/b", '/'), ("native://h/a%2fb", '/'), ("native://h/a%00", '\0')] {
            assert_eq!(text.parse::<NativeUrl>(), Err(NativeUrlError::Name(NameError::Character(wrong))));
        }
        let wide = "\u{fffd}".repeat(60);
        assert_eq!(format!("native://h{wide}").parse::<NativeUrl>(), Err(NativeUrlError::Length));
        assert_eq!(format!("native://h/{}", "a".repeat(3_000)).parse::<NativeUrl>(), Err(NativeUrlError::Length));
    }
}
