//! Chat completions asked for over HTTP/1.1, and what their clients see.
//!
//! One thread, requests that were written beforehand, new connections for every turn.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::{self, Runtime},
    task::JoinSet,
    time,
};

use super::{
    answer::Answer,
    seen::{Exchanged, Expected, Seen},
};

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// A connection on which so many requests in a row fail is given up.
const FAILURES: usize = 20;

/// What is asked for, over and over.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) request: Bytes,
    pub(crate) expected: Expected,
}

pub(crate) struct Traffic {
    /// One thread: the machine's others belong to the servers.
    runtime: Runtime,
}

impl Traffic {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { runtime: runtime::Builder::new_current_thread().enable_all().build()? })
    }

    /// Asks on all connections for a time, each for the next when its last answer came.
    pub(crate) fn drive(&self, address: SocketAddr, load: &Load, length: Duration) -> Seen {
        self.runtime.block_on(async {
            let start = Instant::now();
            let mut all = JoinSet::new();
            for _ in 0..load.connections {
                all.spawn(work(address, load.clone(), start + length));
            }
            let mut seen = Seen::default();
            while let Some(ended) = all.join_next().await {
                match ended {
                    Ok(one) => seen.add(one),
                    Err(why) => seen.fail(&why),
                }
            }
            seen.seconds = start.elapsed().as_secs_f64();
            seen
        })
    }

    /// The body of one answer.
    pub(crate) fn ask(&self, address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let mut connection = Connection::open(address).await?;
            let exchange = time::timeout(PATIENCE, connection.exchange(request));
            let exchanged = exchange.await.context("no answer")??;
            Ok(exchanged.answer.body().to_vec())
        })
    }
}

async fn work(address: SocketAddr, load: Load, end: Instant) -> Seen {
    let mut seen = Seen::default();
    let mut connection = None;
    let mut failures = 0;
    while Instant::now() < end && failures < FAILURES {
        let asked = time::timeout(PATIENCE, ask(&mut connection, address, &load.request)).await;
        let asked = asked.context("no answer in time").flatten();
        match asked.and_then(|exchanged| seen.answered(&exchanged, load.expected)) {
            Ok(()) => failures = 0,
            Err(why) => {
                seen.fail(&why);
                connection = None;
                failures += 1;
            }
        }
    }
    seen
}

/// Over the connection, or over a new one.
async fn ask(
    connection: &mut Option<Connection>,
    address: SocketAddr,
    request: &[u8],
) -> anyhow::Result<Exchanged> {
    let mut open = match connection.take() {
        Some(open) => open,
        None => Connection::open(address).await?,
    };
    let exchanged = open.exchange(request).await?;
    if !exchanged.answer.closes {
        *connection = Some(open);
    }
    Ok(exchanged)
}

struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 << 10].into() })
    }

    async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Exchanged> {
        let start = Instant::now();
        self.stream.write_all(request).await.context("cannot ask")?;
        let mut answer = Answer::default();
        let (mut first, mut last, mut gap) = (None, start, 0.0_f64);
        loop {
            let read = self.stream.read(&mut self.buffer).await.context("the answer broke off")?;
            ensure!(read > 0, "the connection was closed before the answer ended");
            let now = Instant::now();
            let events = answer.events();
            let is_complete = answer.take(&self.buffer[..read])?;
            if answer.events() > events {
                match first {
                    None => first = Some((now - start).as_secs_f64()),
                    Some(_) => gap = gap.max((now - last).as_secs_f64()),
                }
                last = now;
            }
            if is_complete {
                return Ok(Exchanged { answer, wait: (now - start).as_secs_f64(), first, gap });
            }
        }
    }
}
