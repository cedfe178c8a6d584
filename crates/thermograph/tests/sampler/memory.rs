//! Memory: what a capture takes it gives back, and stalls do not pile up.

use std::{env, fs, process::Command, thread, time::Duration};

use crate::{
    app::{App, agent, alone, get_bytes, wait},
    specimens,
};

/// Runs a test of this module in a process of its own: other tests leave memory in theirs, such as
/// the 140 MB that the standard library reads and keeps once it has printed a panic's backtrace.
fn apart(name: &str, test: impl FnOnce()) {
    const INSIDE: &str = "THERMOGRAPH_TEST_APART";
    if env::var_os(INSIDE).is_some() {
        return test();
    }
    let _alone = alone();
    let mut child = Command::new(env::current_exe().expect("known"));
    child.args([&format!("memory::{name}"), "--exact", "--nocapture"]).env(INSIDE, "1");
    // For each thread one: what a thread frees at the end of an arena stays there as long as another
    // thread has something behind it.
    child.env("MALLOC_ARENA_MAX", "64");
    let output = child.output().expect("started");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    assert!(told.contains("1 passed"), "{told}{errors}");
    println!("{told}");
}

/// Resident memory of this process's own, in KiB: without pages of files, which are code that ran
/// for the first time, and the system's to take away.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("there");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The least of some looks: what is in use when nothing is done, and nothing is kept for later.
///
/// Names may be looked up just now: what that leaves to the C library is given back at each look.
#[expect(unsafe_code, reason = "the C library's own call")]
fn settled() -> u64 {
    let looks = (0..20).map(|_| {
        thread::sleep(Duration::from_millis(50));
        // SAFETY: no precondition.
        unsafe { libc::malloc_trim(0) };
        resident()
    });
    looks.min().expect("some")
}

#[test]
fn ten_captures_leave_at_most_8_mib() {
    apart("ten_captures_leave_at_most_8_mib", ten_captures);
}

/// Waits until the examination some seconds after the start has ended; a process has one. It reads
/// the debug information, 48 MB, which may stay at the end of an arena: `malloc_trim` leaves that.
fn examined() {
    let is_examined = || {
        let threads = fs::read_dir("/proc/self/task").expect("readable").flatten();
        let mut names = threads.flat_map(|thread| fs::read_to_string(thread.path().join("comm")));
        names.any(|name| name.trim_end() == "thermo-doctor")
    };
    wait("the examination has its thread", is_examined);
    wait("the examination has ended", || !is_examined());
}

fn ten_captures() {
    let app = App::start(specimens::router());
    examined();
    // What any request leaves behind, such as threads and their stacks, was there before.
    app.with_healthy_load(|| get_bytes(&app.diagnostics("/metrics")));
    let before = settled();
    let kinds = ["/debug/pprof/profile?frequency=999&", "/debug/fgprof?frequency=500&"];
    for (number, kind) in kinds.iter().cycle().take(10).enumerate() {
        let format = ["pprof", "svg", "folded"][number % 3];
        let url = app.diagnostics(&format!("{kind}seconds=1&format={format}"));
        app.with_healthy_load(|| get_bytes(&url));
    }
    // Given back a while after the last one.
    wait("the memory is given back", || resident() <= before + 8 * 1024);
    println!("{before} KiB before, {} KiB after ten captures", resident());
}

#[test]
fn ten_thousand_stalls_grow_nothing() {
    apart("ten_thousand_stalls_grow_nothing", ten_thousand_stalls);
}

/// Keeps the C library from raising by itself how much free memory it keeps for a thread. After
/// names were looked up, 100 MB, that is several MiB, which `malloc_trim` does not give back.
#[expect(unsafe_code, reason = "the C library's own call")]
fn keep_little() {
    // SAFETY: no precondition; 128 KiB is what it begins with.
    let is_set = unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, 128 << 10) };
    assert_eq!(is_set, 1);
}

fn ten_thousand_stalls() {
    keep_little();
    let app = App::with(specimens::router(), |builder| {
        builder.threshold(Duration::from_millis(1)).max_stalls(256)
    });
    let stall = |count: usize| {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let agent = agent();
                    for _ in 0..count / 4 {
                        let answer = agent.get(app.url("/ill/short")).call().expect("an answer");
                        assert_eq!(answer.status(), 200);
                    }
                });
            }
        });
    };
    let total = || app.stalls_counted("/ill/short");
    examined();
    stall(1_000);
    wait("they are counted", || total() == 1_000);
    let before = settled();
    stall(10_000);
    wait("they are counted", || total() == 11_000);
    let after = settled();
    println!("{before} KiB before, {after} KiB after 10,000 stalls");
    assert_eq!(app.thermograph.stalls().len(), 256);
    // Nothing that grows with their number: a byte each would be 10 KiB.
    assert!(after <= before + 2 * 1024, "{before} KiB before, {after} KiB after");
}
