//! System calls have the same result with stacks taken, without, and without the diagnostics: among
//! them every call that signal(7) lists as never restarted after a signal.

#![expect(unsafe_code, reason = "most of these calls are not offered by the standard library")]
#![expect(
    clippy::undocumented_unsafe_blocks,
    reason = "each call gets null, or a value of its own caller's that lives as long as the call"
)]

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    mem,
    net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
    ptr,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, extract::Path, routing::get};
use thermograph::Stacks;

use crate::{
    app::{App, agent, alone, get_bytes},
    specimens::burn,
};

/// How long each call waits, three times the threshold of a stall.
const WAIT: Duration = Duration::from_millis(30);
/// Calls of each kind and setting.
const TRIES: usize = 4;

/// A call that waits, and the text of its result.
type Call = (&'static str, fn() -> String);

const CALLS: [Call; 29] = [
    ("nanosleep", || sleeps(|time| unsafe { libc::nanosleep(time, ptr::null_mut()) })),
    ("clock_nanosleep", || {
        sleeps(|time| unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, time, ptr::null_mut())
        })
    }),
    ("usleep", || lasts(|| unsafe { libc::usleep(micros()) })),
    ("sleep", || waits_a_second(|| unsafe { libc::sleep(1) })),
    ("poll", || lasts(|| unsafe { libc::poll(ptr::null_mut(), 0, millis()) })),
    ("ppoll", || sleeps(|time| unsafe { libc::ppoll(ptr::null_mut(), 0, time, ptr::null()) })),
    ("select", || {
        let mut time = libc::timeval { tv_sec: 0, tv_usec: i64::from(micros()) };
        let none = ptr::null_mut;
        lasts(|| unsafe { libc::select(0, none(), none(), none(), &raw mut time) })
    }),
    ("pselect", || {
        let none = ptr::null_mut;
        sleeps(|time| unsafe { libc::pselect(0, none(), none(), none(), time, ptr::null()) })
    }),
    ("epoll_wait", || {
        let epoll = epoll();
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        lasts(|| unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, millis()) })
    }),
    ("epoll_pwait", || {
        let epoll = epoll();
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let epoll = epoll.as_raw_fd();
        lasts(|| unsafe { libc::epoll_pwait(epoll, &raw mut event, 1, millis(), ptr::null()) })
    }),
    ("sigtimedwait", || {
        let set = signals(libc::SIGUSR2);
        sleeps(|time| unsafe { libc::sigtimedwait(&raw const set, ptr::null_mut(), time) })
    }),
    ("sigwaitinfo", || {
        let set = signals(libc::SIGUSR2);
        with_signal(libc::SIGUSR2, || unsafe { libc::sigwaitinfo(&raw const set, ptr::null_mut()) })
    }),
    ("pause", || with_signal(libc::SIGUSR1, || unsafe { libc::pause() })),
    ("sigsuspend", || {
        let none = signals(0);
        with_signal(libc::SIGUSR1, || unsafe { libc::sigsuspend(&raw const none) })
    }),
    ("msgrcv", || {
        let queue = Ipc::queue();
        later(move || queue.send(0));
        let mut message = [0_u64; 2];
        lasts(|| unsafe { libc::msgrcv(queue.0, message.as_mut_ptr().cast(), 8, 0, 0) as i64 })
    }),
    ("msgsnd", || {
        let queue = Ipc::queue();
        while queue.send(libc::IPC_NOWAIT) == 0 {}
        later(move || queue.receive());
        lasts(|| queue.send(0))
    }),
    ("semop", || {
        let semaphore = Ipc::semaphore();
        later(move || semaphore.change(1, None));
        lasts(|| semaphore.change(-1, None))
    }),
    ("semtimedop", || {
        let semaphore = Ipc::semaphore();
        sleeps(|time| semaphore.change(-1, Some(time)))
    }),
    ("sem_timedwait", || {
        // SAFETY: all zero is a valid semaphore of glibc, with the value 0.
        let mut semaphore: libc::sem_t = unsafe { mem::zeroed() };
        let until = in_a_moment(libc::CLOCK_REALTIME);
        lasts(|| unsafe { libc::sem_timedwait(&raw mut semaphore, &raw const until) })
    }),
    ("io_getevents", || {
        let mut context = 0_u64;
        let made = unsafe { libc::syscall(libc::SYS_io_setup, 1, &raw mut context) };
        assert_eq!(made, 0, "{}", io::Error::last_os_error());
        let mut event = [0_u64; 4];
        let result = sleeps(|time| {
            let event = event.as_mut_ptr();
            unsafe { libc::syscall(libc::SYS_io_getevents, context, 1_i64, 1_i64, event, time) }
        });
        unsafe { libc::syscall(libc::SYS_io_destroy, context) };
        result
    }),
    ("read, SO_RCVTIMEO", || {
        let (mut here, mut there) = sockets();
        here.set_read_timeout(Some(WAIT * 100)).expect("set");
        later(move || there.write_all(b"x").expect("written"));
        told(&here.read(&mut [0]))
    }),
    ("read, SO_RCVTIMEO expires", || {
        let (mut here, _there) = sockets();
        here.set_read_timeout(Some(WAIT)).expect("set");
        told(&here.read(&mut [0]))
    }),
    ("recv, SO_RCVTIMEO", || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        socket.set_read_timeout(Some(WAIT * 100)).expect("set");
        let address = socket.local_addr().expect("an address");
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        later(move || other.send_to(b"x", address).expect("sent"));
        told(&socket.recv(&mut [0; 8]))
    }),
    ("recvmmsg with a timeout", || {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        let address = socket.local_addr().expect("an address");
        let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        later(move || other.send_to(b"x", address).expect("sent"));
        let mut byte = [0_u8; 8];
        let mut piece = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 8 };
        // SAFETY: all zero is a value of these types.
        let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
        message.msg_hdr.msg_iov = &raw mut piece;
        message.msg_hdr.msg_iovlen = 1;
        let mut time = libc::timespec { tv_sec: 5, tv_nsec: 0 };
        let socket = socket.as_raw_fd();
        lasts(|| unsafe { libc::recvmmsg(socket, &raw mut message, 1, 0, &raw mut time) })
    }),
    ("accept, SO_RCVTIMEO", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
        timeout(&listener, libc::SO_RCVTIMEO, WAIT * 100);
        let address = listener.local_addr().expect("an address");
        later(move || drop(TcpStream::connect(address).expect("connected")));
        told(&listener.accept())
    }),
    ("send, SO_SNDTIMEO", || {
        let (mut here, mut there) = sockets();
        here.set_nonblocking(true).expect("set");
        while here.write(&[0; 65_536]).is_ok() {}
        here.set_nonblocking(false).expect("set");
        here.set_write_timeout(Some(WAIT * 100)).expect("set");
        later(move || {
            let mut bytes = vec![0; 1 << 20];
            while there.read(&mut bytes).is_ok_and(|read| read > 0) {}
        });
        told(&here.write(&[0; 16]))
    }),
    ("connect, SO_SNDTIMEO expires", connect_expires),
    ("thread::sleep", || {
        let start = Instant::now();
        thread::sleep(WAIT);
        format!("ok {}", start.elapsed() >= WAIT)
    }),
    ("mpsc::recv_timeout", || {
        let (_send, receive) = mpsc::channel::<()>();
        format!("{:?}", receive.recv_timeout(WAIT))
    }),
];

