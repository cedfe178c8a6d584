//! One stall: what is known of it, while it lasts and after.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use thermograph_profile::{Frame, Location, plumbing};
use thermograph_sampler::Moment;

use super::{
    is_in_place,
    lock::{RawLock, StallLock},
    store::Place,
};
use crate::{
    class::{Class, NoStack},
    handlers::{Handler, LastingStall, PollId, Polling, Progress, Trouble, millis},
};

/// A poll that took too long.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Stall {
    /// Number of the stall since the start, from 1.
    pub id: u64,
    /// When the poll began, in seconds since 1970.
    pub began: f64,
    /// Method of the handler; `TASK` for work that is no request.
    pub method: String,
    /// Matched path of the handler; where it was spawned, for work that is no request.
    pub route: String,
    /// What client or server call the request, by its `x-request-id`.
    pub request_id: Option<String>,
    /// Name of the thread.
    pub thread: String,
    /// The kernel's number of the thread.
    pub thread_id: i32,
    /// Tokio's number of the task, where the runtime's hooks are in place.
    pub task: Option<u64>,
    /// Whose fault it is; of a stall that lasts, as far as it is known.
    pub class: Class,
    /// The system call that the thread waited in.
    pub syscall: Option<String>,
    /// How long the poll has lasted, in milliseconds.
    pub elapsed_ms: f64,
    /// Whether it has ended, so that `elapsed_ms` is final.
    pub ended: bool,
    /// Of that, on a processor; seen from three quarters of the threshold on.
    pub run_ms: f64,
    /// Of that, waiting for a processor.
    pub queued_ms: f64,
    /// True if it computes, and page faults take at least half of its processor time: the kernel gives
    /// it memory, page by page.
    #[serde(default)]
    pub page_faults: bool,
    /// The lock that the thread waited for, and its probable holder.
    #[serde(default)]
    pub lock: Option<StallLock>,
    /// How long after the threshold the stack was taken, in milliseconds.
    pub captured_after_ms: Option<f64>,
    /// Whether it was inside of `tokio::task::block_in_place`, which hands the worker to another
    /// thread: then it is no fault, as long as the pool of blocking threads has one left. Known once
    /// the stack has names.
    #[serde(default)]
    pub in_place: bool,
    /// Why there is no stack; `None` if there is one, or while it may still come.
    #[serde(default)]
    pub no_stack: Option<NoStack>,
    /// Where the thread stood, the leaf first; empty where no stack was taken, or while its names
    /// are looked up.
    pub stack: Vec<StallFrame>,
}

/// A frame of a stall's stack.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct StallFrame {
    /// Demangled name, without the hash.
    pub function: String,
    /// Source file, empty where it is not known.
    pub file: String,
    /// Line in the file, 0 where it is not known.
    pub line: u32,
    /// Whether it is the app's own code, and no library's.
    pub own: bool,
}

/// A stall as it is kept.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) began: SystemTime,
    pub(crate) handler: &'static Handler,
    pub(crate) thread: String,
    pub(crate) thread_id: i32,
    pub(crate) task: u64,
    pub(crate) poll: PollId,
    facts: Mutex<Facts>,
    /// The place that it was counted under when it ended.
    counted: OnceLock<Place>,
    trouble: OnceLock<&'static Trouble>,
}

/// What changes while it lasts.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) class: Class,
    pub(crate) syscall: Option<&'static str>,
    pub(crate) request_id: Option<String>,
    pub(crate) elapsed: Duration,
    pub(crate) ended: bool,
    pub(crate) run: Duration,
    pub(crate) queued: Duration,
    /// Addresses, as soon as they are there.
    pub(crate) stack: Option<Arc<RawStack>>,
    /// The lock that the thread waited for when its stack was taken.
    pub(crate) lock: Option<Arc<RawLock>>,
    /// Names of the stack of that lock's holder, once they are known.
    pub(crate) holder_named: Option<Arc<[Arc<Location>]>>,
    /// How long after the threshold the stack was taken.
    pub(crate) captured_after: Option<Duration>,
    /// Why it has no stack, once that is known.
    pub(crate) no_stack: Option<NoStack>,
    /// True if page faults take most of its processor time.
    pub(crate) page_faults: bool,
    /// Whether its names show that the worker was handed over.
    pub(crate) in_place: bool,
    /// Names, once they are known.
    pub(crate) named: Option<Arc<[Arc<Location>]>>,
}

