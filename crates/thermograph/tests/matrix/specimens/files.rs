//! Files, pipes and locks on files.

use std::{
    fs::{self, File, OpenOptions},
    hint::black_box,
    io::{self, BufRead as _, PipeWriter, Read as _, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::fs::{FileType, FlockOperation, Mode};

use super::{ILLNESS, cpu_time, later, system::lock_record};
use crate::{
    places::queued,
    specimen::{Specimen, blocked},
};

pub(super) fn all() -> Vec<Specimen> {
    vec![
        blocked(pipe_read, &["read"]),
        blocked(pipe_read_line, &["read"]),
        blocked(pipe_write, &["write"]),
        blocked(pipe_copy, &["read", "splice"]),
        blocked(pipe_to_file, &["read", "splice", "copy_file_range", "sendfile"]),
        blocked(fifo_open, &["openat", "open"]),
        blocked(fifo_read, &["read"]),
        blocked(file_lock, &["flock"]),
        blocked(flock, &["flock"]),
        blocked(fcntl_lock, &["fcntl"]),
        blocked(fsync, &["fsync"]),
        blocked(slow_log, &["write"]),
    ]
}

/// A path of its own to write to.
pub(super) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Relaxed);
    let process = std::process::id();
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("matrix-{name}-{process}-{number}"))
}

fn fifo() -> PathBuf {
    let path = scratch("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &path, FileType::Fifo, Mode::RWXU, 0).expect("made");
    path
}

#[inline(never)]
fn pipe_read() {
    let (mut receive, mut send) = io::pipe().expect("a pipe");
    later(move || send.write_all(b"x").expect("written"));
    receive.read_exact(&mut [0]).expect("read");
    black_box(());
}

#[inline(never)]
fn pipe_read_line() {
    let (receive, mut send) = io::pipe().expect("a pipe");
    later(move || send.write_all(b"a line\n").expect("written"));
    let mut line = String::new();
    black_box(io::BufReader::new(receive).read_line(&mut line).is_ok());
}

/// A pipe that is emptied after a while; what is written to it must wait for that.
fn full_pipe() -> PipeWriter {
    let (mut receive, mut send) = io::pipe().expect("a pipe");
    send.write_all(&vec![b'x'; PIPE]).expect("written");
    later(move || drop(io::copy(&mut receive, &mut io::sink())));
    send
}

/// What a pipe holds.
const PIPE: usize = 65_536;

#[inline(never)]
fn pipe_write() {
    let mut pipe = full_pipe();
    pipe.write_all(b"one more").expect("written");
    black_box(());
}

#[inline(never)]
fn pipe_copy() {
    let (mut receive, mut send) = io::pipe().expect("a pipe");
    later(move || send.write_all(b"x").expect("written"));
    black_box(io::copy(&mut receive, &mut io::sink()).is_ok());
}

#[inline(never)]
fn pipe_to_file() {
    let (mut receive, mut send) = io::pipe().expect("a pipe");
    let mut null = OpenOptions::new().write(true).open("/dev/null").expect("opened");
    later(move || send.write_all(b"x").expect("written"));
    black_box(io::copy(&mut receive, &mut null).is_ok());
}

#[inline(never)]
fn fifo_open() {
    let path = fifo();
    let theirs = path.clone();
    later(move || drop(OpenOptions::new().write(true).open(theirs)));
    black_box(File::open(&path).is_ok());
    fs::remove_file(path).expect("removed");
}

#[inline(never)]
fn fifo_read() {
    let path = fifo();
    let mut send = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
    let mut receive = File::open(&path).expect("opened");
    later(move || {
        send.write_all(b"x").expect("written");
    });
    black_box(receive.read_to_string(&mut String::new()).is_ok());
    fs::remove_file(path).expect("removed");
}

/// Has another descriptor lock a file for a while.
fn locked() -> (PathBuf, File) {
    let path = scratch("lock");
    let holder = File::create(&path).expect("created");
    let ours = File::options().write(true).open(&path).expect("opened");
    holder.lock().expect("locked");
    later(move || drop(holder));
    (path, ours)
}

#[inline(never)]
fn file_lock() {
    let (path, ours) = locked();
    black_box(ours.lock().is_ok());
    fs::remove_file(path).expect("removed");
}

#[inline(never)]
fn flock() {
    let (path, ours) = locked();
    black_box(rustix::fs::flock(&ours, FlockOperation::LockExclusive).is_ok());
    fs::remove_file(path).expect("removed");
}

#[inline(never)]
fn fcntl_lock() {
    let path = scratch("fcntl");
    let (ours, theirs) = (File::create(&path).expect("created"), File::create(&path));
    let theirs = theirs.expect("created");
    lock_record(&theirs);
    later(move || drop(theirs));
    black_box(lock_record(&ours));
    fs::remove_file(path).expect("removed");
}

/// Until the disk has taken enough time. That in which the thread ran or waited for a processor is left
/// out: where a disk is quick, the calls compute more than they wait. The file stays open: to close one
/// that is deleted takes time, too.
#[inline(never)]
fn fsync() {
    static FILE: LazyLock<File> = LazyLock::new(|| {
        let path = scratch("fsync");
        let file = File::create(&path).expect("created");
        fs::remove_file(path).expect("removed");
        file
    });
    let (start, mut waited) = (Instant::now(), Duration::ZERO);
    while waited < ILLNESS {
        assert!(start.elapsed() < 100 * ILLNESS, "nothing waits for a disk here: {waited:?}");
        FILE.write_all_at(&vec![b'x'; 1 << 20], 0).expect("written");
        let (start, busy) = (Instant::now(), cpu_time() + queued());
        FILE.sync_all().expect("synced");
        waited += (start.elapsed() + busy).saturating_sub(cpu_time() + queued());
    }
    black_box(());
}

/// A log whose reader is slow.
#[inline(never)]
fn slow_log() {
    let log = tracing_subscriber::fmt().with_writer(Mutex::new(full_pipe())).finish();
    tracing::subscriber::with_default(log, || {
        tracing::info!("one line more than there is room for");
    });
    black_box(());
}
