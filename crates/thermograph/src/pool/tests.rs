use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::{Builder, Runtime};

use super::{books::Look, *};

/// A runtime with at most two threads for blocking work.
fn runtime() -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).max_blocking_threads(2).build().expect("a runtime")
}

/// Hands so many pieces of work to the pool, which last until something is sent for each.
fn block(runtime: &Runtime, works: usize) -> Vec<Sender<()>> {
    let block = |_| {
        let (send, receive): (Sender<()>, Receiver<()>) = channel();
        drop(runtime.spawn_blocking(move || receive.recv()));
        send
    };
    (0..works).map(block).collect()
}

/// Waits until the threads have taken their work, and so many pieces are left in the queue.
fn wait_until_taken(runtime: &Runtime, left: usize) {
    let began = Instant::now();
    while runtime.metrics().blocking_queue_depth() != left {
        assert!(began.elapsed() < Duration::from_mins(1));
        thread::sleep(Duration::from_millis(1));
    }
}

/// Looks until the condition holds.
fn look_until(pool: &mut Watched, mut is_so: impl FnMut(&Look) -> bool) -> Look {
    let began = Instant::now();
    loop {
        let figures = pool.figures();
        let look = pool.look(figures, Instant::now());
        if is_so(&look) {
            return look;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{look:?} {pool:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn counts(look: &Look) -> Option<(usize, usize, Option<usize>)> {
    look.figures.map(|Figures { threads, idle, queued }| (threads, idle, queued))
}

#[test]
fn full_pool_with_queued_work_is_exhausted_until_it_has_run() {
    let runtime = runtime();
    let mut pool = Watched::new(runtime.handle().clone(), None);
    let works = block(&runtime, 5);
    wait_until_taken(&runtime, 3);
    let look = look_until(&mut pool, |look| look.is_exhausted);
    assert_eq!((counts(&look), look.limit), (Some((2, 0, Some(3))), Some(2)));
    // The probe is no work of the app's.
    let look = look_until(&mut pool, |look| look.waits_so_far >= Some(Duration::from_millis(50)));
    assert_eq!((counts(&look), look.is_exhausted), (Some((2, 0, Some(3))), true));
    assert!(look.lasted > Duration::ZERO, "{look:?}");
    for work in &works {
        work.send(()).expect("it waits");
    }
    let look = look_until(&mut pool, |look| look.waited.is_some());
    assert!(look.waited >= Some(Duration::from_millis(50)), "{look:?}");
    let look = look_until(&mut pool, |look| counts(look) == Some((2, 2, Some(0))));
    assert!(!look.is_exhausted && look.waits_so_far.is_none(), "{look:?}");
    assert_eq!(pool.name(), Some("tokio-rt-worker"));
}

#[test]
fn full_pool_without_queued_work_is_not_exhausted_and_not_probed() {
    let runtime = runtime();
    let mut pool = Watched::new(runtime.handle().clone(), None);
    let works = block(&runtime, 2);
    wait_until_taken(&runtime, 0);
    look_until(&mut pool, |look| counts(look) == Some((2, 0, Some(0))));
    for _ in 0..10 {
        let figures = pool.figures();
        let look = pool.look(figures, Instant::now());
        assert!(!look.is_exhausted && look.waits_so_far.is_none(), "{look:?}");
        assert_eq!(look.limit, None);
    }
    drop(works);
}

#[test]
fn probe_does_not_outlive_the_runtime() {
    let runtime = runtime();
    let mut pool = Watched::new(runtime.handle().clone(), None);
    let works = block(&runtime, 3);
    look_until(&mut pool, |look| look.waits_so_far.is_some());
    runtime.shutdown_background();
    drop(works);
    let look = look_until(&mut pool, |look| look.waits_so_far.is_none());
    assert!(!look.is_exhausted, "{look:?}");
    look_until(&mut pool, |look| counts(look).is_some_and(|(threads, ..)| threads == 0));
    assert!(!pool.lives());
}

#[test]
fn runtimes_of_the_diagnostics_are_not_noted() {
    let note = || {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let _entered = runtime.enter();
        crate::runtimes::of_app().is_some()
    };
    assert!(note());
    let ours = thread::Builder::new().name("thermograph".to_owned()).spawn(note);
    assert!(!ours.expect("spawned").join().expect("no panic"));
}
