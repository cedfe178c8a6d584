//! Calls of the standard library that block or compute, each stopped in its midst to see its stack.
//!
//! A program of its own, compiled by a test once for each mangling of symbols, with nothing but the
//! standard library. `stacks list` prints the names of the specimens; `stacks NAME` runs one on a
//! thread, interrupts that thread and prints `syscall NUMBER` if it waits in a system call, a line
//! `frame ADDRESS` for each frame, the leaf first, and `end` behind each stack; at the end come the
//! mappings of the process.

use std::{
    cell::UnsafeCell,
    collections::{BTreeMap, HashMap},
    ffi::{c_int, c_void},
    fmt::Write as _,
    fs::{self, File, OpenOptions},
    hint::black_box,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Command, Stdio, exit},
    sync::{
        Barrier, Condvar, LazyLock, Mutex, Once, OnceLock, RwLock,
        atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering::*},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

const LONG: Duration = Duration::from_secs(1000);

/// Specimens that wait.
const BLOCKED: &[(&str, fn())] = &[
    ("sleep", || thread::sleep(LONG)),
    ("usleep", usleep_for_long),
    ("park", || thread::park()),
    ("park_timeout", || thread::park_timeout(LONG)),
    ("mutex", lock_a_mutex),
    ("rwlock_read", read_a_lock),
    ("rwlock_write", write_a_lock),
    ("condvar", wait_for_a_condition),
    ("condvar_timeout", wait_for_a_condition_for_long),
    ("barrier", wait_at_a_barrier),
    ("channel_recv", receive),
    ("channel_recv_timeout", receive_for_long),
    ("channel_send", send_to_a_full_channel),
    ("once", call_once),
    ("once_lock", initialize_a_once_lock),
    ("lazy_lock", force_a_lazy_lock),
    ("join", join_a_thread),
    ("scope", join_a_scope),
    ("command_output", || drop(sleeper().output())),
    ("command_output_of_both", || {
        let mut command = sleeper();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        drop(command.output());
    }),
    ("command_status", || drop(sleeper().status())),
    ("child_wait", || drop(sleeper().spawn().expect("spawned").wait())),
    ("child_wait_with_output", || {
        drop(sleeper().stdout(Stdio::piped()).spawn().expect("spawned").wait_with_output());
    }),
    ("child_stdout", read_of_a_child),
    ("file_read", || drop(pipe().read(&mut [0]))),
    ("buffered_read", || drop(io::BufReader::new(pipe()).read_line(&mut String::new()))),
    ("fs_read", read_a_whole_pipe),
    ("file_write", || fill(&mut pipe())),
    ("file_open", open_a_pipe),
    ("file_lock", lock_a_file),
    ("tcp_accept", || drop(listener().accept())),
    ("tcp_read", || drop(connected().0.read(&mut [0]))),
    ("tcp_write", || fill(&mut connected().0)),
    ("unix_read", || drop(UnixStream::pair().expect("a pair").0.read(&mut [0]))),
    ("udp_recv", || drop(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound").recv(&mut [0]))),
    ("resolve", || resolve("nowhere.invalid:80")),
    ("tcp_connect_by_name", || connect_by_name("nowhere.invalid:80")),
    ("stdin", || drop(io::stdin().read_line(&mut String::new()))),
    ("stdin_lines", || drop(io::stdin().lines().next())),
    ("println", || {
        loop {
            println!("{:1000}", 'x');
        }
    }),
    ("eprintln", || {
        loop {
            eprintln!("{:1000}", 'x');
        }
    }),
    ("stdout_write", || fill(&mut io::stdout())),
    ("println_lock", || {
        hold_for_ever(|| Box::leak(Box::new(io::stdout().lock())));
        println!("x");
    }),
    ("stderr_lock", || {
        hold_for_ever(|| Box::leak(Box::new(io::stderr().lock())));
        eprintln!("x");
    }),
    ("stdin_lock", || {
        hold_for_ever(|| Box::leak(Box::new(io::stdin().lock())));
        drop(io::stdin().read_line(&mut String::new()));
    }),
];

/// Specimens that compute, or are in system calls that do not wait.
const COMPUTING: &[(&str, fn())] = &[
    ("spin_hint", || {
        let flag = flag();
        while !flag.load(Acquire) {
            std::hint::spin_loop();
        }
    }),
    ("spin_load", || {
        let flag = flag();
        while !flag.load(Acquire) {}
    }),
    ("spin_exchange", || {
        let flag = flag();
        while flag.compare_exchange_weak(true, false, Acquire, Relaxed).is_err() {}
    }),
    ("spin_clock", || {
        let start = Instant::now();
        while start.elapsed() < LONG {}
    }),
    ("yield_now", || {
        let flag = flag();
        while !flag.load(Acquire) {
            thread::yield_now();
        }
    }),
    ("drop_tree", || {
        again(|| Tree::of(14));
    }),
    ("drop_map", || {
        again(|| (0..20_000).map(|key| (key, key.to_string())).collect::<BTreeMap<u32, String>>());
    }),
    ("drop_strings", || {
        again(|| (0..20_000).map(|key: u32| key.to_string()).collect::<Vec<String>>());
    }),
    ("backtrace", || {
        loop {
            drop(black_box(std::backtrace::Backtrace::force_capture()));
        }
    }),
    ("backtrace_text", || {
        loop {
            black_box(std::backtrace::Backtrace::force_capture().to_string());
        }
    }),
    ("fill", || {
        loop {
            black_box(vec![black_box(1_u8); 64 << 20]);
        }
    }),
    ("copy", || {
        let from = vec![1_u8; 32 << 20];
        let mut to = vec![0_u8; 32 << 20];
        loop {
            to.copy_from_slice(black_box(&from));
            black_box(&to);
        }
    }),
    // Without a `Box`, whose drop is a rule of its own.
    ("allocate", || {
        let layout = std::alloc::Layout::new::<[u8; 40]>();
        let mut kept = [std::ptr::null_mut(); 1000];
        loop {
            for place in &mut kept {
                // SAFETY: the size is not zero.
                *place = black_box(unsafe { std::alloc::alloc(layout) });
            }
            for place in kept {
                // SAFETY: allocated above with this layout, and freed once.
                unsafe { std::alloc::dealloc(black_box(place), layout) };
            }
        }
    }),
    ("sort", || {
        loop {
            black_box(numbers()).sort();
        }
    }),
    ("sort_unstable_by_key", || {
        loop {
            black_box(numbers()).sort_unstable_by_key(|number| number.rotate_left(7));
        }
    }),
    ("format", || {
        loop {
            black_box(format!("{:?}", black_box(["some", "words", "to", "show"])));
        }
    }),
    ("format_numbers", || {
        let mut text = String::new();
        loop {
            text.clear();
            write!(text, "{} {:.3}", black_box(17_u64), black_box(1.5_f64)).expect("written");
        }
    }),
    ("hash_map", || {
        let keys: Vec<String> = (0..1000).map(|key: u32| format!("key {key}")).collect();
        let mut counts = HashMap::<&str, u64>::new();
        loop {
            for key in &keys {
                *counts.entry(key).or_default() += 1;
            }
        }
    }),
    ("btree_map", || {
        let mut counts = BTreeMap::<u32, u64>::new();
        loop {
            for number in numbers() {
                *counts.entry(number % 65_536).or_default() += 1;
            }
        }
    }),
    ("find_text", || {
        let text = "some text without it; ".repeat(100_000);
        loop {
            black_box(black_box(&text).contains("something else"));
        }
    }),
    ("replace_text", || {
        let text = "some text with it; ".repeat(1000);
        loop {
            black_box(black_box(&text).replace("with", "without"));
        }
    }),
    ("utf8", || {
        let bytes = "grün ".repeat(100_000).into_bytes();
        loop {
            black_box(str::from_utf8(black_box(&bytes)).is_ok());
        }
    }),
    ("parse_float", || {
        loop {
            black_box(black_box("3.14159265358979").parse::<f64>().is_ok());
        }
    }),
    ("fs_metadata", || {
        loop {
            black_box(fs::metadata("/proc/self/status").is_ok());
        }
    }),
    ("read_dir", || {
        loop {
            black_box(fs::read_dir("/proc/self/task").expect("a folder").count());
        }
    }),
    ("fs_write", || {
        let path = scratch("written");
        loop {
            fs::write(&path, [0; 4096]).expect("written");
        }
    }),
    ("command_spawn", || {
        loop {
            let mut child = Command::new("/bin/true").spawn().expect("spawned");
            if IS_ON.load(Relaxed) {
                IS_ON.store(false, Relaxed);
                child.wait().expect("waited");
                IS_ON.store(true, Relaxed);
            }
        }
    }),
    ("thread_spawn", || {
        loop {
            let thread = thread::spawn(|| ());
            IS_ON.store(false, Relaxed);
            thread.join().expect("no panic");
            IS_ON.store(true, Relaxed);
        }
    }),
    ("compute", || {
        let mut hash = 0_u64;
        loop {
            for number in 0..1000 {
                hash = (hash ^ black_box(number)).wrapping_mul(0x0100_0000_01b3);
            }
            black_box(hash);
        }
    }),
];

/// Never raised; the compiler does not know that.
fn flag() -> &'static AtomicBool {
    black_box(Box::leak(Box::new(AtomicBool::new(false))))
}

struct Tree {
    _payload: [u64; 4],
    _branches: Option<Box<(Tree, Tree)>>,
}

impl Tree {
    fn of(depth: u32) -> Self {
        let branches = (depth > 0).then(|| Box::new((Self::of(depth - 1), Self::of(depth - 1))));
        Self { _payload: [0; 4], _branches: branches }
    }
}

/// Makes something and drops it, again and again; only the dropping is looked at.
fn again<T>(make: impl Fn() -> T) {
    loop {
        IS_ON.store(false, Release);
        let made = black_box(make());
        IS_ON.store(true, Release);
        drop(made);
    }
}

fn numbers() -> Vec<u32> {
    let mut number = 1_u32;
    let next = || {
        number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        number
    };
    std::iter::repeat_with(next).take(100_000).collect()
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::var_os("SCRATCH").expect("a folder to write to");
    PathBuf::from(folder).join(format!("{name}-{}", std::process::id()))
}

/// Takes something on another thread, and never gives it back.
fn hold_for_ever<T: 'static>(take: fn() -> T) {
    IS_ON.store(false, Release);
    let (tell, held) = mpsc::channel();
    thread::spawn(move || {
        let _held = take();
        tell.send(()).expect("waited for");
        thread::sleep(LONG);
    });
    held.recv().expect("held");
    IS_ON.store(true, Release);
}

