//! An answer of HTTP/1.1 taken apart as it comes, and the events in it counted.
//!
//! Chunks are taken off: an event may end in another chunk than it began in.

use anyhow::{Context as _, bail, ensure};

/// The answer to one request.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// What came, from `at` on not yet taken apart.
    raw: Vec<u8>,
    at: usize,
    next: Next,
    body: Vec<u8>,
    /// Up to where the body's events are counted.
    counted: usize,
    events: usize,
    /// The server closes the connection after it.
    pub(crate) closes: bool,
}

/// What comes next; of a body or a chunk: how many bytes are missing.
#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Head,
    Body(usize),
    ChunkSize,
    Chunk(usize),
    ChunkEnd,
    Trailer,
    Nothing,
}

impl Answer {
    /// Takes what came next; whether the answer is complete.
    pub(crate) fn take(&mut self, came: &[u8]) -> anyhow::Result<bool> {
        self.raw.extend_from_slice(came);
        while self.step()? {}
        self.count();
        let is_complete = matches!(self.next, Next::Nothing);
        ensure!(!is_complete || self.at == self.raw.len(), "more came than was asked for");
        Ok(is_complete)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Server-sent events that are complete.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Whether there was something to do.
    fn step(&mut self) -> anyhow::Result<bool> {
        self.next = match self.next {
            Next::Head => match self.until(b"\r\n\r\n") {
                Some(head) => self.head(&head)?,
                None => return Ok(false),
            },
            Next::Body(missing) | Next::Chunk(missing) => {
                let came = missing.min(self.raw.len() - self.at);
                self.body.extend_from_slice(&self.raw[self.at..self.at + came]);
                self.at += came;
                match (self.next, missing - came) {
                    (Next::Body(_), 0) => Next::Nothing,
                    (_, 0) => Next::ChunkEnd,
                    (Next::Body(_), missing) => Next::Body(missing),
                    (_, missing) => Next::Chunk(missing),
                }
            }
            Next::ChunkEnd => match self.until(b"\r\n") {
                Some(end) => {
                    ensure!(end.is_empty(), "a chunk is longer than it says");
                    Next::ChunkSize
                }
                None => return Ok(false),
            },
            Next::ChunkSize => match self.until(b"\r\n") {
                Some(line) => match usize::from_str_radix(line.trim(), 16)? {
                    0 => Next::Trailer,
                    size => Next::Chunk(size),
                },
                None => return Ok(false),
            },
            Next::Trailer => match self.until(b"\r\n") {
                Some(line) if line.is_empty() => Next::Nothing,
                Some(_) => Next::Trailer,
                None => return Ok(false),
            },
            Next::Nothing => return Ok(false),
        };
        // Where bytes are missing, they have to come first.
        Ok(!matches!(self.next, Next::Body(1..) | Next::Chunk(1..)) || self.at < self.raw.len())
    }

    /// What came before the `end`, if it has come.
    fn until(&mut self, end: &[u8]) -> Option<String> {
        let rest = &self.raw[self.at..];
        let length = rest.windows(end.len()).position(|bytes| bytes == end)?;
        let text = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + end.len();
        Some(text)
    }

    fn head(&mut self, head: &str) -> anyhow::Result<Next> {
        let (status, headers) = head.split_once("\r\n").unwrap_or((head, ""));
        let value = |wanted: &str| {
            let mut headers = headers.lines().filter_map(|line| line.split_once(':'));
            let (_, value) = headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
            Some(value.trim())
        };
        if !status.starts_with("HTTP/1.1 200") {
            bail!("{status}");
        }
        self.closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            return Ok(Next::ChunkSize);
        }
        let length = value("content-length").context("an answer without its length")?;
        Ok(match length.parse()? {
            0 => Next::Nothing,
            length => Next::Body(length),
        })
    }

    fn count(&mut self) {
        while let Some(end) = self.body[self.counted..].windows(2).position(|two| two == b"\n\n") {
            self.events += 1;
            self.counted += end + 2;
        }
    }
}
