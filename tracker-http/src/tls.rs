//! TLS in front of the same connections: certificates that can be exchanged while it runs, and tickets instead of sessions.
//!
//! Nothing is remembered of a client: what it needs to come back sooner lies, sealed, with itself. The key of the seal changes
//! every few hours and outlives a change of certificates.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::{ServerConfig, crypto::ring};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// In this time the two sides must have agreed: a few round trips, and some arithmetic.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Tickets for each full handshake: clients keep one connection open, and come back with one.
const TICKETS: usize = 1;

/// Where TLS is spoken, and by which certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsConfig {
    /// Addresses to listen at; port 0 takes a free one. `[::]` as in
    /// [`HttpTrackerConfig::listen`](crate::HttpTrackerConfig::listen).
    pub listen: Vec<SocketAddr>,
    /// The certificate and those that vouch for it, in PEM, its own first.
    pub certificate: PathBuf,
    /// The key to it, in PEM.
    pub key: PathBuf,
}

/// What TLS connections need.
pub(crate) struct Tls {
    files: TlsConfig,
    tickets: Arc<dyn ProducesTickets>,
    current: RwLock<Arc<ServerConfig>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// One cannot be read, has nothing of use in it, or the key is not that of the certificate; the error names the file.
    pub(crate) fn new(files: TlsConfig) -> io::Result<Self> {
        let tickets = ring::Ticketer::new().map_err(io::Error::other)?;
        let current = RwLock::new(Arc::new(load(&files, &tickets)?));
        Ok(Self { files, tickets, current })
    }

    /// Reads the files again, for the connections that come from now on.
    ///
    /// # Errors
    /// As [`Tls::new`]; then all stays as it is.
    pub(crate) fn reload(&self) -> io::Result<()> {
        let fresh = Arc::new(load(&self.files, &self.tickets)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Agrees with a client on how to speak.
    ///
    /// # Errors
    /// What it says makes no sense, or it takes too long.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> io::Result<TlsStream<S>> {
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(current).accept(stream)).await?
    }
}

fn load(files: &TlsConfig, tickets: &Arc<dyn ProducesTickets>) -> io::Result<ServerConfig> {
    let wrong = |path: &Path, what: &dyn fmt::Display| {
        io::Error::new(io::ErrorKind::InvalidData, format!("cannot speak TLS with {}: {what}", path.display()))
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.map_err(|error| wrong(&files.certificate, &error))?;
    if chain.is_empty() {
        return Err(wrong(&files.certificate, &"no certificate in PEM is in it"));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| wrong(&files.key, &error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(tickets);
    config.send_tls13_tickets = TICKETS;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
