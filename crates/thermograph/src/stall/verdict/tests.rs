use std::fmt;

use super::*;

const THRESHOLD: Duration = Duration::from_millis(10);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn times(run: u64, wait: u64) -> Times {
    Times { run: ms(run), wait: ms(wait), waits: 7 }
}

/// Of a thread that did nothing else since.
fn earlier(run: u64, wait: u64) -> Earlier {
    Earlier { times: times(run, wait), gap: Duration::ZERO }
}

/// A poll that was first looked at when it was 5 ms old, all of which it ran or was blocked.
fn account(is_blocked: bool) -> Account {
    let earlier = earlier(if is_blocked { 100 } else { 95 }, 100);
    Account::open(ms(5), Some(earlier), Duration::ZERO, times(100, 100), is_blocked)
}

fn look(account: &mut Account, age: u64, times: Times, is_blocked: bool) -> Spent {
    account.look(ms(age), times, &Nested::default(), is_blocked)
}

fn close(account: &Account, length: u64, times: Times, asked: u32) -> Spent {
    account.close(ms(length), times, &Nested::default(), asked)
}

#[test]
fn who_computes_is_cpu() {
    let spent = look(&mut account(false), 11, times(106, 100), false);
    assert_eq!(spent.class(ms(11), THRESHOLD), Class::Cpu);
    let spent = close(&account(false), 30, times(125, 100), 0);
    assert_eq!(spent.class(ms(30), THRESHOLD), Class::Cpu);
}

#[test]
fn who_waits_for_something_is_blocked() {
    let mut sleeps = account(true);
    let spent = look(&mut sleeps, 11, times(100, 100), true);
    assert_eq!(spent.class(ms(11), THRESHOLD), Class::Blocked);
    // Between two looks it woke up, and waits for a processor: that was no computing.
    let spent = look(&mut sleeps, 16, times(100, 100), false);
    assert_eq!((spent.blocked.least, spent.blocked.most), (ms(11), ms(16)));
    assert_eq!(spent.class(ms(16), THRESHOLD), Class::Blocked);
    // At the end that wait is added up.
    let spent = close(&sleeps, 21, times(100, 104), 0);
    assert_eq!((spent.blocked, spent.queued), (Bounds::exactly(ms(17)), Bounds::exactly(ms(4))));
    assert_eq!(spent.class(ms(21), THRESHOLD), Class::Blocked);
}

#[test]
fn who_is_not_scheduled_is_preempted_even_before_the_kernel_adds_it_up() {
    let mut waits = account(false);
    let spent = look(&mut waits, 11, times(101, 100), false);
    assert_eq!((spent.queued.least, spent.run.most), (ms(5), ms(6)));
    assert_eq!(spent.class(ms(11), THRESHOLD), Class::Preempted);
    // The whole wait counts when it is over, what was before the first look too.
    let spent = close(&waits, 12, times(102, 110), 0);
    assert_eq!(spent.queued.least, ms(10));
    assert_eq!(spent.class(ms(12), THRESHOLD), Class::Preempted);
}

#[test]
fn time_that_passes_nowhere_is_the_handler_s_only_if_it_waited() {
    let nowhere = times(101, 100);
    let spent = close(&account(false), 20, nowhere, 0);
    assert_eq!(spent.class(ms(20), THRESHOLD), Class::Preempted);
    let waited = Times { waits: 8, ..nowhere };
    let spent = close(&account(false), 20, waited, 0);
    assert_eq!(spent.class(ms(20), THRESHOLD), Class::Blocked);
    // It was we who made it wait.
    let spent = close(&account(false), 20, waited, 1);
    assert_eq!(spent.class(ms(20), THRESHOLD), Class::Preempted);
}

#[test]
fn poll_that_was_seen_too_late_is_unknown() {
    // A sleep of 47 ms, looked at when it had just woken up, and when nothing is known before.
    let late = Account::open(ms(46), None, Duration::ZERO, times(100, 100), false);
    let spent = close(&late, 47, times(100, 101), 0);
    assert_eq!(spent.class(ms(47), THRESHOLD), Class::Unknown);
    // The same where it was never looked at: its thread waited, it may be elsewhere.
    let earlier = Earlier { times: times(99, 100), gap: ms(3) };
    let after = Times { waits: 9, ..times(100, 101) };
    let spent = Spent::unseen(ms(47), Some(earlier), Duration::ZERO, after);
    assert_eq!(spent.class(ms(47), THRESHOLD), Class::Unknown);
    let spent = Spent::unseen(ms(47), None, Duration::ZERO, after);
    assert_eq!(spent.class(ms(47), THRESHOLD), Class::Unknown);
    // Most of it is known to have been queued, the rest not at all.
    let after = Times { waits: 9, ..times(99, 141) };
    let spent = Spent::unseen(ms(56), Some(earlier), Duration::ZERO, after);
    assert_eq!(spent.class(ms(56), THRESHOLD), Class::Unknown);
}

