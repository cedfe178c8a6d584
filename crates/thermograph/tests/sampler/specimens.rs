//! Handlers that are ill, each in a way of its own.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::OpenOptionsExt as _,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, routing::get};
use thermograph::Class;

mod resolver;

/// How long each keeps its worker, at least.
pub(crate) const ILLNESS: Duration = Duration::from_millis(25);

/// What a specimen's stalls must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Specimen {
    pub(crate) path: &'static str,
    /// The function that must be in the stack.
    pub(crate) function: &'static str,
    pub(crate) class: Class,
    /// Any of these; none for one that computes.
    pub(crate) syscalls: &'static [&'static str],
}

const fn blocked(
    path: &'static str,
    function: &'static str,
    syscalls: &'static [&'static str],
) -> Specimen {
    Specimen { path, function, class: Class::Blocked, syscalls }
}

const fn computes(path: &'static str, function: &'static str) -> Specimen {
    Specimen { path, function, class: Class::Cpu, syscalls: &[] }
}

pub(crate) const SPECIMENS: [Specimen; 11] = [
    blocked("/ill/sleep", "specimens::sleep_on_the_worker", &["clock_nanosleep", "nanosleep"]),
    blocked("/ill/mutex", "specimens::lock_a_mutex", &["futex"]),
    blocked("/ill/read", "specimens::read_a_file", &["read"]),
    blocked("/ill/fsync", "specimens::write_and_sync", &["fsync"]),
    blocked("/ill/tcp", "specimens::read_a_socket", &["recvfrom"]),
    blocked("/ill/getaddrinfo", "specimens::resolve_a_name", &["poll", "ppoll"]),
    computes("/ill/burn", "specimens::burn"),
    computes("/ill/json", "specimens::parse_big_json"),
    computes("/ill/argon2", "specimens::hash_a_password"),
    blocked("/ill/block-on", "specimens::block_on_a_future", &["futex"]),
    blocked("/ill/recv", "specimens::receive_from_a_channel", &["futex"]),
];

/// What the specimens wait for.
#[derive(Clone)]
struct Ward(Arc<Things>);

struct Things {
    mutex: Arc<Mutex<u64>>,
    json: String,
    name_server: resolver::NameServer,
}

pub(crate) fn router() -> Router {
    let things = Things {
        mutex: Arc::default(),
        json: serde_json::to_string(&vec![serde_json::json!({ "id": 1, "name": "some" }); 20_000])
            .expect("serializes"),
        name_server: resolver::NameServer::start(ILLNESS),
    };
    Router::new()
        .route("/ill/sleep", get(async || sleep_on_the_worker()))
        .route("/ill/mutex", get(async |ward: State<Ward>| lock_a_mutex(&ward)))
        .route("/ill/read", get(async || read_a_file()))
        .route("/ill/fsync", get(async || write_and_sync()))
        .route("/ill/tcp", get(async || read_a_socket()))
        .route("/ill/getaddrinfo", get(async |ward: State<Ward>| resolve_a_name(&ward)))
        .route("/ill/burn", get(async || burn(ILLNESS)))
        .route("/ill/json", get(async |ward: State<Ward>| parse_big_json(&ward)))
        .route("/ill/argon2", get(async || hash_a_password()))
        .route("/ill/block-on", get(async || block_on_a_future()))
        .route("/ill/recv", get(async || receive_from_a_channel()))
        .route("/in-place", get(async || sleep_in_place()))
        .route("/ill/output", get(async || run_a_program()))
        .route("/ill/short", get(async || thread::sleep(Duration::from_millis(2))))
        .with_state(Ward(Arc::new(things)))
}

/// Does something on a thread of its own, when this one has waited long enough.
fn later(act: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(ILLNESS);
        act();
    });
}

// What they return is made afterwards, out of the compiler's sight: a call that is the last thing a
// function does is made in its place, and leaves no frame of it.

#[inline(never)]
fn sleep_on_the_worker() -> &'static str {
    thread::sleep(ILLNESS);
    std::hint::black_box("slept")
}

/// Healthy: another thread takes the worker over.
#[inline(never)]
fn sleep_in_place() -> &'static str {
    tokio::task::block_in_place(|| thread::sleep(ILLNESS));
    std::hint::black_box("slept")
}

