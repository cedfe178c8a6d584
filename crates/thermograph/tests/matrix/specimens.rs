//! The ill handlers, by family.
//!
//! Each is a function that keeps its worker for 25 ms at least. What it does last is not the call that is
//! looked for: a call in that place would replace the function's own frame.

pub(crate) mod channels;
pub(crate) mod computing;
pub(crate) mod files;
pub(crate) mod libraries;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod processes;
#[path = "../sampler/specimens/resolver.rs"]
mod resolver;
pub(crate) mod sleeps;
pub(crate) mod sockets;
pub(crate) mod system;
pub(crate) mod threads;

use std::{hint::black_box, thread, time::Duration};

use crate::specimen::{Place, Specimen, blocked, computes};

/// How long each keeps its worker, at least.
pub(crate) const ILLNESS: Duration = Duration::from_millis(25);

/// How long those do that yield some times before they wait: beside hogs each yield is a time slice.
const LONG_ILLNESS: Duration = Duration::from_millis(50);

pub(crate) fn all() -> Vec<Specimen> {
    let mut all = Vec::new();
    all.extend(sleeps::all());
    all.extend(system::all());
    all.extend(locks::all());
    all.extend(threads::all());
    all.extend(channels::all());
    all.extend(files::all());
    all.extend(sockets::all());
    all.extend(processes::all());
    all.extend(computing::all());
    all.extend(memory::all());
    all.extend(libraries::all());
    all.extend(elsewhere());
    all
}

/// The same few, in every place of an app.
fn elsewhere() -> Vec<Specimen> {
    use Place::{
        AfterAwait, Any, Body, Detached, Drop, Extractor, JoinSet, Middleware, Parameter, Post,
        Select, Task, TaskOfTask, Timeout, TraitObject, Unordered, Upgraded,
    };
    let sleep = || blocked(sleeps::sleep_of_a_thread, sleeps::SLEEP);
    let lock = || blocked(locks::mutex, &["futex"]);
    let read = || blocked(sockets::tcp_read, &["recvfrom", "read"]);
    let spin = || computes(computing::spin);
    let mut all = vec![computes(part_of_a_poll).at(Unordered)];
    for place in [AfterAwait, Parameter, Post, Any, TraitObject, Select, Timeout, Drop] {
        all.push(sleep().at(place));
    }
    for place in
        [AfterAwait, Select, Extractor, Middleware, Body, Task, JoinSet, Detached, Upgraded]
    {
        all.push(spin().at(place));
    }
    for place in [Extractor, Middleware, Body, Task, TaskOfTask, JoinSet, Detached, Upgraded] {
        all.push(sleep().at(place));
    }
    for place in [Body, Task, Detached] {
        all.push(lock().at(place));
    }
    all.push(read().at(Task));
    all.push(computes(libraries::json_parse).at(Task));
    all
}

/// Does something on a thread of its own, when this one has waited long enough.
fn later(act: impl FnOnce() + Send + 'static) {
    after(ILLNESS, act);
}

/// Does something on a thread of its own after so long a time.
fn after(time: Duration, act: impl FnOnce() + Send + 'static) {
    thread::spawn(move || {
        thread::sleep(time);
        act();
    });
}

/// Works until this thread has used enough CPU time.
fn for_a_while(work: impl FnMut()) {
    spend(ILLNESS, work);
}

/// Works until this thread has used so much CPU time.
pub(crate) fn spend(time: Duration, mut work: impl FnMut()) {
    let until = cpu_time() + time;
    while cpu_time() < until {
        work();
    }
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).expect("nanoseconds"))
}

/// A little arithmetic.
pub(crate) fn hash() {
    let mut hash = 0_u64;
    for number in 0..10_000 {
        hash = black_box((hash ^ number).wrapping_mul(0x100_0000_01b3));
    }
}

/// A twenty-fifth of an illness.
#[inline(never)]
fn part_of_a_poll() {
    spend(ILLNESS / 25, hash);
    black_box(());
}