// What they call returns to something, so that they have a frame of their own.

fn lock_a_mutex() {
    static MUTEX: Mutex<u8> = Mutex::new(0);
    hold_for_ever(|| MUTEX.lock());
    drop(black_box(MUTEX.lock()));
}

static LOCK: RwLock<u8> = RwLock::new(0);

fn read_a_lock() {
    hold_for_ever(|| LOCK.write());
    drop(black_box(LOCK.read()));
}

fn write_a_lock() {
    hold_for_ever(|| LOCK.read());
    drop(black_box(LOCK.write()));
}

fn wait_for_a_condition() {
    let (mutex, condition) = (Mutex::new(0), Condvar::new());
    let guard = mutex.lock().expect("free");
    drop(black_box(condition.wait(guard)));
}

fn wait_for_a_condition_for_long() {
    let (mutex, condition) = (Mutex::new(0), Condvar::new());
    let guard = mutex.lock().expect("free");
    drop(black_box(condition.wait_timeout_while(guard, LONG, |_| true)));
}

fn wait_at_a_barrier() {
    black_box(Barrier::new(2).wait());
}

fn receive() {
    let (_send, receive) = mpsc::channel::<u8>();
    black_box(receive.recv().is_ok());
}

fn receive_for_long() {
    let (_send, receive) = mpsc::sync_channel::<u8>(1);
    black_box(receive.recv_timeout(LONG).is_ok());
}

