//! TLS with upstreams: the authorities that are trusted, and the certificate that is shown.

use std::{fmt::Display, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use thermograph_common::pem;
use thiserror::Error;

use super::UpstreamConfig;

/// Why upstreams cannot be spoken to with TLS.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The system trusts nobody, and no certificate is configured.
    #[error(
        "ca_file: the system has no certificates to trust: install ca-certificates, or set this"
    )]
    NoRoots,
    /// A file cannot be used.
    #[error("{key} = {file:?} is not allowed: a file with {allowed} ({why})")]
    File {
        /// Key of the configuration that names the file.
        key: &'static str,
        /// The file.
        file: String,
        /// Contents that are allowed.
        allowed: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// rustls refuses what it was built with.
    #[error("url: TLS cannot be spoken: {0}")]
    Config(#[from] rustls::Error),
}

/// Contents of the files that an upstream's configuration names.
#[derive(PartialEq)]
pub(super) struct Material {
    authorities: Vec<CertificateDer<'static>>,
    own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl Material {
    /// Reads the files, which blocks.
    pub(super) fn read(config: &UpstreamConfig) -> Result<Self, TlsError> {
        let UpstreamConfig { ca_file, tls_cert, tls_key, .. } = config;
        let authorities = ca_file.as_deref().map(|file| {
            pem::certificates(file).map_err(|why| bad("ca_file", file, "certificates in PEM", &why))
        });
        let own = tls_cert.as_deref().zip(tls_key.as_deref()).map(|(cert, key)| {
            let chain = pem::certificates(cert)
                .map_err(|why| bad("tls_cert", cert, "certificates in PEM", &why))?;
            let key = pem::private_key(key).map_err(|why| bad_key(key, &why))?;
            Ok::<_, TlsError>((chain, key))
        });
        Ok(Self {
            authorities: authorities.transpose()?.unwrap_or_default(),
            own: own.transpose()?,
        })
    }

    /// Trusts whom the system trusts, and the authorities of `ca_file`. The system's certificates are
    /// read if TLS is `wanted`, which blocks.
    pub(super) fn client_config(
        &self,
        config: &UpstreamConfig,
        wanted: bool,
    ) -> Result<ClientConfig, TlsError> {
        let mut roots = RootCertStore::empty();
        if wanted {
            let system = rustls_native_certs::load_native_certs();
            for error in &system.errors {
                tracing::warn!(%error, "a certificate of the system was not read");
            }
            roots.add_parsable_certificates(system.certs);
        }
        let ca_file = config.ca_file.as_deref().unwrap_or(Path::new(""));
        for authority in &self.authorities {
            roots
                .add(authority.clone())
                .map_err(|why| bad("ca_file", ca_file, "certificates in PEM", &why))?;
        }
        if wanted && roots.is_empty() {
            return Err(TlsError::NoRoots);
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        match &self.own {
            None => Ok(builder.with_no_client_auth()),
            Some((chain, key)) => {
                let file = config.tls_key.as_deref().unwrap_or(Path::new(""));
                builder
                    .with_client_auth_cert(chain.clone(), key.clone_key())
                    .map_err(|why| bad_key(file, &why))
            }
        }
    }
}

fn bad(key: &'static str, file: &Path, allowed: &'static str, why: &dyn Display) -> TlsError {
    TlsError::File { key, file: file.display().to_string(), allowed, why: why.to_string() }
}

fn bad_key(file: &Path, why: &dyn Display) -> TlsError {
    bad("tls_key", file, "the private key of `tls_cert`, in PEM", why)
}
