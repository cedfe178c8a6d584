//! The `Host` header, which HTTP/1.1 requires.

use super::{connect, read, send};
use crate::support::Server;

/// The answer to a request for liveness with this version and these headers.
fn ask(server: &Server, version: &str, headers: &str) -> String {
    let connection = connect(server.addresses.api);
    send(&connection, &format!("GET /health/live {version}\r\n{headers}connection: close\r\n\r\n"));
    read(&connection)
}

#[test]
fn missing_repeated_or_invalid_host_is_400() {
    let server = Server::start();
    for headers in ["", "host: a\r\nhost: a\r\n", "host: a\r\nhost: b\r\n", "host: a b\r\n"] {
        let answer = ask(&server, "HTTP/1.1", headers);
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
        assert!(answer.contains("x-request-id: "), "{answer}");
        assert!(answer.contains("invalid `host` header"), "{answer}");
    }
    let two = ask(&server, "HTTP/1.0", "host: a\r\nhost: b\r\n");
    assert!(two.starts_with("HTTP/1.0 400"), "{two}");
}

#[test]
fn valid_host_is_answered_and_http_1_0_needs_none() {
    let server = Server::start();
    for host in ["", "localhost", "[::1]:8080"] {
        let answer = ask(&server, "HTTP/1.1", &format!("host: {host}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200"), "{host}: {answer}");
    }
    assert!(ask(&server, "HTTP/1.0", "").starts_with("HTTP/1.0 200"));
}