#[test]
fn poll_that_was_never_seen_is_known_by_its_threads_times() {
    // It gave its processor away nowhere.
    let earlier = |gap| Some(Earlier { times: times(90, 70), gap: ms(gap) });
    let unseen = |length, gap, times| {
        Spent::unseen(ms(length), earlier(gap), Duration::ZERO, times).class(ms(length), THRESHOLD)
    };
    assert_eq!(unseen(12, 200, times(90, 81)), Class::Preempted);
    assert_eq!(unseen(30, 5, times(120, 70)), Class::Cpu);
    assert_eq!(unseen(30, 5, times(95, 95)), Class::Preempted);
}

#[test]
fn nested_poll_is_not_charged_to_the_one_around_it() {
    // 30 ms of sleep around 35 ms of computing, of which the first 5 were not seen.
    let mut nested = Nested::default();
    let run = Bounds { least: ms(30), most: ms(35) };
    nested.ended(ms(35), Spent { run, ..Spent::default() });
    let nested = nested.of_length(ms(35));
    let sleeps = account(true);
    let after = Times { waits: 9, ..times(135, 100) };
    let spent = sleeps.close(ms(30), after, &nested, 0);
    assert_eq!(spent.class(ms(30), THRESHOLD), Class::Blocked);
    // The other way round.
    let blocked = Bounds { least: ms(30), most: ms(35) };
    let mut nested = Nested::default();
    nested.ended(ms(35), Spent { blocked, ..Spent::default() });
    let after = Times { waits: 9, ..times(125, 100) };
    let spent = account(false).close(ms(30), after, &nested.of_length(ms(35)), 0);
    assert_eq!(spent.class(ms(30), THRESHOLD), Class::Cpu);
    // Many short ones that nothing is known of.
    let unknown = Nested::default().of_length(ms(35));
    let spent = account(false).close(ms(30), after, &unknown, 0);
    assert_eq!(spent.class(ms(30), THRESHOLD), Class::Unknown);
}

#[test]
fn who_computes_long_enough_is_at_fault_however_long_it_waited_besides() {
    let spent = close(&account(false), 60, times(125, 130), 0);
    assert_eq!(spent.class(ms(60), THRESHOLD), Class::Cpu);
}

/// Numbers that look random and are the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Run,
    Queue,
    Block,
}

/// A thread, by what it does in each tenth of a millisecond.
#[derive(Default)]
struct Simulated(Vec<Phase>);

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phases = self.0.chunk_by(|a, b| a == b);
        f.debug_list().entries(phases.map(|phases| (phases[0], phases.len()))).finish()
    }
}

/// Polls that are simulated.
const CASES: usize = 20_000;
const TICK: Duration = Duration::from_micros(100);

impl Simulated {
    /// Phases of up to `longest` ticks; a thread is queued before it runs after it was blocked.
    fn add(&mut self, dice: &mut Dice, ticks: usize, longest: u64, kinds: &[Phase]) {
        let end = self.0.len() + ticks;
        while self.0.len() < end {
            let phase = kinds[dice.below(kinds.len() as u64) as usize];
            let length = 1 + dice.below(longest) as usize;
            let length = length.min(end - self.0.len());
            self.0.extend(std::iter::repeat_n(phase, length));
        }
    }

    fn count(&self, phase: Phase, from: usize, to: usize) -> Duration {
        let count = self.0[from..to].iter().filter(|known| **known == phase).count();
        TICK * count as u32
    }

    /// What the kernel says at a tick; a wait for a processor is added up when it is over.
    fn times(&self, at: usize) -> Times {
        let done = self.0[..at].iter().rposition(|phase| *phase != Phase::Queue);
        // A queue that goes on at `at` counts from its end on.
        let goes_on = self.0.get(at).is_some_and(|phase| *phase == Phase::Queue);
        let until = if goes_on { done.map_or(0, |done| done + 1) } else { at };
        let given = |pair: &[Phase]| pair[0] != Phase::Block && pair[1] == Phase::Block;
        let starts = usize::from(self.0.first() == Some(&Phase::Block) && at > 0);
        Times {
            run: self.count(Phase::Run, 0, at),
            wait: self.count(Phase::Queue, 0, until),
            waits: (starts
                + self.0[..at].windows(2).filter(|pair| given(pair)).count()
                + usize::from(
                    at > 0
                        && self.0.get(at) == Some(&Phase::Block)
                        && self.0[at - 1] != Phase::Block,
                )) as u64,
        }
    }

