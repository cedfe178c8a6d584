//! The table of causes: what a stack shows, and what to try.
//!
//! A rule looks at the class of the stall, the system call that it waits in, and the names of the
//! functions on the stack. The first rule that fits is the one; the last of each class fits always.

/// What a stack shows, and what to try.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) what: &'static str,
    pub(super) remedy: &'static str,
    class: Class,
    /// System calls of which one must be waited in; any where empty.
    syscalls: &'static [&'static str],
    /// Parts of names of which one must be on the stack; any where empty.
    functions: &'static [&'static str],
}

/// Where a rule is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Class {
    /// It waits in a system call.
    Blocked,
    /// It computes, in a stall or in a profile of CPU time.
    Cpu,
}

use Class::{Blocked, Cpu};

const SLEEPS: &str = "sleeps on the worker";
const SLEEP_ASYNC: &str = "tokio::time::sleep(…).await instead of std::thread::sleep";
/// How threads wait for each other.
const FUTEX: &[&str] = &["futex"];
const FILES: &[&str] = &[
    "close",
    "copy_file_range",
    "fallocate",
    "ftruncate",
    "getdents64",
    "linkat",
    "lstat",
    "mkdir",
    "mkdirat",
    "newfstatat",
    "open",
    "openat",
    "pread64",
    "preadv",
    "pwrite64",
    "pwritev",
    "read",
    "readlink",
    "readv",
    "rename",
    "renameat",
    "renameat2",
    "sendfile",
    "stat",
    "statx",
    "unlink",
    "unlinkat",
    "write",
    "writev",
];
const SOCKETS: &[&str] = &[
    "accept", "accept4", "connect", "read", "readv", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg",
    "sendmsg", "sendto", "write", "writev",
];
/// The table of open files is doubled when it is full. In a process with several threads, Linux
/// waits then until each processor has switched tasks (`expand_fdtable` in `fs/file.c`).
const FILE_TABLE: &str = "waits for the table of open files to grow";
const FILE_TABLE_REMEDY: &str = "let it grow before the server takes requests: fcntl(F_DUPFD) to the highest number that will be used";