/// A connect to a listener whose queue is full waits until its time is up.
fn connect_expires() -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    // SAFETY: the listener is open.
    unsafe { libc::listen(listener.as_raw_fd(), 0) };
    let address = listener.local_addr().expect("an address");
    let fill = |_| {
        let socket = tcp_socket(libc::SOCK_NONBLOCK);
        connect(&socket, address.port());
        socket
    };
    let filled: Vec<_> = (0..3).map(fill).collect();
    let socket = tcp_socket(0);
    timeout(&socket, libc::SO_SNDTIMEO, WAIT);
    let result = lasts(|| connect(&socket, address.port()));
    drop(filled);
    result
}

fn millis() -> i32 {
    i32::try_from(WAIT.as_millis()).expect("small")
}

fn micros() -> u32 {
    u32::try_from(WAIT.as_micros()).expect("small")
}

/// The result of a call, its error, and whether it took as long as it must.
fn lasts<T: Into<i64>>(call: impl FnOnce() -> T) -> String {
    waits_for(WAIT, call)
}

fn waits_a_second<T: Into<i64>>(call: impl FnOnce() -> T) -> String {
    waits_for(Duration::from_secs(1), call)
}

fn waits_for<T: Into<i64>>(time: Duration, call: impl FnOnce() -> T) -> String {
    let start = Instant::now();
    let result = call().into();
    let error = if result < 0 { io::Error::last_os_error().to_string() } else { String::new() };
    // A thread that ends the wait has begun its own before.
    let is_whole = start.elapsed() + Duration::from_millis(5) >= time;
    // Numbers of bytes and signals are the same each time.
    format!("{result} {error} {is_whole}")
}

fn sleeps<T: Into<i64>>(call: impl FnOnce(*const libc::timespec) -> T) -> String {
    let time = libc::timespec { tv_sec: 0, tv_nsec: i64::from(WAIT.subsec_nanos()) };
    lasts(|| call(&raw const time))
}

fn told<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => error.to_string(),
    }
}

/// Acts on another thread when the call has waited long enough.
fn later<T>(act: impl FnOnce() -> T + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(WAIT);
        act();
    });
}