    fn is_blocked(&self, at: usize) -> bool {
        self.0.get(at) == Some(&Phase::Block)
    }
}

/// A poll from `start` to the end of the thread's phases, looked at at these ticks.
fn judge(thread: &Simulated, note: usize, start: usize, looks: &[usize]) -> Vec<Class> {
    let end = thread.0.len();
    let earlier = Earlier { times: thread.times(note), gap: TICK * (start - note) as u32 };
    let mut account: Option<Account> = None;
    let mut classes = Vec::new();
    for at in looks {
        let (age, times) = (TICK * (at - start) as u32, thread.times(*at));
        let is_blocked = thread.is_blocked(*at);
        let open = || Account::open(age, Some(earlier), Duration::ZERO, times, is_blocked);
        let account = account.get_or_insert_with(open);
        let spent = account.look(age, times, &Nested::default(), is_blocked);
        if age >= THRESHOLD {
            classes.push(spent.class(age, THRESHOLD));
        }
    }
    let (length, times) = (TICK * (end - start) as u32, thread.times(end));
    let spent = match account {
        Some(account) => account.close(length, times, &Nested::default(), 0),
        None => Spent::unseen(length, Some(earlier), Duration::ZERO, times),
    };
    classes.push(spent.class(length, THRESHOLD));
    classes
}

/// Returns whether a class says what the thread did; one that computes as much as it waits may be
/// of either class, as long as the other is not twice as much.
fn is_right(class: Class, thread: &Simulated, start: usize, end: usize) -> bool {
    let run = thread.count(Phase::Run, start, end);
    let blocked = thread.count(Phase::Block, start, end);
    match class {
        Class::Unknown => true,
        Class::Preempted => run + blocked < THRESHOLD,
        Class::Cpu => run + blocked >= THRESHOLD && run * 2 >= blocked,
        Class::Blocked => run + blocked >= THRESHOLD && blocked * 2 >= run,
    }
}

#[test]
fn class_is_right_or_unknown_however_late_the_looks_come() {
    use Phase::{Block, Queue, Run};
    let mut dice = Dice(1);
    let mixtures: [&[Phase]; 6] = [
        &[Run],
        &[Block],
        &[Run, Queue],
        &[Block, Queue, Run],
        &[Run, Block],
        &[Queue, Queue, Run],
    ];
    let mut known = 0;
    for case in 0..CASES {
        let mut thread = Simulated::default();
        let kinds = mixtures[dice.below(6) as usize];
        let before = 1 + dice.below(300) as usize;
        thread.add(&mut dice, before, 60, &[Run, Block, Queue]);
        // A poll begins and ends on a processor.
        thread.0.push(Run);
        let start = thread.0.len() - 1;
        let ticks = 100 + dice.below(500) as usize;
        let longest = 1 + dice.below(400);
        thread.add(&mut dice, ticks, longest, kinds);
        thread.0.push(Run);
        let end = thread.0.len();
        let note = dice.below(start as u64) as usize;
        let mut looks: Vec<_> = (0..dice.below(6))
            .map(|_| start + 1 + dice.below((end - start - 1) as u64) as usize)
            .collect();
        looks.sort_unstable();
        looks.dedup();
        let classes = judge(&thread, note, start, &looks);
        let last = *classes.last().expect("at the end");
        known += usize::from(last != Class::Unknown);
        assert!(
            is_right(last, &thread, start, end),
            "case {case}: {last:?}; looks {looks:?}, note {note}, start {start}: {thread:?}"
        );
    }
    assert!(known > CASES / 4, "{known} of {CASES} were known");
}

#[test]
fn class_is_known_and_right_where_the_looks_come_in_time() {
    use Phase::{Block, Queue, Run};
    let mut dice = Dice(2);
    for case in 0..2_000 {
        let kind = [Run, Block, Queue][dice.below(3) as usize];
        let mut thread = Simulated::default();
        // Idle, but for short polls.
        thread.add(&mut dice, 100, 200, &[Block]);
        thread.0.extend([Run; 3]);
        let start = thread.0.len() - 1;
        let ticks = 130 + dice.below(500) as usize;
        thread.add(&mut dice, ticks, 400, &[kind]);
        thread.0.push(Run);
        let end = thread.0.len();
        let note = start - 2 - dice.below(60) as usize;
        let looks: Vec<_> = (75..end - start).step_by(25).map(|age| start + age).collect();
        let expected = match kind {
            Run => Class::Cpu,
            Block => Class::Blocked,
            Queue => Class::Preempted,
        };
        let classes = judge(&thread, note, start, &looks);
        let last = *classes.last().expect("at the end");
        assert_eq!(last, expected, "case {case}: note {note}, start {start}: {thread:?}");
    }
}