/// Every rule, the more special ones first.
pub(super) const RULES: &[Rule] = &[
    Rule {
        what: SLEEPS,
        remedy: SLEEP_ASYNC,
        class: Blocked,
        syscalls: &["clock_nanosleep", "nanosleep"],
        functions: &["std::thread::", "std::sys::thread"],
    },
    Rule {
        what: SLEEPS,
        remedy: SLEEP_ASYNC,
        class: Blocked,
        syscalls: &["clock_nanosleep", "nanosleep"],
        functions: &[],
    },
    Rule {
        what: "resolves a name with getaddrinfo",
        remedy: "tokio::net::lookup_host(…).await, or an async resolver such as hickory-resolver",
        class: Blocked,
        syscalls: &[],
        functions: &[
            "getaddrinfo",
            "gethostbyname",
            "lookup_host",
            "LookupHost",
            "resolve_socket_addr",
            "ToSocketAddrs",
        ],
    },
    Rule {
        what: "runs a future to its end on the worker",
        remedy: ".await it instead of block_on",
        class: Blocked,
        syscalls: &[],
        functions: &[
            "futures_executor::local_pool::block_on",
            "futures_lite::future::block_on",
            "pollster::block_on",
            "Handle::block_on",
            "Runtime::block_on",
            "reqwest::blocking::",
        ],
    },
    Rule {
        what: "asks a database by a client that blocks",
        remedy: "an async client with a pool, such as sqlx, or spawn_blocking around the call",
        class: Blocked,
        syscalls: &[],
        functions: &[
            "rusqlite::",
            "sqlite3_",
            "diesel::",
            "postgres::client::",
            "mysql::conn",
            "redis::connection",
        ],
    },
    Rule {
        what: "waits for a child process",
        remedy: "tokio::process::Command, and .await its end",
        class: Blocked,
        syscalls: &["wait4", "waitid", "waitpid"],
        functions: &[],
    },
    Rule {
        what: "waits for a child process",
        remedy: "tokio::process::Command, and .await its end",
        class: Blocked,
        syscalls: &[],
        functions: &["std::process::Command::", "std::process::Child::"],
    },
    Rule {
        what: "waits for a thread to end",
        remedy: "tokio::task::spawn_blocking(…).await instead of thread::spawn and join",
        class: Blocked,
        syscalls: FUTEX,
        functions: &[
            "std::thread::JoinHandle",
            "JoinInner",
            "pthread_join",
            "std::thread::scoped::scope",
        ],
    },
    Rule {
        what: "waits for a message of a channel",
        remedy: "tokio::sync::mpsc or oneshot, and .await the message",
        class: Blocked,
        syscalls: FUTEX,
        functions: &["std::sync::mpsc::", "std::sync::mpmc::", "crossbeam_channel::", "flume::"],
    },
    Rule {
        what: "waits for a condition variable",
        remedy: "tokio::sync::Notify or watch, and .await the change",
        class: Blocked,
        syscalls: FUTEX,
        functions: &["Condvar", "condvar"],
    },
    Rule {
        what: "waits for a read-write lock",
        remedy: "hold the lock for less time and never over I/O or work; or tokio::sync::RwLock, or a \
                 snapshot that is swapped (arc-swap)",
        class: Blocked,
        syscalls: FUTEX,
        functions: &["RwLock", "rwlock"],
    },
    Rule {
        what: "waits for a value that another thread makes once",
        remedy: "make it before the server starts, or tokio::sync::OnceCell",
        class: Blocked,
        syscalls: FUTEX,
        functions: &[
            "std::sync::once::",
            "OnceLock",
            "LazyLock",
            "sync::once::futex",
            "once_cell::",
        ],
    },
    Rule {
        what: "waits for a mutex",
        remedy: "hold the lock for less time and never over I/O or work; or tokio::sync::Mutex",
        class: Blocked,
        syscalls: FUTEX,
        functions: &["Mutex", "mutex", "parking_lot::", "ReentrantLock"],
    },
    Rule {
        what: "waits for another thread",
        remedy: "an async primitive of tokio::sync, or spawn_blocking around what waits",
        class: Blocked,
        syscalls: FUTEX,
        functions: &[],
    },
    Rule {
        what: "writes to a terminal or pipe that is slow",
        remedy: "tracing_appender::non_blocking for logs; no println! in handlers",
        class: Blocked,
        syscalls: &["write", "writev"],
        functions: &[
            "std::io::stdio::",
            "tracing_subscriber::fmt::",
            "std::io::Stdout",
            "std::io::Stderr",
        ],
    },
    Rule {
        what: "waits until a disk has written",
        remedy: "spawn_blocking around the write and its sync, or a writer of its own behind a channel",
        class: Blocked,
        syscalls: &["fdatasync", "fsync", "msync", "sync", "sync_file_range", "syncfs"],
        functions: &[],
    },
    Rule {
        what: "waits for the lock of a file",
        remedy: "spawn_blocking around it, or try to lock and come back later",
        class: Blocked,
        syscalls: &["fcntl", "flock"],
        functions: &[],
    },
    Rule {
        what: FILE_TABLE,
        remedy: FILE_TABLE_REMEDY,
        class: Blocked,
        syscalls: &[
            "dup",
            "dup2",
            "dup3",
            "epoll_create1",
            "eventfd2",
            "pipe2",
            "socket",
            "socketpair",
            "timerfd_create",
        ],
        functions: &[],
    },
    Rule {
        what: FILE_TABLE,
        remedy: FILE_TABLE_REMEDY,
        class: Blocked,
        syscalls: &["accept", "accept4"],
        functions: &["mio::"],
    },
    Rule {
        what: "waits for the map of the memory",
        remedy: "an allocator that keeps memory, such as jemalloc; fewer large buffers and new threads",
        class: Blocked,
        syscalls: &["brk", "madvise", "mmap", "mprotect", "mremap", "munmap"],
        functions: &[],
    },
    Rule {
        what: "waits for a socket that blocks",
        remedy: "tokio::net, or an async client, instead of std::net",
        class: Blocked,
        syscalls: SOCKETS,
        functions: &[
            "std::net::",
            "TcpStream",
            "UdpSocket",
            "UnixStream",
            "std::os::unix::net",
            "ureq::",
            "native_tls::",
        ],
    },
    Rule {
        what: "waits for a socket that blocks",
        remedy: "tokio::net, or an async client, instead of std::net",
        class: Blocked,
        syscalls: &[
            "accept", "accept4", "connect", "recvfrom", "recvmmsg", "recvmsg", "sendmmsg",
            "sendmsg", "sendto",
        ],
        functions: &[],
    },
    Rule {
        what: "waits for a file",
        remedy: "tokio::fs, or spawn_blocking around the whole of it",
        class: Blocked,
        syscalls: FILES,
        functions: &["std::fs::", "tempfile::", "memmap"],
    },
    Rule {
        what: "waits for a file or a pipe",
        remedy: "tokio::fs, tokio::net::unix::pipe, or spawn_blocking around it",
        class: Blocked,
        syscalls: FILES,
        functions: &[],
    },
    Rule {
        what: "waits for file descriptors",
        remedy: "tokio::io::unix::AsyncFd, or spawn_blocking around it",
        class: Blocked,
        syscalls: &["epoll_pwait", "epoll_wait", "poll", "ppoll", "pselect6", "select"],
        functions: &[],
    },
    Rule {
        what: "waits in a system call",
        remedy: "an async interface for it, or spawn_blocking around it",
        class: Blocked,
        syscalls: &[],
        functions: &[],
    },
    Rule {
        what: "hashes a password",
        remedy: "a small pool of threads for it (spawn_blocking behind a semaphore): it is slow on \
                 purpose",
        class: Cpu,
        syscalls: &[],
        functions: &["argon2::", "bcrypt::", "scrypt::", "pbkdf2::", "bcrypt_pbkdf::"],
    },
    Rule {
        what: "spins for a lock",
        remedy: "a lock that parks (std::sync or tokio::sync), held for less time",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "core::hint::spin_loop",
            "spin::mutex",
            "spin::rwlock",
            "std::thread::yield_now",
        ],
    },
    Rule {
        what: "runs a model or a tokenizer",
        remedy: "threads of its own for it, fed by a bounded queue in batches",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "rten::",
            "rten_gemm::",
            "rten_simd::",
            "rten_vecmath::",
            "candle_",
            "ort::",
            "tokenizers::",
            "tch::",
            "burn_",
        ],
    },
    Rule {
        what: "compiles a regular expression",
        remedy: "compile it once: std::sync::LazyLock<Regex>",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "regex::builders::",
            "regex::regex::string::Regex::new",
            "regex_syntax::",
            "regex_automata::meta::strategy::new",
            "regex_automata::nfa::thompson::compiler",
        ],
    },
    Rule {
        what: "matches a regular expression",
        remedy: "bound the input, or spawn_blocking around it",
        class: Cpu,
        syscalls: &[],
        functions: &["regex::", "regex_automata::", "fancy_regex::"],
    },
    Rule {
        what: "reads or writes a large JSON",
        remedy: "smaller pages, or spawn_blocking around serde_json for bodies over some 100 KiB",
        class: Cpu,
        syscalls: &[],
        functions: &["serde_json::", "simd_json::", "sonic_rs::"],
    },
    Rule {
        what: "encodes or decodes a large message",
        remedy: "smaller messages, or spawn_blocking around it",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "rmp_serde::",
            "ciborium::",
            "bincode::",
            "postcard::",
            "prost::",
            "csv::",
            "quick_xml::",
            "toml::",
            "serde_yaml",
        ],
    },
    Rule {
        what: "compresses or decompresses",
        remedy: "spawn_blocking, a lower level, or the proxy in front",
        class: Cpu,
        syscalls: &[],
        functions: &["flate2::", "miniz_oxide::", "zlib_rs::", "zstd", "brotli", "lz4", "snap::"],
    },
    Rule {
        what: "encrypts, signs or hashes",
        remedy: "spawn_blocking, or pieces with tokio::task::yield_now().await in between",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "sha1::",
            "sha2::",
            "sha3::",
            "blake2",
            "blake3",
            "md5",
            "ring::",
            "aws_lc",
            "rsa::",
            "ed25519",
            "p256::",
            "rustls::",
            "openssl::",
            "jsonwebtoken::",
        ],
    },
    Rule {
        what: "works on an image",
        remedy: "a pool of threads for it, fed by a bounded queue",
        class: Cpu,
        syscalls: &[],
        functions: &[
            "image::",
            "png::",
            "jpeg_decoder::",
            "zune_jpeg::",
            "webp",
            "resvg::",
            "tiny_skia::",
        ],
    },
    Rule {
        what: "reads or writes a file",
        remedy: "tokio::fs, or spawn_blocking around the whole of it; a stream of pieces to send it",
        class: Cpu,
        syscalls: &[],
        functions: &["std::fs::", "tempfile::"],
    },
    Rule {
        what: "sends a large body at once",
        remedy: "a stream of pieces (Body::from_stream), or a smaller page: to copy it into the socket \
                 takes its time",
        class: Cpu,
        syscalls: &[],
        functions: &["TcpStream", "UnixStream"],
    },
    Rule {
        what: "starts a process",
        remedy: "tokio::process::Command, or spawn_blocking: to copy a large process takes its time",
        class: Cpu,
        syscalls: &[],
        functions: &["std::process::Command::", "std::sys::process::"],
    },
    Rule {
        what: "sorts",
        remedy: "spawn_blocking for large inputs, or an order that is kept as it changes",
        class: Cpu,
        syscalls: &[],
        functions: &["core::slice::sort::", "alloc::slice::stable_sort"],
    },
    Rule {
        what: "gives much memory back",
        remedy: "keep large buffers and use them again, or drop them in spawn_blocking",
        class: Cpu,
        syscalls: &[],
        functions: &["munmap", "madvise", "__munmap", "__madvise"],
    },
    Rule {
        what: "computes",
        remedy: "spawn_blocking or a pool of threads; or pieces with tokio::task::yield_now().await in \
                 between",
        class: Cpu,
        syscalls: &[],
        functions: &[],
    },
];

