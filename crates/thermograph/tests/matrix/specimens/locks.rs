//! Locks of the standard library and of others, held by another thread.

use std::{
    hint::black_box,
    sync::{Arc, Barrier, Condvar, LazyLock, Mutex, OnceLock, PoisonError, RwLock, mpsc},
    thread,
    time::Duration,
};

use super::{ILLNESS, LONG_ILLNESS, later};
use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    let futex = &["futex"];
    vec![
        blocked(mutex, futex),
        blocked(rwlock_read, futex),
        blocked(rwlock_write, futex),
        blocked(condvar, futex),
        blocked(condvar_timeout, futex),
        blocked(barrier, futex),
        blocked(once_lock, futex),
        blocked(lazy_lock, futex),
        blocked(parking_lot_mutex, futex),
        blocked(parking_lot_rwlock, futex),
        blocked(parking_lot_condvar, futex),
    ]
}

/// Has another thread take something and give it back later; returns as soon as it is taken.
fn hold<L: Send + Sync + 'static>(
    lock: &Arc<L>,
    take: impl FnOnce(&L, &dyn Fn()) + Send + 'static,
) {
    hold_for(ILLNESS, lock, take);
}

fn hold_for<L: Send + Sync + 'static>(
    time: Duration,
    lock: &Arc<L>,
    take: impl FnOnce(&L, &dyn Fn()) + Send + 'static,
) {
    let (lock, (tell, held)) = (Arc::clone(lock), mpsc::channel());
    thread::spawn(move || {
        take(&lock, &|| {
            tell.send(()).expect("somebody waits");
            thread::sleep(time);
        });
    });
    held.recv().expect("held");
}

#[inline(never)]
pub(super) fn mutex() {
    let mutex = Arc::new(Mutex::new(0_u64));
    hold(&mutex, |mutex, keep| {
        let guard = mutex.lock();
        keep();
        drop(guard);
    });
    *mutex.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    black_box(());
}

#[inline(never)]
fn rwlock_read() {
    let lock = Arc::new(RwLock::new(0_u64));
    hold(&lock, |lock, keep| {
        let guard = lock.write();
        keep();
        drop(guard);
    });
    black_box(*lock.read().unwrap_or_else(PoisonError::into_inner));
}

#[inline(never)]
fn rwlock_write() {
    let lock = Arc::new(RwLock::new(0_u64));
    hold(&lock, |lock, keep| {
        let guard = lock.read();
        keep();
        drop(guard);
    });
    *lock.write().unwrap_or_else(PoisonError::into_inner) += 1;
    black_box(());
}

#[inline(never)]
fn condvar() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&pair);
    later(move || {
        *theirs.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        theirs.1.notify_one();
    });
    let guard = pair.0.lock().unwrap_or_else(PoisonError::into_inner);
    black_box(pair.1.wait_while(guard, |is_done| !*is_done).is_ok());
}

#[inline(never)]
fn condvar_timeout() {
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    let guard = mutex.lock().unwrap_or_else(PoisonError::into_inner);
    black_box(condition.wait_timeout_while(guard, ILLNESS, |()| true).is_ok());
}

#[inline(never)]
fn barrier() {
    let barrier = Arc::new(Barrier::new(2));
    let theirs = Arc::clone(&barrier);
    later(move || {
        theirs.wait();
    });
    black_box(barrier.wait().is_leader());
}

#[inline(never)]
fn once_lock() {
    let once = Arc::new(OnceLock::new());
    hold(&once, |once, keep| {
        once.get_or_init(|| {
            keep();
            1_u64
        });
    });
    black_box(*once.get_or_init(|| 2));
}

type Lazy = LazyLock<u64, Box<dyn FnOnce() -> u64 + Send>>;

#[inline(never)]
fn lazy_lock() {
    let (tell, begun) = mpsc::channel();
    let make = move || {
        tell.send(()).expect("somebody waits");
        thread::sleep(ILLNESS);
        1
    };
    let lazy: Arc<Lazy> = Arc::new(LazyLock::new(Box::new(make)));
    let theirs = Arc::clone(&lazy);
    thread::spawn(move || **theirs);
    begun.recv().expect("begun");
    black_box(**lazy);
}

#[inline(never)]
fn parking_lot_mutex() {
    let mutex = Arc::new(parking_lot::Mutex::new(0_u64));
    hold_for(LONG_ILLNESS, &mutex, |mutex, keep| {
        let guard = mutex.lock();
        keep();
        drop(guard);
    });
    *mutex.lock() += 1;
    black_box(());
}

#[inline(never)]
fn parking_lot_rwlock() {
    let lock = Arc::new(parking_lot::RwLock::new(0_u64));
    hold_for(LONG_ILLNESS, &lock, |lock, keep| {
        let guard = lock.write();
        keep();
        drop(guard);
    });
    black_box(*lock.read());
}

#[inline(never)]
fn parking_lot_condvar() {
    let (mutex, condition) = (parking_lot::Mutex::new(()), parking_lot::Condvar::new());
    let mut guard = mutex.lock();
    black_box(condition.wait_for(&mut guard, ILLNESS).timed_out());
}
