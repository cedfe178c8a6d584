//! The signal: which one, and its disposition. CPU timers send it.

use std::{
    io, mem, ptr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::handler;
use crate::problem::{self, Problem};

static STATE: Mutex<State> = Mutex::new(State { users: 0, signal: 0, previous: None });

struct State {
    users: usize,
    signal: i32,
    /// What was there before the first user.
    previous: Option<libc::sigaction>,
}

/// The handler is there as long as somebody has one of these.
#[derive(Debug)]
pub(super) struct Installed {
    signal: i32,
}

impl Installed {
    pub(super) fn signal(&self) -> i32 {
        self.signal
    }

    /// Whether the signal still has our handler: the app may have installed its own since.
    pub(super) fn is_in_place(&self) -> bool {
        get(self.signal).is_ok_and(|current| is_ours(&current))
    }
}

/// Puts the handler in place, unless it is there.
pub(super) fn install() -> io::Result<Installed> {
    let mut state = lock();
    if state.users == 0 {
        handler::check()?;
        let (signal, previous) = free_signal()?;
        set(signal, &ours())?;
        (state.signal, state.previous) = (signal, Some(previous));
    }
    state.users += 1;
    Ok(Installed { signal: state.signal })
}

impl Drop for Installed {
    fn drop(&mut self) {
        let mut state = lock();
        state.users -= 1;
        if state.users > 0 {
            return;
        }
        let Some(previous) = state.previous.take() else { return };
        // Somebody else's handler, put over ours, stays.
        if get(self.signal).is_ok_and(|current| is_ours(&current)) {
            // Ignoring it first discards what is pending: by default it would end the process.
            let restored = set(self.signal, &disposition(libc::SIG_IGN))
                .and_then(|()| set(self.signal, &previous));
            if let Err(error) = restored {
                let signal = self.signal;
                problem::report(Problem::SignalNotRestored { signal, error });
            }
        }
    }
}

/// A real-time signal that nobody uses, the highest first: few programs begin there.
fn free_signal() -> io::Result<(i32, libc::sigaction)> {
    let signals = libc::SIGRTMIN()..libc::SIGRTMAX();
    let mut free = signals.rev().filter_map(|signal| {
        let current = get(signal).ok()?;
        (current.sa_sigaction == libc::SIG_DFL).then_some((signal, current))
    });
    free.next().ok_or_else(|| io::Error::other("every real-time signal is in use"))
}

/// Restarts what it interrupts, knows where it came from, runs on the alternate stack, and is itself
/// not interrupted: handlers of the app that were installed without `SA_ONSTACK` count on the thread's
/// own stack, and would run on the alternate one, of 8 KiB, on top of ours.
fn ours() -> libc::sigaction {
    let mut action = disposition(handler::thermograph_on_signal as *const () as usize);
    action.sa_flags = libc::SA_RESTART | libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: writes to a set of ours; it cannot fail.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == handler::thermograph_on_signal as *const () as usize
}

fn disposition(handler: usize) -> libc::sigaction {
    // SAFETY: all zero is a value of this type: no flags, no signal blocked, the default.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = handler;
    action
}

fn set(signal: i32, action: &libc::sigaction) -> io::Result<()> {
    // SAFETY: the action is initialised, and its handler is the default, ignoring, the one that was
    // there, or ours, which is a function of the right type that lives as long as the program.
    let done = unsafe { libc::sigaction(signal, action, ptr::null_mut()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn get(signal: i32) -> io::Result<libc::sigaction> {
    let mut action = disposition(libc::SIG_DFL);
    // SAFETY: sets nothing, and writes to an action of ours.
    let done = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    if done == 0 { Ok(action) } else { Err(io::Error::last_os_error()) }
}

fn lock() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}
