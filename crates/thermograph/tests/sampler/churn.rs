//! 1000 signals a second while everything happens that is known to break profilers: threads come and
//! go, libraries are loaded and unloaded, processes are forked, memory is allocated.

use std::{
    ffi::CString,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

use crate::{
    app::{App, alone, get_bytes},
    captures::Wire,
    specimens,
};

const SECONDS: u64 = 30;

/// A library of the C library's own that programs seldom use.
#[expect(unsafe_code, reason = "loading a library is the system's")]
fn load_and_unload() {
    let name = CString::new("libanl.so.1").expect("no NUL");
    // SAFETY: a library of the C library's, which does nothing when it is loaded; what was opened
    // is closed once.
    unsafe {
        let library = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL);
        assert!(!library.is_null(), "libanl.so.1 is not there");
        let symbol = CString::new("getaddrinfo_a").expect("no NUL");
        assert!(!libc::dlsym(library, symbol.as_ptr()).is_null());
        assert_eq!(libc::dlclose(library), 0);
    }
}

fn fork_and_exec() {
    let ended = Command::new("true").stdin(Stdio::null()).status().expect("started");
    assert!(ended.success(), "a child was hurt: {ended}");
}

fn come_and_go() {
    let threads: Vec<_> = (0..8).map(|_| thread::spawn(|| vec![0_u8; 100_000].len())).collect();
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), 100_000);
    }
}

fn allocate() {
    let many: Vec<_> = (0..1_000).map(|size| vec![1_u8; size * 10]).collect();
    assert_eq!(many.len(), 1_000);
}

#[test]
fn the_process_survives_a_thousand_hertz_while_all_around_it_changes() {
    let _alone = alone();
    let app = App::start(specimens::router());
    let stop = AtomicBool::new(false);
    let rounds = [const { AtomicU64::new(0) }; 4];
    let churn: [fn(); 4] = [load_and_unload, fork_and_exec, come_and_go, allocate];
    let (cpu, wall) = thread::scope(|scope| {
        let stop = &stop;
        for (churn, rounds) in churn.into_iter().zip(&rounds) {
            scope.spawn(move || {
                while !stop.load(Relaxed) {
                    churn();
                    rounds.fetch_add(1, Relaxed);
                }
            });
        }
        let capture = |path: &str| {
            let url = app.diagnostics(&format!("{path}?seconds={SECONDS}&frequency=1000"));
            move || Wire::decode(&get_bytes(&url))
        };
        let captures = app.with_healthy_load(|| {
            let cpu = scope.spawn(capture("/debug/pprof/profile"));
            let wall = scope.spawn(capture("/debug/fgprof"));
            // The door answers all the while.
            for _ in 0..SECONDS {
                get_bytes(&app.diagnostics("/debug/handlers"));
                thread::sleep(Duration::from_millis(500));
            }
            (cpu.join(), wall.join())
        });
        stop.store(true, Relaxed);
        captures
    });
    let rounds = rounds.map(AtomicU64::into_inner);
    println!("rounds of dlopen, fork and exec, threads, allocation: {rounds:?}");
    assert!(rounds.iter().all(|rounds| *rounds >= 10), "{rounds:?}");
    let (cpu, wall) = (cpu.expect("captured").samples(), wall.expect("captured").samples());
    let loaded = cpu.iter().filter(|sample| sample.has("churn::load_and_unload")).count();
    println!("{} and {} different samples, {loaded} of them in dlopen", cpu.len(), wall.len());
    assert!(loaded > 0 && !wall.is_empty());
    assert!(wall.iter().any(|sample| sample.label("state") == "on-cpu"));
}
