//! Where a metainfo comes from: a file, a web server, or the catalogue of a native tracker.
//!
//! Owns the fetching, with a bound on size and time; what the bytes mean is up to [`swarm_proto::metainfo`].

use crate::tracker::native;
use crate::web::{Web, WebError};
use bytes::Bytes;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;
use swarm_proto::announce::Reach;
use swarm_proto::limits;
use swarm_proto::native::{NativeUrl, NativeUrlError};

/// How long a web server may take for the whole metainfo.
const WEB_TIMEOUT: Duration = Duration::from_secs(120);

/// Why there is no metainfo.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file system said no.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What came of it.
        source: io::Error,
    },
    /// The file is a folder, a device, or larger than any metainfo.
    #[error("{} {reason}", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is instead, and what to do.
        reason: &'static str,
    },
    /// The server did not send it.
    #[error("cannot fetch {url}: {reason}")]
    Server {
        /// Where.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// What came is no metainfo.
    #[error("{origin} is not a metainfo file: {reason}")]
    NotMetainfo {
        /// Path or URL.
        origin: String,
        /// What it is instead, and what to do.
        reason: &'static str,
    },
    /// Nothing that we can fetch.
    #[error("{0}: give a path, an http or https URL of a metainfo file, or native://HOST:PORT/NAME")]
    Scheme(String),
}

/// Fetches the bytes of a metainfo: `source` is a path, an `http(s)://` URL, or `native://HOST:PORT/NAME`.
///
/// # Errors
/// [`SourceError`], which says what is wrong, where, and what to do.
pub async fn load_metainfo(source: &str) -> Result<Bytes, SourceError> {
    let scheme = source.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    let bytes = match scheme.as_deref() {
        Some("http" | "https") => from_web(source).await?,
        Some("native") => from_catalogue(source).await?,
        // A path may contain anything, and what exists is what was meant.
        Some(_) if !Path::new(source).exists() => return Err(SourceError::Scheme(source.into())),
        None if source.starts_with("magnet:") => return Err(SourceError::Scheme(source.into())),
        _ => from_file(source.into()).await?,
    };
    check(source, &bytes)?;
    Ok(bytes)
}

async fn from_file(path: PathBuf) -> Result<Bytes, SourceError> {
    let reading = tokio::task::spawn_blocking(move || read_file(&path));
    reading
        .await
        .unwrap_or_else(|error| Err(SourceError::File { path: PathBuf::new(), source: io::Error::other(error) }))
}

fn read_file(path: &Path) -> Result<Bytes, SourceError> {
    let failed = |source| SourceError::File { path: path.into(), source };
    let not_a_file = |reason| SourceError::NotAFile { path: path.into(), reason };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    let kind = metadata.file_type();
    if kind.is_dir() {
        return Err(not_a_file("is a folder; give the metainfo file that describes it"));
    }
    if !kind.is_file() {
        return Err(not_a_file("is not a regular file"));
    }
    let limit = limits::METAINFO_LENGTH as u64;
    // All of it at once: growing step by step, 80 MB would need twice the room. One byte more shows the end of the file.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(limit) + 1).unwrap_or(0));
    File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut bytes)).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(not_a_file("is larger than any metainfo file; is it the content itself?"));
    }
    Ok(bytes.into())
}

async fn from_web(url: &str) -> Result<Bytes, SourceError> {
    let failed = |reason: String| SourceError::Server { url: url.into(), reason };
    let web = Web::default();
    let fetched = tokio::time::timeout(WEB_TIMEOUT, web.get(url, Reach::Loopback, limits::METAINFO_LENGTH))
        .await
        .map_err(|_| failed(format!("no whole answer within {} s", WEB_TIMEOUT.as_secs())))?;
    let fetched = fetched.map_err(|error: WebError| failed(error.to_string()))?;
    if !fetched.status.is_success() {
        return Err(failed(format!("HTTP status {}", fetched.status)));
    }
    Ok(fetched.body)
}

async fn from_catalogue(url: &str) -> Result<Bytes, SourceError> {
    let failed = |reason: String| SourceError::Server { url: url.into(), reason };
    let entry: NativeUrl = url.parse().map_err(|error: NativeUrlError| failed(error.to_string()))?;
    native::fetch_metainfo(&entry).await.map_err(|error| failed(error.to_string()))
}

/// Tells the usual mistakes apart; the parser finds the others.
fn check(origin: &str, bytes: &[u8]) -> Result<(), SourceError> {
    let reason = match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => "it is empty",
        Some(b'<') => "it is a web page; give the link to the file itself",
        Some(b'd') => return Ok(()),
        Some(_) => "it does not begin with a bencoded dictionary",
    };
    Err(SourceError::NotMetainfo { origin: origin.into(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::tests::{ok, server};

    async fn error(source: &str) -> String {
        load_metainfo(source).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("a.meta"), "d4:infodee").unwrap();
        assert_eq!(load_metainfo(&path("a.meta")).await.unwrap(), "d4:infodee");
        assert_eq!(
            error(&path("none")).await,
            format!("cannot read {}: No such file or directory (os error 2)", path("none"))
        );
        let here = folder.path().to_str().unwrap();
        assert_eq!(error(here).await, format!("{here} is a folder; give the metainfo file that describes it"));
        std::fs::write(path("empty"), "").unwrap();
        assert_eq!(error(&path("empty")).await, format!("{} is not a metainfo file: it is empty", path("empty")));
        File::create(path("big")).unwrap().set_len(limits::METAINFO_LENGTH as u64 + 1).unwrap();
        assert!(error(&path("big")).await.ends_with("is larger than any metainfo file; is it the content itself?"));
        assert!(error("/dev/zero").await.ends_with("is not a regular file"));
    }

    #[tokio::test]
    async fn web_servers_are_asked() {
        let address = server(|target| match target {
            "/a.meta" => ok("d4:infodee"),
            "/page" => ok("\n<!doctype html>"),
            "/garbage" => ok("PK"),
            _ => b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n\r\n<html>".to_vec(),
        })
        .await;
        let url = |path: &str| format!("http://{address}{path}");
        assert_eq!(load_metainfo(&url("/a.meta")).await.unwrap(), "d4:infodee");
        assert_eq!(error(&url("/x")).await, format!("cannot fetch {}: HTTP status 404 Not Found", url("/x")));
        assert!(error(&url("/page")).await.ends_with("it is a web page; give the link to the file itself"));
        assert!(error(&url("/garbage")).await.ends_with("it does not begin with a bencoded dictionary"));
    }

    #[tokio::test]
    async fn other_schemes_are_named() {
        for source in ["ftp://host/a.meta", "magnet:?xt=urn:btih:1", "file:///etc/passwd"] {
            assert!(error(source).await.starts_with(&format!("{source}: give a path, an http")));
        }
    }
}
