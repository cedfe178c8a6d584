//! Request bodies that come slowly.

use super::{connect, posted, read, send};
use crate::{
    gateway::support::{CHAT, Mock, gateway, whole},
    support::{MODEL, Server},
};

/// Sends all of a request but its last byte, and gives the answer.
fn ask(server: &Server, path: &str, body: &str) -> String {
    let request = posted(path, body);
    let connection = connect(server.addresses.api);
    send(&connection, &request[..request.len() - 1]);
    read(&connection)
}

fn assert_request_timeout(answer: &str) {
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    for part in ["connection: close\r\n", "\"code\":\"request_timeout\"", "invalid_request_error"] {
        assert!(answer.contains(part), "no {part}: {answer}");
    }
}

#[test]
fn body_that_is_not_received_in_time_is_408() {
    let mock = Mock::start(&[]);
    let rest = "[api]\nrequest_timeout = \"1500ms\"";
    let server = gateway(&[&mock], rest);
    assert_request_timeout(&ask(&server, CHAT, &whole().to_string()));
    let body = format!(r#"{{ "model": "{MODEL}", "input": "a" }}"#);
    assert_request_timeout(&ask(&server, "/v1/embeddings", &body));
    assert_eq!(mock.counts().requests_total, 0);
}