fn in_a_moment(clock: libc::clockid_t) -> libc::timespec {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a value of ours.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_nsec += i64::from(WAIT.subsec_nanos());
    if time.tv_nsec >= 1_000_000_000 {
        time = libc::timespec { tv_sec: time.tv_sec + 1, tv_nsec: time.tv_nsec - 1_000_000_000 };
    }
    time
}

/// A set with one signal, or none.
fn signals(signal: i32) -> libc::sigset_t {
    // SAFETY: an empty set is made, and the signal, if there is one, is valid.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        if signal != 0 {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

static SIGNALS: AtomicU64 = AtomicU64::new(0);

/// The result of a call that another thread ends by a signal to this one, and how many came.
fn with_signal(signal: i32, call: impl FnOnce() -> i32) -> String {
    extern "C" fn count(_: i32) {
        SIGNALS.fetch_add(1, Relaxed);
    }
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        // SAFETY: the handler adds to an atomic, and is a function of the right type.
        unsafe { libc::signal(libc::SIGUSR1, count as *const () as usize) };
    });
    let blocked = signals(libc::SIGUSR2);
    // SAFETY: this thread's own mask; `sigwaitinfo` wants its signal blocked.
    unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, ptr::null_mut()) };
    let before = SIGNALS.load(Relaxed);
    // SAFETY: the thread waits for the signal, so it is there.
    let this = unsafe { libc::pthread_self() };
    later(move || unsafe { libc::pthread_kill(this, signal) });
    let result = lasts(call);
    format!("{result} {}", SIGNALS.load(Relaxed) - before)
}

fn epoll() -> OwnedFd {
    // SAFETY: a new file, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) }
}

fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound");
    let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    (one, listener.accept().expect("accepted").0)
}

fn tcp_socket(flags: i32) -> OwnedFd {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
    // SAFETY: a new file, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, kind, 0)) }
}

fn connect(socket: &OwnedFd, port: u16) -> i32 {
    let address = libc::sockaddr_in {
        sin_family: libc::sa_family_t::try_from(libc::AF_INET).expect("small"),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    };
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).expect("small");
    // SAFETY: the address is initialized and has the length that is told.
    unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length) }
}

fn timeout(socket: &impl std::os::fd::AsRawFd, option: i32, time: Duration) {
    let time = libc::timeval {
        tv_sec: time.as_secs().cast_signed(),
        tv_usec: i64::from(time.subsec_micros()),
    };
    let length = libc::socklen_t::try_from(size_of::<libc::timeval>()).expect("small");
    let (level, value) = (libc::SOL_SOCKET, (&raw const time).cast());
    // SAFETY: the option takes a `timeval`, which is what is given.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, value, length) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// A message queue or a set of one semaphore, by its number.
#[derive(Clone, Copy)]
struct Ipc(i32);

impl Ipc {
    fn queue() -> Self {
        // SAFETY: no argument is a pointer. It is marked for removal by the next line only after
        // both ends are done: the kernel removes a queue at once, so it is left to the test's end.
        Self(keep(unsafe { libc::msgget(libc::IPC_PRIVATE, 0o600) }, true))
    }

    fn semaphore() -> Self {
        // SAFETY: no argument is a pointer.
        Self(keep(unsafe { libc::semget(libc::IPC_PRIVATE, 1, 0o600) }, false))
    }

    fn send(self, flags: i32) -> i32 {
        let message = [1_u64, 2];
        // SAFETY: a type, and 8 bytes.
        unsafe { libc::msgsnd(self.0, message.as_ptr().cast(), 8, flags) }
    }

    fn receive(self) -> isize {
        let mut message = [0_u64; 2];
        // SAFETY: room for a type and 8 bytes.
        unsafe { libc::msgrcv(self.0, message.as_mut_ptr().cast(), 8, 0, 0) }
    }

    fn change(self, by: i16, time: Option<*const libc::timespec>) -> i64 {
        let mut operation = libc::sembuf { sem_num: 0, sem_op: by, sem_flg: 0 };
        let (time, operation) = (time.unwrap_or(ptr::null()), &raw mut operation);
        // SAFETY: one operation, and null or a time that lives as long as the call.
        unsafe { libc::syscall(libc::SYS_semtimedop, self.0, operation, 1_usize, time) }
    }
}

/// Objects that outlive their processes, removed by [`Removed`].
static KEPT: std::sync::Mutex<Vec<(i32, bool)>> = std::sync::Mutex::new(Vec::new());

fn keep(number: i32, is_queue: bool) -> i32 {
    assert!(number >= 0, "{}", io::Error::last_os_error());
    KEPT.lock().expect("no panic").push((number, is_queue));
    number
}

/// Removes message queues and semaphores when dropped.
struct Removed;

impl Drop for Removed {
    fn drop(&mut self) {
        let kept = KEPT.lock().map(|mut kept| mem::take(&mut *kept)).unwrap_or_default();
        for (number, is_queue) in kept {
            // SAFETY: removes an object of this test.
            unsafe {
                if is_queue {
                    libc::msgctl(number, libc::IPC_RMID, ptr::null_mut());
                } else {
                    libc::semctl(number, 0, libc::IPC_RMID);
                }
            }
        }
    }
}

/// The route of a call by its number, and whether its handler computes before it.
const CALL: &str = "/call/{number}/{burns}";

/// The handlers make each call on their worker.
fn router() -> Router {
    let call = async |Path((number, burns)): Path<(usize, bool)>| {
        if burns {
            // A thread that was seen running is about to wait.
            burn(Duration::from_millis(12));
        }
        CALLS[number].1()
    };
    Router::new().route(CALL, get(call)).route("/naps", get(async || naps()))
}

/// The results of each call by its number, half of the times as one that computes before it.
fn results(
    call: impl Fn(usize, bool) -> String,
) -> BTreeMap<&'static str, BTreeMap<String, usize>> {
    let mut results = BTreeMap::new();
    for (number, (name, _)) in CALLS.iter().enumerate() {
        let tries = if *name == "sleep" { 2 } else { TRIES };
        for attempt in 0..tries {
            let counts: &mut BTreeMap<_, _> = results.entry(*name).or_default();
            *counts.entry(call(number, attempt % 2 == 0)).or_default() += 1;
        }
    }
    results
}

