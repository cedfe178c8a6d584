use std::time::SystemTime;

use http::Method;
use thermograph_sampler::{Moment, Slot};

use super::*;
use crate::{
    handlers::{Handler, Overruns, PollId},
    stall::{Facts, Record},
};

const MS: Duration = Duration::from_millis(1);

fn handler() -> &'static Handler {
    let overruns = Box::leak(Box::new(Overruns::new(10 * MS)));
    Box::leak(Box::new(Handler::new(Method::GET, "/a", overruns)))
}

/// A stall of no thread's: its length is what the watchdog has noted of it.
fn record(handler: &'static Handler, id: u64, class: Class, length: Duration) -> Arc<Record> {
    let facts = Facts {
        class,
        syscall: None,
        request_id: None,
        elapsed: length,
        ended: false,
        run: Duration::ZERO,
        queued: Duration::ZERO,
        stack: None,
        page_faults: false,
        in_place: false,
        no_stack: None,
        lock: None,
        holder_named: None,
        captured_after: None,
        named: None,
    };
    let poll = PollId::new(Slot::at(usize::MAX), Moment::from_raw(id));
    let (began, thread) = (SystemTime::now(), (String::new(), 0));
    Arc::new(Record::new(id, began, handler, thread, (0, poll), facts))
}

fn ends(trouble: &Trouble, record: &Record, class: Class, length: Duration) {
    {
        let mut facts = record.facts();
        (facts.class, facts.elapsed, facts.ended) = (class, length, true);
    }
    trouble.close(record.id, class, length);
}

#[test]
fn preempted_stalls_are_counted_and_are_nobody_s_time() {
    let (trouble, handler) = (Trouble::default(), handler());
    let stall = |id, class, length| {
        let record = record(handler, id, class, length);
        trouble.open(Arc::<Record>::clone(&record));
        ends(&trouble, &record, class, length);
    };
    stall(1, Class::Cpu, 20 * MS);
    let earlier = trouble.now();
    stall(2, Class::Blocked, 30 * MS);
    stall(3, Class::Preempted, 40 * MS);
    trouble.harm(5 * MS);
    let counts = trouble.now().counts();
    assert_eq!((counts.cpu, counts.blocked, counts.preempted, counts.unknown), (1, 1, 1, 0));
    assert_eq!((counts.own(), counts.all()), (2, 3));
    assert_eq!(trouble.now().stalled(), 50 * MS);
    let later = trouble.now().since(&earlier);
    assert_eq!((later.counts().own(), later.stalled(), later.harm), (1, 30 * MS, 5 * MS));
}

#[test]
fn lasting_stall_is_in_each_window_with_its_part() {
    let (trouble, record) = (Trouble::default(), record(handler(), 1, Class::Blocked, 500 * MS));
    let start = trouble.now();
    trouble.open(Arc::<Record>::clone(&record));
    let first = trouble.now();
    let window = first.since(&start);
    assert_eq!((window.counts().blocked, window.stalled()), (1, 500 * MS));
    record.facts().elapsed = 1500 * MS;
    let second = trouble.now();
    let window = second.since(&first);
    assert_eq!((window.counts().blocked, window.stalled()), (1, 1000 * MS));
    assert_eq!(window.longest_lasting(), 1500 * MS);
    ends(&trouble, &record, Class::Blocked, 1800 * MS);
    let window = trouble.now().since(&second);
    assert_eq!((window.counts().blocked, window.stalled()), (1, 300 * MS));
    assert_eq!((trouble.now().counts().all(), trouble.now().stalled()), (1, 1800 * MS));
    assert_eq!(trouble.now().since(&trouble.now()).counts().all(), 0);
}

#[test]
fn longest_stall_of_a_window_is_none_from_before_it() {
    let (trouble, handler) = (Trouble::default(), handler());
    let stall = |id, length| {
        let record = record(handler, id, Class::Blocked, length);
        trouble.open(Arc::<Record>::clone(&record));
        ends(&trouble, &record, Class::Blocked, length);
    };
    assert_eq!(trouble.now().longest_ended(), Duration::ZERO);
    stall(1, 300 * MS);
    let start = trouble.now();
    for (id, length) in [(2, 30 * MS), (3, 50 * MS), (4, 40 * MS)] {
        stall(id, length);
    }
    let window = trouble.now().since(&start);
    assert_eq!((window.longest_ended(), trouble.now().longest_ended()), (50 * MS, 300 * MS));
    let mut both = window;
    both += start;
    assert_eq!(both.longest_ended(), 300 * MS);
    // A stall of nearly the same length counts in the same bucket.
    stall(5, 299 * MS);
    assert_eq!(trouble.now().since(&both).longest_ended(), 300 * MS);
}

