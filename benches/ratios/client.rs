//! A lean HTTP/1.1 client: requests that were written beforehand, answers read and hardly parsed.
//!
//! Not the project's load driver: on a machine of few cores a client takes from the server what it
//! costs itself, and here the server is what is measured.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    ops::Range,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::ready,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, ReadBuf},
    net::TcpStream,
    runtime::{self, Runtime},
    task::{JoinSet, yield_now},
};

/// Requests as they go over the wire, asked one after the other, over and over.
pub(crate) type Requests = Arc<[Bytes]>;

/// Connections that are kept alive, each with one request on its way.
pub(crate) struct Clients {
    /// One thread: the machine's others belong to the server.
    runtime: Runtime,
    connections: Vec<Connection>,
    /// Number of the next request.
    next: Arc<AtomicUsize>,
    /// True if the thread polls instead of sleeping while every request is in flight.
    is_awake: bool,
}

struct Connection {
    stream: TcpStream,
    /// The answer; grows to the longest.
    buffer: Vec<u8>,
    /// What a good answer begins with.
    good: &'static str,
}

impl Clients {
    pub(crate) fn connect(address: SocketAddr, count: usize) -> anyhow::Result<Self> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let connections = runtime.block_on(async {
            let mut connections = Vec::with_capacity(count);
            for _ in 0..count {
                connections.push(Connection::open(address).await?);
            }
            anyhow::Ok(connections)
        })?;
        Ok(Self { runtime, connections, next: Arc::default(), is_awake: false })
    }

    /// Has the thread poll instead of sleep while every request is in flight.
    ///
    /// A server pays for waking a client that sleeps, several microseconds on a virtual machine, and
    /// the slower the server, the more often the client sleeps: two servers that differ by 1 % would
    /// seem to differ by 2 %.
    pub(crate) fn awake(mut self) -> Self {
        self.is_awake = true;
        self
    }

    /// Answers that begin like this are good, and no others.
    pub(crate) fn expecting(mut self, good: &'static str) -> Self {
        for connection in &mut self.connections {
            connection.good = good;
        }
        self
    }

    /// Drives all connections for a time: how many requests were answered, and how long it took
    /// to the last answer. An answer that is not good is an error.
    pub(crate) fn drive(
        &mut self,
        requests: &Requests,
        length: Duration,
    ) -> anyhow::Result<(u64, f64)> {
        let start = Instant::now();
        let mut all = JoinSet::new();
        let connections = std::mem::take(&mut self.connections);
        let is_awake = self.is_awake;
        let done = self.runtime.block_on(async {
            // Apart from the connections, since this task never ends.
            let mut polling = JoinSet::<()>::new();
            if is_awake {
                polling.spawn(async {
                    loop {
                        yield_now().await;
                    }
                });
            }
            for connection in connections {
                let (requests, next) = (Arc::clone(requests), Arc::clone(&self.next));
                all.spawn(connection.work(requests, next, start + length));
            }
            let mut done = 0;
            while let Some(ended) = all.join_next().await {
                let (connection, requests) = ended??;
                self.connections.push(connection);
                done += requests;
            }
            anyhow::Ok(done)
        })?;
        Ok((done, start.elapsed().as_secs_f64()))
    }

    /// The body of one answer.
    pub(crate) fn ask(&mut self, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        let connection = self.connections.first_mut().context("no connection")?;
        let body = self.runtime.block_on(connection.exchange(request))?;
        Ok(connection.buffer[body].to_vec())
    }
}

/// A GET.
pub(crate) fn get(path: &str) -> Bytes {
    Bytes::from(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"))
}

/// A POST of JSON.
pub(crate) fn post(path: &str, body: &serde_json::Value) -> Bytes {
    let body = body.to_string();
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n");
    let headers = format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    Bytes::from(head + &headers + &body)
}

impl Connection {
    async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 << 10], good: "HTTP/1.1 200" })
    }

    async fn work(
        mut self,
        requests: Requests,
        next: Arc<AtomicUsize>,
        end: Instant,
    ) -> anyhow::Result<(Self, u64)> {
        let mut done = 0;
        while Instant::now() < end {
            let number = next.fetch_add(1, Relaxed) % requests.len();
            self.exchange(&requests[number]).await?;
            done += 1;
        }
        Ok((self, done))
    }

    /// Sends a request and reads the whole answer; where in the buffer its body is.
    async fn exchange(&mut self, mut request: &[u8]) -> anyhow::Result<Range<usize>> {
        while !request.is_empty() {
            let stream = &mut self.stream;
            let sent = poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, request)).await?;
            request = &request[sent..];
        }
        let (mut filled, mut body) = (0, None);
        loop {
            filled += self.read(filled).await?;
            if body.is_none() {
                body = body_of(&self.buffer[..filled], self.good)?;
            }
            match body {
                Some(body) if filled >= body.end => return Ok(body),
                _ => {}
            }
        }
    }

    async fn read(&mut self, filled: usize) -> io::Result<usize> {
        if filled == self.buffer.len() {
            self.buffer.resize(filled * 2, 0);
        }
        let (stream, buffer) = (&mut self.stream, &mut self.buffer[filled..]);
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            io::Result::Ok(buffer.filled().len()).into()
        });
        match read.await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => Ok(read),
        }
    }
}

/// Where the body of an answer is, once its head is there.
fn body_of(answer: &[u8], good: &str) -> anyhow::Result<Option<Range<usize>>> {
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = str::from_utf8(&answer[..end])?;
    ensure!(head.starts_with(good), "not a good answer: {head}");
    let length = head.lines().filter_map(|line| line.split_once(": "));
    let mut length = length.filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.next().context("an answer without its length")?;
    let begin = end + 4;
    Ok(Some(begin..begin + length.parse::<usize>()?))
}
