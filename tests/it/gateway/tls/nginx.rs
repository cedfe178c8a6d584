//! nginx before a mock, with TLS, on a port of its own.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use crate::support::{certificates::Certificates, tool, wait};

/// A running nginx; killed when dropped.
pub(in crate::gateway) struct Nginx {
    child: Child,
    folder: TempDir,
    port: u16,
}

/// Ports to try: it cannot be told to take any that is free.
const TRIES: usize = 5;

impl Nginx {
    /// Offers HTTP/1.1, and with `http2` that too.
    pub(in crate::gateway) fn start(
        certificates: &Certificates,
        http2: &str,
        mock: SocketAddr,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let [certificate, key] = certificates.server();
        for _ in 0..TRIES {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = listener.local_addr().expect("an address").port();
            drop(listener);
            let config = config(folder.path(), port, http2, [&certificate, &key], mock);
            if let Some(child) = run(folder.path(), &config, port) {
                return Self { child, folder, port };
            }
        }
        panic!("nginx does not start: {}", read(folder.path(), "output"));
    }

    pub(in crate::gateway) fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }

    pub(in crate::gateway) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// Its log of requests: method, path, version, version of TLS, status.
    pub(in crate::gateway) fn requests(&self) -> String {
        read(self.folder.path(), "requests")
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of nginx:\n{}", read(self.folder.path(), "output"));
        }
    }
}

/// One process, whose files are all in the folder.
fn config(
    folder: &Path,
    port: u16,
    http2: &str,
    [certificate, key]: [&Path; 2],
    mock: SocketAddr,
) -> String {
    let (folder, certificate, key) = (folder.display(), certificate.display(), key.display());
    format!(
        "daemon off;
        master_process off;
        pid {folder}/pid;
        events {{}}
        http {{
            log_format line '$request_method $request_uri $server_protocol $ssl_protocol $status';
            access_log {folder}/requests line;
            client_body_temp_path {folder}/body;
            proxy_temp_path {folder}/proxy;
            fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi;
            scgi_temp_path {folder}/scgi;
            server {{
                listen 127.0.0.1:{port} ssl {http2};
                server_name localhost;
                ssl_protocols TLSv1.2 TLSv1.3;
                ssl_certificate {certificate};
                ssl_certificate_key {key};
                location / {{
                    proxy_pass http://{mock};
                    proxy_http_version 1.1;
                    proxy_buffering off;
                }}
            }}
        }}"
    )
}

/// Waits until it listens; none: it has ended.
fn run(folder: &Path, config: &str, port: u16) -> Option<Child> {
    let file = folder.join("nginx.conf");
    fs::write(&file, config).expect("written");
    let output = File::create(folder.join("output")).expect("a file");
    let mut child = Command::new(tool("nginx"))
        .args(["-e", "stderr", "-c"])
        .arg(&file)
        .stdin(Stdio::null())
        .stderr(output)
        .spawn()
        .expect("started");
    let mut has_ended = false;
    wait("nginx listens", || {
        has_ended = child.try_wait().expect("a child").is_some();
        has_ended || TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (!has_ended).then_some(child)
}

fn read(folder: &Path, file: &str) -> String {
    fs::read_to_string(folder.join(file)).unwrap_or_default()
}