#[test]
fn lasting_stall_that_changes_its_class_keeps_its_time() {
    let (trouble, handler) = (Trouble::default(), handler());
    let record = record(handler, 1, Class::Cpu, 20 * MS);
    trouble.open(Arc::<Record>::clone(&record));
    let first = trouble.now();
    {
        let mut facts = record.facts();
        (facts.class, facts.elapsed) = (Class::Blocked, 120 * MS);
    }
    let second = trouble.now();
    let window = second.since(&first);
    assert_eq!((window.counts().cpu, window.counts().blocked), (0, 1));
    assert_eq!(window.stalled_by(Class::Blocked), 100 * MS);
    ends(&trouble, &record, Class::Preempted, 130 * MS);
    let window = trouble.now().since(&second);
    assert_eq!((window.counts().blocked, window.counts().preempted), (0, 1));
    assert_eq!((window.stalled(), window.stalled_by(Class::Preempted)), (Duration::ZERO, 10 * MS));
}

#[test]
fn stalls_in_place_are_counted_apart_even_when_that_is_known_later() {
    let trouble = Trouble::default();
    trouble.stall(Class::Blocked, 30 * MS);
    trouble.stall(Class::Cpu, 20 * MS);
    let earlier = trouble.now();
    trouble.in_place.note(Class::Blocked, 1, 30 * MS);
    let counts = trouble.now().counts();
    assert_eq!((counts.cpu, counts.blocked, counts.in_place), (1, 0, 1));
    assert_eq!((counts.own(), counts.all(), trouble.now().stalled()), (1, 2, 20 * MS));
    // In a window that began after it had ended.
    let later = trouble.now().since(&earlier);
    assert_eq!((later.counts().own(), later.stalled()), (0, Duration::ZERO));
}

#[test]
fn lasting_stall_in_place_holds_no_worker() {
    let (trouble, record) = (Trouble::default(), record(handler(), 1, Class::Blocked, 50 * MS));
    trouble.open(Arc::<Record>::clone(&record));
    record.facts().in_place = true;
    let counts = trouble.now().counts();
    assert_eq!((counts.own(), counts.in_place), (0, 1));
    assert_eq!((trouble.now().stalled(), trouble.now().holding().workers), (Duration::ZERO, 0));
}

#[test]
fn shares_need_enough_looks() {
    let trouble = Trouble::default();
    let waits = Activity::Waiting(Some("read"));
    (0..4).for_each(|_| trouble.seen(waits));
    assert_eq!((trouble.now().shares(), trouble.now().waits(4).len()), (None, 0));
    (4..7).for_each(|_| trouble.seen(waits));
    trouble.seen(Activity::Running);
    assert_eq!(trouble.now().shares(), Some((0.125, 0.875)));
    let wait = Wait { syscall: "read".to_owned(), workers: 0.5 };
    assert_eq!(trouble.now().waits(14), [wait]);
}

#[test]
fn page_faults_are_waits_in_no_system_call() {
    let trouble = Trouble::default();
    (0..20).for_each(|_| trouble.seen(Activity::Waiting(None)));
    assert_eq!((trouble.now().shares(), trouble.now().waits(20).len()), (Some((0.0, 1.0)), 0));
}

#[test]
fn system_calls_past_the_bound_are_counted_together() {
    let trouble = Trouble::default();
    let names: Vec<&'static str> = (0..40).map(|n| &*format!("call_{n}").leak()).collect();
    for name in names {
        trouble.seen(Activity::Waiting(Some(name)));
    }
    let waits = trouble.now().waits(40);
    assert_eq!((waits.len(), &*waits[0].syscall), (Looks::CALLS + 1, Looks::OTHER));
    let workers: f64 = waits.iter().map(|wait| wait.workers).sum();
    assert!((workers - 1.0).abs() < 1e-9, "{waits:?}");
}
