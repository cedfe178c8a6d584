//! A server of our own, on ports of its own.

pub(crate) mod certificates;
pub(crate) mod database;
pub(crate) mod mock;
pub(crate) mod node;
pub(crate) mod pgbouncer;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod redis;
mod script;

use std::{
    fs::File,
    iter,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use thermograph::{Class, Stall};
use thermograph_server::{config::Listen, serve::Addresses};

pub(crate) use thermograph_test_util::{
    client::{PATIENCE, agent, get_bytes, tool, wait},
    console,
};

/// The name of the model that is there by default.
pub(crate) const MODEL: &str = "all-MiniLM-L6-v2";
/// A running server; killed when dropped, and fails if a handler of it stalled.
pub(crate) struct Server {
    child: Child,
    pub(crate) dir: TempDir,
    /// What its diagnostics ask for.
    token: Option<String>,
    /// True if they speak TLS.
    has_tls: bool,
    /// That of the API is 0.0.0.0:0 if it listens on a socket in the file system.
    pub(crate) addresses: Addresses,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A server with some variables in its environment.
    pub(crate) fn with(variables: &[(&str, &str)]) -> Self {
        Self::at("127.0.0.1:0", variables)
    }

    pub(crate) fn at(listen: &str, variables: &[(&str, &str)]) -> Self {
        Self::configured(listen, "", variables)
    }

    /// A server with a configuration file of this content.
    pub(crate) fn configured(listen: &str, toml: &str, variables: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let config = dir.path().join("thermograph.toml");
        std::fs::write(&config, toml).expect("a file");
        let file = dir.path().join("addresses.json");
        let log = File::create(dir.path().join("log")).expect("a file");
        let any = "127.0.0.1:0";
        let mut child = thermograph()
            .args(["serve", "--listen", listen, "--diagnostics-listen", any])
            .args(["--console-listen", any, "--addresses-file"])
            .arg(&file)
            .arg("--config")
            .arg(&config)
            .envs(variables.iter().copied())
            .stderr(log)
            .spawn()
            .expect("started");
        wait("the server listens", || {
            let ended = child.try_wait().expect("a child");
            let log = || std::fs::read_to_string(dir.path().join("log")).expect("a log");
            assert!(ended.is_none(), "the server ended: {}", log());
            file.exists()
        });
        let addresses = std::fs::read(&file).expect("a file");
        let addresses: Addresses<Listen> = serde_json::from_slice(&addresses).expect("addresses");
        let Addresses { api, diagnostics, console } = addresses;
        let api = api.tcp().unwrap_or(([0, 0, 0, 0], 0).into());
        let addresses = Addresses { api, diagnostics, console };
        let token = variables.iter().find_map(|(name, value)| match *name {
            "THERMOGRAPH_DIAGNOSTICS_TOKEN" => Some((*value).to_owned()),
            "THERMOGRAPH_DIAGNOSTICS_TOKEN_FILE" => {
                Some(std::fs::read_to_string(value).expect("a token").trim_end().to_owned())
            }
            _ => None,
        });
        let has_tls = toml.contains("[diagnostics]\ntls_cert");
        Self { child, dir, token, has_tls, addresses }
    }

    /// No handler and no task of the service may keep a worker to itself: the diagnostics say so
    /// themselves.
    fn assert_no_stall(&self) {
        let own = || {
            let mut stalls = self.stalls();
            stalls.retain(|stall| stall.class != Class::Preempted);
            stalls
        };
        let mut stalls = own();
        if !stalls.is_empty() {
            // Names are looked up after a stall was found.
            wait("the stalls are known whole", || {
                stalls = own();
                let is_named =
                    |stall: &Stall| stall.captured_after_ms.is_none() || !stall.stack.is_empty();
                stalls.iter().all(|stall| stall.ended && is_named(stall))
            });
        }
        let told: Vec<_> = stalls.iter().map(|stall| format!("{stall}\n{stall:?}")).collect();
        assert!(told.is_empty(), "the service stalled: {}", told.join("\n"));
    }

    /// The stalls that its diagnostics have seen.
    fn stalls(&self) -> Vec<Stall> {
        let mut request = agent().get(self.diagnostics("/debug/stalls"));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let stalls = answer(request.call().expect("an answer")).json()["stalls"].take();
        serde_json::from_value(stalls).expect("stalls")
    }

    pub(crate) fn api(&self, path: &str) -> String {
        format!("http://{}{path}", self.addresses.api)
    }

    pub(crate) fn diagnostics(&self, path: &str) -> String {
        let scheme = if self.has_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.addresses.diagnostics)
    }

    pub(crate) fn embed(&self, body: &Value) -> Answer {
        post(&self.api("/v1/embeddings"), &body.to_string())
    }

    /// The value of a metric that counts, or the sum over its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = get(&self.diagnostics("/metrics")).text;
        let of_name = text.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with([' ', '{']))
        });
        of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Bytes of memory that are in use, once the server has examined itself, two seconds after its start:
    /// reading the names of its functions takes more than a hundred megabytes for a moment.
    pub(crate) fn memory(&self) -> u64 {
        wait("the doctor has examined it", || self.log().contains("\"doctor: "));
        let status = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(status).expect("a status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes = resident.and_then(|text| text.split_whitespace().next());
        kilobytes.and_then(|text| text.parse::<u64>().ok()).expect("a size") << 10
    }

    /// Its configuration file.
    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("thermograph.toml")
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).expect("a log")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.assert_no_stall();
        send(&self.child, signal);
    }

    /// Waits for the process to end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let is_there = matches!(self.child.try_wait(), Ok(None));
        // The process ends in any case.
        let checked = (is_there && !thread::panicking())
            .then(|| catch_unwind(AssertUnwindSafe(|| self.assert_no_stall())));
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(Err(stalled)) = checked {
            resume_unwind(stalled);
        }
        if thread::panicking() {
            eprintln!("log of the server:\n{}", self.log());
        }
    }
}

