//! State and times of the threads of this process by the kernel's files, without stopping or
//! signalling the threads.

use std::{fs, os::fd::OwnedFd, time::Duration};

use super::cpu_clock::cpu_time;
use crate::times::{Activity, Times, open, read_from_start, read_once, voluntary_waits, waited};

/// A thread of this process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Thread(i32);

/// The files that tell a thread's times, kept open: for a thread whose times are read many times a
/// second, since opening such a file costs more than reading it.
#[derive(Debug)]
pub struct TimesFiles {
    thread: Thread,
    schedstat: OwnedFd,
    status: OwnedFd,
}

/// What a thread does, and where.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// It runs, or waits for a processor.
    Running,
    /// It waits in the kernel, with these registers outside of it.
    Waiting {
        /// `None` if it waits in no system call.
        syscall: Option<&'static str>,
        /// The first argument of the call; 0 if there is none.
        argument: u64,
        sp: u64,
        ip: u64,
    },
}

/// Longer than any of the files about a thread, as a rule.
const ROOM: usize = 4096;

impl Thread {
    /// The thread of this number in the kernel (`gettid`), which may have ended.
    pub fn new(number: i32) -> Self {
        Self(number)
    }

    /// This one.
    pub fn current() -> Self {
        Self(rustix::thread::gettid().as_raw_nonzero().get())
    }

    /// Every thread of the process.
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Self)).collect()
    }

    /// The kernel's number of it.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Its name in the kernel, which cuts it to 15 bytes; `None` if the thread has ended or the name is
    /// not UTF-8.
    pub fn name(self) -> Option<String> {
        self.read("comm", |name| Some(name.trim_end().to_owned()))
    }

    /// Current activity of the thread; `None` if the kernel does not tell.
    pub fn activity(self) -> Option<Activity> {
        Some(match self.standing()? {
            Standing::Running => Activity::Running,
            Standing::Waiting { syscall, .. } => Activity::Waiting(syscall),
        })
    }

    /// What it does now, and where it stands if it waits; `None` if the kernel does not tell.
    ///
    /// The file is described in `proc_pid_syscall(5)`: `running`, or the number of the system call, its
    /// six arguments, the stack pointer and the program counter; of a thread that waits in no system
    /// call, as in a page fault, -1 and the last two.
    pub(super) fn standing(self) -> Option<Standing> {
        self.read("syscall", Standing::parse)
    }

    /// Whether it blocks a signal; `None` if it has ended.
    pub(super) fn blocks(self, signal: i32) -> Option<bool> {
        let mask = self.read("status", |status| {
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:"))?;
            u64::from_str_radix(mask.trim(), 16).ok()
        })?;
        Some(mask >> (signal - 1) & 1 == 1)
    }

    /// CPU time that it has used; `None` if it has ended.
    pub fn cpu_time(self) -> Option<Duration> {
        cpu_time(self.0)
    }

    /// Number of times that it was given a processor: as long as this stays, it has not run. `None` if
    /// the kernel does not tell.
    pub fn slices(self) -> Option<u64> {
        self.read("schedstat", |schedstat| schedstat.split_ascii_whitespace().nth(2)?.parse().ok())
    }

    /// Its times since it began; `None` if the kernel does not tell.
    pub fn times(self) -> Option<Times> {
        let wait = self.read("schedstat", waited)?;
        let waits = self.read("status", voluntary_waits)?;
        Some(Times { run: cpu_time(self.0)?, wait, waits })
    }

    /// Number of page faults of the thread, with and without a disk; `None` if the thread has ended.
    pub fn page_faults(self) -> Option<u64> {
        self.read("stat", page_faults)
    }

    /// Path of one of the kernel's files about the thread.
    fn path(self, file: &str) -> String {
        format!("/proc/self/task/{}/{file}", self.0)
    }

    /// Parses one of the kernel's files about the thread.
    ///
    /// The watchdog reads such files many times a second: as a rule in one call, and without memory
    /// of the heap for the text.
    fn read<T>(self, file: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let path = self.path(file);
        let mut buffer = [0; ROOM];
        let text = read_once(&*path, &mut buffer)?;
        if text.len() < ROOM { parse(text) } else { parse(&fs::read_to_string(path).ok()?) }
    }
}

impl TimesFiles {
    /// Opens the files of a thread; `None` if the thread has ended, or no descriptor is left.
    pub fn open(thread: Thread) -> Option<Self> {
        let file = |name| open(thread.path(name));
        Some(Self { thread, schedstat: file("schedstat")?, status: file("status")? })
    }

