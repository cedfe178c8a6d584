//! Clients that ask and do not read.

use std::{io::Write as _, net::TcpStream};

use crate::{
    gateway::support::{CHAT, Mock, Setup, stream},
    support::{Server, post, wait},
};

/// A gateway and a mock whose streams have more bytes, nearly 50 MB, than the system itself has
/// room for between the two and before the client.
fn start(rest: &str) -> (Mock, Server) {
    // It stands in every event.
    let name = "m".repeat(250);
    let mock = Mock::start(&["--tokens=100000", &format!("--models={name}")]);
    let model = format!("rename = \"{name}\"");
    let server = Setup { model: &model, rest, ..Setup::of(&[&mock]) }.start();
    (mock, server)
}

/// Asks for a stream, and reads nothing of it.
fn ask(server: &Server) -> TcpStream {
    let body = stream().to_string();
    let length = body.len();
    let head = format!("POST {CHAT} HTTP/1.1\r\nhost: gateway\r\ncontent-length: {length}\r\n\r\n");
    let mut client = TcpStream::connect(server.addresses.api).expect("connected");
    client.write_all((head + &body).as_bytes()).expect("sent");
    client
}

/// A client that reads as fast as it can.
fn read(server: &Server) -> u64 {
    let answer = post(&server.api(CHAT), &stream().to_string());
    assert!(answer.status == 200 && answer.text.ends_with("data: [DONE]\n\n"));
    answer.text.len() as u64
}

#[test]
fn who_reads_nothing_stops_the_upstream_and_holds_no_memory() {
    // To name a stall's stack takes a hundred megabytes for a moment.
    let (mock, server) = start("[diagnostics]\nstacks = \"off\"");
    let size = read(&server);
    let before = server.memory();
    let slow: Vec<_> = (0..20).map(|_| ask(&server)).collect();
    wait("all are asked for upstream", || mock.counts().requests_total == 21);
    // Those who come later read theirs to the end, and nobody else does.
    for _ in 0..3 {
        read(&server);
    }
    let counts = mock.counts();
    assert_eq!((counts.answered, counts.in_flight), (4, 20));
    let more = server.memory().saturating_sub(before);
    eprintln!("{more} bytes more for 20 answers of {size}");
    assert!(more < 64 << 20, "{more} bytes more for 20 answers of {size}");
    drop(slow);
    wait("nothing is asked for upstream", || mock.counts().in_flight == 0);
    assert_eq!(mock.counts().abandoned, 20);
}

#[test]
fn who_reads_nothing_for_too_long_gives_its_place_to_others() {
    let rest = r#"
        [api]
        idle_timeout = "1s"

        [gateway]
        max_in_flight = 1
        max_waiting = 1
        queue_timeout = "1h"
    "#;
    let (mock, server) = start(rest);
    let slow = ask(&server);
    wait("it is asked for upstream", || mock.counts().in_flight == 1);
    read(&server);
    let counts = mock.counts();
    assert_eq!((counts.abandoned, counts.answered), (1, 1));
    drop(slow);
}
