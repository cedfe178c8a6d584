//! Who is let in, and what the others are told.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use serde_json::{Value, json};

use crate::{
    gateway::support::{CHAT, Mock, gateway, stream, whole},
    support::{Answer, PATIENCE, Server, get, post, wait},
};

const IN_FLIGHT: &str = "thermograph_gateway_in_flight";
const WAITING: &str = "thermograph_gateway_waiting";
const REFUSED: &str = "thermograph_gateway_refused_total";

/// A client that has asked and waits; dropped, it has left.
fn ask(server: &Server, body: &Value) -> TcpStream {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n\r\n");
    let mut stream = connect(server.addresses.api);
    stream.write_all((head + &body).as_bytes()).expect("sent");
    stream
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

/// All that comes on a connection that is closed then, parsed as an answer.
fn last_answer(mut stream: TcpStream) -> Answer {
    let mut read = Vec::new();
    stream.read_to_end(&mut read).expect("an answer, and then the end");
    let read = String::from_utf8(read).expect("text");
    let (head, text) = read.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1));
    let status = status.and_then(|status| status.parse().ok()).expect("a status");
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
    Answer { status, headers: headers.collect(), text: text.to_owned() }
}

fn assert_overloaded(answer: &Answer) {
    assert_eq!((answer.status, &answer.error()["code"]), (503, &json!("overloaded")));
    assert_eq!((answer.header("retry-after"), answer.header("retry-after-ms")), ("1", "1000"));
}

#[test]
fn past_the_queue_clients_are_refused_before_their_body_is_there() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let rest = "[gateway]\nmax_in_flight = 1\nmax_waiting = 1\nqueue_timeout = \"1h\"";
    let server = gateway(&[&mock], rest);
    let first = ask(&server, &whole());
    wait("it is asked for upstream", || mock.counts().in_flight == 1);
    let second = ask(&server, &whole());
    wait("the second one waits", || server.metric(WAITING) == 1);

    let paths = [CHAT, "/v1/completions", "/v1/embeddings", "/v1/rerank"];
    for path in paths {
        for more in ["", "expect: 100-continue\r\n"] {
            let mut stream = connect(server.addresses.api);
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: gateway\r\nx-request-id: mine\r\n{more}\
                 content-type: application/json\r\ncontent-length: 100000\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).expect("sent");
            let answer = last_answer(stream);
            assert_overloaded(&answer);
            assert_eq!(answer.header("x-request-id"), "mine");
        }
    }
    assert_overloaded(&post(&server.api(CHAT), &stream().to_string()));
    assert_eq!(server.metric(REFUSED), 2 * paths.len() as u64 + 1);
    // What needs no upstream is answered.
    assert_eq!(get(&server.api("/health/ready")).status, 200);
    assert_eq!(get(&server.api("/v1/models")).status, 200);

    // The second one gets the place of the first, which leaves.
    drop(first);
    wait("the second one is let in", || mock.counts().requests_total == 2);
    assert_eq!((server.metric(IN_FLIGHT), server.metric(WAITING)), (1, 0));
    drop(second);
    wait("nobody is there", || server.metric(IN_FLIGHT) == 0);
    mock.change(&json!({ "hang_rate": 0 }));
    assert_eq!(post(&server.api(CHAT), &whole().to_string()).status, 200);
}

#[test]
fn who_waits_longer_than_queue_timeout_is_refused() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let rest = "[gateway]\nmax_in_flight = 1\nmax_waiting = 9\nqueue_timeout = \"50ms\"";
    let server = gateway(&[&mock], rest);
    let _first = ask(&server, &whole());
    wait("it is asked for upstream", || mock.counts().in_flight == 1);
    for _ in 0..3 {
        assert_overloaded(&post(&server.api(CHAT), &whole().to_string()));
    }
    assert_eq!((server.metric(REFUSED), server.metric(WAITING)), (3, 0));
    assert_eq!(mock.counts().requests_total, 1);
}