    /// The thread's times; `None` if it has ended, even if another thread has its number.
    pub fn times(&self) -> Option<Times> {
        let mut buffer = [0; ROOM];
        let wait = waited(read_from_start(&self.schedstat, &mut buffer)?)?;
        let status = read_from_start(&self.status, &mut buffer)?;
        if status.len() == ROOM {
            return self.thread.times();
        }
        Some(Times { run: cpu_time(self.thread.0)?, wait, waits: voluntary_waits(status)? })
    }
}

impl Standing {
    /// Parses a file `syscall`.
    fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace();
        let number = match fields.next()? {
            "running" => return Some(Self::Running),
            number => number.parse().ok()?,
        };
        let syscall = name_of(number);
        if syscall == Some("process_vm_readv") {
            // Our signal handler reads the stack: it may wait for the lock of the memory's map,
            // and what it interrupted waits for nothing.
            return Some(Self::Running);
        }
        let mut address = || u64::from_str_radix(fields.next()?.strip_prefix("0x")?, 16).ok();
        let mut argument = 0;
        if number >= 0 {
            argument = address()?;
            for _further in 1..6 {
                address()?;
            }
        }
        Some(Self::Waiting { syscall, argument, sp: address()?, ip: address()? })
    }
}

/// The page faults of a `stat` file, with and without reading from a disk: fields 12 and 10, see
/// `proc_pid_stat(5)`. The name of the thread, in parentheses, may contain any character.
fn page_faults(stat: &str) -> Option<u64> {
    let (_name, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(7);
    let minor: u64 = fields.next()?.parse().ok()?;
    let major: u64 = fields.nth(1)?.parse().ok()?;
    Some(minor + major)
}

/// The name of a system call.
fn name_of(number: i64) -> Option<&'static str> {
    let number = usize::try_from(number).ok()?;
    syscalls::Sysno::new(number).map(|call| call.name())
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Instant};

    use super::*;

    fn until(mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < Duration::from_mins(1));
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_a_thread_waits_for_has_a_name() {
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let waits = move || {
            tell.send(Thread::current()).expect("told");
            let _ = released.recv();
        };
        let waiting =
            thread::Builder::new().name("waits".to_owned()).spawn(waits).expect("spawned");
        let there = told.recv().expect("told");
        until(|| there.activity() == Some(Activity::Waiting(Some("futex"))));
        assert_eq!(there.name().as_deref(), Some("waits"));
        assert!(Thread::all().contains(&there));
        release.send(()).expect("released");
        waiting.join().expect("no panic");
        until(|| there.times().is_none());
        assert_eq!((there.activity(), there.name()), (None, None));
    }

    #[test]
    fn a_thread_that_computes_runs() {
        let (tell, told) = mpsc::channel();
        let stop = std::sync::atomic::AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                tell.send(Thread::current()).expect("told");
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            let there = told.recv().expect("told");
            until(|| there.activity() == Some(Activity::Running));
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn page_faults_are_read_whatever_the_thread_is_called() {
        let stat = "7 (a) R 9 (b) R 1 7 7 0 -1 4194304 120 99 3 98 5 6 0 0 20 0 1 0";
        assert_eq!(page_faults(stat), Some(123));
        assert_eq!(page_faults("7 (a) R 1 7 7 0 -1 4194304"), None);
        assert!(Thread::current().page_faults().is_some(), "a stack that was used before has none");
    }

    #[test]
    fn a_reading_tells_running_from_sleeping() {
        let before = Thread::current().times().expect("there");
        thread::sleep(Duration::from_millis(30));
        let after = Thread::current().times().expect("there");
        let slept = after.since(before);
        assert!(slept.run < Duration::from_millis(30) && slept.waits > 0, "{slept:?}");
    }

    #[test]
    fn open_files_tell_the_times_of_now_until_the_thread_ends() {
        let (tell, told) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let thread = thread::spawn(move || {
            tell.send(Thread::current()).expect("told");
            let _ = released.recv();
            tell.send(Thread::current()).expect("told");
            let _ = released.recv();
        });
        let other = told.recv().expect("told");
        let files = TimesFiles::open(other).expect("there");
        until(|| matches!(other.activity(), Some(Activity::Waiting(_))));
        let before = files.times().expect("there");
        assert_eq!(other.times().map(|times| times.waits), Some(before.waits));
        release.send(()).expect("waits");
        told.recv().expect("told");
        until(|| files.times().expect("there").waits > before.waits);
        drop(release);
        thread.join().expect("no panic");
        // A thread can be joined a moment before the kernel forgets it.
        until(|| files.times().is_none());
    }
}
