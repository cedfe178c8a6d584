//! A client that makes a connection for each call, so that it needs to know little of HTTP.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longest time that a call may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Calls a path and reads the answer to its end.
pub(crate) fn call(to: SocketAddr, method: &str, path: &str, id: &str) -> io::Result<()> {
    let mut connection = TcpStream::connect(to)?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let wish = if path.starts_with("/upgraded/") {
        "connection: upgrade\r\nupgrade: specimen"
    } else {
        "connection: close"
    };
    let body = if method == "POST" { "a body" } else { "" };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\n{wish}\r\n\
         content-length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer)?;
    let status = answer.get(9..12).unwrap_or_default();
    if status == b"200" || status == b"101" {
        return Ok(());
    }
    let line = String::from_utf8_lossy(&answer);
    Err(io::Error::other(format!("{path}: {}", line.lines().next().unwrap_or("no answer"))))
}
