//! Every rule about the standard library against real stacks of its functions, in both manglings.
//!
//! `tests/specimens/stacks.rs` is compiled as a program of its own, once for each mangling, with and
//! without optimization, and each of its specimens is stopped in its midst. A function that the
//! standard library has renamed is known by no rule then.

use std::{
    collections::{BTreeMap, HashMap},
    env, fmt, fs, iter,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use thermograph_profile::Location;
use thermograph_sampler::{Module, Names};

use super::{Rule, Stack};

/// Specimens that wait, and what they do.
const BLOCKED: &[(&str, &str)] = &[
    ("sleep", "sleeps on the worker"),
    ("usleep", "sleeps on the worker"),
    ("park", "parks its thread"),
    ("park_timeout", "parks its thread"),
    ("mutex", "waits for a mutex"),
    ("rwlock_read", "waits for a read-write lock"),
    ("rwlock_write", "waits for a read-write lock"),
    ("condvar", "waits for a condition variable"),
    ("condvar_timeout", "waits for a condition variable"),
    ("barrier", "waits for other threads at a barrier"),
    ("channel_recv", "waits for a channel"),
    ("channel_recv_timeout", "waits for a channel"),
    ("channel_send", "waits for a channel"),
    ("once", "waits for a value that another thread makes once"),
    ("once_lock", "waits for a value that another thread makes once"),
    ("lazy_lock", "waits for a value that another thread makes once"),
    ("join", "waits for a thread to end"),
    ("scope", "waits for a thread to end"),
    ("command_output", "waits for a child process"),
    ("command_output_of_both", "waits for a child process"),
    ("command_status", "waits for a child process"),
    ("child_wait", "waits for a child process"),
    ("child_wait_with_output", "waits for a child process"),
    // The same code as `File::read`, so that the linker may keep one of them.
    ("child_stdout", "waits for a file or a pipe"),
    ("file_read", "waits for a file"),
    ("buffered_read", "waits for a file"),
    ("fs_read", "waits for a file"),
    ("file_write", "waits for a file"),
    ("file_open", "waits for a file"),
    ("file_lock", "waits for the lock of a file"),
    ("tcp_accept", "waits for a socket that blocks"),
    ("tcp_read", "waits for a socket that blocks"),
    ("tcp_write", "waits for a socket that blocks"),
    ("unix_read", "waits for a socket that blocks"),
    ("udp_recv", "waits for a socket that blocks"),
    ("resolve", "resolves a name with getaddrinfo"),
    ("tcp_connect_by_name", "resolves a name with getaddrinfo"),
    ("stdin", "waits for the standard input"),
    ("stdin_lines", "waits for the standard input"),
    ("stdin_lock", "waits for the standard input"),
    ("println", "writes the log, and its reader is slow"),
    ("eprintln", "writes the log, and its reader is slow"),
    ("stdout_write", "writes the log, and its reader is slow"),
    ("println_lock", "waits for the log's lock"),
    ("stderr_lock", "waits for the log's lock"),
];

/// Specimens that compute, and what they do most of the time.
const COMPUTING: &[(&str, &str)] = &[
    ("spin_hint", "spins"),
    ("spin_load", "spins on an atomic"),
    ("spin_exchange", "spins on an atomic"),
    ("spin_clock", "reads the clock over and over"),
    ("yield_now", "spins for a lock"),
    ("drop_tree", "drops a large structure"),
    ("drop_map", "drops a large structure"),
    ("drop_strings", "drops a large structure"),
    ("backtrace", "takes backtraces"),
    ("backtrace_text", "takes backtraces"),
    ("fill", "copies or fills memory"),
    ("copy", "copies or fills memory"),
    ("allocate", "allocates and frees memory"),
    ("sort", "sorts"),
    ("sort_unstable_by_key", "sorts"),
    ("format", "formats text"),
    ("format_numbers", "formats text"),
    ("hash_map", "looks up or fills a map"),
    ("btree_map", "looks up or fills a map"),
    ("find_text", "searches or changes text"),
    ("replace_text", "searches or changes text"),
    ("utf8", "parses numbers or text"),
    ("parse_float", "parses numbers or text"),
    ("fs_metadata", "reads or writes a file"),
    ("read_dir", "reads or writes a file"),
    ("fs_write", "reads or writes a file"),
    ("command_spawn", "starts a process"),
    ("thread_spawn", "starts a thread"),
    ("compute", "computes"),
];

/// How symbols are mangled.
#[derive(Clone, Copy, Debug)]
enum Mangling {
    Legacy,
    V0,
}

#[test]
fn rules_about_std_know_its_functions_with_legacy_symbols() {
    assert_known(Mangling::Legacy, &["0", "3"]);
}

#[test]
fn rules_about_std_know_its_functions_with_v0_symbols() {
    assert_known(Mangling::V0, &["3"]);
}

fn assert_known(mangling: Mangling, optimizations: &[&str]) {
    let wrong: Vec<_> = optimizations.iter().flat_map(|level| check(mangling, level)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is known wrongly.
fn check(mangling: Mangling, optimization: &str) -> Vec<String> {
    let program = Program::compile(mangling, optimization);
    let listed = program.list();
    let mut all: Vec<_> = BLOCKED.iter().chain(COMPUTING).map(|(name, _)| *name).collect();
    let mut there: Vec<_> = listed.lines().collect();
    all.sort_unstable();
    there.sort_unstable();
    assert_eq!(there, all, "every specimen is expected to be known");
    let runs = program.run_all(&all);
    let names = &mut Names::new(&program.modules);
    let mut told = Vec::new();
    for (specimen, expected) in BLOCKED {
        told.extend(waits_otherwise(specimen, expected, &program.stacks(&runs[specimen], names)));
    }
    for (specimen, expected) in COMPUTING {
        told.extend(does_otherwise(specimen, expected, &program.stacks(&runs[specimen], names)));
    }
    let told = told.into_iter();
    told.map(|told| format!("{mangling:?}, optimization {optimization}: {told}")).collect()
}

/// A function on a stack of a specimen.
#[derive(Clone, Debug)]
struct Function {
    name: String,
    is_own: bool,
}

/// A compiled program of specimens.
struct Program {
    path: PathBuf,
    folder: PathBuf,
    /// The code of a run: in others it is elsewhere, and its names are the same.
    modules: Vec<Module>,
}

/// What a program told of one specimen.
struct Run {
    stacks: String,
    maps: String,
}

/// A stack as the program tells it.
struct Taken {
    syscall: Option<String>,
    /// From the leaf down to where the specimen is called.
    functions: Vec<Function>,
}

impl Program {
    fn compile(mangling: Mangling, optimization: &str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let test = env::current_exe().expect("a path");
        let folder = test.parent().expect("a folder").join("specimens");
        fs::create_dir_all(&folder).expect("made");
        let path = folder.join(format!("stacks-{mangling:?}-{optimization}"));
        let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        rustc.current_dir(root).args(["--edition", "2024", "-C", "debuginfo=1"]);
        rustc.args(["-C", &format!("opt-level={optimization}"), "-o"]).arg(&path);
        match mangling {
            // The default of a stable compiler, and not to be asked for there.
            Mangling::Legacy => rustc.env("RUSTC_BOOTSTRAP", "1").args([
                "-Z",
                "unstable-options",
                "-C",
                "symbol-mangling-version=legacy",
            ]),
            Mangling::V0 => rustc.args(["-C", "symbol-mangling-version=v0"]),
        };
        let output =
            rustc.arg(root.join("tests/specimens/stacks.rs")).output().expect("rustc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let symbols = fs::read(&path).expect("compiled");
        let symbol: &[u8] = match mangling {
            Mangling::Legacy => b"_ZN6stacks20poll_of_the_specimen17h",
            Mangling::V0 => b"6stacks20poll_of_the_specimen\0",
        };
        let is_there = symbols.windows(symbol.len()).any(|bytes| bytes == symbol);
        assert!(is_there, "symbols are not mangled as {mangling:?}");
        let mut program = Self { path, folder, modules: Vec::new() };
        program.modules = Module::listed(&program.run("sleep").maps, 0);
        program
    }

    fn list(&self) -> String {
        let output = Command::new(&self.path).arg("list").output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a specimen; its standard streams are pipes that nobody reads from or writes to.
    fn run(&self, specimen: &str) -> Run {
        const PATIENCE: Duration = Duration::from_mins(2);
        let scratch = scratch_folder(&self.folder, specimen);
        let told = scratch.join("stacks");
        let mut program = Command::new(&self.path);
        program.arg(specimen).env("STACKS", &told).env("SCRATCH", &scratch);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = program.spawn().expect("runs");
        let start = Instant::now();
        let status = loop {
            if let Some(status) = running.try_wait().expect("waited for") {
                break status;
            }
            if start.elapsed() > PATIENCE {
                running.kill().expect("killed");
            }
            thread::sleep(Duration::from_millis(2));
        };
        let text = fs::read_to_string(&told).expect("told");
        fs::remove_dir_all(&scratch).expect("removed");
        assert!(status.success(), "{specimen}: {status}");
        let (stacks, maps) = text.rsplit_once("end\n").expect("stacks and mappings");
        Run { stacks: stacks.to_owned(), maps: maps.to_owned() }
    }

    /// Runs all specimens, some at the same time: most of them sleep.
    fn run_all(&self, specimens: &[&'static str]) -> HashMap<&'static str, Run> {
        let next = AtomicUsize::new(0);
        let take = || specimens.get(next.fetch_add(1, Relaxed)).copied();
        let work = || iter::from_fn(take).map(|name| (name, self.run(name))).collect::<Vec<_>>();
        thread::scope(|scope| {
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
        })
    }

    fn stacks(&self, Run { stacks, maps }: &Run, names: &mut Names<'_>) -> Vec<Taken> {
        let modules = Module::listed(maps, 0);
        let mut located = |address: u64| {
            let here = modules.iter().find(|module| module.contains(address));
            let same = |module: &&Module| {
                here.is_some_and(|here| here.mapping.file == module.mapping.file)
            };
            let there = self.modules.iter().find(same);
            let moved = here.zip(there).map_or(address, |(here, there)| {
                address.wrapping_sub(here.base).wrapping_add(there.base)
            });
            names.location(moved)
        };
        stacks.split("end\n").filter_map(|stack| Taken::of(stack, &mut located)).collect()
    }
}

/// What a specimen that waits is said to do, if that is wrong.
fn waits_otherwise(specimen: &str, expected: &str, stacks: &[Taken]) -> Option<String> {
    let [taken] = stacks else { return Some(format!("{specimen}: {} stacks", stacks.len())) };
    let found = taken.rule(Some("blocked"));
    (found != expected).then(|| format!("{specimen}: {found}, not {expected}, {taken}"))
}

/// What a specimen that computes is said to do, if less than half of it is right.
fn does_otherwise(specimen: &str, expected: &str, stacks: &[Taken]) -> Option<String> {
    let mut found = BTreeMap::<&str, (usize, String)>::new();
    for taken in stacks {
        let (count, shown) = found.entry(taken.rule(Some("cpu"))).or_default();
        (*count, *shown) = (*count + 1, taken.to_string());
    }
    let is_right = |what: &str| what.starts_with(expected);
    let right = found.iter().filter(|(what, _)| is_right(what)).map(|(_, (count, _))| count);
    let (right, all) = (right.sum::<usize>(), stacks.len());
    (right * 2 < all || all < 15)
        .then(|| format!("{specimen}: {right} of {all} {expected}: {found:#?}"))
}

/// An empty folder for one run of a specimen.
fn scratch_folder(parent: &Path, specimen: &str) -> PathBuf {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let run = RUNS.fetch_add(1, Relaxed);
    let path = parent.join(format!("{specimen}-{}-{run}", std::process::id()));
    fs::create_dir_all(&path).expect("made");
    path
}

impl Taken {
    /// `None` if it does not reach the specimen: the C library's unwinder cannot pass some
    /// instructions.
    fn of(text: &str, located: impl FnMut(u64) -> Arc<Location>) -> Option<Self> {
        let number = text.lines().find_map(|line| line.strip_prefix("syscall "));
        let number = number.map(|number| number.parse().expect("a number"));
        let call = number.and_then(syscalls::Sysno::new);
        let frames = text.lines().filter_map(|line| line.strip_prefix("frame "));
        let frames = frames.map(|address| u64::from_str_radix(address, 16).expect("an address"));
        // The first are the signal's handler and what the kernel returns to from it.
        let locations: Vec<_> = frames.skip(2).map(located).collect();
        let mut functions = Vec::new();
        for frame in locations.iter().flat_map(|location| &location.frames) {
            if frame.name.contains("poll_of_the_specimen") {
                let syscall = call.map(|call| call.name().to_owned());
                return Some(Self { syscall, functions });
            }
            let is_own = frame.file.ends_with("specimens/stacks.rs");
            functions.push(Function { name: frame.name.clone(), is_own });
        }
        None
    }

    fn rule(&self, class: Option<&str>) -> &'static str {
        let functions = self.functions.iter().map(|function| (&*function.name, function.is_own));
        Rule::of(class, self.syscall.as_deref(), &Stack::new(functions)).what
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.functions.iter().map(|function| &*function.name).collect();
        write!(f, "in {:?}: {}", self.syscall, names.join(" < "))
    }
}
