//! The probable holder of the lock that a handler waits for.

use std::{
    hint::black_box,
    sync::{Arc, Barrier, Mutex, RwLock},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use thermograph::{
    Diagnosis,
    diagnosis::{Finding, HeldBy},
};

use crate::{
    app::{App, agent, alone, get_text, wait},
    diagnosis::{diagnosis, verdict},
    specimens::burn,
};

/// A pair of handlers that wait for each other.
struct Pair {
    name: &'static str,
    router: Router,
    /// Where each has its first lock.
    holders: [&'static str; 2],
}

#[inline(never)]
fn settle(first: &Mutex<u64>, meet: &Barrier, second: &Mutex<u64>) {
    let mut first = first.lock().expect("no panic");
    // Longer than the threshold: the lock comes after another wait.
    thread::sleep(Duration::from_millis(300));
    meet.wait();
    *first += *second.lock().expect("no panic");
}

/// Locks of the heap.
fn on_the_heap() -> Pair {
    let locks: &(u64, Mutex<u64>, Mutex<u64>) = Box::leak(Box::default());
    let meet: &Barrier = Box::leak(Box::new(Barrier::new(2)));
    let router = Router::new()
        .route("/left", get(async || settle(&locks.1, meet, &locks.2)))
        .route("/right", get(async || settle(&locks.2, meet, &locks.1)));
    Pair { name: "heap", router, holders: ["locks::settle"; 2] }
}

static ACCOUNTS: Mutex<u64> = Mutex::new(0);
static INDEX: Mutex<u64> = Mutex::new(0);
static MEET: Barrier = Barrier::new(2);

#[inline(never)]
fn settle_accounts() {
    let mut accounts = ACCOUNTS.lock().expect("no panic");
    MEET.wait();
    *accounts += black_box(*INDEX.lock().expect("no panic"));
}

#[inline(never)]
fn rebuild_index() {
    let mut index = INDEX.lock().expect("no panic");
    MEET.wait();
    *index += black_box(*ACCOUNTS.lock().expect("no panic"));
}

/// Locks whose addresses are in the code.
fn in_statics() -> Pair {
    let router = Router::new()
        .route("/left", get(async || settle_accounts()))
        .route("/right", get(async || rebuild_index()));
    Pair { name: "statics", router, holders: ["locks::settle_accounts", "locks::rebuild_index"] }
}

fn holder<'a>(diagnosis: &'a Diagnosis, route: &str, name: &str) -> Option<&'a HeldBy> {
    let verdict = diagnosis.verdicts.iter().find(|verdict| verdict.route == route)?;
    let held_by = verdict.causes.iter().flat_map(|cause| &cause.held_by);
    held_by.clone().find(|held_by| held_by.holder.as_deref() == Some(name))
}

#[test]
fn deadlock_names_both_handlers_their_places_and_locks() {
    let _alone = alone();
    for Pair { name, router, holders } in [on_the_heap(), in_statics()] {
        let app = App::start(router);
        for path in ["/left", "/right"] {
            let url = app.url(path);
            // It gets no answer, ever.
            thread::spawn(move || agent().get(url).call().map(drop));
        }
        let is_told = |diagnosis: &Diagnosis| {
            diagnosis.notes.iter().any(|note| note.starts_with("probable deadlock: GET "))
        };
        wait(&format!("{name}: the deadlock is told"), || {
            app.wake();
            is_told(&diagnosis(&app, ""))
        });
        let diagnosis = diagnosis(&app, "?seconds=1");
        assert!(is_told(&diagnosis), "{name}: {:#?}", diagnosis.notes);
        let mut locks = Vec::new();
        for (route, other, at) in
            [("/left", "GET /right", holders[1]), ("/right", "GET /left", holders[0])]
        {
            assert_eq!(verdict(&diagnosis, route).verdict, Finding::Blocking);
            let held_by = holder(&diagnosis, route, other);
            let held_by = held_by.unwrap_or_else(|| panic!("{name}: {route}: {diagnosis:#?}"));
            assert!(held_by.lock.starts_with("std::sync::Mutex at 0x"), "{held_by:#?}");
            let place = held_by.at.as_deref().unwrap_or_default();
            assert!(place.contains(at) && place.contains("locks.rs:"), "{name}: {held_by:#?}");
            locks.push(held_by.lock.clone());
        }
        assert_ne!(locks[0], locks[1], "{name}");
        let (text, page) = (
            diagnosis.text(|_, word| word.to_owned()),
            get_text(&app.diagnostics("/debug/diagnosis?format=html")),
        );
        let metrics = get_text(&app.diagnostics("/metrics"));
        for (lock, other, at) in
            [(&locks[0], "GET /right", holders[1]), (&locks[1], "GET /left", holders[0])]
        {
            let told = format!("waits for a {lock} held by {other} in ");
            assert!(text.contains(&told) && page.contains(&told), "{name}: {text}\n{page}");
            let lines = metrics.lines().filter(|line| line.starts_with("thermograph_lock_waits{"));
            let mut lines = lines
                .filter(|line| line.contains(&format!("lock=\"{lock}\"")) && line.contains(at));
            let of_other = lines.any(|line| line.contains(&format!("held_by=\"{other}\"")));
            assert!(of_other, "{name}: {metrics}");
        }
        // Its workers never end.
        std::mem::forget(app);
    }
}