#[test]
fn a_refusal_reaches_a_client_that_is_still_sending() {
    let mock = Mock::start(&["--hang-rate=1"]);
    let server = gateway(&[&mock], "[gateway]\nmax_in_flight = 1\nmax_waiting = 0");
    let _first = ask(&server, &whole());
    wait("it is asked for upstream", || mock.counts().in_flight == 1);
    let mut body = whole();
    body["user"] = Value::from("a".repeat(7 << 20));
    for _ in 0..20 {
        assert_overloaded(&post(&server.api(CHAT), &body.to_string()));
    }
}

#[test]
fn what_is_too_large_is_refused_and_never_passed_on() {
    let mock = Mock::start(&[]);
    let server = gateway(&[&mock], "[api]\nbody_limit = \"64KiB\"");
    let mut body = whole();
    body["user"] = Value::from("a".repeat(64 << 10));
    let body = body.to_string();
    let answer = post(&server.api(CHAT), &body);
    assert_eq!((answer.status, &answer.error()["code"]), (413, &json!("request_too_large")));
    // Without a length announced, too.
    let mut reader = std::io::Cursor::new(&body);
    let reader = ureq::SendBody::from_reader(&mut reader);
    let request = crate::support::agent().post(server.api(CHAT)).content_type("application/json");
    let answer = crate::support::answer(request.send(reader).expect("an answer"));
    assert_eq!((answer.status, &answer.error()["code"]), (413, &json!("request_too_large")));
    // Nor is it asked for.
    let mut stream = connect(server.addresses.api);
    let length = body.len();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nexpect: 100-continue\r\n\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    assert_eq!(last_answer(stream).status, 413);
    assert_eq!(mock.counts().requests_total, 0);

    let head = |path: &str, value: &str| {
        let mut stream = connect(server.addresses.api);
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\nx-long: {value}\r\n\r\n"
        );
        // It may be refused before it is all there.
        let _ = stream.write_all(head.as_bytes());
        last_answer(stream).status
    };
    let (short, long) = ("a".repeat(60_000), "a".repeat(70_000));
    assert_eq!(head("/health/live", &short), 200);
    assert_eq!(head("/health/live", &long), 431);
    assert_eq!(head(&format!("/v1/models/{long}"), ""), 431);
}

/// A client that was let in, and is asked for its body.
fn begin(server: &Server, framing: &str) -> TcpStream {
    let mut stream = connect(server.addresses.api);
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         expect: 100-continue\r\n{framing}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut asked = [0; 25];
    stream.read_exact(&mut asked).expect("an answer");
    assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[test]
fn who_sends_slowly_holds_no_place() {
    let mock = Mock::start(&[]);
    let rest = "[gateway]\nmax_in_flight = 1\nmax_waiting = 1\nqueue_timeout = \"10s\"";
    let server = gateway(&[&mock], rest);
    let body = whole().to_string();
    let mut slow = begin(&server, &format!("content-length: {}", body.len()));
    let (first, last) = body.split_at(body.len() / 2);
    slow.write_all(first.as_bytes()).expect("sent");
    wait("it has given its place back", || server.metric(IN_FLIGHT) == 0);
    assert_eq!(post(&server.api(CHAT), &body).status, 200);
    slow.write_all(last.as_bytes()).expect("sent");
    assert_eq!(last_answer(slow).status, 200);
    assert_eq!(mock.counts().answered, 2);
}

#[test]
fn a_body_takes_as_much_memory_as_has_come_of_it() {
    let mock = Mock::start(&[]);
    let server = gateway(&[&mock], "[api]\nbody_limit = \"1KiB\"");
    let body = whole().to_string();
    // More than would have room if each of them were as large as may be.
    let all: Vec<_> = (0..80).map(|_| begin(&server, "transfer-encoding: chunked")).collect();
    for mut stream in all {
        let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
        stream.write_all(chunks.as_bytes()).expect("sent");
        assert_eq!(last_answer(stream).status, 200);
    }
}
