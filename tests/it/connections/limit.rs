//! As many connections as may be open, and more.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    net::TcpStream,
};

use super::{connect, read, send};
use crate::support::{Server, get, wait};

const MOST: usize = 3;
/// More than are answered 503 at a time.
const IDLE: usize = 70;

fn start() -> Server {
    Server::configured("127.0.0.1:0", &format!("[api]\nmax_connections = {MOST}"), &[])
}

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n")
}

/// Asks on a connection that is kept open; gives the status line.
fn ask(connection: &TcpStream, path: &str) -> String {
    send(connection, &request(path));
    let mut reader = BufReader::new(connection);
    let (mut status, mut length) = (String::new(), 0);
    reader.read_line(&mut status).expect("a status");
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a header");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.trim().parse().expect("a length");
        }
    }
    reader.read_exact(&mut vec![0; length]).expect("a body");
    status
}

/// Takes all connections that there are.
fn fill(server: &Server) -> Vec<TcpStream> {
    let taken: Vec<_> = (0..MOST).map(|_| connect(server.addresses.api)).collect();
    for connection in &taken {
        assert!(ask(connection, "/health/live").starts_with("HTTP/1.1 200"));
    }
    taken
}

#[test]
fn connection_over_the_limit_is_told_so() {
    let server = start();
    let mut taken = fill(&server);
    for (path, status) in [("/v1/models", 503), ("/health/ready", 503), ("/health/live", 200)] {
        let newcomer = connect(server.addresses.api);
        send(&newcomer, &request(path));
        let answer = read(&newcomer);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.contains("connection: close\r\n"), "{path}: {answer}");
        if status == 503 {
            for part in
                ["retry-after: 1\r\n", "x-request-id: ", "\"overloaded\"", "max_connections"]
            {
                assert!(answer.contains(part), "no {part}: {answer}");
            }
        }
    }
    // Those that are open are served, and readiness says so to them, too.
    assert!(ask(&taken[0], "/v1/models").starts_with("HTTP/1.1 200"));
    assert!(ask(&taken[0], "/health/ready").starts_with("HTTP/1.1 503"));
    let metric = |name: &str| server.metric(&format!("thermograph_api_connections{name}"));
    assert_eq!((metric(""), metric("_limit")), (3, 3));
    assert_eq!((metric("_rejected_total"), metric("_limit_reached_total")), (3, 1));
    assert_eq!(server.log().matches("connection limit reached").count(), 1);

    taken.truncate(1);
    wait("it is ready", || get(&server.api("/health/ready")).status == 200);
    wait("the log says so", || server.log().contains("below the limit again"));
}

#[test]
fn idle_connections_over_the_limit_do_not_silence_the_next() {
    let server = start();
    let _taken = fill(&server);
    let _idle: Vec<_> = (0..IDLE).map(|_| connect(server.addresses.api)).collect();
    let newcomer = connect(server.addresses.api);
    send(&newcomer, &request("/v1/models"));
    assert!(read(&newcomer).starts_with("HTTP/1.1 503"));
}
