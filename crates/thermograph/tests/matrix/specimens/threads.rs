//! Other threads that are waited for.

use std::{hint::black_box, thread};

use super::{ILLNESS, later};
use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    let futex = &["futex"];
    vec![
        blocked(join, futex),
        blocked(scope, futex),
        blocked(park, futex),
        blocked(rayon_join, futex),
        blocked(rayon_scope, futex),
        blocked(block_on, futex),
        blocked(block_on_notify, futex),
    ]
}

#[inline(never)]
fn join() {
    black_box(thread::spawn(|| thread::sleep(ILLNESS)).join().is_ok());
}

#[inline(never)]
fn scope() {
    thread::scope(|scope| {
        scope.spawn(|| thread::sleep(ILLNESS));
    });
    black_box(());
}

#[inline(never)]
fn park() {
    let this = thread::current();
    let is_done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let theirs = std::sync::Arc::clone(&is_done);
    later(move || {
        theirs.store(true, std::sync::atomic::Ordering::Release);
        this.unpark();
    });
    while !is_done.load(std::sync::atomic::Ordering::Acquire) {
        thread::park();
    }
    black_box(());
}

#[inline(never)]
fn rayon_join() {
    let sleep = || thread::sleep(ILLNESS);
    black_box(rayon::join(sleep, || ()));
}

#[inline(never)]
fn rayon_scope() {
    rayon::scope(|scope| scope.spawn(|_| thread::sleep(ILLNESS)));
    black_box(());
}

#[inline(never)]
fn block_on() {
    let (send, receive) = tokio::sync::oneshot::channel();
    later(|| send.send(()).expect("somebody waits"));
    black_box(futures_executor::block_on(receive).is_ok());
}

#[inline(never)]
fn block_on_notify() {
    let notify = std::sync::Arc::new(tokio::sync::Notify::new());
    let theirs = std::sync::Arc::clone(&notify);
    later(move || theirs.notify_one());
    futures_executor::block_on(notify.notified());
    black_box(());
}
