//! The line in the log: one for each handler and place now and then, with a count of those that it
//! stands for.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use thermograph_profile::plumbing;

use super::record::{Record, Stall, StallFrame};
use crate::{class::Class, log};

/// Says which stalls are worth a line.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    said: HashMap<Kind, Said>,
}

/// What is said once.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct Kind {
    method: String,
    route: String,
    class: Class,
    place: String,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    left_out: u64,
}

impl Warnings {
    /// Time between two lines of one kind.
    const PAUSE: Duration = Duration::from_secs(10);
    /// Most kinds that are kept apart; at that many, all are forgotten.
    const MAX_KINDS: usize = 1024;

    /// Warns, unless the same was said a moment ago, or the worker was handed over.
    pub(crate) fn warn(&mut self, record: &Record) {
        let stall = record.stall();
        if stall.in_place {
            return;
        }
        let place = place(&stall);
        let Some(left_out) = self.allow(Kind::of(&stall, &place), Instant::now()) else { return };
        log::submit(move || {
            tracing::warn!(
                method = stall.method,
                route = stall.route,
                class = stall.class.name(),
                syscall = stall.syscall,
                elapsed_ms = (stall.elapsed_ms * 10.0).round() / 10.0,
                ended = stall.ended,
                at = place,
                request_id = stall.request_id,
                lock = stall.lock.map(|lock| lock.to_string()),
                thread = stall.thread,
                stall = stall.id,
                left_out,
                "{}",
                sentence(stall.class)
            );
        });
    }

    /// Whether to say it, and how many of the kind were left out since it was said last.
    fn allow(&mut self, kind: Kind, now: Instant) -> Option<u64> {
        if let Some(said) = self.said.get_mut(&kind) {
            if now.duration_since(said.at) < Self::PAUSE {
                said.left_out += 1;
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.left_out));
        }
        if self.said.len() >= Self::MAX_KINDS {
            self.said.clear();
        }
        self.said.insert(kind, Said { at: now, left_out: 0 });
        Some(0)
    }
}

impl Kind {
    fn of(stall: &Stall, place: &str) -> Self {
        let Stall { method, route, class, .. } = stall.clone();
        Self { method, route, class, place: place.to_owned() }
    }
}

/// Where the handler stands.
fn place(stall: &Stall) -> String {
    let frame = plumbing::standpoint(&stall.stack, |frame| (&frame.function, &frame.file));
    frame.map_or(String::new(), |StallFrame { function, file, line, .. }| {
        if file.is_empty() { function.clone() } else { format!("{function} ({file}:{line})") }
    })
}

fn sentence(class: Class) -> &'static str {
    match class {
        Class::Cpu => "a handler computes for too long on a worker",
        Class::Blocked => "a handler blocks a worker",
        Class::Preempted => "a worker was not scheduled: the machine has too much to do",
        Class::Unknown => "a handler keeps a worker to itself",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_in_a_while_and_the_rest_is_counted() {
        let kind = |route: &str| Kind {
            method: "GET".to_owned(),
            route: route.to_owned(),
            class: Class::Cpu,
            place: String::new(),
        };
        let mut warnings = Warnings::default();
        let start = Instant::now();
        assert_eq!(warnings.allow(kind("/a"), start), Some(0));
        assert_eq!(warnings.allow(kind("/b"), start), Some(0));
        for second in 1..4 {
            assert_eq!(warnings.allow(kind("/a"), start + Duration::from_secs(second)), None);
        }
        assert_eq!(warnings.allow(kind("/a"), start + Warnings::PAUSE), Some(3));
        for route in 0..2 * Warnings::MAX_KINDS {
            warnings.allow(kind(&route.to_string()), start);
        }
        assert!(warnings.said.len() <= Warnings::MAX_KINDS);
    }
}