#[cfg(sampler)]
pub(crate) type RawStack = thermograph_sampler::Stack;
/// No stack is ever taken.
#[cfg(not(sampler))]
pub(crate) type RawStack = std::convert::Infallible;

impl Facts {
    /// The stack, if its names are not known.
    #[cfg(sampler)]
    pub(crate) fn unnamed(&self) -> Option<Arc<RawStack>> {
        self.stack.clone().filter(|_| self.named.is_none())
    }

    /// The lock that it waits for, with names as far as they are known.
    pub(super) fn lock(&self) -> Option<StallLock> {
        #[cfg(sampler)]
        let told = |lock: &Arc<RawLock>| lock.told(self.holder_named.as_deref());
        #[cfg(not(sampler))]
        let told = |lock: &Arc<RawLock>| match **lock {};
        self.lock.as_ref().map(told)
    }

    /// The stack of the holder of the lock that it waits for, if its names are not known.
    #[cfg(sampler)]
    pub(crate) fn unnamed_holder(&self) -> Option<Arc<RawStack>> {
        self.lock.as_ref()?.stack().filter(|_| self.holder_named.is_none()).cloned()
    }

    /// Sets the names of the holder's stack, if this is it.
    #[cfg(sampler)]
    pub(crate) fn name_holder(&mut self, stack: &Arc<RawStack>, named: Arc<[Arc<Location>]>) {
        let holder = self.lock.as_ref().and_then(|lock| lock.stack());
        if holder.is_some_and(|holder| Arc::ptr_eq(holder, stack)) {
            self.holder_named = Some(named);
        }
    }

    /// Sets the names of a stack, if it is still that of the stall: a poll that lasts may have gone on
    /// while they were looked up.
    #[cfg(sampler)]
    pub(crate) fn name_stack(&mut self, stack: &Arc<RawStack>, named: Arc<[Arc<Location>]>) {
        if self.stack.as_ref().is_some_and(|own| Arc::ptr_eq(own, stack)) {
            self.name(named);
        }
    }

    /// The names of its stack are known: they tell the system call too, where none was seen.
    pub(crate) fn name(&mut self, stack: Arc<[Arc<Location>]>) {
        self.syscall = self.syscall.or_else(|| syscall_at(self.class, &stack));
        self.in_place = is_in_place(stack.iter());
        self.named = Some(stack);
    }
}

impl Record {
    pub(crate) fn new(
        id: u64,
        began: SystemTime,
        handler: &'static Handler,
        (thread, thread_id): (String, i32),
        (task, poll): (u64, PollId),
        facts: Facts,
    ) -> Self {
        let (facts, counted, trouble) = (Mutex::new(facts), OnceLock::new(), OnceLock::new());
        Self { id, began, handler, thread, thread_id, task, poll, facts, counted, trouble }
    }

    /// Never held for longer than it takes to copy them.
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found out about its handler when it was found. The row of a handler may change hands
    /// afterwards.
    pub(super) fn trouble(&self) -> &'static Trouble {
        self.trouble.get_or_init(|| self.handler.trouble())
    }

    /// Notes the place that it is counted under from now on.
    pub(super) fn count_at(&self, place: &Place) {
        self.counted.get_or_init(|| place.clone());
    }

    /// The place that it was counted under, `None` if it lasts.
    pub(super) fn counted_at(&self) -> Option<&Place> {
        self.counted.get()
    }

    /// What is known now.
    pub(crate) fn stall(&self) -> Stall {
        self.progress();
        let facts = self.facts().clone();
        let began = self.began.duration_since(UNIX_EPOCH).unwrap_or_default();
        let named = facts.named.iter().flat_map(|stack| stack.iter());
        let lock = facts.lock();
        Stall {
            id: self.id,
            began: began.as_secs_f64(),
            method: self.handler.method.to_string(),
            route: self.handler.route.to_string(),
            request_id: facts.request_id,
            thread: self.thread.clone(),
            thread_id: self.thread_id,
            task: (self.task != 0).then_some(self.task),
            class: facts.class,
            syscall: facts.syscall.map(str::to_owned),
            elapsed_ms: millis(facts.elapsed),
            ended: facts.ended,
            run_ms: millis(facts.run),
            queued_ms: millis(facts.queued),
            page_faults: facts.page_faults,
            lock,
            captured_after_ms: facts.captured_after.map(millis),
            in_place: facts.in_place,
            no_stack: facts.no_stack,
            stack: named.flat_map(|location| &location.frames).map(StallFrame::of).collect(),
        }
    }
}

