//! Files of certificates and keys, and what a server makes of them.

use std::{
    fmt::Display,
    path::PathBuf,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use thermograph_common::pem;
use thiserror::Error;
use x509_cert::{Certificate, der::Decode as _};

use crate::config::{CERT, CLIENT_CA, KEY, TlsFiles};

/// A file that cannot be used.
#[derive(Debug, Error)]
#[error("{section}.{key} = {file:?} is not allowed: a file with {allowed} ({why})")]
pub(crate) struct TlsError {
    section: &'static str,
    key: &'static str,
    file: PathBuf,
    allowed: &'static str,
    why: String,
}

/// Contents of the files.
#[derive(PartialEq)]
pub(super) struct Material {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// Empty if clients need no certificate.
    authorities: Vec<CertificateDer<'static>>,
    /// Seconds since 1970 at which the first certificate of the chain expires.
    expires: u64,
}

impl TlsFiles {
    /// Reads them, which blocks, to see whether they can be used.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        Material::read(self)?.server_config(self).map(drop)
    }

    /// A file of the key, and why it cannot be used.
    fn error(&self, key: &'static str, why: &dyn Display) -> TlsError {
        let (file, allowed) = match key {
            CERT => (&self.cert, "certificates in PEM, the server's own first"),
            KEY => (&self.key, "the private key of the certificate, in PEM"),
            _ => (self.client_ca.as_ref().unwrap_or(&self.cert), "certificates in PEM"),
        };
        let (section, why) = (self.section, why.to_string());
        TlsError { section, key, file: file.clone(), allowed, why }
    }
}

impl Material {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, TlsError> {
        let chain = pem::certificates(&files.cert).map_err(|why| files.error(CERT, &why))?;
        let key = pem::private_key(&files.key).map_err(|why| files.error(KEY, &why))?;
        let authorities = files.client_ca.as_deref().map(pem::certificates).transpose();
        let authorities = authorities.map_err(|why| files.error(CLIENT_CA, &why))?;
        let mut expires = u64::MAX;
        for certificate in &chain {
            let expiry = expiry(certificate).map_err(|error| files.error(CERT, &error))?;
            expires = expires.min(expiry);
        }
        Ok(Self { chain, key, authorities: authorities.unwrap_or_default(), expires })
    }

    pub(super) fn server_config(&self, files: &TlsFiles) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| files.error(CERT, &error))?;
        let builder = if self.authorities.is_empty() {
            builder.with_no_client_auth()
        } else {
            let mut roots = RootCertStore::empty();
            for authority in &self.authorities {
                roots.add(authority.clone()).map_err(|error| files.error(CLIENT_CA, &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = verifier.build().map_err(|error| files.error(CLIENT_CA, &error))?;
            builder.with_client_cert_verifier(verifier)
        };
        let mut config = builder
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(|error| files.error(KEY, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    pub(super) fn expires(&self) -> u64 {
        self.expires
    }

    pub(super) fn warn_if_expired(&self, files: &TlsFiles) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if self.expires <= now.as_secs() {
            let file = files.cert.display();
            tracing::warn!(%file, expires = self.expires, "a certificate has expired");
        }
    }
}

/// Seconds since 1970 at which a certificate expires.
fn expiry(certificate: &[u8]) -> Result<u64, x509_cert::der::Error> {
    let certificate = Certificate::from_der(certificate)?;
    let not_after = certificate.tbs_certificate.validity.not_after;
    Ok(not_after.to_unix_duration().as_secs())
}
