//! An authority of our own, and a certificate for localhost that it has signed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Files in a folder of their own.
pub(in crate::gateway) struct Certificates {
    folder: TempDir,
}

const CONFIG: &str = "\
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
[server]
subjectAltName = DNS:localhost, IP:127.0.0.1
";

impl Certificates {
    pub(in crate::gateway) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("openssl.cnf"), CONFIG).expect("written");
        make(folder.path(), "authority", &[]);
        make(folder.path(), "server", &["-CA", "authority.pem", "-CAkey", "authority.key"]);
        Self { folder }
    }

    /// The certificate of the authority.
    pub(in crate::gateway) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate of the server, and its key.
    pub(in crate::gateway) fn server(&self) -> [PathBuf; 2] {
        ["server.pem", "server.key"].map(|file| self.folder.path().join(file))
    }
}

fn make(folder: &Path, name: &str, signer: &[&str]) {
    let mut openssl = Command::new("openssl");
    openssl.current_dir(folder).args(["req", "-x509", "-config", "openssl.cnf", "-days", "2"]);
    openssl.args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-extensions", name]);
    openssl.args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.pem")]);
    let made = openssl.args(signer).output().expect("`./just tools` installs openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
