//! The pages by which `share` hands out its metainfo: a list of one entry for people, and the metainfo itself.
//!
//! The HTTP tracker serves them, with a policy that lets nothing run, load or send.

use crate::render::text::printable;
use bytes::Bytes;
use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::HashMap;
use swarm_tracker_http::Page;

/// What a path element keeps as it is.
const PATH_ELEMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What the pages show.
#[derive(Clone, Debug)]
pub(crate) struct SharePage {
    /// Name of the metainfo file, with its ending.
    pub(crate) file_name: String,
    /// Its bytes.
    pub(crate) metainfo: Bytes,
    /// The line to run on other machines.
    pub(crate) command: String,
}

/// A file name as one element of a URL's path.
pub(crate) fn path_element(file_name: &str) -> String {
    utf8_percent_encode(file_name, PATH_ELEMENT).to_string()
}

impl SharePage {
    /// Both pages by their paths.
    pub(crate) fn pages(&self) -> HashMap<String, Page> {
        let metainfo =
            Page { content_type: HeaderValue::from_static("application/x-bittorrent"), body: self.metainfo.clone() };
        let index =
            Page { content_type: HeaderValue::from_static("text/html; charset=utf-8"), body: self.index().into() };
        HashMap::from([(format!("/{}", self.file_name), metainfo), ("/".to_owned(), index)])
    }

    /// The list, for people with a browser.
    fn index(&self) -> String {
        let (name, link) = (escape(&self.file_name), path_element(&self.file_name));
        let command = escape(&self.command);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n<h1>swarm</h1>\n\
             <p><a href=\"/{link}\">{name}</a></p>\n<p>To fetch it:</p>\n<pre>{command}</pre>\n\
             <p>Any other BitTorrent client can open the file too.</p>\n</html>\n"
        )
    }
}

/// Text that means nothing to an HTML parser.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in printable(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_and_never_markup() {
        let file_name = "a <b>\"ü.meta".to_owned();
        assert_eq!(path_element(&file_name), "a%20%3Cb%3E%22%C3%BC.meta");
        let page =
            SharePage { file_name, metainfo: Bytes::from_static(b"d4:infoe"), command: "swarm fetch 'x'".to_owned() };
        let pages = page.pages();
        assert_eq!(pages["/a <b>\"ü.meta"].body, page.metainfo);
        let html = String::from_utf8(pages["/"].body.to_vec()).unwrap();
        assert!(html.contains("<a href=\"/a%20%3Cb%3E%22%C3%BC.meta\">a &lt;b&gt;&quot;ü.meta</a>"), "{html}");
        assert!(html.contains("<pre>swarm fetch &#39;x&#39;</pre>") && !html.contains("<b>"), "{html}");
    }
}
