//! Calls every specimen in one cell.

use std::{
    fs, io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
    time::{Duration, Instant},
};

use crate::{
    app::App,
    arguments::Run,
    cell::Cell,
    client, healthy,
    hogs::Hogs,
    judge::{Call, Called, Outcome, judge, now},
    places::{self, DETACHED},
    specimen::Specimen,
    specimens,
};

/// Time between two calls: a worker has nothing to do of the last one then.
const PAUSE: Duration = Duration::from_millis(3);

/// Those that are to be called.
pub(crate) fn chosen(run: &Run) -> Vec<Specimen> {
    let mut specimens = specimens::all();
    let is_chosen = |specimen: &Specimen| {
        run.only.is_empty() || run.only.iter().any(|name| specimen.name().contains(&**name))
    };
    specimens.retain(is_chosen);
    specimens
}

/// Runs a cell in this process.
pub(crate) fn cell(cell: Cell, run: &Run) -> Outcome {
    let (start, load) = (Instant::now(), load());
    let specimens = chosen(run);
    let app = App::start(cell, &specimens);
    let _hogs = Hogs::start(cell.hogs);
    let (stop, healthy) = (AtomicBool::new(false), AtomicU64::new(0));
    let called: Vec<_> = thread::scope(|scope| {
        let (address, stop_them, count) = (app.address, &stop, &healthy);
        scope.spawn(move || call_healthy(address, stop_them, count));
        let called = specimens.into_iter().map(|specimen| {
            let calls = call(address, &specimen, run.calls());
            Called { specimen, calls }
        });
        let called = called.collect();
        stop.store(true, SeqCst);
        called
    });
    let (findings, blamed) = judge(cell, &called, app.stalls());
    Outcome {
        cell,
        findings,
        healthy: healthy.into_inner(),
        blamed,
        seconds: start.elapsed().as_secs_f64(),
        load: [load, self::load()],
    }
}

/// The healthy in turn, until it is told to stop.
fn call_healthy(address: SocketAddr, stop: &AtomicBool, count: &AtomicU64) {
    for route in healthy::ROUTES.iter().cycle() {
        if stop.load(SeqCst) {
            return;
        }
        answered(client::call(address, "GET", route, "healthy"));
        count.fetch_add(1, SeqCst);
        thread::sleep(PAUSE);
    }
}

/// A specimen, so many times, one call after the other.
fn call(address: SocketAddr, specimen: &Specimen, calls: u64) -> Vec<Call> {
    let path = specimen.path();
    let call = |number| {
        let (id, from) = (format!("{}-{number}", specimen.name()), now());
        answered(client::call(address, specimen.method(), &path, &id));
        while DETACHED.load(SeqCst) > 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let (to, spent) = (now(), places::take_spent());
        thread::sleep(PAUSE);
        Call { id, from, to, spent }
    };
    (0..calls).map(call).collect()
}

/// A call without an answer counts all the same, and has no stall.
fn answered(answer: io::Result<()>) {
    if let Err(error) = answer {
        eprintln!("no answer: {error}");
    }
}

/// The machine's load average, over a minute.
fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