/// The system call of a thread that was blocked, and was never seen in it: a disk wakes a thread many
/// times in one `fsync`, and a look may find it between two waits. The C library's functions have
/// the names of their calls.
#[cfg(sampler)]
pub(crate) fn syscall_at(class: Class, stack: &[Arc<Location>]) -> Option<&'static str> {
    if class != Class::Blocked {
        return None;
    }
    let leaf = stack.iter().find_map(|location| location.frames.first())?;
    leaf.name.parse::<syscalls::Sysno>().ok().map(|call| call.name())
}

/// No stack is ever taken.
#[cfg(not(sampler))]
pub(crate) fn syscall_at(_: Class, _: &[Arc<Location>]) -> Option<&'static str> {
    None
}

impl StallFrame {
    pub(crate) fn of(frame: &Arc<Frame>) -> Self {
        let Frame { name, file, line, .. } = &**frame;
        let own = plumbing::is_own(name, file);
        Self { function: name.clone(), file: file.clone(), line: *line, own }
    }
}

impl LastingStall for Record {
    fn id(&self) -> u64 {
        self.id
    }

    fn progress(&self) -> Progress {
        let mut facts = self.facts();
        if facts.ended {
            return Progress { elapsed: facts.elapsed, holds: false };
        }
        let polling = Polling::on(self.poll.slot());
        let polling = polling.filter(|polling| polling.start == self.poll.start());
        if let Some(polling) = polling {
            facts.elapsed = facts.elapsed.max(polling.age(Moment::now()));
        }
        Progress { elapsed: facts.elapsed, holds: polling.is_some() }
    }
    fn class_and_place(&self) -> (Class, bool) {
        let facts = self.facts();
        (facts.class, facts.in_place && facts.class != Class::Preempted)
    }
}

impl fmt::Display for Stall {
    /// A line that says what happened, and a line for each frame.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, route, class, elapsed_ms, thread, .. } = self;
        write!(f, "{method} {route}: {class}")?;
        if let Some(syscall) = &self.syscall {
            write!(f, " in {syscall}")?;
        }
        write!(f, " for {elapsed_ms:.1} ms on {thread}")?;
        if self.page_faults {
            write!(f, ", mostly in page faults")?;
        }
        if self.in_place {
            write!(f, ", handed over with block_in_place")?;
        }
        if let Some(lock) = &self.lock {
            write!(f, "\n    waits for {lock}")?;
        }
        for StallFrame { function, file, line, .. } in &self.stack {
            write!(f, "\n    {function}")?;
            if !file.is_empty() {
                write!(f, " ({file}:{line})")?;
            }
        }
        Ok(())
    }
}

#[cfg(all(test, sampler))]
mod tests {
    use super::*;

    /// The system call of a stall whose stack has these names.
    fn syscall(class: Class, seen: Option<&'static str>, names: [&str; 2]) -> Option<&'static str> {
        let mut facts = Facts {
            class,
            syscall: seen,
            request_id: None,
            elapsed: Duration::ZERO,
            ended: true,
            run: Duration::ZERO,
            queued: Duration::ZERO,
            stack: None,
            lock: None,
            holder_named: None,
            captured_after: None,
            no_stack: None,
            page_faults: false,
            in_place: false,
            named: None,
        };
        facts.name(names.map(|name| Arc::new(Location::named(Frame::named(name)))).into());
        facts.syscall
    }

    #[test]
    fn a_system_call_that_no_look_has_seen_is_that_of_the_leaf() {
        assert_eq!(syscall(Class::Blocked, None, ["fsync", "app::save"]), Some("fsync"));
        assert_eq!(syscall(Class::Blocked, Some("write"), ["fsync", "app::save"]), Some("write"));
        assert_eq!(syscall(Class::Blocked, None, ["app::save", "fsync"]), None);
        assert_eq!(syscall(Class::Cpu, None, ["fsync", "app::save"]), None);
    }
}
