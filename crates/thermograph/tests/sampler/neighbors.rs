//! Beside other users of signals in the same process: nothing of theirs is lost, and nothing crashes.

#![expect(unsafe_code, reason = "signals are the system's")]

use std::{
    fs, mem, ptr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI32, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use pprof::ProfilerGuard;
use thermograph::Stacks;

use crate::{
    app::{App, agent, alone, get_text, wait},
    specimens::burn,
};

/// How long a handler computes: over the threshold, so that its stack is asked for.
const BURN: Duration = Duration::from_millis(35);

/// An app whose stalls are sampled by signals, even where perf events are available.
fn app() -> App {
    let router = Router::new().route("/burn", get(async || burn(BURN)));
    App::with(router, |builder| builder.stacks(Stacks::Signal))
}

/// Has the app compute on both workers until `is_over`, and for some requests at least.
fn compute_until(app: &App, is_over: impl Fn() -> bool + Sync) {
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let agent = agent();
                while !is_over() || answers.load(Relaxed) < 20 {
                    let answer = agent.get(app.url("/burn")).call().expect("an answer");
                    assert_eq!(answer.status(), 200);
                    answers.fetch_add(1, Relaxed);
                }
            });
        }
    });
}

fn for_a_while() -> impl Fn() -> bool + Sync {
    let until = Instant::now() + Duration::from_secs(2);
    move || Instant::now() >= until
}

/// Stacks were really taken of threads that computed.
fn assert_stacks(app: &App) {
    let stalls = app.stalls_of("/burn", 1);
    let named = stalls.iter().filter(|stall| !stall.stack.is_empty()).count();
    assert!(named * 2 > stalls.len(), "{named} of {} stalls have a stack", stalls.len());
}

#[test]
fn profiler_of_the_pprof_crate_and_stacks_run_side_by_side() {
    let _alone = alone();
    let app = app();
    // Its handler runs without SA_ONSTACK, and needs more than the 8 KiB of an alternate stack.
    let guard = ProfilerGuard::new(199).expect("started");
    let seconds = app.diagnostics("/debug/pprof/profile?seconds=2&frequency=199");
    let capture = thread::spawn(move || agent().get(seconds).call().expect("an answer").status());
    compute_until(&app, for_a_while());
    let report = guard.report().build().expect("a report");
    assert!(!report.data.is_empty());
    assert_eq!(capture.join().expect("no panic"), 200);
    assert_stacks(&app);
}

#[test]
fn signals_of_signal_hook_all_arrive() {
    let _alone = alone();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    let add = move || {
        count.fetch_add(1, SeqCst);
    };
    // SAFETY: adds to an atomic.
    let hook = unsafe { signal_hook::low_level::register(libc::SIGUSR1, add) }.expect("installed");
    let app = app();
    let sent = 500;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1..=sent {
                // SAFETY: a signal to this process, which has a handler.
                unsafe { libc::kill(libc::getpid(), libc::SIGUSR1) };
                // One at a time: the kernel keeps a standard signal once.
                wait("the signal arrives", || seen.load(SeqCst) >= number);
            }
            is_over.store(true, Relaxed);
        });
        compute_until(&app, || is_over.load(Relaxed));
    });
    assert_eq!(seen.load(SeqCst), sent);
    signal_hook::low_level::unregister(hook);
    assert_stacks(&app);
}

#[test]
fn signals_that_a_thread_waits_for_all_arrive() {
    let _alone = alone();
    let app = app();
    let received = Arc::new(AtomicUsize::new(0));
    let waiting = Arc::new(AtomicBool::new(false));
    let sent = 200;
    let waiter = {
        let (received, waiting) = (Arc::clone(&received), Arc::clone(&waiting));
        thread::spawn(move || {
            let awaited = only(libc::SIGRTMIN() + 2);
            // SAFETY: this thread's own mask, and a set that lives as long as the call.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const awaited, ptr::null_mut()) };
            waiting.store(true, SeqCst);
            let mut signal = 0;
            for _ in 0..sent {
                // SAFETY: both live as long as the call.
                let error = unsafe { libc::sigwait(&raw const awaited, &raw mut signal) };
                assert_eq!((error, signal), (0, libc::SIGRTMIN() + 2));
                received.fetch_add(1, SeqCst);
            }
        })
    };
    wait("a thread waits", || waiting.load(SeqCst));
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            use std::os::unix::thread::JoinHandleExt as _;
            for number in 1..=sent {
                // SAFETY: the thread has not been joined.
                unsafe { libc::pthread_kill(waiter.as_pthread_t(), libc::SIGRTMIN() + 2) };
                wait("the signal arrives", || received.load(SeqCst) >= number);
            }
            is_over.store(true, Relaxed);
        });
        compute_until(&app, || is_over.load(Relaxed));
    });
    waiter.join().expect("no panic");
    assert_stacks(&app);
}