fn ask(app: &App, path: &str) -> String {
    let mut answer = agent().get(app.url(path)).call().expect("an answer");
    answer.body_mut().read_to_string().expect("text")
}

#[test]
fn system_calls_have_the_same_results_with_and_without_diagnostics() {
    let _alone = alone();
    let _removed = Removed;
    let plain = results(|number, _| thread::spawn(CALLS[number].1).join().expect("no panic"));
    for (name, counts) in &plain {
        assert_eq!(counts.len(), 1, "{name} has one result: {counts:?}");
    }
    for stacks in [Stacks::Auto, Stacks::Signal, Stacks::Off] {
        let app = App::with(router(), |builder| builder.stacks(stacks));
        let watched = results(|number, burns| ask(&app, &format!("/call/{number}/{burns}")));
        assert_eq!(watched, plain, "stacks: {stacks:?}");
        let stalls = app.stalls_of(CALL, 1);
        let with_stack = stalls.iter().filter(|stall| !stall.stack.is_empty()).count();
        println!("{stacks:?}: {} stalls, {with_stack} with a stack", stalls.len());
        match stacks {
            Stacks::Off => assert_eq!(with_stack, 0),
            // All of them waited, for long enough.
            Stacks::Auto | Stacks::Signal => {
                assert!(with_stack * 10 >= stalls.len() * 9, "{with_stack} of {}", stalls.len());
            }
        }
    }
}

/// Computes and naps, many times in one poll: how many naps were cut short.
fn naps() -> String {
    let until = Instant::now() + Duration::from_secs(3);
    let nap = libc::timespec { tv_sec: 0, tv_nsec: 20_000 };
    let (mut naps, mut cut_short) = (0_u64, 0_u64);
    while Instant::now() < until {
        burn(Duration::from_micros(30));
        // SAFETY: the time lives as long as the call.
        let napped = unsafe { libc::nanosleep(&raw const nap, ptr::null_mut()) };
        (naps, cut_short) = (naps + 1, cut_short + u64::from(napped != 0));
    }
    format!("{naps} {cut_short}")
}

#[test]
fn captures_interrupt_no_wait_of_a_thread_that_computes_in_between() {
    let _alone = alone();
    for stacks in [Stacks::Auto, Stacks::Signal] {
        assert_naps(&App::with(router(), |builder| builder.stacks(stacks)));
    }
}

fn assert_naps(app: &App) {
    let (naps, cpu, wall) = thread::scope(|scope| {
        let get = |path: &str| {
            let url = app.diagnostics(path);
            scope.spawn(move || get_bytes(&url))
        };
        let cpu = get("/debug/pprof/profile?seconds=3&frequency=999&format=folded");
        let wall = get("/debug/fgprof?seconds=3&frequency=999&format=folded");
        let naps = ask(app, "/naps");
        (naps, cpu.join().expect("a capture"), wall.join().expect("a capture"))
    });
    let numbers: Vec<u64> =
        naps.split(' ').map(|number| number.parse().expect("a number")).collect();
    let [count, cut_short] = numbers[..] else { panic!("{naps}") };
    println!("{count} naps, {cut_short} cut short");
    assert!(count > 1000, "{naps}");
    assert_eq!(cut_short, 0, "of {count} naps");
    for capture in [cpu, wall] {
        let text = String::from_utf8(capture).expect("text");
        assert!(text.contains("system_calls::naps"), "{text}");
    }
}
