//! Whom TLS connections trust.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use thiserror::Error;

/// Why upstreams cannot be spoken to with TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The system trusts nobody, and no certificate is configured.
    #[error(
        "ca_file: the system has no certificates to trust: install ca-certificates, or set this"
    )]
    NoRoots,
    /// The file of certificates cannot be used.
    #[error("ca_file = \"{file}\" is not allowed: a file with certificates in PEM ({why})")]
    File {
        /// The file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// rustls refuses what it was built with.
    #[error("url: TLS cannot be spoken: {0}")]
    Config(#[from] rustls::Error),
}

/// Trusts whom the system trusts, and the certificates of `file`; reads them, which blocks. Where
/// TLS is not `wanted`, nobody is trusted and nothing read.
pub(super) fn config(file: Option<&Path>, wanted: bool) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    if wanted {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "a certificate of the system was not read");
        }
        roots.add_parsable_certificates(system.certs);
    }
    if let Some(file) = file {
        let bad = |why: &dyn std::fmt::Display| TlsError::File {
            file: file.display().to_string(),
            why: why.to_string(),
        };
        let certificates = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
        let others = roots.len();
        for certificate in certificates {
            let certificate = certificate.map_err(|error| bad(&error))?;
            roots.add(certificate).map_err(|error| bad(&error))?;
        }
        if roots.len() == others {
            return Err(bad(&"there is none in it"));
        }
    }
    if wanted && roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