#[test]
fn timer_of_the_app_loses_no_expiration() {
    static EXPIRED: AtomicU64 = AtomicU64::new(0);
    extern "C" fn expired(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
        // `si_overrun` lies behind the number of the timer, which is behind three numbers and a gap.
        // SAFETY: the kernel calls with a `siginfo_t` of a timer.
        let overrun = unsafe { *info.cast::<i32>().add(5) };
        EXPIRED.fetch_add(1 + u64::try_from(overrun).unwrap_or(0), SeqCst);
    }
    const PERIOD: Duration = Duration::from_millis(1);
    let _alone = alone();
    let app = app();
    let signal = libc::SIGRTMIN() + 3;
    // SAFETY: the handler adds to an atomic and has the type that SA_SIGINFO asks for; the timer is
    // deleted before the handler is taken away.
    let (timer, start) = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = expired as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        assert_eq!(libc::sigaction(signal, &raw const action, ptr::null_mut()), 0);
        let mut event: libc::sigevent = mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        let mut timer = ptr::null_mut();
        let clock = libc::CLOCK_MONOTONIC;
        assert_eq!(libc::timer_create(clock, &raw mut event, &raw mut timer), 0);
        let period = libc::timespec { tv_sec: 0, tv_nsec: i64::from(PERIOD.subsec_nanos()) };
        let when = libc::itimerspec { it_interval: period, it_value: period };
        assert_eq!(libc::timer_settime(timer, 0, &raw const when, ptr::null_mut()), 0);
        (timer, Instant::now())
    };
    compute_until(&app, for_a_while());
    let (expired, passed) = (EXPIRED.load(SeqCst), start.elapsed());
    // SAFETY: made above, and deleted once.
    unsafe { libc::timer_delete(timer) };
    let expected = passed.as_nanos() / PERIOD.as_nanos();
    // One may be on its way.
    assert!(u128::from(expired) + 50 >= expected, "{expired} of {expected} expirations");
    assert_stacks(&app);
}

/// The lines of a thread's status that tell of signals.
fn status(thread: i32, field: &str) -> String {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/status")).expect("there");
    let line = text.lines().find_map(|line| line.strip_prefix(field)).expect("a line");
    line.trim().to_owned()
}

/// Has a thread that blocks every signal compute, ten times.
fn app_that_blocks_signals(stacks: Stacks) -> App {
    static THREAD: AtomicI32 = AtomicI32::new(0);
    let blocked = get(async || {
        // SAFETY: this thread's own mask.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            let mut before: libc::sigset_t = mem::zeroed();
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            THREAD.store(rustix::thread::gettid().as_raw_nonzero().get(), SeqCst);
            burn(BURN);
            let pending = status(THREAD.load(SeqCst), "SigPnd:");
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
            pending
        }
    });
    let router = Router::new().route("/burn", blocked);
    let app = App::with(router, |builder| builder.stacks(stacks));
    for _ in 0..10 {
        let mut answer = agent().get(app.url("/burn")).call().expect("an answer");
        assert_eq!(answer.body_mut().read_to_string().expect("text"), "0000000000000000");
    }
    app
}

#[test]
fn thread_that_blocks_signals_is_sent_none_and_that_is_said() {
    let _alone = alone();
    let app = app_that_blocks_signals(Stacks::Signal);
    let stalls = app.stalls_of("/burn", 10);
    assert!(stalls.iter().all(|stall| stall.stack.is_empty()), "{stalls:#?}");
    let metrics = get_text(&app.diagnostics("/metrics"));
    let line = "thermograph_stalls_without_stack_total{reason=\"signal_blocked\"} 10";
    assert!(metrics.contains(line), "{metrics}");
    let diagnosis = get_text(&app.diagnostics("/debug/diagnosis?format=text"));
    assert!(
        diagnosis.contains("10 stalls have no stack: the thread blocks the signal"),
        "{diagnosis}"
    );
}

#[test]
fn doctor_names_a_thread_that_blocks_the_signal() {
    let _alone = alone();
    let blocks = async || {
        // SAFETY: this thread's own mask.
        unsafe {
            let mut all: libc::sigset_t = mem::zeroed();
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, ptr::null_mut());
        }
    };
    let router = Router::new().route("/blocks", get(blocks));
    let app = App::with(router, |builder| builder.stacks(Stacks::Signal));
    let doctor = || get_text(&app.diagnostics("/debug/doctor?format=text"));
    assert!(!doctor().contains("the signal is blocked"), "{}", doctor());
    assert_eq!(agent().get(app.url("/blocks")).call().expect("an answer").status(), 200);
    let doctor = doctor();
    let says = "such as `tokio-rt-worker`: no stacks while they compute";
    assert!(doctor.contains("the signal is blocked by 1 of ") && doctor.contains(says), "{doctor}");
}

