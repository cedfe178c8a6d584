//! How a diagnosis comes about: what is captured for it, and what is known already.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::{
    capture::{CaptureError, Kind, Window},
    diagnosis::{Diagnosis, Exhibits, PoolWaiter, Waiters},
    history::{Back, Then},
    instance::Instance,
    profiles,
    tasks::{TaskReport, Tasks, awaits_blocking_work},
};

/// Samples of CPU time a second.
const FREQUENCY: u32 = 99;

/// Over the next seconds, with CPU time.
pub(crate) async fn over(instance: &Instance, window: Window) -> Result<Diagnosis, CaptureError> {
    let kind = Kind::Cpu { frequency: FREQUENCY };
    let (began, before) = (Instant::now(), instance.history.now());
    // Where CPU time cannot be captured, the rest is known all the same.
    let (cpu, (), waiters) = tokio::join!(
        instance.captures.capture(kind, window),
        tokio::time::sleep(window.duration),
        waiters(instance, window.duration),
    );
    let after = instance.history.now();
    let pools = instance.pools.reports().exhausted_within(began.elapsed());
    let gap = instance.coverage().gap();
    let judge = move || {
        let ledger = after.ledger.since(&before.ledger).report();
        let stalls = after.stalls.since(&before.stalls);
        let (cpu, missing) = cpu.map_or_else(|error| (None, Some(error)), |cpu| (Some(cpu), None));
        let exhibits = Exhibits { ledger: &ledger, stalls: &stalls, cpu: cpu.as_ref() };
        let mut diagnosis = Diagnosis::of(&exhibits);
        diagnosis.add_pools(pools, cpu.as_ref(), &waiters);
        let missing = missing.map(|error| format!("CPU time was not captured: {error}"));
        diagnosis.notes.extend(missing);
        diagnosis.notes.extend(after.stalls.without_stack_since(&before.stalls));
        diagnosis.notes.extend(gap);
        diagnosis
    };
    profiles::named(judge).await
}

/// Over the last five minutes, or since the start.
pub(crate) async fn of_the_past(instance: &Instance) -> Result<Diagnosis, CaptureError> {
    let history = &instance.history;
    let (now, before) = (history.now(), history.before(Back::FiveMinutes));
    let nothing = instance.stalls.store().nothing();
    let pools = instance.pools.reports().clone();
    let gap = instance.coverage().gap();
    let judge = move || {
        let (ledger, before) = match before.as_deref() {
            Some(Then { ledger, stalls }) => (now.ledger.since(ledger).report(), stalls),
            None => (now.ledger.report(), &nothing),
        };
        let stalls = now.stalls.since(before);
        let mut diagnosis =
            Diagnosis::of(&Exhibits { ledger: &ledger, stalls: &stalls, cpu: None });
        let window = Duration::from_secs_f64(diagnosis.seconds.max(0.0));
        let waiters = Waiters::Unknown("a diagnosis with seconds=10 asks tasks while it lasts");
        diagnosis.add_pools(pools.exhausted_within(window), None, &waiters);
        diagnosis.notes.extend(now.stalls.without_stack_since(before));
        diagnosis.notes.extend(gap);
        diagnosis
    };
    profiles::named(judge).await
}

/// Asks the tasks that wait, once, as soon as a blocking pool has been exhausted for a while.
async fn waiters(instance: &Instance, window: Duration) -> Waiters {
    /// Time between two looks at the pools, and for which one is exhausted before tasks are asked.
    const LOOK: Duration = Duration::from_millis(100);
    /// Longest time that tasks are asked for.
    const ASK: Duration = Duration::from_secs(1);
    const OVER: Waiters = Waiters::Unknown("it was over before the tasks could be asked");
    let end = Instant::now() + window;
    let mut was_exhausted = false;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left < 2 * LOOK {
            return OVER;
        }
        tokio::time::sleep(LOOK).await;
        let is_exhausted = instance.pools.reports().is_exhausted();
        if is_exhausted && was_exhausted {
            let window = Window { duration: left.min(ASK), force: false };
            return match Tasks::asked(instance, None, window).await {
                Ok(tasks) => waiters_of(instance, &tasks.report),
                Err(_) if !cfg!(tokio_unstable) => {
                    Waiters::Unknown("tasks are known with --cfg tokio_unstable and the hooks only")
                }
                Err(_) => Waiters::Unknown("the tasks could not be asked"),
            };
        }
        was_exhausted = is_exhausted;
    }
}

/// The tasks that await blocking work, or a task of which Tokio does not tell whether it is that.
fn waiters_of(instance: &Instance, report: &TaskReport) -> Waiters {
    let mut groups = BTreeMap::<(&str, &str, &str), usize>::new();
    for task in &report.tasks {
        let waits_for = task.waits_for.as_deref().unwrap_or_default();
        if awaits_blocking_work(waits_for) {
            *groups.entry((&task.method, &task.route, waits_for)).or_default() += 1;
        }
    }
    if groups.is_empty() {
        return Waiters::Unknown(if instance.is_hooked() {
            "no task that was asked awaits blocking work"
        } else {
            "the runtime's hooks list its tasks: thermograph.hooks().install(&mut builder)"
        });
    }
    let waiter = |((method, route, waits_for), tasks): ((&str, &str, &str), usize)| PoolWaiter {
        method: method.to_owned(),
        route: route.to_owned(),
        tasks,
        waits_for: waits_for.to_owned(),
    };
    let mut waiters: Vec<_> = groups.into_iter().map(waiter).collect();
    waiters.sort_by_key(|waiter| std::cmp::Reverse(waiter.tasks));
    Waiters::Known(waiters)
}