fn send_to_a_full_channel() {
    let (send, _receive) = mpsc::sync_channel::<u8>(0);
    black_box(send.send(1).is_ok());
}

fn call_once() {
    static ONCE: Once = Once::new();
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        ONCE.call_once(|| {
            HAS_BEGUN.store(true, Release);
            thread::sleep(LONG);
        });
    });
    wait_until(&HAS_BEGUN);
    ONCE.call_once(|| ());
    black_box(());
}

fn initialize_a_once_lock() {
    static ONCE: OnceLock<u8> = OnceLock::new();
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    thread::spawn(|| {
        ONCE.get_or_init(|| {
            HAS_BEGUN.store(true, Release);
            thread::sleep(LONG);
            1
        });
    });
    wait_until(&HAS_BEGUN);
    black_box(ONCE.get_or_init(|| 2));
}

fn force_a_lazy_lock() {
    static HAS_BEGUN: AtomicBool = AtomicBool::new(false);
    static LAZY: LazyLock<u8> = LazyLock::new(|| {
        HAS_BEGUN.store(true, Release);
        thread::sleep(LONG);
        1
    });
    thread::spawn(|| black_box(*LAZY));
    wait_until(&HAS_BEGUN);
    black_box(*LAZY);
}

fn wait_until(flag: &AtomicBool) {
    while !flag.load(Acquire) {
        thread::yield_now();
    }
}

