//! What every test of a running program needs: a client, patience, and the tools.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Longest time that anything here may take: generous, for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        // Certificates of the servers here are made for the test, and looked at by other clients.
        .tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build())
        .build()
        .into()
}

pub fn get_bytes(url: &str) -> Vec<u8> {
    let mut response = agent().get(url).call().expect("an answer");
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a body");
    assert_eq!(response.status(), 200, "{url}: {}", String::from_utf8_lossy(&body));
    body
}

/// Waits until something is so.
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A tool that `just tools` installs.
pub fn tool(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin").join(name);
    if own.is_file() {
        return own;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: `./just tools` does it"))
}
