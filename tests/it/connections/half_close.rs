//! Clients that close their sending side after a request, and those that close the connection.

use std::net::{Shutdown, TcpStream};

use serde_json::json;
use socket2::SockRef;

use super::{connect, posted, read, send};
use crate::{
    gateway::support::{CHAT, Mock, gateway, stream, whole},
    support::{Server, wait},
};

/// Sends a request and closes the sending side: both are one segment.
fn send_and_shut_down(server: &Server, request: &str) -> TcpStream {
    let connection = connect(server.addresses.api);
    SockRef::from(&connection).set_tcp_cork(true).expect("set");
    send(&connection, request);
    connection.shutdown(Shutdown::Write).expect("shut down");
    connection
}

#[test]
fn half_closed_client_is_answered() {
    let mock = Mock::start(&["--latency=100ms", "--interval=10ms"]);
    let server = gateway(&[&mock], "");
    let embeddings = json!({ "model": "mock", "input": "a" }).to_string();
    for (request, end) in [
        ("GET /health/live HTTP/1.1\r\nhost: here\r\n\r\n".to_owned(), "ok\n"),
        (posted("/v1/embeddings", &embeddings), "}"),
        (posted(CHAT, &whole().to_string()), "}"),
        (posted(CHAT, &stream().to_string()), "data: [DONE]\n\n\r\n0\r\n\r\n"),
    ] {
        let answer = read(&send_and_shut_down(&server, &request));
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{request}: {answer}");
        assert!(answer.ends_with(end), "{request}: {answer}");
    }
    let counts = mock.counts();
    assert_eq!((counts.answered, counts.abandoned), (3, 0));
}

#[test]
fn half_closed_client_that_waits_long_is_answered_whole() {
    // It is probed meanwhile.
    let mock = Mock::start(&["--latency=3s"]);
    let server = gateway(&[&mock], "");
    let answer = read(&send_and_shut_down(&server, &posted(CHAT, &whole().to_string())));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with('}'), "{answer}");
}

#[test]
fn client_that_closes_with_its_request_is_cancelled_upstream() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let server = gateway(&[&mock], "");
    drop(send_and_shut_down(&server, &posted(CHAT, &whole().to_string())));
    wait("it is abandoned", || mock.counts().abandoned == 1);
}

#[test]
fn body_that_ends_early_is_not_waited_for() {
    let server = Server::with(&[("THERMOGRAPH_API_REQUEST_TIMEOUT", "1h")]);
    let request = posted(CHAT, &whole().to_string());
    let answer = read(&send_and_shut_down(&server, &request[..request.len() - 1]));
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
}