#[inline(never)]
fn run_a_program() -> &'static str {
    let output = std::process::Command::new("sleep").arg("0.05").output();
    assert!(output.expect("sleep runs").status.success());
    std::hint::black_box("run")
}

#[inline(never)]
fn lock_a_mutex(Ward(things): &Ward) -> &'static str {
    let (tell, held) = mpsc::channel();
    let mutex = Arc::clone(&things.mutex);
    let holder = thread::spawn(move || {
        let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
        tell.send(()).expect("somebody waits");
        thread::sleep(ILLNESS);
        drop(guard);
    });
    // Shortly: that the lock is held.
    held.recv().expect("held");
    *things.mutex.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    holder.join().expect("no panic");
    std::hint::black_box("counted")
}

#[inline(never)]
fn read_a_file() -> &'static str {
    let mut pipe = pipe();
    let mut other_end = pipe.try_clone().expect("a file");
    later(move || other_end.write_all(b"x").expect("written"));
    pipe.read_exact(&mut [0]).expect("read");
    std::hint::black_box("read")
}

#[inline(never)]
fn write_and_sync() -> &'static str {
    let mut file = tempfile::tempfile_in(env!("CARGO_TARGET_TMPDIR")).expect("a file");
    let start = Instant::now();
    while start.elapsed() < ILLNESS {
        file.write_all(&[b'x'; 4096]).expect("written");
        file.sync_all().expect("synced");
    }
    std::hint::black_box("synced")
}

#[inline(never)]
fn read_a_socket() -> &'static str {
    let (mut socket, mut other_end) = sockets();
    later(move || other_end.write_all(b"x").expect("written"));
    socket.read_exact(&mut [0]).expect("read");
    std::hint::black_box("read")
}

#[inline(never)]
fn resolve_a_name(Ward(things): &Ward) -> &'static str {
    things.name_server.resolve("nowhere.invalid");
    std::hint::black_box("resolved")
}

/// Computes until this thread has used so much CPU time.
#[inline(never)]
pub(crate) fn burn(time: Duration) {
    let until = cpu_time() + time;
    let mut hash = 0_u64;
    while cpu_time() < until {
        for number in 0..10_000 {
            hash = std::hint::black_box((hash ^ number).wrapping_mul(0x100_0000_01b3));
        }
    }
}

#[inline(never)]
fn parse_big_json(Ward(things): &Ward) {
    let until = cpu_time() + ILLNESS;
    while cpu_time() < until {
        let value: serde_json::Value = serde_json::from_str(&things.json).expect("JSON");
        std::hint::black_box(value);
    }
}

#[inline(never)]
fn hash_a_password() {
    let params = argon2::Params::new(4096, 3, 1, None).expect("allowed");
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let until = cpu_time() + ILLNESS;
    while cpu_time() < until {
        let mut hash = [0; 32];
        argon2.hash_password_into(b"password", b"some salt", &mut hash).expect("hashed");
        std::hint::black_box(hash);
    }
}

#[inline(never)]
fn block_on_a_future() -> &'static str {
    let (send, receive) = tokio::sync::oneshot::channel();
    later(|| send.send(()).expect("somebody waits"));
    futures_executor::block_on(receive).expect("sent");
    std::hint::black_box("received")
}

#[inline(never)]
fn receive_from_a_channel() -> &'static str {
    let (send, receive) = mpsc::channel();
    later(move || send.send(()).expect("somebody waits"));
    receive.recv().expect("sent");
    std::hint::black_box("received")
}

/// CPU time of this thread.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("nanoseconds"))
}

fn pipe() -> File {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("pipe");
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU);
    rustix::fs::mknodat(rustix::fs::CWD, &path, kind, mode, 0).expect("made");
    // Open for both, so that opening does not wait for the other end.
    let close = i32::try_from(rustix::fs::OFlags::CLOEXEC.bits()).expect("a flag");
    OpenOptions::new().read(true).write(true).custom_flags(close).open(path).expect("opened")
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    let (other, _) = listener.accept().expect("accepted");
    other.set_nodelay(true).expect("set");
    (one, other)
}
