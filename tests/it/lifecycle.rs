//! Stopping and starting.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{MODEL, Server, agent, answer, get, wait};

/// What became of the requests of some clients that went on until they could not connect.
#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    lost: AtomicUsize,
    /// The test has failed: the clients would go on for ever.
    given_up: AtomicBool,
}

/// Lets the clients go if the test fails before the server stops.
struct Watch<'a>(&'a Seen);

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.0.given_up.store(thread::panicking(), Relaxed);
    }
}

/// Sends requests one after the other, until the server takes no connection any more.
fn ask(url: &str, seen: &Seen) {
    let agent = agent();
    let body = json!({ "model": MODEL, "input": ["a sentence", "and one more"] }).to_string();
    while !seen.given_up.load(Relaxed) {
        match agent.post(url).content_type("application/json").send(&body) {
            Ok(response) => match answer(response).status {
                200 => seen.answered.fetch_add(1, Relaxed),
                _ => seen.lost.fetch_add(1, Relaxed),
            },
            Err(ureq::Error::ConnectionFailed) => return,
            Err(ureq::Error::Io(error))
                if error.kind() == std::io::ErrorKind::ConnectionRefused =>
            {
                return;
            }
            Err(error) => {
                eprintln!("lost: {error:?}");
                seen.lost.fetch_add(1, Relaxed)
            }
        };
    }
}

#[test]
fn a_stop_under_load_loses_no_request() {
    for (signal, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut server = Server::with(&[("THERMOGRAPH_API_SHUTDOWN_GRACE", "500ms")]);
        let seen = Seen::default();
        let url = server.api("/v1/embeddings");
        thread::scope(|scope| {
            let _watch = Watch(&seen);
            for _ in 0..16 {
                scope.spawn(|| ask(&url, &seen));
            }
            wait("the load runs", || seen.answered.load(Relaxed) > 100);
            server.signal(signal);
        });
        assert_eq!(seen.lost.load(Relaxed), 0);
        assert!(server.ended().success());
        let log = server.log();
        assert!(log.contains(name) && log.contains("drained"), "{log}");
    }
}

#[test]
fn a_connection_that_was_taken_has_its_first_request_answered_while_it_drains() {
    let mut server = Server::with(&[("THERMOGRAPH_API_SHUTDOWN_GRACE", "500ms")]);
    let mut connections = [""; 3].map(|_| TcpStream::connect(server.addresses.api).expect("open"));
    // One has begun to send.
    let whole = "GET /health/live HTTP/1.1\r\nhost: thermograph\r\n\r\n";
    connections[1].write_all(&whole.as_bytes()[..1]).expect("sent");
    server.signal(Signal::TERM);
    wait("it drains", || server.log().contains("draining"));
    for (connection, sent) in connections.iter_mut().zip([0, 1, 0]) {
        connection.write_all(&whole.as_bytes()[sent..]).expect("sent");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer, and then the end");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
    assert!(server.ended().success());
    assert!(server.log().contains("drained"));
}

#[test]
fn while_it_stops_it_is_alive_and_not_ready() {
    let mut server = Server::with(&[("THERMOGRAPH_API_SHUTDOWN_GRACE", "1m")]);
    assert_eq!(get(&server.api("/health/ready")).status, 200);
    server.signal(Signal::TERM);
    wait("it is not ready", || get(&server.api("/health/ready")).status == 503);
    let live = get(&server.api("/health/live"));
    assert_eq!((live.status, live.header("connection")), (200, "close"));
    // A second signal ends it at once.
    server.signal(Signal::INT);
    assert_eq!(server.ended().code(), Some(130));
}

#[test]
fn sigint_has_no_grace() {
    let mut server = Server::with(&[("THERMOGRAPH_API_SHUTDOWN_GRACE", "1h")]);
    server.signal(Signal::INT);
    assert!(server.ended().success());
}

#[test]
fn after_kill_9_it_starts_again_at_once() {
    let mut server = Server::start();
    let listen = server.addresses.api.to_string();
    let seen = Seen::default();
    let url = server.api("/v1/embeddings");
    thread::scope(|scope| {
        let _watch = Watch(&seen);
        scope.spawn(|| ask(&url, &seen));
        wait("the load runs", || seen.answered.load(Relaxed) > 10);
        server.signal(Signal::KILL);
        server.ended();
    });
    let again = Server::at(&listen, &[]);
    assert_eq!(again.embed(&json!({ "model": MODEL, "input": "a" })).status, 200);
}