fn join_a_thread() {
    black_box(thread::spawn(|| thread::sleep(LONG)).join().is_ok());
}

fn join_a_scope() {
    thread::scope(|scope| {
        scope.spawn(|| thread::sleep(LONG));
    });
    black_box(());
}

fn sleeper() -> Command {
    let mut command = Command::new("sleep");
    // The test waits until its pipes are closed.
    command.arg("5").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn read_of_a_child() {
    let mut child = sleeper().stdout(Stdio::piped()).spawn().expect("spawned");
    drop(child.stdout.take().expect("piped").read(&mut [0]));
}

/// Open for both, so that opening does not wait for the other end.
fn pipe() -> File {
    OpenOptions::new().read(true).write(true).open(named_pipe()).expect("opened")
}

fn named_pipe() -> PathBuf {
    let path = scratch("pipe");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    path
}

fn read_a_whole_pipe() {
    let path = named_pipe();
    let _writer = OpenOptions::new().read(true).write(true).open(&path).expect("opened");
    black_box(fs::read(path).is_ok());
}

fn open_a_pipe() {
    black_box(File::open(named_pipe()).is_ok());
}

fn lock_a_file() {
    let path = scratch("locked");
    let holder = File::create(&path).expect("created");
    holder.lock().expect("locked");
    black_box(File::open(path).expect("opened").lock().is_ok());
}

fn fill(to: &mut impl io::Write) {
    while to.write_all(&[b'x'; 4096]).is_ok() {}
}

fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound")
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = listener();
    let one = TcpStream::connect(listener.local_addr().expect("an address")).expect("connected");
    (one, listener.accept().expect("accepted").0)
}

fn resolve(name: &str) {
    use_deaf_name_server();
    black_box(name.to_socket_addrs().is_ok());
}

fn connect_by_name(name: &str) {
    use_deaf_name_server();
    black_box(TcpStream::connect(name).is_ok());
}

/// `struct __res_state` of glibc, as far as it is needed; the servers are `struct sockaddr_in`.
#[repr(C)]
struct ResolverState {
    retransmit_seconds: c_int,
    retries: c_int,
    options: u64,
    servers: c_int,
    server: [[u8; 16]; 3],
}

