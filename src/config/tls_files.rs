//! The files of a listener's TLS.

use std::path::{Path, PathBuf};

/// Keys of the files in their section.
pub(crate) const CERT: &str = "tls_cert";
pub(crate) const KEY: &str = "tls_key";
pub(crate) const CLIENT_CA: &str = "tls_client_ca";

/// Files of a listener's TLS, as the configuration names them.
#[derive(Clone, Debug)]
pub(crate) struct TlsFiles {
    /// Section of the configuration: `api` or `diagnostics`.
    pub(crate) section: &'static str,
    /// The certificate, with those that lead to its authority.
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    /// Authorities of the certificates that clients must have.
    pub(crate) client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// `None` if there is to be no TLS. An error is the path of a value and what is allowed.
    pub(crate) fn new(
        section: &'static str,
        cert: &Path,
        key: &Path,
        client_ca: &Path,
    ) -> Result<Option<Self>, (String, String)> {
        let is_given = |path: &Path| !path.as_os_str().is_empty();
        let needs = |given: &str, other: &str| {
            Err((format!("{section}.{given}"), format!("only together with `{other}`")))
        };
        match [cert, key, client_ca].map(is_given) {
            [false, false, false] => Ok(None),
            [true, false, _] => needs(CERT, KEY),
            [false, true, _] => needs(KEY, CERT),
            [false, false, true] => needs(CLIENT_CA, CERT),
            [true, true, _] => Ok(Some(Self {
                section,
                cert: cert.to_owned(),
                key: key.to_owned(),
                client_ca: Some(client_ca.to_owned()).filter(|path| is_given(path)),
            })),
        }
    }

    pub(crate) fn section(&self) -> &'static str {
        self.section
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert, &self.key].into_iter().chain(&self.client_ca)
    }
}
