//! How a native tracker, or an entry of its catalogue, is written: `native://host[:port][/KEY][/NAME]`.

use super::name::{Name, NameError};
use super::passkey::{Passkey, PasskeyError};
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
    /// Our key, where the tracker is private.
    pub passkey: Option<Passkey>,
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
    /// What stands where the key of a private tracker does is none.
    #[error("{0}")]
    Passkey(#[from] PasskeyError),
}

impl NativeUrl {
    /// Reads the address of a tracker, such as an announce URL: what stands alone behind the port is a key there, for it can be no
    /// name.
    ///
    /// # Errors
    /// [`NativeUrlError`].
    pub fn tracker(text: &str) -> Result<Self, NativeUrlError> {
        let (tracker, path) = split(text)?;
        match path.trim_start_matches('/') {
            "" => Ok(tracker),
            path if path.contains('/') => tracker.with_path(path),
            key => Ok(Self { passkey: Some(key.parse()?), ..tracker }),
        }
    }

    /// `host:port`, as it is resolved and dialled.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Reads `KEY/NAME`, `KEY/` or `NAME`.
    fn with_path(self, path: &str) -> Result<Self, NativeUrlError> {
        let (key, name) = path.split_once('/').map_or((None, path), |(key, name)| (Some(key), name));
        let name = percent_decode_str(name).decode_utf8().map_err(|_| NativeUrlError::Form)?;
        let passkey = key.map(str::parse).transpose()?;
        Ok(Self { passkey, name: if name.is_empty() { None } else { Some(Name::new(&name)?) }, ..self })
    }
}

/// The longest name of a host, in bytes (RFC 1035, section 2.3.4, without the length octets).
const HOST_LENGTH: usize = 253;

/// The tracker, and the path behind it.
fn split(text: &str) -> Result<(NativeUrl, String), NativeUrlError> {
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
    let host = host.ok_or(NativeUrlError::Form)?.to_ascii_lowercase();
    let port = url.port().unwrap_or(DEFAULT_PORT);
    Ok((NativeUrl { host, port, passkey: None, name: None }, url.path().to_owned()))
}

impl FromStr for NativeUrl {
    type Err = NativeUrlError;

    /// What stands alone behind the port is a name; a key has a `/` behind it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tracker, path) = split(text)?;
        tracker.with_path(path.trim_start_matches('/'))
    }
}

impl fmt::Display for NativeUrl {
    /// A form that both ways of reading take alike.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "native://{}", self.authority())?;
        if let Some(passkey) = &self.passkey {
            write!(f, "/{}{}", passkey.as_str(), if self.name.is_none() { "/" } else { "" })?;
        }
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
            "native://host:6970/5f3ac0de/",
            "native://host:6970/5f3ac0de/%C3%9C.iso",
        ] {
            assert_eq!(text.parse::<NativeUrl>().unwrap().to_string(), text);
        }
        let url: NativeUrl = "native://Host/Debian 13.iso".parse().unwrap();
        assert_eq!((url.authority().as_str(), url.name), ("host:6970", Some(Name::new("Debian 13.iso").unwrap())));
        assert_eq!("native://h/".parse::<NativeUrl>().unwrap().name, None);
    }

    #[test]
    fn a_key_stands_before_a_name_and_alone_where_there_can_be_none() {
        let parts = |url: NativeUrl| {
            let key = url.passkey.map(|key| key.as_str().to_owned()).unwrap_or_default();
            (key, url.name.map(|name| name.to_string()).unwrap_or_default())
        };
        for (text, entry, tracker) in [
            ("native://h", ("", ""), ("", "")),
            ("native://h/", ("", ""), ("", "")),
            ("native://h/k1", ("", "k1"), ("k1", "")),
            ("native://h/k1/", ("k1", ""), ("k1", "")),
            ("native://h/k1/a%20b", ("k1", "a b"), ("k1", "a b")),
        ] {
            let told = |(key, name): (&str, &str)| (key.to_owned(), name.to_owned());
            assert_eq!(parts(text.parse().unwrap()), told(entry), "{text}");
            assert_eq!(parts(NativeUrl::tracker(text).unwrap()), told(tracker), "{text}");
        }
        assert_eq!(NativeUrl::tracker("native://h/a%20b"), Err(NativeUrlError::Passkey(PasskeyError)));
        assert_eq!("native://h/a%20b/c".parse::<NativeUrl>(), Err(NativeUrlError::Passkey(PasskeyError)));
        assert_eq!(NativeUrl::tracker("http://h/a"), Err(NativeUrlError::Form));
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
        for (text, wrong) in [("native://h/k/a/b", '/'), ("native://h/a%2fb", '/'), ("native://h/a%00", '\0')] {
            assert_eq!(text.parse::<NativeUrl>(), Err(NativeUrlError::Name(NameError::Character(wrong))));
        }
        let wide = "\u{fffd}".repeat(60);
        assert_eq!(format!("native://h{wide}").parse::<NativeUrl>(), Err(NativeUrlError::Length));
        assert_eq!(format!("native://h/{}", "a".repeat(3_000)).parse::<NativeUrl>(), Err(NativeUrlError::Length));
    }
}
