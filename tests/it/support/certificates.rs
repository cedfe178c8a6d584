//! An authority of our own, and certificates for localhost and for a client that it has signed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// Files in a folder of their own.
pub(crate) struct Certificates {
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
[client]
subjectAltName = DNS:client
";

impl Certificates {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("openssl.cnf"), CONFIG).expect("written");
        make(folder.path(), "authority", &[]);
        for name in ["server", "client"] {
            make(folder.path(), name, &["-CA", "authority.pem", "-CAkey", "authority.key"]);
        }
        Self { folder }
    }

    /// The certificate of the authority.
    pub(crate) fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
    }

    /// The certificate of the server, and its key.
    pub(crate) fn server(&self) -> [PathBuf; 2] {
        ["server.pem", "server.key"].map(|file| self.folder.path().join(file))
    }

    /// The certificate of the client, and its key.
    pub(crate) fn client(&self) -> [PathBuf; 2] {
        ["client.pem", "client.key"].map(|file| self.folder.path().join(file))
    }

    /// Files of others in the place of these: the authority's certificate, the server's and the client's.
    pub(crate) fn replace_by(&self, others: &Self) {
        for file in ["authority.pem", "server.pem", "server.key", "client.pem", "client.key"] {
            let [from, to] = [others, self].map(|these| these.folder.path().join(file));
            fs::copy(from, to).expect("copied");
        }
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