/// What the handlers share.
#[derive(Debug, Default)]
struct Shared {
    _first: u64,
    table: Mutex<u64>,
    index: RwLock<u64>,
}

#[inline(never)]
fn compute_with_the_table(shared: &Shared) {
    let mut table = shared.table.lock().expect("no panic");
    burn(Duration::from_millis(40));
    *table += 1;
}

#[inline(never)]
fn sleep_with_the_index(shared: &Shared) {
    let mut index = shared.index.write().expect("no panic");
    thread::sleep(Duration::from_millis(40));
    *index += 1;
}

#[test]
fn holder_is_named_whether_it_computes_or_sleeps() {
    let _alone = alone();
    let shared = Arc::new(Shared::default());
    let [computes, sleeps, reads, counts] = [(); 4].map(|()| Arc::clone(&shared));
    let app = App::start(
        Router::new()
            .route("/computes", get(async move || compute_with_the_table(&computes)))
            .route("/sleeps", get(async move || sleep_with_the_index(&sleeps)))
            .route("/counts", get(async move || drop(black_box(counts.table.lock()))))
            .route("/reads", get(async move || drop(black_box(reads.index.read())))),
    );
    let call = |path: &str| {
        let answer = agent().get(app.url(path)).call().expect("an answer");
        assert_eq!(answer.status(), 200, "{path}");
    };
    for (waits, holds, function, kind) in [
        ("/counts", "/computes", "locks::compute_with_the_table", "std::sync::Mutex"),
        ("/reads", "/sleeps", "locks::sleep_with_the_index", "std::sync::RwLock"),
    ] {
        // Whether the two meet is the clients' luck.
        wait(&format!("{waits} has met {holds}"), || {
            for _ in 0..10 {
                thread::scope(|scope| {
                    scope.spawn(|| call(holds));
                    scope.spawn(|| {
                        thread::sleep(Duration::from_millis(10));
                        call(waits);
                    });
                    scope.spawn(|| {
                        for _ in 0..20 {
                            thread::sleep(Duration::from_millis(2));
                            app.wake();
                        }
                    });
                });
            }
            let diagnosis = diagnosis(&app, "");
            holder(&diagnosis, waits, &format!("GET {holds}")).is_some()
        });
        let diagnosis = diagnosis(&app, "");
        let held_by = holder(&diagnosis, waits, &format!("GET {holds}")).expect("it was there");
        assert!(held_by.lock.starts_with(&format!("{kind} at 0x")), "{held_by:#?}");
        assert!(held_by.at.as_deref().unwrap_or_default().contains(function), "{held_by:#?}");
        let causes = &verdict(&diagnosis, waits).causes;
        let of_others = causes.iter().flat_map(|cause| &cause.held_by).filter(|held_by| {
            held_by.holder.as_deref().is_some_and(|holder| holder != format!("GET {holds}"))
        });
        assert_eq!(of_others.count(), 0, "{causes:#?}");
    }
}
