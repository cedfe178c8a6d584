//! Naps of the standard library.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use super::ILLNESS;
use crate::specimen::{Specimen, blocked};

pub(crate) const SLEEP: &[&str] = &["clock_nanosleep", "nanosleep"];

pub(super) fn all() -> Vec<Specimen> {
    vec![
        blocked(sleep_of_a_thread, SLEEP),
        blocked(sleep_until, SLEEP),
        blocked(many_naps, SLEEP),
        blocked(retry_with_backoff, SLEEP),
        blocked(park_timeout, &["futex"]),
    ]
}

#[inline(never)]
pub(super) fn sleep_of_a_thread() {
    thread::sleep(ILLNESS);
    black_box(());
}

#[inline(never)]
fn sleep_until() {
    let end = Instant::now() + ILLNESS;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        thread::sleep(rest);
    }
    black_box(());
}

#[inline(never)]
fn many_naps() {
    for _ in 0..15 {
        thread::sleep(Duration::from_millis(2));
    }
    black_box(());
}

#[inline(never)]
fn retry_with_backoff() {
    for attempt in 1..=5 {
        if black_box(attempt) < 5 {
            thread::sleep(Duration::from_millis(1 << attempt));
        }
    }
    black_box(());
}

#[inline(never)]
fn park_timeout() {
    let end = Instant::now() + ILLNESS;
    while let Some(rest) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(rest);
    }
    black_box(());
}
