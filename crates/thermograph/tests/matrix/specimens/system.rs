//! Calls of the C library that wait.

#![expect(unsafe_code, reason = "the C library's functions are called as they are")]

use std::{
    fs::File,
    hint::black_box,
    io::{Read as _, Write as _},
    mem::MaybeUninit,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr::{null, null_mut},
    sync::{Arc, mpsc},
    thread,
};

use super::{ILLNESS, later, sleeps::SLEEP};
use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    vec![
        blocked(nanosleep, SLEEP),
        blocked(usleep, SLEEP),
        blocked(poll, &["poll", "ppoll"]),
        blocked(ppoll, &["ppoll"]),
        blocked(select, &["select", "pselect6"]),
        blocked(pselect, &["pselect6"]),
        blocked(epoll_wait, &["epoll_wait", "epoll_pwait"]),
        blocked(sigtimedwait, &["rt_sigtimedwait"]),
        blocked(sem_timedwait, &["futex"]),
        blocked(pthread_mutex, &["futex"]),
        blocked(pthread_cond_timedwait, &["futex"]),
        blocked(timerfd_read, &["read"]),
        blocked(eventfd_read, &["read"]),
        blocked(system, &["clone3", "wait4", "waitid"]),
    ]
}

const MILLIS: libc::c_int = ILLNESS.as_millis() as libc::c_int;
static TIMEOUT: libc::timespec =
    libc::timespec { tv_sec: 0, tv_nsec: ILLNESS.as_nanos() as libc::c_long };

/// The time at which a wait ends, by the clock of the day.
fn deadline() -> libc::timespec {
    let mut now = TIMEOUT;
    // SAFETY: it writes to where it is told.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now) };
    let nanos = now.tv_nsec + TIMEOUT.tv_nsec;
    now.tv_sec += nanos / 1_000_000_000;
    now.tv_nsec = nanos % 1_000_000_000;
    now
}

#[inline(never)]
fn nanosleep() {
    // SAFETY: it reads a time that is there.
    black_box(unsafe { libc::nanosleep(&raw const TIMEOUT, null_mut()) });
}

#[inline(never)]
fn usleep() {
    // SAFETY: no precondition.
    black_box(unsafe { libc::usleep(ILLNESS.as_micros() as libc::c_uint) });
}

#[inline(never)]
fn poll() {
    // SAFETY: no descriptors.
    black_box(unsafe { libc::poll(null_mut(), 0, MILLIS) });
}

#[inline(never)]
fn ppoll() {
    // SAFETY: no descriptors, and a time that is there.
    black_box(unsafe { libc::ppoll(null_mut(), 0, &raw const TIMEOUT, null()) });
}

#[inline(never)]
fn select() {
    let mut timeout =
        libc::timeval { tv_sec: 0, tv_usec: ILLNESS.as_micros() as libc::suseconds_t };
    // SAFETY: no descriptors, and a time that is there.
    black_box(unsafe { libc::select(0, null_mut(), null_mut(), null_mut(), &raw mut timeout) });
}

#[inline(never)]
fn pselect() {
    // SAFETY: no descriptors, and a time that is there.
    black_box(unsafe {
        libc::pselect(0, null_mut(), null_mut(), null_mut(), &raw const TIMEOUT, null())
    });
}

#[inline(never)]
fn epoll_wait() {
    // SAFETY: a descriptor of its own, and room for one event.
    let count = unsafe {
        let epoll = OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC));
        let mut event = MaybeUninit::uninit();
        libc::epoll_wait(epoll.as_raw_fd(), event.as_mut_ptr(), 1, MILLIS)
    };
    black_box(count);
}

#[inline(never)]
fn sigtimedwait() {
    // SAFETY: a set of signals that nobody sends.
    let signal = unsafe {
        let mut signals = MaybeUninit::uninit();
        libc::sigemptyset(signals.as_mut_ptr());
        libc::sigaddset(signals.as_mut_ptr(), libc::SIGUSR2);
        libc::sigtimedwait(signals.as_ptr(), null_mut(), &raw const TIMEOUT)
    };
    black_box(signal);
}

