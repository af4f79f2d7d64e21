//! What may stand behind an announce (BEP 41).

use super::fields::Fields;
use crate::limits;
use percent_encoding::percent_decode;

const END: u8 = 0;
const NOTHING: u8 = 1;
const URL_DATA: u8 = 2;
/// Bytes that one option carries.
const OPTION_LENGTH: usize = 255;

/// The options of an announce, as they came.
///
/// Clients put many things there, so nothing behind an announce is a fault: reading ends at what makes no sense, and
/// passes over options that it does not know.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options<'d>(pub &'d [u8]);

impl Options<'_> {
    /// Path and query of the URL that the client announces to, still escaped; empty if it does not say them. What is
    /// longer than [`limits::URL_LENGTH`] is cut there.
    pub fn url_data(&self) -> Vec<u8> {
        let (mut rest, mut data) = (Fields(self.0), Vec::new());
        while let Some([kind]) = rest.array() {
            if kind == END {
                break;
            }
            if kind == NOTHING {
                continue;
            }
            let Some([length]) = rest.array() else { break };
            let Some((text, behind)) = rest.0.split_at_checked(length.into()) else { break };
            if kind == URL_DATA {
                data.extend_from_slice(text);
            }
            rest.0 = behind;
        }
        data.truncate(limits::URL_LENGTH);
        data
    }

    /// The path of that URL, with its escapes resolved: what it means over HTTP too.
    pub fn path(&self) -> Vec<u8> {
        let mut data = self.url_data();
        data.truncate(data.iter().position(|&byte| byte == b'?').unwrap_or(data.len()));
        percent_decode(&data).collect()
    }
}

/// Writes path and query as options, if there are any.
pub(super) fn write_url_data(url_data: &str, out: &mut Vec<u8>) {
    if url_data.is_empty() {
        return;
    }
    for part in url_data.as_bytes().chunks(OPTION_LENGTH) {
        out.push(URL_DATA);
        // A part has 255 bytes at most.
        out.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(part);
    }
    out.push(END);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> String {
        String::from_utf8(Options(bytes).url_data()).unwrap()
    }

    #[test]
    fn url_data_is_read_in_parts() {
        assert_eq!(read(b"\x02\x04/key"), "/key");
        assert_eq!(read(b"\x02\x02/k\x01\x01\x02\x02ey\0\x02\x01x"), "/key", "no-ops between, the end before the rest");
        assert_eq!(read(b"\x07\x02ab\x02\x02/k"), "/k", "an option that nobody knows");
        assert_eq!(read(b""), "");
    }

    #[test]
    fn the_path_is_what_it_is_over_http() {
        for (url_data, path) in [
            ("/k~1/announce", "/k~1/announce"),
            ("/k%7e1/%61nnounce?x=%41", "/k~1/announce"),
            ("/a%3fb/announce", "/a?b/announce"),
            ("/a%7", "/a%7"),
            ("?/x", ""),
            ("", ""),
        ] {
            let mut bytes = Vec::new();
            write_url_data(url_data, &mut bytes);
            assert_eq!(Options(&bytes).path(), path.as_bytes(), "{url_data}");
        }
    }

    #[test]
    fn what_makes_no_sense_ends_the_options() {
        for odd in [b"\x02".as_slice(), b"\x02\x05/key", b"\x09\xff", b"\0", b"\0\x02\x01a", b"\x01\x01\x01"] {
            assert_eq!(read(odd), "", "{odd:?}");
        }
        assert_eq!(read(b"\x02\x01/\x02\x03a"), "/", "what came before counts");
        let endless = [b"\x02\xff".as_slice(), &[b'a'; 255]].concat().repeat(200);
        assert_eq!(read(&endless).len(), limits::URL_LENGTH);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(text in "[ -~]{0,2048}", more: Vec<u8>) {
            let mut bytes = Vec::new();
            write_url_data(&text, &mut bytes);
            if !text.is_empty() {
                bytes.extend(more);
            }
            prop_assert_eq!(read(&bytes), text);
        }

        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            Options(&bytes).url_data();
        }
    }
}