/// Makes the resolver of this thread ask a server on this machine that never answers.
fn use_deaf_name_server() {
    let server = Box::leak(Box::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bound")));
    let port = server.local_addr().expect("an address").port();
    // SAFETY: glibc keeps a state for each thread, and lets programs change it.
    let state = unsafe {
        assert_eq!(__res_init(), 0);
        &mut *__res_state().cast::<ResolverState>()
    };
    (state.retransmit_seconds, state.servers) = (1000, 1);
    let [family, port] = [2_u16.to_ne_bytes(), port.to_be_bytes()];
    state.server[0] =
        [family[0], family[1], port[0], port[1], 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
}

fn usleep_for_long() {
    loop {
        // It ends when a signal comes.
        // SAFETY: no precondition.
        unsafe { usleep(1_000_000_000) };
    }
}

unsafe extern "C" {
    fn usleep(microseconds: u32) -> c_int;
    fn gettid() -> c_int;
    fn getpid() -> c_int;
    fn tgkill(process: c_int, thread: c_int, signal: c_int) -> c_int;
    fn signal(signal: c_int, handler: extern "C" fn(c_int)) -> usize;
    fn __res_init() -> c_int;
    fn __res_state() -> *mut c_void;
    fn _Unwind_Backtrace(
        each: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        argument: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIPInfo(context: *mut c_void, is_before: *mut c_int) -> usize;
}

const SIGUSR1: c_int = 10;
/// The thread to be looked at.
static THREAD: AtomicI32 = AtomicI32::new(0);
/// Whether its stack is of interest now.
static IS_ON: AtomicBool = AtomicBool::new(false);
/// Stacks that were taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);
/// Signals that were handled.
static HANDLED: AtomicUsize = AtomicUsize::new(0);

/// Addresses of instructions, the leaf first.
struct Stack(UnsafeCell<([usize; 256], usize)>);

// SAFETY: written by the signal handler, and read once `HANDLED` says that it has returned.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new(([0; 256], 0)));

extern "C" fn on_signal(_: c_int) {
    if IS_ON.load(Acquire) {
        // SAFETY: the main thread reads it after `HANDLED` was raised.
        unsafe { (*STACK.0.get()).1 = 0 };
        // SAFETY: the thread is not inside of the unwinder's own locks, which it may take twice.
        unsafe { _Unwind_Backtrace(on_frame, std::ptr::null_mut()) };
        TAKEN.fetch_add(1, Release);
    }
    HANDLED.fetch_add(1, Release);
}

extern "C" fn on_frame(context: *mut c_void, _: *mut c_void) -> c_int {
    let mut is_before = 0;
    // SAFETY: the unwinder's own context.
    let address = unsafe { _Unwind_GetIPInfo(context, &mut is_before) };
    if address == 0 {
        // Past the thread's first function.
        return 0;
    }
    // SAFETY: as above.
    let (addresses, length) = unsafe { &mut *STACK.0.get() };
    if let Some(place) = addresses.get_mut(*length) {
        // They return to these addresses: the calls are before.
        *place = if is_before == 0 { address - 1 } else { address };
        *length += 1;
    }
    0
}

/// What polls a handler, as it were: frames below are not the specimen's.
#[inline(never)]
fn poll_of_the_specimen(run: fn()) {
    // SAFETY: no precondition.
    THREAD.store(unsafe { gettid() }, Release);
    IS_ON.store(true, Release);
    run();
    black_box(());
    exit(3);
}

/// The system call that the thread waits in.
fn syscall() -> Option<u64> {
    let path = format!("/proc/self/task/{}/syscall", THREAD.load(Acquire));
    // `running`, or -1 outside of a system call.
    fs::read_to_string(path).ok()?.split(' ').next()?.parse().ok()
}

fn is_asleep() -> bool {
    let path = format!("/proc/self/task/{}/stat", THREAD.load(Acquire));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['S', 'D']))
}

/// Interrupts the thread; whether its stack was of interest.
fn interrupt() -> bool {
    let (taken, handled) = (TAKEN.load(Acquire), HANDLED.load(Acquire));
    // SAFETY: the thread lives as long as the process.
    unsafe { tgkill(getpid(), THREAD.load(Acquire), SIGUSR1) };
    while HANDLED.load(Acquire) == handled {
        thread::sleep(Duration::from_micros(100));
    }
    TAKEN.load(Acquire) > taken
}

fn print(out: &mut impl io::Write, syscall: Option<u64>) -> io::Result<()> {
    if let Some(syscall) = syscall {
        writeln!(out, "syscall {syscall}")?;
    }
    // SAFETY: the handler has returned.
    let (addresses, length) = unsafe { &*STACK.0.get() };
    for address in &addresses[..*length] {
        writeln!(out, "frame {address:x}")?;
    }
    writeln!(out, "end")
}

fn main() -> io::Result<()> {
    let name = std::env::args().nth(1).expect("a name");
    let names = || BLOCKED.iter().chain(COMPUTING);
    if name == "list" {
        names().for_each(|(name, _)| println!("{name}"));
        return Ok(());
    }
    let (_, run) = *names().find(|(known, _)| *known == name).expect("a specimen of this name");
    let does_wait = BLOCKED.iter().any(|(known, _)| *known == name);
    // SAFETY: the handler does nothing but to unwind and to write to statics.
    unsafe { signal(SIGUSR1, on_signal) };
    thread::spawn(move || poll_of_the_specimen(run));
    while THREAD.load(Acquire) == 0 {
        thread::yield_now();
    }
    // The standard output may be what it waits for.
    let mut out = File::create(std::env::var_os("STACKS").expect("a file to write to"))?;
    if does_wait {
        // In the same call and asleep for a while: it waits for what never comes.
        let mut since = (Instant::now(), None);
        while since.1.is_none() || since.0.elapsed() < Duration::from_millis(100) {
            let now = syscall().filter(|_| is_asleep() && IS_ON.load(Acquire));
            if now != since.1 {
                since = (Instant::now(), now);
            }
            thread::sleep(Duration::from_millis(5));
        }
        assert!(interrupt());
        print(&mut out, since.1)?;
    } else {
        thread::sleep(Duration::from_millis(20));
        let mut taken = 0;
        let mut turn = 0_u64;
        while taken < 30 {
            if interrupt() {
                print(&mut out, None)?;
                taken += 1;
            }
            turn += 1;
            thread::sleep(Duration::from_micros(500 + turn * 377 % 1000));
        }
    }
    out.write_all(&fs::read("/proc/self/maps")?)?;
    exit(0);
}
