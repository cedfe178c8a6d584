//! Channels between threads.

use std::{
    hint::black_box,
    sync::mpsc,
    time::{Duration, Instant},
};

use super::{ILLNESS, LONG_ILLNESS, after, later};
use crate::specimen::{Specimen, blocked};

pub(super) fn all() -> Vec<Specimen> {
    let futex = &["futex"];
    vec![
        blocked(recv, futex),
        blocked(recv_timeout, futex),
        blocked(iterate, futex),
        blocked(sync_send, futex),
        blocked(crossbeam_recv, futex),
        blocked(crossbeam_send, futex),
        blocked(crossbeam_select, futex),
        blocked(crossbeam_after, &["futex", "clock_nanosleep"]),
        blocked(flume_recv, futex),
        blocked(flume_send, futex),
    ]
}

#[inline(never)]
fn recv() {
    let (send, receive) = mpsc::channel();
    later(move || send.send(1_u64).expect("somebody waits"));
    black_box(receive.recv().is_ok());
}

#[inline(never)]
fn recv_timeout() {
    let (_send, receive) = mpsc::channel::<u64>();
    black_box(receive.recv_timeout(ILLNESS).is_ok());
}

#[inline(never)]
fn iterate() {
    let (send, receive) = mpsc::channel();
    later(move || send.send(1_u64).expect("somebody waits"));
    for number in receive {
        black_box(number);
    }
    black_box(());
}

#[inline(never)]
fn sync_send() {
    let (send, receive) = mpsc::sync_channel(1);
    send.send(1_u64).expect("room for one");
    later(move || while receive.recv().is_ok() {});
    black_box(send.send(2).is_ok());
}

#[inline(never)]
fn crossbeam_recv() {
    let (send, receive) = crossbeam_channel::unbounded();
    after(LONG_ILLNESS, move || send.send(1_u64).expect("somebody waits"));
    black_box(receive.recv().is_ok());
}

#[inline(never)]
fn crossbeam_send() {
    let (send, receive) = crossbeam_channel::bounded(0);
    after(LONG_ILLNESS, move || assert!(receive.recv().is_ok()));
    black_box(send.send(1_u64).is_ok());
}

#[inline(never)]
fn crossbeam_select() {
    let (send, receive) = crossbeam_channel::bounded(1);
    let (_other_send, other) = crossbeam_channel::bounded::<u64>(1);
    after(LONG_ILLNESS, move || send.send(1_u64).expect("somebody waits"));
    crossbeam_channel::select! {
        recv(receive) -> number => { black_box(number.is_ok()); }
        recv(other) -> number => { black_box(number.is_ok()); }
    }
    black_box(());
}

#[inline(never)]
fn crossbeam_after() {
    let start: Instant = crossbeam_channel::after(ILLNESS).recv().expect("the time comes");
    black_box(start.elapsed() > Duration::ZERO);
}

#[inline(never)]
fn flume_recv() {
    let (send, receive) = flume::unbounded();
    later(move || send.send(1_u64).expect("somebody waits"));
    black_box(receive.recv().is_ok());
}

#[inline(never)]
fn flume_send() {
    let (send, receive) = flume::bounded(0);
    later(move || assert!(receive.recv().is_ok()));
    black_box(send.send(1_u64).is_ok());
}
