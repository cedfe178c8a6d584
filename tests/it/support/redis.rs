//! A real Redis, on a port of its own.

use std::{
    fs::File,
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
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
    arguments: Vec<String>,
}

/// An address that is one Redis' and may become another's, as a name in DNS does: connections that
/// are open stay where they are.
pub(crate) struct Name {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A Redis with these arguments.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let arguments: Vec<_> = arguments.iter().map(|text| (*text).to_owned()).collect();
        let child = run(address, &dir, &arguments);
        Self { child, dir, address, arguments }
    }

    /// A Redis in cluster mode. Its second port would be 10,000 above the first, which may be no port.
    pub(crate) fn cluster() -> Self {
        let port = free_address().port().to_string();
        Self::with(&["--cluster-enabled", "yes", "--cluster-port", &port])
    }

    /// Makes it a replica of another.
    pub(crate) fn replicate(&self, primary: &Self) {
        let (host, port) = (primary.address.ip().to_string(), primary.address.port().to_string());
        assert_eq!(self.ask(&["REPLICAOF", &host, &port]), "OK");
    }

    /// Ends it without a word, and with all that it kept.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("a status");
    }

    /// Starts it again where it was, with nothing in it.
    pub(crate) fn restart(&mut self) {
        self.child = run(self.address, &self.dir, &self.arguments);
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

fn run(address: SocketAddr, dir: &TempDir, arguments: &[String]) -> Child {
    let log = File::create(dir.path().join("log")).expect("a file");
    let mut program = Command::new(tool("redis-server"));
    program.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
    program.args(["--save", "", "--appendonly", "no", "--dir"]).arg(dir.path());
    program.args(arguments);
    program.stdin(Stdio::null()).stdout(log);
    let start = || {
        give_way();
        program.spawn().expect("started")
    };
    let mut child = thread::scope(|scope| scope.spawn(start).join().expect("no panic"));
    wait("Redis listens", || {
        assert!(
            child.try_wait().expect("a status").is_none(),
            "Redis ended: {}",
            dir.path().display()
        );
        ask(address, &["PING"]) == "PONG"
    });
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

impl Name {
    pub(crate) fn of(redis: &Redis) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(redis.address));
        let theirs = Arc::clone(&target);
        // It ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let client = stream.expect("a connection");
                let target = *theirs.lock().expect("no panic");
                // Without a server, the client's connection is closed.
                let Ok(server) = TcpStream::connect(target) else { continue };
                let copies = [(&client, &server), (&server, &client)].map(|(from, to)| {
                    (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"))
                });
                for (mut from, mut to) in copies {
                    thread::spawn(move || {
                        // One side has gone: so does the other.
                        let _ = io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { address, target }
    }

    /// Gives new connections to another Redis.
    pub(crate) fn move_to(&self, redis: &Redis) {
        *self.target.lock().expect("no panic") = redis.address;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}
