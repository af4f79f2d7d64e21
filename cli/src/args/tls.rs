//! Options of TLS.

use super::values;
use clap::{Args, ValueHint};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Options of TLS in front of the HTTP dialect.
#[derive(Args, Debug)]
pub(crate) struct TlsArguments {
    /// Speak HTTP over TLS here; may be given more than once.
    #[arg(long, value_name = "ADDR:PORT", value_parser = values::listen, requires_all = ["tls_cert", "tls_key"])]
    pub(crate) tls: Vec<SocketAddr>,

    /// The certificate for TLS, in PEM, with those that vouch for it behind it.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The key to the certificate, in PEM.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "tls")]
    pub(crate) tls_key: Option<PathBuf>,
}
