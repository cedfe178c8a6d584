//! Certificates and keys in PEM.

use std::{fmt::Display, fs, path::Path};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

/// Largest file: a bundle of all public authorities has 200 KiB.
const MOST: u64 = 4 << 20;

/// Reads all certificates of a file, at least one; blocks. The error is the reason, as text.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = CertificateDer::pem_slice_iter(&read(file)?).collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(|error| error.to_string())?;
    if certificates.is_empty() { Err("there is none in it".to_owned()) } else { Ok(certificates) }
}

/// Reads the first private key of a file; blocks. The error is the reason, as text.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&read(file)?).map_err(|error| error.to_string())
}

/// Reads a regular file of at most 4 MiB; blocks. The error is the reason, as text.
pub fn read(file: &Path) -> Result<Vec<u8>, String> {
    let said = |error: &dyn Display| error.to_string();
    let metadata = fs::metadata(file).map_err(|error| said(&error))?;
    if !metadata.is_file() {
        return Err("not a regular file".to_owned());
    }
    if metadata.len() > MOST {
        return Err(format!("larger than {} MiB", MOST >> 20));
    }
    fs::read(file).map_err(|error| said(&error))
}
