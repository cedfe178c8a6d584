//! CPU time of which no sample can be taken is counted as dropped, and no signal goes astray.

#![expect(unsafe_code, reason = "signals are the system's")]

use std::{
    fs, mem, ptr,
    sync::{
        atomic::{AtomicBool, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::Duration,
};

use axum::Router;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    app::{App, agent, alone},
    neighbors::with_handler_replaced,
    specimens::burn,
};

/// Samples that are missing at least: a quarter of those of one thread that computes all the time.
const LEAST: u64 = 50;

/// The dropped samples of a profile over two seconds in which a thread computes, and the signals
/// that were pending for the thread at its end.
fn capture_beside(app: &App, begin: impl Fn() + Sync) -> (u64, String) {
    let stop = AtomicBool::new(false);
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let computes = scope.spawn(|| {
            begin();
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            tell.send(()).expect("the test listens");
            while !stop.load(SeqCst) {
                burn(Duration::from_millis(5));
            }
            let status = fs::read_to_string(format!("/proc/self/task/{thread}/status"));
            let status = status.expect("this thread's own");
            let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
            pending.expect("a line").trim().to_owned()
        });
        told.recv().expect("it computes");
        let url = app.diagnostics("/debug/pprof/profile?seconds=2&frequency=99");
        let answer = agent().get(url).call();
        stop.store(true, SeqCst);
        let pending = computes.join().expect("no panic");
        let answer = answer.expect("an answer");
        let dropped = answer.headers().get("x-thermograph-dropped");
        let dropped = dropped.map_or("0", |dropped| dropped.to_str().expect("a number"));
        (dropped.parse().expect("a number"), pending)
    })
}

fn block_every_signal() {
    // SAFETY: this thread's own mask, of a set that is initialised.
    unsafe {
        let mut all: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
    }
}

#[test]
fn samples_of_a_thread_that_blocks_signals_are_counted_as_dropped() {
    let _alone = alone();
    let app = App::start(Router::new());
    let (dropped, pending) = capture_beside(&app, block_every_signal);
    assert!(dropped >= LEAST, "{dropped}");
    assert_eq!(pending, "0000000000000000");
    let (dropped, _) = capture_beside(&app, || ());
    assert_eq!(dropped, 0, "all threads can be sampled");
}

#[test]
fn handler_that_replaced_the_sampler_s_is_not_called_by_a_cpu_profile() {
    let _alone = alone();
    let app = App::start(Router::new());
    let (called, (dropped, _)) = with_handler_replaced(|| capture_beside(&app, || ()));
    assert_eq!(called, 0);
    assert!(dropped >= LEAST, "{dropped}");
}

#[test]
fn samples_are_counted_as_dropped_where_no_timer_is_left() {
    let _alone = alone();
    let app = App::start(Router::new());
    let before = getrlimit(Resource::Sigpending);
    let none = Rlimit { current: Some(0), ..before };
    setrlimit(Resource::Sigpending, none).expect("less than the most is allowed");
    let (dropped, _) = capture_beside(&app, || ());
    setrlimit(Resource::Sigpending, before).expect("as it was");
    assert!(dropped >= LEAST, "{dropped}");
}
