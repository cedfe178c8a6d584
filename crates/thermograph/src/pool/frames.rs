//! What a thread of a runtime is there for, and what keeps it, told by the functions on its stack.

use thermograph_profile::{Frame, plumbing};

/// What a thread is there for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// It polls tasks.
    Worker,
    /// It is one of a blocking pool, and waits for work.
    Idle,
    /// It is one of a blocking pool, and has work.
    Busy,
    /// It is none of a blocking pool, as far as its stack tells.
    Other,
}

impl Role {
    /// The role of a thread with these functions on its stack, the leaf first.
    pub(crate) fn of(frames: &[&Frame]) -> Self {
        let has = |part: &str| frames.iter().any(|frame| frame.name.contains(part));
        if has("runtime::scheduler::multi_thread::worker::") {
            // The worker went on in another thread of the pool.
            return if has("block_in_place") { Self::Busy } else { Self::Worker };
        }
        if has("runtime::blocking::task::")
            || (has("runtime::blocking::") && has("runtime::task::"))
        {
            Self::Busy
        } else if has("runtime::blocking::") {
            Self::Idle
        } else {
            Self::Other
        }
    }
}

/// The function that keeps a busy thread: of the app's own, or else of a library, or else the part of
/// Tokio that uses the pool itself, as `tokio::fs` does.
pub(crate) fn keeper<'a>(frames: &[&'a Frame]) -> Option<&'a Frame> {
    let work = || frames.iter().copied().take_while(|frame| !plumbing::polls(&frame.name));
    let own = work().find(|frame| plumbing::is_own(&frame.name, &frame.file));
    let chosen = || work().find(|frame| plumbing::is_chosen(&frame.name, &frame.file));
    let of_tokio = || work().filter(|frame| is_of_tokio(&frame.name)).last();
    own.or_else(of_tokio).or_else(chosen).or_else(|| frames.first().copied())
}

/// The function of the app's own that was handed to the pool, if there is one.
pub(crate) fn handed<'a>(frames: &[&'a Frame]) -> Option<&'a Frame> {
    let work = frames.iter().copied().take_while(|frame| !plumbing::polls(&frame.name));
    work.filter(|frame| plumbing::is_own(&frame.name, &frame.file)).last()
}

/// Returns whether a function is one of Tokio's that hands work to the pool by itself.
fn is_of_tokio(name: &str) -> bool {
    const PARTS: [&str; 3] = ["tokio::fs::", "tokio::net::addr::", "tokio::io::blocking::"];
    let name = name.trim_start_matches('<');
    PARTS.iter().any(|part| name.starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: [&str; 3] = [
        "tokio::runtime::blocking::pool::Inner::run",
        "std::sys::backtrace::__rust_begin_short_backtrace",
        "clone3",
    ];
    const RUN: [&str; 3] = [
        "<tokio::runtime::blocking::task::BlockingTask<T> as core::future::future::Future>::poll",
        "tokio::runtime::task::raw::poll",
        "tokio::runtime::task::UnownedTask<S>::run",
    ];

    fn frames(names: &[&[&str]]) -> Vec<Frame> {
        let own = |name: &&str| Frame {
            file: if name.starts_with("app::") { "/app/src/main.rs" } else { "" }.to_owned(),
            ..Frame::named(name)
        };
        names.concat().iter().map(own).collect()
    }

    fn role(names: &[&[&str]]) -> Role {
        Role::of(&frames(names).iter().collect::<Vec<_>>())
    }

    fn kept_by(names: &[&[&str]]) -> Option<String> {
        let frames = frames(names);
        keeper(&frames.iter().collect::<Vec<_>>()).map(|frame| frame.name.clone())
    }

    #[test]
    fn roles_of_threads_are_told_by_their_stacks() {
        let wait = &["syscall", "std::sync::poison::condvar::Condvar::wait_timeout"][..];
        let worker = &["tokio::runtime::scheduler::multi_thread::worker::run"][..];
        assert_eq!(role(&[wait, &START]), Role::Idle);
        assert_eq!(role(&[&["nanosleep", "app::resize"], &RUN, &START]), Role::Busy);
        assert_eq!(role(&[wait, worker, &RUN, &START]), Role::Worker);
        let in_place = &["read", "app::save", "tokio::task::blocking::block_in_place"][..];
        assert_eq!(role(&[in_place, worker, &RUN, &START]), Role::Busy);
        assert_eq!(role(&[&["epoll_wait", "app::main"]]), Role::Other);
    }

    #[test]
    fn function_that_was_handed_over_is_the_outermost_of_the_app() {
        let names = ["clock_nanosleep", "app::resize", "app::f", "core::ops::FnOnce::call_once"];
        let frames = frames(&[&names, &RUN, &["app::main"]]);
        let handed = handed(&frames.iter().collect::<Vec<_>>());
        assert_eq!(handed.map(|frame| &*frame.name), Some("app::f"));
    }

    #[test]
    fn keeper_is_the_function_of_the_app_or_else_of_tokio() {
        assert_eq!(
            kept_by(&[&["clock_nanosleep", "std::thread::sleep", "app::resize", "app::f"], &RUN]),
            Some("app::resize".to_owned())
        );
        assert_eq!(
            kept_by(&[&["read", "std::fs::read", "tokio::fs::read::read::{{closure}}"], &RUN]),
            Some("tokio::fs::read::read::{{closure}}".to_owned())
        );
        assert_eq!(kept_by(&[&["read", "zip::unpack"], &RUN]), Some("zip::unpack".to_owned()));
        assert_eq!(kept_by(&[&["read"], &RUN]), Some("read".to_owned()));
    }
}
