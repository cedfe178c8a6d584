//! Helpers for tests of a running program: an HTTP client, waiting with a timeout, and external tools.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// Timeout of every request and wait: generous, for a machine that is busy.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// An HTTP client that returns error statuses as responses and accepts any certificate.
pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        // Certificates of the servers here are made for the test, and looked at by other clients.
        .tls_config(ureq::tls::TlsConfig::builder().disable_verification(true).build())
        .build()
        .into()
}

/// Gets `url` and returns the body, of at most 1 GiB.
///
/// # Panics
///
/// Panics if the request fails or if its status is not 200.
pub fn get_bytes(url: &str) -> Vec<u8> {
    let mut response = agent().get(url).call().expect("an answer");
    let body = response.body_mut().with_config().limit(1 << 30).read_to_vec().expect("a body");
    assert_eq!(response.status(), 200, "{url}: {}", String::from_utf8_lossy(&body));
    body
}

/// Waits until `is_so` returns true, which it asks every 10 ms; `what` names the condition.
///
/// # Panics
///
/// Panics after [`PATIENCE`].
pub fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Path of a tool that `just tools` installs: the one of this workspace, or else the first in `PATH`.
///
/// # Panics
///
/// Panics if the tool is not installed.
pub fn tool(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin").join(name);
    if own.is_file() {
        return own;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} is not installed: `./just tools` does it"))
}