impl Rule {
    /// The rule for a stack; `names` are its functions, the leaf first.
    ///
    /// Who waits does what the function nearest to the system call is for. Who computes does what
    /// the most special rule says, wherever it stands: a password's hash is made of other hashes.
    pub(super) fn of(class: Option<&str>, syscall: Option<&str>, names: &[&str]) -> &'static Self {
        let class = if class == Some("blocked") || syscall.is_some() { Blocked } else { Cpu };
        let may_wait_in = |rule: &&Self| {
            rule.syscalls.is_empty()
                || syscall.is_some_and(|syscall| rule.syscalls.contains(&syscall))
        };
        let mut rules = RULES.iter().filter(|rule| rule.class == class).filter(may_wait_in);
        let by_function = match class {
            Blocked => {
                let special: Vec<_> = rules.clone().collect();
                names
                    .iter()
                    .find_map(|name| special.iter().find(|rule| rule.is_about(name)).copied())
            }
            Cpu => rules.clone().find(|rule| names.iter().any(|name| rule.is_about(name))),
        };
        // The last one of each class fits always.
        let any = || rules.find(|rule| rule.functions.is_empty());
        by_function.or_else(any).unwrap_or(&RULES[RULES.len() - 1])
    }

    fn is_about(&self, name: &str) -> bool {
        // From where a word begins: `ort::` is no part of `sort::`.
        let is_in = |part: &&str| {
            let mut found = name.match_indices(part).map(|(start, _)| &name[..start]);
            found.any(|before| !before.ends_with(|c: char| c.is_alphanumeric() || c == '_'))
        };
        self.functions.iter().any(is_in)
    }
}
