//! A real Redis, on a port of its own.

use std::{
    fs::File,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use rustix::process::Signal;
use tempfile::TempDir;

use super::{free_address, give_way, send, tool, wait};

/// A running Redis with nothing in it; killed when dropped.
pub(crate) struct Redis {
    child: Child,
    dir: TempDir,
    address: SocketAddr,
}

impl Redis {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let child = run(address, &dir);
        Self { child, dir, address }
    }

    /// Ends it without a word, and with all that it kept.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a status");
    }

    /// Starts it again where it was, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.address, &self.dir);
    }

    /// Lets it hang: it takes connections and requests, and answers none.
    pub(crate) fn hang(&self) {
        send(&self.child, Signal::STOP);
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        send(&self.child, Signal::CONT);
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// What `redis-cli` says to a command.
    pub(crate) fn ask(&self, command: &[&str]) -> String {
        ask(self.address, command)
    }
}

fn run(address: SocketAddr, dir: &TempDir) -> Child {
    let log = File::create(dir.path().join("log")).expect("a file");
    let mut program = Command::new(tool("redis-server"));
    program.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    program.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
    program.stdin(Stdio::null()).stdout(log);
    let start = || {
        give_way();
        program.spawn().expect("started")
    };
    let child = thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
    wait("Redis listens", || ask(address, &["PING"]) == "PONG");
    child
}

fn ask(address: SocketAddr, command: &[&str]) -> String {
    let mut client = Command::new(tool("redis-cli"));
    client.args(["-h", &address.ip().to_string(), "-p", &address.port().to_string()]);
    let output = client.args(command).output().expect("it runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
