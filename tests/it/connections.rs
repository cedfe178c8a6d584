//! Connections of the AI API: how they begin, what they must say, and how they end.

mod early;
mod half_close;
mod host;
mod limit;
mod slow_body;
mod tls;
mod unix;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use crate::support::PATIENCE;

/// A connection whose answers are read within the tests' patience.
fn connect(address: SocketAddr) -> TcpStream {
    let connection = TcpStream::connect(address).expect("connected");
    connection.set_read_timeout(Some(PATIENCE)).expect("set");
    connection
}

/// Sends these bytes.
fn send(mut connection: &TcpStream, bytes: &str) {
    connection.write_all(bytes.as_bytes()).expect("sent");
}

/// Everything that comes until the server closes the connection.
fn read(mut connection: &TcpStream) -> String {
    let mut answer = String::new();
    connection.read_to_string(&mut answer).expect("an answer, and then the end");
    answer
}

/// A request that posts JSON.
fn posted(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: {length}\r\n\r\n{body}")
}
