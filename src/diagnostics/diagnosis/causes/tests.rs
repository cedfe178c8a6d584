//! Every rule about the standard library against real stacks of its functions, in both manglings.
//!
//! `tests/specimens/stacks.rs` is compiled as a program of its own, once for each mangling, with and
//! without optimization, and each of its specimens is stopped in its midst. A function that the
//! standard library has renamed is known by no rule then.

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use addr2line::Loader;

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
fn every_rule_about_std_knows_its_functions_with_legacy_symbols() {
    let mut wrong = Vec::new();
    for optimization in ["0", "3"] {
        wrong.extend(check(Mangling::Legacy, optimization));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_rule_about_std_knows_its_functions_with_v0_symbols() {
    let mut wrong = Vec::new();
    for optimization in ["0", "3"] {
        wrong.extend(check(Mangling::V0, optimization));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is known wrongly.
fn check(mangling: Mangling, optimization: &str) -> Vec<String> {
    let program = Program::compile(mangling, optimization);
    let mut names = Names::default();
    let listed = program.list();
    let mut all: Vec<_> = BLOCKED.iter().chain(COMPUTING).map(|(name, _)| *name).collect();
    let mut there: Vec<_> = listed.lines().collect();
    all.sort_unstable();
    there.sort_unstable();
    assert_eq!(there, all, "every specimen is expected to be known");
    let mut wrong = Vec::new();
    for (name, expected) in BLOCKED {
        let [taken] = &*program.stacks(name) else { panic!("{name}: not one stack") };
        let functions = names.of(taken);
        let found = rule(Some("blocked"), taken.syscall.as_deref(), &functions);
        if found != *expected {
            wrong.push(format!(
                "{mangling:?} {optimization} {name}: {found}, not {expected}, in {:?}: {}",
                taken.syscall,
                shown(&functions)
            ));
        }
    }
    for (name, expected) in COMPUTING {
        let stacks = program.stacks(name);
        let mut found = BTreeMap::<&str, (usize, String)>::new();
        for taken in &stacks {
            let functions = names.of(taken);
            let (count, stack) = found.entry(rule(Some("cpu"), None, &functions)).or_default();
            *count += 1;
            *stack = shown(&functions);
        }
        let right: usize =
            found.iter().filter(|(what, _)| what.starts_with(expected)).map(|(_, (n, _))| n).sum();
        if right * 2 < stacks.len() {
            wrong.push(format!(
                "{mangling:?} {optimization} {name}: {right} of {} {expected}: {found:#?}",
                stacks.len()
            ));
        }
    }
    wrong
}

fn rule(class: Option<&str>, syscall: Option<&str>, functions: &[Function]) -> &'static str {
    let functions = functions.iter().map(|function| (&*function.name, function.is_own));
    Rule::of(class, syscall, &Stack::new(functions)).what
}

fn shown(functions: &[Function]) -> String {
    let names: Vec<_> = functions.iter().map(|function| &*function.name).collect();
    names.join(" < ")
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
}

/// A stack as the program tells it.
struct Taken {
    syscall: Option<String>,
    /// The file of each frame's code, and where in it.
    frames: Vec<(String, u64)>,
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
            Mangling::Legacy => rustc
                .env("RUSTC_BOOTSTRAP", "1")
                .args(["-Z", "unstable-options", "-C", "symbol-mangling-version=legacy"]),
            Mangling::V0 => rustc.args(["-C", "symbol-mangling-version=v0"]),
        };
        let output = rustc.arg(root.join("tests/specimens/stacks.rs")).output().expect("rustc runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let symbols = fs::read(&path).expect("compiled");
        let symbol: &[u8] = match mangling {
            Mangling::Legacy => b"_ZN6stacks20poll_of_the_specimen17h",
            Mangling::V0 => b"6stacks20poll_of_the_specimen\0",
        };
        let is_there = symbols.windows(symbol.len()).any(|bytes| bytes == symbol);
        assert!(is_there, "symbols are not mangled as {mangling:?}");
        Self { path, folder }
    }

    fn list(&self) -> String {
        let output = Command::new(&self.path).arg("list").output().expect("runs");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Runs a specimen; its standard streams are pipes that nobody reads from or writes to.
    fn stacks(&self, specimen: &str) -> Vec<Taken> {
        const PATIENCE: Duration = Duration::from_mins(2);
        let scratch = tempfile_in(&self.folder, specimen);
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
        text.split_terminator("end\n").map(Taken::of).collect()
    }
}

/// An empty folder of this process'.
fn tempfile_in(folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}-{}-{:?}", std::process::id(), thread::current().id()));
    fs::create_dir_all(&path).expect("made");
    path
}

impl Taken {
    fn of(text: &str) -> Self {
        let mut taken = Self { syscall: None, frames: Vec::new() };
        for line in text.lines() {
            if let Some(number) = line.strip_prefix("syscall ") {
                let number = number.parse().expect("a number");
                taken.syscall = syscalls::Sysno::new(number).map(|call| call.name().to_owned());
            } else if let Some(frame) = line.strip_prefix("frame ") {
                let (file, address) = frame.rsplit_once(' ').expect("a file and a place");
                let address = u64::from_str_radix(address, 16).expect("a number");
                taken.frames.push((file.to_owned(), address));
            }
        }
        taken
    }
}

/// Names as the diagnostics have them.
#[derive(Default)]
struct Names {
    loaders: HashMap<String, Option<Loader>>,
    known: HashMap<(String, u64), Vec<Function>>,
}

impl Names {
    /// From the leaf down to where the specimen is called.
    fn of(&mut self, taken: &Taken) -> Vec<Function> {
        // The handler of the signal, and what the kernel returns to from it.
        let interrupted = taken.frames.iter().skip(2);
        let functions = interrupted.flat_map(|frame| self.at(frame));
        let is_polled = |function: &Function| function.name.contains("poll_of_the_specimen");
        let all: Vec<_> = functions.collect();
        assert!(all.iter().any(is_polled), "the stack is cut off: {}", shown(&all));
        all.into_iter().take_while(|function| !is_polled(function)).collect()
    }

    fn at(&mut self, frame: &(String, u64)) -> Vec<Function> {
        if let Some(known) = self.known.get(frame) {
            return known.clone();
        }
        let (file, address) = frame;
        let loader = self.loaders.entry(file.clone()).or_insert_with(|| Loader::new(file).ok());
        let functions = loader.as_ref().map_or(Vec::new(), |loader| located(loader, *address));
        self.known.insert(frame.clone(), functions.clone());
        functions
    }
}

fn located(loader: &Loader, address: u64) -> Vec<Function> {
    let mut functions = Vec::new();
    let mut frames = loader.find_frames(address).expect("debug information");
    while let Some(frame) = frames.next().expect("debug information") {
        let Some(function) = frame.function else { continue };
        let file = frame.location.and_then(|place| place.file).unwrap_or_default();
        let name = demangled(&function.raw_name().expect("a name"));
        functions.push(Function { name, is_own: file.ends_with("specimens/stacks.rs") });
    }
    if functions.is_empty()
        && let Some(symbol) = loader.find_symbol(address)
    {
        functions.push(Function { name: demangled(symbol), is_own: false });
    }
    functions
}

fn demangled(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}