#[test]
fn thread_that_blocks_signals_has_stacks_where_the_kernel_copies_them() {
    let _alone = alone();
    let app = app_that_blocks_signals(Stacks::Auto);
    let stalls = app.stalls_of("/burn", 10);
    let in_burn = stalls.iter().filter(|stall| {
        stall.stack.iter().any(|frame| frame.function.ends_with("specimens::burn"))
    });
    let doctor = get_text(&app.diagnostics("/debug/doctor?format=text"));
    // Otherwise the doctor gives the reason, and signals are used.
    let is_allowed = doctor.contains("computing ones have perf events; a signal is sent only");
    assert_eq!(is_allowed, !doctor.contains("for want of perf events"), "{doctor}");
    let expected = if is_allowed { 10 } else { 0 };
    assert_eq!(in_burn.count(), expected, "{doctor}\n{stalls:#?}");
}

#[test]
fn handler_that_the_app_put_over_ours_is_never_called_and_that_is_said() {
    let _alone = alone();
    let app = app();
    let (called, (pending, doctor, diagnosis)) = with_handler_replaced(|| {
        compute_until(&app, for_a_while());
        let pending = status(rustix::process::getpid().as_raw_nonzero().get(), "SigQ:");
        let doctor = get_text(&app.diagnostics("/debug/doctor?format=text"));
        (pending, doctor, get_text(&app.diagnostics("/debug/diagnosis?format=text")))
    });
    assert_eq!(called, 0, "{pending}");
    let says = "the app replaced the signal's handler";
    assert!(doctor.contains(says), "{doctor}");
    assert!(diagnosis.contains(says), "{diagnosis}");
}

#[test]
fn handler_of_the_sampler_blocks_every_signal_and_runs_on_the_alternate_stack() {
    let _alone = alone();
    let _app = app();
    let action = disposition(signal_of_the_sampler());
    assert_ne!(action.sa_flags & libc::SA_ONSTACK, 0, "{:#x}", action.sa_flags);
    // Two signals cannot be blocked, and the C library reserves those before `SIGRTMIN`.
    let can_be_blocked = |signal: &i32| {
        ![libc::SIGKILL, libc::SIGSTOP].contains(signal) && !(32..libc::SIGRTMIN()).contains(signal)
    };
    let may_interrupt: Vec<_> = (1..=libc::SIGRTMAX())
        .filter(can_be_blocked)
        // SAFETY: only reads a set that the kernel has filled in.
        .filter(|signal| unsafe { libc::sigismember(&raw const action.sa_mask, *signal) } != 1)
        .collect();
    assert!(may_interrupt.is_empty(), "signals that interrupt the handler: {may_interrupt:?}");
}

/// Replaces the handler of the sampler's signal meanwhile; returns how often the new one was called.
pub(crate) fn with_handler_replaced<T>(during: impl FnOnce() -> T) -> (u64, T) {
    static CALLED: AtomicU64 = AtomicU64::new(0);
    extern "C" fn called(_: i32) {
        CALLED.fetch_add(1, SeqCst);
    }
    let earlier = CALLED.load(SeqCst);
    let ours = signal_of_the_sampler();
    // SAFETY: the handler adds to an atomic; the disposition before is restored.
    let before = unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        action.sa_sigaction = called as *const () as usize;
        let mut before: libc::sigaction = mem::zeroed();
        assert_eq!(libc::sigaction(ours, &raw const action, &raw mut before), 0);
        before
    };
    let result = during();
    // SAFETY: as it was.
    unsafe { libc::sigaction(ours, &raw const before, ptr::null_mut()) };
    (CALLED.load(SeqCst) - earlier, result)
}

/// The highest real-time signal with a handler.
fn signal_of_the_sampler() -> i32 {
    let has_handler = |signal: &i32| disposition(*signal).sa_sigaction > libc::SIG_IGN;
    (libc::SIGRTMIN()..libc::SIGRTMAX()).rev().find(has_handler).expect("the sampler has one")
}

/// The action of the process on a signal.
fn disposition(signal: i32) -> libc::sigaction {
    // SAFETY: only reads the disposition.
    unsafe {
        let mut action: libc::sigaction = mem::zeroed();
        assert_eq!(libc::sigaction(signal, ptr::null(), &raw mut action), 0);
        action
    }
}

fn only(signal: i32) -> libc::sigset_t {
    // SAFETY: a set of one valid signal.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, signal);
        set
    }
}
