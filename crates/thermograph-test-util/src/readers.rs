//! Clients that ask for a capture and do not read the answer.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
};

use crate::client::{PATIENCE, wait};

/// A client that has requested a long capture at `path` from `diagnostics`, an address, and does not
/// read the response.
///
/// # Panics
///
/// Panics if the connection fails or the request cannot be sent.
pub fn reader(diagnostics: &str, path: &str) -> TcpStream {
    let mut client = TcpStream::connect(diagnostics).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("set");
    let request = format!(
        "GET {path}?seconds=300 HTTP/1.1\r\nhost: {diagnostics}\r\nconnection: close\r\n\r\n"
    );
    client.write_all(request.as_bytes()).expect("sent");
    client
}

/// Opens one capture more than the limit. Returns the clients whose captures run, and the answer to
/// the refused one. Requests may be admitted in any order, but a refusal means that the limit is
/// reached.
///
/// # Panics
///
/// Panics if a client cannot connect, or if none is refused within [`PATIENCE`].
pub fn fill_captures(diagnostics: &str, path: &str) -> (Vec<TcpStream>, String) {
    /// Limit of captures of one kind at a time.
    const MOST: usize = 16;
    let mut clients: Vec<_> = (0..=MOST).map(|_| reader(diagnostics, path)).collect();
    let mut answered = None;
    wait("one is refused", || {
        answered = clients.iter().position(has_answer);
        answered.is_some()
    });
    let mut refused = clients.remove(answered.expect("waited for it"));
    let mut answer = String::new();
    refused.read_to_string(&mut answer).expect("an answer");
    (clients, answer)
}

fn has_answer(client: &TcpStream) -> bool {
    client.set_nonblocking(true).expect("set");
    let peeked = client.peek(&mut [0]);
    client.set_nonblocking(false).expect("set");
    match peeked {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::WouldBlock => false,
        Err(error) => panic!("a client that waits for its answer: {error}"),
    }
}
