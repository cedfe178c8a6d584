//! A hub in the test: serves files, with ranges, and cuts a connection when told to.

use std::{
    collections::HashMap,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// A server whose files, and ways to fail, can be changed while it runs.
#[derive(Clone)]
pub(super) struct Hub {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    answers: HashMap<String, Answer>,
    requests: Vec<Request>,
}

/// What a path gives; any other path gives 404.
#[derive(Clone)]
pub(super) enum Answer {
    /// The content, or the part of it that was asked for.
    File(Vec<u8>),
    /// All of the content, whatever was asked for.
    NoRanges(Vec<u8>),
    /// The promise of all of the content, and so many bytes of it.
    Cut(Vec<u8>, usize),
    /// Another address.
    Redirect(String),
}

/// What was asked for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) range: Option<String>,
    pub(super) authorization: Option<String>,
}

impl Hub {
    /// Serves until the test is over.
    pub(super) fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let hub = Self { address: listener.local_addr()?, state: Arc::default() };
        let serving = hub.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // A client that goes away is no concern of the hub's.
                serving.answer(&connection).ok();
            }
        });
        Ok(hub)
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) fn on(&self, path: &str, answer: Answer) {
        self.with(|state| state.answers.insert(path.to_owned(), answer));
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.with(|state| state.requests.clone())
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn answer(&self, mut connection: &TcpStream) -> io::Result<()> {
        let request = read(connection)?;
        let answer = self.with(|state| {
            state.requests.push(request.clone());
            state.answers.get(&request.path).cloned()
        });
        match answer {
            None => write(connection, "404 Not Found", "", b"not here"),
            Some(Answer::Redirect(to)) => {
                write(connection, "302 Found", &format!("location: {to}\r\n"), b"")
            }
            Some(Answer::NoRanges(content)) => write(connection, "200 OK", "", &content),
            Some(Answer::Cut(content, sent)) => {
                let length = content.len();
                write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n")?;
                connection.write_all(&content[..sent])
            }
            Some(Answer::File(content)) => {
                let total = content.len();
                match request.range.as_deref().and_then(start_of) {
                    None => write(connection, "200 OK", "", &content),
                    Some(start) if start >= total => {
                        let range = format!("content-range: bytes */{total}\r\n");
                        write(connection, "416 Range Not Satisfiable", &range, b"")
                    }
                    Some(start) => {
                        let range =
                            format!("content-range: bytes {start}-{}/{total}\r\n", total - 1);
                        write(connection, "206 Partial Content", &range, &content[start..])
                    }
                }
            }
        }
    }
}

fn read(connection: &TcpStream) -> io::Result<Request> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut request = Request { path, ..Request::default() };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => request.range = Some(value.to_owned()),
            "authorization" => request.authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    Ok(request)
}

fn write(mut to: &TcpStream, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    write!(
        to,
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    )?;
    to.write_all(body)
}

fn start_of(range: &str) -> Option<usize> {
    range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
}