/// The program, in the folder where the models are, with nothing of this environment in it.
pub(crate) fn thermograph() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thermograph"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("THERMOGRAPH_") || name == "RUST_LOG" || name == "MODEL_DIR" {
            command.env_remove(name);
        }
    }
    command
}

/// Lowers the priority of this thread and of what it starts. Clients and upstreams are on other
/// machines as a rule; on this one they are not to take the processor away from who holds a lock of
/// the service, so that others wait for it.
pub(crate) fn give_way() {
    rustix::process::setpriority_process(None, 10).expect("anybody may");
}

/// An address for a program that takes no port 0: below the ports that the system gives to whoever
/// connects, so that it stays free. None is given twice: its program may end and start again.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id() % 5000;
    let places = iter::repeat_with(|| first + GIVEN.fetch_add(1, Relaxed)).take(5000);
    let ports = places.map(|place| 20_000 + place % 10_000);
    let addresses = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16)));
    let mut free = addresses.filter(|address| TcpListener::bind(address).is_ok());
    free.next().expect("a port that is free")
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// OpenAI's error object, of an answer that must be one.
    pub(crate) fn error(&self) -> Value {
        assert!(!self.header("x-request-id").is_empty(), "no request id: {self:?}");
        let mut json = self.json();
        let error = json["error"].take();
        assert!(error["message"].is_string() && error["type"].is_string(), "{self:?}");
        error
    }
}

pub(crate) fn get(url: &str) -> Answer {
    answer(agent().get(url).call().expect("an answer"))
}

pub(crate) fn post(url: &str, body: &str) -> Answer {
    let request = agent().post(url).content_type("application/json");
    answer(request.send(body).expect("an answer"))
}

pub(crate) fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let text = response.body_mut().with_config().limit(1 << 30).read_to_string();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: text.expect("a body"),
    }
}

/// Waits for a process to end.
pub(crate) fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    wait("the process ends", || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    status.expect("just seen")
}

/// Sends a signal to a process that was not waited for yet.
pub(crate) fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("sent");
}

/// Keeps the server busy with embeddings, short, long and many, while `during` runs.
pub(crate) fn under_load<T>(server: &Server, during: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    let long = "a sentence that is not short, since it says the same again and again. ".repeat(12);
    let some = serde_json::json!(vec!["one of some"; 10]);
    let many = serde_json::json!(vec!["one of many"; 16]);
    let inputs = [serde_json::json!("short"), serde_json::json!(long), many, some.clone(), some];
    thread::scope(|scope| {
        for input in &inputs {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    let body = serde_json::json!({ "model": MODEL, "input": input });
                    assert_eq!(server.embed(&body).status, 200);
                }
            });
        }
        let result = catch_unwind(AssertUnwindSafe(during));
        stop.store(true, Relaxed);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    })
}