#[inline(never)]
fn sem_timedwait() {
    let end = deadline();
    // SAFETY: a semaphore that is made first, on this stack until the end.
    let error = unsafe {
        let mut semaphore = MaybeUninit::uninit();
        libc::sem_init(semaphore.as_mut_ptr(), 0, 0);
        libc::sem_timedwait(semaphore.as_mut_ptr(), &raw const end)
    };
    black_box(error);
}

/// A mutex of the C library.
struct Mutex(std::cell::UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: it is for many threads.
unsafe impl Send for Mutex {}
// SAFETY: as above.
unsafe impl Sync for Mutex {}

impl Mutex {
    fn new() -> Self {
        Self(std::cell::UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER))
    }

    #[inline]
    fn lock(&self) {
        // SAFETY: it is initialized.
        black_box(unsafe { libc::pthread_mutex_lock(self.0.get()) });
    }

    fn unlock(&self) {
        // SAFETY: it is initialized, and locked by this thread.
        unsafe { libc::pthread_mutex_unlock(self.0.get()) };
    }
}

#[inline(never)]
fn pthread_mutex() {
    let mutex = Arc::new(Mutex::new());
    let (tell, held) = mpsc::channel();
    let theirs = Arc::clone(&mutex);
    thread::spawn(move || {
        theirs.lock();
        tell.send(()).expect("somebody waits");
        thread::sleep(ILLNESS);
        theirs.unlock();
    });
    held.recv().expect("held");
    mutex.lock();
    mutex.unlock();
    black_box(());
}

#[inline(never)]
fn pthread_cond_timedwait() {
    let (end, mutex) = (deadline(), Mutex::new());
    let mut condition = libc::PTHREAD_COND_INITIALIZER;
    mutex.lock();
    // SAFETY: both are initialized, and the mutex is locked by this thread.
    black_box(unsafe {
        libc::pthread_cond_timedwait(&raw mut condition, mutex.0.get(), &raw const end)
    });
    mutex.unlock();
}

#[inline(never)]
fn timerfd_read() {
    let once = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    let timer = libc::itimerspec { it_interval: once, it_value: TIMEOUT };
    // SAFETY: a descriptor of its own, and times that are there.
    let mut file = unsafe {
        let file = libc::timerfd_create(libc::CLOCK_MONOTONIC, libc::TFD_CLOEXEC);
        libc::timerfd_settime(file, 0, &raw const timer, null_mut());
        File::from_raw_fd(file)
    };
    file.read_exact(&mut [0; 8]).expect("read");
    black_box(());
}

#[inline(never)]
fn eventfd_read() {
    // SAFETY: a descriptor of its own.
    let mut file = unsafe { File::from_raw_fd(libc::eventfd(0, libc::EFD_CLOEXEC)) };
    let mut theirs = file.try_clone().expect("a file");
    later(move || theirs.write_all(&1_u64.to_ne_bytes()).expect("written"));
    file.read_exact(&mut [0; 8]).expect("read");
    black_box(());
}

#[inline(never)]
fn system() {
    // SAFETY: a text that ends with a zero.
    black_box(unsafe { libc::system(c"sleep 0.03".as_ptr()) });
}

/// Waits for a lock on the first byte of a file, which belongs to the open file and not to the process.
pub(super) fn lock_record(file: &File) -> bool {
    let lock = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 1,
        l_pid: 0,
    };
    // SAFETY: a descriptor that is open, and a lock that is there.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLKW, &raw const lock) == 0 }
}

/// Writes to every page of memory that was never touched, and gives it back.
pub(super) fn touch_fresh_memory(pages: usize) {
    let (length, protection) = (pages * 4096, libc::PROT_READ | libc::PROT_WRITE);
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a mapping of its own, written within its length.
    unsafe {
        let start = libc::mmap(null_mut(), length, protection, flags, -1, 0);
        assert_ne!(start, libc::MAP_FAILED);
        for page in 0..pages {
            start.cast::<u8>().add(page * 4096).write_volatile(1);
        }
        libc::munmap(start, length);
    }
}

/// Makes a backlog as short as it can be.
pub(super) fn shorten_backlog(listener: &std::net::TcpListener) {
    // SAFETY: a descriptor that is open.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
}
