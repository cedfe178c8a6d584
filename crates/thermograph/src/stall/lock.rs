//! The lock that a stall waits for, and its probable holder.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use thermograph_profile::{Location, folded, plumbing};
use thermograph_sampler::{LockWait, Sign};

use super::{StallFrame, record::RawStack};
use crate::handlers::ByPlace;
#[cfg(sampler)]
use crate::handlers::Handler;

/// A lock that a stalled thread waits for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct StallLock {
    /// Its type, such as `std::sync::Mutex`.
    pub kind: String,
    /// Its address, in hexadecimal.
    pub address: String,
    /// Its probable holder; `None` if no thread shows evidence of holding it.
    pub holder: Option<LockHolder>,
}

/// A thread that may hold a lock.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct LockHolder {
    /// Name of the thread.
    pub thread: String,
    /// The kernel's number of the thread.
    pub thread_id: i32,
    /// Method of the handler that the thread worked for; `TASK` for work that is no request. `None`
    /// outside of instrumented polls.
    pub method: Option<String>,
    /// Matched path of that handler.
    pub route: Option<String>,
    /// Where it stood while it held the lock: the first function of the app's own from the frame on
    /// that refers to the lock. `None` while its name is looked up.
    pub at: Option<StallFrame>,
    /// Evidence that it holds the lock.
    pub evidence: String,
}

/// A lock as it was found.
#[cfg(sampler)]
#[derive(Debug)]
pub(crate) struct RawLock {
    pub(crate) wait: LockWait,
    pub(crate) holder: Option<RawHolder>,
}

/// No lock is ever found.
#[cfg(not(sampler))]
pub(crate) type RawLock = std::convert::Infallible;

/// A thread that may hold a lock, as it was found.
#[cfg(sampler)]
#[derive(Clone, Debug)]
pub(crate) struct RawHolder {
    pub(crate) thread: i32,
    pub(crate) thread_name: String,
    pub(crate) handler: Option<&'static Handler>,
    pub(crate) stack: Arc<RawStack>,
    /// The frame that refers to the lock.
    pub(crate) frame: usize,
    pub(crate) sign: Sign,
}

/// Key of stalls that wait for the same lock with the same holder.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct LockPlace {
    kind: &'static str,
    address: u64,
    pub(crate) holder: Option<HolderPlace>,
}

/// A holder, the same where its stack and its work are the same.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct HolderPlace {
    handler: Option<ByPlace>,
    /// The pool of its thread.
    pool: String,
    pub(crate) stack: Arc<RawStack>,
    frame: usize,
    evidence: &'static str,
}

/// The names of samples' labels.
pub(crate) const LOCK: &str = "lock";
pub(crate) const HELD_BY: &str = "held_by";
pub(crate) const HELD_AT: &str = "held_at";
pub(crate) const HELD_EVIDENCE: &str = "held_evidence";

/// The first function of the app's own from a frame on, of a stack whose names are known.
pub(crate) fn holds_at(stack: &[Arc<Location>], from: usize) -> Option<StallFrame> {
    let frames = || stack.iter().skip(from).flat_map(|location| &location.frames);
    let own = frames().find(|frame| plumbing::is_own(&frame.name, &frame.file));
    own.or_else(|| frames().next()).map(StallFrame::of)
}

/// A function, its file and line, in one word each.
pub(crate) fn place(frame: &StallFrame) -> String {
    let StallFrame { function, file, line, .. } = frame;
    let function = function.trim_end_matches("::{{closure}}");
    if file.is_empty() { function.to_owned() } else { format!("{function} ({file}:{line})") }
}

/// Describes a lock and its holder: its name, where it stood, and how that is known.
pub(crate) fn held_by(lock: &str, holder: Option<(&str, Option<&str>, &str)>) -> String {
    let Some((holder, at, known_by)) = holder else {
        return format!("a {lock}; no holder found");
    };
    let at = at.map_or_else(String::new, |at| format!(" in {at}"));
    format!("a {lock} held by {holder}{at} ({known_by})")
}

#[cfg(sampler)]
impl RawLock {
    /// The stack of its probable holder.
    pub(crate) fn stack(&self) -> Option<&Arc<RawStack>> {
        self.holder.as_ref().map(|holder| &holder.stack)
    }

    /// With the names of the holder's stack, as far as they are known.
    pub(crate) fn told(&self, named: Option<&[Arc<Location>]>) -> StallLock {
        let holder = self.holder.as_ref().map(|holder| LockHolder {
            thread: holder.thread_name.clone(),
            thread_id: holder.thread,
            method: holder.handler.map(|handler| handler.method.to_string()),
            route: holder.handler.map(|handler| handler.route.to_string()),
            at: named.and_then(|stack| holds_at(stack, holder.frame)),
            evidence: holder.sign.says().to_owned(),
        });
        let LockWait { kind, address, .. } = self.wait;
        StallLock { kind: kind.to_string(), address: format!("{address:#x}"), holder }
    }
}

#[cfg(sampler)]
impl LockPlace {
    pub(crate) fn of(lock: &RawLock) -> Self {
        let holder = lock.holder.as_ref().map(|holder| HolderPlace {
            handler: holder.handler.map(ByPlace),
            pool: folded::pool(&holder.thread_name).to_owned(),
            stack: Arc::clone(&holder.stack),
            frame: holder.frame,
            evidence: holder.sign.says(),
        });
        let LockWait { kind, address, .. } = lock.wait;
        Self { kind: kind.name(), address, holder }
    }
}

#[cfg(not(sampler))]
impl LockPlace {
    pub(crate) fn of(lock: &RawLock) -> Self {
        match *lock {}
    }
}

impl LockPlace {
    /// Labels of a sample; `named` is the stack of the holder.
    pub(crate) fn labels(&self, named: Option<&[Arc<Location>]>) -> Vec<(&'static str, String)> {
        let Self { kind, address, .. } = self;
        let mut labels = vec![(LOCK, format!("{kind} at {address:#x}"))];
        let Some(HolderPlace { handler, pool, frame, evidence, .. }) = &self.holder else {
            return labels;
        };
        let by = match handler {
            Some(ByPlace(handler)) => format!("{} {}", handler.method, handler.route),
            None => format!("a thread `{pool}`"),
        };
        labels.push((HELD_BY, by));
        let at = named.and_then(|stack| holds_at(stack, *frame));
        labels.extend(at.map(|at| (HELD_AT, place(&at))));
        labels.push((HELD_EVIDENCE, (*evidence).to_owned()));
        labels
    }
}

impl LockHolder {
    /// The handler, or the thread.
    pub(crate) fn name(&self) -> String {
        let Self { thread, method, route, .. } = self;
        match (method, route) {
            (Some(method), Some(route)) => format!("{method} {route}"),
            _ => format!("a thread `{}`", folded::pool(thread)),
        }
    }
}

impl fmt::Display for StallLock {
    /// Type, address and probable holder.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, address, holder } = self;
        let lock = format!("{kind} at {address}");
        let Some(holder) = holder else { return f.write_str(&held_by(&lock, None)) };
        let at = holder.at.as_ref().map(place);
        let evidence = format!("evidence: {}", holder.evidence);
        f.write_str(&held_by(&lock, Some((&holder.name(), at.as_deref(), &evidence))))
    }
}
