//! A mock of our own, on a port of its own.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, ExitStatus},
    thread,
};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use thermograph_server::mock::{Addresses, Counts};

use super::{Answer, PATIENCE, agent, answer, ended, get, give_way, post, send, thermograph, wait};

/// A running mock; killed when dropped.
pub(crate) struct Mock {
    child: Child,
    dir: TempDir,
    flags: Vec<String>,
    pub(crate) address: SocketAddr,
}

/// A request on a connection of its own, and its answer byte by byte; dropped, the client leaves.
pub(crate) struct Exchange(BufReader<TcpStream>);

impl Mock {
    pub(crate) fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let flags: Vec<_> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (child, address) = run("127.0.0.1:0", &flags, &dir);
        Self { child, dir, flags, address }
    }

    /// Ends it without a word, as a machine that fails does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a status");
    }

    /// Starts it again where it was, with the flags that it had and nothing counted.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.address) = run(&self.address.to_string(), &self.flags, &self.dir);
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        post(&self.url(path), &body.to_string())
    }

    pub(crate) fn counts(&self) -> Counts {
        let counters = get(&self.url("/mock")).json()["counters"].take();
        serde_json::from_value(counters).expect("counters")
    }

    /// Changes how it behaves; the answer is the whole behaviour.
    pub(crate) fn change(&self, change: &Value) -> Value {
        let changed = self.patch(change);
        assert_eq!(changed.status, 200, "{changed:?}");
        changed.json()["behaviour"].take()
    }

    pub(crate) fn patch(&self, change: &Value) -> Answer {
        let request = agent().patch(self.url("/mock")).content_type("application/json");
        answer(request.send(&change.to_string()).expect("an answer"))
    }

    pub(crate) fn exchange(&self, path: &str, body: &Value) -> Exchange {
        let mut stream = TcpStream::connect(self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        let body = body.to_string();
        let length = body.len();
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: mock\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all((head + &body).as_bytes()).expect("sent");
        Exchange(BufReader::new(stream))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(&self.child, signal);
    }

    /// Waits for the process to end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }
}

/// Starts the program, and waits until it listens.
fn run(listen: &str, flags: &[String], dir: &TempDir) -> (Child, SocketAddr) {
    let file = dir.path().join("addresses.json");
    // That of one that was there before.
    let _ = std::fs::remove_file(&file);
    let log = File::create(dir.path().join("log")).expect("a file");
    let mut program = thermograph();
    program.args(["mock", "--listen", listen, "--addresses-file"]).arg(&file).args(flags);
    program.stderr(log);
    let start = || {
        give_way();
        program.spawn().expect("started")
    };
    let mut child = thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
    wait("the mock listens", || {
        let ended = child.try_wait().expect("a child");
        let log = || std::fs::read_to_string(dir.path().join("log")).expect("a log");
        assert!(ended.is_none(), "the mock ended: {}", log());
        file.exists()
    });
    let addresses = std::fs::read(&file).expect("a file");
    let Addresses { api } = serde_json::from_slice(&addresses).expect("addresses");
    (child, api)
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("log of the mock:\n{}", self.log());
        }
    }
}

impl Exchange {
    /// The head of the answer, in small letters.
    pub(crate) fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.0.read_line(&mut head).expect("a line"), 0, "closed: {head}");
        }
        head.to_lowercase()
    }

    /// The next chunk, which is what was written at once. The last is empty; none: the connection
    /// was closed before it.
    pub(crate) fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        if self.0.read_line(&mut size).expect("a line") == 0 {
            return None;
        }
        let size = usize::from_str_radix(size.trim(), 16).expect("a size");
        let mut chunk = vec![0; size + 2];
        self.0.read_exact(&mut chunk).expect("a chunk");
        chunk.truncate(size);
        Some(chunk)
    }

    /// All chunks that are still to come, and whether the last one was among them.
    pub(crate) fn chunks(&mut self) -> (Vec<Vec<u8>>, bool) {
        let mut chunks = Vec::new();
        loop {
            match self.chunk() {
                None => return (chunks, false),
                Some(last) if last.is_empty() => return (chunks, true),
                Some(chunk) => chunks.push(chunk),
            }
        }
    }

    /// What still comes before the connection is closed.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).expect("read");
        rest
    }
}
